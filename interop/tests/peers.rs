//! The peers among themselves, so that a failure of the matrix is known to be ours. And our chain under theirs.

use anyhow::Result;
use farthing_interop::{
    chain::ChainKind,
    conformance::{Suite, passes},
    goods::Sale,
    purchase::Market,
    roles::{Client, Facilitator, Server},
    shop::Shop,
};

farthing_interop::combinations! {
    client_ts_server_ts_facilitator_ts
    client_python_httpx_server_python_facilitator_ts
    client_python_requests_server_python_facilitator_ts
    client_v1_server_v1_facilitator_ts
}

#[tokio::test]
async fn the_peers_sell_every_good_to_one_another_through_the_facilitator_in_typescript() -> Result<()> {
    Shop::open(ChainKind::Anvil, Facilitator::Ts).await?.sells_all(Sale::theirs()).await
}

#[tokio::test]
async fn the_peers_sell_every_good_to_one_another_through_the_facilitator_in_python() -> Result<()> {
    Shop::open(ChainKind::Anvil, Facilitator::Python).await?.sells_all(Sale::theirs()).await
}

#[tokio::test]
async fn the_conformance_suite_passes_the_official_peers() -> Result<()> {
    let market = Market::open(ChainKind::Devnet, Server::Ts, Facilitator::Ts).await?;
    assert_eq!(passes(Suite::Facilitator, market.facilitator().url()).await?.len(), 4);
    assert_eq!(passes(Suite::Resource, &format!("{}/report", market.server().url())).await?.len(), 7);
    Ok(())
}

#[tokio::test]
async fn a_buyer_of_version_1_cannot_pay_an_official_server_of_version_2() -> Result<()> {
    let market = Market::open(ChainKind::Devnet, Server::Ts, Facilitator::Ts).await?;
    let error = market.sells_a_report(Client::V1).await.unwrap_err();
    // It looks for the offers in a body that is `{}`.
    assert!(format!("{error:#}").contains("reading 'map'"), "{error:#}");
    Ok(())
}
