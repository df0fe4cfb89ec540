//! Tokens with ways of their own: what arrives is what was priced, or the answer says why not.

use alloy_sol_types::{SolCall, sol};
use farthing_core::reason::Reason;
use farthing_core::scheme::{Outcome, SettleError};
use farthing_core::wire::Extensions;
use farthing_devnet::{DevToken, Fault, Mining, Times, contracts};
use farthing_evm::signature::WireSignature;
use farthing_evm::transfer::eip3009::{Authorization, domain_separator};
use farthing_evm::transfer::permit2::PERMIT2;
use farthing_evm::transfer::{approval, eip2612};
use farthing_evm::{Bytes, U256};
use farthing_testkit::golden;
use serde_json::{Value, json};

use crate::live::{STRANGER_KEY, send_as};
use crate::market::*;
use crate::support::{RELAYER_KEY, pay_to, payer, signer};

sol! {
    function blacklist(address account) external;
    function unBlacklist(address account) external;
}

/// Who owns the development tokens.
const OWNER_KEY: &str = RELAYER_KEY;
/// Code that answers true to every call and does nothing.
const AGREES_TO_ALL: Bytes = Bytes::from_static(&[0x60, 0x01, 0x60, 0x00, 0x52, 0x60, 0x20, 0x60, 0x00, 0xf3]);

/// An offer of that token by EIP-3009.
fn by_token(token: DevToken) -> Value {
    let mut offer = offer_in(token.address);
    offer["extra"] = json!({"name": token.name, "version": DevToken::DOMAIN_VERSION});
    offer
}

/// An offer of at most so much of that token.
fn at_most(token: DevToken) -> Value {
    let mut offer = upto_offer();
    offer["asset"] = json!(token.address.to_string());
    offer
}

/// Every way in which the token can be asked for.
fn ways(token: DevToken) -> Vec<Value> {
    let mut ways = vec![offer_in(token.address), at_most(token)];
    if BY_AUTHORIZATION.contains(&token) {
        ways.push(by_token(token));
    }
    ways
}

async fn pay(market: &Market, offer: &Value) -> Value {
    if offer["scheme"] == "upto" {
        return pay_by(&market.upto_wallet(), offer, &Extensions::default()).await;
    }
    pay_by(&market.wallet(golden::PAYER_KEY), offer, &Extensions::default()).await
}

/// What payer and payee hold of a token.
fn purses(market: &Market, token: DevToken) -> [U256; 2] {
    [payer(), pay_to()].map(|holder| market.devnet.token_balance(token.address, holder).unwrap())
}

fn approve(market: &Market, token: DevToken) {
    market.devnet.set_allowance(token.address, payer(), PERMIT2, U256::MAX).unwrap();
}

/// Why a payment of that token in that way would move nothing.
fn simulation_of(offer: &Value) -> Reason {
    if offer["extra"]["name"].is_null() {
        Reason::Permit2SimulationFailed
    } else {
        Reason::InvalidExactEvmTransactionSimulationFailed
    }
}

async fn rejected(market: &Market, request: &Value) -> Reason {
    match market.settle(request).await {
        Err(SettleError::Rejected(refusal)) => refusal.reason,
        other => panic!("expected a rejection, got {other:?}"),
    }
}

#[tokio::test]
async fn what_arrives_is_what_was_priced_or_nothing_moves() {
    let market = market(|_| {}).await;
    for token in DevToken::ALL {
        approve(&market, token);
        for offer in ways(token) {
            let request = pay(&market, &offer).await;
            let before = purses(&market, token);
            if token == DevToken::FEE_ON_TRANSFER {
                let message = market.refused(&request, simulation_of(&offer)).await;
                assert!(message.contains("expected 10000") && message.contains("got 9900"), "{message}");
                assert_eq!(rejected(&market, &request).await, simulation_of(&offer));
                assert_eq!(purses(&market, token), before);
                continue;
            }
            market.verify(&request).await.unwrap();
            let settlement = market.settle(&request).await.unwrap();
            assert_eq!(settlement.amount.to_string(), "10000", "{}", token.symbol);
            let price = U256::from(10_000);
            assert_eq!(purses(&market, token), [before[0] - price, before[1] + price], "{} {offer}", token.symbol);
            assert_eq!(market.outcome(&request).await, Outcome::Settled(settlement));
        }
    }
}

#[tokio::test]
async fn what_was_used_of_a_ceiling_arrives_whole_or_not_at_all() {
    let market = market(|_| {}).await;
    for token in DevToken::ALL {
        approve(&market, token);
        let mut request = pay(&market, &at_most(token)).await;
        request["paymentRequirements"]["amount"] = json!("2500");
        let before = purses(&market, token);
        if token == DevToken::FEE_ON_TRANSFER {
            assert_eq!(rejected(&market, &request).await, Reason::Permit2SimulationFailed);
            assert_eq!(purses(&market, token), before);
            continue;
        }
        market.settle(&request).await.unwrap();
        let used = U256::from(2_500);
        assert_eq!(purses(&market, token), [before[0] - used, before[1] + used], "{}", token.symbol);
    }
}

/// The fee of a token shows only once its transfer can be simulated: after a payer's own approval was mined.
#[tokio::test]
async fn what_arrives_by_a_sponsored_approval_is_what_was_priced() {
    let market = market(|config| config.sponsor.approvals = true).await;
    for token in DevToken::ALL {
        let knows_permits = ![DevToken::PLAIN, DevToken::RETURNS_NOTHING].contains(&token);
        for extension in [eip2612::EXTENSION, approval::EXTENSION] {
            if extension == eip2612::EXTENSION && !knows_permits {
                continue;
            }
            market.devnet.set_allowance(token.address, payer(), PERMIT2, U256::ZERO).unwrap();
            let wallet = market.wallet(golden::PAYER_KEY);
            let request = pay_by(&wallet, &offer_in(token.address), &advertised(extension)).await;
            assert!(!request["paymentPayload"]["extensions"][extension]["info"].is_null(), "{} {extension}", token.symbol);
            let (before, sent) = (purses(&market, token), market.book.sent().len());
            if token == DevToken::FEE_ON_TRANSFER {
                assert_eq!(rejected(&market, &request).await, Reason::Permit2SimulationFailed);
                assert_eq!((purses(&market, token), market.book.sent().len()), (before, sent));
                continue;
            }
            market.settle(&request).await.unwrap();
            let price = U256::from(10_000);
            assert_eq!(purses(&market, token), [before[0] - price, before[1] + price], "{} {extension}", token.symbol);
        }
    }
}

#[tokio::test]
async fn amounts_of_eighteen_decimals_are_exact_beyond_64_bits() {
    let market = market(|_| {}).await;
    // A hundred of them and one atomic unit.
    let amount = U256::from(100) * U256::from(10).pow(U256::from(18)) + U256::ONE;
    for token in [DevToken::PLAIN, DevToken::BLACKLIST] {
        approve(&market, token);
        market.devnet.give_tokens(token.address, payer(), amount * U256::from(3)).unwrap();
        for mut offer in ways(token) {
            offer["amount"] = json!(amount.to_string());
            let (request, before) = (pay(&market, &offer).await, purses(&market, token));
            let settlement = market.settle(&request).await.unwrap();
            assert_eq!(settlement.amount.units(), amount);
            assert_eq!(purses(&market, token), [before[0] - amount, before[1] + amount]);
        }
    }
}

/// A transfer that cannot be done answers false, nothing at all, or reverts: none of them is taken for a payment.
#[tokio::test]
async fn a_transfer_that_fails_in_its_block_is_told_whatever_the_token_answers() {
    let market = market_with(Mining::Manual, &[RELAYER_KEY], |_| {}).await;
    let relayer = signer(RELAYER_KEY).address();
    for token in DevToken::ALL {
        if token == DevToken::FEE_ON_TRANSFER {
            continue;
        }
        for (offer, reason) in [
            (offer_in(token.address), Reason::InvalidExactEvmTransactionFailed),
            (at_most(token), Reason::InvalidUptoEvmTransactionFailed),
        ] {
            approve(&market, token);
            let (request, before) = (pay(&market, &offer).await, purses(&market, token));
            let spoil = async {
                market.until_pending(relayer).await;
                market.devnet.set_allowance(token.address, payer(), PERMIT2, U256::ZERO).unwrap();
                market.devnet.mine(1).unwrap();
            };
            let (told, ()) = tokio::join!(rejected(&market, &request), spoil);
            assert_eq!(told, reason, "{}", token.symbol);
            assert_eq!(purses(&market, token), before, "{}", token.symbol);
        }
    }
}

#[tokio::test]
async fn a_token_that_answers_false_has_its_reason() {
    let market = market(|_| {}).await;
    let token = DevToken::RETURNS_FALSE;
    let mut offer = offer_in(token.address);
    offer["amount"] = json!("1000001");
    let poor = pay(&market, &offer).await;
    market.refused(&poor, Reason::Permit2InsufficientBalance).await;
    let request = pay(&market, &offer_in(token.address)).await;
    market.refused(&request, Reason::Permit2AllowanceRequired).await;
    approve(&market, token);
    market.settle(&request).await.unwrap();
}

/// Ours is mined after a stranger's, succeeds and moves nothing: the payment is settled once, by theirs.
#[tokio::test]
async fn a_used_nonce_that_does_not_revert_is_not_taken_for_a_second_payment() {
    let market = market_with(Mining::Manual, &[RELAYER_KEY], |config| config.confirm.rebroadcast_milliseconds = 50).await;
    let token = DevToken::SILENT_REPLAY;
    let request = pay(&market, &by_token(token)).await;
    let before = purses(&market, token);
    market.devnet.faults().inject("eth_sendRawTransaction", Fault::LoseTransaction, Times::Exactly(1));
    let theirs = async {
        while market.book.sent().is_empty() {
            tokio::task::yield_now().await;
        }
        // Ours was lost on its way, and comes again behind theirs.
        let theirs = send_as(&market.devnet, STRANGER_KEY, token.address, carried_out(&request)).await;
        market.devnet.mine(1).unwrap();
        market.until_pending(signer(RELAYER_KEY).address()).await;
        market.devnet.mine(1).unwrap();
        theirs
    };
    let (settled, theirs) = tokio::join!(market.settle(&request), theirs);
    let settlement = settled.unwrap();
    assert_eq!(settlement.transaction.0, theirs.to_string(), "theirs moved the money, and ours nothing");
    let price = U256::from(10_000);
    assert_eq!(purses(&market, token), [before[0] - price, before[1] + price]);
    market.refused(&request, Reason::InvalidExactEvmNonceAlreadyUsed).await;
}

/// The payer's own word for somebody else, under the same nonce.
#[tokio::test]
async fn a_used_nonce_that_does_not_revert_is_not_taken_for_somebody_elses_payment() {
    let market = market_with(Mining::Manual, &[RELAYER_KEY], |config| config.confirm.rebroadcast_milliseconds = 50).await;
    let token = DevToken::SILENT_REPLAY;
    let request = pay(&market, &by_token(token)).await;
    let mut to_another = request.clone();
    let payload = &mut to_another["paymentPayload"]["payload"];
    payload["authorization"]["to"] = json!(golden::SECOND);
    let authorization: Authorization = serde_json::from_value(payload["authorization"].clone()).unwrap();
    let domain = domain_separator(token.name, DevToken::DOMAIN_VERSION, golden::CHAIN_ID, token.address);
    let signature = signer(golden::PAYER_KEY).sign_hash(authorization.digest(domain)).await.unwrap();
    payload["signature"] = serde_json::to_value(WireSignature::from(signature)).unwrap();
    market.devnet.faults().inject("eth_sendRawTransaction", Fault::LoseTransaction, Times::Exactly(1));
    let theirs = async {
        while market.book.sent().is_empty() {
            tokio::task::yield_now().await;
        }
        send_as(&market.devnet, STRANGER_KEY, token.address, carried_out(&to_another)).await;
        market.devnet.mine(1).unwrap();
        market.until_pending(signer(RELAYER_KEY).address()).await;
        market.devnet.mine(1).unwrap();
    };
    let (told, ()) = tokio::join!(rejected(&market, &request), theirs);
    assert_eq!(told, Reason::InvalidExactEvmTransferEventMismatch);
    assert_eq!(purses(&market, token)[1], U256::ZERO);
}

/// The call that carries a payment by EIP-3009 out.
fn carried_out(request: &Value) -> Vec<u8> {
    let payload = &request["paymentPayload"]["payload"];
    let authorization: Authorization = serde_json::from_value(payload["authorization"].clone()).unwrap();
    let signature: WireSignature = serde_json::from_value(payload["signature"].clone()).unwrap();
    authorization.calldata(&signature.strict().unwrap())
}

#[tokio::test]
async fn whom_the_token_excludes_neither_pays_nor_is_paid() {
    let market = market_with(Mining::Instant, &[golden::SECOND_KEY], |_| {}).await;
    let token = DevToken::BLACKLIST;
    approve(&market, token);
    let mut metered = at_most(token);
    metered["extra"]["facilitatorAddress"] = json!(golden::SECOND);
    for offer in [by_token(token), offer_in(token.address), metered] {
        let reason = simulation_of(&offer);
        let request = pay(&market, &offer).await;
        let mut excluded = vec![payer(), pay_to()];
        if reason == Reason::Permit2SimulationFailed {
            excluded.push(PERMIT2);
        }
        for account in excluded {
            let before = purses(&market, token);
            market.verify(&request).await.unwrap();
            send_as(&market.devnet, OWNER_KEY, token.address, blacklistCall { account }.abi_encode()).await;
            market.refused(&request, reason.clone()).await;
            // Verified before, and excluded since: settling looks again.
            assert_eq!(rejected(&market, &request).await, reason);
            assert_eq!(purses(&market, token), before);
            send_as(&market.devnet, OWNER_KEY, token.address, unBlacklistCall { account }.abi_encode()).await;
        }
        market.settle(&request).await.unwrap();
    }
    assert_eq!(market.book.sent().len(), 3, "no gas was burnt for what was refused");
}

/// Its contract was replaced while the payments were on their way: it agrees to everything and moves nothing.
#[tokio::test]
async fn a_token_that_takes_a_payment_and_moves_nothing_is_never_a_success() {
    let market = market_with(Mining::Manual, &[RELAYER_KEY], |_| {}).await;
    let relayer = signer(RELAYER_KEY).address();
    let token = DevToken::BLACKLIST;
    let honest = contracts(golden::CHAIN_ID).unwrap().into_iter().find(|it| it.address == token.address).unwrap().code;
    approve(&market, token);
    for offer in ways(token) {
        let (request, before) = (pay(&market, &offer).await, purses(&market, token));
        let spoil = async {
            market.until_pending(relayer).await;
            market.devnet.set_code(token.address, AGREES_TO_ALL).unwrap();
            market.devnet.mine(1).unwrap();
        };
        let (settled, ()) = tokio::join!(market.settle(&request), spoil);
        match settled {
            Err(SettleError::Rejected(refusal)) => {
                assert_eq!(refusal.reason, Reason::InvalidExactEvmTransferEventMismatch, "{}", refusal.message);
            }
            // The token says that the authorization was used, and nobody knows for what.
            Err(SettleError::Unknown(_)) if offer == by_token(token) => {}
            other => panic!("{offer}: {other:?}"),
        }
        market.devnet.set_code(token.address, honest.clone()).unwrap();
        assert_eq!(purses(&market, token), before);
    }
}

/// The payee collects the token's fee, too, and so has the whole price, in two transfers. Which of several transfers belong
/// to a payment nothing on chain tells: if they were added up, a payment of one unit could claim what another one moved.
#[tokio::test]
async fn a_price_that_arrives_in_two_transfers_is_told_and_is_no_success() {
    let market = market_with(Mining::Instant, &[golden::SECOND_KEY], |_| {}).await;
    let token = DevToken::FEE_ON_TRANSFER;
    approve(&market, token);
    for mut offer in [by_token(token), offer_in(token.address)] {
        offer["payTo"] = json!(signer(OWNER_KEY).address().to_string());
        let request = pay(&market, &offer).await;
        assert_eq!(rejected(&market, &request).await, Reason::InvalidExactEvmTransferEventMismatch);
        assert!(market.settle(&request).await.is_err(), "nor the second time");
    }
    assert_eq!(market.book.sent().len(), 2);
}
