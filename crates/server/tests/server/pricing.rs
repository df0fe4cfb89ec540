//! Prices that are asked: what the pricer is told, what it may say, and what becomes of requests without a price.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use farthing_core::header;
use farthing_server::quotes::{NoQuote, PRICED_BODY_TIMEOUT_SECONDS, PriceRequest, Quote, reading_body, reading_headers};
use farthing_server::{BuildError, PaymentLayer, RouteError, Server, SignInOptions};
use http::{HeaderName, Request, StatusCode};
use serde_json::json;

use crate::quote_support::{Ask, CENT, MAX_BODY_BYTES, Prices, amounts, app, app_reading_bodies, ask, over, settled, shop};
use crate::sign_in_support::{Counter, URL};
use crate::support::{NETWORK, Shop, payment, send};

/// `/report` for what this says.
fn by(shop: &Shop, quote: impl Fn(PriceRequest) -> Result<Quote, NoQuote> + Send + Sync + 'static) -> Router {
    over(shop, shop.server.price_by(move |request: PriceRequest| std::future::ready(quote(request))).unwrap())
}

#[tokio::test]
async fn the_pricer_is_told_all_of_the_request_but_what_it_pays() {
    let shop = shop().await;
    let seen: Arc<Mutex<Vec<PriceRequest>>> = Arc::default();
    let notes = Arc::clone(&seen);
    let pricer = move |request: PriceRequest| {
        notes.lock().unwrap().push(request);
        async { Ok::<_, NoQuote>(Quote::of("$0.01")?) }
    };
    let app = over(&shop, shop.server.price_by(reading_body(MAX_BODY_BYTES, pricer)).unwrap());
    let request = ask()
        .request()
        .header("x-user", "alice")
        .header("payment-signature", header::encode(&json!({"x402Version": 9})).unwrap());
    assert_eq!(send(&app, request.body(Body::from(ask().body)).unwrap()).await.status, StatusCode::PAYMENT_REQUIRED);
    let request = seen.lock().unwrap().pop().unwrap();
    assert_eq!((request.method.as_str(), request.resource_url.as_str()), ("POST", "https://shop.example/report?year=2026"));
    assert_eq!((request.headers["x-user"].as_bytes(), request.body), (&b"alice"[..], Some(Bytes::from("the question"))));
    assert!(!request.headers.contains_key("payment-signature"));
}

#[tokio::test]
async fn a_quote_can_say_who_is_paid_and_for_what() {
    let shop = shop().await;
    let account = "0x0000000000000000000000000000000000000007";
    let app = by(&shop, move |request| {
        let quote = Quote::of("$0.02")?.description(format!("for {}", request.method));
        Ok(quote.pay_to(NETWORK.parse()?, account.parse()?))
    });
    let terms = ask().terms(&app).await;
    assert_eq!((&terms["accepts"][0]["payTo"], &terms["resource"]["description"]), (&json!(account), &json!("for POST")));
    assert_eq!(ask().paid(&app, &terms, "1").await.status, StatusCode::OK);
    let paid = shop.facilitator.settled.lock().unwrap().first().cloned().unwrap();
    assert_eq!(paid.requirements.pay_to.as_str(), account);
}

#[tokio::test]
async fn a_layers_own_description_stays_where_a_quote_has_none() {
    let (shop, prices) = (shop().await, Prices::of(1));
    let layer = shop.server.price_by(prices.pricer()).unwrap().description("weather").mime_type("text/plain");
    let terms = ask().terms(&over(&shop, layer)).await;
    assert_eq!((&terms["resource"]["description"], &terms["resource"]["mimeType"]), (&json!("weather"), &json!("text/plain")));
}

#[tokio::test]
async fn nothing_is_served_without_a_price() {
    let shop = shop().await;
    let apps = [
        by(&shop, |_| Err(NoQuote::Failed("the oracle at 10.0.0.7 is away".into()))),
        by(&shop, |_| panic!("the pricer is broken")),
        by(&shop, |_| Ok(Quote::of("$0.0000001")?)),
        by(&shop, |_| Ok(Quote::of("$0")?)),
        by(&shop, |_| Ok(Quote::of("0.1 GOLD")?)),
        by(&shop, |_| Ok(Quote::of("$0.01")?.pay_to("eip155:999".parse()?, "0x1".parse()?))),
        by(&shop, |_| Ok(Quote::of("$0.01")?.pay_to(NETWORK.parse()?, "nobody".parse()?))),
    ];
    for (number, app) in apps.iter().enumerate() {
        let unpaid = ask().unpaid(app).await;
        assert_eq!(unpaid.status, StatusCode::SERVICE_UNAVAILABLE, "{number}");
        assert_eq!((unpaid.json()["error"].as_str(), unpaid.header("retry-after")), (Some("price_unavailable"), "5"));
        assert!(!unpaid.text().contains("10.0.0.7"), "causes are the seller's own");
        assert_eq!(ask().paid_by_old_buyer(app, "1").await.status, StatusCode::SERVICE_UNAVAILABLE, "{number}");
    }
    assert_eq!((shop.runs(), shop.facilitator.calls()), (0, (0, 0)));
}

#[tokio::test(start_paused = true)]
async fn a_pricer_that_hangs_is_not_waited_for_for_ever() {
    let shop = shop().await;
    let pricer = |_: PriceRequest| async {
        tokio::time::sleep(Duration::from_hours(1)).await;
        Ok::<_, NoQuote>(Quote::of("$0.01")?)
    };
    let app = over(&shop, shop.server.price_by(pricer).unwrap());
    let began = tokio::time::Instant::now();
    assert_eq!(ask().unpaid(&app).await.json()["error"], "price_unavailable");
    assert!(began.elapsed() < Duration::from_secs(11));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_ends_is_not_waited_for_for_ever() {
    let (shop, prices) = (shop().await, Prices::of(1));
    let app = app_reading_bodies(&shop, &shop.server, &prices);
    let endless = Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
    let began = tokio::time::Instant::now();
    let answer = send(&app, ask().request().body(endless).unwrap()).await;
    assert_eq!((answer.status, answer.json()["error"].as_str()), (StatusCode::REQUEST_TIMEOUT, Some("body_too_slow")));
    assert!(began.elapsed() <= Duration::from_secs(PRICED_BODY_TIMEOUT_SECONDS + 1));
    assert_eq!((prices.times_asked(), shop.runs()), (0, 0));
}

#[tokio::test]
async fn a_bad_request_is_refused_with_the_pricers_reason_and_never_with_a_402() {
    let shop = shop().await;
    for (said, told) in [(422, 422), (404, 404), (402, 400), (200, 400), (503, 400)] {
        let app =
            by(&shop, move |_| Err(NoQuote::refused(StatusCode::from_u16(said).unwrap(), "year: expected one from 1990")));
        let answer = ask().unpaid(&app).await;
        assert_eq!(answer.status.as_u16(), told);
        assert_eq!(answer.json(), json!({"error": "request_refused", "message": "year: expected one from 1990"}));
    }
    assert_eq!(shop.runs(), 0);
}

#[tokio::test]
async fn a_body_that_is_too_large_or_not_whole_is_refused_before_anybody_is_asked() {
    let (shop, prices) = (shop().await, Prices::of(1));
    let app = app_reading_bodies(&shop, &shop.server, &prices);
    let fits = "a".repeat(MAX_BODY_BYTES);
    let request = |body: Body| ask().request().body(body).unwrap();
    assert_eq!(send(&app, request(Body::from(fits.clone()))).await.status, StatusCode::PAYMENT_REQUIRED);
    let chunks = [fits, "b".to_owned()].map(|chunk| Ok::<_, std::io::Error>(Bytes::from(chunk)));
    let streamed = Body::from_stream(futures_util::stream::iter(chunks));
    for large in [Body::from("a".repeat(MAX_BODY_BYTES + 1)), streamed] {
        let answer = send(&app, request(large)).await;
        assert_eq!((answer.status, answer.json()["error"].as_str()), (StatusCode::PAYLOAD_TOO_LARGE, Some("body_too_large")));
        assert!(answer.json()["message"].to_string().contains("at most 1000 bytes"));
    }
    let broken = futures_util::stream::iter([Err::<Bytes, _>(std::io::Error::other("gone"))]);
    assert_eq!(send(&app, request(Body::from_stream(broken))).await.json()["error"], "body_aborted");
    let mut trailers = http::HeaderMap::new();
    trailers.insert("x-sum", http::HeaderValue::from_static("7"));
    let frames = [http_body::Frame::data(Bytes::from("a")), http_body::Frame::trailers(trailers)].map(Ok::<_, std::io::Error>);
    let trailed = http_body_util::StreamBody::new(futures_util::stream::iter(frames));
    let answer = send(&app, request(Body::new(trailed))).await;
    assert_eq!((answer.status, answer.json()["error"].as_str()), (StatusCode::BAD_REQUEST, Some("body_with_trailers")));
    assert_eq!((prices.times_asked(), shop.runs()), (1, 0));
}

#[tokio::test]
async fn a_body_that_is_priced_comes_to_the_handler_as_it_was() {
    let (shop, prices) = (shop().await, Prices::of(1));
    let app = app_reading_bodies(&shop, &shop.server, &prices);
    let chunks = || ["the ", "question"].map(|chunk| Ok::<_, std::io::Error>(Bytes::from(chunk)));
    let streamed = || Body::from_stream(futures_util::stream::iter(chunks()));
    let terms = ask().terms(&app).await;
    let paid = header::encode(&payment(&terms, "1")).unwrap();
    // In however many pieces it comes, it is the same body.
    let answer = send(&app, ask().request().header("payment-signature", paid).body(streamed()).unwrap()).await;
    assert_eq!((answer.status, answer.text()), (StatusCode::OK, "the question"));
}

#[tokio::test]
async fn a_body_that_is_not_priced_is_not_touched() {
    let (shop, prices) = (shop().await, Prices::of(1));
    let app = app(&shop, &prices);
    let untouchable = || {
        let stream = futures_util::stream::poll_fn(|_| -> std::task::Poll<Option<Result<Bytes, std::io::Error>>> {
            panic!("the body was read")
        });
        Body::from_stream(stream)
    };
    let answer = send(&app, ask().request().body(untouchable()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::PAYMENT_REQUIRED);
    // A paid one streams to the handler; here that fails, and nobody is charged.
    let paid = header::encode(&payment(&answer.terms(), "1")).unwrap();
    let answer = send(&app, ask().request().header("payment-signature", paid).body(untouchable()).unwrap()).await;
    assert_eq!(answer.json()["error"], "handler_panicked");
    let chunks = ["a", "b"].map(|chunk| Ok::<_, std::io::Error>(Bytes::from(chunk)));
    let paid = header::encode(&payment(&ask().terms(&app).await, "2")).unwrap();
    let streamed = Body::from_stream(futures_util::stream::iter(chunks));
    let answer = send(&app, ask().request().header("payment-signature", paid).body(streamed).unwrap()).await;
    assert_eq!((answer.text(), settled(&shop)), ("ab", amounts(&[CENT])));
}

#[tokio::test]
async fn many_prices_are_many_terms() {
    let shop = shop().await;
    let app = by(&shop, |request| {
        let cents: u32 = request.resource_url.rsplit('=').next().unwrap_or_default().parse()?;
        Ok(Quote::of(&format!("$0.{cents:02}"))?)
    });
    for round in 0..2 {
        for cents in 1..=99_u64 {
            let uri = format!("/report?cents={cents}");
            let terms = send(&app, Request::get(&uri).body(Body::empty()).unwrap()).await.terms();
            assert_eq!(terms["accepts"][0]["amount"], (cents * CENT).to_string(), "{round}");
        }
    }
}

#[tokio::test]
async fn a_settlement_that_is_refused_is_answered_with_a_fresh_quote() {
    let (shop, prices) = (shop().await, Prices::of(1));
    let app = app(&shop, &prices);
    let terms = ask().terms(&app).await;
    prices.move_to(2);
    shop.facilitator.will_settle(Ok(crate::support::refused(farthing_core::reason::Reason::InsufficientFunds, "")));
    let answer = ask().paid(&app, &terms, "1").await;
    assert_eq!((answer.status, answer.settlement().success), (StatusCode::PAYMENT_REQUIRED, false));
    assert_eq!(answer.terms()["accepts"][0]["amount"], (2 * CENT).to_string());
}

#[tokio::test]
async fn what_cannot_be_asked_so_is_found_at_start_up() {
    let prices = Prices::of(1);
    let failure = |layer: Result<PaymentLayer<_>, RouteError>| layer.err().map(|error| error.to_string()).unwrap_or_default();
    let keyless = Shop::open().await;
    assert!(failure(keyless.server.price_by(prices.pricer())).contains("quote_key"));
    let upto = Shop::with(|builder| builder.entropy(Arc::new(Counter::default()))).await;
    assert!(failure(upto.server.price_up_to_by(prices.pricer())).contains("no accepted scheme can charge less"));
    let layer = upto.server.price_by(prices.pricer()).unwrap();
    assert!(failure(layer.max_timeout_seconds(0)).contains("max_timeout_seconds"));
    let shop = crate::sign_in_support::shop().await;
    let layer = shop.server.price_by(reading_body(9, prices.pricer())).unwrap();
    assert!(failure(layer.sign_in(SignInOptions::new())).contains("the body"));
    let layer = shop.server.price_by(reading_headers([HeaderName::from_static("x-size")], prices.pricer())).unwrap();
    assert!(failure(layer.sign_in(SignInOptions::new())).contains("headers"));
    assert!(shop.server.price_by(prices.pricer()).unwrap().sign_in(SignInOptions::new()).is_ok());
    let builder = Server::builder().facilitator(Arc::clone(&shop.facilitator)).unwrap().pay_to(NETWORK, "0x1").unwrap();
    let builder = builder.clock(crate::support::clock()).public_url(URL).unwrap().quote_seconds(0);
    assert!(matches!(builder.build().await, Err(BuildError::NoQuoteTime)));
}

#[tokio::test]
async fn who_signed_in_need_not_pay_what_is_asked() {
    let ask = Ask { method: http::Method::GET, uri: "/report", ..ask() };
    let shop = crate::sign_in_support::shop().await;
    let prices = Prices::of(1);
    let app = over(&shop, shop.server.price_by(prices.pricer()).unwrap().sign_in(SignInOptions::new()).unwrap());
    let terms = ask.terms(&app).await;
    assert!(terms["extensions"]["sign-in-with-x"]["info"]["nonce"].is_string());
    assert!(terms["accepts"][0]["extra"]["quote"].is_string());
    let answer = ask.with_payment(&app, &payment(&terms, "1")).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
}
