//! Whatever we write, we read again as the same.

use std::collections::BTreeMap;

use farthing_core::amount::Amount;
use farthing_core::header::{decode_payment, decode_required, decode_settlement, encode};
use farthing_core::network::Network;
use farthing_core::reason::Reason;
use farthing_core::wire::{
    Accepted, Extensions, Payload, PaymentPayload, PaymentRequest, PaymentRequired, PaymentRequirements, ResourceInfo,
    SettleResponse, SupportedKind, SupportedResponse, Verbatim, VerifyResponse, Version, v1,
};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::{Map, Value};

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![vec(inner.clone(), 0..4).prop_map(Value::from), object_of(inner).prop_map(Value::Object)]
    })
}

fn object_of(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Map<String, Value>> {
    btree_map(".{0,6}", value, 0..4).prop_map(|entries| entries.into_iter().collect())
}

fn network() -> impl Strategy<Value = Network> {
    "[a-z][a-z0-9-]{2,7}:[-_a-zA-Z0-9]{1,32}".prop_map(|name| name.parse().unwrap())
}

fn old_network() -> impl Strategy<Value = Network> {
    proptest::sample::select(vec!["base", "base-sepolia", "avalanche", "polygon", "solana", "solana-devnet", "flare"])
        .prop_map(|name| v1::network_named(name).unwrap())
}

fn requirements(network: impl Strategy<Value = Network>) -> impl Strategy<Value = PaymentRequirements> {
    let name = "[!-~]{1,44}";
    (".{1,12}", network, any::<[u64; 4]>(), name, name, 1_u64.., object_of(json_value())).prop_map(
        |(scheme, network, limbs, asset, pay_to, max_timeout_seconds, extra)| PaymentRequirements {
            scheme,
            network,
            amount: Amount::from_units(ruint::aliases::U256::from_limbs(limbs)),
            asset: asset.parse().unwrap(),
            pay_to: pay_to.parse().unwrap(),
            max_timeout_seconds,
            extra,
        },
    )
}

fn resource() -> impl Strategy<Value = ResourceInfo> {
    (".{1,40}", ".{0,20}", ".{0,20}", option::of(".{0,9}"), vec(".{0,9}", 0..3), option::of(".{0,9}")).prop_map(
        |(url, description, mime_type, service_name, tags, icon_url)| ResourceInfo {
            url,
            description,
            mime_type,
            service_name,
            tags,
            icon_url,
        },
    )
}

fn settlement() -> impl Strategy<Value = SettleResponse> {
    let texts = (option::of("[a-z_]{1,20}"), option::of(".{0,30}"), option::of("[!-~]{1,44}"), "[!-~]{0,66}");
    (any::<bool>(), texts, option::of(network()), option::of(any::<u64>())).prop_map(
        |(success, (reason, message, payer, transaction), network, amount)| SettleResponse {
            success,
            error_reason: reason.map(|text| Reason::from(text.as_str())),
            error_message: message,
            payer: payer.map(|text| text.parse().unwrap()),
            transaction,
            network,
            amount: amount.map(Amount::from),
            extra: None,
            extensions: None,
        },
    )
}

fn payload(object: &Map<String, Value>) -> Payload {
    Payload::new(object).unwrap()
}

proptest! {
    #[test]
    fn terms(offers in vec(requirements(network()), 0..4), resource in option::of(resource()), error in option::of(".{0,20}")) {
        let required = PaymentRequired {
            version: Version::V2,
            error,
            resource: resource.map(|resource| Verbatim::new(resource).unwrap()),
            accepts: offers.into_iter().map(|offer| Verbatim::new(offer).unwrap()).collect(),
            unreadable: Vec::new(),
            extensions: Extensions::default(),
        };
        let read = decode_required(encode(&required).unwrap().as_bytes()).unwrap();
        prop_assert!(read.unreadable.is_empty());
        prop_assert_eq!(&read.accepts, &required.accepts);
        prop_assert_eq!(&read.resource, &required.resource);
        prop_assert_eq!(serde_json::to_string(&read).unwrap(), serde_json::to_string(&required).unwrap());
    }

    #[test]
    fn terms_of_version_1(offers in vec(requirements(old_network()), 1..4), resource in resource()) {
        let resource = ResourceInfo { service_name: None, tags: Vec::new(), icon_url: None, ..resource };
        let required = PaymentRequired {
            version: Version::V1,
            error: Some("Payment required".to_owned()),
            resource: Some(Verbatim::new(resource).unwrap()),
            accepts: offers.into_iter().map(|offer| Verbatim::new(offer).unwrap()).collect(),
            unreadable: Vec::new(),
            extensions: Extensions::default(),
        };
        let read = v1::payment_required(serde_json::to_string(&required).unwrap().as_bytes()).unwrap();
        prop_assert!(read.unreadable.is_empty());
        prop_assert_eq!(&read.accepts, &required.accepts);
        prop_assert_eq!(&read.resource, &required.resource);
    }

    #[test]
    fn payments_and_requests(
        offer in requirements(network()),
        signed in object_of(json_value()),
        resource in option::of(resource()),
    ) {
        let offer = Verbatim::new(offer).unwrap();
        let payment = PaymentPayload {
            version: Version::V2,
            resource: resource.map(|resource| Verbatim::new(resource).unwrap()),
            accepted: Accepted::Offer(offer.clone()),
            payload: payload(&signed),
            extensions: Extensions::default(),
        };
        let read = PaymentPayload::read(&payment.write().unwrap()).unwrap();
        prop_assert_eq!(read.write().unwrap(), payment.write().unwrap());
        let short = encode(&payment).unwrap();
        prop_assert_eq!(decode_payment(short.as_bytes()).unwrap().write().unwrap(), payment.write().unwrap());
        let request = PaymentRequest { version: Version::V2, payment, requirements: offer, trace: None };
        let text = serde_json::to_string(&request).unwrap();
        let read = PaymentRequest::read(text.as_bytes()).unwrap();
        prop_assert_eq!(&read.requirements, &request.requirements);
        prop_assert_eq!(serde_json::to_string(&read).unwrap(), text);
    }

    #[test]
    fn payments_and_requests_of_version_1(offer in requirements(old_network()), signed in object_of(json_value())) {
        let offer = Verbatim::new(offer).unwrap();
        let accepted = Accepted::Named { scheme: offer.scheme.clone(), network: offer.network.clone() };
        let payment = PaymentPayload { version: Version::V1, resource: None, accepted, payload: payload(&signed), extensions: Extensions::default() };
        let read = PaymentPayload::read(&payment.write().unwrap()).unwrap();
        prop_assert_eq!(read.write().unwrap(), payment.write().unwrap());
        let request = PaymentRequest { version: Version::V1, payment, requirements: offer, trace: None };
        let text = serde_json::to_string(&request).unwrap();
        let read = PaymentRequest::read(text.as_bytes()).unwrap();
        prop_assert_eq!(&read.requirements, &request.requirements);
        prop_assert_eq!(serde_json::to_string(&read).unwrap(), text);
    }

    #[test]
    fn settlements(settlement in settlement()) {
        prop_assert_eq!(&decode_settlement(encode(&settlement).unwrap().as_bytes()).unwrap(), &settlement);
        let old = serde_json::from_value::<SettleResponse>(v1::settle_response(&settlement).unwrap()).unwrap();
        prop_assert_eq!(old, settlement);
    }

    #[test]
    fn verifications(is_valid: bool, reason in option::of("[a-z_]{1,20}"), message in option::of(".{0,30}"), payer in option::of("[!-~]{1,44}")) {
        let answer = VerifyResponse {
            is_valid,
            invalid_reason: reason.map(|text| Reason::from(text.as_str())),
            invalid_message: message,
            payer: payer.map(|text| text.parse().unwrap()),
            extra: None,
            extensions: None,
        };
        let text = serde_json::to_string(&answer).unwrap();
        prop_assert_eq!(farthing_core::json::read::<VerifyResponse>(&text).unwrap(), answer);
    }

    #[test]
    fn what_is_supported(kinds in vec((any::<bool>(), ".{1,12}", old_network(), option::of(object_of(json_value()))), 0..5)) {
        let kind = |(old, scheme, network, extra)| {
            let x402_version = if old { Version::V1 } else { Version::V2 };
            SupportedKind { x402_version, scheme, network, extra }
        };
        let supported = SupportedResponse {
            kinds: kinds.into_iter().map(kind).collect(),
            extensions: vec!["bazaar".to_owned()],
            signers: BTreeMap::from([("eip155:*".to_owned(), vec!["0xA".parse().unwrap()])]),
        };
        let text = serde_json::to_string(&supported).unwrap();
        prop_assert_eq!(farthing_core::json::read::<SupportedResponse>(&text).unwrap(), supported);
    }
}
