//! `upto`: a ceiling is signed, what was used is taken.

use std::sync::Arc;

use farthing_core::erased::{AnyClientScheme, AnyFacilitatorScheme, AnyServerScheme};
use farthing_core::reason::Reason;
use farthing_core::scheme::{Outcome, PayError, SettleError};
use farthing_core::wire::{Extensions, PaymentRequest, SupportedKind};
use farthing_devnet::{Mining, X402_UPTO_PERMIT2_PROXY};
use farthing_evm::asset::AssetTable;
use farthing_evm::transfer::permit2::PERMIT2;
use farthing_evm::{Bytes, U256, upto};
use farthing_testkit::golden;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::market::*;
use crate::support::{RELAYER_KEY, payer, signer, usdc};

async fn at_most_a_cent(market: &Market) -> Value {
    pay_by(&market.upto_wallet(), &upto_offer(), &Extensions::default()).await
}

/// The request, in which so much is charged.
fn charging(request: &Value, amount: &str) -> Value {
    let mut request = request.clone();
    request["paymentRequirements"]["amount"] = json!(amount);
    request
}

#[tokio::test]
async fn what_was_used_is_taken_and_no_more() {
    let market = market(|_| {}).await;
    let request = at_most_a_cent(&market).await;
    market.verify(&request).await.unwrap();
    let settlement = market.settle(&charging(&request, "2500")).await.unwrap();
    assert_eq!((market.received(), settlement.amount.to_string().as_str()), (U256::from(2_500), "2500"));
    assert_eq!(market.outcome(&request).await, Outcome::Settled(settlement), "the chain says how much it was");
    let entry = market.entry(&request).await.unwrap();
    assert_eq!((entry.record.scheme.as_str(), entry.record.amount.to_string().as_str()), ("upto", "10000"));
    market.refused(&request, Reason::Permit2InvalidNonce).await;
}

#[tokio::test]
async fn nothing_used_means_that_nothing_is_sent() {
    let market = market(|_| {}).await;
    let request = at_most_a_cent(&market).await;
    let settlement = market.settle(&charging(&request, "0")).await.unwrap();
    assert_eq!((settlement.transaction.0.as_str(), settlement.amount.to_string().as_str()), ("", "0"));
    assert!(market.book.sent().is_empty() && market.received().is_zero());
}

#[tokio::test]
async fn what_is_wrong_is_refused_with_its_reason() {
    let market = market(|_| {}).await;
    let good = at_most_a_cent(&market).await;
    let now = market.devnet.now();
    let cases: [(&str, Value, Reason); 7] = [
        ("/spender", json!(golden::SECOND), Reason::InvalidPermit2Spender),
        ("/witness/to", json!(golden::SECOND), Reason::InvalidPermit2RecipientMismatch),
        ("/witness/facilitator", json!(golden::SECOND), Reason::UptoFacilitatorMismatch),
        ("/deadline", json!((now + 5).to_string()), Reason::Permit2DeadlineExpired),
        ("/witness/validAfter", json!((now + 60).to_string()), Reason::Permit2NotYetValid),
        ("/permitted/amount", json!("9999"), Reason::Permit2AmountMismatch),
        ("/permitted/token", json!(golden::SECOND), Reason::Permit2TokenMismatch),
    ];
    for (field, value, reason) in cases {
        let request = changed(&good, golden::PAYER_KEY, |it| *it.pointer_mut(field).unwrap() = value).await;
        market.refused(&request, reason).await;
    }
    market.refused(&charging(&good, "9999"), Reason::Permit2AmountMismatch).await;
    market.refused(&changed(&good, golden::SECOND_KEY, |_| {}).await, Reason::InvalidPermit2Signature).await;
    for (field, reason) in [
        ("/paymentPayload/accepted/scheme", Reason::InvalidUptoEvmScheme),
        ("/paymentRequirements/scheme", Reason::InvalidUptoEvmScheme),
    ] {
        let mut request = good.clone();
        *request.pointer_mut(field).unwrap() = json!("exact");
        market.refused(&request, reason).await;
    }
    let mut elsewhere = good.clone();
    elsewhere["paymentPayload"]["accepted"]["network"] = json!("eip155:8453");
    market.refused(&elsewhere, Reason::InvalidUptoEvmNetworkMismatch).await;
    for (field, value, reason) in [
        ("assetTransferMethod", json!("eip3009"), Reason::UnsupportedAssetTransferMethod),
        ("paymentFlow", json!("upfront"), Reason::UnsupportedPaymentFlow),
    ] {
        let mut request = good.clone();
        request["paymentRequirements"]["extra"][field] = value;
        market.refused(&request, reason).await;
    }
    let too_much = market.settle(&charging(&good, "10001")).await;
    let expected = Reason::InvalidUptoEvmPayloadSettlementExceedsAmount;
    assert!(matches!(&too_much, Err(SettleError::Rejected(refusal)) if refusal.reason == expected), "{too_much:?}");
}

#[tokio::test]
async fn what_the_chain_lacks_is_said() {
    let market = market(|_| {}).await;
    let request = at_most_a_cent(&market).await;
    market.devnet.set_allowance(usdc(), payer(), PERMIT2, U256::from(5_000)).unwrap();
    market.refused(&request, Reason::Permit2AllowanceRequired).await;
    // What was used is covered, though the ceiling is not.
    assert_eq!(market.settle(&charging(&request, "5000")).await.unwrap().amount.to_string(), "5000");
    let again = at_most_a_cent(&market).await;
    market.devnet.set_code(X402_UPTO_PERMIT2_PROXY, Bytes::new()).unwrap();
    market.refused(&again, Reason::Permit2ProxyNotDeployed).await;
}

#[tokio::test]
async fn errors_of_the_contract_are_told_by_their_reasons() {
    use alloy_sol_types::SolError;
    use farthing_evm::abi::UptoProxy;
    let market = market(|_| {}).await;
    let request = at_most_a_cent(&market).await;
    let cases = [
        (UptoProxy::AmountExceedsPermitted::SELECTOR, Reason::UptoAmountExceedsPermitted),
        (UptoProxy::UnauthorizedFacilitator::SELECTOR, Reason::UptoUnauthorizedFacilitator),
    ];
    for (selector, reason) in cases {
        market.devnet.set_code(X402_UPTO_PERMIT2_PROXY, failing_proxy(selector)).unwrap();
        market.refused(&request, reason).await;
    }
}

#[tokio::test]
async fn only_the_account_that_the_payer_named_sends() {
    let market = market_with(Mining::Instant, &[golden::SECOND_KEY, RELAYER_KEY], |_| {}).await;
    let requests = join_all((0..4).map(|_| at_most_a_cent(&market))).await;
    for settled in join_all(requests.iter().map(|request| market.settle(request))).await {
        settled.unwrap();
    }
    assert_eq!(market.received(), U256::from(40_000));
    assert_eq!(market.book.batches(), [1, 1, 1, 1], "nobody else can call for it");
    let untouched = market.devnet.balance(signer(golden::SECOND_KEY).address());
    assert_eq!(untouched, U256::from(10_000) * U256::from(10).pow(U256::from(18)));
}

#[tokio::test]
async fn a_ceiling_is_not_simulated_beyond_what_others_leave() {
    let market = market(|_| {}).await;
    let mut offer = upto_offer();
    offer["amount"] = json!("600000");
    let wallet = market.upto_wallet();
    let one = pay_by(&wallet, &offer, &Extensions::default()).await;
    let two = pay_by(&wallet, &offer, &Extensions::default()).await;
    let (one, two) = tokio::join!(market.settle(&one), market.settle(&two));
    assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
    assert_eq!(market.book.sent().len(), 1, "no gas was burnt for the other");
}

#[tokio::test]
async fn a_buyer_signs_only_for_a_facilitator_that_is_named() {
    let market = market(|_| {}).await;
    let wallet = market.upto_wallet();
    for facilitator in [Value::Null, json!("somebody"), json!("0x0000000000000000000000000000000000000000")] {
        let mut offer = upto_offer();
        offer["extra"]["facilitatorAddress"] = facilitator;
        let requirements = serde_json::from_value(offer).unwrap();
        let error = AnyClientScheme::pay(&wallet, &requirements, &Extensions::default()).await.unwrap_err();
        assert!(matches!(&error, PayError::Offer(refusal) if refusal.message.contains("facilitatorAddress")), "{error}");
    }
    let requirements = serde_json::from_value(upto_offer()).unwrap();
    assert_eq!(AnyClientScheme::max_spend(&wallet, &requirements).unwrap().to_string(), "10000", "the ceiling");
}

#[tokio::test]
async fn a_seller_names_the_facilitators_account() {
    let market = market(|_| {}).await;
    let server = upto::Server::new(Arc::new(AssetTable::known()));
    let kinds = AnyFacilitatorScheme::kinds(&market.upto);
    let bare: Value = json!({
        "scheme": "upto", "network": golden::NETWORK, "amount": "10000", "asset": golden::ASSET.to_lowercase(),
        "payTo": golden::PAY_TO, "maxTimeoutSeconds": 300,
    });
    let requirements: farthing_core::wire::PaymentRequirements = serde_json::from_value(bare).unwrap();
    let completed = AnyServerScheme::complete(&server, requirements.clone(), &kinds[0]).unwrap();
    let mut expected = upto_offer();
    expected["extra"]["name"] = json!("USDC");
    expected["extra"]["version"] = json!("2");
    assert_eq!(serde_json::to_value(completed).unwrap(), expected);
    assert!(AnyServerScheme::is_metered(&server));
    let silent = SupportedKind { extra: None, ..kinds[0].clone() };
    let refusal = AnyServerScheme::complete(&server, requirements, &silent).unwrap_err();
    assert!(refusal.message.contains("facilitatorAddress"), "{}", refusal.message);
    let request = at_most_a_cent(&market).await;
    let read = PaymentRequest::read(request.to_string().as_bytes()).unwrap();
    let (key, expires_at) = AnyServerScheme::identify(&server, &read.payment, &read.requirements).unwrap();
    let record = market.read(&request).record;
    assert_eq!((key, expires_at), (record.key, Some(record.expires_at)));
}

#[tokio::test]
async fn of_nodes_that_share_accounts_the_one_that_holds_the_named_account_settles() {
    let one = market(|_| {}).await;
    one.settle(&one.cent().await).await.unwrap();
    let two = one.joined(&[RELAYER_KEY]);
    let request = at_most_a_cent(&one).await;
    two.verify(&request).await.unwrap();
    let Err(SettleError::NotSent(cause)) = two.settle(&request).await else { panic!("two does not hold the account") };
    let told = cause.to_string();
    assert!(told.contains(&signer(RELAYER_KEY).address().to_string()) && told.contains("another node's"), "{told}");
    assert!(two.book.sent().is_empty() && two.entry(&request).await.is_none(), "it may be asked for again");
    one.settle(&charging(&request, "2500")).await.unwrap();
    // The lane is taken over, and with it the payments that name its account.
    AnyFacilitatorScheme::stop(&one.upto).await;
    let settlement = two.settle(&charging(&at_most_a_cent(&one).await, "100")).await.unwrap();
    assert_eq!((two.book.sent().len(), settlement.amount.to_string().as_str()), (1, "100"));
}
