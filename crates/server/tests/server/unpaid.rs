//! Requests that have not paid.

use axum::Router;
use axum::body::Body;
use axum::routing::{any, get};
use farthing_core::wire::v1;
use farthing_server::PaymentLayer;
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};

use crate::support::{NETWORK, PAY_TO, Shop, UNNAMED_NETWORK, fetch, send};

#[tokio::test]
async fn an_unpaid_request_gets_the_terms_and_nothing_else() {
    let shop = Shop::open().await;
    let answer = fetch(&shop.app(), "/report?year=2026").await;
    assert_eq!(answer.status, StatusCode::PAYMENT_REQUIRED);
    assert_eq!(
        answer.terms(),
        json!({
            "x402Version": 2,
            "error": "Payment required",
            "resource": {"url": "http://localhost/report?year=2026", "description": "", "mimeType": ""},
            "accepts": [{
                "scheme": "exact", "network": NETWORK, "amount": "10000", "asset": "0xUsdc", "payTo": PAY_TO,
                "maxTimeoutSeconds": 300, "extra": {"name": "Fake \"USD\"", "fromKind": true},
            }],
        })
    );
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("vary"), "PAYMENT-SIGNATURE, X-PAYMENT, SIGN-IN-WITH-X");
    assert_eq!(answer.header("access-control-expose-headers"), "PAYMENT-REQUIRED, PAYMENT-RESPONSE, X-PAYMENT-RESPONSE");
    assert_eq!((shop.runs(), shop.facilitator.calls()), (0, (0, 0)));
}

#[tokio::test]
async fn the_same_answer_serves_buyers_of_version_1_in_its_body() {
    let shop = Shop::with(|builder| builder.pay_to(UNNAMED_NETWORK, PAY_TO).unwrap()).await;
    let answer = fetch(&shop.app(), "/report").await;
    assert_eq!(answer.terms()["accepts"].as_array().unwrap().len(), 2);
    let body = answer.json();
    assert_eq!(body["x402Version"], 1);
    assert_eq!(body["accepts"].as_array().unwrap().len(), 1, "a network without an old name has no place in old terms");
    assert_eq!(body["accepts"][0]["network"], "base-sepolia");
    assert_eq!(body["accepts"][0]["maxAmountRequired"], "10000");
    assert_eq!(body["accepts"][0]["resource"], "http://localhost/report");
    let terms = v1::payment_required(&answer.body).unwrap();
    assert!(terms.unreadable.is_empty());
}

#[tokio::test]
async fn old_buyers_see_one_offer_for_each_scheme_and_network_because_their_payments_name_no_more() {
    let shop = Shop::open().await;
    let app = Router::new().route("/", get(|| async {}).layer(shop.server.price("1 USDC").unwrap()));
    assert_eq!(fetch(&app, "/").await.json()["accepts"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn the_body_is_empty_terms_where_no_old_buyer_could_pay() {
    let facilitator = std::sync::Arc::new(crate::support::FakeFacilitator::new());
    let builder = farthing_server::Server::builder()
        .schemes(crate::support::schemes())
        .clock(crate::support::clock())
        .facilitator(facilitator)
        .unwrap();
    let server = builder.pay_to(UNNAMED_NETWORK, PAY_TO).unwrap().build().await.unwrap();
    let app = Router::new().route("/", get(|| async {}).layer(server.price("$1").unwrap()));
    let answer = fetch(&app, "/").await;
    assert_eq!((answer.status, answer.text()), (StatusCode::PAYMENT_REQUIRED, "{}"));
}

#[tokio::test]
async fn every_method_is_priced_and_head_as_get() {
    let shop = Shop::open().await;
    let runs = std::sync::Arc::clone(&shop.runs);
    let count = move || async move {
        runs.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    };
    let app = Router::new()
        .route("/any", any(count.clone()).layer(shop.server.price("$0.01").unwrap()))
        .route("/report", get(count).layer(shop.server.price("$0.01").unwrap()));
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let request = Request::builder().method(&method).uri("/any").body(Body::empty()).unwrap();
        assert_eq!(send(&app, request).await.status, StatusCode::PAYMENT_REQUIRED, "{method}");
    }
    let head = Request::head("/report").body(Body::empty()).unwrap();
    let answer = send(&app, head).await;
    assert_eq!(answer.status, StatusCode::PAYMENT_REQUIRED);
    assert_eq!(answer.terms()["accepts"][0]["amount"], "10000");
    let upgrade = Request::get("/report").header("connection", "upgrade").header("upgrade", "websocket");
    assert_eq!(send(&app, upgrade.body(Body::empty()).unwrap()).await.status, StatusCode::PAYMENT_REQUIRED);
    assert_eq!(shop.runs(), 0);
}

#[tokio::test]
async fn a_preflight_passes_only_where_the_inner_service_answers_preflights() {
    let shop = Shop::open().await;
    let preflight = || {
        let request = Request::options("/").header("origin", "https://a.example");
        request.header("access-control-request-method", "GET").body(Body::empty()).unwrap()
    };
    let price = || shop.server.price("$0.01").unwrap();
    let priced = Router::new().route("/", any(|| async { "secret" }).layer(price()));
    assert_eq!(send(&priced, preflight()).await.status, StatusCode::PAYMENT_REQUIRED);

    let echo = |headers: http::HeaderMap| async { (StatusCode::NO_CONTENT, headers) };
    let answers = get(|| async { "secret" }).options(echo);
    let passing = Router::new().route("/", answers.layer(price().pass_preflights()));
    let mut forged = preflight();
    forged.headers_mut().insert("payment-response", http::HeaderValue::from_static("e30="));
    let answer = send(&passing, forged).await;
    assert_eq!((answer.status, answer.headers.contains_key("payment-response")), (StatusCode::NO_CONTENT, false));
    let no_preflight = Request::options("/").header("origin", "https://a.example").body(Body::empty()).unwrap();
    assert_eq!(send(&passing, no_preflight).await.status, StatusCode::PAYMENT_REQUIRED);
    assert_eq!(fetch(&passing, "/").await.status, StatusCode::PAYMENT_REQUIRED);
}

#[tokio::test]
async fn the_terms_name_the_url_that_the_client_asked_for() {
    let shop = Shop::open().await;
    let app = Router::new().nest("/v1", shop.app());
    let url = |answer: &crate::support::Answer| answer.terms()["resource"]["url"].clone();
    let asked = |uri: &str, host: &str| Request::get(uri).header("host", host).body(Body::empty()).unwrap();
    let answer = send(&app, asked("/v1/report?a=b", "API.example.com")).await;
    assert_eq!(url(&answer), "https://api.example.com/v1/report?a=b");
    let lying = Request::get("/v1/report").header("host", "a.example").header("x-forwarded-proto", "http");
    let lying = lying.header("x-forwarded-host", "evil.example").body(Body::empty()).unwrap();
    assert_eq!(url(&send(&app, lying).await), "https://a.example/v1/report");

    let public = Shop::with(|builder| builder.public_url("https://shop.example/api/").unwrap()).await;
    let answer = send(&public.app(), asked("/report", "internal:3000")).await;
    assert_eq!(url(&answer), "https://shop.example/api/report");
}

#[tokio::test]
async fn a_url_with_json_in_it_is_still_a_string_in_the_terms() {
    let shop = Shop::open().await;
    let app = Router::new().route("/{*rest}", get(|| async {}).layer(shop.server.price("$0.01").unwrap()));
    for uri in ["/\"},{\"a\":\"b", "/{}[]", "/é?\u{E000}\u{E001}", "/%22%5C?%00"] {
        let answer = fetch(&app, uri).await;
        assert_eq!(answer.status, StatusCode::PAYMENT_REQUIRED);
        assert_eq!(answer.terms()["resource"]["url"], format!("http://localhost{uri}"));
        assert_eq!(answer.json()["accepts"][0]["resource"], format!("http://localhost{uri}"));
    }
}

#[tokio::test]
async fn each_url_gets_its_own_terms_in_any_order() {
    let shop = Shop::open().await;
    let app = shop.app();
    for uri in ["/report?a", "/report?a", "/report?b", "/report?a", "/report?b", "/report?b"] {
        let answer = fetch(&app, uri).await;
        assert_eq!(answer.terms()["resource"]["url"], format!("http://localhost{uri}"));
        assert_eq!(answer.json()["accepts"][0]["resource"], format!("http://localhost{uri}"));
    }
}

#[tokio::test]
async fn what_the_seller_says_of_the_resource_is_in_both_terms() {
    let shop = Shop::open().await;
    let layer = shop.server.price("$0.01").unwrap().description("The \"best\" report").mime_type("text/plain");
    let layer = layer.max_timeout_seconds(60).unwrap();
    let app = Router::new().route("/", get(|| async {}).layer(layer));
    let answer = fetch(&app, "/").await;
    let terms = answer.terms();
    assert_eq!(terms["resource"]["description"], "The \"best\" report");
    assert_eq!(terms["resource"]["mimeType"], "text/plain");
    assert_eq!(terms["accepts"][0]["maxTimeoutSeconds"], 60);
    let old: &Value = &answer.json()["accepts"][0];
    assert_eq!((&old["description"], &old["mimeType"]), (&terms["resource"]["description"], &terms["resource"]["mimeType"]));
}

#[tokio::test]
async fn a_host_that_is_none_and_an_endless_url_are_refused() {
    let shop = Shop::open().await;
    let request = |host: &str| Request::get("/report").header("host", host).body(Body::empty()).unwrap();
    let answer = send(&shop.app(), request("a.example/path")).await;
    assert_eq!((answer.status, &answer.json()["error"]), (StatusCode::BAD_REQUEST, &json!("invalid_host")));
    let long = format!("/report?{}", "a".repeat(10_000));
    assert_eq!(fetch(&shop.app(), &long).await.status, StatusCode::URI_TOO_LONG);
}

#[tokio::test]
async fn a_layer_that_is_changed_after_it_has_answered_answers_otherwise() {
    let shop = Shop::open().await;
    let layer = shop.server.price("$0.01").unwrap().description("old");
    let over = |layer: PaymentLayer| Router::new().route("/", get(|| async {}).layer(layer));
    let description = async |layer: &PaymentLayer| {
        let answer = fetch(&over(layer.clone()), "/").await;
        answer.terms()["resource"]["description"].clone()
    };
    assert_eq!([description(&layer).await, description(&layer).await], ["old", "old"]);
    let layer = layer.description("new");
    assert_eq!(description(&layer).await, "new");
}
