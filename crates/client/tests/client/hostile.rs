//! Whatever a server says, the client answers with a value, and pays no more than it may.

use std::sync::{Arc, Mutex};

use axum::body::Body;
use farthing_client::SignInPolicy;
use farthing_core::extension::{builder_code, offer_receipt, payment_identifier, sign_in_with_x};
use farthing_core::header;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::extensions::Counting;
use crate::sign_in::{Pen, cent_or_sign_in};
use crate::support::*;

/// Values that a header may carry: bytes that HTTP allows, as they are or as base64 of anything.
fn header_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(prop_oneof![0x20_u8..0x7f, 0x80_u8..=0xff], 0..200),
        proptest::collection::vec(any::<u8>(), 0..200).prop_map(|bytes| header::encode_bytes(bytes).into_bytes()),
        near_terms(2).prop_map(|text| header::encode_bytes(text).into_bytes()),
    ]
}

/// Text that is almost terms.
fn near_terms(version: u64) -> impl Strategy<Value = String> {
    let value = prop_oneof![
        Just(json!(null)),
        Just(json!("exact")),
        Just(json!(BASE)),
        Just(json!("base")),
        Just(json!("10000")),
        Just(json!("99999999999999999999999999999999999999999999999999999999999999999999999999999")),
        Just(json!("0xUSDC")),
        Just(json!(300)),
        Just(json!(-1.5)),
        Just(json!({"name": "USD Coin"})),
        Just(json!([[]])),
        ".{0,20}".prop_map(Value::from),
    ];
    let keys = ["scheme", "network", "amount", "maxAmountRequired", "asset", "payTo", "maxTimeoutSeconds", "extra", "resource"];
    let offer = proptest::collection::btree_map(proptest::sample::select(keys.to_vec()), value.clone(), 0..9);
    (proptest::collection::vec(offer, 0..4), value.clone(), value, any::<proptest::sample::Index>()).prop_map(
        move |(offers, resource, extensions, cut)| {
            let whole =
                json!({"x402Version": version, "accepts": offers, "resource": {"url": resource}, "extensions": extensions});
            let whole = whole.to_string();
            let cut = if cut.index(4) == 0 { cut.index(whole.len()) } else { whole.len() };
            whole.chars().take(cut).collect()
        },
    )
}

fn body_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![proptest::collection::vec(any::<u8>(), 0..300), near_terms(1).prop_map(String::into_bytes)]
}

/// What the seller answers: terms, body, settlement, and the status of the paid answer.
type Script = (Option<Vec<u8>>, Vec<u8>, Vec<u8>, u16);

#[test]
fn no_terms_and_no_settlement_make_the_client_panic_or_pay_twice() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let script: Arc<Mutex<Script>> = Arc::default();
    let told = Arc::clone(&script);
    let seller = runtime.block_on(Seller::start(move |seen, base| {
        let (terms, body, settlement, status) = told.lock().unwrap().clone();
        let mut answer = response(if seen.payment().is_some() { status } else { 402 });
        match (seen.path.as_str(), terms) {
            ("/terms", Some(terms)) => answer = answer.header("PAYMENT-REQUIRED", terms),
            ("/settlement", _) => {
                let terms = farthing_core::header::encode(&cent(base)).unwrap();
                answer = answer.header("PAYMENT-REQUIRED", terms).header("PAYMENT-RESPONSE", settlement);
            }
            _ => {}
        }
        Some(answer.body(Body::from(body)).unwrap())
    }));
    let buyer = Buyer::new();
    let strategy = (
        proptest::option::weighted(0.7, header_bytes()),
        body_bytes(),
        header_bytes(),
        proptest::sample::select(vec![200_u16, 302, 400, 402, 412, 500]),
    );
    proptest!(ProptestConfig::with_cases(256), |(case in strategy)| {
        *script.lock().unwrap() = case;
        for path in ["/terms", "/settlement"] {
            let before = buyer.wallet.signed();
            seller.forget();
            let answer = runtime.block_on(buyer.client.get(seller.url(path)).send());
            let inspected = runtime.block_on(buyer.client.inspect(seller.url(path)));
            prop_assert!(seller.payments().len() <= 1);
            prop_assert_eq!(seller.payments().len(), buyer.wallet.signed() - before);
            drop((answer, inspected));
        }
    });
}

/// Every extension that the client acts on, as an honest server declares it.
fn declared(base: &str) -> Value {
    let code = |text: &str| builder_code::Code::new(text).unwrap();
    let offer = json!({"format": "jws", "acceptIndex": 0, "signature": "a.b.c"});
    json!({
        sign_in_with_x::KEY: cent_or_sign_in(base, "/report", |_| {})["extensions"][sign_in_with_x::KEY],
        payment_identifier::KEY: payment_identifier::declaration(true),
        builder_code::KEY: builder_code::declaration(&code("shop"), &[code("theirs")]).unwrap(),
        offer_receipt::KEY: {"info": {"offers": [offer]}},
    })
}

/// Every place of a JSON value.
fn places(value: &Value, at: &str, all: &mut Vec<String>) {
    all.push(at.to_owned());
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| places(value, &format!("{at}/{key}"), all)),
        Value::Array(entries) => {
            (0..).zip(entries).for_each(|(index, value): (usize, _)| places(value, &format!("{at}/{index}"), all));
        }
        _ => {}
    }
}

#[test]
fn no_extension_makes_the_client_panic_or_pay_twice() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let fault: Arc<Mutex<Option<(proptest::sample::Index, Value)>>> = Arc::default();
    let told = Arc::clone(&fault);
    let seller = runtime.block_on(Seller::start(move |seen, base| {
        let (place, value) = told.lock().unwrap().clone().unwrap();
        let (mut extensions, mut all) = (declared(base), Vec::new());
        places(&extensions, "", &mut all);
        *extensions.pointer_mut(&all[place.index(all.len())]).unwrap() = value;
        let mut terms = cent(base);
        let mut settlement = settled();
        terms["extensions"] = extensions.clone();
        settlement["extensions"] = extensions;
        Some(if seen.payment().is_some() { paid(&settlement) } else { asks(&terms) })
    }));
    let buyer = Buyer::with(Wallet::default(), |builder| {
        let builder = builder.message_signer(Arc::new(Pen::default())).sign_in(SignInPolicy::Always);
        builder.entropy(Arc::new(Counting::default())).service_codes(["mine"]).unwrap()
    });
    let value = prop_oneof![
        Just(json!(null)),
        Just(json!(true)),
        Just(json!(-1.5)),
        Just(json!([])),
        Just(json!({})),
        Just(json!([[{"info": {}}]])),
        Just(json!({"info": {"id": 7, "required": "yes", "s": 1, "offers": {}, "receipt": [], "domain": 1}})),
        ".{0,40}".prop_map(Value::from),
        (0_usize..40_000).prop_map(|length| Value::from("a".repeat(length))),
    ];
    proptest!(ProptestConfig::with_cases(256), |(case in (any::<proptest::sample::Index>(), value))| {
        *fault.lock().unwrap() = Some(case);
        let before = buyer.wallet.signed();
        seller.forget();
        let answer = runtime.block_on(buyer.client.get(seller.url("/report")).send());
        prop_assert!(seller.payments().len() <= 1 && seller.seen().len() <= 3);
        // One that would make too large a header is signed and taken back.
        prop_assert!(buyer.wallet.signed() - before <= 1);
        if let Ok(answer) = answer {
            prop_assert_eq!(answer.paid().is_some(), seller.payments().len() == 1);
        }
    });
}
