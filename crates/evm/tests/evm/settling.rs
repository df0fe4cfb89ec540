//! What settling does with a good payment, and with one that went bad after it was verified.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use farthing_core::books::{SettlementEntry, Settlements};
use farthing_core::erased::AnyFacilitatorScheme;
use farthing_core::reason::{Reason, Refusal};
use farthing_core::scheme::{Outcome, SettleError, Settlement};
use farthing_evm::U256;
use farthing_evm::rpc::NodeError;
use farthing_testkit::golden;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::*;

impl Rig {
    pub async fn settle(&self, request: &Value) -> Result<Settlement, SettleError> {
        self.settle_with(request, Right::new()).await
    }

    pub async fn settle_with(&self, request: &Value, right: Right) -> Result<Settlement, SettleError> {
        let payment = self.read(request).unwrap();
        AnyFacilitatorScheme::settle(&self.facilitator, &payment, Arc::new(right)).await
    }

    pub async fn outcome(&self, request: &Value) -> Outcome {
        let entry = self.entry(request).await.expect("the payment is in the book");
        AnyFacilitatorScheme::outcome(&self.facilitator, &entry).await.unwrap()
    }

    pub async fn entry(&self, request: &Value) -> Option<SettlementEntry> {
        self.book.memory.find(self.read(request).unwrap().record.key).await.unwrap()
    }

    async fn rejection(&self, request: &Value) -> Refusal {
        match self.settle(request).await {
            Err(SettleError::Rejected(refusal)) => refusal,
            other => panic!("expected a rejection, got {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_good_payment_moves_the_money_and_is_written_down_first() {
    let rig = rig();
    let settlement = rig.settle(&golden_request()).await.unwrap();
    assert_eq!(settlement.payer.as_str(), golden::PAYER);
    assert_eq!(settlement.network.as_str(), golden::NETWORK);
    assert_eq!(settlement.amount.to_string(), "10000");
    assert_eq!(rig.book.sent(), std::slice::from_ref(&settlement.transaction));
    assert_eq!(rig.node.world().balances[&pay_to()], U256::from(10_000));
    assert_eq!(rig.outcome(&golden_request()).await, Outcome::Settled(settlement));
}

#[tokio::test]
async fn a_settlement_costs_three_round_trips_on_a_fast_chain() {
    let rig = rig();
    // The first one also asks where the account and the chain stand.
    rig.settle(&numbered_request(100).await).await.unwrap();
    let before = rig.node.round_trips();
    for number in 1..=4_usize {
        rig.settle(&numbered_request(number.try_into().unwrap()).await).await.unwrap();
        assert_eq!(rig.node.round_trips() - before, 3 * number, "verify, broadcast, receipt");
    }
}

#[tokio::test]
async fn the_transaction_is_bounded_by_the_operators_caps() {
    let rig = rig_with(|config| config.gas.max_fee_per_unit_wei = 1_500_000_000);
    rig.settle(&golden_request()).await.unwrap();
    let world = rig.node.world();
    let transaction = world.mined[0].tx();
    assert_eq!(transaction.max_fee_per_gas, 1_500_000_000);
    assert_eq!(transaction.max_priority_fee_per_gas, 1_000_000);
    assert_eq!(transaction.gas_limit, 0x15f90 + 0x15f90 / 4 + 25_000);
    assert_eq!(transaction.value, U256::ZERO);
}

#[tokio::test]
async fn nothing_is_sent_while_the_network_is_too_expensive() {
    let rig = rig_with(|config| config.gas.max_fee_per_unit_wei = 1_000_000);
    match rig.settle(&golden_request()).await {
        Err(SettleError::NotSent(source)) => assert!(source.to_string().contains("gas.max_fee_per_unit_wei"), "{source}"),
        other => panic!("{other:?}"),
    }
    assert!(rig.book.sent().is_empty());
}

#[tokio::test]
async fn what_simulation_refuses_is_never_sent() {
    let rig = rig();
    rig.node.world().balances.clear();
    assert_eq!(rig.rejection(&golden_request()).await.reason, Reason::InvalidExactEvmInsufficientBalance);
    let mut bad = golden_request();
    sign(&mut bad, golden::SECOND_KEY).await;
    assert_eq!(rig.rejection(&bad).await.reason, Reason::InvalidExactEvmSignature);
    rig.node.world().down = Some(NodeError::TimedOut);
    assert!(matches!(rig.settle(&golden_request()).await, Err(SettleError::NotSent(_))));
    assert!(rig.book.sent().is_empty());
    assert!(rig.node.world().calls.iter().all(|call| call.method != "eth_sendRawTransaction"));
}

#[tokio::test]
async fn a_payment_settles_once() {
    let rig = rig();
    rig.settle(&golden_request()).await.unwrap();
    assert_eq!(rig.rejection(&golden_request()).await.reason, Reason::InvalidExactEvmNonceAlreadyUsed);
    assert_eq!(rig.book.sent().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_that_was_not_written_down() {
    let rig = rig();
    rig.book.is_full.store(true, Ordering::Relaxed);
    assert!(matches!(rig.settle(&golden_request()).await, Err(SettleError::NotSent(_))));
    assert!(rig.node.world().mined.is_empty());
    rig.book.is_full.store(false, Ordering::Relaxed);
    rig.settle(&golden_request()).await.unwrap();
    assert_eq!(rig.node.world().mined[0].tx().nonce, 0, "the number is free");
}

#[tokio::test]
async fn a_mined_transaction_that_reverted_is_a_rejection_with_the_tokens_reason() {
    let rig = rig();
    // Between the simulation and the block, the payer spends the money elsewhere.
    rig.node.fault("eth_sendRawTransaction", |world, _| {
        world.balances.clear();
        None
    });
    let refusal = rig.rejection(&golden_request()).await;
    assert_eq!(refusal.reason, Reason::InvalidExactEvmTransactionFailed);
    let transaction = rig.book.sent()[0].clone();
    assert!(refusal.message.contains("transfer amount exceeds balance"), "{}", refusal.message);
    assert!(refusal.message.contains(&transaction.0), "{}", refusal.message);
    let outcome = rig.outcome(&golden_request()).await;
    assert!(matches!(outcome, Outcome::Failed(refusal) if refusal.reason == Reason::InvalidExactEvmTransactionFailed));
}

#[tokio::test]
async fn success_without_the_transfers_log_is_no_success() {
    let rig = rig();
    rig.node.world().token_logs = false;
    // The authorization is used, and nothing shows that the money moved: that is not known, so it is no failure either.
    let error = rig.settle(&golden_request()).await.unwrap_err();
    assert!(matches!(&error, SettleError::Unknown(id) if *id == rig.book.sent()[0]), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn no_receipt_in_time_is_not_failure() {
    let rig = rig();
    rig.node.world().mines = false;
    let transaction = match rig.settle(&golden_request()).await {
        Err(SettleError::Unknown(transaction)) => transaction,
        other => panic!("{other:?}"),
    };
    assert_eq!(rig.book.sent(), [rig.book.sent()[0].clone()]);
    assert!(rig.node.world().knows(transaction.0.parse().unwrap()));
    assert_eq!(rig.outcome(&golden_request()).await, Outcome::Unknown);
    rig.node.mine();
    assert!(matches!(rig.outcome(&golden_request()).await, Outcome::Settled(_)));
}

#[tokio::test(start_paused = true)]
async fn confirmations_are_waited_for() {
    let rig = rig_with(|config| config.confirm.blocks = 3);
    let request = golden_request();
    let settling = rig.settle(&request);
    tokio::pin!(settling);
    assert!(tokio::time::timeout(Duration::from_secs(30), &mut settling).await.is_err());
    assert_eq!(rig.outcome(&golden_request()).await, Outcome::Unknown);
    rig.node.mine();
    assert!(tokio::time::timeout(Duration::from_secs(5), &mut settling).await.is_err());
    rig.node.mine();
    tokio::time::timeout(Duration::from_secs(5), &mut settling).await.unwrap().unwrap();
}

/// A payer of so much and four payments of 10,000 at once, none mined for two seconds: what became of them, and how many
/// were sent before the first was mined.
async fn four_at_once(balance_atomic: u64) -> (Vec<Result<Settlement, SettleError>>, usize, usize) {
    let rig = rig();
    rig.node.world().mines = false;
    rig.node.world().balances.insert(payer(), U256::from(balance_atomic));
    let requests = join_all((1..=4).map(numbered_request)).await;
    let settling = join_all(requests.iter().map(|request| rig.settle(request)));
    let mining = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let sent = rig.book.batches().iter().sum();
        rig.node.mine();
        sent
    };
    let (settled, sent) = tokio::join!(settling, mining);
    (settled, sent, rig.book.batches().iter().sum())
}

#[tokio::test(start_paused = true)]
async fn payments_beyond_the_balance_cost_no_gas() {
    let (settled, sent_at_once, sent) = four_at_once(25_000).await;
    assert_eq!((sent_at_once, sent), (2, 2));
    let (good, bad): (Vec<_>, Vec<_>) = settled.into_iter().partition(Result::is_ok);
    assert_eq!((good.len(), bad.len()), (2, 2));
    for settled in bad {
        let Err(SettleError::Rejected(refusal)) = settled else { panic!("{settled:?}") };
        assert_eq!(refusal.reason, Reason::InvalidExactEvmInsufficientBalance);
    }
}

#[tokio::test(start_paused = true)]
async fn payments_that_the_balance_covers_go_out_at_once() {
    let (settled, sent_at_once, _) = four_at_once(40_000).await;
    assert_eq!(sent_at_once, 4);
    assert!(settled.iter().all(Result::is_ok), "{settled:?}");
}

#[tokio::test(start_paused = true)]
async fn a_payment_waits_for_its_payers_others_only_so_long() {
    let rig = rig();
    rig.node.world().mines = false;
    rig.node.world().balances.insert(payer(), U256::from(10_000));
    let (first, second) = (numbered_request(1).await, numbered_request(2).await);
    let (first, second) = tokio::join!(rig.settle(&first), rig.settle(&second));
    let either = [first.unwrap_err(), second.unwrap_err()];
    assert!(either.iter().any(|error| matches!(error, SettleError::Unknown(_))), "{either:?}");
    assert!(either.iter().any(|error| matches!(error, SettleError::NotSent(_))), "{either:?}");
    assert_eq!(rig.book.sent().len(), 1);
}

#[tokio::test]
async fn an_authorization_that_expires_between_verify_and_settle_is_not_sent() {
    let rig = rig();
    let clock = rig.clock.clone();
    // The clock moves while the node is asked.
    rig.node.fault("eth_call", move |_, _| {
        clock.set(golden::VALID_BEFORE - 5);
        None
    });
    let refusal = rig.rejection(&golden_request()).await;
    assert_eq!(refusal.reason, Reason::InvalidExactEvmPayloadAuthorizationValidBefore);
    assert!(rig.book.sent().is_empty());
}

#[tokio::test]
async fn no_error_shows_a_signature() {
    let rig = rig();
    rig.node.world().token_reverts = Some("FiatTokenV2: invalid signature");
    let error = format!("{:?}", rig.settle(&golden_request()).await);
    assert!(!error.contains("b94ef123") && !error.contains(&json!(golden::eip3009::SIGNATURE).to_string()), "{error}");
}
