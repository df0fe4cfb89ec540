//! What the book keeps of a payment, and for how long.

use std::sync::atomic::Ordering;

use farthing_core::books::KEEP_EXPIRED_SECONDS;
use farthing_core::reason::{Reason, Refusal};
use farthing_core::time::UnixSeconds;
use farthing_core::wire::VerifyResponse;
use http::StatusCode;
use serde_json::{Value, json};

use crate::support::{Shop, fetch, payment, send, with_payment};

const EXPIRES_AT: u64 = 1_000;

async fn expiring(shop: &Shop, uri: &str) -> Value {
    let mut paid = payment(&fetch(&shop.app(), uri).await.terms(), "1");
    paid["payload"]["expires_at"] = json!(EXPIRES_AT);
    paid
}

#[tokio::test]
async fn the_book_holds_nothing_of_what_a_buyer_asked_for() {
    let shop = Shop::open().await;
    let mut requests = Vec::new();
    for uri in ["/report?name=somebody", "/report?name=somebody", "/report?name=another"] {
        let mut paid = expiring(&shop, uri).await;
        paid["resource"] = Value::Null;
        send(&shop.app(), with_payment(uri, &paid)).await;
        requests.push(shop.deliveries.presented().last().unwrap().request.clone());
    }
    assert_eq!(requests[0], requests[1]);
    assert_ne!(requests[0], requests[2]);
    for request in requests {
        assert!(request.0.len() == 64 && request.0.bytes().all(|digit| digit.is_ascii_hexdigit()), "{request:?}");
    }
}

#[tokio::test]
async fn the_book_hears_when_a_payment_expires_and_what_time_it_is() {
    let shop = Shop::open().await;
    shop.clock.0.store(7, Ordering::SeqCst);
    let paid = expiring(&shop, "/report").await;
    assert_eq!(send(&shop.app(), with_payment("/report", &paid)).await.status, StatusCode::OK);
    let presented = &shop.deliveries.presented()[0];
    assert_eq!((presented.expires_at, presented.now), (Some(UnixSeconds(EXPIRES_AT)), UnixSeconds(7)));
}

#[tokio::test]
async fn what_the_book_may_have_forgotten_buys_nothing_whatever_the_facilitator_says() {
    let mut shop = Shop::open().await;
    let paid = expiring(&shop, "/report").await;
    assert_eq!(send(&shop.app(), with_payment("/report", &paid)).await.status, StatusCode::OK);
    let ask_at = async |now: u64, nonce: &str| {
        shop.clock.0.store(now, Ordering::SeqCst);
        let mut paid = paid.clone();
        paid["payload"]["nonce"] = json!(nonce);
        let answer = send(&shop.app(), with_payment("/report", &paid)).await;
        (answer.status, answer.terms()["error"].as_str().unwrap().to_owned())
    };
    let refused = |error: &str| (StatusCode::PAYMENT_REQUIRED, error.to_owned());
    let last = EXPIRES_AT + KEEP_EXPIRED_SECONDS;
    assert_eq!(ask_at(last, "1").await, refused("payment_already_used"));
    assert_eq!(ask_at(last + 1, "2").await, refused("payment_expired"));
    assert_eq!(ask_at(last + 1, "3").await, refused("payment_expired"), "by now the first one is forgotten");
    assert_eq!(ask_at(last + 1, "1").await, refused("payment_expired"));
    shop.facilitator
        .will_verify(Ok(VerifyResponse::invalid(Refusal::new(Reason::InsufficientFunds, "as the test wished"), None)));
    assert_eq!(ask_at(last + 1, "1").await, refused("insufficient_funds"), "what the facilitator says comes first");
    assert_eq!((shop.runs(), shop.facilitator.calls().1), (1, 1));
    assert_eq!(shop.written(), ["settling", "served", "cancelled", "cancelled", "cancelled", "cancelled"]);
}
