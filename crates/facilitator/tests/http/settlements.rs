//! Looking settlements up.

use http::StatusCode;
use serde_json::json;

use crate::support::{Facilitator, Fault, SELLER, key, request, transaction};

#[tokio::test(start_paused = true)]
async fn a_settlement_is_found_by_its_id() {
    let facilitator = Facilitator::new();
    facilitator.settle(&request(1)).await;
    let answer = facilitator.get(&format!("/settlements/{}", key(1))).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(
        answer.json,
        json!({
            "id": key(1).to_string(), "state": "settled", "scheme": "exact", "network": "eip155:84532",
            "payer": "0xPayer", "payTo": SELLER, "asset": "0x036CbD53842c5426634e7929541eC2318f3dCF7e", "amount": "10000",
            "transaction": transaction(1), "sentAt": 1_800_000_000, "changedAt": 1_800_000_000,
        })
    );
}

#[tokio::test]
async fn every_state_is_told() {
    let facilitator = Facilitator::new();
    for (nonce, fault, state) in [(1, Fault::None, "settled"), (2, Fault::PanicsAfter, "sending"), (3, Fault::Reverts, "dead")]
    {
        facilitator.chain.fault(fault);
        facilitator.settle(&request(nonce)).await;
        let answer = facilitator.get(&format!("/settlements/{}", key(nonce))).await;
        assert_eq!((&answer.json["state"], &answer.json["transaction"]), (&json!(state), &json!(transaction(nonce))));
        let refusal = json!({"reason": "invalid_exact_evm_transaction_failed"});
        assert_eq!(answer.json.get("refusal"), (state == "dead").then_some(&refusal));
        assert!(!answer.json.to_string().contains("SECRET"));
    }
}

#[tokio::test]
async fn everything_that_a_transaction_carries_is_found_by_its_name() {
    let facilitator = Facilitator::new();
    facilitator.settle(&request(0xab)).await;
    for name in [transaction(0xab), transaction(0xab).replace("ab", "AB")] {
        let answer = facilitator.get(&format!("/settlements/{name}")).await;
        assert_eq!(answer.json["settlements"][0]["id"], json!(key(0xab).to_string()), "{answer:?}");
    }
}

#[tokio::test]
async fn what_was_never_sent_is_not_found_and_the_answer_says_what_to_do() {
    let facilitator = Facilitator::new();
    facilitator.settle(&request(1)).await;
    for id in [key(2).to_string(), transaction(2), "x".repeat(300), "%20".to_owned(), "1".to_owned()] {
        let answer = facilitator.get(&format!("/settlements/{id}")).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{id}");
        assert!(answer.json["error"].as_str().unwrap().contains("settlementId"), "{answer:?}");
    }
    assert_eq!(facilitator.get("/settlements").await.status, StatusCode::NOT_FOUND);
}
