//! Purchases that are bound to the body of their request: those with a name always, all others where the layer says so.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::body::Body;
use axum::routing::post;
use bytes::Bytes;
use farthing_core::facilitator::FacilitatorError;
use farthing_core::header;
use farthing_server::http::DEFAULT_MAX_BOUND_BODY_BYTES;
use farthing_server::quotes::{PRICED_BODY_TIMEOUT_SECONDS, reading_body};
use farthing_server::{ExtensionError, PaymentLayer, RouteError, SignInOptions};
use http::{Request, StatusCode};
use serde_json::{Value, json};

use crate::quote_support::{self, Prices};
use crate::sign_in_support::{self, signed, whom, with_sign_in};
use crate::support::{Answer, PAYER, Shop, payment, send};

const NAME: &str = "purchase-2026_001";
const URI: &str = "/report";

fn named_layer(shop: &Shop) -> PaymentLayer {
    shop.server.price("$0.01").unwrap().payment_identifier(false).unwrap()
}

/// Posts to `/report` are answered with the number of the run and the body that came.
fn app<P: Clone + Send + Sync + 'static>(shop: &Shop, layer: PaymentLayer<P>) -> Router {
    let runs = Arc::clone(&shop.runs);
    let handler = move |body: Bytes| {
        let run = runs.fetch_add(1, Ordering::SeqCst);
        std::future::ready([format!("{run} ").into_bytes(), body.to_vec()].concat())
    };
    Router::new().route(URI, post(handler)).route_layer(layer)
}

fn request(body: Body, paid: Option<&Value>) -> Request<Body> {
    let request = Request::post(URI);
    match paid {
        Some(paid) => request.header("payment-signature", header::encode(paid).unwrap()).body(body).unwrap(),
        None => request.body(body).unwrap(),
    }
}

async fn unnamed(app: &Router, nonce: &str) -> Value {
    payment(&send(app, request(Body::empty(), None)).await.terms(), nonce)
}

async fn named(app: &Router, nonce: &str) -> Value {
    let terms = send(app, request(Body::empty(), None)).await.terms();
    let mut paid = payment(&terms, nonce);
    paid["extensions"] = terms["extensions"].clone();
    paid["extensions"]["payment-identifier"]["info"]["id"] = json!(NAME);
    paid
}

async fn post_paid(app: &Router, paid: &Value, body: impl Into<Body>) -> Answer {
    send(app, request(body.into(), Some(paid))).await
}

fn error(answer: &Answer) -> (StatusCode, String) {
    (answer.status, answer.json()["error"].as_str().unwrap().to_owned())
}

fn streamed(chunks: &[&str]) -> Body {
    let chunks: Vec<_> = chunks.iter().map(|chunk| Ok::<_, std::io::Error>(Bytes::from((*chunk).to_owned()))).collect();
    Body::from_stream(futures_util::stream::iter(chunks))
}

/// A body that nobody may look into.
fn untouchable() -> Body {
    Body::from_stream(futures_util::stream::poll_fn(|_| -> std::task::Poll<Option<Result<Bytes, std::io::Error>>> {
        panic!("the body was read")
    }))
}

#[tokio::test]
async fn another_body_under_a_name_that_was_used_is_a_conflict_and_the_same_one_gets_its_answer() {
    for is_said in [false, true] {
        let shop = Shop::open().await;
        let layer = named_layer(&shop);
        let app = app(&shop, if is_said { layer.binding_body(1_000).unwrap() } else { layer });
        let first = post_paid(&app, &named(&app, "1").await, "the question").await;
        assert_eq!((first.status, first.text()), (StatusCode::OK, "0 the question"));
        for (nonce, other) in [("2", "another question"), ("3", "")] {
            let answer = post_paid(&app, &named(&app, nonce).await, other).await;
            assert_eq!(error(&answer), (StatusCode::CONFLICT, "payment_identifier_conflict".to_owned()), "{other:?}");
        }
        // In however many pieces it comes, it is the same body.
        let again = post_paid(&app, &named(&app, "4").await, streamed(&["the ", "question"])).await;
        assert_eq!((again.status, again.text()), (StatusCode::OK, "0 the question"));
        assert_eq!((shop.runs(), shop.facilitator.calls().1), (1, 1));
    }
}

#[tokio::test]
async fn the_very_payment_of_a_named_purchase_gets_nothing_for_another_body_either() {
    let shop = Shop::open().await;
    let app = app(&shop, named_layer(&shop));
    let paid = named(&app, "1").await;
    assert_eq!(post_paid(&app, &paid, "the question").await.text(), "0 the question");
    let other = post_paid(&app, &paid, "another question").await;
    assert_eq!((other.status, &other.terms()["error"]), (StatusCode::PAYMENT_REQUIRED, &json!("payment_already_used")));
    assert_eq!(post_paid(&app, &paid, "the question").await.text(), "0 the question");
    assert_eq!((shop.runs(), shop.facilitator.calls().1), (1, 1));
}

#[tokio::test]
async fn a_body_of_nothing_is_no_body() {
    let shop = Shop::open().await;
    let app = app(&shop, named_layer(&shop));
    assert_eq!(post_paid(&app, &named(&app, "1").await, Body::empty()).await.text(), "0 ");
    assert_eq!(post_paid(&app, &named(&app, "2").await, streamed(&[""])).await.text(), "0 ");
}

#[tokio::test]
async fn a_named_purchase_with_more_than_can_be_bound_is_refused_before_anybody_is_asked() {
    let mut shop = Shop::open().await;
    let largest = "a".repeat(DEFAULT_MAX_BOUND_BODY_BYTES);
    let by_default = app(&shop, named_layer(&shop));
    let paid = named(&by_default, "1").await;
    for large in [Body::from(format!("{largest}b")), streamed(&[&largest, "b"])] {
        let answer = post_paid(&by_default, &paid, large).await;
        assert_eq!(error(&answer), (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large".to_owned()));
        let message = answer.json()["message"].to_string();
        for word in ["at most 65536 bytes", "nothing was charged", "binding_body", "name"] {
            assert!(message.contains(word), "{message}");
        }
    }
    let app = app(&shop, named_layer(&shop).binding_body(4).unwrap());
    let answer = post_paid(&app, &paid, "12345").await;
    assert_eq!(error(&answer), (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large".to_owned()));
    assert!(answer.json()["message"].to_string().contains("at most 4 bytes"), "{}", answer.text());
    assert_eq!((shop.runs(), shop.facilitator.calls(), shop.written().len()), (0, (0, 0), 0));
    assert_eq!(post_paid(&by_default, &paid, largest.clone()).await.text(), format!("0 {largest}"));
}

#[tokio::test]
async fn without_a_name_and_without_a_word_of_the_seller_no_body_is_read_for_its_payment() {
    let shop = Shop::open().await;
    let runs = Arc::clone(&shop.runs);
    let handler = move |_: Body| {
        runs.fetch_add(1, Ordering::SeqCst);
        std::future::ready("done")
    };
    let app = Router::new().route(URI, post(handler)).route_layer(named_layer(&shop));
    let paid = unnamed(&app, "1").await;
    assert_eq!(post_paid(&app, &paid, untouchable()).await.text(), "done");
    let unpaid = send(&app, request(untouchable(), None)).await;
    assert_eq!((unpaid.status, shop.runs()), (StatusCode::PAYMENT_REQUIRED, 1));
}

#[tokio::test]
async fn where_bodies_are_bound_every_payment_is_for_one_body_and_who_does_not_pay_has_none_read() {
    let shop = Shop::open().await;
    let app = app(&shop, shop.server.price("$0.01").unwrap().binding_body(1_000).unwrap());
    let unpaid = send(&app, request(untouchable(), None)).await;
    assert_eq!(unpaid.status, StatusCode::PAYMENT_REQUIRED);
    let paid = unnamed(&app, "1").await;
    shop.facilitator.will_settle(Err(FacilitatorError::Indeterminate("timed out".into())));
    assert_eq!(post_paid(&app, &paid, "the question").await.status, StatusCode::SERVICE_UNAVAILABLE);
    let other = post_paid(&app, &paid, "another question").await;
    assert_eq!((other.status, &other.terms()["error"]), (StatusCode::PAYMENT_REQUIRED, &json!("payment_already_used")));
    assert_eq!(post_paid(&app, &paid, "the question").await.text(), "1 the question");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_a_payment_is_bound_to_is_not_waited_for_for_ever() {
    let shop = Shop::open().await;
    let app = app(&shop, named_layer(&shop));
    let paid = named(&app, "1").await;
    let endless = Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
    let began = tokio::time::Instant::now();
    let answer = post_paid(&app, &paid, endless).await;
    assert_eq!(error(&answer), (StatusCode::REQUEST_TIMEOUT, "body_too_slow".to_owned()));
    assert!(began.elapsed().as_secs() <= PRICED_BODY_TIMEOUT_SECONDS + 1);
    assert_eq!((shop.runs(), shop.facilitator.calls()), (0, (0, 0)));
}

#[tokio::test]
async fn a_name_is_bound_to_a_body_that_is_not_priced() {
    let (shop, prices) = (quote_support::shop().await, Prices::of(1));
    let app = app(&shop, shop.server.price_by(prices.pricer()).unwrap().payment_identifier(false).unwrap());
    assert_eq!(post_paid(&app, &named(&app, "1").await, "the question").await.text(), "0 the question");
    let answer = post_paid(&app, &named(&app, "2").await, "another question").await;
    assert_eq!(error(&answer), (StatusCode::CONFLICT, "payment_identifier_conflict".to_owned()));
    assert_eq!(post_paid(&app, &named(&app, "3").await, "the question").await.text(), "0 the question");
}

#[tokio::test]
async fn who_bought_by_a_name_with_a_body_comes_back_by_signing_in() {
    let shop = sign_in_support::shop().await;
    let layer = named_layer(&shop).sign_in(SignInOptions::new()).unwrap();
    let app = Router::new().route(URI, post(whom).layer(layer));
    let paid = named(&app, "1").await;
    assert_eq!(post_paid(&app, &paid, "the question").await.text(), format!("payer {PAYER}"));
    let sign_in = signed(&send(&app, request(Body::empty(), None)).await.terms()).await;
    let (mut parts, body) = with_sign_in(URI, &sign_in).into_parts();
    parts.method = http::Method::POST;
    assert!(send(&app, Request::from_parts(parts, body)).await.text().starts_with("visitor"));
}

#[tokio::test]
async fn what_cannot_be_bound_is_found_at_start_up() {
    let shop = Shop::with(|builder| sign_in_support::welcoming(builder.quote_key(quote_support::key(1)))).await;
    let signing_in = shop.server.price("$0.01").unwrap().sign_in(SignInOptions::new()).unwrap();
    let result = signing_in.binding_body(1_000).err();
    assert!(matches!(result, Some(RouteError::Extension(ExtensionError::BoundBody))), "{result:?}");
    let free = shop.server.sign_in_only(SignInOptions::new()).unwrap().binding_body(1_000).err();
    assert!(matches!(free, Some(RouteError::Extension(ExtensionError::Unpriced("binding_body")))), "{free:?}");
    let reading = shop.server.price_by(reading_body(1_000, Prices::of(1).pricer())).unwrap();
    let twice = reading.binding_body(1_000).err();
    assert!(matches!(twice, Some(RouteError::Extension(ExtensionError::BoundTwice))), "{twice:?}");
    assert!(shop.server.price_by(Prices::of(1).pricer()).unwrap().binding_body(1_000).is_ok());
}
