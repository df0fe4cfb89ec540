//! Requests to the seller that are no payment: headers as they can come over a socket.

use farthing::core::header;
use serde_json::{Value, json};

use crate::market::{Answer, Market, REPORT};

/// A name and a value.
type Header<'a> = (&'a str, &'a [u8]);

/// A request as bytes, with these payment headers.
fn request(method: &str, path: &str, headers: &[Header<'_>]) -> Vec<u8> {
    let mut bytes = format!("{method} {path} HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n").into_bytes();
    for (name, value) in headers {
        bytes.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    [bytes.as_slice(), b"\r\n"].concat()
}

/// A payment for the host that [`request`] names.
async fn payment(market: &Market) -> Value {
    let mut payment = market.pay("/report").await;
    payment["resource"]["url"] = json!("https://shop.example/report");
    payment
}

fn padded(payment: &Value, key: &str, length: usize) -> String {
    let mut payment = payment.clone();
    payment[key] = json!({"padding": ""});
    let missing = length - header::encode(&payment).unwrap().len();
    payment[key] = json!({"padding": "x".repeat(missing * 3 / 4)});
    header::encode(&payment).unwrap()
}

#[tokio::test]
async fn a_payment_header_that_cannot_be_read_has_a_defined_answer() {
    let market = Market::open().await;
    let honest = payment(&market).await;
    let good = header::encode(&honest).unwrap();
    let json_text = honest.to_string();
    let encoded = |text: &str| header::encode_bytes(text).into_bytes();
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep_payload =
        json_text.replacen("\"payload\":{", &format!("\"payload\":{{\"a\":{}1{},", "[".repeat(40), "]".repeat(40)), 1);
    let twice = json_text.replacen("\"x402Version\":2", "\"x402Version\":2,\"x402Version\":2", 1);
    let value_twice = json_text.replacen("\"value\":\"10000\"", "\"value\":\"1\",\"value\":\"10000\"", 1);
    assert!(twice != json_text && value_twice != json_text && deep_payload != json_text);
    let list = format!("{good},{good}").into_bytes();
    let spaced = format!("{good}, {good}").into_bytes();
    let cut = good.as_bytes()[..good.len() / 2].to_vec();
    let rows: Vec<(&str, Vec<u8>)> = vec![
        ("empty", Vec::new()),
        ("white space", b"  \t ".to_vec()),
        ("no base64", b"%%%".to_vec()),
        ("JSON as it is", json_text.clone().into_bytes()),
        ("bytes", vec![0xff; 40]),
        ("no UTF-8", header::encode_bytes([0xff, 0xfe, b'{']).into_bytes()),
        ("no JSON", encoded("hello")),
        ("half a payment", cut),
        ("a list of JSON", encoded(&format!("[{json_text}]"))),
        ("an empty list", encoded("[]")),
        ("null", encoded("null")),
        ("NaN", encoded("{\"x402Version\":NaN}")),
        ("1e999", encoded("{\"x402Version\":1e999}")),
        ("nothing in it", encoded("{\"x402Version\":2}")),
        ("a key twice", encoded(&twice)),
        ("an amount twice", encoded(&value_twice)),
        ("100,000 deep", encoded(&deep)),
        ("100,000 deep and never closed", encoded(&"{\"a\":".repeat(100_000))),
        ("a deep payload", encoded(&deep_payload)),
        ("9 KiB without extensions", padded(&honest, "memo", 9 * 1024).into_bytes()),
        ("33 KiB", padded(&honest, "extensions", 33 * 1024).into_bytes()),
        ("a list of payments", list),
        ("a list with spaces", spaced),
    ];
    for (name, value) in &rows {
        for header in ["PAYMENT-SIGNATURE", "X-PAYMENT"] {
            let answer = market.write(&request("GET", "/report", &[(header, value)])).await;
            // hyper itself turns away what is longer than all headers may be together.
            let is_too_long = value.len() > 100_000 && answer.status == 431;
            if !is_too_long {
                assert_eq!(
                    (answer.status, answer.error().as_str()),
                    (400, "invalid_payload"),
                    "{header} {name}: {}",
                    answer.body
                );
                answer.assert_unpaid(name);
            }
        }
    }
    let good = good.as_bytes();
    let pairs: &[(&str, &[Header<'_>])] = &[
        ("two", &[("PAYMENT-SIGNATURE", good), ("PAYMENT-SIGNATURE", good)]),
        ("two in other letters", &[("payment-signature", good), ("Payment-Signature", good)]),
        ("a second that is empty", &[("PAYMENT-SIGNATURE", good), ("PAYMENT-SIGNATURE", b"")]),
        ("both versions", &[("PAYMENT-SIGNATURE", good), ("X-PAYMENT", good)]),
        ("both versions, one empty", &[("X-PAYMENT", good), ("PAYMENT-SIGNATURE", b"")]),
        ("two of version 1", &[("X-PAYMENT", good), ("X-PAYMENT", good)]),
    ];
    for (name, headers) in pairs {
        let answer = market.write(&request("GET", "/report", headers)).await;
        assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_payload"), "{name}: {}", answer.body);
        answer.assert_unpaid(name);
    }
    let worth = market.worth().await;
    assert_eq!((worth.operator_transactions, worth.deliveries), (0, 0));
    let paid = market.write(&request("GET", "/report", &[("PAYMENT-SIGNATURE", good)])).await;
    paid.assert_delivered("after all that");
}

#[tokio::test]
async fn a_payment_in_any_base64_with_long_extensions_is_read() {
    use base64_forms::forms;
    let market = Market::open().await;
    for form in 0..4 {
        let before = market.worth().await;
        let honest = payment(&market).await;
        let text = if form == 3 { padded(&honest, "extensions", 30 * 1024) } else { forms(&honest)[form].clone() };
        let answer = market.write(&request("GET", "/report", &[("PAYMENT-SIGNATURE", text.as_bytes())])).await;
        answer.assert_delivered(&text[..20]);
        market.assert_sold(1, &before).await;
    }
}

mod base64_forms {
    use farthing::core::header;
    use serde_json::Value;

    /// Standard, without padding, and URL-safe.
    pub fn forms(payment: &Value) -> [String; 3] {
        let standard = header::encode(payment).unwrap();
        let bare = standard.trim_end_matches('=').to_owned();
        let url_safe = standard.replace('+', "-").replace('/', "_");
        [standard, bare, url_safe]
    }
}

#[tokio::test]
async fn every_method_is_priced() {
    let market = Market::open().await;
    for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"] {
        for path in ["/report", "/form"] {
            let answer = market.write(&request(method, path, &[])).await;
            assert_eq!(answer.status, 402, "{method} {path}: {}", answer.body);
            assert_eq!(answer.header("cache-control"), "no-store");
            assert_eq!(answer.terms()["accepts"][0]["amount"], "10000");
        }
    }
    assert_eq!(market.worth().await.deliveries, 0);
}

#[tokio::test]
async fn head_is_paid_for_as_get_is() {
    let market = Market::open().await;
    let (before, paid) = (market.worth().await, payment(&market).await);
    let value = header::encode(&paid).unwrap();
    let answer = market.write(&request("HEAD", "/report", &[("PAYMENT-SIGNATURE", value.as_bytes())])).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    assert!(answer.settlement().success);
    market.assert_sold(1, &before).await;
    let answer = market.write(&request("GET", "/report", &[("PAYMENT-SIGNATURE", value.as_bytes())])).await;
    assert_eq!((answer.status, answer.error().as_str()), (402, "payment_already_used"));
}

#[tokio::test]
async fn a_body_is_paid_for_and_arrives() {
    let market = Market::open().await;
    let before = market.worth().await;
    let payment = header::encode(&market.pay_for_form().await).unwrap();
    let builder = market.http().post(market.at("/form")).header("payment-signature", payment).body("a question");
    let answer = market.request(builder).await;
    answer.assert_delivered("a form");
    assert_eq!(answer.body, format!("{REPORT}: a question"));
    market.assert_sold(1, &before).await;
}

#[tokio::test]
async fn what_the_protocol_says_in_headers_cannot_be_forged() {
    let market = Market::open().await;
    let forged: Vec<(&str, &str)> = vec![
        ("payment-response", "e30="),
        ("x-payment-response", "e30="),
        ("payment-required", "e30="),
        ("x-paid", "true"),
        ("x-original-url", "/free"),
        ("x-rewrite-url", "/free"),
        ("x-http-method-override", "OPTIONS"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-proto", "https"),
        ("forwarded", "host=evil.example"),
        ("origin", "https://evil.example"),
        ("access-control-request-method", "GET"),
    ];
    let answer = market.get("/report", &forged).await;
    assert_eq!(answer.status, 402);
    answer.assert_unpaid("forged");
    assert_eq!(answer.terms()["resource"]["url"], market.at("/report"));
    assert_eq!(answer.header("vary"), "PAYMENT-SIGNATURE, X-PAYMENT, SIGN-IN-WITH-X");
}

#[tokio::test]
async fn a_host_that_is_none_is_refused() {
    let market = Market::open().await;
    for host in ["", "a b", "a/b", "user@shop.example", "a\"b", "shop.example, evil.example", &"a".repeat(1_000)] {
        let bytes = format!("GET /report HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer: Answer = market.write(bytes.as_bytes()).await;
        assert_eq!(answer.status, 400, "{host}: {}", answer.body);
    }
    let two = b"GET /report HTTP/1.1\r\nHost: shop.example\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    assert_eq!(market.write(two).await.status, 400);
}

#[tokio::test]
async fn a_version_1_buyer_pays_at_the_same_url() {
    let market = Market::open().await;
    let before = market.worth().await;
    let terms = market.get("/report", &[]).await.json();
    assert_eq!((&terms["x402Version"], &terms["accepts"][0]["network"]), (&json!(1), &json!("base-sepolia")));
    assert_eq!(terms["accepts"][0]["maxAmountRequired"], "10000");
    let payload = market.pay("/report").await["payload"].clone();
    let old = json!({"x402Version": 1, "scheme": "exact", "network": "base-sepolia", "payload": payload});
    let answer = market.buy("/report", &old).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, REPORT), "{}", answer.body);
    let settlement = header::decode_settlement(answer.header("x-payment-response").as_bytes()).unwrap();
    assert!(settlement.success && answer.header("payment-response").is_empty());
    market.assert_sold(1, &before).await;
    // The same authorization, dressed as version 2.
    let mut current = market.pay("/report").await;
    current["payload"] = payload;
    market.turns_away("the same money", &current, 402, "payment_already_used").await;
    market.turns_away("the same header", &old, 402, "payment_already_used").await;
}
