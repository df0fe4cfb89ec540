//! Gas sponsoring: payers who never approved Permit2 and hold no coin of the network.

use farthing_core::books::{SettlementQuery, SettlementState, Settlements};
use farthing_core::erased::AnyFacilitatorScheme;
use farthing_core::reason::Reason;
use farthing_core::scheme::{Outcome, SettleError, TransactionId};
use farthing_core::wire::Extensions;
use farthing_devnet::{DevToken, Fault, Mining, Times};
use farthing_evm::transfer::permit2::PERMIT2;
use farthing_evm::transfer::{approval, eip2612};
use farthing_evm::{Address, B256, Bytes, U256};
use farthing_testkit::golden;
use serde_json::{Value, json};

use crate::market::*;
use crate::support::{RELAYER_KEY, pay_to, payer, usdc};

const PERMIT: &str = eip2612::EXTENSION;
const APPROVAL: &str = approval::EXTENSION;

async fn pay_in(market: &Market, asset: Address, offered: &Extensions) -> Value {
    market.devnet.set_allowance(asset, payer(), PERMIT2, U256::ZERO).unwrap();
    pay_by(&market.wallet(golden::PAYER_KEY), &offer_in(asset), offered).await
}

fn info<'a>(request: &'a mut Value, key: &str) -> &'a mut Value {
    &mut request["paymentPayload"]["extensions"][key]["info"]
}

#[tokio::test]
async fn a_permit_of_exactly_the_amount_goes_along() {
    let market = market(|_| {}).await;
    market.devnet.set_balance(payer(), U256::ZERO);
    for token in [usdc(), DevToken::PERMIT.address] {
        let mut request = pay_in(&market, token, &advertised(PERMIT)).await;
        assert_eq!(info(&mut request, PERMIT)["amount"], "10000");
        assert_eq!(info(&mut request, PERMIT)["description"], "gas is on us", "what the server said is echoed");
        market.verify(&request).await.unwrap();
        market.settle(&request).await.unwrap();
        assert_eq!(market.devnet.token_balance(token, pay_to()).unwrap(), U256::from(10_000));
        assert_eq!(market.devnet.allowance(token, payer(), PERMIT2).unwrap(), U256::ZERO, "nothing is left of it");
    }
}

#[tokio::test]
async fn nothing_is_signed_where_it_is_not_needed_or_not_offered() {
    let market = market(|_| {}).await;
    let wallet = market.wallet(golden::PAYER_KEY);
    let approved = pay_by(&wallet, &offer_in(usdc()), &advertised(PERMIT)).await;
    assert_eq!(approved["paymentPayload"]["extensions"], json!({}));
    let not_offered = pay_in(&market, usdc(), &Extensions::default()).await;
    assert_eq!(not_offered["paymentPayload"]["extensions"], json!({}));
    market.refused(&not_offered, Reason::Permit2AllowanceRequired).await;
    let without_permits = pay_in(&market, DevToken::PLAIN.address, &advertised(PERMIT)).await;
    assert_eq!(without_permits["paymentPayload"]["extensions"], json!({}), "the token knows none");
    let mut echoed = not_offered;
    echoed["paymentPayload"]["extensions"] = serde_json::to_value(advertised(PERMIT)).unwrap();
    market.refused(&echoed, Reason::Permit2AllowanceRequired).await;
}

#[tokio::test]
async fn permits_that_are_wrong_are_refused_with_their_reason() {
    let market = market(|_| {}).await;
    let good = pay_in(&market, usdc(), &advertised(PERMIT)).await;
    let now = market.devnet.now();
    let cases: [(&str, Value, Reason); 9] = [
        ("from", json!("me"), Reason::InvalidEip2612ExtensionFormat),
        ("amount", json!(10_000), Reason::InvalidEip2612ExtensionFormat),
        ("deadline", json!("soon"), Reason::InvalidEip2612ExtensionFormat),
        ("signature", json!("0x1234"), Reason::InvalidEip2612ExtensionFormat),
        ("from", json!(golden::SECOND), Reason::Eip2612FromMismatch),
        ("asset", json!(golden::SECOND), Reason::Eip2612AssetMismatch),
        ("spender", json!(golden::SECOND), Reason::Eip2612SpenderNotPermit2),
        ("deadline", json!((now + 5).to_string()), Reason::Eip2612DeadlineExpired),
        ("amount", json!("10001"), Reason::Permit22612AmountMismatch),
    ];
    for (field, value, reason) in cases {
        let mut request = good.clone();
        info(&mut request, PERMIT)[field] = value;
        market.refused(&request, reason).await;
    }
    let mut forged = good;
    info(&mut forged, PERMIT)["signature"] = json!(golden::eip2612::SIGNATURE);
    market.refused(&forged, Reason::Permit2AllowanceRequired).await;
}

#[tokio::test]
async fn an_operator_may_send_no_permits() {
    let market = market(|config| config.sponsor.permits = false).await;
    let request = pay_in(&market, usdc(), &advertised(PERMIT)).await;
    market.refused(&request, Reason::Permit2AllowanceRequired).await;
}

#[tokio::test]
async fn a_payers_own_approval_is_broadcast_before_the_payment() {
    let market = market(|config| config.sponsor.approvals = true).await;
    let token = DevToken::PLAIN.address;
    let request = pay_in(&market, token, &advertised(APPROVAL)).await;
    market.verify(&request).await.unwrap();
    assert_eq!(market.devnet.allowance(token, payer(), PERMIT2).unwrap(), U256::ZERO, "verifying sends nothing");
    market.settle(&request).await.unwrap();
    assert_eq!(market.devnet.token_balance(token, pay_to()).unwrap(), U256::from(10_000));
    let again = pay_by(&market.wallet(golden::PAYER_KEY), &offer_in(token), &advertised(APPROVAL)).await;
    assert_eq!(again["paymentPayload"]["extensions"], json!({}), "once is enough");
    market.settle(&again).await.unwrap();
}

#[tokio::test]
async fn an_approval_is_measured_by_the_next_block_and_not_by_what_gas_cost_a_moment_ago() {
    let market = market(|config| config.sponsor.approvals = true).await;
    market.settle(&market.cent().await).await.unwrap();
    // The base fee falls by an eighth with every empty block, while the relayer remembers what it was.
    market.devnet.mine(20).unwrap();
    let request = pay_in(&market, DevToken::PLAIN.address, &advertised(APPROVAL)).await;
    market.settle(&request).await.unwrap();
}

#[tokio::test]
async fn a_payer_without_coin_is_given_what_its_approval_costs_up_to_the_operators_cap() {
    let market = market(|config| {
        config.sponsor.approvals = true;
        config.sponsor.max_funding_gwei = 1_000_000;
    })
    .await;
    let token = DevToken::PLAIN.address;
    let request = pay_in(&market, token, &advertised(APPROVAL)).await;
    market.devnet.set_balance(payer(), U256::ZERO);
    market.verify(&request).await.unwrap();
    assert_eq!(market.devnet.balance(payer()), U256::ZERO, "verifying gives nothing");
    market.settle(&request).await.unwrap();
    assert_eq!(market.devnet.token_balance(token, pay_to()).unwrap(), U256::from(10_000));
    assert_eq!(market.book.sent().len(), 2, "the coin is in the book, too");
    let query = SettlementQuery { limit: 10, ..SettlementQuery::default() };
    let entries = market.book.memory.list(&query).await.unwrap();
    let given = entries.iter().find(|entry| entry.record.reference.starts_with("funding:")).unwrap();
    let outcome = AnyFacilitatorScheme::outcome(&market.exact, given).await.unwrap();
    assert!(matches!(&outcome, Outcome::Settled(it) if it.amount == given.record.amount), "{outcome:?}");
}

#[tokio::test]
async fn coin_is_not_taken_for_lost_because_the_transaction_that_replaced_its_own_never_landed() {
    let market = market(|config| {
        config.sponsor.approvals = true;
        config.sponsor.max_funding_gwei = 1_000_000;
    })
    .await;
    let request = pay_in(&market, DevToken::PLAIN.address, &advertised(APPROVAL)).await;
    market.devnet.set_balance(payer(), U256::ZERO);
    market.settle(&request).await.unwrap();
    let query = SettlementQuery { limit: 10, ..SettlementQuery::default() };
    let entries = market.book.memory.list(&query).await.unwrap();
    let mut given = entries.into_iter().find(|entry| entry.record.reference.starts_with("funding:")).unwrap();
    // As if fees had been raised, and the first transaction had landed all the same.
    given.transaction = TransactionId(B256::repeat_byte(9).to_string());
    given.state = SettlementState::Sending(given.transaction.clone());
    let outcome = AnyFacilitatorScheme::outcome(&market.exact, &given).await.unwrap();
    assert_eq!(outcome, Outcome::Unknown);
}

#[tokio::test]
async fn what_payers_are_given_counts_against_their_days_budget() {
    let market = market(|config| {
        config.sponsor.approvals = true;
        config.sponsor.max_funding_gwei = 1_000_000;
        // Less than the coin and the gas of the transaction that gives it.
        config.gas.daily_budget_per_payer_gwei = Some(150_000);
    })
    .await;
    let request = pay_in(&market, DevToken::PLAIN.address, &advertised(APPROVAL)).await;
    market.devnet.set_balance(payer(), U256::ZERO);
    let refused = market.settle(&request).await;
    assert!(matches!(&refused, Err(SettleError::NotSent(error)) if error.to_string().contains("budget")), "{refused:?}");
    assert!(market.book.sent().is_empty() && market.devnet.balance(payer()).is_zero());
}

#[tokio::test]
async fn approvals_are_not_broadcast_unless_the_operator_says_so() {
    let market = market(|_| {}).await;
    let request = pay_in(&market, DevToken::PLAIN.address, &advertised(APPROVAL)).await;
    market.refused(&request, Reason::Permit2AllowanceRequired).await;
}

#[tokio::test]
async fn approvals_that_are_wrong_are_refused_with_their_reason() {
    let market = market(|config| config.sponsor.approvals = true).await;
    let good = pay_in(&market, DevToken::PLAIN.address, &advertised(APPROVAL)).await;
    let of_another = pay_in(&market, DevToken::RETURNS_NOTHING.address, &advertised(APPROVAL)).await;
    let other = of_another["paymentPayload"]["extensions"][APPROVAL]["info"]["signedTransaction"].clone();
    let cases: [(&str, Value, Reason); 6] = [
        ("from", json!("me"), Reason::InvalidErc20ApprovalExtensionFormat),
        ("from", json!(golden::SECOND), Reason::Erc20ApprovalFromMismatch),
        ("asset", json!(golden::SECOND), Reason::Erc20ApprovalAssetMismatch),
        ("spender", json!(golden::SECOND), Reason::Erc20ApprovalSpenderNotPermit2),
        ("signedTransaction", json!("0x02"), Reason::Erc20ApprovalTxParseFailed),
        ("signedTransaction", other, Reason::Erc20ApprovalTxWrongTarget),
    ];
    for (field, value, reason) in cases {
        let mut request = good.clone();
        info(&mut request, APPROVAL)[field] = value;
        market.refused(&request, reason).await;
    }
    market.devnet.set_balance(payer(), U256::from(1));
    let message = market.refused(&good, Reason::Erc20ApprovalBroadcastFailed).await;
    assert!(message.contains("wei"), "{message}");
}

/// A market where nothing is mined unless a test says so, and a payment with an approval.
async fn waiting_for_a_block(timeout_milliseconds: u64) -> (Market, Value) {
    let market = market_with(Mining::Manual, &[RELAYER_KEY], |config| {
        config.sponsor.approvals = true;
        config.confirm.timeout_milliseconds = timeout_milliseconds;
        config.confirm.poll_milliseconds = 20;
    })
    .await;
    let request = pay_in(&market, DevToken::PLAIN.address, &advertised(APPROVAL)).await;
    (market, request)
}

async fn rejection(market: &Market, request: &Value) -> Reason {
    match market.settle(request).await {
        Err(SettleError::Rejected(refusal)) => refusal.reason,
        other => panic!("expected a rejection, got {other:?}"),
    }
}

#[tokio::test]
async fn an_approval_that_is_not_mined_in_time_may_be_tried_again() {
    let (market, request) = waiting_for_a_block(100).await;
    assert!(matches!(market.settle(&request).await, Err(SettleError::NotSent(_))));
    assert!(market.book.sent().is_empty(), "nothing of ours was sent");
    market.devnet.mine(1).unwrap();
    // It landed after all, and its number is used: the payment needs it no more.
    market.verify(&request).await.unwrap();
}

#[tokio::test]
async fn an_approval_that_reverts_is_told() {
    let (market, request) = waiting_for_a_block(10_000).await;
    let token = DevToken::PLAIN.address;
    let spoil = async {
        market.until_pending(payer()).await;
        market.devnet.set_code(token, Bytes::from_static(&[0xfe])).unwrap();
        market.devnet.mine(1).unwrap();
    };
    let (reason, ()) = tokio::join!(rejection(&market, &request), spoil);
    assert_eq!(reason, Reason::Erc20ApprovalTxFailed);
    assert!(market.book.sent().is_empty());
}

#[tokio::test]
async fn an_approval_that_the_network_refuses_is_told() {
    let (market, request) = waiting_for_a_block(10_000).await;
    let refused = Fault::Error { code: -32_000, message: "transaction underpriced".to_owned() };
    market.devnet.faults().inject("eth_sendRawTransaction", refused, Times::Exactly(1));
    assert_eq!(rejection(&market, &request).await, Reason::Erc20ApprovalBroadcastFailed);
    assert!(market.book.sent().is_empty());
}
