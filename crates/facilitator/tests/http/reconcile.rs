//! The same request again, where it was sent and its outcome was not known.

use std::sync::atomic::Ordering;

use farthing_core::books::SettlementState;
use http::StatusCode;
use serde_json::json;

use crate::support::{Chain, Facilitator, Fault, later_transaction, request, transaction};

const UNKNOWN: [Fault; 2] = [Fault::Unknown, Fault::PanicsAfter];

async fn sent_and_unknown(fault: Fault) -> Facilitator {
    let facilitator = Facilitator::with_fault(fault);
    let answer = facilitator.settle(&request(1)).await;
    assert_eq!((answer.status, answer.reason()), (StatusCode::OK, "settlement_pending"), "{fault:?}");
    assert_eq!((&answer.json["success"], &answer.json["transaction"]), (&json!(false), &json!(transaction(1))));
    facilitator.chain.fault(Fault::None);
    facilitator
}

#[tokio::test]
async fn asking_again_finds_the_settlement_and_sends_nothing() {
    for fault in UNKNOWN {
        let facilitator = sent_and_unknown(fault).await;
        facilitator.chain.mine();
        for _ in 0..3 {
            let answer = facilitator.settle(&request(1)).await;
            assert_eq!((&answer.json["success"], &answer.json["transaction"]), (&json!(true), &json!(transaction(1))));
        }
        assert_eq!(Chain::count(&facilitator.chain.outcomes), 1, "once found, it is in the book");
        assert_eq!(Chain::count(&facilitator.chain.settles), 1);
    }
}

#[tokio::test]
async fn asking_again_finds_the_failure_and_the_payment_is_free_again() {
    for fault in UNKNOWN {
        let facilitator = sent_and_unknown(fault).await;
        facilitator.chain.expire();
        let answer = facilitator.settle(&request(1)).await;
        assert_eq!(answer.reason(), "invalid_exact_evm_payload_authorization_valid_before");
        assert_eq!(answer.json["success"], false);
        // A chain that takes it all the same, as one with another clock would.
        facilitator.chain.expired.store(false, Ordering::SeqCst);
        let answer = facilitator.settle(&request(1)).await;
        assert_eq!((&answer.json["success"], &answer.json["transaction"]), (&json!(true), &json!(later_transaction(1, 1))));
    }
}

#[tokio::test(start_paused = true)]
async fn what_stays_unknown_stays_pending() {
    for fault in UNKNOWN {
        let facilitator = sent_and_unknown(fault).await;
        for fault in [Fault::None, Fault::NodeDown, Fault::NodeHangs] {
            facilitator.chain.fault(fault);
            let answer = facilitator.settle(&request(1)).await;
            assert_eq!((answer.status, answer.reason()), (StatusCode::OK, "settlement_pending"), "{fault:?}");
            assert_eq!(answer.json["transaction"], json!(transaction(1)));
        }
        assert_eq!(Chain::count(&facilitator.chain.settles), 1);
    }
}

#[tokio::test]
async fn many_who_ask_again_at_once_send_nothing() {
    let facilitator = sent_and_unknown(Fault::Unknown).await;
    facilitator.chain.mine();
    let copies: Vec<_> = (0..100)
        .map(|_| {
            let facilitator = facilitator.clone();
            tokio::spawn(async move { facilitator.settle(&request(1)).await })
        })
        .collect();
    for copy in copies {
        assert_eq!(copy.await.unwrap().json["success"], json!(true));
    }
    assert_eq!(Chain::count(&facilitator.chain.settles), 1);
}

#[tokio::test(start_paused = true)]
async fn who_asks_again_waits_a_moment_for_the_end() {
    let facilitator = sent_and_unknown(Fault::Unknown).await;
    let again = tokio::spawn({
        let facilitator = facilitator.clone();
        async move { facilitator.settle(&request(1)).await }
    });
    tokio::time::sleep(std::time::Duration::from_secs(8)).await;
    assert!(!again.is_finished());
    facilitator.chain.mine();
    let answer = again.await.unwrap();
    assert_eq!((&answer.json["success"], &answer.json["transaction"]), (&json!(true), &json!(transaction(1))));
    assert!(matches!(facilitator.state(1).await, Some(SettlementState::Settled(_))));
}
