//! Texts made to harm: each is refused with a reason, by every reader.

use farthing_core::header::{decode_payment, decode_required, decode_settlement, encode_bytes};
use farthing_core::json::{self, JsonError, MAX_DEPTH};
use farthing_core::reason::Reason;
use farthing_core::wire::{
    PaymentPayload, PaymentRequest, PaymentRequired, SettleResponse, SupportedResponse, VerifyResponse, v1,
};

use crate::golden::{
    OFFER, PAYLOAD, REQUIRED, REQUIRED_V1, SETTLED, SUPPORTED, payment, payment_v1, request, request_v1, with,
};

/// Gives the text to every reader, straight and as a header; none may take it.
fn refused_by_all(text: &[u8]) {
    let shown = String::from_utf8_lossy(&text[..text.len().min(200)]).into_owned();
    assert!(PaymentRequest::read(text).is_err(), "{shown}");
    assert!(v1::payment_required(text).is_err(), "{shown}");
    assert!(json::read_bytes::<SettleResponse>(text).is_err(), "{shown}");
    assert!(json::read_bytes::<VerifyResponse>(text).is_err(), "{shown}");
    assert!(json::read_bytes::<SupportedResponse>(text).is_err(), "{shown}");
    if let Ok(text) = std::str::from_utf8(text) {
        assert!(PaymentPayload::read(text).is_err(), "{shown}");
        assert!(PaymentRequired::read(text).is_err(), "{shown}");
    }
    let header = encode_bytes(text);
    assert!(decode_payment(header.as_bytes()).is_err(), "{shown}");
    assert!(decode_required(header.as_bytes()).is_err(), "{shown}");
    assert!(decode_settlement(header.as_bytes()).is_err(), "{shown}");
}

#[test]
fn nonsense_is_refused_by_every_reader() {
    let texts: [&[u8]; 14] = [
        b"",
        b" ",
        b"null",
        b"true",
        b"0",
        b"\"x402\"",
        b"[]",
        b"{",
        b"{}",
        b"{}}",
        b"NaN",
        b"\xff\xfe",
        b"\xef\xbb\xbf{}",
        b"{\"a\":\"\0\"}",
    ];
    for text in texts {
        refused_by_all(text);
    }
}

#[test]
fn deep_nesting_is_refused_by_every_reader() {
    for open in ["[", "{\"a\":", "{\"x402Version\":2,\"payload\":[", "{\"success\":true,\"extra\":{\"a\":"] {
        refused_by_all(open.repeat(100_000).as_bytes());
    }
    let closed = |depth: usize| format!("{}0{}", "[".repeat(depth), "]".repeat(depth));
    refused_by_all(closed(100_000).as_bytes());
    // The message's own levels count.
    let within = with(&payment(), "\"payload\"", &format!("\"memo\":{},\"payload\"", closed(MAX_DEPTH - 1)));
    assert!(PaymentPayload::read(&within).is_ok());
    let beyond = with(&payment(), "\"payload\"", &format!("\"memo\":{},\"payload\"", closed(MAX_DEPTH)));
    let error = PaymentPayload::read(&beyond).unwrap_err();
    assert_eq!(error.reason, Reason::InvalidPayload);
    assert!(error.message.contains("32 levels"), "{}", error.message);
    assert_eq!(PaymentRequired::read(&with(REQUIRED, "\"USDC\"", &closed(MAX_DEPTH))).unwrap_err(), JsonError::TooDeep);
}

#[test]
fn a_key_that_comes_twice_is_refused_at_every_depth() {
    let twice = [
        (payment(), "\"x402Version\":2", "\"x402Version\":2,\"x402Version\":2"),
        (payment(), "\"x402Version\":2", "\"x402Version\":2,\"x402\\u0056ersion\":1"),
        (payment(), "\"amount\":\"10000\"", "\"amount\":\"1\",\"amount\":\"10000\""),
        (payment(), "\"value\":\"10000\"", "\"value\":\"1\",\"value\":\"10000\""),
        (payment(), "\"name\":\"USDC\"", "\"name\":\"USDC\",\"name\":\"USD Coin\""),
        (payment_v1(), "\"network\":\"base-sepolia\"", "\"network\":\"base\",\"network\":\"base-sepolia\""),
    ];
    for (text, from, to) in twice {
        let error = PaymentPayload::read(&with(&text, from, to)).unwrap_err();
        assert_eq!(error.reason, Reason::InvalidPayload, "{to}");
        assert!(error.message.contains("twice in one object"), "{to}: {}", error.message);
    }
    for text in [request(), request_v1()] {
        let changed = with(&text, "\"payTo\"", "\"payTo\":\"0xThief\",\"payTo\"");
        assert!(PaymentRequest::read(changed.as_bytes()).unwrap_err().message.contains("\"payTo\" twice"));
    }
    let changed = with(REQUIRED_V1, "\"payTo\"", "\"payTo\":\"0xThief\",\"payTo\"");
    assert!(matches!(v1::payment_required(changed.as_bytes()), Err(JsonError::DuplicateKey(key)) if key == "payTo"));
    let changed = with(SETTLED, "\"success\":true", "\"success\":false,\"success\":true");
    assert!(matches!(json::read::<SettleResponse>(&changed), Err(JsonError::DuplicateKey(_))));
    let changed = with(SUPPORTED, "\"extensions\"", "\"kinds\":[],\"extensions\"");
    assert!(json::read::<SupportedResponse>(&changed).is_err());
}

#[test]
fn numbers_that_are_none_are_refused() {
    for number in ["NaN", "Infinity", "-Infinity", "0x10", "01", "1.", ".5", "+1", "--1"] {
        let text = with(&payment(), "\"x402Version\":2", &format!("\"x402Version\":2,\"memo\":{number}"));
        assert_eq!(PaymentPayload::read(&text).unwrap_err().reason, Reason::InvalidPayload, "{number}");
        assert!(
            PaymentRequired::read(&with(REQUIRED, "300", number)).map_or(true, |terms| terms.accepts.is_empty()),
            "{number}"
        );
    }
}

#[test]
fn only_decimal_strings_are_amounts() {
    let long = "9".repeat(79);
    let too_large = "\"115792089237316195423570985008687907853269984665640564039457584007913129639936\"";
    let bad = [
        "10000",
        "1e4",
        "10000.0",
        "null",
        "\"\"",
        "\"0x2710\"",
        "\"1e4\"",
        "\"10000.0\"",
        "\"-10000\"",
        "\"+10000\"",
        "\" 10000\"",
        "\"10000 \"",
        "\"10_000\"",
        "\"10,000\"",
        "\"010000\"",
        "\"\u{0661}\"",
        "\"NaN\"",
        "[\"10000\"]",
        "{}",
        too_large,
        &format!("\"{long}\""),
    ];
    for amount in bad {
        let accepted = with(&payment(), "\"amount\":\"10000\"", &format!("\"amount\":{amount}"));
        assert_eq!(PaymentPayload::read(&accepted).unwrap_err().reason, Reason::InvalidPayload, "{amount}");
        let asked = with(
            &request(),
            &format!("\"paymentRequirements\":{OFFER}"),
            &format!("\"paymentRequirements\":{}", with(OFFER, "\"10000\"", amount)),
        );
        let error = PaymentRequest::read(asked.as_bytes()).unwrap_err();
        assert_eq!(error.reason, Reason::InvalidPaymentRequirements, "{amount}");
        assert!(error.message.contains("amount") && error.message.len() < 400, "{}", error.message);
        let asked = with(&request_v1(), "\"maxAmountRequired\":\"10000\"", &format!("\"maxAmountRequired\":{amount}"));
        assert_eq!(PaymentRequest::read(asked.as_bytes()).unwrap_err().reason, Reason::InvalidPaymentRequirements, "{amount}");
    }
}

#[test]
fn errors_are_short_and_quote_no_signature() {
    let signature = &PAYLOAD[r#"{"signature":""#.len()..][..132];
    let misplaced = [
        with(&payment(), "\"x402Version\":2", &format!("\"x402Version\":2,\"scheme\":[\"{signature}\"]")),
        with(&payment(), &format!("\"accepted\":{OFFER}"), &format!("\"accepted\":\"{signature}\"")),
        with(&payment(), "\"amount\":\"10000\"", &format!("\"amount\":{{\"a\":\"{signature}\"}}")),
        with(&payment(), PAYLOAD, &format!("\"{signature}\"")),
    ];
    for text in misplaced {
        let error = PaymentPayload::read(&text).unwrap_err();
        assert!(!error.message.contains(&signature[..20]), "{}", error.message);
    }
    for (field, text) in [
        ("key", with(&payment(), "\"x402Version\":2", &format!("\"{0}\":1,\"{0}\":1", "k".repeat(5_000)))),
        ("version", with(&payment(), "\"x402Version\":2", &format!("\"x402Version\":\"{}\"", "2".repeat(5_000)))),
        ("network", with(&payment(), "\"eip155:84532\"", &format!("\"{}\"", "n".repeat(5_000)))),
        ("asset", with(&payment(), "0x036CbD53842c5426634e7929541eC2318f3dCF7e", &"a".repeat(5_000))),
        ("resource", with(&payment(), "{\"url\"", &format!("\"{}\",\"was\":{{\"url\"", "r".repeat(5_000)))),
    ] {
        let error = PaymentPayload::read(&text).unwrap_err();
        assert!(error.message.len() < 400, "{field}: {}", error.message);
    }
}
