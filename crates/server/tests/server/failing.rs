//! Work that fails, and clients that leave: nobody pays for that.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use http::StatusCode;
use tokio::sync::Notify;
use tower::ServiceExt;

use crate::support::{Fault, Shop, buy, fetch, payment, refused, send, with_payment};
use farthing_core::amount::Amount;
use farthing_core::facilitator::FacilitatorError;
use farthing_core::reason::Reason;

fn priced(shop: &Shop, handler: impl Fn() -> Response + Clone + Send + Sync + 'static) -> Router {
    let handler = move || async move { handler() };
    Router::new().route("/report", get(handler).layer(shop.server.price("$0.01").unwrap()))
}

#[tokio::test]
async fn an_answer_of_400_or_above_is_passed_on_and_free() {
    for status in [400, 401, 402, 404, 409, 429, 500, 503] {
        let status = StatusCode::from_u16(status).unwrap();
        let mut shop = Shop::open().await;
        let answer = move || (status, [("cache-control", "public"), ("payment-response", "forged")], "sorry").into_response();
        let app = priced(&shop, answer);
        let answer = buy(&app, "/report", "1").await;
        assert_eq!((answer.status, answer.text()), (status, "sorry"));
        assert_eq!(answer.header("cache-control"), "private, no-store");
        assert!(!answer.headers.contains_key("payment-response"));
        assert_eq!((shop.facilitator.calls(), shop.written()), ((1, 0), vec!["cancelled"]));
    }
}

#[tokio::test]
async fn a_redirect_is_an_answer_worth_its_money() {
    let shop = Shop::open().await;
    let app = priced(&shop, || (StatusCode::SEE_OTHER, [("location", "/elsewhere")]).into_response());
    let answer = buy(&app, "/report", "1").await;
    assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, "/elsewhere"));
    assert_eq!(shop.facilitator.calls(), (1, 1));
}

#[tokio::test]
async fn a_panic_is_500_and_free_and_the_payment_still_good() {
    let mut shop = Shop::open().await;
    let app = priced(&shop, || panic!("a secret of the handler's"));
    let answer = buy(&app, "/report", "1").await;
    assert_eq!((answer.status, &answer.json()["error"]), (StatusCode::INTERNAL_SERVER_ERROR, &"handler_panicked".into()));
    assert!(!answer.text().contains("secret"));
    assert_eq!((shop.facilitator.calls(), shop.written()), ((1, 0), vec!["cancelled"]));
    assert_eq!(buy(&shop.app(), "/report", "1").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_body_that_breaks_off_or_panics_is_free() {
    let broken = || {
        let parts = [Ok(Bytes::from_static(b"half")), Err(std::io::Error::other("lost"))];
        Body::from_stream(futures_util::stream::iter(parts)).into_response()
    };
    let panicking = || {
        let parts =
            futures_util::stream::poll_fn(|_| -> std::task::Poll<Option<Result<Bytes, Infallible>>> { panic!("half way") });
        Body::from_stream(parts).into_response()
    };
    for (handler, error) in [(broken as fn() -> Response, "body_aborted"), (panicking, "handler_panicked")] {
        let mut shop = Shop::open().await;
        let answer = buy(&priced(&shop, handler), "/report", "1").await;
        assert_eq!((answer.status, &answer.json()["error"]), (StatusCode::INTERNAL_SERVER_ERROR, &error.into()));
        assert!(!answer.text().contains("half"));
        assert_eq!((shop.facilitator.calls(), shop.written()), ((1, 0), vec!["cancelled"]));
    }
}

#[tokio::test]
async fn an_answer_too_large_to_hold_is_free() {
    let mut shop = Shop::with(|builder| builder.max_held_body_bytes(10)).await;
    assert_eq!(buy(&shop.app(), "/report", "1").await.status, StatusCode::OK, "ten bytes fit");
    let app = priced(&shop, || "eleven char".into_response());
    let answer = buy(&app, "/report", "2").await;
    assert_eq!((answer.status, &answer.json()["error"]), (StatusCode::INTERNAL_SERVER_ERROR, &"body_too_large".into()));
    assert_eq!((shop.facilitator.calls(), shop.written()), ((2, 1), vec!["settling", "served", "cancelled"]));
}

#[tokio::test]
async fn a_client_that_leaves_while_the_handler_works_is_not_charged_and_keeps_its_payment() {
    let mut shop = Shop::open().await;
    let started = Arc::new(Notify::new());
    let tell = Arc::clone(&started);
    let never = move || async move {
        tell.notify_one();
        std::future::pending::<()>().await;
    };
    let app = Router::new().route("/report", get(never).layer(shop.server.price("$0.01").unwrap()));
    let terms = fetch(&app, "/report").await.terms();
    let paid = payment(&terms, "1");
    let request = tokio::spawn(app.clone().oneshot(with_payment("/report", &paid)));
    started.notified().await;

    let answer = send(&app, with_payment("/report", &paid)).await;
    assert_eq!((answer.status, &answer.json()["error"]), (StatusCode::CONFLICT, &"payment_in_flight".into()));
    assert_eq!(answer.header("retry-after"), "5");

    request.abort();
    assert_eq!(shop.next_written().await, Some("cancelled"));
    assert_eq!(shop.facilitator.calls(), (1, 0));
    assert_eq!(buy(&shop.app(), "/report", "1").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_client_that_leaves_while_its_payment_settles_can_come_back_for_what_it_paid_for() {
    let mut shop = Shop::open().await;
    let app = shop.app();
    shop.facilitator.may_settle.forget_permits(1_000);
    let terms = fetch(&app, "/report").await.terms();
    let paid = payment(&terms, "1");
    let request = tokio::spawn(app.clone().oneshot(with_payment("/report", &paid)));
    shop.facilitator.settling.notified().await;
    request.abort();
    assert!(request.await.unwrap_err().is_cancelled());
    shop.facilitator.may_settle.add_permits(1);
    for written in ["settling", "served", "unsettled"] {
        assert_eq!(shop.next_written().await, Some(written));
    }
    assert_eq!(shop.facilitator.calls(), (1, 1), "it was settled to its end");
    let answer = send(&app, with_payment("/report", &paid)).await;
    assert_eq!((answer.status, answer.text()), (StatusCode::OK, "the report"));
    let answer = send(&app, with_payment("/report", &paid)).await;
    assert_eq!(answer.terms()["error"], "payment_already_used");
    assert_eq!((shop.runs(), shop.facilitator.calls(), shop.written()), (1, (1, 1), vec!["served"]), "the answer was kept");
}

#[tokio::test]
async fn a_client_that_leaves_while_its_delivery_is_written_down_can_come_back_for_it() {
    let mut shop = Shop::open().await;
    let app = shop.app();
    let terms = fetch(&app, "/report").await.terms();
    let paid = payment(&terms, "1");
    let mut request = Box::pin(app.clone().oneshot(with_payment("/report", &paid)));
    // One thread: whoever runs this has written that it was served before the request can be polled again.
    let served = async { while shop.next_written().await != Some("served") {} };
    tokio::select! {
        biased;
        () = served => {}
        _ = &mut request => panic!("it was polled after the book was written"),
    }
    drop(request);
    assert_eq!(shop.next_written().await, Some("unsettled"));
    let answer = send(&app, with_payment("/report", &paid)).await;
    assert_eq!((answer.status, answer.text()), (StatusCode::OK, "the report"));
}

/// The book is away for a while just when a payment is to be given back.
#[tokio::test(start_paused = true)]
async fn a_payment_is_given_back_once_the_book_can_be_written_again() {
    let outages = [(0, StatusCode::OK), (1, StatusCode::OK), (30, StatusCode::OK), (200, StatusCode::CONFLICT)];
    for (word, failing) in [("cancelled", true), ("unsettled", false)] {
        for (times, expected) in outages {
            let shop = Shop::open().await;
            let handler = move || async move { if failing { StatusCode::NOT_FOUND } else { StatusCode::OK } };
            let app = Router::new().route("/report", get(handler).layer(shop.server.price("$0.01").unwrap()));
            if !failing {
                shop.facilitator.will_settle(Err(FacilitatorError::Indeterminate("timed out".into())));
            }
            for _ in 0..times {
                shop.deliveries.will_fail(word, Fault::Unwritten);
            }
            let paid = payment(&fetch(&app, "/report").await.terms(), "1");
            let answer = send(&app, with_payment("/report", &paid)).await;
            assert_ne!(answer.status, StatusCode::OK);
            if times > 0 {
                let answer = send(&app, with_payment("/report", &paid)).await;
                assert_eq!(answer.status, StatusCode::CONFLICT, "{word} {times}");
            }
            // More than the hour for which it is tried.
            tokio::time::sleep(std::time::Duration::from_hours(2)).await;
            let answer = send(&shop.app(), with_payment("/report", &paid)).await;
            assert_eq!(answer.status, expected, "{word} {times}");
        }
    }
}

#[tokio::test]
async fn of_many_concurrent_copies_of_one_payment_one_is_served() {
    let shop = Shop::open().await;
    let app = shop.app();
    shop.facilitator.may_settle.forget_permits(1_000);
    let terms = fetch(&app, "/report").await.terms();
    let paid = payment(&terms, "1");
    let first = tokio::spawn(app.clone().oneshot(with_payment("/report", &paid)));
    shop.facilitator.settling.notified().await;
    for _ in 0..20 {
        assert_eq!(send(&app, with_payment("/report", &paid)).await.status, StatusCode::CONFLICT);
    }
    shop.facilitator.may_settle.add_permits(1);
    assert_eq!(first.await.unwrap().unwrap().status(), StatusCode::OK);
    assert_eq!((shop.runs(), shop.facilitator.calls()), (1, (1, 1)));
}

#[tokio::test]
async fn a_payment_that_may_have_been_charged_is_answered_for_although_the_price_has_changed_since() {
    let mut shop = Shop::open().await;
    let paid = payment(&fetch(&shop.app(), "/report").await.terms(), "1");
    for _ in 0..2 {
        shop.facilitator.will_settle(Ok(refused(Reason::SettlementPending, "0xabc")));
    }
    let pending = send(&shop.app(), with_payment("/report", &paid)).await;
    assert_eq!(pending.status, StatusCode::SERVICE_UNAVAILABLE);
    let dearer = shop.server.price("$0.02").unwrap();
    let dearer = Router::new().route("/report", get(|| async { "the report" }).layer(dearer));
    let new = send(&dearer, with_payment("/report", &payment(&fetch(&shop.app(), "/report").await.terms(), "2"))).await;
    assert_eq!(new.json()["error"], "No matching payment requirements", "the old price buys nothing new");
    let answer = send(&dearer, with_payment("/report", &paid)).await;
    assert_eq!((answer.status, answer.text()), (StatusCode::OK, "the report"));
    let settled = shop.facilitator.settled.lock().unwrap();
    assert!(settled.iter().all(|request| request.requirements.amount == Amount::from(10_000)), "what was signed for");
    drop(settled);
    assert_eq!(shop.written(), ["settling", "unsettled", "cancelled", "charged", "served"]);
}
