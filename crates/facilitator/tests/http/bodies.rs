//! What is done with bodies that are no requests.

use axum::body::Body;
use farthing_facilitator::MAX_BODY_BYTES;
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};

use crate::support::{Facilitator, request, request_v1};

/// A good request after one change.
fn changed(change: impl FnOnce(&mut Value)) -> String {
    let mut request = request(1);
    change(&mut request);
    request.to_string()
}

fn without(pointer: &str, key: &str) -> String {
    changed(|request| {
        request.pointer_mut(pointer).unwrap().as_object_mut().unwrap().remove(key);
    })
}

fn unreadable_bodies() -> Vec<(Vec<u8>, &'static str, &'static str)> {
    let text = |text: &str| text.as_bytes().to_vec();
    let good = request(1).to_string();
    vec![
        (text(""), "invalid_payload", "EOF"),
        (text("null"), "invalid_payload", "cannot be read"),
        (text("[]"), "invalid_payload", "expected an object, got an array"),
        (text("17"), "invalid_payload", "expected an object"),
        (text("{}"), "invalid_payload", "paymentPayload"),
        (text("{\"x402Version\":2"), "invalid_payload", "EOF"),
        (vec![0xff, 0xfe, 0x00], "invalid_payload", "UTF-8"),
        (text(&good.replace("10000", "1\u{0}0")), "invalid_payload", "control character"),
        (text(&good.replace("\"x402Version\":2", "\"x402Version\":NaN")), "invalid_payload", "expected"),
        (text(&"{\"a\":".repeat(10_000)), "invalid_payload", "32 levels"),
        (text(&good.replacen("{\"", "{\"x402Version\":2,\"", 1)), "invalid_payload", "twice"),
        (text(&without("", "paymentPayload")), "invalid_payload", "paymentPayload: missing"),
        (text(&without("/paymentPayload", "payload")), "invalid_payload", "payload: missing"),
        (text(&without("/paymentPayload", "accepted")), "invalid_payload", "accepted: missing"),
        (text(&changed(|body| body["paymentPayload"]["payload"] = json!("0x"))), "invalid_payload", "payload: expected"),
        (text(&changed(|body| body["paymentPayload"] = Value::Null)), "invalid_payload", "paymentPayload: missing"),
        (text(&without("", "paymentRequirements")), "invalid_payment_requirements", "paymentRequirements: missing"),
        (text(&without("/paymentRequirements", "payTo")), "invalid_payment_requirements", "payTo"),
        (
            text(&changed(|body| body["paymentRequirements"]["amount"] = json!(10_000))),
            "invalid_payment_requirements",
            "string",
        ),
        (
            text(&changed(|body| body["paymentRequirements"]["amount"] = json!("0x2710"))),
            "invalid_payment_requirements",
            "0x2710",
        ),
        (text(&changed(|body| body["paymentRequirements"]["amount"] = json!("1.5"))), "invalid_payment_requirements", "1.5"),
        (text(&changed(|body| body["paymentRequirements"]["amount"] = json!("-1"))), "invalid_payment_requirements", "-1"),
        (
            text(&changed(|body| body["paymentRequirements"]["network"] = json!(8_453))),
            "invalid_payment_requirements",
            "network",
        ),
        (
            text(&changed(|body| body["paymentRequirements"]["maxTimeoutSeconds"] = json!(0))),
            "invalid_payment_requirements",
            "seconds",
        ),
        (text(&changed(|body| body["x402Version"] = json!(3))), "invalid_x402_version", "expected 1 or 2, got 3"),
        (text(&changed(|body| body["x402Version"] = json!("2"))), "invalid_x402_version", "got \"2\""),
        (text(&changed(|body| body["x402Version"] = json!(1))), "invalid_x402_version", "paymentPayload.x402Version"),
        (text(&changed(|body| body["paymentRequirements"] = json!(["exact"]))), "invalid_payment_requirements", "an object"),
        (text(&without("/paymentPayload", "x402Version")), "invalid_x402_version", "got nothing"),
    ]
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_told_why_in_the_shape_of_an_answer() {
    let facilitator = Facilitator::new();
    for (body, reason, field) in unreadable_bodies() {
        let shown = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
        let verified = facilitator.post("/verify", body.clone()).await;
        assert_eq!((verified.status, verified.reason()), (StatusCode::BAD_REQUEST, reason), "{shown}: {verified:?}");
        assert_eq!(verified.json["isValid"], json!(false));
        assert!(verified.message().contains(field), "{shown}: {}", verified.message());
        assert!(verified.message().len() < 400, "{shown}: {}", verified.message());

        let settled = facilitator.post("/settle", body).await;
        assert_eq!((settled.status, settled.reason()), (StatusCode::BAD_REQUEST, reason), "{shown}");
        assert_eq!(settled.json["success"], json!(false));
        assert_eq!((&settled.json["transaction"], &settled.json["network"]), (&json!(""), &json!("")));
        assert_eq!(settled.message(), verified.message());
    }
}

#[tokio::test]
async fn a_body_that_is_too_long_is_not_read() {
    let facilitator = Facilitator::new();
    for body in ["[".repeat(100_000), " ".repeat(MAX_BODY_BYTES + 1)] {
        for path in ["/verify", "/settle"] {
            let answer = facilitator.post(path, body.clone()).await;
            assert_eq!((answer.status, answer.reason()), (StatusCode::PAYLOAD_TOO_LARGE, "invalid_payload"));
            assert!(answer.message().contains("65536 bytes"));
        }
    }
    let padded = format!("{}{}", request(1), " ".repeat(MAX_BODY_BYTES - request(1).to_string().len()));
    assert_eq!(facilitator.post("/verify", padded).await.json["isValid"], json!(true));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let facilitator = Facilitator::new();
    let never = Body::from_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let answer = facilitator.post("/settle", never).await;
    assert_eq!((answer.status, answer.reason()), (StatusCode::REQUEST_TIMEOUT, "invalid_payload"));
}

#[tokio::test]
async fn a_body_that_breaks_off_is_no_fault_of_ours() {
    let facilitator = Facilitator::new();
    let broken = futures_util::stream::iter([Ok(b"{\"x4".to_vec()), Err(std::io::Error::other("gone"))]);
    let answer = facilitator.post("/verify", Body::from_stream(broken)).await;
    assert_eq!((answer.status, answer.reason()), (StatusCode::BAD_REQUEST, "invalid_payload"));
}

#[tokio::test]
async fn the_content_type_is_not_looked_at() {
    let facilitator = Facilitator::new();
    for content_type in ["text/plain", "application/json; charset=utf-16", "nonsense"] {
        let body = Body::from(request(1).to_string());
        let request = Request::post("/verify").header("content-type", content_type).body(body).unwrap();
        assert_eq!(facilitator.send(request).await.json["isValid"], json!(true), "{content_type}");
    }
    let without = Request::post("/verify").body(Body::from(request(1).to_string())).unwrap();
    assert_eq!(facilitator.send(without).await.json["isValid"], json!(true));
}

#[tokio::test]
async fn other_methods_and_other_paths_are_refused() {
    let facilitator = Facilitator::new();
    for (method, path) in [(Method::GET, "/verify"), (Method::PUT, "/settle"), (Method::POST, "/supported")] {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        let answer = facilitator.send(request).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        assert!(answer.headers.contains_key("allow"));
    }
    for path in ["/", "/verify/", "/Verify", "//verify", "/settle/../verify"] {
        let answer = facilitator.post(path, request(1).to_string()).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert!(answer.json["error"].as_str().unwrap().contains("POST /verify"));
    }
}

#[tokio::test]
async fn no_damaged_request_gets_a_5xx() {
    let facilitator = Facilitator::new();
    for good in [request(1).to_string(), request_v1(1).to_string()] {
        let mut bodies: Vec<Vec<u8>> = (0..good.len()).map(|end| good.as_bytes()[..end].to_vec()).collect();
        for at in 0..good.len() {
            for byte in [b'"', b'{', b'0', 0xc3, 0] {
                let mut body = good.clone().into_bytes();
                body[at] = byte;
                bodies.push(body);
            }
        }
        for body in bodies {
            for path in ["/verify", "/settle"] {
                let answer = facilitator.post(path, body.clone()).await;
                assert!(answer.status.as_u16() < 500, "{}", String::from_utf8_lossy(&body));
                assert!(answer.json["isValid"].is_boolean() || answer.json["success"].is_boolean());
            }
        }
    }
}
