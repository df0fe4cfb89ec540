//! The peers among themselves, so that a failure with Farthing in it is known to be ours. And a suite by others.

use anyhow::Result;
use farthing_interop::{
    chain::ChainKind,
    conformance::{Suite, passes},
    goods::Good,
    roles::{Client, Combination, Facilitator, Server},
    sale::Sale,
    shop::Shop,
};

fn report(client: Client, server: Server, facilitator: Facilitator) -> Sale {
    Sale { good: Good::Report, by: Combination { client, server, facilitator } }
}

#[tokio::test]
async fn the_peers_sell_every_good_to_one_another_through_the_facilitator_in_typescript() -> Result<()> {
    Shop::open(ChainKind::Anvil, Facilitator::Ts, Sale::theirs()).await?.sells_all().await
}

#[tokio::test]
async fn the_peers_sell_every_good_to_one_another_through_the_facilitator_in_python() -> Result<()> {
    Shop::open(ChainKind::Anvil, Facilitator::Python, Sale::theirs()).await?.sells_all().await
}

#[tokio::test]
async fn the_conformance_suite_passes_our_facilitator_and_our_terms_as_it_does_the_official_ones() -> Result<()> {
    for (server, facilitator) in [(Server::Farthing, Facilitator::Farthing), (Server::Ts, Facilitator::Ts)] {
        let sale = report(Client::Farthing, server, facilitator);
        let shop = Shop::open(ChainKind::Devnet, facilitator, vec![sale]).await?;
        assert_eq!(passes(Suite::Facilitator, shop.facilitator_url()).await?.len(), 4);
        assert_eq!(passes(Suite::Resource, &shop.url(sale)?).await?.len(), 7);
    }
    Ok(())
}

#[tokio::test]
async fn a_buyer_of_version_1_cannot_pay_an_official_server_of_version_2() -> Result<()> {
    let sale = report(Client::V1, Server::Ts, Facilitator::Ts);
    let shop = Shop::open(ChainKind::Devnet, Facilitator::Ts, vec![sale]).await?;
    let error = shop.sells(sale).await.unwrap_err();
    // It looks for the offers in a body that is `{}`.
    assert!(format!("{error:#}").contains("reading 'map'"), "{error:#}");
    Ok(())
}
