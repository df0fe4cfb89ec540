//! What the wallet signs, and what it refuses to.

use std::sync::Arc;

use farthing_core::erased::AnyClientScheme;
use farthing_core::reason::Reason;
use farthing_core::scheme::PayError;
use farthing_core::time::Entropy;
use farthing_core::wire::Extensions;
use farthing_core::{BoxFuture, Source};
use farthing_evm::asset::AssetTable;
use farthing_evm::exact::{self, MAX_WINDOW_SECONDS};
use farthing_evm::rpc::NodeError;
use farthing_evm::signature::Signature;
use farthing_evm::signer::{Signer, SignerError};
use farthing_evm::{Address, B256, U256};
use farthing_testkit::golden;
use serde_json::{Value, json};

use crate::support::*;

fn refused(wallet: &exact::Client, offer: &Value) -> (Reason, String) {
    let requirements = serde_json::from_value(offer.clone()).unwrap();
    match AnyClientScheme::max_spend(wallet, &requirements) {
        Err(PayError::Offer(refusal)) => (refusal.reason, refusal.message),
        other => panic!("expected a refusal of {offer}, got {other:?}"),
    }
}

#[tokio::test]
async fn what_the_wallet_signs_the_facilitator_verifies_and_settles() {
    let rig = rig();
    let wallet = wallet(rig.clock.clone());
    for _ in 0..3 {
        let request = pay(&wallet, &offer()).await;
        assert_eq!(rig.verify(&request).await.unwrap().as_str(), golden::PAYER);
        rig.settle(&request).await.unwrap();
    }
    assert_eq!(rig.node.world().balances[&pay_to()], U256::from(30_000));
}

#[tokio::test]
async fn the_wallet_signs_for_the_time_offered_and_never_for_long() {
    let wallet = wallet(StillClock::at(NOW));
    for (offered, signed) in [(60, 60), (300, 300), (MAX_WINDOW_SECONDS, MAX_WINDOW_SECONDS), (31_536_000, MAX_WINDOW_SECONDS)]
    {
        let mut offer = offer();
        offer["maxTimeoutSeconds"] = json!(offered);
        let request = pay(&wallet, &offer).await;
        let authorization = &request["paymentPayload"]["payload"]["authorization"];
        assert_eq!(authorization["validBefore"], json!((NOW + signed).to_string()));
        assert_eq!(authorization["validAfter"], "0");
        assert_eq!(authorization["value"], "10000");
    }
}

#[tokio::test]
async fn no_two_payments_have_the_same_nonce() {
    let wallet = wallet(StillClock::at(NOW));
    let nonce = |request: Value| request["paymentPayload"]["payload"]["authorization"]["nonce"].clone();
    assert_ne!(nonce(pay(&wallet, &offer()).await), nonce(pay(&wallet, &offer()).await));
}

#[test]
fn an_offer_may_leave_the_domain_out_or_name_it_rightly() {
    let wallet = wallet(StillClock::at(NOW));
    for extra in [json!({}), Value::Null, json!({"name": "USDC"}), json!({"name": "USDC", "version": "2", "more": 1})] {
        let mut offer = offer();
        offer["extra"] = extra;
        let requirements = serde_json::from_value(offer).unwrap();
        assert_eq!(AnyClientScheme::max_spend(&wallet, &requirements).unwrap().to_string(), "10000");
    }
}

#[test]
fn offers_that_cannot_be_trusted_are_refused_with_an_explanation() {
    let wallet = wallet(StillClock::at(NOW));
    let cases = [
        ("/scheme", json!("upto"), Reason::UnsupportedScheme),
        ("/network", json!("solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp"), Reason::InvalidNetwork),
        ("/network", json!("eip155:8453"), Reason::InvalidPaymentRequirements),
        ("/asset", json!(golden::SECOND), Reason::InvalidPaymentRequirements),
        ("/asset", json!("USDC"), Reason::InvalidPaymentRequirements),
        ("/payTo", json!("0x0000000000000000000000000000000000000000"), Reason::InvalidPaymentRequirements),
        ("/payTo", json!("somebody"), Reason::InvalidPaymentRequirements),
        ("/amount", json!("0"), Reason::InvalidPaymentRequirements),
        ("/extra/name", json!("USD Coin"), Reason::InvalidExactEvmTokenNameMismatch),
        ("/extra/version", json!("1"), Reason::InvalidExactEvmTokenVersionMismatch),
    ];
    for (pointer, value, reason) in cases {
        let mut offer = offer();
        *offer.pointer_mut(pointer).unwrap() = value.clone();
        let (got, message) = refused(&wallet, &offer);
        assert_eq!(got, reason, "{pointer} = {value}: {message}");
        assert!(message.contains("expected"), "{message}");
    }
    let extras = [
        (json!({"assetTransferMethod": "erc7710"}), Reason::UnsupportedAssetTransferMethod),
        (json!({"assetTransferMethod": "default"}), Reason::UnsupportedAssetTransferMethod),
        (json!({"paymentFlow": "escrow"}), Reason::UnsupportedPaymentFlow),
        (json!({"paymentFlow": "later"}), Reason::UnsupportedPaymentFlow),
    ];
    for (extra, reason) in extras {
        let mut offer = offer();
        offer["extra"] = extra;
        assert_eq!(refused(&wallet, &offer).0, reason);
    }
}

#[test]
fn a_token_that_moves_by_permit2_only_is_not_paid_by_eip3009() {
    let wallet = wallet(StillClock::at(NOW));
    let mut offer = offer();
    offer["network"] = json!("eip155:4326");
    offer["asset"] = json!("0xFAfDdbb3FC7688494971a79cc65DCa3EF82079E7");
    let requirements = serde_json::from_value(offer.clone()).unwrap();
    assert_eq!(AnyClientScheme::asset(&wallet, &requirements).unwrap().symbol, "MegaUSD");
    offer["extra"] = json!({"assetTransferMethod": "eip3009"});
    assert_eq!(refused(&wallet, &offer).0, Reason::UnsupportedAssetTransferMethod);
    assert!(AnyClientScheme::supports(&wallet, &"eip155:4326".parse().unwrap()));
}

#[test]
fn the_payer_is_known_where_something_can_be_paid() {
    let wallet = wallet(StillClock::at(NOW));
    let payer = |network: &str| AnyClientScheme::payer(&wallet, &network.parse().unwrap());
    assert_eq!(payer("eip155:8453").unwrap().as_str(), golden::PAYER);
    assert_eq!(payer("eip155:999999"), None);
    assert_eq!(payer("solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp"), None);
}

#[tokio::test]
async fn the_balance_is_looked_up_where_there_is_a_node() {
    let rig = rig();
    let requirements = serde_json::from_value(offer()).unwrap();
    let without = wallet(rig.clock.clone());
    assert_eq!(AnyClientScheme::balance(&without, &requirements).await.unwrap(), None);
    let with = wallet(rig.clock.clone()).with_node(golden::NETWORK.parse().unwrap(), as_node(&rig.node));
    let balance = AnyClientScheme::balance(&with, &requirements).await.unwrap().unwrap();
    assert_eq!((balance.to_string().as_str(), rig.node.round_trips()), ("1000000", 1));
    rig.node.world().down = Some(NodeError::TimedOut);
    assert!(matches!(AnyClientScheme::balance(&with, &requirements).await, Err(PayError::Wallet(_))));
}

struct NoEntropy;

impl Entropy for NoEntropy {
    fn fill(&self, _: &mut [u8]) -> Result<(), Source> {
        Err("no random bytes".into())
    }
}

/// A key service that says it keeps one key and signs with another.
struct WrongKey(Arc<dyn Signer>);

impl Signer for WrongKey {
    fn address(&self) -> Address {
        payer()
    }

    fn sign_hash(&self, hash: B256) -> BoxFuture<'_, Result<Signature, SignerError>> {
        self.0.sign_hash(hash)
    }
}

#[tokio::test]
async fn without_random_bytes_or_with_the_wrong_key_nothing_is_signed() {
    let requirements = serde_json::from_value(offer()).unwrap();
    let assets = Arc::new(AssetTable::known());
    let clock = StillClock::at(NOW);
    let without = exact::Client::new(signer(golden::PAYER_KEY), assets.clone(), clock.clone(), Arc::new(NoEntropy));
    assert!(matches!(AnyClientScheme::pay(&without, &requirements, &Extensions::default()).await, Err(PayError::Wallet(_))));
    let wrong = Arc::new(WrongKey(signer(golden::SECOND_KEY)));
    let wrong = exact::Client::new(wrong, assets, clock, Arc::new(Counting::default()));
    assert!(matches!(AnyClientScheme::pay(&wrong, &requirements, &Extensions::default()).await, Err(PayError::Wallet(_))));
}
