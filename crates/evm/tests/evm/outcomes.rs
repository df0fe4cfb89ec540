//! What became of a payment, from the chain alone: on a real EVM, and over nodes that lag, disagree or say nothing.

use alloy_primitives::B256;
use alloy_sol_types::SolCall;
use farthing_core::asset::AccountId;
use farthing_core::books::{Fingerprint, LaneClaim, LaneId, Outbox, Outgoing, OutgoingPayment, Written};
use farthing_core::reason::Reason;
use farthing_core::scheme::{Outcome, TransactionId, VerifyError};
use farthing_core::time::UnixSeconds;
use farthing_evm::abi::{MULTICALL3, Multicall3};
use farthing_evm::rpc::CallError;
use farthing_evm::{Bytes, U256};
use farthing_testkit::golden;

use crate::live::{Live, Promise, STRANGER_KEY, json, live};
use crate::support::{pay_to, usdc};

/// A transaction that nobody has heard of.
const NEVER_SENT: B256 = B256::repeat_byte(0x77);

impl Live {
    async fn is_settled_by(&self, promise: &Promise, ours: B256, by: B256) {
        match self.outcome(promise, ours).await.unwrap() {
            Outcome::Settled(settlement) => {
                assert_eq!(settlement.transaction, TransactionId(by.to_string()));
                assert_eq!((settlement.payer, settlement.amount), (promise.record.payer.clone(), promise.record.amount));
            }
            other => panic!("expected a settlement, got {other:?}"),
        }
    }

    async fn failed_for(&self, promise: &Promise, ours: B256, reason: Reason) {
        match self.outcome(promise, ours).await.unwrap() {
            Outcome::Failed(refusal) => assert_eq!(refusal.reason, reason, "{}", refusal.message),
            other => panic!("expected {reason}, got {other:?}"),
        }
    }

    async fn is_unknown(&self, promise: &Promise, ours: B256) {
        assert_eq!(self.outcome(promise, ours).await.unwrap(), Outcome::Unknown);
    }

    /// The book says that this transaction carries the payment, under the account's first number.
    async fn write_down(&self, promise: &Promise, ours: B256) {
        let lane = LaneId {
            network: promise.record.network.clone(),
            account: self.chain.relayer().address().to_string().parse::<AccountId>().unwrap(),
        };
        let LaneClaim::Ours(lease) = self.outbox.take(&lane).await.unwrap() else { panic!("the lane is free") };
        let payment = OutgoingPayment {
            record: promise.record.clone(),
            request: Fingerprint("a test's request".to_owned()),
            caller: None,
            fee_gwei: 0,
            budgets: Vec::new(),
        };
        let outgoing = Outgoing {
            lease: &lease,
            sequence: 0,
            transaction: &TransactionId(ours.to_string()),
            signed: &[1],
            height: 0,
            payments: &[payment],
            now: UnixSeconds(self.devnet.now()),
        };
        assert_eq!(self.outbox.sending(&outgoing).await.unwrap(), Written::Yes);
    }

    /// The authorization ends, and a block says so.
    fn expire(&self, promise: &Promise) {
        self.devnet.set_next_block_timestamp(promise.record.expires_at.0).unwrap();
        self.devnet.mine(1).unwrap();
    }
}

#[tokio::test]
async fn a_transfer_by_our_own_transaction_is_a_settlement() {
    let live = live(|_| {}).await;
    let promise = live.promise().await;
    let ours = live.send(golden::SECOND_KEY, usdc(), promise.calldata()).await;
    live.is_unknown(&promise, ours).await;
    live.devnet.mine(1).unwrap();
    live.is_settled_by(&promise, ours, ours).await;
    live.expire(&promise);
    live.is_settled_by(&promise, ours, ours).await;
}

#[tokio::test]
async fn a_payment_that_somebody_else_carries_out_is_settled_by_their_transaction() {
    let live = live(|_| {}).await;
    let promise = live.promise().await;
    let theirs = live.carry_out(STRANGER_KEY, usdc(), promise.calldata()).await;
    // Ours was replaced, or dropped, or never arrived.
    live.is_settled_by(&promise, NEVER_SENT, theirs).await;
    // Ours was mined behind theirs, and reverted.
    let ours = live.carry_out(golden::SECOND_KEY, usdc(), promise.calldata()).await;
    live.is_settled_by(&promise, ours, theirs).await;
    assert_eq!(live.devnet.usdc_balance(pay_to()), U256::from(10_000));
}

#[tokio::test]
async fn a_cancelled_authorization_is_a_failure() {
    let live = live(|_| {}).await;
    let promise = live.promise().await;
    let cancellation = live.cancellation(&promise).await;
    live.carry_out(STRANGER_KEY, usdc(), cancellation).await;
    live.failed_for(&promise, NEVER_SENT, Reason::InvalidExactEvmNonceAlreadyUsed).await;
    let ours = live.carry_out(golden::SECOND_KEY, usdc(), promise.calldata()).await;
    live.failed_for(&promise, ours, Reason::InvalidExactEvmNonceAlreadyUsed).await;
}

#[tokio::test]
async fn an_authorization_that_was_used_for_something_else_is_a_failure() {
    let live = live(|_| {}).await;
    let promise = live.promise().await;
    let to_another = live.changed(&promise, |authorization| authorization.to = golden::SECOND.parse().unwrap()).await;
    live.carry_out(STRANGER_KEY, usdc(), to_another).await;
    live.failed_for(&promise, NEVER_SENT, Reason::InvalidExactEvmTransferEventMismatch).await;
}

#[tokio::test]
async fn an_unused_authorization_fails_only_when_a_deep_block_is_past_its_end() {
    let live = live(|config| config.confirm.blocks = 3).await;
    live.devnet.mine(5).unwrap();
    let promise = live.promise().await;
    live.is_unknown(&promise, NEVER_SENT).await;
    live.devnet.increase_time(10_000);
    live.is_unknown(&promise, NEVER_SENT).await;
    live.devnet.mine(2).unwrap();
    live.is_unknown(&promise, NEVER_SENT).await;
    live.devnet.mine(1).unwrap();
    live.failed_for(&promise, NEVER_SENT, Reason::InvalidExactEvmPayloadAuthorizationValidBefore).await;
}

#[tokio::test]
async fn the_last_second_of_an_authorization_is_not_past_its_end() {
    let live = live(|_| {}).await;
    let promise = live.promise().await;
    live.devnet.set_next_block_timestamp(promise.record.expires_at.0 - 1).unwrap();
    live.devnet.mine(1).unwrap();
    live.is_unknown(&promise, NEVER_SENT).await;
    live.devnet.set_next_block_timestamp(promise.record.expires_at.0).unwrap();
    live.devnet.mine(1).unwrap();
    live.failed_for(&promise, NEVER_SENT, Reason::InvalidExactEvmPayloadAuthorizationValidBefore).await;
}

#[tokio::test]
async fn a_transaction_counts_when_it_is_deep_enough() {
    let live = live(|config| config.confirm.blocks = 3).await;
    live.devnet.mine(5).unwrap();
    let promise = live.promise().await;
    let ours = live.carry_out(golden::SECOND_KEY, usdc(), promise.calldata()).await;
    for _ in 0..2 {
        live.is_unknown(&promise, ours).await;
        live.is_unknown(&promise, NEVER_SENT).await;
        live.devnet.mine(1).unwrap();
    }
    live.is_settled_by(&promise, ours, ours).await;
    live.is_settled_by(&promise, NEVER_SENT, ours).await;
}

#[tokio::test]
async fn a_settlement_holds_for_good_when_it_is_deep_enough() {
    let live = live(|config| config.confirm.final_blocks = 4).await;
    live.devnet.mine(5).unwrap();
    let promise = live.promise().await;
    let ours = live.carry_out(golden::SECOND_KEY, usdc(), promise.calldata()).await;
    for _ in 0..3 {
        live.is_settled_by(&promise, ours, ours).await;
        for hash in [ours, NEVER_SENT] {
            assert_eq!(live.final_outcome(&promise, hash).await.unwrap(), Outcome::Unknown);
        }
        live.devnet.mine(1).unwrap();
    }
    for hash in [ours, NEVER_SENT] {
        let outcome = live.final_outcome(&promise, hash).await.unwrap();
        assert!(matches!(outcome, Outcome::Settled(settlement) if settlement.transaction == TransactionId(ours.to_string())));
    }
}

#[tokio::test]
async fn a_failure_holds_for_good_when_nobody_can_carry_the_payment_out_any_more() {
    let live = live(|config| config.confirm.final_blocks = 3).await;
    live.devnet.mine(5).unwrap();
    let promise = live.promise().await;
    let mut data = promise.calldata();
    *data.last_mut().unwrap() ^= 1;
    let ours = live.carry_out(golden::SECOND_KEY, usdc(), data).await;
    live.devnet.mine(9).unwrap();
    live.failed_for(&promise, ours, Reason::InvalidExactEvmTransactionFailed).await;
    assert_eq!(live.final_outcome(&promise, ours).await.unwrap(), Outcome::Unknown, "somebody else still can");
    live.expire(&promise);
    live.failed_for(&promise, ours, Reason::InvalidExactEvmPayloadAuthorizationValidBefore).await;
    assert_eq!(live.final_outcome(&promise, ours).await.unwrap(), Outcome::Unknown, "another history may be younger");
    live.devnet.mine(2).unwrap();
    let outcome = live.final_outcome(&promise, ours).await.unwrap();
    assert!(
        matches!(outcome, Outcome::Failed(refusal) if refusal.reason == Reason::InvalidExactEvmPayloadAuthorizationValidBefore)
    );
}

#[tokio::test]
async fn a_transaction_that_reverted_is_a_failure_while_the_nonce_is_unused() {
    let live = live(|config| config.confirm.blocks = 2).await;
    live.devnet.mine(5).unwrap();
    let promise = live.promise().await;
    let mut data = promise.calldata();
    *data.last_mut().unwrap() ^= 1;
    let ours = live.carry_out(golden::SECOND_KEY, usdc(), data).await;
    live.is_unknown(&promise, ours).await;
    live.devnet.mine(1).unwrap();
    live.failed_for(&promise, ours, Reason::InvalidExactEvmTransactionFailed).await;
}

#[tokio::test]
async fn each_payment_of_a_batch_has_its_own_outcome() {
    let live = live(|_| {}).await;
    let promises = [live.promise().await, live.promise().await, live.promise().await];
    let mut calls: Vec<Bytes> = promises.iter().map(|promise| promise.calldata().into()).collect();
    let mut spoilt = promises[1].calldata();
    *spoilt.last_mut().unwrap() ^= 1;
    calls[1] = spoilt.into();
    let call = |data| Multicall3::Call3 { target: usdc(), allowFailure: true, callData: data };
    let batch = Multicall3::aggregate3Call { calls: calls.into_iter().map(call).collect() }.abi_encode();
    let ours = live.carry_out(golden::SECOND_KEY, MULTICALL3, batch).await;
    // All three are of the same payer, payee and amount: only the logged nonces tell them apart.
    live.is_settled_by(&promises[0], ours, ours).await;
    live.failed_for(&promises[1], ours, Reason::InvalidExactEvmTransactionFailed).await;
    live.is_settled_by(&promises[2], ours, ours).await;
}

#[tokio::test]
async fn a_transfer_is_not_counted_for_two_payments() {
    let live = live(|_| {}).await;
    let (first, second) = (live.promise().await, live.promise().await);
    // In one transaction the payer uses the first nonce to pay somebody else, and carries the second payment out.
    let elsewhere = live.changed(&first, |authorization| authorization.to = golden::SECOND.parse().unwrap()).await;
    let call = |data: Vec<u8>| Multicall3::Call3 { target: usdc(), allowFailure: false, callData: data.into() };
    let calls = vec![call(second.calldata()), call(elsewhere)];
    let batch = Multicall3::aggregate3Call { calls }.abi_encode();
    let theirs = live.carry_out(STRANGER_KEY, MULTICALL3, batch).await;
    live.is_settled_by(&second, NEVER_SENT, theirs).await;
    live.failed_for(&first, NEVER_SENT, Reason::InvalidExactEvmTransferEventMismatch).await;
}

#[tokio::test]
async fn a_missing_receipt_proves_nothing() {
    let live = live(|_| {}).await;
    let promise = live.promise().await;
    let ours = live.carry_out(golden::SECOND_KEY, usdc(), promise.calldata()).await;
    live.expire(&promise);
    live.node.meddle(|call, answer| if call.method == "eth_getTransactionReceipt" { json("null") } else { answer });
    live.is_unknown(&promise, ours).await;
    live.node.meddle(|call, answer| match call.method {
        "eth_getTransactionReceipt" => json("null"),
        "eth_getLogs" => json("[]"),
        _ => answer,
    });
    live.is_unknown(&promise, ours).await;
}

#[tokio::test]
async fn a_payment_fails_once_another_transaction_has_the_number_under_which_it_was_sent() {
    let live = live(|_| {}).await;
    let promise = live.promise().await;
    live.write_down(&promise, NEVER_SENT).await;
    live.devnet.mine(1).unwrap();
    live.is_unknown(&promise, NEVER_SENT).await;
    // Somebody else's account says nothing of ours.
    live.carry_out(STRANGER_KEY, usdc(), Vec::new()).await;
    live.is_unknown(&promise, NEVER_SENT).await;
    live.carry_out(golden::SECOND_KEY, usdc(), Vec::new()).await;
    live.failed_for(&promise, NEVER_SENT, Reason::InvalidExactEvmTransactionFailed).await;
}

#[tokio::test]
async fn a_node_that_lags_behind_never_makes_a_payment_fail() {
    let live = live(|_| {}).await;
    let promise = live.promise().await;
    let ours = live.carry_out(golden::SECOND_KEY, usdc(), promise.calldata()).await;
    live.expire(&promise);
    // The node that is asked for the state does not have the block that another one told of.
    live.node.meddle(|call, answer| match call.method {
        "eth_getTransactionReceipt" => json("null"),
        "eth_call" => Err(CallError { code: -32_000, message: "header not found".to_owned(), data: None }),
        _ => answer,
    });
    live.is_unknown(&promise, ours).await;
    // Words without a meaning are not a state either.
    for state in ["\"0x\"", "null", "\"0x02\"", "\"0x0000000000000000000000000000000000000000000000000000000000000002\""] {
        live.node.meddle(move |call, answer| match call.method {
            "eth_getTransactionReceipt" => json("null"),
            "eth_call" => json(state),
            _ => answer,
        });
        live.is_unknown(&promise, ours).await;
    }
    live.node.leave_alone();
    live.is_settled_by(&promise, ours, ours).await;
}

#[tokio::test]
async fn the_state_is_asked_of_one_certain_block() {
    let live = live(|_| {}).await;
    let promise = live.promise().await;
    live.expire(&promise);
    live.node.take_calls();
    live.failed_for(&promise, NEVER_SENT, Reason::InvalidExactEvmPayloadAuthorizationValidBefore).await;
    let calls = live.node.take_calls();
    let states: Vec<_> = calls.iter().filter(|call| call.method == "eth_call").collect();
    assert_eq!(states.len(), 1);
    assert!(states[0].params.contains("blockHash") && !states[0].params.contains("latest"));
}

#[tokio::test]
async fn a_receipt_from_a_block_that_is_not_in_the_chain_is_not_believed() {
    let live = live(|_| {}).await;
    let promise = live.promise().await;
    let ours = live.carry_out(golden::SECOND_KEY, usdc(), promise.calldata()).await;
    live.node.meddle(|call, answer| {
        if call.method != "eth_getTransactionReceipt" {
            return answer;
        }
        let mut receipt: serde_json::Value = serde_json::from_str(answer.unwrap().get()).unwrap();
        receipt["blockHash"] = serde_json::json!(B256::repeat_byte(0x66));
        json(&receipt.to_string())
    });
    live.is_unknown(&promise, ours).await;
}

#[tokio::test]
async fn a_payment_whose_block_vanished_is_open_again() {
    let live = live(|_| {}).await;
    let promise = live.promise().await;
    let ours = live.carry_out(golden::SECOND_KEY, usdc(), promise.calldata()).await;
    live.is_settled_by(&promise, ours, ours).await;
    live.devnet.reorg(1).unwrap();
    live.is_unknown(&promise, ours).await;
    let theirs = live.carry_out(STRANGER_KEY, usdc(), promise.calldata()).await;
    live.is_settled_by(&promise, ours, theirs).await;
}

#[tokio::test]
async fn the_search_adapts_to_what_the_node_allows() {
    let live = live(|_| {}).await;
    live.devnet.mine(30).unwrap();
    let promise = live.promise().await;
    let theirs = live.carry_out(STRANGER_KEY, usdc(), promise.calldata()).await;
    live.devnet.mine(200).unwrap();
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
    live.is_settled_by(&promise, NEVER_SENT, theirs).await;
}

#[tokio::test]
async fn a_node_that_cannot_be_asked_gives_no_outcome() {
    let live = live(|_| {}).await;
    let promise = live.promise().await;
    live.expire(&promise);
    live.node.meddle(|call, answer| if call.method == "eth_chainId" { json("\"0x1\"") } else { answer });
    let error = live.outcome(&promise, NEVER_SENT).await.unwrap_err();
    assert!(matches!(&error, VerifyError::Unavailable(source) if source.to_string().contains("chain 1")), "{error:?}");
    live.node.meddle(|call, answer| if call.method == "eth_getBlockByNumber" { json("null") } else { answer });
    live.is_unknown(&promise, NEVER_SENT).await;
    live.devnet.faults().inject("*", farthing_devnet::Fault::HttpStatus(503), farthing_devnet::Times::UntilCleared);
    assert!(matches!(live.outcome(&promise, NEVER_SENT).await, Err(VerifyError::Unavailable(_))));
}
