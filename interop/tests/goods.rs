//! Every way to pay that the official SDKs know, with Farthing in every role and the SDKs in the others, on two chains.
//!
//! Each test is one chain with one facilitator: starting the peers takes longer than buying from them.

use std::collections::BTreeSet;

use anyhow::Result;
use farthing_interop::{
    chain::ChainKind,
    goods::{Good, Sale},
    roles::Facilitator,
    shop::Shop,
};

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
    Shop::open(kind, facilitator).await?.sells_all(Sale::ours()).await
}

#[test]
fn what_cannot_be_sold_is_counted() {
    let names: BTreeSet<String> = Sale::all().map(|sale| sale.to_string()).collect();
    assert_eq!(names.len(), Sale::all().count());
    let with_us = || Sale::all().filter(|sale| sale.by.has_farthing());
    assert_eq!(with_us().count(), 19 * Good::ALL.len());
    assert_eq!(with_us().filter(|sale| sale.obstacle().is_some()).count(), 11);
}
