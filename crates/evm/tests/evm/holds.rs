//! What verified payments of `upto` hold: nobody works for a ceiling that others may use up.

use std::sync::atomic::Ordering;

use farthing_core::reason::Reason;
use farthing_core::scheme::{Outcome, SettleError, VerifyError};
use farthing_core::wire::Extensions;
use farthing_devnet::{DevToken, Mining, X402_UPTO_PERMIT2_PROXY};
use farthing_evm::config::ChainConfig;
use farthing_evm::transfer::approval;
use farthing_evm::transfer::permit2::PERMIT2;
use farthing_evm::wallet::OwnedWallet;
use farthing_evm::{Bytes, U256};
use farthing_testkit::golden;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::market::*;
use crate::support::{RELAYER_KEY, payer, signer, usdc};

/// The payer holds a dollar: two of these are too many.
const MOST: &str = "600000";

fn offer_of(amount: &str) -> Value {
    let mut offer = upto_offer();
    offer["amount"] = json!(amount);
    offer
}

async fn at_most(market: &Market, amount: &str) -> Value {
    pay_by(&market.upto_wallet(), &offer_of(amount), &Extensions::default()).await
}

async fn exactly(market: &Market, amount: &str) -> Value {
    let mut offer = offer_in(usdc());
    offer["amount"] = json!(amount);
    pay_by(&market.wallet(golden::PAYER_KEY), &offer, &Extensions::default()).await
}

fn charging(request: &Value, amount: &str) -> Value {
    let mut request = request.clone();
    request["paymentRequirements"]["amount"] = json!(amount);
    request
}

/// The payment is not covered beside what is held.
async fn is_short(market: &Market, request: &Value) -> String {
    let told = market.refused(request, Reason::Permit2InsufficientBalance).await;
    assert!(told.contains("held by payments that are not settled yet"), "{told}");
    told
}

#[tokio::test]
async fn of_two_ceilings_that_the_balance_covers_one_by_one_the_second_is_refused() {
    let market = market(|_| {}).await;
    let (one, two) = (at_most(&market, MOST).await, at_most(&market, MOST).await);
    let earliest = market.devnet.now() + 300;
    market.verify(&one).await.unwrap();
    let told = is_short(&market, &two).await;
    let latest = market.devnet.now() + 300;
    assert!(told.contains("1000000") && told.contains("600000 are held"), "{told}");
    assert!((earliest..=latest).any(|until| told.contains(&format!("until {until} at most"))), "{told}");
    market.verify(&at_most(&market, "400000").await).await.unwrap();
    is_short(&market, &at_most(&market, "1").await).await;
}

#[tokio::test]
async fn what_was_not_used_is_free_again_when_it_is_settled() {
    let market = market(|_| {}).await;
    let (one, two) = (at_most(&market, MOST).await, at_most(&market, MOST).await);
    market.verify(&one).await.unwrap();
    is_short(&market, &two).await;
    market.settle(&charging(&one, "400000")).await.unwrap();
    market.verify(&two).await.unwrap();
    market.settle(&two).await.unwrap();
    assert_eq!(market.received(), U256::from(1_000_000), "a payment never stands in its own way");
}

#[tokio::test]
async fn nothing_used_frees_all_of_it() {
    let market = market(|_| {}).await;
    let (one, two) = (at_most(&market, MOST).await, at_most(&market, MOST).await);
    market.verify(&one).await.unwrap();
    is_short(&market, &two).await;
    market.settle(&charging(&one, "0")).await.unwrap();
    market.verify(&two).await.unwrap();
}

#[tokio::test]
async fn only_whoever_shows_what_was_verified_ends_it() {
    let market = market(|_| {}).await;
    let wallet = market.devnet.create_smart_wallet(payer(), U256::from(7)).unwrap();
    market.devnet.give_usdc(wallet, U256::from(1_000_000)).unwrap();
    market.devnet.set_allowance(usdc(), wallet, PERMIT2, U256::MAX).unwrap();
    let owned = || market.smart_upto(OwnedWallet::new(wallet, signer(golden::PAYER_KEY)));
    let one = pay_by(&owned(), &offer_of(MOST), &Extensions::default()).await;
    let two = pay_by(&owned(), &offer_of(MOST), &Extensions::default()).await;
    market.verify(&one).await.unwrap();
    // Whether a contract's signature is false only the chain could tell, and of nothing it is not asked.
    let forged = changed(&one, golden::SECOND_KEY, |_| {}).await;
    market.settle(&charging(&forged, "0")).await.unwrap();
    assert!(matches!(market.settle(&forged).await, Err(SettleError::Rejected(_))));
    is_short(&market, &two).await;
    market.settle(&charging(&one, "0")).await.unwrap();
    market.verify(&two).await.unwrap();
}

#[tokio::test]
async fn a_payment_that_is_refused_when_it_is_settled_holds_nothing_and_one_that_is_not_sent_does() {
    let market = market(|_| {}).await;
    let (one, two) = (at_most(&market, MOST).await, at_most(&market, MOST).await);
    market.verify(&one).await.unwrap();
    market.book.is_full.store(true, Ordering::Relaxed);
    let not_sent = market.settle(&one).await;
    assert!(matches!(not_sent, Err(SettleError::NotSent(_))), "{not_sent:?}");
    market.book.is_full.store(false, Ordering::Relaxed);
    let too_much = market.settle(&charging(&one, "600001")).await;
    assert!(matches!(too_much, Err(SettleError::Rejected(_))), "{too_much:?}");
    is_short(&market, &two).await;
    market.devnet.set_allowance(usdc(), payer(), PERMIT2, U256::ZERO).unwrap();
    let refused = market.settle(&one).await;
    assert!(matches!(refused, Err(SettleError::Rejected(_))), "{refused:?}");
    market.devnet.set_allowance(usdc(), payer(), PERMIT2, U256::MAX).unwrap();
    market.verify(&two).await.unwrap();
}

#[tokio::test]
async fn a_payment_that_is_verified_again_is_held_for_once() {
    let market = market(|_| {}).await;
    let one = at_most(&market, MOST).await;
    for _ in 0..3 {
        market.verify(&one).await.unwrap();
    }
    market.verify(&at_most(&market, "400000").await).await.unwrap();
}

#[tokio::test]
async fn a_seller_who_never_settles_blocks_nothing_for_longer_than_the_offer_says() {
    let market = market(|_| {}).await;
    let mut offer = offer_of(MOST);
    offer["maxTimeoutSeconds"] = json!(60);
    let one = pay_by(&market.upto_wallet(), &offer, &Extensions::default()).await;
    // The payer's clock is ahead: it could still be settled, but nobody waits for it.
    let ahead = json!((market.devnet.now() + 110).to_string());
    let one = changed(&one, golden::PAYER_KEY, |it| it["deadline"] = ahead).await;
    market.verify(&one).await.unwrap();
    let two = at_most(&market, MOST).await;
    market.devnet.increase_time(50);
    is_short(&market, &two).await;
    market.devnet.increase_time(10);
    market.verify(&two).await.unwrap();
    is_short(&market, &one).await;
}

#[tokio::test]
async fn nothing_is_held_for_longer_than_an_hour() {
    let market = market(|_| {}).await;
    let mut offer = offer_of(MOST);
    offer["maxTimeoutSeconds"] = json!(1_000_000);
    let late = json!((market.devnet.now() + 1_000_000).to_string());
    let one = pay_by(&market.upto_wallet(), &offer, &Extensions::default()).await;
    let one = changed(&one, golden::PAYER_KEY, |it| it["deadline"] = late).await;
    market.verify(&one).await.unwrap();
    market.devnet.increase_time(3_500);
    let two = at_most(&market, MOST).await;
    is_short(&market, &two).await;
    market.devnet.increase_time(100);
    market.verify(&two).await.unwrap();
}

#[tokio::test]
async fn nothing_is_held_for_a_payment_that_has_expired() {
    let market = market(|_| {}).await;
    let soon = json!((market.devnet.now() + 30).to_string());
    let one = changed(&at_most(&market, MOST).await, golden::PAYER_KEY, |it| it["deadline"] = soon).await;
    market.verify(&one).await.unwrap();
    let two = at_most(&market, MOST).await;
    is_short(&market, &two).await;
    market.devnet.increase_time(31);
    market.verify(&two).await.unwrap();
}

#[tokio::test]
async fn what_is_allowed_counts_like_what_is_there() {
    let market = market(|_| {}).await;
    market.devnet.give_usdc(payer(), U256::from(10_000_000)).unwrap();
    market.devnet.set_allowance(usdc(), payer(), PERMIT2, U256::from(1_000_000)).unwrap();
    let (one, two) = (at_most(&market, MOST).await, at_most(&market, MOST).await);
    market.verify(&one).await.unwrap();
    is_short(&market, &two).await;
    market.settle(&charging(&one, "400000")).await.unwrap();
    market.verify(&two).await.unwrap();
}

#[tokio::test]
async fn an_exact_payment_is_verified_beside_what_is_held_and_settled_whatever_is_held() {
    let market = market(|_| {}).await;
    let (metered, exact) = (at_most(&market, MOST).await, exactly(&market, MOST).await);
    market.verify(&exact).await.unwrap();
    market.verify(&metered).await.unwrap();
    is_short(&market, &exact).await;
    market.verify(&exactly(&market, "400000").await).await.unwrap();
    // Its work was done when nothing was held yet.
    market.settle(&exact).await.unwrap();
    assert_eq!(market.settle(&charging(&metered, "400000")).await.unwrap().amount.to_string(), "400000");
}

#[tokio::test]
async fn a_payment_that_would_not_settle_holds_nothing() {
    let market = market(|_| {}).await;
    let one = at_most(&market, MOST).await;
    market.refused(&changed(&one, golden::SECOND_KEY, |_| {}).await, Reason::InvalidPermit2Signature).await;
    market.refused(&at_most(&market, "1000001").await, Reason::Permit2InsufficientBalance).await;
    market.devnet.set_code(X402_UPTO_PERMIT2_PROXY, Bytes::new()).unwrap();
    market.refused(&at_most(&market, MOST).await, Reason::Permit2ProxyNotDeployed).await;
    // Something that is held would stand in the way of all of it.
    market.verify(&exactly(&market, "1000000").await).await.unwrap();
}

#[tokio::test]
async fn of_many_at_once_no_more_are_good_than_the_balance_covers() {
    let market = market(|_| {}).await;
    let requests = join_all((0..60).map(|_| at_most(&market, "50000"))).await;
    let verified = join_all(requests.iter().map(|request| market.verify(request))).await;
    assert_eq!(verified.iter().filter(|verified| verified.is_ok()).count(), 20);
    for refused in verified.into_iter().filter_map(Result::err) {
        let VerifyError::Invalid(refusal) = refused else { panic!("{refused}") };
        assert_eq!(refusal.reason, Reason::Permit2InsufficientBalance, "{}", refusal.message);
    }
}

#[tokio::test]
async fn what_is_approved_along_with_a_payment_counts_as_allowed() {
    let market = market(|config| config.sponsor.approvals = true).await;
    let asset = DevToken::PLAIN.address;
    let of = |scheme: &str, amount: &str| {
        let mut offer = offer_of(amount);
        offer["scheme"] = json!(scheme);
        offer["asset"] = json!(asset.to_string());
        offer
    };
    let offered = advertised(approval::EXTENSION);
    let approving = pay_by(&market.wallet(golden::PAYER_KEY), &of("exact", "400000"), &offered).await;
    let mut requests = Vec::new();
    for _ in 0..3 {
        let mut request = pay_by(&market.upto_wallet(), &of("upto", "400000"), &Extensions::default()).await;
        request["paymentPayload"]["extensions"] = approving["paymentPayload"]["extensions"].clone();
        requests.push(request);
    }
    market.verify(&requests[0]).await.unwrap();
    market.verify(&requests[1]).await.unwrap();
    is_short(&market, &requests[2]).await;
}

#[tokio::test]
async fn a_settlement_of_which_nobody_knows_yet_what_became_goes_on_holding() {
    let soon = |config: &mut ChainConfig| config.confirm.timeout_milliseconds = 100;
    let market = market_with(Mining::Manual, &[RELAYER_KEY], soon).await;
    let (one, two) = (at_most(&market, MOST).await, at_most(&market, MOST).await);
    market.verify(&one).await.unwrap();
    let unknown = market.settle(&charging(&one, "1")).await;
    assert!(matches!(unknown, Err(SettleError::Unknown(_))), "{unknown:?}");
    is_short(&market, &two).await;
    market.devnet.mine(1).unwrap();
    is_short(&market, &two).await;
    assert!(matches!(market.outcome(&charging(&one, "1")).await, Outcome::Settled(_)));
    market.verify(&two).await.unwrap();
}
