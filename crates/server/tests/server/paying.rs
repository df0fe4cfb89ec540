//! Payments, good and bad, before the handler runs.

use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Extension, Router};
use bytes::Bytes;
use farthing_core::facilitator::FacilitatorError;
use farthing_core::header;
use farthing_core::reason::{Reason, Refusal};
use farthing_core::wire::{Accepted, VerifyResponse, Version};
use farthing_server::Paid;
use http::{Request, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::support::{NETWORK, PAY_TO, PAYER, Shop, TRANSACTION, UNNAMED_NETWORK, buy, fetch, payment, send, with_payment};

#[tokio::test]
async fn a_paid_request_is_served_after_the_money_moved() {
    let mut shop = Shop::open().await;
    let answer = buy(&shop.app(), "/report", "1").await;
    assert_eq!((answer.status, answer.text()), (StatusCode::OK, "the report"));
    let settlement = answer.settlement();
    assert!(settlement.success);
    assert_eq!(settlement.transaction, TRANSACTION);
    assert_eq!(settlement.payer, Some(PAYER.parse().unwrap()));
    assert_eq!(answer.header("cache-control"), "private, no-store");
    assert_eq!(answer.header("vary"), "PAYMENT-SIGNATURE, X-PAYMENT, SIGN-IN-WITH-X");
    assert!(answer.header("access-control-expose-headers").contains("PAYMENT-RESPONSE"));
    assert_eq!(answer.header("content-length"), "10");
    assert_eq!((shop.runs(), shop.facilitator.calls()), (1, (1, 1)));
    assert_eq!(shop.written(), ["settling", "served"]);
}

#[tokio::test]
async fn a_paid_head_is_served_without_a_body_and_charged() {
    let shop = Shop::open().await;
    let app = shop.app();
    let terms = fetch(&app, "/report").await.terms();
    let mut request = with_payment("/report", &payment(&terms, "1"));
    *request.method_mut() = http::Method::HEAD;
    let answer = send(&app, request).await;
    assert_eq!((answer.status, answer.text(), answer.header("content-length")), (StatusCode::OK, "", "10"));
    assert_eq!(shop.facilitator.calls(), (1, 1));
}

#[tokio::test]
async fn a_version_1_buyer_pays_at_the_same_url_and_is_answered_in_version_1() {
    let shop = Shop::open().await;
    let app = shop.app();
    let offer = fetch(&app, "/report").await.json()["accepts"][0].clone();
    let payment = json!({"x402Version": 1, "scheme": offer["scheme"], "network": offer["network"], "payload": {"nonce": "1"}});
    let request = Request::get("/report").header("x-payment", header::encode(&payment).unwrap());
    let answer = send(&app, request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(!answer.headers.contains_key("payment-response"));
    let settlement = header::decode_settlement(answer.headers["x-payment-response"].as_bytes()).unwrap();
    assert!(settlement.success);
    assert_eq!(settlement.network, Some(NETWORK.parse().unwrap()));
    // The facilitator sees version 2, with our own offer.
    let seen = shop.facilitator.verified.lock().unwrap().pop().unwrap();
    assert_eq!((seen.version, seen.payment.version), (Version::V2, Version::V2));
    assert!(matches!(&seen.payment.accepted, Accepted::Offer(offer) if offer.raw() == seen.requirements.raw()));
}

#[tokio::test]
async fn the_handler_finds_who_paid_and_no_payment_headers() {
    let shop = Shop::open().await;
    let seen = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&seen);
    let handler = move |Extension(paid): Extension<Paid>, headers: HeaderMap| async move {
        *keep.lock().unwrap() = Some((paid, headers));
    };
    let app = Router::new().route("/", get(handler).layer(shop.server.price("$0.01").unwrap()));
    let terms = fetch(&app, "/").await.terms();
    let mut request = with_payment("/", &payment(&terms, "1"));
    for forged in ["payment-response", "x-payment-response", "payment-required"] {
        request.headers_mut().insert(forged, "forged".parse().unwrap());
    }
    request.headers_mut().insert("accept", "text/plain".parse().unwrap());
    assert_eq!(send(&app, request).await.status, StatusCode::OK);
    let (paid, headers) = seen.lock().unwrap().take().unwrap();
    assert_eq!(paid.payer, Some(PAYER.parse().unwrap()));
    assert_eq!((paid.amount, paid.network.as_str()), (10_000.into(), NETWORK));
    assert_eq!((paid.pay_to.as_str(), paid.asset.as_str(), &*paid.scheme), (PAY_TO, "0xUsdc", "exact"));
    assert_eq!(headers.keys().map(http::HeaderName::as_str).collect::<Vec<_>>(), ["accept"]);
}

#[tokio::test]
async fn a_handler_cannot_make_a_paid_answer_public_or_forge_its_receipt() {
    let shop = Shop::open().await;
    let handler = || async {
        [
            ("cache-control", "public, max-age=3600"),
            ("cdn-cache-control", "max-age=3600"),
            ("vary", "Accept"),
            ("access-control-expose-headers", "X-Own"),
            ("payment-response", "forged"),
            ("x-payment-response", "forged"),
            ("payment-required", "forged"),
        ]
        .into_response()
    };
    let app = Router::new().route("/", get(handler).layer(shop.server.price("$0.01").unwrap()));
    let answer = buy(&app, "/", "1").await;
    assert_eq!(answer.header("cache-control"), "private, no-store");
    assert!(!answer.headers.contains_key("cdn-cache-control"));
    assert_eq!(answer.header("vary"), "Accept, PAYMENT-SIGNATURE, X-PAYMENT, SIGN-IN-WITH-X");
    assert!(answer.header("access-control-expose-headers").starts_with("X-Own, PAYMENT-REQUIRED"));
    assert_eq!(answer.settlement().transaction, TRANSACTION);
    assert!(!answer.headers.contains_key("x-payment-response") && !answer.headers.contains_key("payment-required"));
}

#[tokio::test]
async fn a_handler_forges_nothing_in_trailers_either() {
    let shop = Shop::open().await;
    let handler = |uri: http::Uri| async move {
        let mut trailers = HeaderMap::new();
        for (name, value) in [("payment-response", "forged"), ("x-payment-response", "forged"), ("grpc-status", "0")] {
            trailers.insert(name, value.parse().unwrap());
        }
        let frames = [Frame::data(Bytes::from("data")), Frame::trailers(trailers)].map(Ok::<_, std::io::Error>);
        let status = if uri.query().is_some() { StatusCode::NOT_FOUND } else { StatusCode::OK };
        (status, Body::new(StreamBody::new(futures_util::stream::iter(frames))))
    };
    let app = Router::new().route("/", get(handler).layer(shop.server.price("$0.01").unwrap()));
    for (uri, nonce, status) in [("/", "1", 200), ("/?missing", "2", 404)] {
        let terms = fetch(&app, uri).await.terms();
        let answer = app.clone().oneshot(with_payment(uri, &payment(&terms, nonce))).await.unwrap();
        assert_eq!(answer.status(), status);
        let body = answer.into_body().collect().await.unwrap();
        let names: Vec<_> = body.trailers().unwrap().keys().map(http::HeaderName::as_str).collect();
        assert_eq!(names, ["grpc-status"], "{uri}");
        assert_eq!(body.to_bytes(), "data");
    }
}

#[tokio::test]
async fn any_offer_can_be_taken_and_its_own_terms_are_verified() {
    let shop = Shop::with(|builder| builder.pay_to(UNNAMED_NETWORK, PAY_TO).unwrap()).await;
    let app = shop.app();
    let terms = fetch(&app, "/report").await.terms();
    let mut payment = payment(&terms, "1");
    payment["accepted"] = terms["accepts"][1].clone();
    payment["accepted"]["extra"]["theirs"] = json!({"more": [1, 2]});
    let answer = send(&app, with_payment("/report", &payment)).await;
    assert_eq!(answer.status, StatusCode::OK);
    let seen = shop.facilitator.verified.lock().unwrap().pop().unwrap();
    assert_eq!(seen.requirements.network.as_str(), UNNAMED_NETWORK);
    assert!(!seen.requirements.extra.contains_key("theirs"), "the echo is never what is verified");
}

#[tokio::test]
async fn an_echo_that_differs_in_any_field_is_refused_with_a_fresh_challenge() {
    let shop = Shop::open().await;
    let app = shop.app();
    let terms = fetch(&app, "/report").await.terms();
    let cases: [(&str, Value); 9] = [
        ("scheme", json!("upto")),
        ("network", json!("eip155:8453")),
        ("amount", json!("1")),
        ("asset", json!("0xusdc")),
        ("payTo", json!("0x0000000000000000000000000000000000000001")),
        ("maxTimeoutSeconds", json!("300")),
        ("maxTimeoutSeconds", json!(301)),
        ("extra", json!({"fromKind": true, "name": "fake \"usd\""})),
        ("more", json!(true)),
    ];
    for (field, value) in cases {
        let mut payment = payment(&terms, "1");
        payment["accepted"][field] = value;
        let answer = send(&app, with_payment("/report", &payment)).await;
        assert_eq!(answer.status, StatusCode::PAYMENT_REQUIRED, "{field}");
        assert_eq!(answer.terms()["error"], Reason::NoMatchingRequirements.as_str(), "{field}");
        assert_eq!(answer.terms()["accepts"], terms["accepts"]);
        let message = answer.json()["message"].to_string();
        assert!(message.contains(&format!("accepted.{field}")), "{message}");
    }
    assert_eq!((shop.runs(), shop.facilitator.calls()), (0, (0, 0)));
}

#[tokio::test]
async fn a_payment_for_another_resource_is_refused() {
    let shop = Shop::open().await;
    let app = shop.app().route("/other", get(|| async { "other" }).layer(shop.server.price("$0.01").unwrap()));
    let terms = fetch(&app, "/other").await.terms();
    let answer = send(&app, with_payment("/report", &payment(&terms, "1"))).await;
    assert_eq!(answer.status, StatusCode::PAYMENT_REQUIRED);
    assert_eq!(answer.terms()["error"], "resource_mismatch");
    assert_eq!((shop.runs(), shop.facilitator.calls()), (0, (0, 0)));

    let mut secure = payment(&terms, "1");
    secure["resource"]["url"] = json!("https://localhost/other");
    assert_eq!(send(&app, with_payment("/other", &secure)).await.status, StatusCode::OK, "the scheme may differ");
}

#[tokio::test]
async fn a_payment_buys_one_thing_once() {
    let shop = Shop::open().await;
    let app = shop.app();
    let terms = fetch(&app, "/report").await.terms();
    let mut paid = payment(&terms, "1");
    assert_eq!(send(&app, with_payment("/report", &paid)).await.status, StatusCode::OK);
    // The same signed part in other bytes is the same payment.
    paid["payload"]["comment"] = json!("again");
    paid.as_object_mut().unwrap().remove("resource");
    for uri in ["/report", "/report?other"] {
        let answer = send(&app, with_payment(uri, &paid)).await;
        assert_eq!(answer.status, StatusCode::PAYMENT_REQUIRED);
        assert_eq!(answer.terms()["error"], "payment_already_used");
    }
    assert_eq!((shop.runs(), shop.facilitator.calls()), (1, (1, 1)));
}

#[tokio::test]
async fn a_missing_allowance_is_412_with_the_terms_and_the_same_payment_is_good_afterwards() {
    let shop = Shop::open().await;
    let app = shop.app();
    let refusal = Refusal::new(Reason::Permit2AllowanceRequired, "the payer has not allowed Permit2 to move the token");
    shop.facilitator.will_verify(Ok(VerifyResponse::invalid(refusal, None)));
    let answer = buy(&app, "/report", "1").await;
    assert_eq!(answer.status, StatusCode::PRECONDITION_FAILED, "{}", answer.text());
    assert_eq!(answer.terms()["error"], "permit2_allowance_required");
    assert_eq!(buy(&app, "/report", "1").await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_extension_that_only_a_server_may_declare_is_not_taken_from_a_buyer() {
    let shop = Shop::open().await;
    let app = shop.app();
    let mut paid = payment(&fetch(&app, "/report").await.terms(), "1");
    paid["extensions"] = json!({"builder-code": {"info": {"a": "mine"}}});
    let answer = send(&app, with_payment("/report", &paid)).await;
    assert_eq!((answer.status, &answer.terms()["error"]), (StatusCode::PAYMENT_REQUIRED, &json!("extension_echo_mismatch")));
    assert_eq!(shop.facilitator.calls(), (0, 0));
    paid["extensions"] = json!({"memo": {"info": {"a": "mine"}}});
    assert_eq!(send(&app, with_payment("/report", &paid)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_payment_that_the_facilitator_refuses_can_be_presented_again() {
    let mut shop = Shop::open().await;
    let app = shop.app();
    let refusal = Refusal::new(Reason::InsufficientFunds, "balance: expected 10000, got 5");
    shop.facilitator.will_verify(Ok(VerifyResponse::invalid(refusal, None)));
    let answer = buy(&app, "/report", "1").await;
    assert_eq!(answer.status, StatusCode::PAYMENT_REQUIRED);
    assert_eq!(answer.terms()["error"], "insufficient_funds");
    assert_eq!(answer.json()["message"], "balance: expected 10000, got 5");
    assert_eq!((shop.runs(), shop.written()), (0, vec!["cancelled"]));
    assert_eq!(buy(&app, "/report", "1").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_facilitator_that_cannot_be_asked_costs_nobody_anything() {
    let mut shop = Shop::open().await;
    let app = shop.app();
    let cases = [
        (FacilitatorError::Unavailable("http://10.0.0.7 refused".into()), StatusCode::SERVICE_UNAVAILABLE, "5"),
        (FacilitatorError::Malformed("http://10.0.0.7 babbles".to_owned()), StatusCode::BAD_GATEWAY, ""),
    ];
    for (error, status, retry_after) in cases {
        shop.facilitator.will_verify(Err(error));
        let answer = buy(&app, "/report", "1").await;
        assert_eq!((answer.status, answer.header("retry-after")), (status, retry_after));
        assert_eq!(answer.header("cache-control"), "no-store");
        assert!(!answer.text().contains("10.0.0.7"), "a payer has no business with our facilitator: {}", answer.text());
    }
    assert_eq!((shop.runs(), shop.written()), (0, vec!["cancelled", "cancelled"]));
    assert_eq!(buy(&app, "/report", "1").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_payload_that_the_scheme_cannot_read_is_refused_before_anybody_is_asked() {
    let shop = Shop::open().await;
    let app = shop.app();
    let terms = fetch(&app, "/report").await.terms();
    let mut unreadable = payment(&terms, "1");
    unreadable["payload"] = json!({"nonce": 1});
    let answer = send(&app, with_payment("/report", &unreadable)).await;
    assert_eq!((answer.status, &answer.terms()["error"]), (StatusCode::PAYMENT_REQUIRED, &json!("invalid_payload")));
    assert_eq!((shop.runs(), shop.facilitator.calls()), (0, (0, 0)));
}
