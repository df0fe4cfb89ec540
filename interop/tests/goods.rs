//! Everything that is bought, with Farthing in every role and the official SDKs in the others, on two chains.
//!
//! Each test is one chain with one facilitator: starting the peers takes longer than buying from them.

use anyhow::Result;
use farthing_interop::{
    chain::ChainKind,
    roles::{Facilitator, Server},
    sale::Sale,
    service::record,
    shop::Shop,
};
use serde_json::json;

macro_rules! everything_is_sold {
    ($($chain:ident $kind:ident { $($test:ident $facilitator:ident $by:ident)+ })+) => {
        $(mod $chain {
            $(#[tokio::test]
            async fn $test() -> anyhow::Result<()> {
                super::everything_is_sold(super::ChainKind::$kind, super::Facilitator::$facilitator, super::$by).await
            })+
        })+
    };
}

everything_is_sold! {
    anvil Anvil {
        everything_is_sold_through_our_facilitator Farthing by_servers
        everything_is_sold_by_gateways_through_our_facilitator Farthing by_gateways
        everything_is_sold_through_the_facilitator_in_typescript Ts by_anybody
        everything_is_sold_through_the_facilitator_in_python Python by_anybody
    }
    devnet Devnet {
        everything_is_sold_through_our_facilitator Farthing by_servers
        everything_is_sold_by_gateways_through_our_facilitator Farthing by_gateways
        everything_is_sold_through_the_facilitator_in_typescript Ts by_anybody
        everything_is_sold_through_the_facilitator_in_python Python by_anybody
    }
}

async fn everything_is_sold(kind: ChainKind, facilitator: Facilitator, by: fn(Sale) -> bool) -> Result<()> {
    let sales = Sale::ours().into_iter().filter(|sale| by(*sale)).collect();
    Shop::open(kind, facilitator, sales).await?.sells_all().await
}

fn by_anybody(_: Sale) -> bool {
    true
}

fn by_gateways(sale: Sale) -> bool {
    sale.by.server == Server::Gateway
}

fn by_servers(sale: Sale) -> bool {
    !by_gateways(sale)
}

/// What the task that counts results expects to find.
#[test]
fn everything_that_is_to_be_sold_is_listed() -> Result<()> {
    let combinations: Vec<String> = Sale::ours().iter().map(ToString::to_string).collect();
    assert!(!combinations.is_empty());
    record(&json!({"chains": ChainKind::ALL.map(|kind| kind.to_string()), "combinations": combinations}))
}
