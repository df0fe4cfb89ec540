//! What was bought for later is granted once for each payment, and spent once.

use std::num::NonZeroU64;
use std::sync::Arc;

use farthing_core::books::{PassBalance, PassHolder, PassPurchase, PassTerms};
use farthing_core::scheme::PaymentKey;

use super::sample::*;
use super::{Harness, Node};

const SPENDERS: u16 = 1_000;
const CREDITS: u64 = 300;
const COST: u64 = 3;

fn holder(pass: &str, network: &str) -> PassHolder {
    let payer = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266".parse().unwrap();
    PassHolder { pass: pass.to_owned(), network: network.parse().unwrap(), payer }
}

fn pack() -> PassHolder {
    holder("pack", "eip155:84532")
}

fn number(number: u64) -> NonZeroU64 {
    NonZeroU64::new(number).unwrap()
}

fn purchase(payment: u8, holder: PassHolder, terms: PassTerms) -> PassPurchase {
    PassPurchase { payment: PaymentKey([payment; 32]), holder, terms, now: NOW }
}

async fn grant(node: &Node, purchase: &PassPurchase) -> PassBalance {
    node.passes.grant(purchase).await.unwrap()
}

pub async fn a_payment_buys_one_pass_however_often_it_is_said<H: Harness>() {
    let harness = H::new().await;
    let mut nodes = vec![harness.node().await];
    if H::REPLICAS {
        nodes.push(harness.node().await);
    }
    let mut tasks = tokio::task::JoinSet::new();
    for copy in 0..SPENDERS {
        let passes = Arc::clone(&nodes[usize::from(copy) % nodes.len()].passes);
        let payment = u8::try_from(copy % 10).unwrap();
        tasks.spawn(async move { passes.grant(&purchase(payment, pack(), PassTerms::Credits(number(7)))).await.unwrap() });
    }
    tasks.join_all().await;
    assert_eq!(nodes[0].passes.balance(&pack()).await.unwrap(), PassBalance { until: None, credits: 70 });
}

pub async fn of_a_thousand_at_once_as_many_spend_as_there_are_credits_for<H: Harness>() {
    let harness = H::new().await;
    let mut nodes = vec![harness.node().await];
    if H::REPLICAS {
        nodes.push(harness.node().await);
    }
    grant(&nodes[0], &purchase(1, pack(), PassTerms::Credits(number(CREDITS + 2)))).await;
    let mut tasks = tokio::task::JoinSet::new();
    for spender in 0..SPENDERS {
        let passes = Arc::clone(&nodes[usize::from(spender) % nodes.len()].passes);
        tasks.spawn(async move { passes.spend(&pack(), number(COST)).await.unwrap() });
    }
    let mut left: Vec<u64> = tasks.join_all().await.into_iter().flatten().map(|balance| balance.credits).collect();
    left.sort_unstable();
    assert_eq!(left, (0..CREDITS / COST).map(|served| 2 + served * COST).collect::<Vec<_>>());
    // What was given back can be spent again.
    nodes[0].passes.give_back(&pack(), number(COST)).await.unwrap();
    assert!(nodes[0].passes.spend(&pack(), number(COST)).await.unwrap().is_some());
    assert!(nodes[0].passes.spend(&pack(), number(u64::MAX)).await.unwrap().is_none());
}

pub async fn time_is_added_to_what_is_left_of_it<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let month =
        |payment, now| PassPurchase { now, ..purchase(payment, holder("month", "eip155:1"), PassTerms::Seconds(number(100))) };
    assert_eq!(grant(&node, &month(1, NOW)).await.until, Some(NOW.plus(100)));
    assert_eq!(grant(&node, &month(2, NOW.plus(40))).await.until, Some(NOW.plus(200)));
    assert_eq!(grant(&node, &month(2, NOW.plus(40))).await.until, Some(NOW.plus(200)));
    // After it has ended it begins anew.
    let balance = grant(&node, &month(3, NOW.plus(500))).await;
    assert_eq!(balance.until, Some(NOW.plus(600)));
    assert!(balance.is_open(NOW.plus(600)) && !balance.is_open(NOW.plus(601)));
}

pub async fn holders_are_kept_apart_and_survive_a_kill<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    grant(&node, &purchase(1, pack(), PassTerms::Credits(number(5)))).await;
    harness.kill(node).await;
    let node = harness.node().await;
    assert_eq!(node.passes.balance(&pack()).await.unwrap().credits, 5);
    let stranger = PassHolder { payer: "0x00".parse().unwrap(), ..pack() };
    for other in [holder("pack", "eip155:1"), holder("pac", "eip155:84532"), stranger] {
        assert_eq!(node.passes.balance(&other).await.unwrap(), PassBalance::default());
        assert!(node.passes.spend(&other, number(1)).await.unwrap().is_none());
    }
}
