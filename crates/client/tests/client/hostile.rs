//! Whatever a server says, the client answers with a value, and pays no more than it may.

use std::sync::{Arc, Mutex};

use axum::body::Body;
use farthing_core::header;
use proptest::prelude::*;
use serde_json::{Value, json};

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
