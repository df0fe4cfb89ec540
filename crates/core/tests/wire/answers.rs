//! What facilitators answer.

use farthing_core::json;
use farthing_core::reason::{Reason, Refusal};
use farthing_core::wire::{SettleResponse, SupportedResponse, VerifyResponse, Version};
use serde_json::{Value, json};

use crate::golden::{NOT_SETTLED, SETTLED, SETTLED_V1, SUPPORTED, with};

fn settled(text: &str) -> Result<SettleResponse, String> {
    json::read(text).map_err(|error| error.to_string())
}

#[test]
fn answers_are_read_and_written_as_the_official_sdk_writes_them() {
    for text in [SETTLED, NOT_SETTLED] {
        assert_eq!(serde_json::to_string(&settled(text).unwrap()).unwrap(), text);
    }
    assert_eq!(settled(SETTLED_V1).unwrap(), settled(SETTLED).unwrap(), "a name of version 1 is understood");
    let valid = r#"{"isValid":true,"payer":"0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"}"#;
    let invalid = r#"{"isValid":false,"invalidReason":"insufficient_funds","invalidMessage":"balance: 1"}"#;
    for text in [valid, invalid] {
        let read: VerifyResponse = json::read(text).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
    }
    let supported: SupportedResponse = json::read(SUPPORTED).unwrap();
    assert_eq!(serde_json::to_value(&supported).unwrap(), serde_json::from_str::<Value>(SUPPORTED).unwrap());
}

#[test]
fn answers_of_our_own_say_what_they_should() {
    let payer = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266".parse().unwrap();
    let valid = VerifyResponse::valid(payer);
    assert_eq!(
        serde_json::to_value(valid).unwrap(),
        json!({"isValid": true, "payer": "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"})
    );
    let refusal = Refusal::new(Reason::InvalidExactEvmNonceAlreadyUsed, "authorization.nonce: used");
    let failure = SettleResponse::failure(refusal, Some("eip155:84532".parse().unwrap()));
    assert_eq!(serde_json::to_string(&failure).unwrap(), NOT_SETTLED);
    let nowhere = SettleResponse { network: None, ..failure };
    assert_eq!(serde_json::to_value(nowhere).unwrap()["network"], json!(""));
}

#[test]
fn success_and_validity_are_booleans_and_nothing_else() {
    for bad in ["\"true\"", "1", "null", "\"yes\"", "[true]", "{}"] {
        let error = settled(&with(SETTLED, "true", bad)).unwrap_err();
        assert!(error.contains("success"), "{bad}: {error}");
        assert!(json::read::<VerifyResponse>(&format!(r#"{{"isValid":{bad}}}"#)).is_err(), "{bad}");
    }
    assert!(settled(&with(SETTLED, "\"success\":true,", "")).is_err());
    assert!(json::read::<VerifyResponse>("{}").is_err());
    assert!(settled(r#"[true,null,null,null,"0x1","eip155:1",null,null,null]"#).is_err());
}

#[test]
fn what_a_peer_does_not_know_is_absent() {
    let bare = SettleResponse { payer: None, network: None, transaction: String::new(), ..settled(SETTLED).unwrap() };
    for text in [
        r#"{"success":true}"#,
        r#"{"success":true,"transaction":null,"network":null,"payer":null,"amount":null,"errorReason":null,"errorMessage":null,"extra":null,"extensions":null}"#,
        r#"{"success":true,"transaction":"","network":"","payer":"","amount":"","errorReason":""}"#,
        r#"{"success":true,"network":"base-of-nowhere"}"#,
    ] {
        assert_eq!(settled(text).unwrap(), bare, "{text}");
    }
    let invalid: VerifyResponse = json::read(r#"{"isValid":false,"payer":"","invalidReason":null,"extra":null}"#).unwrap();
    assert_eq!((invalid.payer, invalid.invalid_reason), (None, None));
}

#[test]
fn a_settlement_that_says_nonsense_is_no_settlement() {
    for (from, to) in [
        ("\"0xf42b", "17,\"was\":\"0xf42b"),
        ("\"eip155:84532\"", "84532"),
        ("\"network\"", "\"amount\":10000,\"network\""),
        ("\"network\"", "\"amount\":\"1.5\",\"network\""),
        ("\"network\"", "\"amount\":\"-1\",\"network\""),
        ("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266", "two words"),
    ] {
        assert!(settled(&with(SETTLED, from, to)).is_err(), "{to}");
    }
}

#[test]
fn a_reason_of_a_peers_own_is_kept() {
    let text = with(NOT_SETTLED, "invalid_exact_evm_nonce_already_used", "our_own_reason");
    let read = settled(&text).unwrap();
    assert_eq!(read.error_reason, Some(Reason::Other("our_own_reason".into())));
    assert_eq!(serde_json::to_string(&read).unwrap(), text);
}

#[test]
fn kinds_that_cannot_be_read_are_left_out() {
    let text = r#"{"kinds":[
        {"x402Version":3,"scheme":"exact","network":"eip155:1"},
        {"x402Version":"2","scheme":"exact","network":"eip155:1"},
        {"x402Version":2,"scheme":"exact","network":"somewhere"},
        {"x402Version":2,"scheme":"exact"},
        null, 17, "exact",
        {"x402Version":1,"scheme":"exact","network":"base-sepolia","extra":null},
        {"x402Version":2,"scheme":"brand-new","network":"ach:us","extra":{"a":1},"unknown":true}
    ],"extensions":null,"signers":{"eip155:*":null},"unknown":1}"#;
    let supported: SupportedResponse = json::read(text).unwrap();
    let kinds: Vec<_> =
        supported.kinds.iter().map(|kind| (kind.x402_version, kind.scheme.as_str(), kind.network.as_str())).collect();
    assert_eq!(kinds, [(Version::V1, "exact", "eip155:84532"), (Version::V2, "brand-new", "ach:us")]);
    assert!(supported.extensions.is_empty());
    assert!(supported.signers["eip155:*"].is_empty());
    let v1_only: SupportedResponse = json::read(r#"{"kinds":[]}"#).unwrap();
    assert_eq!(v1_only, SupportedResponse::default());
    for bad in ["{}", "[]", r#"{"kinds":null}"#, r#"{"kinds":{}}"#] {
        assert!(json::read::<SupportedResponse>(bad).is_err(), "{bad}");
    }
}

#[test]
fn what_a_peer_put_into_an_answer_is_not_printed() {
    let secret = json!({"receipt": "0xverysecretsignature"});
    let settled =
        json!({"success": true, "transaction": "0xfeed", "network": "eip155:8453", "extra": secret, "extensions": secret});
    let settled: SettleResponse = serde_json::from_value(settled).unwrap();
    let verified: VerifyResponse =
        serde_json::from_value(json!({"isValid": true, "extra": secret, "extensions": secret})).unwrap();
    for printed in [format!("{settled:?}"), format!("{verified:?}")] {
        assert!(!printed.contains("secret") && printed.contains("extensions: Some(35 bytes)"), "{printed}");
    }
    assert!(format!("{settled:?}").contains("0xfeed"));
}
