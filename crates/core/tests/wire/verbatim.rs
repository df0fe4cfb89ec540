//! What a peer sent is echoed to the byte.

use farthing_core::wire::{
    Accepted, Extensions, Payload, PaymentPayload, PaymentRequired, PaymentRequirements, Verbatim, Version,
};
use serde_json::json;

use crate::golden::{OFFER, REQUIRED, with};

/// Offers that mean what [`OFFER`] means, or something near, in other letters.
fn spellings() -> Vec<String> {
    vec![
        with(OFFER, "300", "\"60\""),
        with(OFFER, "300", "60.0"),
        with(OFFER, "300", "6e1"),
        with(OFFER, "0x036CbD53842c5426634e7929541eC2318f3dCF7e", "0x036cbd53842c5426634e7929541ec2318f3dcf7e"),
        with(OFFER, "0x209693Bc6afc0C5328bA36FaF03C514EF312287C", "0X209693BC6AFC0C5328BA36FAF03C514EF312287C"),
        with(OFFER, "\"scheme\"", "\"outputSchema\":null,\"x-note\":[1,{\"b\":2,\"a\":1}],\"scheme\""),
        with(
            OFFER,
            r#"{"name":"USDC","version":"2"}"#,
            r#"{"version":"2","name":"USDC","gas":1.0,"big":123456789012345678901234567890}"#,
        ),
        with(OFFER, r#"{"name":"USDC","version":"2"}"#, r#"{"name":"USD\u0043","version":"2","emoji":"\ud83d\ude00/\/"}"#),
        with(OFFER, r#","extra":{"name":"USDC","version":"2"}"#, r#","extra":null"#),
        with(OFFER, r#","extra":{"name":"USDC","version":"2"}"#, ""),
        with(OFFER, "\"10000\"", "\"115792089237316195423570985008687907853269984665640564039457584007913129639935\""),
        OFFER.replace(",\"", " ,\n\t\"").replace("\":", "\" : "),
        r#"{"payTo":"0xB","asset":"0xA","maxTimeoutSeconds":1,"amount":"0","network":"eip155:1","scheme":"exact"}"#.to_owned(),
    ]
}

#[test]
fn an_accepted_offer_is_echoed_to_the_byte() {
    for spelling in spellings() {
        let spelling = spelling.trim();
        let required = PaymentRequired::read(&with(REQUIRED, OFFER, spelling)).unwrap();
        let [offer] = required.accepts.as_slice() else { panic!("{spelling}: {:?}", required.unreadable) };
        assert_eq!(offer.raw(), spelling);
        let payment = PaymentPayload {
            version: Version::V2,
            resource: required.resource.clone(),
            accepted: Accepted::Offer(offer.clone()),
            payload: Payload::new(&json!({"signature": "0x"})).unwrap(),
            extensions: Extensions::default(),
        };
        assert!(payment.write().unwrap().contains(&format!("\"accepted\":{spelling},")), "{spelling}");
        let read = PaymentPayload::read(&payment.write().unwrap()).unwrap();
        let Accepted::Offer(echoed) = &read.accepted else { panic!("{:?}", read.accepted) };
        assert_eq!(echoed.raw(), spelling);
    }
}

#[test]
fn a_resource_is_echoed_to_the_byte() {
    let resource = r#"{"iconUrl":null,"url":"https://api.example.com/data","unknown":[ 1.0 ],"tags":["a"]}"#;
    let text = with(REQUIRED, r#"{"url":"https://api.example.com/data","description":"","mimeType":""}"#, resource);
    let required = PaymentRequired::read(&text).unwrap();
    assert_eq!(required.resource.as_ref().unwrap().raw(), resource);
    assert_eq!(serde_json::to_string(&required).unwrap(), text);
}

#[test]
fn what_we_write_ourselves_reads_back_as_the_same_value() {
    let offer: PaymentRequirements = serde_json::from_str(OFFER).unwrap();
    let verbatim = Verbatim::new(offer.clone()).unwrap();
    assert_eq!(verbatim.raw(), OFFER);
    assert_eq!(verbatim.into_value(), offer);
}
