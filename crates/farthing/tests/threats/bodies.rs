//! Bodies of `/verify` and `/settle` that are no request.

use serde_json::json;

use crate::market::{Market, asking};

#[tokio::test]
async fn a_body_that_is_no_request_has_a_defined_answer() {
    let market = Market::open().await;
    let honest = market.pay("/report").await;
    let good = asking(&honest, &honest["accepted"]).to_string();
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let nested = format!("{{\"paymentPayload\":{}1{}}}", "{\"a\":".repeat(8_000), "}".repeat(8_000));
    let twice = good.replacen("{\"paymentPayload\"", "{\"x402Version\":2,\"paymentPayload\"", 1);
    let signed_twice = good.replacen("\"signature\"", "\"signature\":\"0x\",\"s\\u0069gnature\"", 1);
    assert!(twice != good && signed_twice != good);
    let rows: Vec<(&str, Vec<u8>, u16, &str)> = vec![
        ("empty", Vec::new(), 400, "invalid_payload"),
        ("white space", b" \n ".to_vec(), 400, "invalid_payload"),
        ("text", b"hello".to_vec(), 400, "invalid_payload"),
        ("a form", b"x402Version=2".to_vec(), 400, "invalid_payload"),
        ("null", b"null".to_vec(), 400, "invalid_payload"),
        ("a number", b"1e999".to_vec(), 400, "invalid_payload"),
        ("NaN", b"{\"x402Version\":NaN}".to_vec(), 400, "invalid_payload"),
        ("Infinity", b"{\"x402Version\":Infinity}".to_vec(), 400, "invalid_payload"),
        ("a list", b"[]".to_vec(), 400, "invalid_payload"),
        ("a list of the right things", format!("[2,{honest},{}]", honest["accepted"]).into_bytes(), 400, "invalid_payload"),
        ("an empty object", b"{}".to_vec(), 400, "invalid_payload"),
        ("half a request", good.as_bytes()[..good.len() / 2].to_vec(), 400, "invalid_payload"),
        ("two requests", format!("{good}{good}").into_bytes(), 400, "invalid_payload"),
        ("no UTF-8", vec![0xff; 100], 400, "invalid_payload"),
        ("zeros", vec![0; 60_000], 400, "invalid_payload"),
        ("a key twice", twice.into_bytes(), 400, "invalid_payload"),
        ("two signatures", signed_twice.into_bytes(), 400, "invalid_payload"),
        ("30,000 deep", deep(30_000).into_bytes(), 400, "invalid_payload"),
        ("100,000 deep", deep(100_000).into_bytes(), 413, "invalid_payload"),
        ("100,000 deep and never closed", "{\"a\":".repeat(100_000).into_bytes(), 413, "invalid_payload"),
        ("nested", nested.into_bytes(), 400, "invalid_payload"),
        ("30,000 brackets", "[".repeat(30_000).into_bytes(), 400, "invalid_payload"),
        ("10 MB", vec![b' '; 10_000_000], 413, "invalid_payload"),
    ];
    for (name, body, status, reason) in rows {
        let (verify, verified) = market.ask("verify", body.clone()).await;
        let (settle, settled) = market.ask("settle", body).await;
        assert_eq!((verify, settle), (status, status), "{name}: {verified} {settled}");
        assert_eq!((&verified["isValid"], &settled["success"]), (&json!(false), &json!(false)), "{name}");
        assert_eq!((&verified["invalidReason"], &settled["errorReason"]), (&json!(reason), &json!(reason)), "{name}");
        let message = verified["invalidMessage"].as_str().unwrap();
        assert!((1..600).contains(&message.len()), "{name}: {message}");
    }
    let worth = market.worth().await;
    assert_eq!((worth.operator_transactions, worth.deliveries), (0, 0));
    assert_eq!(market.ask("verify", good).await.1["isValid"], true, "it is still there");
}

#[tokio::test]
async fn a_signature_is_never_repeated() {
    let market = Market::open().await;
    let honest = market.pay("/report").await;
    let secret = "SECRETSECRET";
    let places = [
        "/payload/signature",
        "/payload/authorization/signature",
        "/payload",
        "/payload/authorization",
        "/accepted/maxTimeoutSeconds",
        "/accepted/extra",
        "/accepted",
        "/resource",
        "/extensions",
        "/x402Version/signature",
    ];
    for place in places {
        let mut payment = honest.clone();
        payment["extensions"] = json!({});
        match payment.pointer_mut(place) {
            Some(found) => *found = json!(secret),
            None => continue,
        }
        let request = asking(&payment, &honest["accepted"]);
        for endpoint in ["verify", "settle"] {
            let (_, answer) = market.ask(endpoint, request.to_string()).await;
            // A wrong type of number is shown, since it is no place for a signature.
            assert!(place.ends_with("Seconds") || !answer.to_string().contains(secret), "{place}: {answer}");
        }
        let answer = market.buy("/report", &payment).await;
        assert!(place.ends_with("Seconds") || !answer.body.contains(secret), "{place}: {}", answer.body);
    }
}
