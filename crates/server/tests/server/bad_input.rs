//! Payment headers that are none: a defined answer, and nobody is asked anything.

use axum::Router;
use axum::body::Body;
use farthing_core::header;
use http::{HeaderName, HeaderValue, Request, StatusCode};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{Answer, Shop, fetch, payment, send};

/// Names and values, in the order in which they are sent.
type Headers = Vec<(&'static str, Vec<u8>)>;

async fn present(app: &Router, headers: &[(&'static str, &[u8])]) -> Answer {
    let mut request = Request::get("/report").body(Body::empty()).unwrap();
    for (name, value) in headers {
        request.headers_mut().append(HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
    }
    send(app, request).await
}

#[tokio::test]
async fn a_header_that_cannot_be_read_is_400_with_a_stable_code() {
    let shop = Shop::open().await;
    let app = shop.app();
    let good = header::encode(&payment(&fetch(&app, "/report").await.terms(), "1")).unwrap();
    let good = good.as_bytes();
    let encoded = |text: &str| header::encode_bytes(text).into_bytes();
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let nested = format!("{{\"x402Version\":2,\"payload\":{}1{}}}", "{\"a\":".repeat(5_000), "}".repeat(5_000));
    let list = [good, b",", good].concat();
    let cases: Vec<(&str, Headers)> = vec![
        ("empty", vec![("payment-signature", Vec::new())]),
        ("not base64", vec![("payment-signature", b"%%%".to_vec())]),
        ("not UTF-8", vec![("payment-signature", header::encode_bytes([0xff, 0xfe]).into_bytes())]),
        ("bytes", vec![("x-payment", vec![0xff; 40])]),
        ("not JSON", vec![("payment-signature", encoded("hello"))]),
        ("not an object", vec![("payment-signature", encoded("[]"))]),
        ("NaN", vec![("payment-signature", encoded("{\"x402Version\":NaN}"))]),
        ("no payload", vec![("payment-signature", encoded("{\"x402Version\":2}"))]),
        ("duplicate key", vec![("payment-signature", encoded("{\"x402Version\":2,\"x402Version\":2}"))]),
        ("deep", vec![("payment-signature", encoded(&deep))]),
        ("nested", vec![("payment-signature", encoded(&nested))]),
        ("long", vec![("payment-signature", vec![b'A'; 40_000])]),
        ("two headers", vec![("payment-signature", good.to_vec()), ("payment-signature", good.to_vec())]),
        ("both versions", vec![("payment-signature", good.to_vec()), ("x-payment", good.to_vec())]),
        ("a list", vec![("payment-signature", list)]),
    ];
    for (name, headers) in &cases {
        let headers: Vec<(&'static str, &[u8])> = headers.iter().map(|(name, value)| (*name, value.as_slice())).collect();
        let answer = present(&app, &headers).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{name}: {}", answer.text());
        assert_eq!(answer.json()["error"], "invalid_payload", "{name}");
        assert!(!answer.json()["message"].as_str().unwrap().is_empty(), "{name}");
        assert_eq!(answer.header("cache-control"), "no-store", "{name}");
    }
    assert_eq!((shop.runs(), shop.facilitator.calls()), (0, (0, 0)));
}

#[tokio::test]
async fn an_unknown_version_scheme_or_network_gets_a_fresh_challenge() {
    let shop = Shop::open().await;
    let app = shop.app();
    let terms = fetch(&app, "/report").await.terms();
    let paying = |change: fn(&mut Value)| {
        let mut payment = payment(&terms, "1");
        change(&mut payment);
        header::encode(&payment).unwrap()
    };
    let old = |scheme: &str, network: &str| {
        header::encode(&json!({"x402Version": 1, "scheme": scheme, "network": network, "payload": {"nonce": "1"}})).unwrap()
    };
    let cases = [
        ("invalid_x402_version", paying(|payment| payment["x402Version"] = json!(3))),
        ("invalid_x402_version", paying(|payment| payment["x402Version"] = json!("2"))),
        ("No matching payment requirements", paying(|payment| payment["accepted"]["scheme"] = json!("barter"))),
        ("No matching payment requirements", paying(|payment| payment["accepted"]["network"] = json!("eip155:1"))),
        ("No matching payment requirements", old("upto", "base-sepolia")),
        ("No matching payment requirements", old("exact", "base")),
        ("invalid_network", old("exact", "eip155:84532")),
    ];
    for (error, value) in &cases {
        let answer = present(&app, &[("payment-signature", value.as_bytes())]).await;
        assert_eq!(answer.status, StatusCode::PAYMENT_REQUIRED, "{error}: {}", answer.text());
        assert_eq!(answer.terms()["error"], *error);
        assert_eq!(answer.json()["error"], *error);
        assert_eq!(answer.terms()["accepts"], terms["accepts"]);
    }
    assert_eq!((shop.runs(), shop.facilitator.calls()), (0, (0, 0)));
}

/// A value that an HTTP server would hand on: no control characters but tab.
fn header_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof![Just(b'\t'), 0x20_u8..0x7f, 0x80_u8..], 0..400)
}

/// JSON that looks more or less like a payment.
fn near_payment() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just("null".to_owned()),
        Just("2".to_owned()),
        Just("1".to_owned()),
        Just("\"exact\"".to_owned()),
        Just("{\"nonce\":\"1\"}".to_owned()),
        Just("[[[{}]]]".to_owned()),
        Just("1e999".to_owned()),
        r#""[a-z\\"{}:,]{0,10}""#,
    ];
    let key = prop_oneof![
        Just("x402Version"),
        Just("payload"),
        Just("accepted"),
        Just("resource"),
        Just("scheme"),
        Just("network"),
        Just("extensions"),
    ];
    prop::collection::vec((key, word), 0..8).prop_map(|fields| {
        let fields: Vec<String> = fields.into_iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
        format!("{{{}}}", fields.join(","))
    })
}

fn assert_no_fault_of_ours(value: &[u8], name: &'static str) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let shop = Shop::open().await;
        let answer = present(&shop.app(), &[(name, value)]).await;
        let status = answer.status.as_u16();
        assert!(status == 400 || status == 402, "{status} for {}", String::from_utf8_lossy(value));
        assert_eq!((shop.runs(), shop.facilitator.calls()), (0, (0, 0)));
    });
}

proptest! {
    #[test]
    fn no_header_bytes_are_a_fault_of_ours(value in header_bytes(), old in any::<bool>()) {
        assert_no_fault_of_ours(&value, if old { "x-payment" } else { "payment-signature" });
    }

    #[test]
    fn no_near_payment_is_a_fault_of_ours(text in near_payment(), old in any::<bool>()) {
        let value = header::encode_bytes(text);
        assert_no_fault_of_ours(value.as_bytes(), if old { "x-payment" } else { "payment-signature" });
    }
}
