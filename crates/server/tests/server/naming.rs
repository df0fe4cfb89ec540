//! Purchases with a name (`payment-identifier`): made once, with however many payments they are asked for.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::routing::get;
use farthing_core::facilitator::FacilitatorError;
use farthing_core::reason::{Reason, Refusal};
use farthing_core::wire::{SettleResponse, VerifyResponse};
use farthing_server::{DEFAULT_KEEP_ANSWER_SECONDS, Server};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::support::{
    Answer, Fault, NETWORK, PATIENCE, Shop, TRANSACTION, fetch, payment, replica, send, success, with_payment,
};

const NAME: &str = "purchase-2026_001";
const COPIES: usize = 100;

/// `/report` for a cent, which wants names or needs them.
fn app_of(shop: &Shop, server: &Server, required: bool) -> Router {
    let runs = Arc::clone(&shop.runs);
    let report = move || async move {
        let run = runs.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        format!("report {run}")
    };
    let layer = server.price("$0.01").unwrap().payment_identifier(required).unwrap();
    Router::new().route("/report", get(report).layer(layer))
}

fn app(shop: &Shop) -> Router {
    app_of(shop, &shop.server, false)
}

/// A payment for a purchase of that name.
async fn named(app: &Router, uri: &str, nonce: &str, name: &str) -> Value {
    let terms = fetch(app, uri).await.terms();
    let mut paid = payment(&terms, nonce);
    paid["extensions"] = terms["extensions"].clone();
    paid["extensions"]["payment-identifier"]["info"]["id"] = json!(name);
    paid
}

async fn buy(app: &Router, nonce: &str, name: &str) -> Answer {
    send(app, with_payment("/report", &named(app, "/report", nonce, name).await)).await
}

fn told(answer: &Answer) -> (StatusCode, &str, String) {
    let settlement =
        if answer.headers.contains_key("payment-response") { answer.settlement().transaction } else { String::new() };
    (answer.status, answer.text(), settlement)
}

fn first_report() -> (StatusCode, &'static str, String) {
    (StatusCode::OK, "report 0", TRANSACTION.to_owned())
}

/// A settlement for that payer.
fn settled_by(payer: &str, transaction: &str) -> SettleResponse {
    let success = success(&NETWORK.parse().unwrap());
    SettleResponse { payer: Some(payer.parse().unwrap()), transaction: transaction.to_owned(), ..success }
}

#[tokio::test]
async fn another_payment_for_the_same_purchase_gets_its_answer_and_the_first_settlement_and_costs_nothing() {
    let mut shop = Shop::open().await;
    let first = app(&shop);
    let answer = buy(&first, "1", NAME).await;
    assert_eq!(told(&answer), first_report());
    assert_eq!(shop.written(), ["settling", "served"]);
    let elsewhere = app_of(&shop, &replica(&shop).await, false);
    for (app, nonce) in [(&first, "1"), (&first, "2"), (&elsewhere, "1"), (&elsewhere, "3")] {
        let again = buy(app, nonce, NAME).await;
        assert_eq!((again.status, &again.headers, &again.body), (answer.status, &answer.headers, &answer.body), "{nonce}");
    }
    assert_eq!((shop.runs(), shop.facilitator.calls()), (1, (3, 1)), "a new payment is verified, and a known one is not");
    assert_eq!(shop.written(), ["cancelled"], "the other one was cancelled at the other server");
    let other = buy(&first, "2", "purchase-2026_002").await;
    assert_eq!(other.text(), "report 1", "a payment that was not needed is as good as new");
}

#[tokio::test]
async fn a_payment_that_is_no_good_opens_no_answer() {
    let shop = Shop::open().await;
    let app = app(&shop);
    buy(&app, "1", NAME).await;
    let refusal = Refusal::new(Reason::InsufficientFunds, "as the test wished");
    shop.facilitator.will_verify(Ok(VerifyResponse::invalid(refusal, None)));
    let answer = buy(&app, "2", NAME).await;
    assert_eq!((answer.status, &answer.terms()["error"]), (StatusCode::PAYMENT_REQUIRED, &json!("insufficient_funds")));
    assert_eq!(shop.facilitator.calls(), (2, 1));
}

#[tokio::test]
async fn a_name_is_its_payers_alone() {
    let shop = Shop::open().await;
    let app = app(&shop);
    let stranger = "0x0000000000000000000000000000000000000aBc";
    shop.facilitator.will_settle(Ok(settled_by(stranger, "0x2222")));
    // Facilitators are free in the letter case of an address.
    for (nonce, payer) in [("1", stranger), ("2", &stranger.to_lowercase())] {
        shop.facilitator.will_verify(Ok(VerifyResponse::valid(payer.parse().unwrap())));
        assert_eq!(told(&buy(&app, nonce, NAME).await), (StatusCode::OK, "report 0", "0x2222".to_owned()));
    }
    assert_eq!(buy(&app, "3", NAME).await.text(), "report 1");
    assert_eq!(shop.runs(), 2);
}

#[tokio::test]
async fn another_request_under_the_same_name_is_a_conflict_that_costs_nothing() {
    let mut shop = Shop::open().await;
    let dear = shop.server.price("$0.02").unwrap().payment_identifier(false).unwrap();
    let app = app(&shop).route("/dear", get(|| async { "dear" }).layer(dear));
    buy(&app, "1", NAME).await;
    shop.written();
    for uri in ["/report?page=2", "/dear"] {
        let paid = named(&app, uri, "2", NAME).await;
        let answer = send(&app, with_payment(uri, &paid)).await;
        assert_eq!((answer.status, &answer.json()["error"]), (StatusCode::CONFLICT, &json!("payment_identifier_conflict")));
        let message = answer.json()["message"].to_string();
        assert!(message.contains("payment-identifier.info.id") && message.contains("nothing was charged"), "{message}");
        assert_eq!(answer.header("retry-after"), "", "it will never do");
    }
    assert_eq!((shop.facilitator.calls().1, shop.written()), (1, vec!["cancelled", "cancelled"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_hundred_copies_and_a_hundred_payments_under_one_name_one_is_charged() {
    let shop = Shop::open().await;
    let apps = [app(&shop), app_of(&shop, &replica(&shop).await, false)];
    let mut payments = vec![named(&apps[0], "/report", "the same", NAME).await; COPIES];
    for number in 0..COPIES {
        payments.push(named(&apps[0], "/report", &number.to_string(), NAME).await);
    }
    let requests = payments.iter().enumerate().map(|(number, paid)| {
        let (app, paid) = (apps[number % 2].clone(), paid.clone());
        tokio::spawn(async move { send(&app, with_payment("/report", &paid)).await })
    });
    for request in requests.collect::<Vec<_>>() {
        let answer = request.await.unwrap();
        if answer.status == StatusCode::CONFLICT {
            assert_eq!((&answer.json()["error"], answer.header("retry-after")), (&json!("payment_in_flight"), "5"));
        } else {
            assert_eq!(told(&answer), first_report());
        }
    }
    assert_eq!((shop.runs(), shop.facilitator.calls().1), (1, 1));
    for (number, paid) in payments.iter().enumerate() {
        assert_eq!(told(&send(&apps[number % 2], with_payment("/report", paid)).await), first_report());
    }
    assert_eq!((shop.runs(), shop.facilitator.calls().1), (1, 1));
}

#[tokio::test]
async fn while_a_purchase_is_under_way_another_payment_for_it_waits() {
    let shop = Shop::open().await;
    let (started, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, wait) = (Arc::clone(&started), Arc::clone(&go_on));
    let slow = move || async move {
        tell.notify_one();
        wait.notified().await;
        "report 0"
    };
    let layer = shop.server.price("$0.01").unwrap().payment_identifier(true).unwrap();
    let slow = Router::new().route("/report", get(slow).layer(layer));
    let paid = named(&slow, "/report", "1", NAME).await;
    let app = slow.clone();
    let request = tokio::spawn(async move { send(&app, with_payment("/report", &paid)).await });
    tokio::time::timeout(PATIENCE, started.notified()).await.unwrap();
    let answer = buy(&slow, "2", NAME).await;
    assert_eq!((answer.status, &answer.json()["error"]), (StatusCode::CONFLICT, &json!("payment_in_flight")));
    assert_eq!(answer.header("retry-after"), "5");
    go_on.notify_one();
    assert_eq!(told(&request.await.unwrap()), first_report());
    assert_eq!(told(&buy(&slow, "2", NAME).await), first_report());
    assert_eq!(shop.facilitator.calls(), (3, 1));
}

#[tokio::test]
async fn while_nobody_knows_whether_a_purchase_was_paid_for_no_other_payment_is_charged() {
    let shop = Shop::open().await;
    let app = app(&shop);
    shop.facilitator.will_settle(Err(FacilitatorError::Indeterminate("timed out".into())));
    assert_eq!(buy(&app, "1", NAME).await.status, StatusCode::SERVICE_UNAVAILABLE);
    let answer = buy(&app, "2", NAME).await;
    assert_eq!((answer.status, &answer.terms()["error"]), (StatusCode::PAYMENT_REQUIRED, &json!("settlement_pending")));
    assert!(answer.json()["message"].as_str().unwrap().contains("present that first payment"), "{}", answer.text());
    assert_eq!(shop.facilitator.calls(), (2, 1));
    let first = buy(&app, "1", NAME).await;
    assert_eq!((first.status, first.text()), (StatusCode::OK, "report 1"));
    assert_eq!(buy(&app, "2", NAME).await.text(), "report 1");
    assert_eq!((shop.runs(), shop.facilitator.calls()), (2, (3, 2)));
}

#[tokio::test]
async fn a_purchase_that_came_to_nothing_frees_its_name() {
    let shop = Shop::open().await;
    let failing = shop.server.price("$0.01").unwrap().payment_identifier(false).unwrap();
    let failing = Router::new().route("/report", get(|| async { StatusCode::NOT_FOUND }).layer(failing));
    assert_eq!(buy(&failing, "1", NAME).await.status, StatusCode::NOT_FOUND);
    let app = app(&shop);
    let refusal = crate::support::refused(Reason::InsufficientFunds, "");
    shop.facilitator.will_settle(Ok(refusal));
    assert_eq!(buy(&app, "2", NAME).await.status, StatusCode::PAYMENT_REQUIRED);
    let answer = buy(&app, "3", NAME).await;
    assert_eq!((answer.status, answer.text()), (StatusCode::OK, "report 1"));
}

#[tokio::test]
async fn once_its_answer_is_forgotten_a_purchase_is_still_not_made_again() {
    let shop = Shop::open().await;
    let app = app(&shop);
    buy(&app, "1", NAME).await;
    shop.clock.0.store(DEFAULT_KEEP_ANSWER_SECONDS - 1, Ordering::SeqCst);
    assert_eq!(told(&buy(&app, "2", NAME).await), first_report());
    shop.clock.0.store(DEFAULT_KEEP_ANSWER_SECONDS, Ordering::SeqCst);
    for nonce in ["1", "2"] {
        let answer = buy(&app, nonce, NAME).await;
        assert_eq!((answer.status, &answer.terms()["error"]), (StatusCode::PAYMENT_REQUIRED, &json!("payment_already_used")));
        assert!(answer.text().contains(TRANSACTION), "{}", answer.text());
    }
    assert_eq!((shop.runs(), shop.facilitator.calls().1), (1, 1));
}

#[tokio::test]
async fn a_name_is_needed_where_the_terms_say_so_and_must_be_one() {
    let shop = Shop::open().await;
    let app = app_of(&shop, &shop.server, true);
    let terms = fetch(&app, "/report").await.terms();
    let none = send(&app, with_payment("/report", &payment(&terms, "1"))).await;
    let short = buy(&app, "1", "too short").await;
    for answer in [none, short] {
        assert_eq!((answer.status, &answer.terms()["error"]), (StatusCode::PAYMENT_REQUIRED, &json!("invalid_payload")));
        assert!(answer.text().contains("payment-identifier.info.id"), "{}", answer.text());
    }
    assert_eq!(shop.facilitator.calls(), (0, 0));
    assert_eq!(told(&buy(&app, "1", NAME).await), first_report());
}

#[tokio::test]
async fn before_money_moves_in_advance_its_payer_and_the_name_are_checked() {
    let mut shop = Shop::open().await;
    let runs = Arc::clone(&shop.runs);
    let report = move || async move { format!("report {}", runs.fetch_add(1, Ordering::SeqCst)) };
    let layer = shop.server.price("$0.01").unwrap().payment_identifier(false).unwrap().upfront().unwrap();
    let app = Router::new().route("/report", get(report).layer(layer));
    assert_eq!(told(&buy(&app, "1", NAME).await), first_report());
    assert_eq!((shop.facilitator.calls(), shop.written()), ((1, 1), vec!["settling", "charged", "served"]));
    assert_eq!(told(&buy(&app, "2", NAME).await), first_report());
    assert_eq!((shop.runs(), shop.facilitator.calls(), shop.written()), (1, (2, 1), vec!["cancelled"]));
}

#[tokio::test]
async fn nothing_begins_under_a_name_that_could_not_be_taken() {
    let mut shop = Shop::open().await;
    let app = app(&shop);
    shop.deliveries.will_fail("named", Fault::Unwritten);
    let answer = buy(&app, "1", NAME).await;
    assert_eq!((answer.status, &answer.json()["error"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("book_unavailable")));
    shop.facilitator
        .will_verify(Ok(VerifyResponse { payer: None, ..VerifyResponse::valid(crate::support::PAYER.parse().unwrap()) }));
    let answer = buy(&app, "1", NAME).await;
    assert_eq!((answer.status, &answer.json()["error"]), (StatusCode::BAD_GATEWAY, &json!("facilitator_malformed")));
    assert_eq!((shop.runs(), shop.facilitator.calls(), shop.written()), (0, (2, 0), vec!["cancelled", "cancelled"]));
    assert_eq!(told(&buy(&app, "1", NAME).await), first_report());
}
