//! What the facilitator refuses, with which reason, and what it costs to find out.

use std::sync::Arc;

use farthing_core::erased::AnyFacilitatorScheme;
use farthing_core::reason::Reason;
use farthing_core::scheme::VerifyError;
use farthing_core::wire::Version;
use farthing_evm::asset::AssetTable;
use farthing_evm::exact;
use farthing_evm::rpc::NodeError;
use farthing_evm::{Bytes, U256};
use farthing_testkit::golden;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::*;

#[tokio::test]
async fn a_good_payment_costs_one_round_trip_from_the_first_one_on() {
    let rig = rig();
    for number in 1..=3 {
        let payer = rig.verify(&numbered_request(number).await).await.unwrap();
        assert_eq!(payer.as_str(), golden::PAYER);
        assert_eq!(rig.node.round_trips(), usize::try_from(number).unwrap());
    }
}

#[tokio::test]
async fn a_node_that_assumes_no_code_costs_one_round_trip_too() {
    let rig = rig();
    rig.node.world().has_overrides = false;
    for round_trips in 1..=3 {
        rig.verify(&golden_request()).await.unwrap();
        assert_eq!(rig.node.round_trips(), round_trips);
    }
    rig.node.world().used.insert((payer(), golden::eip3009::NONCE.parse().unwrap()));
    rig.refused_by_chain(&golden_request(), Reason::InvalidExactEvmNonceAlreadyUsed).await;
}

#[tokio::test]
async fn what_the_chain_needs_for_itself_is_asked_once_in_a_while() {
    let rig = rig();
    for _ in 0..5 {
        rig.verify(&golden_request()).await.unwrap();
    }
    let world = rig.node.world();
    let count = |method: &str| world.calls.iter().filter(|call| call.method == method).count();
    assert_eq!(count("eth_chainId"), 1);
    assert_eq!(count("eth_feeHistory"), 1);
    assert_eq!(count("eth_estimateGas"), 1);
    let estimate = world.calls.iter().find(|call| call.method == "eth_estimateGas").unwrap();
    let ours = rig.chain.relayer().addresses().next().unwrap().to_string().to_lowercase();
    assert!(
        estimate.params.to_lowercase().contains(&ours),
        "what the account that will send it would pay: {}",
        estimate.params
    );
    assert_eq!(count("eth_getCode"), 2, "of Multicall3 and of the first payer, while it is not known what the node can do");
    assert_eq!(count("eth_call"), 5 + 3, "one for each payment, and the first one's probes");
}

#[tokio::test]
async fn of_a_token_that_an_operator_told_of_more_is_asked() {
    let rig = rig_of_own_token();
    rig.verify(&golden_request()).await.unwrap();
    let calls = rig.node.world().calls.iter().filter(|call| call.method == "eth_call").count();
    assert_eq!(calls, 1 + 7, "its domain, and what its payee holds before and after, too");
}

#[tokio::test]
async fn another_scheme_is_refused() {
    for field in ["/paymentPayload/accepted/scheme", "/paymentRequirements/scheme"] {
        let mut request = golden_request();
        *request.pointer_mut(field).unwrap() = json!("upto");
        rig().refused_locally(&request, Reason::InvalidExactEvmScheme).await;
    }
}

#[tokio::test]
async fn a_missing_domain_is_refused() {
    for extra in
        [json!({}), json!({"name": "USDC"}), json!({"version": "2"}), json!({"name": null, "version": "2"}), Value::Null]
    {
        let mut request = golden_request();
        request["paymentRequirements"]["extra"] = extra;
        rig().refused_locally(&request, Reason::InvalidExactEvmMissingEip712Domain).await;
    }
}

#[tokio::test]
async fn another_network_is_refused() {
    let mut request = golden_request();
    request["paymentPayload"]["accepted"]["network"] = json!("eip155:8453");
    rig().refused_locally(&request, Reason::InvalidExactEvmNetworkMismatch).await;
}

#[tokio::test]
async fn a_network_that_is_not_configured_is_refused_whatever_its_namespace() {
    for network in ["eip155:1", "eip155:8453", "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp"] {
        let mut request = golden_request();
        request["paymentPayload"]["accepted"]["network"] = json!(network);
        request["paymentRequirements"]["network"] = json!(network);
        rig().refused_locally(&request, Reason::InvalidNetwork).await;
    }
}

#[tokio::test]
async fn an_asset_that_is_not_known_is_refused() {
    for asset in ["0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913", "0x0000000000000000000000000000000000000001", "USDC", "0x12"] {
        let mut request = golden_request();
        request["paymentRequirements"]["asset"] = json!(asset);
        rig().refused_locally(&request, Reason::InvalidPaymentRequirements).await;
    }
}

#[tokio::test]
async fn the_assets_letter_case_does_not_matter() {
    let mut request = golden_request();
    request["paymentRequirements"]["asset"] = json!(golden::ASSET.to_lowercase());
    request["paymentRequirements"]["payTo"] = json!(golden::PAY_TO.to_lowercase());
    rig().verify(&request).await.unwrap();
    let key = |request: &Value| rig().read(request).unwrap().record.key;
    assert_eq!(key(&request), key(&golden_request()));
}

#[tokio::test]
async fn a_domain_that_is_not_the_tokens_is_refused() {
    let cases = [
        ("name", "USD Coin", Reason::InvalidExactEvmTokenNameMismatch),
        ("version", "1", Reason::InvalidExactEvmTokenVersionMismatch),
    ];
    for (field, value, reason) in cases {
        let mut request = golden_request();
        request["paymentRequirements"]["extra"][field] = json!(value);
        let message = rig().refused_locally(&request, reason).await;
        assert!(message.contains(value) && message.contains("USDC"), "{message}");
    }
}

#[tokio::test]
async fn methods_and_flows_that_are_not_supported_are_refused() {
    let cases = [
        ("assetTransferMethod", "permit2", Reason::UnsupportedPayloadType),
        ("assetTransferMethod", "erc7710", Reason::UnsupportedAssetTransferMethod),
        ("paymentFlow", "escrow", Reason::UnsupportedPaymentFlow),
        ("paymentFlow", "later", Reason::UnsupportedPaymentFlow),
    ];
    for (field, value, reason) in cases {
        let mut request = golden_request();
        request["paymentRequirements"]["extra"][field] = json!(value);
        rig().refused_locally(&request, reason).await;
    }
}

#[tokio::test]
async fn a_signature_that_is_not_the_payers_is_refused() {
    let golden = golden::eip3009::SIGNATURE;
    let order_minus_s = "9ca38361debab7cb7291cf0c26df4ec0ebc460f7a9657676746572d7936f3171";
    let cases = [
        (format!("{}1c", &golden[..130]), Reason::InvalidExactEvmSignature),
        (format!("{}1d", &golden[..130]), Reason::InvalidExactEvmSignature),
        (golden[..130].to_owned(), Reason::InvalidExactEvmSignature),
        (format!("{golden}00"), Reason::InvalidExactEvmSignature),
        (format!("{}{order_minus_s}1c", &golden[..66]), Reason::InvalidExactEvmSignature),
        (format!("0x{}1b", "00".repeat(64)), Reason::InvalidExactEvmSignature),
        (format!("0x{}", "00".repeat(65)), Reason::InvalidExactEvmSignature),
        ("0x".to_owned(), Reason::InvalidExactEvmSignature),
        (String::new(), Reason::InvalidExactEvmFailedToParseSignature),
        (golden[2..].to_owned(), Reason::InvalidExactEvmFailedToParseSignature),
        (golden.replace('b', "x"), Reason::InvalidExactEvmFailedToParseSignature),
    ];
    for (signature, reason) in cases {
        let mut request = golden_request();
        request["paymentPayload"]["payload"]["signature"] = json!(signature);
        // Bytes that are not an ordinary account's may be a contract's, which only the chain can tell.
        match reason {
            Reason::InvalidExactEvmSignature => rig().refused_by_chain(&request, reason).await,
            _ => rig().refused_locally(&request, reason).await,
        };
    }
    let mut by_another = golden_request();
    sign(&mut by_another, golden::SECOND_KEY).await;
    rig().refused_by_chain(&by_another, Reason::InvalidExactEvmSignature).await;
    let mut changed_afterwards = golden_request();
    changed_afterwards["paymentPayload"]["payload"]["authorization"]["validAfter"] = json!("1");
    rig().refused_by_chain(&changed_afterwards, Reason::InvalidExactEvmSignature).await;
}

#[tokio::test]
async fn a_signature_with_v_of_zero_or_one_is_the_same_payment() {
    let mut request = golden_request();
    request["paymentPayload"]["payload"]["signature"] = json!(format!("{}00", &golden::eip3009::SIGNATURE[..130]));
    let rig = rig();
    rig.verify(&request).await.unwrap();
    assert_eq!(rig.read(&request).unwrap().record.key, rig.read(&golden_request()).unwrap().record.key);
    let world = rig.node.world();
    let simulated = world.calls.iter().find(|call| call.method == "eth_estimateGas").unwrap();
    assert!(simulated.params.contains(&format!("{:064x}", 27)), "the chain is asked with v = 27");
}

#[tokio::test]
async fn another_recipient_is_refused() {
    let request = signed_request(|authorization| authorization["to"] = json!(golden::SECOND)).await;
    rig().refused_locally(&request, Reason::InvalidExactEvmRecipientMismatch).await;
    let mut request = golden_request();
    request["paymentRequirements"]["payTo"] = json!("not an address".replace(' ', "-"));
    rig().refused_locally(&request, Reason::InvalidPaymentRequirements).await;
}

#[tokio::test]
async fn the_window_must_hold_now_and_not_outlive_the_offer() {
    let before = Reason::InvalidExactEvmPayloadAuthorizationValidBefore;
    let after = Reason::InvalidExactEvmPayloadAuthorizationValidAfter;
    let (earliest, latest) = (NOW + 6, NOW + 300 + 60);
    let refused = [
        ("validBefore", earliest - 1, &before),
        ("validBefore", 0, &before),
        ("validBefore", latest + 1, &before),
        ("validAfter", NOW + 1, &after),
        ("validAfter", u64::MAX, &after),
    ];
    for (field, seconds, reason) in refused {
        let request = signed_request(|authorization| authorization[field] = json!(seconds.to_string())).await;
        rig().refused_locally(&request, reason.clone()).await;
    }
    let for_ever = signed_request(|authorization| authorization["validBefore"] = json!(U256::MAX.to_string())).await;
    rig().refused_locally(&for_ever, before).await;
    let good = [("validBefore", earliest), ("validBefore", latest), ("validAfter", NOW), ("validAfter", NOW - 600)];
    for (field, seconds) in good {
        let request = signed_request(|authorization| authorization[field] = json!(seconds.to_string())).await;
        rig().verify(&request).await.unwrap();
    }
}

#[tokio::test]
async fn the_value_must_be_the_amount_exactly() {
    for value in ["9999", "10001", "0"] {
        let request = signed_request(|authorization| authorization["value"] = json!(value)).await;
        rig().refused_locally(&request, Reason::InvalidExactEvmPayloadAuthorizationValueMismatch).await;
    }
    let mut nothing = signed_request(|authorization| authorization["value"] = json!("0")).await;
    nothing["paymentRequirements"]["amount"] = json!("0");
    rig().refused_locally(&nothing, Reason::InvalidPaymentRequirements).await;
}

#[tokio::test]
async fn numbers_are_decimal_strings_and_nothing_else() {
    let bad = [
        json!(10_000),
        json!("0x2710"),
        json!("+10000"),
        json!(" 10000"),
        json!("1e4"),
        json!("10000.0"),
        json!(""),
        Value::Null,
    ];
    for value in bad {
        for field in ["value", "validAfter", "validBefore"] {
            let mut request = golden_request();
            request["paymentPayload"]["payload"]["authorization"][field] = value.clone();
            let message = rig().refused_locally(&request, Reason::InvalidPayload).await;
            assert!(message.starts_with("payload: "), "{message}");
        }
    }
    for nonce in [json!("0x11"), json!("11".repeat(32)), json!(format!("0x{}", "1".repeat(65))), json!(17)] {
        let mut request = golden_request();
        request["paymentPayload"]["payload"]["authorization"]["nonce"] = nonce;
        rig().refused_locally(&request, Reason::InvalidPayload).await;
    }
}

#[tokio::test]
async fn a_payer_with_code_is_never_judged_by_its_key() {
    for code in ["0x6080", "0xef0100209693bc6afc0c5328ba36faf03c514ef312287c"] {
        let rig = rig();
        rig.node.world().code.insert(payer(), code.parse::<Bytes>().unwrap());
        let refusal = rig.refusal(&golden_request()).await;
        assert_eq!(refusal.reason, Reason::InvalidExactEvmSignature);
        assert!(refusal.message.contains("ERC-1271") && refusal.message.contains(golden::PAYER), "{}", refusal.message);
    }
}

#[tokio::test]
async fn an_asset_without_a_contract_is_refused() {
    for has_overrides in [true, false] {
        let rig = rig();
        rig.node.world().code.insert(usdc(), Bytes::new());
        rig.node.world().has_overrides = has_overrides;
        rig.refused_by_chain(&golden_request(), Reason::AssetNotDeployedContract).await;
        rig.refused_by_chain(&golden_request(), Reason::AssetNotDeployedContract).await;
    }
}

#[tokio::test]
async fn an_asset_without_eip3009_is_refused() {
    let rig = rig();
    rig.node.world().token_has_eip3009 = false;
    rig.refused_by_chain(&golden_request(), Reason::InvalidExactEvmEip3009NotSupported).await;
}

#[tokio::test]
async fn a_used_nonce_is_refused_even_by_tokens_that_do_not_revert() {
    for token_ignores_used_nonces in [false, true] {
        let rig = rig();
        rig.node.world().used.insert((payer(), golden::eip3009::NONCE.parse().unwrap()));
        rig.node.world().token_ignores_used_nonces = token_ignores_used_nonces;
        rig.refused_by_chain(&golden_request(), Reason::InvalidExactEvmNonceAlreadyUsed).await;
    }
}

#[tokio::test]
async fn a_token_whose_domain_is_not_the_one_that_its_operator_told_is_named() {
    let rig = rig_of_own_token();
    rig.node.world().token_reverts = Some("FiatTokenV2: invalid signature");
    rig.node.world().token_name = "Other";
    rig.refused_by_chain(&golden_request(), Reason::InvalidExactEvmTokenNameMismatch).await;
    rig.node.world().token_name = "USDC";
    rig.node.world().token_version = "3";
    rig.refused_by_chain(&golden_request(), Reason::InvalidExactEvmTokenVersionMismatch).await;
}

#[tokio::test]
async fn an_empty_wallet_is_refused() {
    let rig = rig();
    rig.node.world().balances.insert(payer(), U256::from(9_999));
    let message = rig.refused_by_chain(&golden_request(), Reason::InvalidExactEvmInsufficientBalance).await;
    assert!(message.contains("9999") && message.contains("10000"), "{message}");
}

#[tokio::test]
async fn any_other_revert_is_told_in_the_tokens_words() {
    let rig = rig();
    rig.node.world().token_reverts = Some("Pausable: paused");
    let message = rig.refused_by_chain(&golden_request(), Reason::InvalidExactEvmTransactionSimulationFailed).await;
    assert!(message.contains("Pausable: paused"), "{message}");
}

#[tokio::test]
async fn the_first_reason_that_applies_wins() {
    let rig = rig_of_own_token();
    {
        let mut world = rig.node.world();
        world.used.insert((payer(), golden::eip3009::NONCE.parse().unwrap()));
        world.balances.clear();
        world.token_name = "Other";
    }
    rig.refused_by_chain(&golden_request(), Reason::InvalidExactEvmNonceAlreadyUsed).await;
    rig.node.world().used.clear();
    rig.refused_by_chain(&golden_request(), Reason::InvalidExactEvmTokenNameMismatch).await;
    rig.node.world().token_name = "USDC";
    rig.refused_by_chain(&golden_request(), Reason::InvalidExactEvmInsufficientBalance).await;
}

async fn is_unavailable(rig: &Rig) -> String {
    match rig.verify(&golden_request()).await {
        Err(VerifyError::Unavailable(source)) => source.to_string(),
        other => panic!("expected no verdict, got {other:?}"),
    }
}

#[tokio::test]
async fn trouble_with_the_node_is_never_the_payers_fault() {
    for error in [NodeError::TimedOut, NodeError::Unreachable, NodeError::Status(429), NodeError::TooLarge] {
        let rig = rig();
        rig.node.world().down = Some(error.clone());
        assert_eq!(is_unavailable(&rig).await, error.to_string());
        rig.node.world().down = None;
        rig.verify(&golden_request()).await.unwrap();
    }
    let odd = ["null", "1", "\"0x\"", "\"0x1234\"", "{}", "\"not hexadecimal\""];
    for json in odd {
        // What was not understood is asked again in the plainest form; if that makes no sense either, there is no verdict.
        let rig = rig();
        rig.verify(&golden_request()).await.unwrap();
        rig.node.answer_next("eth_call", json);
        rig.verify(&golden_request()).await.unwrap();
        rig.node.world().has_overrides = false;
        rig.verify(&golden_request()).await.unwrap();
        for json in odd.into_iter().filter(|json| !json.starts_with("\"0x")) {
            rig.node.answer_next("eth_call", json);
            is_unavailable(&rig).await;
        }
        rig.verify(&golden_request()).await.unwrap();
    }
    for method in ["eth_call", "eth_getCode", "eth_chainId"] {
        let rig = rig();
        rig.node.world().has_overrides = false;
        rig.verify(&golden_request()).await.unwrap();
        rig.node.world().down = Some(NodeError::Unreachable);
        is_unavailable(&rig).await;
        rig.node.world().down = None;
        // The first of each is the one that asks what the node can do.
        for _ in 0..if method == "eth_chainId" { 1 } else { 2 } {
            rig.node.refuse_next(method, -32_603, "Internal error");
        }
        is_unavailable(&rig).await;
        rig.verify(&golden_request()).await.unwrap();
    }
    let rig = rig();
    rig.verify(&golden_request()).await.unwrap();
    rig.node.refuse_next("eth_call", -32_603, "Internal error");
    is_unavailable(&rig).await;
}

#[tokio::test]
async fn a_node_of_another_chain_is_noticed() {
    let rig = rig();
    rig.node.world().chain_id = 1;
    assert!(is_unavailable(&rig).await.contains("chain 1, expected 84532"));
    assert!(AnyFacilitatorScheme::ready(&rig.facilitator).await.is_err());
    rig.node.world().chain_id = golden::CHAIN_ID;
    // The node is right now; before the first payment no account was taken yet.
    rig.settle(&golden_request()).await.unwrap();
    AnyFacilitatorScheme::ready(&rig.facilitator).await.unwrap();
}

#[tokio::test]
async fn a_node_that_stops_assuming_code_is_noticed_in_the_same_verification() {
    let rig = rig();
    rig.verify(&golden_request()).await.unwrap();
    rig.node.world().has_overrides = false;
    for round_trips in [2, 1, 1] {
        let before = rig.node.round_trips();
        rig.verify(&golden_request()).await.unwrap();
        assert_eq!(rig.node.round_trips() - before, round_trips);
    }
}

#[tokio::test]
async fn what_a_refused_payment_would_cost_is_not_held_against_others() {
    let rig = rig();
    rig.node.world().code.insert(payer(), Bytes::from_static(&[0xef, 0x01, 0x00]));
    rig.node.answer_next("eth_estimateGas", "\"0xffffff\"");
    assert_eq!(rig.refusal(&golden_request()).await.reason, Reason::InvalidExactEvmSignature);
    rig.node.world().code.remove(&payer());
    rig.verify(&golden_request()).await.unwrap();
}

#[tokio::test]
async fn a_payment_that_would_cost_too_much_gas_is_not_verified() {
    let rig = rig_with(|config| config.gas.max_units = 50_000);
    assert!(is_unavailable(&rig).await.contains("gas.max_units allows 50000"));
}

#[tokio::test]
async fn kinds_are_those_of_the_configured_networks_in_both_versions() {
    let rig = rig();
    let kinds = AnyFacilitatorScheme::kinds(&rig.facilitator);
    let kinds: Vec<_> = kinds.iter().map(|kind| (kind.x402_version, kind.scheme.as_str(), kind.network.as_str())).collect();
    assert_eq!(kinds, [(Version::V2, "exact", "eip155:84532"), (Version::V1, "exact", "eip155:84532")]);
    let signers = AnyFacilitatorScheme::signers(&rig.facilitator);
    assert_eq!(signers.len(), 1);
    assert_eq!((signers[0].0.as_str(), signers[0].1.as_str()), ("eip155:*", "0xa0Ee7A142d267C1f36714E4a8F75612F20a79720"));
}

#[tokio::test]
async fn a_chain_configured_twice_is_listed_twice_so_that_the_engine_refuses_it() {
    let rig = rig();
    let chains = vec![rig.chain.clone(), rig.chain.clone()];
    let twice = exact::Facilitator::new(chains, Arc::new(AssetTable::known()), rig.clock.clone());
    assert_eq!(AnyFacilitatorScheme::kinds(&twice).len(), 4);
    assert_eq!(AnyFacilitatorScheme::signers(&twice).len(), 1);
}

#[tokio::test]
async fn a_payment_of_version_1_is_verified() {
    let golden = golden_request();
    let request = json!({
        "x402Version": 1,
        "paymentPayload": {
            "x402Version": 1, "scheme": "exact", "network": "base-sepolia", "payload": golden["paymentPayload"]["payload"],
        },
        "paymentRequirements": {
            "scheme": "exact", "network": "base-sepolia", "maxAmountRequired": "10000", "resource": "https://example.com/",
            "description": "", "mimeType": "", "payTo": golden::PAY_TO, "maxTimeoutSeconds": 300, "asset": golden::ASSET,
            "extra": {"name": "USDC", "version": "2"},
        },
    });
    let rig = rig();
    rig.verify(&request).await.unwrap();
    assert_eq!(rig.read(&request).unwrap().record.key, rig.read(&golden).unwrap().record.key);
}

#[tokio::test]
async fn payments_that_differ_in_what_makes_them_unique_have_other_keys() {
    let rig = rig();
    let golden_key = rig.read(&golden_request()).unwrap().record.key;
    for (pointer, value) in [
        ("/paymentPayload/payload/authorization/nonce", json!(format!("0x{}", "22".repeat(32)))),
        ("/paymentPayload/payload/authorization/from", json!(golden::SECOND)),
        ("/paymentRequirements/asset", json!(golden::SECOND)),
        ("/paymentRequirements/network", json!("eip155:8453")),
    ] {
        let mut request = golden_request();
        *request.pointer_mut(pointer).unwrap() = value;
        assert_ne!(rig.read(&request).unwrap().record.key, golden_key, "{pointer}");
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[0-9a-fx\\-+ .]{0,70}".prop_map(Value::from),
        "0x[0-9a-f]{0,140}".prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        let keys = prop_oneof![Just("signature"), Just("authorization"), Just("from"), Just("permit2Authorization")];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(keys.prop_map(str::to_owned), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    /// Whatever stands anywhere in a payment, there is an answer, and nothing but the untouched payment is good.
    #[test]
    fn no_payload_makes_verification_panic(
        pointer in prop::sample::select(vec![
            "/paymentPayload/payload", "/paymentPayload/payload/signature", "/paymentPayload/payload/authorization",
            "/paymentPayload/payload/authorization/from", "/paymentPayload/payload/authorization/to",
            "/paymentPayload/payload/authorization/value", "/paymentPayload/payload/authorization/nonce",
            "/paymentPayload/payload/authorization/validAfter", "/paymentPayload/payload/authorization/validBefore",
            "/paymentRequirements/asset", "/paymentRequirements/payTo", "/paymentRequirements/amount",
            "/paymentRequirements/network",
        ]),
        value in any_json(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let rig = rig();
            let mut request = golden_request();
            *request.pointer_mut(pointer).unwrap() = value;
            let verified = rig.verify(&request).await;
            assert!(matches!(verified, Err(VerifyError::Invalid(_))), "{request} gave {verified:?}");
            // A signature that is not an ordinary account's may be a contract's, and the chain is asked once.
            assert!(rig.node.round_trips() <= 1);
        });
    }
}
