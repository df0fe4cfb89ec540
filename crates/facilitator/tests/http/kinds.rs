//! What is served, and nothing else.

use std::sync::Arc;

use farthing_core::books::MemorySettlements;
use farthing_facilitator::{BuildError, Local};
use http::StatusCode;
use serde_json::{Value, json};

use crate::support::{Chain, Facilitator, TestClock, request, request_v1};

fn asking(change: impl FnOnce(&mut Value)) -> Value {
    let mut request = request(1);
    change(&mut request["paymentRequirements"]);
    request["paymentPayload"]["accepted"] = request["paymentRequirements"].clone();
    request
}

#[tokio::test]
async fn only_the_configured_kinds_are_served_whatever_their_family() {
    let facilitator = Facilitator::new();
    let cases = [
        (asking(|offer| offer["network"] = json!("eip155:1")), "invalid_network", "\"eip155:1\""),
        (asking(|offer| offer["network"] = json!("eip155:084532")), "invalid_network", "\"eip155:084532\""),
        (asking(|offer| offer["network"] = json!("eip155:*")), "invalid_network", "\"eip155:*\""),
        (asking(|offer| offer["network"] = json!("base-sepolia")), "invalid_network", "\"base-sepolia\""),
        (asking(|offer| offer["network"] = json!("solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp")), "invalid_network", "solana"),
        (asking(|offer| offer["scheme"] = json!("upto")), "unsupported_scheme", "\"upto\""),
        (asking(|offer| offer["scheme"] = json!("Exact")), "unsupported_scheme", "\"Exact\""),
        (asking(|offer| offer["scheme"] = json!("x".repeat(10_000))), "unsupported_scheme", "xxx"),
    ];
    for (request, reason, got) in cases {
        let verified = facilitator.verify(&request).await;
        assert_eq!((&verified.json["isValid"], verified.reason()), (&json!(false), reason), "{verified:?}");
        assert!(verified.message().contains(got) && verified.message().len() < 400, "{}", verified.message());
        let settled = facilitator.settle(&request).await;
        assert_eq!((&settled.json["success"], settled.reason()), (&json!(false), reason));
        assert_eq!(settled.status, verified.status);
    }
    assert_eq!(Chain::count(&facilitator.chain.node_calls), 0);
}

#[tokio::test]
async fn a_refusal_lists_what_is_served() {
    let facilitator = Facilitator::new();
    let answer = facilitator.verify(&asking(|offer| offer["network"] = json!("eip155:1"))).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(
        answer.message(),
        "network: expected one of what is served here (exact on eip155:84532, exact on eip155:8453), got \"eip155:1\""
    );
}

#[tokio::test]
async fn a_version_1_network_is_served_only_if_it_is_configured() {
    let facilitator = Facilitator::new();
    let named = |name: &str| {
        let mut request = request_v1(1);
        request["paymentPayload"]["network"] = json!(name);
        request["paymentRequirements"]["network"] = json!(name);
        request
    };
    for (name, reason) in [
        ("base", "invalid_x402_version"),
        ("avalanche", "invalid_network"),
        ("moon", "invalid_network"),
        ("eip155:84532", "invalid_network"),
    ] {
        for answer in [facilitator.verify(&named(name)).await, facilitator.settle(&named(name)).await] {
            assert_eq!((answer.status, answer.reason()), (StatusCode::OK, reason), "{name}");
        }
    }
    assert_eq!(facilitator.verify(&named("base-sepolia")).await.json, json!({"isValid": true, "payer": "0xPayer"}));
}

#[tokio::test]
async fn supported_lists_the_kinds_the_extensions_once_and_the_sending_accounts() {
    let answer = Facilitator::new().get("/supported").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(
        answer.json,
        json!({
            "kinds": [
                {"x402Version": 2, "scheme": "exact", "network": "eip155:84532"},
                {"x402Version": 1, "scheme": "exact", "network": "base-sepolia"},
                {"x402Version": 2, "scheme": "exact", "network": "eip155:8453"},
            ],
            "extensions": ["one", "two"],
            "signers": {"eip155:*": ["0xRelayer"]},
        })
    );
}

#[test]
fn a_facilitator_that_cannot_work_is_not_built() {
    let scheme = || Facilitator::new().scheme as _;
    let book = || Arc::new(MemorySettlements::default());
    let clock = || TestClock::start() as _;
    let error = |builder: farthing_facilitator::Builder| builder.build().err();
    assert_eq!(error(Local::builder().settlements(book()).clock(clock())), Some(BuildError::NoKinds));
    assert_eq!(error(Local::builder().schemes([scheme()]).clock(clock())), Some(BuildError::NoSettlements));
    assert_eq!(error(Local::builder().schemes([scheme()]).settlements(book())), Some(BuildError::NoClock));
    let twice = Local::builder().schemes([scheme(), scheme()]).settlements(book()).clock(clock());
    assert_eq!(error(twice), Some(BuildError::DuplicateKind("exact on eip155:84532".to_owned())));
    assert_eq!(error(Local::builder().schemes([scheme()]).settlements(book()).clock(clock())), None);
}
