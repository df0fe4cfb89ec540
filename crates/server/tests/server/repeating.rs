//! Answers that are kept: who has paid for one gets it again, without work and without another settlement.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::response::{AppendHeaders, IntoResponse};
use axum::routing::get;
use farthing_core::books::{KEEP_EXPIRED_SECONDS, MemoryDeliveries};
use farthing_core::time::Clock;
use farthing_core::wire::{PaymentPayload, Version};
use farthing_server::{
    Admission, Answer as KeptAnswer, DEFAULT_KEEP_UNNAMED_ANSWER_SECONDS, Gate, KeepAnswers, Repeat, RequestFacts, Server,
    Settled,
};
use http::StatusCode;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::support::{Answer, FakeFacilitator, Shop, clock, fetch, payment, replica, send, with_payment};

/// On a clock that stands still: long after everything that is written in its own time.
const LATER: Duration = Duration::from_secs(10);

/// `/report` with an answer of every kind of part, on a server of the shop.
fn app(shop: &Shop, server: &Server) -> Router {
    let runs = Arc::clone(&shop.runs);
    let report = move || async move {
        let run = runs.fetch_add(1, Ordering::SeqCst);
        let headers = [("set-cookie", "a=1"), ("set-cookie", "b=2"), ("vary", "Accept"), ("x-run", ["first", "second"][run])];
        (StatusCode::CREATED, AppendHeaders(headers), b"\0\xff report".to_vec()).into_response()
    };
    Router::new().route("/report", get(report).layer(server.price("$0.01").unwrap()))
}

async fn pay(app: &Router, nonce: &str) -> Value {
    payment(&fetch(app, "/report").await.terms(), nonce)
}

fn assert_same(one: &Answer, other: &Answer) {
    assert_eq!((one.status, &one.headers, &one.body), (other.status, &other.headers, &other.body));
}

fn assert_used_up(answer: &Answer) {
    assert_eq!((answer.status, &answer.terms()["error"]), (StatusCode::PAYMENT_REQUIRED, &json!("payment_already_used")));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_got_lost_with_its_server_is_given_to_the_byte_by_another_one() {
    let shop = Shop::open().await;
    let first = app(&shop, &shop.server);
    let paid = pay(&first, "1").await;
    // Its server wrote it down and died before the connection had all of it.
    let (lost, body) = first.oneshot(with_payment("/report", &paid)).await.unwrap().into_parts();
    assert_eq!(lost.status, StatusCode::CREATED);
    tokio::time::sleep(LATER).await;
    shop.deliveries.inner.die();
    let next = app(&shop, &replica(&shop).await);
    for _ in 0..2 {
        let again = send(&next, with_payment("/report", &paid)).await;
        assert_eq!((again.status, &again.headers, &*again.body), (lost.status, &lost.headers, b"\0\xff report".as_slice()));
    }
    drop(body);
    assert_eq!((shop.runs(), shop.facilitator.calls()), (1, (1, 1)));
    let mut other = paid.clone();
    other["payload"]["comment"] = json!("more");
    assert_used_up(&send(&next, with_payment("/report", &other)).await);
    other = paid;
    other["resource"] = Value::Null;
    assert_used_up(&send(&next, with_payment("/report?other", &other)).await);
    shop.clock.0.store(DEFAULT_KEEP_UNNAMED_ANSWER_SECONDS, Ordering::SeqCst);
    assert_used_up(&send(&next, with_payment("/report", &pay(&next, "1").await)).await);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_went_out_is_given_to_nobody_by_the_next_server_unless_that_is_what_it_is_kept_for() {
    for (repeat, name, is_given) in
        [(Repeat::Guarded, None, false), (Repeat::Always, None, true), (Repeat::Guarded, Some("pay_1234567890abcdef"), true)]
    {
        let keep = KeepAnswers { repeat, ..KeepAnswers::default() };
        let shop = Shop::with(|builder| builder.keep_answers(keep)).await;
        let first = app(&shop, &shop.server);
        let mut paid = pay(&first, "1").await;
        if let Some(name) = name {
            paid["extensions"] = json!({"payment-identifier": {"info": {"required": false, "id": name}}});
        }
        let answer = send(&first, with_payment("/report", &paid)).await;
        assert_eq!(answer.status, StatusCode::CREATED);
        tokio::time::sleep(LATER).await;
        shop.deliveries.inner.die();
        let next = app(&shop, &replica(&shop).await);
        let again = send(&next, with_payment("/report", &paid)).await;
        if is_given {
            assert_same(&answer, &again);
        } else {
            assert_used_up(&again);
        }
        assert_eq!((shop.runs(), shop.facilitator.calls()), (1, (1, 1)), "{repeat:?} {name:?}");
    }
}

#[tokio::test]
async fn a_settled_payment_that_anybody_may_have_copied_from_the_chain_opens_nothing_while_its_server_lives() {
    let shop = Shop::open().await;
    let first = app(&shop, &shop.server);
    let paid = pay(&first, "1").await;
    assert_eq!(send(&first, with_payment("/report", &paid)).await.status, StatusCode::CREATED);
    for app in [first, app(&shop, &replica(&shop).await)] {
        assert_used_up(&send(&app, with_payment("/report", &paid)).await);
    }
    let always = KeepAnswers { repeat: Repeat::Always, ..KeepAnswers::default() };
    let shop = Shop::with(|builder| builder.keep_answers(always)).await;
    let open = app(&shop, &shop.server);
    let paid = pay(&open, "1").await;
    let answer = send(&open, with_payment("/report", &paid)).await;
    assert_same(&answer, &send(&open, with_payment("/report", &paid)).await);
    assert_eq!(shop.runs(), 1);
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_delivered_and_not_kept() {
    for (max_bytes, kept) in [(1_000, true), (20, false), (0, false)] {
        let keep = KeepAnswers { max_bytes, repeat: Repeat::Always, ..KeepAnswers::default() };
        let mut shop = Shop::with(|builder| builder.keep_answers(keep)).await;
        let app = app(&shop, &shop.server);
        let paid = pay(&app, "1").await;
        assert_eq!(send(&app, with_payment("/report", &paid)).await.status, StatusCode::CREATED);
        let again = send(&app, with_payment("/report", &paid)).await;
        assert_eq!(again.status == StatusCode::CREATED, kept, "{max_bytes}");
        assert_eq!((shop.runs(), shop.facilitator.calls(), shop.written()), (1, (1, 1), vec!["settling", "served"]));
    }
}

#[tokio::test]
async fn an_answer_is_kept_for_its_time_and_then_the_fact_alone() {
    let keep = KeepAnswers { unnamed_seconds: 60, repeat: Repeat::Always, ..KeepAnswers::default() };
    let shop = Shop::with(|builder| builder.keep_answers(keep)).await;
    let app = app(&shop, &shop.server);
    let mut paid = pay(&app, "1").await;
    paid["payload"]["expires_at"] = json!(1_000);
    let answer = send(&app, with_payment("/report", &paid)).await;
    for (now, kept) in [(0, true), (59, true), (60, false), (1_000 + KEEP_EXPIRED_SECONDS, false)] {
        shop.clock.0.store(now, Ordering::SeqCst);
        let again = send(&app, with_payment("/report", &paid)).await;
        if kept { assert_same(&answer, &again) } else { assert_used_up(&again) }
    }
    assert_eq!((shop.runs(), shop.facilitator.calls()), (1, (1, 1)));
}

/// The gate alone, as another transport would use it.
#[tokio::test]
async fn any_transport_keeps_its_answers_in_its_own_form() {
    let (facilitator, book) = (Arc::new(FakeFacilitator::new()), MemoryDeliveries::default());
    let shop = Shop::open().await;
    let gate = |book: MemoryDeliveries| Gate::new(Arc::clone(&facilitator) as _, Arc::new(book), clock() as Arc<dyn Clock>);
    let route = shop.server.route(&"$0.01".parse().unwrap()).unwrap();
    let facts = RequestFacts::http("GET", "https://tools.example/search".to_owned());
    let terms = route.terms(Version::V2, &facts.resource_url, "").unwrap();
    let paid = || PaymentPayload::read(&payment(&serde_json::from_str(&terms).unwrap(), "1").to_string()).unwrap();
    let first = gate(book.clone());
    let Admission::Paid(admitted) = first.admit(&route, Some(paid()), &facts).await else {
        panic!("a good payment was not admitted");
    };
    let answer = KeptAnswer { head: b"head".to_vec(), body: "body".into() };
    let Settled::Charged(settlement) = first.settle_and_keep(admitted, Some(answer)).await else {
        panic!("it did not settle");
    };
    let next = gate(book.join());
    book.die();
    let Admission::Repeated(repeated) = next.admit(&route, Some(paid()), &facts).await else {
        panic!("the answer was not given again");
    };
    assert_eq!((&*repeated.head, &*repeated.body, repeated.settlement), (b"head".as_slice(), b"body".as_slice(), settlement));
    assert_eq!(facilitator.calls(), (1, 1));
}
