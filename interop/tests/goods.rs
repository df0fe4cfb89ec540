//! Everything that is bought, with Farthing in every role and the official SDKs in the others, on two chains.
//!
//! Each test is one chain with one facilitator: starting the peers takes longer than buying from them.

use anyhow::Result;
use farthing_interop::{chain::ChainKind, roles::Facilitator, sale::Sale, service::record, shop::Shop};
use serde_json::json;

macro_rules! everything_is_sold {
    ($($chain:ident $kind:ident { $($test:ident $facilitator:ident)+ })+) => {
        $(mod $chain {
            $(#[tokio::test]
            async fn $test() -> anyhow::Result<()> {
                super::everything_is_sold(super::ChainKind::$kind, super::Facilitator::$facilitator).await
            })+
        })+
    };
}

everything_is_sold! {
    anvil Anvil {
        everything_is_sold_through_our_facilitator Farthing
        everything_is_sold_through_the_facilitator_in_typescript Ts
        everything_is_sold_through_the_facilitator_in_python Python
    }
    devnet Devnet {
        everything_is_sold_through_our_facilitator Farthing
        everything_is_sold_through_the_facilitator_in_typescript Ts
        everything_is_sold_through_the_facilitator_in_python Python
    }
}

async fn everything_is_sold(kind: ChainKind, facilitator: Facilitator) -> Result<()> {
    Shop::open(kind, facilitator, Sale::ours()).await?.sells_all().await
}

/// What the task that counts results expects to find.
#[test]
fn everything_that_is_to_be_sold_is_listed() -> Result<()> {
    let combinations: Vec<String> = Sale::ours().iter().map(ToString::to_string).collect();
    assert!(!combinations.is_empty());
    record(&json!({"chains": ChainKind::ALL.map(|kind| kind.to_string()), "combinations": combinations}))
}
