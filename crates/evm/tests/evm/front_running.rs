//! Payments that were never sent from here and were carried out all the same: who used the authorization, and for what.

use alloy_primitives::B256;
use farthing_core::reason::Reason;
use farthing_core::scheme::{Found, TransactionId, VerifyError};
use farthing_evm::U256;
use farthing_evm::rpc::CallError;
use farthing_testkit::golden;

use crate::live::{Live, Promise, STRANGER_KEY, json, live};
use crate::support::{pay_to, usdc};

const USED: Reason = Reason::InvalidExactEvmNonceAlreadyUsed;
const EXPIRED: Reason = Reason::InvalidExactEvmPayloadAuthorizationValidBefore;

impl Live {
    async fn was_moved_by(&self, promise: &Promise, by: B256, height: u64) {
        let Found { settlement, height: found } = self.moved_already(promise, USED).await.unwrap().expect("it is found");
        assert_eq!((settlement.transaction, found), (TransactionId(by.to_string()), height));
        assert_eq!((settlement.payer, settlement.amount), (promise.record.payer.clone(), promise.record.amount));
        assert_eq!(settlement.network, promise.record.network);
    }

    async fn was_not_moved(&self, promise: &Promise, reason: Reason) {
        assert_eq!(self.moved_already(promise, reason).await.unwrap(), None);
    }

    async fn is_not_certain(&self, promise: &Promise) {
        let answer = self.moved_already(promise, USED).await;
        assert!(matches!(answer, Err(VerifyError::Unavailable(_))), "{answer:?}");
    }
}

#[tokio::test]
async fn a_verified_payment_that_a_stranger_carries_out_is_found_with_its_block() {
    let live = live(|_| {}).await;
    live.devnet.mine(3).unwrap();
    let promise = live.promise().await;
    live.verify(&promise.request).await.unwrap();
    let theirs = live.carry_out(STRANGER_KEY, usdc(), promise.calldata()).await;
    let height = live.devnet.block_number();
    match live.verify(&promise.request).await {
        Err(VerifyError::Invalid(refusal)) => assert_eq!(refusal.reason, USED),
        other => panic!("{other:?}"),
    }
    live.was_moved_by(&promise, theirs, height).await;
    live.devnet.mine(30).unwrap();
    live.was_moved_by(&promise, theirs, height).await;
    assert_eq!(live.devnet.usdc_balance(pay_to()), U256::from(10_000));
    // Too late to be sent from here, and paid in time.
    assert!(live.moved_already(&promise, EXPIRED).await.unwrap().is_some());
}

#[tokio::test]
async fn what_was_used_otherwise_or_cancelled_was_not_moved() {
    let live = live(|_| {}).await;
    let (elsewhere, less, cancelled) = (live.promise().await, live.promise().await, live.promise().await);
    let to_another = live.changed(&elsewhere, |authorization| authorization.to = golden::SECOND.parse().unwrap()).await;
    live.carry_out(STRANGER_KEY, usdc(), to_another).await;
    let of_less = live.changed(&less, |authorization| authorization.value = U256::from(9_999)).await;
    live.carry_out(STRANGER_KEY, usdc(), of_less).await;
    let cancellation = live.cancellation(&cancelled).await;
    live.carry_out(STRANGER_KEY, usdc(), cancellation).await;
    for promise in [&elsewhere, &less, &cancelled] {
        live.was_not_moved(promise, USED).await;
    }
}

#[tokio::test]
async fn what_is_refused_for_another_reason_is_not_looked_for() {
    let live = live(|_| {}).await;
    let promise = live.promise().await;
    live.was_not_moved(&promise, EXPIRED).await;
    live.carry_out(STRANGER_KEY, usdc(), promise.calldata()).await;
    let before = live.node.round_trips();
    live.was_not_moved(&promise, Reason::InvalidExactEvmInsufficientBalance).await;
    assert_eq!(live.node.round_trips(), before);
}

#[tokio::test]
async fn a_use_counts_when_it_is_deep_enough_and_nothing_is_certain_before() {
    let live = live(|config| config.confirm.blocks = 3).await;
    live.devnet.mine(5).unwrap();
    let promise = live.promise().await;
    let theirs = live.carry_out(STRANGER_KEY, usdc(), promise.calldata()).await;
    let height = live.devnet.block_number();
    for _ in 0..2 {
        live.is_not_certain(&promise).await;
        live.devnet.mine(1).unwrap();
    }
    live.was_moved_by(&promise, theirs, height).await;
}

#[tokio::test]
async fn nodes_that_lag_or_hide_logs_leave_it_uncertain() {
    let live = live(|_| {}).await;
    let promise = live.promise().await;
    live.carry_out(STRANGER_KEY, usdc(), promise.calldata()).await;
    live.node.meddle(|call, answer| if call.method == "eth_getLogs" { json("[]") } else { answer });
    live.is_not_certain(&promise).await;
    live.node.meddle(|call, answer| if call.method == "eth_getTransactionReceipt" { json("null") } else { answer });
    live.is_not_certain(&promise).await;
    // A node that has not seen the block yet.
    let unused = format!("\"{}\"", B256::ZERO);
    live.node.meddle(move |call, answer| if call.method == "eth_call" { json(&unused) } else { answer });
    live.is_not_certain(&promise).await;
    live.node.meddle(|call, answer| if call.method == "eth_getBlockByNumber" { json("null") } else { answer });
    live.is_not_certain(&promise).await;
    live.devnet.faults().inject("*", farthing_devnet::Fault::HttpStatus(503), farthing_devnet::Times::UntilCleared);
    live.is_not_certain(&promise).await;
}

#[tokio::test]
async fn the_search_begins_at_the_newest_block_and_adapts_to_what_the_node_allows() {
    let live = live(|_| {}).await;
    live.devnet.mine(1_500).unwrap();
    let promise = live.promise().await;
    let theirs = live.carry_out(STRANGER_KEY, usdc(), promise.calldata()).await;
    let height = live.devnet.block_number();
    live.devnet.mine(25).unwrap();
    let number = |value: &serde_json::Value| u64::from_str_radix(value.as_str().unwrap().trim_start_matches("0x"), 16).unwrap();
    live.node.meddle(move |call, answer| {
        if call.method != "eth_getLogs" {
            return answer;
        }
        let params: serde_json::Value = serde_json::from_str(&call.params).unwrap();
        if number(&params[0]["toBlock"]) - number(&params[0]["fromBlock"]) >= 10 {
            return Err(CallError { code: -32_602, message: "block range is too large, max is 10".to_owned(), data: None });
        }
        answer
    });
    live.was_moved_by(&promise, theirs, height).await;
}
