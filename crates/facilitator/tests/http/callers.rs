//! API keys and quotas.

use axum::body::Body;
use farthing_facilitator::{Caller, CallerLimits, Callers, KeyDigest};
use http::{Request, StatusCode};
use serde_json::{Value, json};

use crate::support::{Answer, Chain, Facilitator, Fault, request, request_for, transaction};

const KEY: &str = "SECRET-of-the-shop";

fn facilitator(limits: CallerLimits) -> Facilitator {
    let caller = |name: &str, key: &str| Caller { name: name.to_owned(), key: KeyDigest::of(key), limits };
    Facilitator::with_callers(Callers::new([caller("shop", KEY), caller("bank", "SECRET-of-the-bank")]).unwrap())
}

async fn post(facilitator: &Facilitator, path: &str, authorization: Option<&str>, body: &Value) -> Answer {
    let mut request = Request::post(path);
    if let Some(authorization) = authorization {
        request = request.header("authorization", authorization);
    }
    facilitator.send(request.body(Body::from(body.to_string())).unwrap()).await
}

async fn shop(facilitator: &Facilitator, path: &str, body: &Value) -> Answer {
    post(facilitator, path, Some(&format!("Bearer {KEY}")), body).await
}

#[tokio::test]
async fn nobody_verifies_or_settles_without_a_key_that_is_known() {
    let facilitator = facilitator(CallerLimits::default());
    for authorization in [None, Some("Bearer"), Some("Bearer wrong"), Some("Basic U0VDUkVU"), Some(KEY), Some("Bearer  ")] {
        for (path, field) in [("/verify", "isValid"), ("/settle", "success")] {
            let answer = post(&facilitator, path, authorization, &request(1)).await;
            assert_eq!((answer.status, answer.reason()), (StatusCode::UNAUTHORIZED, "unauthorized"), "{authorization:?}");
            assert_eq!((answer.headers["www-authenticate"].to_str().unwrap(), &answer.json[field]), ("Bearer", &json!(false)));
            assert!(answer.message().contains("API key") && !answer.message().contains("SECRET"), "{}", answer.message());
        }
    }
    assert_eq!(Chain::count(&facilitator.chain.node_calls), 0);
    assert_eq!(facilitator.get("/supported").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_known_key_settles_and_its_callers_name_is_in_the_book_and_told_to_nobody_else() {
    let facilitator = facilitator(CallerLimits::default());
    assert_eq!(shop(&facilitator, "/verify", &request(1)).await.json["isValid"], json!(true));
    assert_eq!(post(&facilitator, "/settle", Some(&format!("bearer {KEY}")), &request(1)).await.json["success"], json!(true));
    assert_eq!(facilitator.entry(1).await.unwrap().caller.as_deref(), Some("shop"));
    let path = format!("/settlements/{}", "01".repeat(32));
    for (authorization, caller) in
        [("", json!(null)), ("Bearer SECRET-of-the-bank", json!(null)), (&*format!("Bearer {KEY}"), json!("shop"))]
    {
        let request = Request::get(&path).header("authorization", authorization).body(Body::empty()).unwrap();
        assert_eq!(facilitator.send(request).await.json["caller"], caller);
    }
    assert_eq!(facilitator.get(&path).await.json.get("caller"), None);
}

#[tokio::test]
async fn in_whose_words_a_payment_was_refused_is_told_to_its_caller_alone() {
    let facilitator = facilitator(CallerLimits::default());
    facilitator.chain.fault(Fault::Reverts);
    shop(&facilitator, "/settle", &request(1)).await;
    let path = format!("/settlements/{}", "01".repeat(32));
    for (authorization, message) in
        [("", json!(null)), ("Bearer SECRET-of-the-bank", json!(null)), (&*format!("Bearer {KEY}"), json!("it reverted"))]
    {
        let request = Request::get(&path).header("authorization", authorization).body(Body::empty()).unwrap();
        let refusal = facilitator.send(request).await.json["refusal"].clone();
        assert_eq!((&refusal["message"], &refusal["reason"]), (&message, &json!("invalid_exact_evm_transaction_failed")));
    }
}

#[tokio::test(start_paused = true)]
async fn who_has_used_up_its_quota_is_told_what_is_under_way_and_waits_for_nothing() {
    let limits = CallerLimits { settles_per_minute: Some(1), ..CallerLimits::default() };
    let facilitator = facilitator(limits);
    facilitator.chain.fault(Fault::Unknown);
    assert_eq!(shop(&facilitator, "/settle", &request(1)).await.reason(), "settlement_pending");
    let began = tokio::time::Instant::now();
    for _ in 0..3 {
        let answer = shop(&facilitator, "/settle", &request(1)).await;
        assert_eq!((answer.reason(), &answer.json["transaction"]), ("settlement_pending", &json!(transaction(1))));
    }
    assert_eq!((began.elapsed().as_secs(), Chain::count(&facilitator.chain.outcomes)), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_minute_holds_so_many_requests() {
    let limits = CallerLimits { verifies_per_minute: Some(2), settles_per_minute: Some(1), ..CallerLimits::default() };
    let facilitator = facilitator(limits);
    for _ in 0..2 {
        assert_eq!(shop(&facilitator, "/verify", &request(1)).await.json["isValid"], json!(true));
    }
    let answer = shop(&facilitator, "/verify", &request(1)).await;
    assert_eq!((answer.status, answer.reason()), (StatusCode::TOO_MANY_REQUESTS, "quota_exceeded"));
    assert_eq!((answer.headers["retry-after"].to_str().unwrap(), &answer.json["isValid"]), ("60", &json!(false)));
    assert!(answer.message().contains("2 verify requests a minute"), "{}", answer.message());
    let bank = post(&facilitator, "/verify", Some("Bearer SECRET-of-the-bank"), &request(1)).await;
    assert_eq!(bank.status, StatusCode::OK, "each caller has an account of its own");
    tokio::time::advance(std::time::Duration::from_mins(1)).await;
    assert_eq!(shop(&facilitator, "/verify", &request(1)).await.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn no_quota_hides_a_payment_that_was_sent() {
    let limits = CallerLimits { settles_per_minute: Some(1), settlements_per_day: Some(1), ..CallerLimits::default() };
    let facilitator = facilitator(limits);
    for _ in 0..3 {
        let answer = shop(&facilitator, "/settle", &request(1)).await;
        assert_eq!((&answer.json["success"], &answer.json["transaction"]), (&json!(true), &json!(transaction(1))));
    }
    for other in [request(2), request_for(1, "0xSecondSeller", "10000")] {
        let answer = shop(&facilitator, "/settle", &other).await;
        assert_eq!((answer.status, answer.reason()), (StatusCode::TOO_MANY_REQUESTS, "quota_exceeded"));
        assert_eq!((&answer.json["success"], &answer.json["network"]), (&json!(false), &json!("eip155:84532")));
    }
    tokio::time::advance(std::time::Duration::from_mins(1)).await;
    let answer = shop(&facilitator, "/settle", &request(2)).await;
    assert_eq!((answer.status, answer.reason()), (StatusCode::TOO_MANY_REQUESTS, "quota_exceeded"));
    assert!(answer.message().contains("1 settlements a day"), "{}", answer.message());
    assert!(answer.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() > 60);
    tokio::time::advance(std::time::Duration::from_hours(24)).await;
    assert_eq!(shop(&facilitator, "/settle", &request(2)).await.json["success"], json!(true));
}

#[tokio::test]
async fn what_was_not_sent_does_not_count_against_the_day() {
    let facilitator = facilitator(CallerLimits { settlements_per_day: Some(1), ..CallerLimits::default() });
    let mut forged = request(1);
    forged["paymentPayload"]["payload"]["signature"] = json!("forged");
    assert_eq!(shop(&facilitator, "/settle", &forged).await.reason(), "invalid_exact_evm_signature");
    facilitator.chain.fault(Fault::OutboxFails);
    assert_eq!(shop(&facilitator, "/settle", &request(1)).await.status, StatusCode::SERVICE_UNAVAILABLE);
    facilitator.chain.fault(Fault::None);
    assert_eq!(shop(&facilitator, "/settle", &request(1)).await.json["success"], json!(true));
    assert_eq!(shop(&facilitator, "/settle", &request(2)).await.reason(), "quota_exceeded");
}
