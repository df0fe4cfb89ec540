//! What was answered with `Ok` is there after the process died.

use std::sync::Arc;

use farthing_core::books::{SettlementQuery, SettlementState, Spend, Written};

use super::Harness;
use super::sample::*;

pub async fn what_was_answered_is_there_after_a_kill<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let lease = lease(&*node.outbox, "0xA").await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..200_u16 {
        let (outbox, settlements, lease) = (Arc::clone(&node.outbox), Arc::clone(&node.settlements), lease.clone());
        tasks.spawn(async move {
            let name = format!("t{number}");
            assert_eq!(send(&*outbox, &lease, number.into(), &name, &[payment(number)]).await, Written::Yes);
            if number % 2 == 0 {
                settlements.settled(key(number), &settlement(number, &transaction(&name)), NOW).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    let limits = ["$1 in total".parse().unwrap()];
    let spend = Spend { usd: "$0.8".parse().unwrap(), resource: String::new() };
    let _ = node.ledger.reserve(&spend, &limits, NOW).await.unwrap();
    harness.kill(node).await;
    let node = harness.node().await;
    for number in 0..200_u16 {
        let entry = node.settlements.find(key(number)).await.unwrap().unwrap();
        assert_eq!(matches!(entry.state, SettlementState::Settled(_)), number % 2 == 0);
    }
    let all = SettlementQuery { limit: 1_000, ..SettlementQuery::default() };
    assert_eq!(node.settlements.list(&all).await.unwrap().len(), 200);
    assert!(node.ledger.allows(&spend, &limits, NOW).await.is_err());
}

pub async fn a_killed_nodes_lane_is_taken_with_what_is_under_way<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let old = lease(&*node.outbox, "0xA").await;
    send(&*node.outbox, &old, 7, "seven", &[payment(1), payment(2)]).await;
    replace(&*node.outbox, &old, 7, "seven-bumped").await;
    send(&*node.outbox, &old, 8, "eight", &[payment(3)]).await;
    node.outbox.landed(&old, 8, &landing(&transaction("eight"), 9)).await.unwrap();
    let before = under_way(&*node.outbox, &old).await;
    harness.kill(node).await;
    let node = harness.node().await;
    let new = lease(&*node.outbox, "0xA").await;
    assert!(new.token > old.token);
    assert_eq!(under_way(&*node.outbox, &new).await, before);
    assert_eq!(before[0].transactions[1], (transaction("seven-bumped"), b"seven-bumped".to_vec()));
}
