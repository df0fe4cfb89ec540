//! Payments, and requests about them, in version 2.

use farthing_core::reason::Reason;
use farthing_core::wire::{Accepted, Payload, PaymentPayload, PaymentRequest, Version};
use serde_json::json;

use crate::golden::{OFFER, PAYLOAD, payment, payment_v1, request, request_v1, with};

#[test]
fn a_payment_is_read_and_written_as_it_came() {
    let read = PaymentPayload::read(&payment()).unwrap();
    assert_eq!(read.version, Version::V2);
    assert_eq!(read.resource.as_ref().unwrap().url, "https://api.example.com/data");
    assert_eq!((read.accepted.scheme(), read.accepted.network().as_str()), ("exact", "eip155:84532"));
    let Accepted::Offer(offer) = &read.accepted else { panic!("{:?}", read.accepted) };
    assert_eq!(offer.raw(), OFFER);
    assert_eq!(read.payload.raw(), PAYLOAD);
    assert_eq!(read.write().unwrap(), payment());
}

#[test]
fn a_request_is_read_and_written_as_it_came() {
    for text in [request(), request_v1()] {
        let read = PaymentRequest::read(text.as_bytes()).unwrap();
        assert_eq!(read.requirements.amount.to_string(), "10000");
        assert_eq!(read.payment.resource.as_ref().unwrap().url, "https://api.example.com/data");
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
    }
}

#[test]
fn debug_output_shows_no_signature() {
    let shown = format!("{:?}", PaymentRequest::read(request().as_bytes()).unwrap());
    assert!(shown.contains("eip155:84532") && !shown.contains("0xb94ef123"), "{shown}");
    let extended = with(&payment(), "\"payload\"", "\"extensions\":{\"permit\":\"0xb94ef123\"},\"payload\"");
    assert!(!format!("{:?}", PaymentPayload::read(&extended).unwrap()).contains("0xb94ef123"));
}

#[test]
fn a_payload_is_an_object() {
    for bad in ["\"0x00\"", "[]", "17", "true"] {
        let error = PaymentPayload::read(&with(&payment(), PAYLOAD, bad)).unwrap_err();
        assert_eq!(error.reason, Reason::InvalidPayload);
        assert!(error.message.contains("payload: expected a JSON object"), "{bad}: {}", error.message);
    }
    assert!(Payload::new(&json!("0x00")).is_err());
    assert_eq!(Payload::new(&json!({"a": 1})).unwrap().raw(), r#"{"a":1}"#);
}

#[test]
fn what_is_missing_is_named() {
    let payments = [
        (with(&payment(), &format!("\"accepted\":{OFFER},"), ""), Reason::InvalidPayload, "accepted: missing"),
        (with(&payment(), OFFER, "null"), Reason::InvalidPayload, "accepted: missing"),
        (with(&payment(), "\"payTo\"", "\"payto\""), Reason::InvalidPayload, "accepted: missing field `payTo`"),
        (with(&payment(), "\"10000\",\"asset\"", "10000,\"asset\""), Reason::InvalidPayload, "accepted: amount: invalid type"),
        (
            with(&payment(), "eip155:84532", "base-sepolia"),
            Reason::InvalidNetwork,
            "accepted.network: expected a CAIP-2 network",
        ),
        (with(&payment(), "eip155:84532", ""), Reason::InvalidNetwork, "accepted.network: expected a CAIP-2 network"),
        (with(&payment(), "\"eip155:84532\"", "84532"), Reason::InvalidPayload, "accepted: network: invalid type"),
        (with(&payment(), &format!(",\"payload\":{PAYLOAD}"), ""), Reason::InvalidPayload, "payload: missing"),
        (with(&payment(), PAYLOAD, "null"), Reason::InvalidPayload, "payload: missing"),
        (with(&payment(), "\"url\"", "\"uri\""), Reason::InvalidPayload, "resource: missing field `url`"),
        (with(&payment_v1(), "\"scheme\":\"exact\",", ""), Reason::InvalidPayload, "scheme: missing"),
        (with(&payment_v1(), "\"base-sepolia\"", "null"), Reason::InvalidPayload, "network: missing"),
        (with(&payment_v1(), "base-sepolia", "eip155:84532"), Reason::InvalidNetwork, "\"eip155:84532\""),
        (with(&payment_v1(), "base-sepolia", "Base-Sepolia"), Reason::InvalidNetwork, "\"Base-Sepolia\""),
    ];
    for (text, reason, message) in payments {
        let error = PaymentPayload::read(&text).unwrap_err();
        assert_eq!(error.reason, reason, "{text}");
        assert!(error.message.contains(message), "{text}: {}", error.message);
    }
    let requirements = format!(",\"paymentRequirements\":{OFFER}}}");
    for (from, to, reason, message) in [
        (requirements.as_str(), "}", Reason::InvalidPaymentRequirements, "paymentRequirements: missing"),
        (
            requirements.as_str(),
            ",\"paymentRequirements\":null}",
            Reason::InvalidPaymentRequirements,
            "paymentRequirements: missing",
        ),
        (requirements.as_str(), ",\"paymentRequirements\":{}}", Reason::InvalidPaymentRequirements, "missing field `scheme`"),
        ("\"paymentPayload\"", "\"payment\"", Reason::InvalidPayload, "paymentPayload: missing"),
    ] {
        let error = PaymentRequest::read(with(&request(), from, to).as_bytes()).unwrap_err();
        assert_eq!(error.reason, reason);
        assert!(error.message.contains(message), "{}", error.message);
    }
}

#[test]
fn only_the_numbers_1_and_2_are_versions() {
    for version in ["3", "0", "-1", "2.0", "2e0", "\"2\"", "\"1\"", "null", "true", "[2]", "{\"a\":2}", "18446744073709551618"]
    {
        let change = |text: &str| with(text, "\"x402Version\":2", &format!("\"x402Version\":{version}"));
        let error = PaymentPayload::read(&change(&payment())).unwrap_err();
        assert_eq!(error.reason, Reason::InvalidX402Version, "{version}");
        assert!(error.message.starts_with("x402Version: expected 1 or 2, got"), "{}", error.message);
        if version != "null" {
            let error = PaymentRequest::read(change(&request()).as_bytes()).unwrap_err();
            assert_eq!(error.reason, Reason::InvalidX402Version, "{version}");
        }
    }
    let missing = PaymentPayload::read(&with(&payment(), "\"x402Version\":2,", "")).unwrap_err();
    assert_eq!(missing.message, "x402Version: expected 1 or 2, got nothing");
    let long =
        PaymentPayload::read(&with(&payment(), "\"x402Version\":2", &format!("\"x402Version\":\"{}\"", "2".repeat(9_999))));
    assert!(long.unwrap_err().message.len() < 100);
}

#[test]
fn a_request_and_its_payment_are_of_one_version() {
    // Some servers of version 1 leave the outer version out, or null; the payment's own speaks then.
    for text in [request(), request_v1()] {
        let version = &text[..r#"{"x402Version":1,"#.len()];
        for without in ["{", "{\"x402Version\":null,"] {
            let read = PaymentRequest::read(with(&text, version, without).as_bytes()).unwrap();
            assert_eq!(read.version, read.payment.version);
        }
    }
    for (text, other) in [(request(), 1), (request_v1(), 2)] {
        let first = &text[..r#"{"x402Version":1"#.len()];
        let error = PaymentRequest::read(with(&text, first, &format!("{{\"x402Version\":{other}")).as_bytes()).unwrap_err();
        assert_eq!(error.reason, Reason::InvalidX402Version);
        assert!(error.message.contains("paymentPayload.x402Version"), "{}", error.message);
    }
}

#[test]
fn unknown_fields_are_no_fault() {
    let text = with(&payment(), "\"x402Version\":2,", "\"x402Version\":2,\"memo\":{\"a\":[1,2]},\"payer\":null,");
    assert_eq!(PaymentPayload::read(&text).unwrap().write().unwrap(), payment());
    let text = with(&request(), "\"x402Version\":2,", "\"x402Version\":2,\"memo\":17,");
    assert!(PaymentRequest::read(text.as_bytes()).is_ok());
}

#[test]
fn extensions_are_kept_as_they_came() {
    let extensions = r#"{"payment-identifier":{"info":{"id":"pay_1","n":1.50}},"bazaar":{ "a" : [] }}"#;
    let text =
        with(&payment(), &format!("\"payload\":{PAYLOAD}"), &format!("\"payload\":{PAYLOAD},\"extensions\":{extensions}"));
    let read = PaymentPayload::read(&text).unwrap();
    assert_eq!(read.extensions.raw("payment-identifier"), Some(r#"{"info":{"id":"pay_1","n":1.50}}"#));
    assert_eq!(read.write().unwrap(), text);
}
