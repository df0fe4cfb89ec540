//! Histories that change, nodes that have forgotten, and numbers that are taken: what a relayer may conclude from them.

use std::sync::atomic::Ordering;
use std::time::Duration;

use farthing_core::books::{SettlementState, Settlements};
use farthing_core::scheme::SettleError;
use farthing_evm::B256;
use farthing_evm::rpc::{CallError, NodeError};
use serde_json::value::to_raw_value;
use serde_json::{Value, json};

use crate::support::*;

/// Waits until something is so, in the paused time of a test.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..10_000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{what} has not come about");
}

impl Rig {
    /// What the engine does when a settlement is told.
    async fn settle_and_write(&self, request: &Value) {
        let settlement = self.settle(request).await.unwrap();
        let key = self.read(request).unwrap().record.key;
        self.book.memory.settled(key, &settlement, farthing_core::time::UnixSeconds(NOW)).await.unwrap();
    }

    async fn state(&self, request: &Value) -> SettlementState {
        self.entry(request).await.unwrap().state
    }
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_moved_to_another_block_is_judged_again() {
    let rig = rig();
    let request = golden_request();
    rig.settle_and_write(&request).await;
    until("the note of the landing", || rig.book.count("landed") == 1).await;
    // In the other history the same transaction is mined behind one that used its authorization up.
    {
        let mut world = rig.node.world();
        let transaction = world.mined[0].clone();
        world.reorganise();
        world.used.insert((payer(), transaction_nonce(&request)));
        world.pool.push(transaction);
        world.mine();
    }
    until("the second landing", || rig.book.count("landed") == 2).await;
    assert_eq!(rig.book.count("reopened"), 1);
    assert!(matches!(rig.state(&request).await, SettlementState::Sending(_)), "nothing is concluded from the first block");
}

fn transaction_nonce(request: &Value) -> B256 {
    request["paymentPayload"]["payload"]["authorization"]["nonce"].as_str().unwrap().parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_receipt_of_another_history_confirms_nothing() {
    let rig = rig();
    rig.node.world().mines = false;
    // A node behind the same address has it mined in a block that the others do not have.
    rig.node.fault("eth_getTransactionReceipt", |world, params| {
        let receipt = json!({
            "transactionHash": params[0], "status": "0x1", "blockNumber": format!("{:#x}", world.height),
            "blockHash": B256::repeat_byte(0xee), "gasUsed": "0x15000", "effectiveGasPrice": "0x1", "logs": [],
        });
        Some(Ok(Ok(to_raw_value(&receipt).unwrap())))
    });
    let request = golden_request();
    let mine = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(rig.book.count("landed"), 0, "the orphan was not believed");
        rig.node.mine();
    };
    let (settled, ()) = tokio::join!(rig.settle(&request), mine);
    assert!(settled.is_ok(), "{settled:?}");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_forgot_an_old_receipt_holds_up_nobody() {
    for forgotten in [Ok(to_raw_value(&Value::Null).unwrap()), Err(pruned())] {
        let rig = rig_with(|config| config.confirm.final_blocks = 3);
        rig.settle(&numbered_request(1).await).await.unwrap();
        until("the note of the landing", || rig.book.count("landed") == 1).await;
        // From now on the first receipt is gone, and a jump makes everything be looked at again.
        let old = *rig.node.world().mined[0].hash();
        rig.node.world().height += 100;
        for _ in 0..3_000 {
            let forgotten = forgotten.clone();
            rig.node.fault("eth_getTransactionReceipt", move |_, params| {
                (params[0] == old.to_string()).then(|| Ok(forgotten.clone()))
            });
        }
        rig.settle(&numbered_request(2).await).await.unwrap();
        until("the end of the first", || rig.book.count("closed") == 1).await;
    }
}

fn pruned() -> CallError {
    CallError { code: -32_000, message: "transaction indexing is in progress".to_owned(), data: None }
}

#[tokio::test(start_paused = true)]
async fn a_late_receipt_is_still_taken_after_the_number_was_given_up() {
    let rig = rig_with(|config| config.confirm.timeout_milliseconds = 20_000);
    // The node counts the transaction at once, and has its receipt only much later.
    rig.node.fault("eth_sendRawTransaction", |_, _| None);
    for _ in 0..2_000 {
        rig.node.fault("eth_getTransactionReceipt", |world, _| {
            (world.round_trips < 300).then(|| Ok(Ok(to_raw_value(&Value::Null).unwrap())))
        });
    }
    let request = golden_request();
    let settled = rig.settle(&request).await;
    assert!(matches!(settled, Ok(_) | Err(SettleError::Unknown(_))), "{settled:?}");
    rig.node.world().faults.clear();
    until("the landing", || rig.book.count("landed") == 1).await;
    assert_eq!(rig.book.count("closed"), 0, "it is followed until it is final");
}

/// A node that dies while its transaction is under way, and the next one on its book.
async fn taken_over(change: impl Fn(&Book)) -> (Rig, Rig) {
    let rig = rig();
    rig.node.world().mines = false;
    // The chain's node has lost it.
    rig.node.fault("eth_sendRawTransaction", |_, _| Some(Ok(Ok(to_raw_value(&json!(B256::ZERO)).unwrap()))));
    let request = golden_request();
    tokio::select! {
        settled = rig.settle(&request) => panic!("{settled:?}"),
        () = until("the sending", || !rig.book.sent().is_empty()) => {}
    }
    rig.book.memory.die();
    rig.node.world().pool.clear();
    let book = rig.book.join();
    change(&book);
    let again = rig_on(rig.node.clone(), book, |_| {});
    again.chain.relayer().start();
    (rig, again)
}

#[tokio::test(start_paused = true)]
async fn a_replacement_whose_write_was_not_answered_is_known_when_it_lands() {
    let (_first, rig) = taken_over(|book| {
        book.loses_answer_of_replacing.store(true, Ordering::Relaxed);
    })
    .await;
    until("the replacement", || rig.book.count("replacing") == 1).await;
    rig.node.world().pool.clear();
    until("its broadcast", || !rig.node.world().pool.is_empty()).await;
    rig.node.mine();
    until("the note of the landing", || rig.book.count("landed") == 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_is_asked_nothing_while_the_book_does_not_say_what_to_broadcast() {
    let (_first, second) = taken_over(|_| {}).await;
    until("the broadcast", || !second.node.world().pool.is_empty()).await;
    second.book.memory.die();
    let third = rig_on(second.node.clone(), second.book.join(), |_| {});
    third.chain.relayer().start();
    until("the end of the lease", || second.chain.relayer().ready().is_err()).await;
    second.node.mine();
    until("the landing at the other node", || third.book.count("landed") == 1).await;
    assert_eq!(second.node.world().empty_round_trips, 0);
}

#[tokio::test(start_paused = true)]
async fn the_relayer_goes_on_after_a_panic_of_its_node() {
    let rig = rig();
    rig.settle(&numbered_request(1).await).await.unwrap();
    rig.node.fault("eth_getBlockByNumber", |_, _| panic!("a bug in somebody's node"));
    let settled = rig.settle(&numbered_request(2).await).await;
    assert!(settled.is_ok(), "{settled:?}");
    assert!(!matches!(rig.node.world().down, Some(NodeError::Unreachable)));
}
