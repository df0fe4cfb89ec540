//! Ends that may still change: what the chain takes back is open again, and what it says for good is left alone.

use std::sync::atomic::Ordering;
use std::time::Duration;

use farthing_core::books::{SettlementQuery, SettlementState, Settlements};
use farthing_core::scheme::TransactionId;
use farthing_core::time::UnixSeconds;
use serde_json::json;

use crate::support::{Chain, Facilitator, Fault, LIFE_SECONDS, request, transaction};

const TWENTY_MINUTES: Duration = Duration::from_mins(20);

/// A payment that was verified here and carried out by somebody else.
async fn settled_by_somebody_else(is_final: bool) -> (Facilitator, TransactionId) {
    let facilitator = Facilitator::new();
    facilitator.chain.is_final.store(is_final, Ordering::SeqCst);
    facilitator.local.start();
    facilitator.verify(&request(1)).await;
    let theirs = facilitator.chain.front_run(1);
    assert_eq!(facilitator.settle(&request(1)).await.json["transaction"], json!(theirs.0));
    (facilitator, theirs)
}

async fn to_check(facilitator: &Facilitator) -> usize {
    let query = SettlementQuery { check_by: Some(UnixSeconds(u64::MAX)), limit: 10, ..SettlementQuery::default() };
    facilitator.node.list(&query).await.unwrap().len()
}

#[tokio::test(start_paused = true)]
async fn a_settlement_by_somebody_else_that_vanishes_is_open_until_it_is_mined_again() {
    let (facilitator, theirs) = settled_by_somebody_else(false).await;
    tokio::time::sleep(TWENTY_MINUTES).await;
    assert!(matches!(facilitator.state(1).await, Some(SettlementState::Settled(_))));
    facilitator.chain.reorganize(1);
    tokio::time::sleep(TWENTY_MINUTES).await;
    assert_eq!(facilitator.state(1).await, Some(SettlementState::Sending(theirs.clone())));
    assert_eq!(facilitator.settle(&request(1)).await.reason(), "settlement_pending");
    facilitator.chain.front_run(1);
    assert_eq!(facilitator.until_settled(1).await, theirs);
}

#[tokio::test(start_paused = true)]
async fn a_settlement_by_somebody_else_that_vanishes_for_good_is_dead_in_the_end() {
    let (facilitator, _) = settled_by_somebody_else(false).await;
    facilitator.chain.reorganize(1);
    facilitator.chain.expire();
    facilitator.chain.is_final.store(true, Ordering::SeqCst);
    tokio::time::sleep(TWENTY_MINUTES).await;
    assert!(matches!(facilitator.state(1).await, Some(SettlementState::Dead(_))));
}

#[tokio::test(start_paused = true)]
async fn another_transaction_may_take_the_place_of_the_one_that_vanished() {
    let (facilitator, _) = settled_by_somebody_else(false).await;
    let another = TransactionId("0xAnother".to_owned());
    facilitator.chain.reorganize(1);
    facilitator.chain.moved.lock().unwrap().insert(1, another.clone());
    tokio::time::sleep(TWENTY_MINUTES).await;
    assert_eq!(facilitator.until_settled(1).await, another);
    assert_eq!(to_check(&facilitator).await, 1, "it may vanish as well");
}

#[tokio::test(start_paused = true)]
async fn what_is_final_is_not_asked_about_any_more() {
    let (facilitator, theirs) = settled_by_somebody_else(false).await;
    tokio::time::sleep(TWENTY_MINUTES).await;
    let asked = Chain::count(&facilitator.chain.outcomes);
    assert!((6..30).contains(&asked), "less and less often: {asked}");
    facilitator.chain.is_final.store(true, Ordering::SeqCst);
    tokio::time::sleep(TWENTY_MINUTES).await;
    let asked = Chain::count(&facilitator.chain.outcomes);
    facilitator.chain.fault(Fault::OutcomeUnclear);
    tokio::time::sleep(TWENTY_MINUTES).await;
    assert_eq!((Chain::count(&facilitator.chain.outcomes), to_check(&facilitator).await), (asked, 0));
    assert_eq!(facilitator.until_settled(1).await, theirs);
}

#[tokio::test(start_paused = true)]
async fn what_our_own_transaction_settled_is_watched_by_the_outbox_alone() {
    let facilitator = Facilitator::new();
    facilitator.local.start();
    facilitator.settle(&request(1)).await;
    tokio::time::sleep(TWENTY_MINUTES).await;
    assert_eq!((Chain::count(&facilitator.chain.outcomes), to_check(&facilitator).await), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_dead_payment_that_somebody_carried_out_before_it_expired_is_settled() {
    let facilitator = Facilitator::with_fault(Fault::Reverts);
    facilitator.local.start();
    let answer = facilitator.settle(&request(1)).await;
    assert_eq!((&answer.json["success"], &answer.json["transaction"]), (&json!(false), &json!(transaction(1))));
    facilitator.chain.fault(Fault::None);
    tokio::time::sleep(Duration::from_secs(LIFE_SECONDS / 2)).await;
    assert_eq!(Chain::count(&facilitator.chain.outcomes), 0, "until then it may be sent again");
    let theirs = facilitator.chain.front_run(1);
    tokio::time::sleep(Duration::from_secs(LIFE_SECONDS)).await;
    assert_eq!(facilitator.until_settled(1).await, theirs);
    assert_eq!(facilitator.settle(&request(1)).await.json["transaction"], json!(theirs.0));
}

#[tokio::test(start_paused = true)]
async fn a_dead_payment_that_expired_unused_is_dead_for_good() {
    let facilitator = Facilitator::with_fault(Fault::Reverts);
    facilitator.local.start();
    facilitator.settle(&request(1)).await;
    facilitator.chain.expire();
    assert_eq!(to_check(&facilitator).await, 1);
    tokio::time::sleep(Duration::from_secs(LIFE_SECONDS * 2)).await;
    assert!(matches!(facilitator.state(1).await, Some(SettlementState::Dead(_))));
    assert_eq!((Chain::count(&facilitator.chain.outcomes), to_check(&facilitator).await), (1, 0));
}
