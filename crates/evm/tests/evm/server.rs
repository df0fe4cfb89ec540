//! How the seller's offers are completed, and which are refused at start-up.

use std::sync::Arc;

use farthing_core::erased::{AnyFacilitatorScheme, AnyServerScheme};
use farthing_core::reason::Reason;
use farthing_core::scheme::PaymentFlow;
use farthing_core::wire::{PaymentRequest, PaymentRequirements, SupportedKind};
use farthing_evm::asset::AssetTable;
use farthing_evm::{exact, upto};
use farthing_testkit::golden;
use serde_json::{Value, json};

use crate::support::*;

fn server() -> exact::Server {
    exact::Server::new(Arc::new(AssetTable::known()))
}

fn kind() -> SupportedKind {
    serde_json::from_value(json!({"x402Version": 2, "scheme": "exact", "network": golden::NETWORK})).unwrap()
}

fn complete(offer: &Value) -> Result<PaymentRequirements, (Reason, String)> {
    let requirements = serde_json::from_value(offer.clone()).unwrap();
    AnyServerScheme::complete(&server(), requirements, &kind()).map_err(|refusal| (refusal.reason, refusal.message))
}

#[test]
fn an_offer_gets_the_tokens_domain_and_checksummed_addresses() {
    let bare = json!({
        "scheme": "exact", "network": golden::NETWORK, "amount": "10000", "asset": golden::ASSET.to_lowercase(),
        "payTo": golden::PAY_TO.to_lowercase(), "maxTimeoutSeconds": 300,
    });
    assert_eq!(serde_json::to_value(complete(&bare).unwrap()).unwrap(), offer());
    assert_eq!(serde_json::to_value(complete(&offer()).unwrap()).unwrap(), offer(), "a complete offer stays as it is");
}

#[test]
fn what_else_is_in_extra_stays() {
    let mut with_more = offer();
    with_more["extra"] = json!({"note": 1, "assetTransferMethod": "eip3009"});
    let completed = complete(&with_more).unwrap();
    assert_eq!(
        Value::Object(completed.extra),
        json!({"note": 1, "assetTransferMethod": "eip3009", "name": "USDC", "version": "2"})
    );
}

#[test]
fn offers_that_nobody_should_pay_are_refused() {
    let cases = [
        ("scheme", json!("upto"), Reason::UnsupportedScheme),
        ("network", json!("eip155:8453"), Reason::InvalidNetwork),
        ("asset", json!(golden::SECOND), Reason::InvalidPaymentRequirements),
        ("asset", json!("USDC"), Reason::InvalidPaymentRequirements),
        ("payTo", json!("0x0000000000000000000000000000000000000000"), Reason::InvalidPaymentRequirements),
        ("payTo", json!(golden::ASSET), Reason::InvalidPaymentRequirements),
        ("payTo", json!("somebody"), Reason::InvalidPaymentRequirements),
        ("amount", json!("0"), Reason::InvalidPaymentRequirements),
        ("extra", json!({"name": "USD Coin"}), Reason::InvalidExactEvmTokenNameMismatch),
        ("extra", json!({"version": "1"}), Reason::InvalidExactEvmTokenVersionMismatch),
        ("extra", json!({"name": 1}), Reason::InvalidPaymentRequirements),
        ("extra", json!({"assetTransferMethod": "erc7710"}), Reason::UnsupportedAssetTransferMethod),
        ("extra", json!({"paymentFlow": "escrow"}), Reason::UnsupportedPaymentFlow),
    ];
    for (field, value, reason) in cases {
        let mut offer = offer();
        offer[field] = value.clone();
        let (got, message) = complete(&offer).unwrap_err();
        assert_eq!(got, reason, "{field} = {value}: {message}");
    }
}

#[test]
fn a_token_without_permits_is_offered_by_permit2_without_its_domain() {
    // USDC on Igra, as the official table has it: neither EIP-3009 nor EIP-2612.
    let igra = "eip155:38833";
    let bare = |scheme: &str| {
        serde_json::from_value(json!({
            "scheme": scheme, "network": igra, "amount": "10000", "asset": "0xA5b8BF902b2844dA17d4506cc827F7F1681735E7",
            "payTo": golden::PAY_TO, "maxTimeoutSeconds": 300, "extra": {"name": "USDC", "version": "1"},
        }))
        .unwrap()
    };
    let kind = |scheme: &str| {
        let extra = json!({"facilitatorAddress": golden::SECOND});
        serde_json::from_value(json!({"x402Version": 2, "scheme": scheme, "network": igra, "extra": extra})).unwrap()
    };
    let exact = AnyServerScheme::complete(&server(), bare("exact"), &kind("exact")).unwrap();
    assert_eq!(Value::Object(exact.extra), json!({"assetTransferMethod": "permit2"}));
    let metering = upto::Server::new(Arc::new(AssetTable::known()));
    let upto = AnyServerScheme::complete(&metering, bare("upto"), &kind("upto")).unwrap();
    let expected = json!({"assetTransferMethod": "permit2", "facilitatorAddress": golden::SECOND});
    assert_eq!(Value::Object(upto.extra), expected);
}

#[test]
fn money_moves_after_the_work_or_before_it() {
    let flow = |extra: Value| {
        let mut offer = offer();
        offer["extra"] = extra;
        AnyServerScheme::flow(&server(), &serde_json::from_value(offer).unwrap())
    };
    assert_eq!(flow(json!({})), Ok(PaymentFlow::Authorization));
    assert_eq!(flow(json!({"paymentFlow": "authorization"})), Ok(PaymentFlow::Authorization));
    assert_eq!(flow(json!({"paymentFlow": "upfront"})), Ok(PaymentFlow::Upfront));
    assert_eq!(flow(json!({"paymentFlow": "escrow"})).unwrap_err().reason, Reason::UnsupportedPaymentFlow);
}

#[test]
fn prices_can_be_asked_in_every_asset_that_is_known() {
    let server = server();
    let symbols = |network: &str| {
        let assets = AnyServerScheme::assets(&server, &network.parse().unwrap());
        assets.into_iter().map(|asset| (asset.symbol, asset.decimals, asset.usd)).collect::<Vec<_>>()
    };
    assert_eq!(symbols(golden::NETWORK), [("USDC".to_owned(), 6, true)]);
    assert_eq!(symbols("eip155:42220").len(), 3);
    assert_eq!(symbols("eip155:4326"), [("MegaUSD".to_owned(), 18, true)]);
    assert_eq!(symbols("eip155:4242"), []);
    assert!(AnyServerScheme::supports(&server, &golden::NETWORK.parse().unwrap()));
    assert!(!AnyServerScheme::supports(&server, &"eip155:4242".parse().unwrap()));
}

#[test]
fn the_server_and_the_facilitator_name_a_payment_alike() {
    let request = PaymentRequest::read(golden_request().to_string().as_bytes()).unwrap();
    let by_server = AnyServerScheme::identify(&server(), &request.payment, &request.requirements).unwrap().0;
    let by_facilitator = AnyFacilitatorScheme::read(&rig().facilitator, &request).unwrap().record.key;
    assert_eq!(by_server, by_facilitator);
}
