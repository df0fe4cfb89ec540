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
async fn settle_all(rig: &Rig, requests: &[Value]) {
    for settled in join_all(requests.iter().map(|request| rig.settle(request))).await {
        settled.unwrap();
    }
}

fn nonces(rig: &Rig) -> Vec<u64> {
    rig.node.world().mined.iter().map(|signed| signed.tx().nonce).collect()
}

#[tokio::test]
async fn many_payments_go_out_at_once_on_one_line() {
    let rig = rig();
    settle_all(&rig, &requests(50).await).await;
    let transactions = nonces(&rig).len();
    assert_eq!(nonces(&rig), (0..u64::try_from(transactions).unwrap()).collect::<Vec<_>>());
    assert_eq!(rig.book.batches().iter().sum::<usize>(), 50);
    assert!(transactions < 10, "{transactions} transactions");
    assert_eq!(rig.node.world().balances[&pay_to()], U256::from(500_000));
    let round_trips = rig.node.round_trips();
    assert!(round_trips <= 150, "{round_trips} round trips for 50 payments");
}

#[tokio::test(start_paused = true)]
async fn a_thousand_payments_at_once_need_few_transactions_and_few_questions() {
    let rig = rig();
    rig.node.world().mines = false;
    rig.node.world().balances.insert(payer(), U256::from(10_000_000));
    let requests = requests(1_000).await;
    let node = rig.node.clone();
    let mine = async {
        loop {
            tokio::time::sleep(Duration::from_secs(2)).await;
            node.mine();
        }
    };
    tokio::select! {
        () = settle_all(&rig, &requests) => {}
        () = mine => unreachable!("it mines for ever"),
    }
    assert_eq!(rig.node.world().balances[&pay_to()], U256::from(10_000_000));
    assert_eq!(rig.book.batches().iter().sum::<usize>(), 1_000);
    let transactions = nonces(&rig);
    assert_eq!(transactions, (0..u64::try_from(transactions.len()).unwrap()).collect::<Vec<_>>());
    assert!(transactions.len() < 100, "{} transactions", transactions.len());
    assert!(rig.node.round_trips() < 1_000, "{} questions for 1,000 payments", rig.node.round_trips());
}

#[tokio::test]
async fn a_nonce_that_somebody_else_used_is_left_to_them() {
    let rig = rig();
    rig.settle(&numbered_request(1).await).await.unwrap();
    // Another program sends five transactions from the same account.
    rig.node.world().count += 5;
    settle_all(&rig, &requests(4).await[1..]).await;
    assert_eq!(nonces(&rig), [0, 6]);
    assert_eq!(rig.book.count("refused"), 1, "the number was used by somebody else, so nothing of ours can land under it");
}

#[tokio::test(start_paused = true)]
async fn a_payment_whose_number_somebody_else_has_used_is_dead_long_before_it_expires() {
    let rig = rig();
    let request = golden_request();
    // The node takes the transaction, loses it, and mines another one under its number.
    rig.node.fault("eth_sendRawTransaction", |world, _| {
        world.count += 1;
        Some(Ok(Ok(json_null())))
    });
    let settled = rig.settle(&request).await;
    assert!(matches!(settled, Err(SettleError::Unknown(_))), "{settled:?}");
    let Outcome::Failed(refusal) = rig.outcome(&request).await else { panic!("it can't land any more") };
    assert!(refusal.message.contains("overtaken"), "{refusal}");
    // Whoever's transaction it was that used the number, it was not this payment's.
    rig.node.world().count -= 1;
    assert_eq!(rig.outcome(&request).await, Outcome::Unknown);
}

#[tokio::test]
async fn a_transaction_that_arrived_twice_is_one_transaction() {
    let rig = rig();
    // A proxy sends the request twice: the copy is mined, the answer is that of the second.
    rig.node.fault("eth_sendRawTransaction", |world, params| {
        let raw = params[0].as_str().unwrap().to_owned();
        Some(Ok(world.send_raw_twice(&raw)))
    });
    let settlement = rig.settle(&golden_request()).await.unwrap();
    assert_eq!(rig.book.sent(), [settlement.transaction]);
    assert_eq!(nonces(&rig), [0]);
}

#[tokio::test]
async fn a_refusal_of_the_copy_is_no_refusal_of_the_transaction() {
    let words =
        ["insufficient funds for gas * price + value", "transaction underpriced", "replacement transaction underpriced"];
    for words in words {
        let rig = rig();
        rig.node.fault("eth_sendRawTransaction", move |world, params| {
            let raw = params[0].as_str().unwrap().to_owned();
            drop(world.send_raw_twice(&raw));
            Some(Ok(Err(CallError { code: -32_000, message: words.to_owned(), data: None })))
        });
        let settlement = rig.settle(&golden_request()).await.unwrap();
        assert_eq!(rig.book.sent(), [settlement.transaction], "{words}: one transaction, never another");
        assert_eq!(nonces(&rig), [0]);
    }
}

#[tokio::test]
async fn an_answer_that_got_lost_is_made_up_for_by_the_receipt() {
    let rig = rig();
    rig.node.fault("eth_sendRawTransaction", |world, params| {
        let raw = params[0].as_str().unwrap().to_owned();
        drop(world.send_raw_twice(&raw));
        Some(Err(NodeError::TimedOut))
    });
    rig.settle(&golden_request()).await.unwrap();
    assert_eq!(nonces(&rig), [0]);
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_never_arrived_is_broadcast_again() {
    let rig = rig();
    rig.node.fault("eth_sendRawTransaction", |_, _| Some(Err(NodeError::Unreachable)));
    let settlement = rig.settle(&golden_request()).await.unwrap();
    assert_eq!(rig.book.sent(), [settlement.transaction], "the same transaction, not another one");
    rig.node.refuse_next("eth_sendRawTransaction", -32_603, "Internal error");
    rig.settle(&numbered_request(2).await).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_the_node_forgot_is_broadcast_again() {
    let rig = rig();
    rig.node.fault("eth_sendRawTransaction", |_, _| Some(Ok(Ok(json_null()))));
    rig.settle(&golden_request()).await.unwrap();
    assert_eq!(nonces(&rig), [0]);
}

#[tokio::test]
async fn a_refused_transaction_gives_its_nonce_back() {
    let rig = rig();
    rig.node.refuse_next("eth_sendRawTransaction", -32_000, "insufficient funds for gas * price + value");
    match rig.settle(&golden_request()).await {
        Err(SettleError::NotSent(source)) => {
            let message = source.to_string();
            assert!(message.contains("insufficient funds") && message.contains("0xa0Ee7A14"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    for request in requests(3).await {
        rig.settle(&request).await.unwrap();
    }
    assert_eq!(nonces(&rig), [0, 1, 2]);
}

#[tokio::test]
async fn fees_that_became_too_low_are_asked_for_again() {
    let rig = rig();
    rig.node.refuse_next("eth_sendRawTransaction", -32_000, "max fee per gas less than block base fee");
    rig.settle(&golden_request()).await.unwrap();
    assert_eq!(nonces(&rig), [0]);
    let world = rig.node.world();
    let methods: Vec<&str> = world.calls.iter().map(|call| call.method).collect();
    let between = methods.split(|method| *method == "eth_sendRawTransaction").nth(1).unwrap();
    assert!(between.contains(&"eth_feeHistory"), "between the two broadcasts: {between:?}");
}

#[tokio::test(start_paused = true)]
async fn a_number_that_is_free_though_the_node_calls_it_used_is_insisted_on() {
    let rig = rig();
    for _ in 0..2 {
        rig.node.refuse_next("eth_sendRawTransaction", -32_000, "nonce too low");
    }
    let settlement = rig.settle(&golden_request()).await.unwrap();
    assert_eq!(rig.book.sent(), [settlement.transaction], "one transaction, never another");
}

#[tokio::test(start_paused = true)]
async fn a_gap_that_a_refused_transaction_leaves_is_filled() {
    let rig = rig();
    // The first is refused while another is on its way behind it.
    rig.node.delay_next("eth_sendRawTransaction", Duration::from_secs(1));
    rig.node.fault("eth_sendRawTransaction", |_, _| None);
    rig.node.refuse_next("eth_sendRawTransaction", -32_000, "insufficient funds for gas * price + value");
    let requests = requests(2).await;
    let second = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        rig.settle(&requests[1]).await
    };
    let (first, second) = tokio::join!(rig.settle(&requests[0]), second);
    assert!(matches!(first, Err(SettleError::NotSent(_))), "{first:?}");
    second.unwrap();
    assert_eq!(nonces(&rig), [0, 1]);
    let world = rig.node.world();
    let filler = world.mined[0].tx();
    assert!(filler.input.is_empty() && filler.value.is_zero(), "a transfer of nothing to oneself");
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_is_followed_even_if_nobody_waits_any_more() {
    let rig = rig();
    let request = golden_request();
    // The caller goes away in the middle of the broadcast, which never arrives.
    rig.node.fault("eth_sendRawTransaction", |_, _| Some(Err(NodeError::Unreachable)));
    let calls_before = {
        let settling = rig.settle(&request);
        tokio::pin!(settling);
        while rig.book.sent().is_empty() {
            let _ = tokio::time::timeout(Duration::ZERO, &mut settling).await;
        }
        rig.node.round_trips()
    };
    let next = rig.settle(&numbered_request(2).await).await;
    assert!(next.is_ok(), "{next:?}");
    assert!(rig.node.round_trips() > calls_before);
    assert!(matches!(rig.outcome(&request).await, Outcome::Settled(_)), "it was broadcast all the same");
    assert_eq!(nonces(&rig), [0, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_down_for_a_while_loses_nothing() {
    let rig = rig();
    rig.node.world().mines = false;
    let requests = requests(10).await;
    let settling = join_all(requests.iter().map(|request| rig.settle(request)));
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
    let rig = rig();
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
    rig.settle(&golden_request()).await.unwrap();
}

#[tokio::test]
async fn the_follower_ends_with_its_chain() {
    let rig = rig();
    rig.settle(&golden_request()).await.unwrap();
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
