//! `exact` by Permit2: what is refused and why, what settles, and what becomes of it.

use std::sync::Arc;

use alloy_sol_types::{SolCall, SolError, sol};
use farthing_core::erased::AnyFacilitatorScheme;
use farthing_core::reason::Reason;
use farthing_core::scheme::{Outcome, SettleError, VerifyError};
use farthing_core::wire::Extensions;
use farthing_devnet::{DevToken, Fault, Mining, Times, X402_EXACT_PERMIT2_PROXY};
use farthing_evm::abi::{ExactProxy, MULTICALL3, Multicall3, Permit2};
use farthing_evm::transfer::permit2::PERMIT2;
use farthing_evm::{Bytes, U256};
use farthing_testkit::golden;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::live::{STRANGER_KEY, live, send_as};
use crate::market::*;
use crate::support::{RELAYER_KEY, Right, pay_to, payer, usdc};

sol! {
    function invalidateUnorderedNonces(uint256 wordPos, uint256 mask);
}

#[tokio::test]
async fn a_payment_settles_and_its_outcome_can_be_asked_for() {
    let market = market(|_| {}).await;
    let request = market.cent().await;
    market.verify(&request).await.unwrap();
    let settlement = market.settle(&request).await.unwrap();
    assert_eq!((market.received(), settlement.amount.to_string().as_str()), (U256::from(10_000), "10000"));
    assert_eq!(market.outcome(&request).await, Outcome::Settled(settlement));
    assert!(market.entry(&request).await.unwrap().record.reference.starts_with("permit2:"));
    market.refused(&request, Reason::Permit2InvalidNonce).await;
}

#[tokio::test]
async fn what_is_wrong_is_refused_with_its_reason() {
    let market = market(|_| {}).await;
    let good = market.cent().await;
    let now = market.devnet.now();
    let cases: [(&str, Value, Reason); 9] = [
        ("/spender", json!(golden::SECOND), Reason::InvalidPermit2Spender),
        ("/witness/to", json!(golden::SECOND), Reason::InvalidPermit2RecipientMismatch),
        ("/deadline", json!((now + 5).to_string()), Reason::Permit2DeadlineExpired),
        ("/deadline", json!((now + 365 * 86_400).to_string()), Reason::Permit2DeadlineExpired),
        ("/deadline", json!(U256::MAX.to_string()), Reason::Permit2DeadlineExpired),
        ("/witness/validAfter", json!((now + 60).to_string()), Reason::Permit2NotYetValid),
        ("/permitted/amount", json!("9999"), Reason::Permit2AmountMismatch),
        ("/permitted/amount", json!("10001"), Reason::Permit2AmountMismatch),
        ("/permitted/token", json!(golden::SECOND), Reason::Permit2TokenMismatch),
    ];
    for (field, value, reason) in cases {
        let request = changed(&good, golden::PAYER_KEY, |it| *it.pointer_mut(field).unwrap() = value).await;
        market.refused(&request, reason).await;
    }
    let by_another = changed(&good, golden::SECOND_KEY, |_| {}).await;
    market.refused(&by_another, Reason::InvalidPermit2Signature).await;
    let mut unreadable = good.clone();
    unreadable["paymentPayload"]["payload"]["signature"] = json!("zz");
    market.refused(&unreadable, Reason::InvalidPermit2Signature).await;
    for field in ["/paymentPayload/accepted/scheme", "/paymentRequirements/scheme"] {
        let mut request = good.clone();
        *request.pointer_mut(field).unwrap() = json!("upto");
        market.refused(&request, Reason::UnsupportedPayloadType).await;
    }
    let mut elsewhere = good.clone();
    elsewhere["paymentPayload"]["accepted"]["network"] = json!("eip155:8453");
    market.refused(&elsewhere, Reason::InvalidExactEvmNetworkMismatch).await;
    let mut by_token = good;
    by_token["paymentRequirements"]["extra"] = json!({});
    market.refused(&by_token, Reason::UnsupportedPayloadType).await;
}

#[tokio::test]
async fn what_the_chain_lacks_is_said() {
    let market = market(|_| {}).await;
    let request = market.cent().await;
    market.devnet.set_allowance(usdc(), payer(), PERMIT2, U256::from(9_999)).unwrap();
    let message = market.refused(&request, Reason::Permit2AllowanceRequired).await;
    assert!(message.contains("9999") && message.contains(&PERMIT2.to_string()), "{message}");
    market.devnet.set_allowance(usdc(), payer(), PERMIT2, U256::from(10_000)).unwrap();
    market.verify(&request).await.unwrap();
    let mut expensive = offer_in(usdc());
    expensive["amount"] = json!("1000001");
    let too_much = pay_by(&market.wallet(golden::PAYER_KEY), &expensive, &Extensions::default()).await;
    market.refused(&too_much, Reason::Permit2InsufficientBalance).await;
    let proxy = market.devnet.snapshot();
    market.devnet.set_code(X402_EXACT_PERMIT2_PROXY, Bytes::new()).unwrap();
    market.refused(&request, Reason::Permit2ProxyNotDeployed).await;
    market.devnet.revert(proxy).unwrap();
    market.devnet.set_code(usdc(), Bytes::new()).unwrap();
    market.refused(&request, Reason::AssetNotDeployedContract).await;
}

#[tokio::test]
async fn errors_of_the_contracts_are_told_by_their_reasons() {
    let market = market(|_| {}).await;
    let request = market.cent().await;
    let cases = [
        (ExactProxy::InvalidAmount::SELECTOR, Reason::Permit2InvalidAmount),
        (ExactProxy::InvalidDestination::SELECTOR, Reason::Permit2InvalidDestination),
        (ExactProxy::InvalidOwner::SELECTOR, Reason::Permit2InvalidOwner),
        (ExactProxy::PaymentTooEarly::SELECTOR, Reason::Permit2PaymentTooEarly),
        (ExactProxy::Permit2612AmountMismatch::SELECTOR, Reason::Permit22612AmountMismatch),
        (Permit2::InvalidNonce::SELECTOR, Reason::Permit2InvalidNonce),
        (Permit2::InvalidSigner::SELECTOR, Reason::InvalidPermit2Signature),
        ([1, 2, 3, 4], Reason::Permit2SimulationFailed),
    ];
    for (selector, reason) in cases {
        market.devnet.set_code(X402_EXACT_PERMIT2_PROXY, failing_proxy(selector)).unwrap();
        market.refused(&request, reason).await;
    }
}

#[tokio::test]
async fn a_token_that_keeps_a_fee_settles_nothing_exactly() {
    let market = market(|_| {}).await;
    for (token, is_good) in [(DevToken::PLAIN, true), (DevToken::RETURNS_NOTHING, true), (DevToken::FEE_ON_TRANSFER, false)] {
        market.devnet.set_allowance(token.address, payer(), PERMIT2, U256::MAX).unwrap();
        let wallet = market.wallet(golden::PAYER_KEY);
        let request = pay_by(&wallet, &offer_in(token.address), &Extensions::default()).await;
        if is_good {
            market.settle(&request).await.unwrap();
            assert_eq!(market.devnet.token_balance(token.address, pay_to()).unwrap(), U256::from(10_000));
        } else {
            let message = market.refused(&request, Reason::Permit2SimulationFailed).await;
            assert!(message.contains("9900"), "{message}");
        }
    }
}

#[tokio::test]
async fn payments_that_look_alike_never_share_a_transaction() {
    let market = market_with(Mining::Manual, &[RELAYER_KEY], |_| {}).await;
    let alike = join_all((0..3).map(|_| market.cent())).await;
    let others = join_all((1..=3).map(|number| {
        let mut offer = offer_in(usdc());
        offer["amount"] = json!((10_000 + number).to_string());
        let wallet = market.wallet(golden::PAYER_KEY);
        async move { pay_by(&wallet, &offer, &Extensions::default()).await }
    }))
    .await;
    // While the first is on its way, the rest gathers.
    let all: Vec<&Value> = alike.iter().chain(&others).collect();
    let settled = async { join_all(all.iter().map(|request| market.settle(request))).await };
    let mine = async {
        loop {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            market.devnet.mine(1).unwrap();
        }
    };
    let settled = tokio::select! { settled = settled => settled, () = mine => unreachable!("it mines for ever") };
    let mut transactions: Vec<String> = settled.into_iter().map(|it| it.unwrap().transaction.0).take(3).collect();
    assert_eq!(market.received(), U256::from(60_006));
    transactions.dedup();
    assert_eq!(transactions.len(), 3, "each of those that look alike has a transaction of its own");
}

#[tokio::test]
async fn a_payment_that_somebody_else_carried_out_is_settled_by_their_transaction() {
    let market = market_with(Mining::Manual, &[RELAYER_KEY], |_| {}).await;
    let request = market.cent().await;
    market.verify(&request).await.unwrap();
    let call = calldata(&request);
    let stranger = market.devnet.accounts()[3].address;
    let hash = send_as(&market.devnet, STRANGER_KEY, X402_EXACT_PERMIT2_PROXY, call).await;
    market.devnet.mine(1).unwrap();
    let refusal = market.refusal(&request).await;
    assert_eq!(refusal.reason, Reason::Permit2InvalidNonce);
    let record = market.read(&request).record;
    let found = AnyFacilitatorScheme::moved_already(&market.exact, &record, &refusal).await.unwrap().unwrap();
    assert_eq!(found.settlement.transaction.0, hash.to_string());
    assert_eq!(market.received(), U256::from(10_000));
    assert_ne!(stranger, payer());
}

#[tokio::test]
async fn a_payment_that_its_payer_made_void_has_failed() {
    let market = market_with(Mining::Manual, &[RELAYER_KEY], |config| config.confirm.timeout_milliseconds = 100).await;
    let request = market.cent().await;
    market.devnet.faults().inject("eth_sendRawTransaction", Fault::LoseTransaction, Times::Exactly(1));
    let nonce: U256 = request["paymentPayload"]["payload"]["permit2Authorization"]["nonce"].as_str().unwrap().parse().unwrap();
    let unknown = market.settle(&request).await;
    assert!(matches!(unknown, Err(SettleError::Unknown(_))), "{unknown:?}");
    // Ours was lost on its way, and the payer is faster than its next broadcast.
    let call = invalidateUnorderedNoncesCall { wordPos: nonce >> 8, mask: U256::ONE << (nonce & U256::from(255)) };
    send_as(&market.devnet, golden::PAYER_KEY, PERMIT2, call.abi_encode()).await;
    market.devnet.mine(1).unwrap();
    let outcome = market.outcome(&request).await;
    assert!(matches!(&outcome, Outcome::Failed(refusal) if refusal.reason == Reason::Permit2InvalidNonce), "{outcome:?}");
    assert_eq!(market.received(), U256::ZERO);
}

#[tokio::test]
async fn an_expired_payment_has_failed_when_the_chain_says_so() {
    let market = market_with(Mining::Manual, &[RELAYER_KEY], |config| config.confirm.timeout_milliseconds = 100).await;
    let request = market.cent().await;
    market.devnet.faults().inject("eth_sendRawTransaction", Fault::LoseTransaction, Times::UntilCleared);
    assert!(matches!(market.settle(&request).await, Err(SettleError::Unknown(_))));
    market.devnet.mine(1).unwrap();
    assert_eq!(market.outcome(&request).await, Outcome::Unknown);
    market.devnet.increase_time(1_000);
    market.devnet.mine(1).unwrap();
    let outcome = market.outcome(&request).await;
    assert!(matches!(&outcome, Outcome::Failed(refusal) if refusal.reason == Reason::Permit2DeadlineExpired), "{outcome:?}");
}

#[tokio::test]
async fn a_balance_pays_once_by_whichever_method() {
    let market = market(|_| {}).await;
    let wallet = market.wallet(golden::PAYER_KEY);
    let mut offers = [offer_in(usdc()), crate::support::offer()];
    for offer in &mut offers {
        offer["amount"] = json!("600000");
    }
    let one = pay_by(&wallet, &offers[0], &Extensions::default()).await;
    let two = pay_by(&wallet, &offers[1], &Extensions::default()).await;
    let (one, two) = tokio::join!(market.settle(&one), market.settle(&two));
    assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
    assert_eq!(market.book.sent().len(), 1, "no gas was burnt for the other");
}

#[tokio::test]
async fn a_payment_that_failed_beside_others_is_sent_alone() {
    let market = market(|_| {}).await;
    let request = market.cent().await;
    let alone = Right { alone: true, ..Right::new() };
    let settled = AnyFacilitatorScheme::settle(&market.exact, &market.read(&request), Arc::new(alone)).await;
    assert_eq!(settled.unwrap().amount.to_string(), "10000");
}

#[tokio::test]
async fn a_payment_that_reverts_when_it_is_mined_is_told_with_the_reason() {
    let market = market_with(Mining::Manual, &[RELAYER_KEY], |_| {}).await;
    let relayer = market.devnet.accounts()[9].address;
    let exact = market.cent().await;
    let upto = pay_by(&market.upto_wallet(), &upto_offer(), &Extensions::default()).await;
    let cases = [(exact, Reason::InvalidExactEvmTransactionFailed), (upto, Reason::InvalidUptoEvmTransactionFailed)];
    for (request, reason) in cases {
        market.devnet.set_allowance(usdc(), payer(), PERMIT2, U256::MAX).unwrap();
        let spoil = async {
            market.until_pending(relayer).await;
            market.devnet.set_allowance(usdc(), payer(), PERMIT2, U256::ZERO).unwrap();
            market.devnet.mine(1).unwrap();
        };
        let (settled, ()) = tokio::join!(market.settle(&request), spoil);
        let Err(SettleError::Rejected(refusal)) = settled else { panic!("{settled:?}") };
        assert_eq!(refusal.reason, reason, "{}", refusal.message);
        assert!(refusal.message.contains("TRANSFER_FROM_FAILED"), "{}", refusal.message);
    }
    assert_eq!(market.received(), U256::ZERO);
}

#[tokio::test]
async fn a_number_that_was_used_for_somebody_else_has_failed_once_the_payment_expired() {
    let market = market_with(Mining::Manual, &[RELAYER_KEY], |config| config.confirm.timeout_milliseconds = 100).await;
    let request = market.cent().await;
    market.devnet.faults().inject("eth_sendRawTransaction", Fault::LoseTransaction, Times::Exactly(1));
    assert!(matches!(market.settle(&request).await, Err(SettleError::Unknown(_))));
    let to_another = changed(&request, golden::PAYER_KEY, |it| it["witness"]["to"] = json!(golden::SECOND)).await;
    send_as(&market.devnet, STRANGER_KEY, X402_EXACT_PERMIT2_PROXY, calldata(&to_another)).await;
    market.devnet.mine(1).unwrap();
    assert_eq!(market.outcome(&request).await, Outcome::Unknown, "logs may come late");
    market.devnet.increase_time(1_000);
    market.devnet.mine(1).unwrap();
    let outcome = market.outcome(&request).await;
    assert!(matches!(&outcome, Outcome::Failed(refusal) if refusal.reason == Reason::Permit2InvalidNonce), "{outcome:?}");
}

#[tokio::test]
async fn a_payment_that_somebody_else_sent_among_others_is_found_there() {
    let market = market_with(Mining::Manual, &[RELAYER_KEY], |config| config.confirm.timeout_milliseconds = 100).await;
    let request = market.cent().await;
    let mut offer = offer_in(usdc());
    offer["amount"] = json!("777");
    let other = pay_by(&market.wallet(golden::PAYER_KEY), &offer, &Extensions::default()).await;
    market.devnet.faults().inject("eth_sendRawTransaction", Fault::LoseTransaction, Times::Exactly(1));
    assert!(matches!(market.settle(&request).await, Err(SettleError::Unknown(_))));
    let calls = [&other, &request].map(|request| Multicall3::Call3 {
        target: X402_EXACT_PERMIT2_PROXY,
        allowFailure: true,
        callData: calldata(request).into(),
    });
    let together = Multicall3::aggregate3Call { calls: calls.to_vec() }.abi_encode();
    let hash = send_as(&market.devnet, STRANGER_KEY, MULTICALL3, together).await;
    market.devnet.mine(1).unwrap();
    let outcome = market.outcome(&request).await;
    assert!(matches!(&outcome, Outcome::Settled(it) if it.transaction.0 == hash.to_string()), "{outcome:?}");
    assert_eq!(market.received(), U256::from(10_777));
}

#[tokio::test]
async fn a_transaction_of_ours_that_did_something_else_has_failed_while_the_number_is_unused() {
    let market = market_with(Mining::Manual, &[RELAYER_KEY], |config| config.confirm.timeout_milliseconds = 100).await;
    let request = market.cent().await;
    market.devnet.faults().inject("eth_sendRawTransaction", Fault::LoseTransaction, Times::Exactly(1));
    assert!(matches!(market.settle(&request).await, Err(SettleError::Unknown(_))));
    let mut entry = market.entry(&request).await.unwrap();
    // Such as one that only used up a number, in the place of one that had expired.
    let hash = send_as(&market.devnet, STRANGER_KEY, market.devnet.accounts()[3].address, Vec::new()).await;
    market.devnet.mine(1).unwrap();
    entry.transaction.0 = hash.to_string();
    let outcome = AnyFacilitatorScheme::outcome(&market.exact, &entry).await.unwrap();
    let expected = Reason::InvalidExactEvmTransactionFailed;
    assert!(matches!(&outcome, Outcome::Failed(refusal) if refusal.reason == expected), "{outcome:?}");
}

#[tokio::test]
async fn a_good_payment_costs_one_round_trip() {
    let live = live(|_| {}).await;
    live.devnet.set_allowance(usdc(), payer(), PERMIT2, U256::MAX).unwrap();
    for _ in 0..3 {
        let request = pay_by(&live.wallet, &offer_in(usdc()), &Extensions::default()).await;
        let before = live.node.round_trips();
        live.verify(&request).await.unwrap();
        assert_eq!(live.node.round_trips() - before, 1);
    }
}

#[tokio::test]
async fn a_node_that_assumes_no_code_tells_the_same() {
    let live = live(|_| {}).await;
    live.node.assumes_nothing();
    let request = pay_by(&live.wallet, &offer_in(usdc()), &Extensions::default()).await;
    for (allowance, reason) in [(0, Some(Reason::Permit2AllowanceRequired)), (10_000, None)] {
        live.devnet.set_allowance(usdc(), payer(), PERMIT2, U256::from(allowance)).unwrap();
        match (live.verify(&request).await, reason) {
            (Ok(_), None) => {}
            (Err(VerifyError::Invalid(refusal)), Some(reason)) => assert_eq!(refusal.reason, reason),
            (other, _) => panic!("{other:?}"),
        }
    }
}

/// The call that carries the request's payment out.
fn calldata(request: &Value) -> Vec<u8> {
    let payload = &request["paymentPayload"]["payload"];
    let authorization: farthing_evm::transfer::permit2::Authorization =
        serde_json::from_value(payload["permit2Authorization"].clone()).unwrap();
    let signature: Bytes = payload["signature"].as_str().unwrap().parse().unwrap();
    authorization.calldata(authorization.permitted.amount, &signature, None)
}
