//! The way from version 1 to version 2 and back.

use farthing_core::json::JsonError;
use farthing_core::network::Network;
use farthing_core::reason::Reason;
use farthing_core::wire::{Accepted, PaymentPayload, PaymentRequest, PaymentRequired, SettleResponse, Version, v1};
use serde_json::{Value, json};

use crate::golden::{OFFER, OFFER_V1, PAYLOAD, REQUIRED, REQUIRED_V1, SETTLED, SETTLED_V1, payment_v1, request_v1, with};

#[test]
fn the_names_of_version_1_stand_for_networks() {
    for (name, network) in [
        ("base", "eip155:8453"),
        ("base-sepolia", "eip155:84532"),
        ("skale-base-sepolia", "eip155:324705682"),
        ("solana-devnet", "solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1"),
    ] {
        let network: Network = network.parse().unwrap();
        assert_eq!(v1::network_named(name).as_ref(), Some(&network));
        assert_eq!(v1::name_of(&network), name);
        assert!(v1::knows(&network));
    }
    for name in ["", "Base", "eip155:8453", "base ", "mainnet"] {
        assert_eq!(v1::network_named(name), None, "{name}");
    }
    let unnamed: Network = "eip155:5042002".parse().unwrap();
    assert!(!v1::knows(&unnamed));
    assert_eq!(v1::name_of(&unnamed), "eip155:5042002");
}

#[test]
fn terms_of_version_1_become_terms_of_version_2() {
    let required = v1::payment_required(REQUIRED_V1.as_bytes()).unwrap();
    assert_eq!(required.version, Version::V1);
    assert_eq!(required.error.as_deref(), Some("Payment required"));
    let resource = required.resource.as_ref().unwrap();
    assert_eq!(
        (resource.url.as_str(), resource.description.as_str(), resource.mime_type.as_str()),
        ("https://api.example.com/data", "Data", "application/json")
    );
    assert_eq!(required.accepts.len(), 1);
    assert_eq!(required.accepts[0].raw(), OFFER, "the same offer as in version 2");
}

#[test]
fn terms_of_version_1_are_written_as_they_came() {
    let required = v1::payment_required(REQUIRED_V1.as_bytes()).unwrap();
    assert_eq!(serde_json::to_string(&required).unwrap(), REQUIRED_V1);
}

#[test]
fn terms_of_version_2_are_written_for_buyers_of_version_1() {
    let mut required = PaymentRequired::read(REQUIRED).unwrap();
    let elsewhere = with(OFFER, "eip155:84532", "eip155:5042002");
    required.accepts.push(serde_json::from_str(&elsewhere).unwrap());
    required.version = Version::V1;
    required.error = None;
    let expected = with(&with(REQUIRED_V1, "\"Data\"", "\"\""), "application/json", "");
    assert_eq!(serde_json::to_string(&required).unwrap(), expected, "what version 1 cannot name is left out");
}

#[test]
fn one_offer_of_version_1_that_makes_no_sense_leaves_the_others() {
    let odd = [
        with(OFFER_V1, "base-sepolia", "moon"),
        with(OFFER_V1, "base-sepolia", "eip155:84532"),
        with(OFFER_V1, "\"10000\"", "10000"),
        with(OFFER_V1, "\"payTo\"", "\"payto\""),
        OFFER.to_owned(),
        "[]".to_owned(),
    ];
    let text = with(REQUIRED_V1, "\"accepts\":[", &format!("\"accepts\":[{},", odd.join(",")));
    let required = v1::payment_required(text.as_bytes()).unwrap();
    assert_eq!(required.accepts.len(), 1);
    let unreadable: Vec<_> = required.unreadable.iter().map(|offer| offer.raw.clone()).collect();
    assert_eq!(unreadable, odd);
    assert!(required.unreadable[0].error.contains("\"moon\""), "{}", required.unreadable[0].error);
}

#[test]
fn a_body_of_another_version_is_not_read_as_version_1() {
    for version in ["2", "3", "\"1\"", "null", "1.5"] {
        let text = with(REQUIRED_V1, "\"x402Version\":1", &format!("\"x402Version\":{version}"));
        assert!(
            matches!(v1::payment_required(text.as_bytes()), Err(JsonError::Syntax(error)) if error.contains("x402Version"))
        );
    }
    for body in ["{}", "<html></html>", r#"{"error":"payment required"}"#, r#"{"x402Version":1}"#] {
        assert!(v1::payment_required(body.as_bytes()).is_err(), "{body}");
    }
}

#[test]
fn a_payment_of_version_1_names_scheme_and_network() {
    let payment = PaymentPayload::read(&payment_v1()).unwrap();
    assert_eq!(payment.version, Version::V1);
    assert!(
        matches!(&payment.accepted, Accepted::Named { scheme, network } if scheme == "exact" && network.as_str() == "eip155:84532")
    );
    assert_eq!(payment.payload.raw(), PAYLOAD);
    assert_eq!(payment.write().unwrap(), payment_v1());
}

#[test]
fn a_payment_of_version_1_becomes_one_of_version_2_with_the_same_signature() {
    let required = v1::payment_required(REQUIRED_V1.as_bytes()).unwrap();
    let payment = PaymentPayload::read(&payment_v1()).unwrap();
    let upgraded = payment.upgraded(&required.accepts[0], required.resource.as_ref());
    assert_eq!(upgraded.version, Version::V2);
    let written: Value = serde_json::from_str(&upgraded.write().unwrap()).unwrap();
    assert_eq!(written["accepted"], serde_json::from_str::<Value>(OFFER).unwrap());
    assert_eq!(written["payload"], serde_json::from_str::<Value>(PAYLOAD).unwrap());
    assert_eq!(written["resource"]["url"], json!("https://api.example.com/data"));
    let again = upgraded.clone().upgraded(&required.accepts[0], None);
    assert_eq!(again.write().unwrap(), upgraded.write().unwrap(), "a payment of version 2 stays as it is");
}

#[test]
fn a_request_of_version_1_is_read_as_one_of_version_2() {
    let request = PaymentRequest::read(request_v1().as_bytes()).unwrap();
    assert_eq!((request.version, request.payment.version), (Version::V1, Version::V1));
    assert_eq!(request.requirements.raw(), OFFER);
    let resource = request.payment.resource.as_ref().unwrap();
    assert_eq!((resource.url.as_str(), resource.description.as_str()), ("https://api.example.com/data", "Data"));
    assert_eq!(serde_json::to_string(&request).unwrap(), request_v1());
    let silent = PaymentRequest::read(with(&request_v1(), "\"https://api.example.com/data\"", "\"\"").as_bytes()).unwrap();
    assert!(silent.payment.resource.is_none());
}

#[test]
fn a_request_of_version_1_uses_the_names_of_version_1() {
    for (from, to) in [("\"maxAmountRequired\"", "\"amount\""), ("\"asset\"", "\"token\"")] {
        let error = PaymentRequest::read(with(&request_v1(), from, to).as_bytes()).unwrap_err();
        assert_eq!(error.reason, Reason::InvalidPaymentRequirements, "{to}");
    }
    let requirements = with(OFFER_V1, "base-sepolia", "moon");
    let error = PaymentRequest::read(with(&request_v1(), OFFER_V1, &requirements).as_bytes()).unwrap_err();
    assert_eq!(error.reason, Reason::InvalidNetwork);
    assert_eq!(error.message, "network: expected a version 1 name such as \"base-sepolia\", got \"moon\"");
}

#[test]
fn a_settlement_is_told_to_version_1_with_the_networks_old_name() {
    let settled: SettleResponse = serde_json::from_str(SETTLED).unwrap();
    assert_eq!(v1::settle_response(&settled).unwrap(), serde_json::from_str::<Value>(SETTLED_V1).unwrap());
    let back: SettleResponse = serde_json::from_value(v1::settle_response(&settled).unwrap()).unwrap();
    assert_eq!(back, settled);
    let nowhere = SettleResponse { network: None, ..settled };
    assert_eq!(v1::settle_response(&nowhere).unwrap()["network"], json!(""));
}
