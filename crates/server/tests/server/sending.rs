//! Answers that are paid for at their head and go out as they come: what the book says meanwhile, and when they break off.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use axum::routing::any;
use bytes::Bytes;
use farthing_core::reason::Reason;
use farthing_server::{MAX_SENDS, RouteError, SEND_AGAIN_SECONDS, Server};
use futures_util::{StreamExt, stream};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::sync::{Notify, mpsc};
use tower::ServiceExt;

use crate::support::{Answer, Fault, MeteredScheme, Shop, fetch, payment, refused, replica, send, with_payment};

type Chunk = Result<&'static str, io::Error>;
type Handler = Arc<dyn Fn() -> Body + Send + Sync>;

/// `/file` for a cent, paid at the head.
fn app_of(shop: &Shop, server: &Server, handler: &Handler) -> Router {
    let (runs, handler) = (Arc::clone(&shop.runs), Arc::clone(handler));
    let file = move || {
        runs.fetch_add(1, Ordering::SeqCst);
        let body = handler();
        async move { Response::new(body) }
    };
    Router::new().route("/file", any(file).layer(server.price("$0.01").unwrap().settling_at_head().unwrap()))
}

fn app(shop: &Shop, body: impl Fn() -> Body + Send + Sync + 'static) -> Router {
    let handler: Handler = Arc::new(body);
    app_of(shop, &shop.server, &handler)
}

/// Of a length that nobody knows before.
fn of(chunks: Vec<Chunk>) -> Body {
    Body::from_stream(stream::iter(chunks))
}

fn whole() -> Body {
    of(vec![Ok("first "), Ok("last")])
}

fn broken() -> Body {
    of(vec![Ok("first "), Err(io::Error::other("lost"))])
}

async fn terms(app: &Router) -> Value {
    fetch(app, "/file").await.terms()
}

/// Sends a payment and reads the answer: what came of it, and whether all of it did.
async fn pay(app: &Router, payment: &Value) -> (Response, String, bool) {
    let (parts, mut body) = app.clone().oneshot(with_payment("/file", payment)).await.unwrap().into_parts();
    let mut text = String::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return (Response::from_parts(parts, Body::empty()), text, false) };
        text += std::str::from_utf8(frame.data_ref().unwrap()).unwrap();
    }
    (Response::from_parts(parts, Body::empty()), text, true)
}

#[tokio::test]
async fn an_answer_leaves_while_it_is_made_and_its_payment_has_settled_by_then() {
    let mut shop = Shop::open().await;
    let (feed, chunks) = mpsc::unbounded_channel::<&'static str>();
    let chunks = std::sync::Mutex::new(Some(chunks));
    let app = app(&shop, move || {
        let chunks = chunks.lock().unwrap().take().unwrap();
        Body::from_stream(stream::unfold(chunks, |mut chunks| async {
            chunks.recv().await.map(|text| (Ok::<_, Infallible>(text), chunks))
        }))
    });
    let payment = payment(&terms(&app).await, "1");
    let answer = app.clone().oneshot(with_payment("/file", &payment)).await.unwrap();
    assert_eq!((answer.status(), shop.facilitator.calls()), (StatusCode::OK, (1, 1)));
    assert!(answer.headers().contains_key("payment-response"));
    assert_eq!(answer.headers()["cache-control"], "private, no-store");
    assert_eq!(shop.written(), ["settling", "charged"]);
    let mut body = answer.into_body();
    feed.send("first ").unwrap();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "first ");
    assert!(shop.written().is_empty(), "it is not whole yet");
    assert_eq!(send(&app, with_payment("/file", &payment)).await.status, StatusCode::CONFLICT, "it is under way");
    feed.send("last").unwrap();
    drop(feed);
    assert_eq!(body.collect().await.unwrap().to_bytes(), "last");
    assert_eq!(shop.next_written().await, Some("served"));
    let again = send(&app, with_payment("/file", &payment)).await;
    assert_eq!((again.status, &again.terms()["error"]), (StatusCode::PAYMENT_REQUIRED, &"payment_already_used".into()));
    assert_eq!((shop.runs(), shop.facilitator.calls()), (1, (1, 1)));
}

#[tokio::test]
async fn what_broke_off_is_fetched_again_with_the_same_payment_and_paid_once() {
    let mut shop = Shop::open().await;
    let tries = std::sync::atomic::AtomicUsize::new(0);
    let app = app(&shop, move || if tries.fetch_add(1, Ordering::SeqCst) == 0 { broken() } else { whole() });
    let payment = payment(&terms(&app).await, "1");
    let (answer, text, is_whole) = pay(&app, &payment).await;
    assert_eq!((answer.status(), text.as_str(), is_whole), (StatusCode::OK, "first ", false));
    let first = answer.headers()["payment-response"].clone();
    assert_eq!([shop.next_written().await, shop.next_written().await], [Some("settling"), Some("charged")]);
    assert_eq!(shop.next_written().await, Some("unsettled"));
    // For another request it buys nothing.
    let mut elsewhere = payment.clone();
    elsewhere.as_object_mut().unwrap().remove("resource");
    let other = send(&app, with_payment("/file?part=2", &elsewhere)).await;
    assert_eq!(other.terms()["error"], "payment_already_used");
    let (answer, text, is_whole) = pay(&app, &payment).await;
    assert_eq!((answer.status(), text.as_str(), is_whole), (StatusCode::OK, "first last", true));
    assert_eq!(answer.headers()["payment-response"], first, "it is the same settlement");
    assert_eq!([shop.next_written().await, shop.next_written().await], [Some("charged"), Some("served")]);
    assert_eq!((shop.runs(), shop.facilitator.calls()), (2, (1, 1)));
}

#[tokio::test]
async fn a_client_that_leaves_may_come_back_for_the_rest() {
    let mut shop = Shop::open().await;
    let app = app(&shop, whole);
    let payment = payment(&terms(&app).await, "1");
    let mut body = app.clone().oneshot(with_payment("/file", &payment)).await.unwrap().into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "first ");
    assert_eq!(shop.written(), ["settling", "charged"]);
    drop(body);
    assert_eq!(shop.next_written().await, Some("unsettled"));
    assert!(pay(&app, &payment).await.2);
    assert_eq!(shop.facilitator.calls(), (1, 1));
}

#[tokio::test]
async fn it_begins_to_go_out_so_often_and_no_more() {
    let mut shop = Shop::open().await;
    let app = app(&shop, broken);
    let payment = payment(&terms(&app).await, "1");
    for _ in 0..MAX_SENDS {
        assert!(!pay(&app, &payment).await.2);
        while shop.next_written().await != Some("unsettled") {}
    }
    let times = usize::try_from(MAX_SENDS).unwrap();
    let last = send(&app, with_payment("/file", &payment)).await;
    assert_eq!((last.status, &last.terms()["error"]), (StatusCode::PAYMENT_REQUIRED, &"payment_already_used".into()));
    assert!(last.settlement().success, "it is told where the money is");
    assert!(last.text().contains("show the seller the transaction"), "{}", last.text());
    assert_eq!((shop.runs(), shop.facilitator.calls(), shop.written()), (times, (1, 1), vec!["served"]));
    assert_eq!(send(&app, with_payment("/file", &payment)).await.terms()["error"], "payment_already_used");
}

#[tokio::test]
async fn it_begins_again_for_so_long_and_no_longer() {
    for (seconds, runs) in [(SEND_AGAIN_SECONDS, 2), (SEND_AGAIN_SECONDS + 1, 1)] {
        let mut shop = Shop::open().await;
        let app = app(&shop, broken);
        let payment = payment(&terms(&app).await, "1");
        assert!(!pay(&app, &payment).await.2);
        while shop.next_written().await != Some("unsettled") {}
        shop.clock.0.fetch_add(seconds, Ordering::SeqCst);
        let _refused = pay(&app, &payment).await;
        assert_eq!((shop.runs(), shop.facilitator.calls()), (runs, (1, 1)), "after {seconds} seconds");
    }
}

#[tokio::test]
async fn what_is_small_enough_to_be_kept_is_held_and_so_is_every_method_but_get() {
    let held: Handler = Arc::new(|| {
        let parts = [Ok::<_, io::Error>(Bytes::from_static(b"half")), Err(io::Error::other("lost"))];
        let lost = http_body_util::StreamBody::new(stream::iter(parts).map(|part| part.map(http_body::Frame::data)));
        Body::new(Sized { body: lost, bytes: 1_000 })
    });
    let mut shop = Shop::open().await;
    let app_held = app_of(&shop, &shop.server, &held);
    let answer = send(&app_held, with_payment("/file", &payment(&terms(&app_held).await, "1"))).await;
    assert_eq!((answer.status, &answer.json()["error"]), (StatusCode::INTERNAL_SERVER_ERROR, &"body_aborted".into()));
    assert_eq!((shop.facilitator.calls(), shop.written()), ((1, 0), vec!["cancelled"]), "nobody pays for it");

    let app = app(&shop, broken);
    let unpaid = send(&app, Request::post("/file").body(Body::empty()).unwrap()).await;
    let mut request = with_payment("/file", &payment(&unpaid.terms(), "2"));
    *request.method_mut() = http::Method::POST;
    let answer = send(&app, request).await;
    assert_eq!(answer.json()["error"], "body_aborted");
    assert_eq!((shop.facilitator.calls(), shop.written()), ((2, 0), vec!["cancelled"]));
}

/// A body that says how long it is going to be.
struct Sized<B> {
    body: B,
    bytes: u64,
}

impl<B: http_body::Body + Unpin> http_body::Body for Sized<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<B::Data>, B::Error>>> {
        std::pin::Pin::new(&mut self.body).poll_frame(context)
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.bytes)
    }
}

#[tokio::test]
async fn nothing_leaves_whose_payment_has_not_settled_or_is_not_in_the_book() {
    let mut shop = Shop::open().await;
    let app = app(&shop, whole);
    let paying = terms(&app).await;
    shop.facilitator.will_settle(Ok(refused(Reason::InsufficientFunds, "")));
    let unpaid = send(&app, with_payment("/file", &payment(&paying, "1"))).await;
    assert_eq!((unpaid.status, unpaid.text().contains("first")), (StatusCode::PAYMENT_REQUIRED, false));
    assert_eq!(shop.written(), ["settling", "cancelled"]);

    for (entry, settled, written) in [("settling", 0, vec!["cancelled"]), ("charged", 1, vec!["settling", "unsettled"])] {
        let before = shop.facilitator.calls().1;
        shop.deliveries.will_fail(entry, Fault::Unwritten);
        let payment = payment(&paying, entry);
        let withheld = send(&app, with_payment("/file", &payment)).await;
        assert_eq!((withheld.status, withheld.text().contains("first")), (StatusCode::SERVICE_UNAVAILABLE, false));
        assert_eq!((shop.facilitator.calls().1 - before, shop.written()), (settled, written));
        assert!(pay(&app, &payment).await.2, "the payment is still good");
        while shop.next_written().await != Some("served") {}
    }
}

#[tokio::test]
async fn another_server_goes_on_for_one_that_died_while_it_sent() {
    let shop = Shop::open().await;
    let stuck = Arc::new(Notify::new());
    let handler: Handler = Arc::new(move || {
        let stuck = Arc::clone(&stuck);
        let never = stream::once(async move {
            stuck.notified().await;
            Ok::<_, Infallible>("")
        });
        Body::from_stream(stream::once(async { Ok("first ") }).chain(never))
    });
    let here = app_of(&shop, &shop.server, &handler);
    let other: Handler = Arc::new(whole);
    let there = app_of(&shop, &replica(&shop).await, &other);
    let payment = payment(&terms(&here).await, "1");
    let mut body = here.clone().oneshot(with_payment("/file", &payment)).await.unwrap().into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "first ");
    assert_eq!(send(&there, with_payment("/file", &payment)).await.status, StatusCode::CONFLICT);
    shop.deliveries.inner.die();
    let (answer, text, is_whole) = pay(&there, &payment).await;
    assert_eq!((answer.status(), text.as_str(), is_whole), (StatusCode::OK, "first last", true));
    assert_eq!(shop.facilitator.calls(), (1, 1), "it was settled, and the book said so before anything left");
}

#[tokio::test]
async fn prices_that_are_known_at_the_end_are_not_settled_at_the_head() {
    let shop = Shop::with(|server| server.schemes(vec![Arc::new(MeteredScheme)])).await;
    let refused = shop.server.price_up_to("$0.01").unwrap().settling_at_head();
    assert!(matches!(refused.err(), Some(RouteError::MeteredHead)));
}

#[tokio::test]
async fn an_answer_that_fails_is_free_whatever_its_size() {
    let mut shop = Shop::open().await;
    let sorry = || async { (StatusCode::NOT_FOUND, whole()) };
    let layer = shop.server.price("$0.01").unwrap().settling_at_head().unwrap();
    let app = Router::new().route("/file", any(sorry).layer(layer));
    let answer: Answer = send(&app, with_payment("/file", &payment(&terms(&app).await, "1"))).await;
    assert_eq!((answer.status, answer.text()), (StatusCode::NOT_FOUND, "first last"));
    assert_eq!((shop.facilitator.calls(), shop.written()), ((1, 0), vec!["cancelled"]));
}
