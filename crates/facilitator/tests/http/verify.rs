//! Checking payments.

use farthing_facilitator::MAX_VERIFIES_IN_FLIGHT;
use http::StatusCode;
use serde_json::json;

use crate::support::{Chain, Facilitator, Fault, request, request_for, request_v1, transaction};

#[tokio::test]
async fn a_good_payment_is_valid_in_both_versions() {
    let facilitator = Facilitator::new();
    for request in [request(1), request_v1(2)] {
        let answer = facilitator.verify(&request).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.json, json!({"isValid": true, "payer": "0xPayer"}));
    }
    assert_eq!(Chain::count(&facilitator.chain.settles), 0);
}

#[tokio::test]
async fn verify_and_settle_give_one_fault_one_reason() {
    let facilitator = Facilitator::new();
    let mut forged = request(1);
    forged["paymentPayload"]["payload"]["signature"] = json!("forged");
    let mut underpaid = request(1);
    underpaid["paymentRequirements"]["amount"] = json!("10001");
    let mut elsewhere = request(1);
    elsewhere["paymentRequirements"]["payTo"] = json!("0xSomebodyElse");
    let mut shapeless = request(1);
    shapeless["paymentPayload"]["payload"] = json!({});
    let cases = [
        (forged, "invalid_exact_evm_signature"),
        (underpaid, "invalid_exact_evm_payload_authorization_value_mismatch"),
        (elsewhere, "invalid_exact_evm_recipient_mismatch"),
        (shapeless, "invalid_payload"),
    ];
    for (request, reason) in cases {
        let (verified, settled) = (facilitator.verify(&request).await, facilitator.settle(&request).await);
        assert_eq!((verified.status, verified.reason()), (StatusCode::OK, reason));
        assert_eq!((settled.status, settled.reason()), (StatusCode::OK, reason));
        assert_eq!(verified.message(), settled.message());
    }
    assert_eq!(Chain::count(&facilitator.chain.node_calls), 0);
    assert_eq!(facilitator.settle(&request(1)).await.json["success"], json!(true), "a refused payment is free again");
}

#[tokio::test]
async fn a_node_that_cannot_be_reached_is_no_fault_of_the_payment() {
    let facilitator = Facilitator::with_fault(Fault::NodeDown);
    let answer = facilitator.verify(&request(1)).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers["retry-after"], "1");
    assert_eq!((&answer.json["isValid"], answer.reason()), (&json!(false), "unexpected_verify_error"));
    assert!(!answer.json.to_string().contains("refused"), "{}", answer.json);
    facilitator.chain.fault(Fault::None);
    assert_eq!(facilitator.verify(&request(1)).await.json["isValid"], json!(true));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_hangs_is_not_waited_for() {
    let facilitator = Facilitator::with_fault(Fault::NodeHangs);
    let answer = facilitator.verify(&request(1)).await;
    assert_eq!((answer.status, answer.reason()), (StatusCode::SERVICE_UNAVAILABLE, "unexpected_verify_error"));
    assert_eq!(facilitator.get("/readyz").await.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test(start_paused = true)]
async fn more_verifications_than_fit_are_sent_away_at_once() {
    let facilitator = Facilitator::with_fault(Fault::NodeHangs);
    let waiting: Vec<_> = (0..MAX_VERIFIES_IN_FLIGHT)
        .map(|_| {
            let facilitator = facilitator.clone();
            tokio::spawn(async move { facilitator.verify(&request(1)).await })
        })
        .collect();
    while Chain::count(&facilitator.chain.node_calls) < MAX_VERIFIES_IN_FLIGHT {
        tokio::task::yield_now().await;
    }
    let answer = facilitator.verify(&request(1)).await;
    assert_eq!((answer.status, answer.reason()), (StatusCode::SERVICE_UNAVAILABLE, "unexpected_verify_error"));
    assert_eq!(Chain::count(&facilitator.chain.node_calls), MAX_VERIFIES_IN_FLIGHT);
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn a_settled_payment_is_not_valid_and_the_node_is_not_asked() {
    let facilitator = Facilitator::new();
    facilitator.settle(&request(1)).await;
    let calls = Chain::count(&facilitator.chain.node_calls);
    for request in [request(1), request_v1(1), request_for(1, "0xSomebodyElse", "10000")] {
        let answer = facilitator.verify(&request).await;
        assert_eq!((answer.status, answer.reason()), (StatusCode::OK, "payment_already_used"));
        assert_eq!(answer.json["isValid"], json!(false));
    }
    assert_eq!(Chain::count(&facilitator.chain.node_calls), calls);
}

#[tokio::test]
async fn a_payment_whose_transaction_is_under_way_is_pending_and_the_node_is_not_asked() {
    let facilitator = Facilitator::with_fault(Fault::Unknown);
    facilitator.settle(&request(1)).await;
    let calls = Chain::count(&facilitator.chain.node_calls);
    let answer = facilitator.verify(&request(1)).await;
    assert_eq!((&answer.json["isValid"], answer.reason()), (&json!(false), "settlement_pending"));
    assert!(answer.message().contains(&transaction(1)), "{}", answer.message());
    assert_eq!(Chain::count(&facilitator.chain.node_calls), calls);
}
