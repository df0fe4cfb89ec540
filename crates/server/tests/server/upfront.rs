//! Routes of the flow `upfront`: the money moves before the work.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use farthing_core::reason::Reason;
use farthing_core::scheme::PaymentFlow;
use farthing_server::{RouteError, Server};
use http::StatusCode;

use crate::support::{Fault, PATIENCE, Shop, TRANSACTION, buy, fetch, payment, refused, replica, send, with_payment};

/// `/report` for a cent in advance, on another server of the shop.
fn app_of(server: &Server, shop: &Shop) -> Router {
    let runs = Arc::clone(&shop.runs);
    let report = move || {
        runs.fetch_add(1, Ordering::SeqCst);
        std::future::ready("the report")
    };
    Router::new().route("/report", get(report).layer(server.price("$0.01").unwrap().upfront().unwrap()))
}

/// `/report` for a cent in advance, whose handler fails the first so many times.
fn app(shop: &Shop, failures: usize) -> Router {
    let (runs, facilitator) = (Arc::clone(&shop.runs), Arc::clone(&shop.facilitator));
    let report = move || {
        assert!(facilitator.calls().1 > 0, "nothing has been settled yet");
        let run = runs.fetch_add(1, Ordering::SeqCst);
        let answer: Response =
            if run < failures { StatusCode::BAD_GATEWAY.into_response() } else { "the report".into_response() };
        std::future::ready(answer)
    };
    let layer = shop.server.price("$0.01").unwrap().upfront().unwrap();
    Router::new().route("/report", get(report).layer(layer))
}

#[tokio::test]
async fn the_terms_name_the_flow_and_only_where_it_is_not_the_usual_one() {
    let shop = Shop::open().await;
    let terms = fetch(&app(&shop, 0), "/report").await.terms();
    assert_eq!(terms["accepts"][0]["extra"]["paymentFlow"], "upfront");
    assert!(fetch(&shop.app(), "/report").await.terms()["accepts"][0]["extra"]["paymentFlow"].is_null());
    let layer = shop.server.price("$0.01").unwrap().description("weather").upfront().unwrap().max_timeout_seconds(7).unwrap();
    let offer = layer.route().offers().next().unwrap().clone();
    assert_eq!((offer.extra["paymentFlow"].as_str(), offer.max_timeout_seconds), (Some("upfront"), 7));
}

#[tokio::test]
async fn the_money_moves_before_the_work_and_the_facilitator_is_asked_once() {
    let mut shop = Shop::open().await;
    let answer = buy(&app(&shop, 0), "/report", "1").await;
    assert_eq!((answer.status, answer.text()), (StatusCode::OK, "the report"));
    assert_eq!(answer.settlement().transaction, TRANSACTION);
    assert_eq!((shop.facilitator.calls(), shop.runs()), ((0, 1), 1));
    assert_eq!(shop.written(), ["settling", "charged", "served"]);
    let again = buy(&app(&shop, 0), "/report", "1").await;
    assert_eq!(again.json()["error"], "payment_already_used");
}

#[tokio::test]
async fn a_payment_that_does_not_settle_buys_no_work_and_is_free_again() {
    let mut shop = Shop::open().await;
    shop.facilitator.will_settle(Ok(refused(Reason::InsufficientFunds, "")));
    let answer = buy(&app(&shop, 0), "/report", "1").await;
    assert_eq!(answer.status, StatusCode::PAYMENT_REQUIRED);
    assert_eq!(answer.settlement().error_reason, Some(Reason::InsufficientFunds));
    assert_eq!(answer.terms()["error"], "insufficient_funds");
    assert_eq!((shop.runs(), shop.written()), (0, vec!["settling", "cancelled"]));
    assert_eq!(buy(&app(&shop, 0), "/report", "1").await.text(), "the report");
}

#[tokio::test]
async fn a_handler_that_fails_has_been_paid_and_the_same_request_may_come_again() {
    let mut shop = Shop::open().await;
    let app = app(&shop, 1);
    let answer = buy(&app, "/report", "1").await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    assert_eq!((answer.settlement().success, answer.settlement().transaction.as_str()), (true, TRANSACTION));
    assert_eq!(shop.written(), ["settling", "charged", "unsettled"]);

    let other = buy(&app, "/report?of=another", "1").await;
    assert_eq!((other.status, other.json()["error"].as_str()), (StatusCode::PAYMENT_REQUIRED, Some("payment_already_used")));
    // The official facilitators refuse what they have carried out, so nobody is asked again.
    shop.facilitator.will_settle(Ok(refused(Reason::PaymentAlreadyUsed, "")));
    let answer = buy(&app, "/report", "1").await;
    assert_eq!((answer.status, answer.text()), (StatusCode::OK, "the report"));
    assert_eq!((answer.settlement().success, answer.settlement().transaction.as_str()), (true, TRANSACTION));
    assert_eq!((shop.runs(), shop.written()), (2, vec!["served"]));
    assert_eq!(shop.facilitator.calls(), (0, 1));
    assert_eq!(buy(&app, "/report", "1").await.json()["error"], "payment_already_used");
}

#[tokio::test]
async fn an_unknown_settlement_lets_nobody_in_and_may_be_presented_again() {
    let mut shop = Shop::open().await;
    for _ in 0..2 {
        shop.facilitator.will_settle(Ok(refused(Reason::SettlementPending, "0xabc")));
    }
    let answer = buy(&app(&shop, 0), "/report", "1").await;
    assert_eq!((answer.status, answer.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "5"));
    assert_eq!(answer.settlement().transaction, "0xabc");
    assert_eq!((shop.runs(), shop.written()), (0, vec!["settling", "unsettled"]));
    assert_eq!(buy(&app(&shop, 0), "/report", "1").await.text(), "the report");
}

#[tokio::test]
async fn nobody_is_asked_to_settle_what_the_book_cannot_hold() {
    let mut shop = Shop::open().await;
    shop.deliveries.will_fail("settling", Fault::Unwritten);
    let answer = buy(&app(&shop, 0), "/report", "1").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!((shop.facilitator.calls(), shop.runs(), shop.written()), ((0, 0), 0, vec!["cancelled"]));
}

#[tokio::test]
async fn no_work_begins_before_the_book_says_that_the_money_moved() {
    let mut shop = Shop::open().await;
    let app = app(&shop, 0);
    shop.deliveries.will_fail("charged", Fault::Unwritten);
    let answer = buy(&app, "/report", "1").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    let settlement = answer.settlement();
    assert_eq!((settlement.error_reason, &*settlement.transaction), (Some(Reason::SettlementPending), TRANSACTION));
    assert_eq!((shop.runs(), shop.written()), (0, vec!["settling", "unsettled"]));
    assert_eq!(buy(&app, "/report", "1").await.text(), "the report");
    assert_eq!((shop.runs(), shop.facilitator.calls()), (1, (0, 2)));
}

#[tokio::test]
async fn a_server_that_dies_at_work_leaves_the_settlement_to_the_next_one() {
    let shop = Shop::open().await;
    let stuck = || std::future::pending::<StatusCode>();
    let stuck = Router::new().route("/report", get(stuck).layer(shop.server.price("$0.01").unwrap().upfront().unwrap()));
    let paid = payment(&fetch(&stuck, "/report").await.terms(), "1");
    let mut request = Box::pin(send(&stuck, with_payment("/report", &paid)));
    let mut shop = shop;
    tokio::select! {
        biased;
        _ = &mut request => panic!("the work never ends"),
        () = async { while shop.next_written().await != Some("charged") {} } => {}
    }
    shop.deliveries.inner.die();
    // Nobody is asked again: the official facilitators refuse what they have carried out.
    shop.facilitator.will_settle(Ok(refused(Reason::PaymentAlreadyUsed, "")));
    let next = replica(&shop).await;
    let answer = send(&app_of(&next, &shop), with_payment("/report", &paid)).await;
    assert_eq!((answer.text(), answer.settlement().transaction.as_str()), ("the report", TRANSACTION));
    assert_eq!(shop.facilitator.calls(), (0, 1));
}

#[tokio::test]
async fn a_buyer_who_leaves_during_the_settlement_may_come_back_for_what_was_paid() {
    let mut shop = Shop::open().await;
    let app = app(&shop, 0);
    let paid = payment(&fetch(&app, "/report").await.terms(), "1");
    shop.facilitator.may_settle.forget_permits(usize::MAX);
    let (leaving, request) = (app.clone(), with_payment("/report", &paid));
    let visit = tokio::spawn(async move { send(&leaving, request).await.status });
    tokio::time::timeout(PATIENCE, shop.facilitator.settling.notified()).await.unwrap();
    visit.abort();
    assert!(visit.await.unwrap_err().is_cancelled());
    assert_eq!(shop.next_written().await, Some("settling"));
    shop.facilitator.may_settle.add_permits(10);
    assert_eq!((shop.next_written().await, shop.next_written().await), (Some("charged"), Some("unsettled")));
    assert_eq!(shop.runs(), 0);
    assert_eq!(send(&app, with_payment("/report", &paid)).await.text(), "the report");
    assert_eq!(shop.next_written().await, Some("served"));
}

#[tokio::test]
async fn a_scheme_that_has_no_such_flow_makes_no_such_offer() {
    for flow in [PaymentFlow::Upfront, PaymentFlow::Escrow] {
        let shop = Shop::with(|builder| {
            let scheme = crate::support::FakeScheme { flow };
            builder.schemes(vec![Arc::new(scheme)])
        })
        .await;
        assert!(matches!(shop.server.price("$1").map(|_| ()).unwrap_err(), RouteError::Flow { .. }), "{flow:?}");
    }
}
