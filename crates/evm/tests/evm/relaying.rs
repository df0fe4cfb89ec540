//! The sending account: many transactions at once on one line of nonces, over a node that misbehaves.

use std::sync::Arc;
use std::time::Duration;

use farthing_core::scheme::{Outcome, SettleError};
use farthing_evm::U256;
use farthing_evm::rpc::{CallError, NodeError};
use futures_util::future::join_all;
use serde_json::Value;

use crate::support::*;

async fn requests(count: u64) -> Vec<Value> {
    join_all((1..=count).map(numbered_request)).await
}

/// Settles all at once; everything must succeed.
async fn settle_all(rig: &Rig, requests: &[Value], log: &Log) {
    for settled in join_all(requests.iter().map(|request| rig.settle(request, log))).await {
        settled.unwrap();
    }
}

fn nonces(rig: &Rig) -> Vec<u64> {
    rig.node.world().mined.iter().map(|signed| signed.tx().nonce).collect()
}

#[tokio::test]
async fn many_payments_go_out_at_once_on_one_line() {
    let (rig, log) = (rig(), Log::default());
    settle_all(&rig, &requests(50).await, &log).await;
    assert_eq!(nonces(&rig), (0..50).collect::<Vec<_>>());
    assert_eq!(rig.node.world().balances[&pay_to()], U256::from(500_000));
    let round_trips = rig.node.round_trips();
    assert!(round_trips <= 150, "{round_trips} round trips for 50 payments");
}

#[tokio::test(start_paused = true)]
async fn however_many_payments_wait_there_is_one_question_at_a_time() {
    let (rig, log) = (rig(), Log::default());
    rig.node.world().mines = false;
    let requests = requests(50).await;
    let settling = join_all(requests.iter().map(|request| rig.settle(request, &log)));
    let node = rig.node.clone();
    let mining = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let waiting = node.round_trips();
        assert!(waiting - 100 < 50, "{} questions in 2 seconds", waiting - 100);
        node.mine();
    };
    let (settled, ()) = tokio::join!(settling, mining);
    assert!(settled.iter().all(Result::is_ok));
    assert!(rig.node.round_trips() < 160, "{} round trips for 50 payments", rig.node.round_trips());
}

#[tokio::test]
async fn a_nonce_that_somebody_else_used_is_left_to_them() {
    let (rig, log) = (rig(), Log::default());
    rig.settle(&numbered_request(1).await, &log).await.unwrap();
    // Another program sends five transactions from the same account.
    rig.node.world().count += 5;
    settle_all(&rig, &requests(4).await[1..], &log).await;
    assert_eq!(nonces(&rig), [0, 6, 7, 8]);
}

#[tokio::test]
async fn a_transaction_that_arrived_twice_is_one_transaction() {
    let (rig, log) = (rig(), Log::default());
    // A proxy sends the request twice: the copy is mined, the answer is that of the second.
    rig.node.fault("eth_sendRawTransaction", |world, params| {
        let raw = params[0].as_str().unwrap().to_owned();
        Some(Ok(world.send_raw_twice(&raw)))
    });
    let settlement = rig.settle(&golden_request(), &log).await.unwrap();
    assert_eq!(log.sent(), [settlement.transaction]);
    assert_eq!(nonces(&rig), [0]);
}

#[tokio::test]
async fn a_refusal_of_the_copy_is_no_refusal_of_the_transaction() {
    let words =
        ["insufficient funds for gas * price + value", "transaction underpriced", "replacement transaction underpriced"];
    for words in words {
        let (rig, log) = (rig(), Log::default());
        rig.node.fault("eth_sendRawTransaction", move |world, params| {
            let raw = params[0].as_str().unwrap().to_owned();
            drop(world.send_raw_twice(&raw));
            Some(Ok(Err(CallError { code: -32_000, message: words.to_owned(), data: None })))
        });
        let settlement = rig.settle(&golden_request(), &log).await.unwrap();
        assert_eq!(log.sent(), [settlement.transaction], "{words}: one transaction, never another");
        assert_eq!(nonces(&rig), [0]);
    }
}

#[tokio::test]
async fn an_answer_that_got_lost_is_made_up_for_by_the_receipt() {
    let (rig, log) = (rig(), Log::default());
    rig.node.fault("eth_sendRawTransaction", |world, params| {
        let raw = params[0].as_str().unwrap().to_owned();
        drop(world.send_raw_twice(&raw));
        Some(Err(NodeError::TimedOut))
    });
    rig.settle(&golden_request(), &log).await.unwrap();
    assert_eq!(nonces(&rig), [0]);
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_never_arrived_is_broadcast_again() {
    let (rig, log) = (rig(), Log::default());
    rig.node.fault("eth_sendRawTransaction", |_, _| Some(Err(NodeError::Unreachable)));
    let settlement = rig.settle(&golden_request(), &log).await.unwrap();
    assert_eq!(log.sent(), [settlement.transaction], "the same transaction, not another one");
    rig.node.refuse_next("eth_sendRawTransaction", -32_603, "Internal error");
    rig.settle(&numbered_request(2).await, &log).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_the_node_forgot_is_broadcast_again() {
    let (rig, log) = (rig(), Log::default());
    rig.node.fault("eth_sendRawTransaction", |_, _| Some(Ok(Ok(json_null()))));
    rig.settle(&golden_request(), &log).await.unwrap();
    assert_eq!(nonces(&rig), [0]);
}

#[tokio::test]
async fn a_refused_transaction_gives_its_nonce_back() {
    let (rig, log) = (rig(), Log::default());
    rig.node.refuse_next("eth_sendRawTransaction", -32_000, "insufficient funds for gas * price + value");
    match rig.settle(&golden_request(), &log).await {
        Err(SettleError::NotSent(source)) => {
            let message = source.to_string();
            assert!(message.contains("insufficient funds") && message.contains("0xa0Ee7A14"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    settle_all(&rig, &requests(3).await, &log).await;
    assert_eq!(nonces(&rig), [0, 1, 2]);
}

#[tokio::test]
async fn fees_that_became_too_low_are_asked_for_again() {
    let (rig, log) = (rig(), Log::default());
    rig.node.refuse_next("eth_sendRawTransaction", -32_000, "max fee per gas less than block base fee");
    rig.settle(&golden_request(), &log).await.unwrap();
    assert_eq!(nonces(&rig), [0]);
    let world = rig.node.world();
    assert_eq!(world.calls.iter().filter(|call| call.method == "eth_feeHistory").count(), 2);
}

#[tokio::test]
async fn a_node_that_always_refuses_is_given_up_on() {
    let (rig, log) = (rig(), Log::default());
    for _ in 0..4 {
        rig.node.refuse_next("eth_sendRawTransaction", -32_000, "nonce too low");
    }
    match rig.settle(&golden_request(), &log).await {
        Err(SettleError::NotSent(source)) => assert!(source.to_string().contains("another program"), "{source}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_gap_that_a_refused_transaction_leaves_is_filled() {
    let (rig, log) = (rig(), Log::default());
    // The first is refused while two others are on their way behind it.
    rig.node.refuse_next("eth_sendRawTransaction", -32_000, "insufficient funds for gas * price + value");
    let requests = requests(3).await;
    let settled = join_all(requests.iter().map(|request| rig.settle(request, &log))).await;
    assert!(matches!(settled[0], Err(SettleError::NotSent(_))), "{:?}", settled[0]);
    assert!(settled[1].is_ok() && settled[2].is_ok(), "{settled:?}");
    assert_eq!(nonces(&rig), [0, 1, 2]);
    let world = rig.node.world();
    let filler = world.mined[0].tx();
    assert!(filler.input.is_empty() && filler.value.is_zero(), "a transfer of nothing to oneself");
}

#[tokio::test(start_paused = true)]
async fn a_payment_that_comes_in_time_takes_the_free_nonce() {
    let (rig, log) = (rig(), Log::default());
    rig.settle(&numbered_request(9).await, &log).await.unwrap();
    rig.node.refuse_next("eth_sendRawTransaction", -32_000, "insufficient funds for gas * price + value");
    let requests = requests(3).await;
    let late = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        rig.settle(&requests[2], &log).await
    };
    let early = join_all(requests.iter().take(2).map(|request| rig.settle(request, &log)));
    let (early, late) = tokio::join!(early, late);
    assert!(early[0].is_err() && early[1].is_ok() && late.is_ok(), "{early:?} {late:?}");
    assert_eq!(nonces(&rig), [0, 1, 2]);
    assert!(rig.node.world().mined.iter().all(|signed| !signed.tx().input.is_empty()), "no gap had to be filled");
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_is_followed_even_if_nobody_waits_any_more() {
    let (rig, log) = (rig(), Log::default());
    let request = golden_request();
    // The caller goes away in the middle of the broadcast, which never arrives.
    rig.node.fault("eth_sendRawTransaction", |_, _| Some(Err(NodeError::Unreachable)));
    let calls_before = {
        let settling = rig.settle(&request, &log);
        tokio::pin!(settling);
        while log.sent().is_empty() {
            let _ = tokio::time::timeout(Duration::ZERO, &mut settling).await;
        }
        rig.node.round_trips()
    };
    let transaction = log.sent()[0].clone();
    let next = rig.settle(&numbered_request(2).await, &log).await;
    assert!(next.is_ok(), "{next:?}");
    assert!(rig.node.round_trips() > calls_before);
    assert!(matches!(rig.outcome(&request, &transaction).await, Outcome::Settled(_)), "it was broadcast all the same");
    assert_eq!(nonces(&rig), [0, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_down_for_a_while_loses_nothing() {
    let (rig, log) = (rig(), Log::default());
    rig.node.world().mines = false;
    let requests = requests(10).await;
    let settling = join_all(requests.iter().map(|request| rig.settle(request, &log)));
    let node = rig.node.clone();
    let trouble = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        node.world().down = Some(NodeError::Unreachable);
        tokio::time::sleep(Duration::from_secs(10)).await;
        node.world().down = None;
        node.mine();
    };
    let (settled, ()) = tokio::join!(settling, trouble);
    assert!(settled.iter().all(Result::is_ok));
}

#[tokio::test]
async fn odd_receipts_are_not_believed() {
    let (rig, log) = (rig(), Log::default());
    for odd in ["{}", "\"0x1\"", "[]"] {
        rig.node.answer_next("eth_getTransactionReceipt", odd);
    }
    // The receipt of another transaction.
    rig.node.fault("eth_getTransactionReceipt", |world, params| {
        let hash: farthing_evm::B256 = params[0].as_str().unwrap().parse().unwrap();
        let mut receipt = world.receipts[&hash].clone();
        receipt["transactionHash"] = Value::String(farthing_evm::B256::repeat_byte(1).to_string());
        Some(Ok(Ok(serde_json::value::to_raw_value(&receipt).unwrap())))
    });
    rig.settle(&golden_request(), &log).await.unwrap();
}

#[tokio::test]
async fn the_follower_ends_with_its_chain() {
    let rig = rig();
    rig.settle(&golden_request(), &Log::default()).await.unwrap();
    let chain = Arc::downgrade(&rig.chain);
    let node = Arc::downgrade(&rig.node);
    drop(rig);
    tokio::task::yield_now().await;
    assert!(chain.upgrade().is_none());
    assert!(node.upgrade().is_none(), "nothing keeps asking the node");
}

fn json_null() -> Box<serde_json::value::RawValue> {
    serde_json::value::RawValue::NULL.to_owned()
}
