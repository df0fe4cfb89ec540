//! The terms of a 402 in version 2.

use farthing_core::wire::{Extensions, PaymentRequired, PaymentRequirements, ResourceInfo, Verbatim, Version};
use serde_json::{Value, json};

use crate::golden::{OFFER, REQUIRED, with};

fn written(value: &impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap()
}

#[test]
fn terms_are_read_field_by_field_and_written_as_they_came() {
    let required = PaymentRequired::read(REQUIRED).unwrap();
    assert_eq!(required.version, Version::V2);
    assert_eq!(required.error.as_deref(), Some("Payment required"));
    assert_eq!(required.resource.as_ref().unwrap().url, "https://api.example.com/data");
    assert!(required.unreadable.is_empty() && required.extensions.is_empty());
    let [offer] = required.accepts.as_slice() else { panic!("{:?}", required.accepts) };
    assert_eq!((offer.scheme.as_str(), offer.network.as_str()), ("exact", "eip155:84532"));
    assert_eq!(offer.amount.to_string(), "10000");
    assert_eq!(offer.asset.as_str(), "0x036CbD53842c5426634e7929541eC2318f3dCF7e");
    assert_eq!(offer.pay_to.as_str(), "0x209693Bc6afc0C5328bA36FaF03C514EF312287C");
    assert_eq!(offer.max_timeout_seconds, 300);
    assert_eq!(written(&offer.extra), json!({"name": "USDC", "version": "2"}));
    assert_eq!(serde_json::to_string(&required).unwrap(), REQUIRED);
}

#[test]
fn terms_of_our_own_are_written_as_the_official_sdk_writes_them() {
    let offer: PaymentRequirements = serde_json::from_str(OFFER).unwrap();
    let resource = ResourceInfo { url: "https://api.example.com/data".to_owned(), ..ResourceInfo::default() };
    let required = PaymentRequired {
        version: Version::V2,
        error: Some("Payment required".to_owned()),
        resource: Some(Verbatim::new(resource).unwrap()),
        accepts: vec![Verbatim::new(offer).unwrap()],
        unreadable: Vec::new(),
        extensions: Extensions::default(),
    };
    assert_eq!(serde_json::to_string(&required).unwrap(), REQUIRED);
}

#[test]
fn one_offer_that_makes_no_sense_leaves_the_others() {
    let odd = [
        r#"{"scheme":"exact"}"#,
        r#"{"scheme":"exact","network":"eip155:84532","amount":"0.5","asset":"XRP","payTo":"r","maxTimeoutSeconds":1}"#,
        r#"["exact","eip155:84532","10000","0xA","0xB",300,{}]"#,
        "null",
        "17",
    ];
    let text = with(REQUIRED, "\"accepts\":[", &format!("\"accepts\":[{},", odd.join(",")));
    let required = PaymentRequired::read(&text).unwrap();
    assert_eq!(required.accepts.len(), 1);
    let unreadable: Vec<_> = required.unreadable.iter().map(|offer| offer.raw.as_str()).collect();
    assert_eq!(unreadable, odd);
    assert_eq!(required.unreadable[0].error, "missing field `network`");
    assert!(required.unreadable[1].error.contains("amount") && required.unreadable[1].error.contains("0.5"));
    assert!(required.unreadable[2].error.contains("array"), "{}", required.unreadable[2].error);
    assert_eq!(serde_json::to_string(&required).unwrap(), REQUIRED, "what was not understood is not written");
}

#[test]
fn nothing_asked_for_is_no_offer() {
    for accepts in ["[]", "null"] {
        let text = with(REQUIRED, &format!("[{OFFER}]"), accepts);
        assert!(PaymentRequired::read(&text).unwrap().accepts.is_empty());
    }
}

#[test]
fn terms_of_another_version_are_not_read_as_version_2() {
    for version in ["1", "3", "0", "-2", "2.5", "\"2\"", "null", "true", "18446744073709551618"] {
        let text = with(REQUIRED, "\"x402Version\":2", &format!("\"x402Version\":{version}"));
        let error = PaymentRequired::read(&text).unwrap_err().to_string();
        assert!(error.contains("x402Version"), "{version}: {error}");
    }
    assert!(PaymentRequired::read(&with(REQUIRED, "\"x402Version\":2,", "")).is_err());
}

#[test]
fn an_offer_missing_what_it_needs_is_none() {
    let fields = ["scheme", "network", "amount", "asset", "payTo", "maxTimeoutSeconds"];
    for field in fields {
        for replacement in [None, Some(Value::Null), Some(json!({})), Some(json!([])), Some(json!(true))] {
            let mut offer: Value = serde_json::from_str(OFFER).unwrap();
            let object = offer.as_object_mut().unwrap();
            match &replacement {
                None => object.remove(field),
                Some(value) => object.insert(field.to_owned(), value.clone()),
            };
            let raw = serde_json::value::to_raw_value(&offer).unwrap();
            let error = Verbatim::<PaymentRequirements>::from_raw(raw).unwrap_err().to_string();
            assert!(error.contains(field), "{field} {replacement:?}: {error}");
        }
    }
}
