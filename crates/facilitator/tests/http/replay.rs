//! Other requests with the authorization of a payment that is settled, or being settled.
//!
//! A lost answer must not become a failure, so the same request gets the same answer again. That must not become a way
//! to be paid for with somebody else's money, or twice with one's own.

use http::StatusCode;
use serde_json::{Value, json};

use crate::support::{Chain, Facilitator, Fault, request, request_for, transaction};

/// Everything that is not the settled request, and carries its nonce.
fn forgeries() -> Vec<(&'static str, Value)> {
    let changed = |pointer: &str, value: Value| {
        let mut request = request(1);
        *request.pointer_mut(pointer).unwrap() = value;
        request
    };
    vec![
        ("a copied nonce under another signature", changed("/paymentPayload/payload/signature", json!("forged"))),
        ("the signature with something after it", {
            let signature = request(1)["paymentPayload"]["payload"]["signature"].as_str().unwrap().to_owned();
            changed("/paymentPayload/payload/signature", json!(signature + "00"))
        }),
        ("a second payment with the same nonce, truly signed, to another seller", request_for(1, "0xSecondSeller", "10000")),
        ("a second payment with the same nonce, truly signed, of another amount", request_for(1, crate::support::SELLER, "1")),
        ("the same payment presented to another seller", changed("/paymentRequirements/payTo", json!("0xSecondSeller"))),
        ("the same payment for another price", changed("/paymentRequirements/amount", json!("20000"))),
        ("the same payment in another asset", changed("/paymentRequirements/asset", json!("0xOther"))),
        ("the same payment on another network", changed("/paymentRequirements/network", json!("eip155:8453"))),
        ("the same payment for another resource", changed("/paymentPayload/resource/url", json!("https://other.example/"))),
    ]
}

#[tokio::test]
async fn a_lost_answer_is_given_again_and_the_node_is_not_asked() {
    let facilitator = Facilitator::new();
    let first = facilitator.settle(&request(1)).await;
    let calls = Chain::count(&facilitator.chain.node_calls);
    facilitator.chain.fault(Fault::NodeDown);
    let again = facilitator.settle(&request(1)).await;
    assert_eq!((again.status, &again.json), (StatusCode::OK, &first.json));
    assert_eq!(Chain::count(&facilitator.chain.node_calls), calls);
    assert_eq!(Chain::count(&facilitator.chain.settles), 1);
}

#[tokio::test]
async fn no_other_request_gets_the_answer_of_a_settled_payment() {
    let facilitator = Facilitator::new();
    assert_eq!(facilitator.settle(&request(1)).await.json["success"], json!(true));
    let calls = Chain::count(&facilitator.chain.node_calls);
    for (what, forgery) in forgeries() {
        let (settled, verified) = (facilitator.settle(&forgery).await, facilitator.verify(&forgery).await);
        assert_eq!((settled.status, settled.reason()), (StatusCode::OK, "payment_already_used"), "{what}");
        assert_eq!((&settled.json["success"], &settled.json["transaction"]), (&json!(false), &json!("")), "{what}");
        assert_eq!(verified.reason(), settled.reason(), "{what}");
    }
    assert_eq!(Chain::count(&facilitator.chain.node_calls), calls);
    assert_eq!(facilitator.settle(&request(1)).await.json["success"], json!(true), "the real one still gets its answer");
}

#[tokio::test(start_paused = true)]
async fn no_other_request_gets_the_answer_of_a_pending_payment() {
    let facilitator = Facilitator::with_fault(Fault::Unknown);
    assert_eq!(facilitator.settle(&request(1)).await.reason(), "settlement_pending");
    for (what, forgery) in forgeries() {
        let answer = facilitator.settle(&forgery).await;
        assert_eq!((answer.reason(), &answer.json["transaction"]), ("payment_in_flight", &json!("")), "{what}");
    }
    assert_eq!(Chain::count(&facilitator.chain.outcomes), 0);
    assert_eq!(facilitator.settle(&request(1)).await.json["transaction"], json!(transaction(1)));
}

#[tokio::test]
async fn forgeries_during_the_settlement_wait_and_get_nothing() {
    let facilitator = Facilitator::held();
    let spawn = |request: Value| {
        let facilitator = facilitator.clone();
        tokio::spawn(async move { facilitator.settle(&request).await })
    };
    let real = spawn(request(1));
    facilitator.chain.sent.acquire().await.unwrap().forget();
    let forged: Vec<_> = forgeries().into_iter().map(|(_, request)| spawn(request)).collect();
    facilitator.chain.gate.add_permits(100);
    assert_eq!(real.await.unwrap().json["success"], json!(true));
    for answer in forged {
        assert_eq!(answer.await.unwrap().reason(), "payment_already_used");
    }
    assert_eq!(Chain::count(&facilitator.chain.broadcasts), 1);
}

#[tokio::test(start_paused = true)]
async fn a_forgery_is_not_kept_waiting_for_ever() {
    let facilitator = Facilitator::held();
    let real = tokio::spawn({
        let facilitator = facilitator.clone();
        async move { facilitator.settle(&request(1)).await }
    });
    facilitator.chain.sent.acquire().await.unwrap().forget();
    let answer = facilitator.settle(&request_for(1, "0xSecondSeller", "10000")).await;
    assert_eq!((answer.status, answer.reason()), (StatusCode::OK, "payment_in_flight"));
    facilitator.chain.gate.add_permits(1);
    assert_eq!(real.await.unwrap().json["success"], json!(true));
}

#[tokio::test]
async fn forgeries_in_front_do_not_stop_the_real_payment() {
    let facilitator = Facilitator::new();
    let mut waiting = Vec::new();
    for (_, forgery) in forgeries().into_iter().filter(|(what, _)| !what.contains("truly signed") && !what.contains("resource"))
    {
        for _ in 0..20 {
            let (facilitator, forgery) = (facilitator.clone(), forgery.clone());
            waiting.push(tokio::spawn(async move { facilitator.settle(&forgery).await }));
        }
    }
    assert_eq!(facilitator.settle(&request(1)).await.json["success"], json!(true));
    for forged in waiting {
        assert_eq!(forged.await.unwrap().json["success"], json!(false));
    }
    assert_eq!(Chain::count(&facilitator.chain.broadcasts), 1);
}

#[tokio::test]
async fn forgeries_write_nothing() {
    let facilitator = Facilitator::new();
    for (what, forgery) in forgeries().into_iter().filter(|(what, _)| what.contains("signature") || what.contains("presented"))
    {
        assert_eq!(facilitator.settle(&forgery).await.json["success"], json!(false), "{what}");
        assert_eq!(facilitator.entry(1).await, None, "{what}");
    }
    assert_eq!(Chain::count(&facilitator.chain.settles), 0);
}
