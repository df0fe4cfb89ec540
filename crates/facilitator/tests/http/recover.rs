//! The reconciler: every payment in the book comes to its end, without being asked for.

use std::time::Duration;

use farthing_core::books::{Outbox, SettlementState};
use farthing_core::scheme::TransactionId;
use farthing_facilitator::{RECONCILE_EVERY_SECONDS, RECONCILE_GRACE_SECONDS};
use serde_json::json;

use crate::support::{Chain, Facilitator, Fault, request, transaction};

/// A facilitator that is killed right after it has sent, and one that starts on the same book.
async fn killed_and_started_again() -> (Facilitator, Facilitator) {
    let killed = Facilitator::with_fault(Fault::HangsAfter);
    let caller = tokio::spawn({
        let killed = killed.clone();
        async move { killed.settle(&request(1)).await }
    });
    killed.chain.sent.acquire().await.unwrap().forget();
    caller.abort();
    killed.node.die();
    let started = killed.replica();
    started.chain.fault(Fault::None);
    started.local.start();
    (killed, started)
}

#[tokio::test(start_paused = true)]
async fn what_a_killed_process_had_sent_is_settled_without_being_asked_for() {
    let (_killed, started) = killed_and_started_again().await;
    started.chain.mine();
    assert_eq!(started.until_settled(1).await.0, transaction(1));
    let calls = Chain::count(&started.chain.node_calls);
    let answer = started.settle(&request(1)).await;
    assert_eq!((&answer.json["success"], &answer.json["transaction"]), (&json!(true), &json!(transaction(1))));
    assert_eq!((Chain::count(&started.chain.node_calls), Chain::count(&started.chain.broadcasts)), (calls, 1));
}

#[tokio::test(start_paused = true)]
async fn what_a_killed_process_had_sent_and_expired_is_dead() {
    let (_killed, started) = killed_and_started_again().await;
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert!(matches!(started.state(1).await, Some(SettlementState::Sending(_))), "nothing is known yet");
    started.chain.expire();
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert!(matches!(started.state(1).await, Some(SettlementState::Dead(_))));
    assert_eq!(Chain::count(&started.chain.broadcasts), 1);
}

#[tokio::test(start_paused = true)]
async fn a_payment_whose_end_is_not_known_is_asked_about_less_and_less_often() {
    let (_killed, started) = killed_and_started_again().await;
    tokio::time::sleep(Duration::from_secs(RECONCILE_GRACE_SECONDS + 600)).await;
    let asked = Chain::count(&started.chain.outcomes);
    assert!((10..=20).contains(&asked), "{asked}");
    started.chain.fault(Fault::NodeDown);
    tokio::time::sleep(Duration::from_mins(10)).await;
    started.chain.fault(Fault::None);
    started.chain.mine();
    started.until_settled(1).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_settled_here_at_this_moment_is_left_alone() {
    let facilitator = Facilitator::held();
    facilitator.local.start();
    let caller = tokio::spawn({
        let facilitator = facilitator.clone();
        async move { facilitator.settle(&request(1)).await }
    });
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(Chain::count(&facilitator.chain.outcomes), 0);
    facilitator.chain.gate.add_permits(1);
    assert_eq!(caller.await.unwrap().json["success"], json!(true));
}

#[tokio::test(start_paused = true)]
async fn a_settlement_that_hangs_for_ever_after_sending_is_taken_over() {
    let facilitator = Facilitator::with_fault(Fault::HangsAfter);
    facilitator.local.start();
    assert_eq!(facilitator.settle(&request(1)).await.reason(), "settlement_pending");
    facilitator.chain.mine();
    assert_eq!(facilitator.until_settled(1).await.0, transaction(1));
}

#[tokio::test(start_paused = true)]
async fn a_settlement_whose_block_vanished_is_open_until_it_is_mined_again() {
    let facilitator = Facilitator::new();
    facilitator.local.start();
    assert_eq!(facilitator.settle(&request(1)).await.json["success"], json!(true));
    facilitator.chain.moved.lock().unwrap().clear();
    let now = farthing_core::time::UnixSeconds(1_800_000_000);
    facilitator.node.reopened(facilitator.scheme.lease(), 0, now).await.unwrap();
    assert_eq!(facilitator.verify(&request(1)).await.reason(), "settlement_pending");
    let answer = facilitator.settle(&request(1)).await;
    assert_eq!((answer.reason(), &answer.json["transaction"]), ("settlement_pending", &json!(transaction(1))));
    facilitator.chain.moved.lock().unwrap().insert(1, TransactionId(transaction(1)));
    facilitator.until_settled(1).await;
    assert_eq!(facilitator.settle(&request(1)).await.json["success"], json!(true));
    assert_eq!(Chain::count(&facilitator.chain.broadcasts), 1);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_was_put_back_keeps_no_payment_from_its_end() {
    let (_killed, started) = killed_and_started_again().await;
    started.clock.put_back(1_000_000);
    started.chain.mine();
    assert_eq!(started.until_settled(1).await.0, transaction(1));
}

#[tokio::test(start_paused = true)]
async fn the_reconciler_ends_with_the_facilitator() {
    let (_killed, started) = killed_and_started_again().await;
    started.local.stop().await;
    tokio::time::sleep(Duration::from_secs(RECONCILE_EVERY_SECONDS * 10)).await;
    let asked = Chain::count(&started.chain.outcomes);
    tokio::time::sleep(Duration::from_mins(10)).await;
    assert_eq!(Chain::count(&started.chain.outcomes), asked);
}
