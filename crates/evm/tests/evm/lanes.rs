//! Sending accounts over time: batches, crashes, several nodes on one book, other histories, empty accounts.

use std::time::Duration;

use farthing_core::books::SettlementState;
use farthing_core::erased::AnyFacilitatorScheme;
use farthing_core::scheme::{Outcome, SettleError, Settlement, VerifyError};
use farthing_devnet::Mining;
use farthing_evm::abi::MULTICALL3;
use farthing_evm::{B256, U256};
use farthing_testkit::golden;
use futures_util::future::join_all;
use tokio::time::Instant;

use crate::devnet::{live, live_on};
use crate::support::*;

const MOMENT: Duration = Duration::from_millis(50);

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

fn not_sent(settled: Result<Settlement, SettleError>) -> String {
    match settled {
        Err(SettleError::NotSent(source)) => source.to_string(),
        other => panic!("expected that nothing was sent, got {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_single_payment_goes_as_a_plain_call_and_a_burst_as_one_batch() {
    let rig = rig();
    rig.node.delay_next("eth_sendRawTransaction", Duration::from_millis(300));
    let (first, rest) = (numbered_request(1).await, join_all((2..=11).map(numbered_request)).await);
    let burst = async {
        tokio::time::sleep(MOMENT).await;
        join_all(rest.iter().map(|request| rig.settle(request))).await
    };
    let (first, burst) = tokio::join!(rig.settle(&first), burst);
    first.unwrap();
    assert!(burst.iter().all(Result::is_ok), "{burst:?}");
    assert_eq!(rig.book.batches(), [1, 10]);
    let world = rig.node.world();
    assert_eq!(world.mined[0].tx().to.to(), Some(&usdc()));
    assert_eq!(world.mined[1].tx().to.to(), Some(&MULTICALL3));
}

/// More payments come than an account may have transactions in a block.
#[tokio::test(start_paused = true)]
async fn over_slow_blocks_nobody_waits_much_longer_than_a_block() {
    const BLOCK: Duration = Duration::from_secs(2);
    const BETWEEN_BUYERS: Duration = Duration::from_millis(43);
    let rig = rig();
    rig.node.world().mines = false;
    rig.node.world().balances.insert(payer(), U256::from(u64::MAX));
    let requests = join_all((1..=400).map(numbered_request)).await;
    let buyers = (1..).zip(&requests).map(|(number, request)| {
        let rig = &rig;
        async move {
            tokio::time::sleep(BETWEEN_BUYERS * number).await;
            let came = Instant::now();
            rig.settle(request).await.unwrap();
            came.elapsed()
        }
    });
    let blocks = async {
        loop {
            tokio::time::sleep(BLOCK).await;
            rig.node.mine();
        }
    };
    let waits = tokio::select! { waits = join_all(buyers) => waits, () = blocks => unreachable!() };
    // The first blocks teach how quickly they come.
    let mut waits = waits[200..].to_vec();
    waits.sort_unstable();
    assert!(waits[100] <= BLOCK / 2 + Duration::from_millis(150), "{waits:?}");
    assert!(waits[199] <= BLOCK + Duration::from_millis(300), "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn a_bad_payment_in_a_batch_harms_nobody_and_may_go_again_alone() {
    let rig = rig();
    let requests = join_all((1..=5).map(numbered_request)).await;
    // When the batch is broadcast, the third authorization has been cancelled.
    rig.node.fault("eth_sendRawTransaction", |world, _| {
        world.used.insert((payer(), B256::from(U256::from(3))));
        None
    });
    let settled = join_all(requests.iter().map(|request| rig.settle(request))).await;
    assert_eq!(rig.book.batches(), [5]);
    for (number, settled) in (1..).zip(settled) {
        match settled {
            Ok(_) if number != 3 => {}
            Err(SettleError::Spoilt(_)) if number == 3 => {}
            other => panic!("{number}: {other:?}"),
        }
    }
    assert_eq!(rig.node.world().balances[&pay_to()], U256::from(40_000));
}

#[tokio::test(start_paused = true)]
async fn a_payment_that_must_go_alone_is_in_no_batch() {
    let rig = rig();
    let requests = join_all((1..=3).map(numbered_request)).await;
    let alone = Right { alone: true, ..Right::new() };
    let (one, two, three) =
        tokio::join!(rig.settle(&requests[0]), rig.settle_with(&requests[1], alone), rig.settle(&requests[2]));
    assert!(one.is_ok() && two.is_ok() && three.is_ok());
    let mut batches = rig.book.batches();
    batches.sort_unstable();
    assert_eq!(batches, [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn what_was_given_up_is_not_sent() {
    let rig = rig();
    let settled = rig.settle_with(&golden_request(), Right { given_up: true, ..Right::new() }).await;
    assert!(not_sent(settled).contains("given up"));
    assert!(rig.book.sent().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_copy_of_a_payment_that_is_in_the_book_is_not_sent_again() {
    let rig = rig();
    rig.node.world().mines = false;
    let request = golden_request();
    let mine = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        rig.node.mine();
    };
    let (one, two, ()) =
        tokio::join!(rig.settle(&request), rig.settle_with(&request, Right { alone: true, ..Right::new() }), mine);
    assert!(matches!((&one, &two), (Ok(_), Err(SettleError::Taken)) | (Err(SettleError::Taken), Ok(_))), "{one:?} {two:?}");
    assert_eq!(rig.book.sent().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stuck_transaction_is_replaced_with_higher_fees_under_its_number() {
    let rig = rig();
    rig.node.world().mines = false;
    let request = golden_request();
    let mine = async {
        tokio::time::sleep(Duration::from_secs(20)).await;
        rig.node.mine();
    };
    let (settled, ()) = tokio::join!(rig.settle(&request), mine);
    assert_eq!(rig.book.count("replacing"), 1);
    let settlement = settled.unwrap();
    assert!(!rig.book.sent().contains(&settlement.transaction), "the replacement landed");
    let (mined, nonce, tip_wei) = {
        let world = rig.node.world();
        let transaction = world.mined[0].tx();
        (world.mined.len(), transaction.nonce, transaction.max_priority_fee_per_gas)
    };
    assert_eq!((mined, nonce, tip_wei), (1, 0, 1_000_000 + 125_000 + 1));
    let state = rig.entry(&request).await.unwrap().state;
    assert!(matches!(state, SettlementState::Sending(id) if id == settlement.transaction));
}

#[tokio::test(start_paused = true)]
async fn what_expired_is_replaced_by_nothing() {
    let rig = rig();
    rig.node.world().mines = false;
    let request = golden_request();
    let expire = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        rig.node.world().timestamp = golden::VALID_BEFORE;
        rig.node.mine();
        rig.node.world().pool.clear();
        tokio::time::sleep(Duration::from_secs(15)).await;
        rig.node.mine();
    };
    // The first block mines it before it expires, unless the pool has lost it.
    rig.node.fault("eth_sendRawTransaction", |_, _| Some(Err(farthing_evm::rpc::NodeError::TimedOut)));
    for _ in 0..3 {
        rig.node.fault("eth_sendRawTransaction", |_, _| Some(Err(farthing_evm::rpc::NodeError::TimedOut)));
    }
    let (settled, ()) = tokio::join!(rig.settle(&request), expire);
    assert!(settled.is_err(), "{settled:?}");
    let world = rig.node.world();
    assert_eq!(world.mined.len(), 1);
    assert!(world.mined[0].tx().input.is_empty(), "no gas is burnt on what can only revert");
}

#[tokio::test(start_paused = true)]
async fn what_a_crash_left_is_broadcast_again_and_the_line_goes_on() {
    let before = rig();
    before.node.world().mines = false;
    let (node, book, request) = (before.node.clone(), before.book.clone(), golden_request());
    {
        let settling = before.settle(&request);
        tokio::pin!(settling);
        let _ = tokio::time::timeout(Duration::from_secs(1), &mut settling).await;
    }
    drop(before);
    assert_eq!(book.sent().len(), 1);
    // The node has forgotten it, too.
    node.world().pool.clear();
    let after = rig_on(node.clone(), book.clone(), |_| {});
    AnyFacilitatorScheme::start(&after.facilitator);
    until("the second broadcast", || !node.world().pool.is_empty()).await;
    node.world().mines = true;
    node.mine();
    after.settle(&numbered_request(2).await).await.unwrap();
    assert!(matches!(after.outcome(&request).await, Outcome::Settled(_)));
    let nonces: Vec<u64> = node.world().mined.iter().map(|signed| signed.tx().nonce).collect();
    assert_eq!(nonces, [0, 1]);
    assert_eq!(book.sent().len(), 2, "the same bytes, not another transaction");
}

#[tokio::test(start_paused = true)]
async fn another_node_takes_over_what_a_dead_one_left_and_the_dead_one_sends_nothing_more() {
    let one = rig();
    one.settle(&numbered_request(1).await).await.unwrap();
    let two = rig_on(one.node.clone(), one.book.join(), |_| {});
    AnyFacilitatorScheme::start(&two.facilitator);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let standby = match AnyFacilitatorScheme::ready(&two.facilitator).await {
        Err(VerifyError::Unavailable(source)) => source.to_string(),
        other => panic!("{other:?}"),
    };
    assert!(standby.contains("other nodes send"), "{standby}");
    assert!(not_sent(two.settle(&numbered_request(2).await).await).contains("other nodes send"));
    // The first dies with a transaction under way, but does not know that it is dead.
    one.node.world().mines = false;
    let third = numbered_request(3).await;
    {
        let settling = one.settle(&third);
        tokio::pin!(settling);
        let _ = tokio::time::timeout(Duration::from_secs(1), &mut settling).await;
    }
    one.book.memory.die();
    until("the take-over", || two.chain.relayer().ready().is_ok()).await;
    let (fourth, fifth) = (numbered_request(4).await, numbered_request(5).await);
    let mine = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        one.node.mine();
    };
    let (by_two, by_one, ()) = tokio::join!(two.settle(&fourth), one.settle(&fifth), mine);
    by_two.unwrap();
    not_sent(by_one);
    assert_eq!(two.book.batches(), [1]);
    assert_eq!(one.book.batches(), [1, 1], "nothing after its death");
    assert!(matches!(two.outcome(&third).await, Outcome::Settled(_)));
    let nonces: Vec<u64> = one.node.world().mined.iter().map(|signed| signed.tx().nonce).collect();
    assert_eq!(nonces, [0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_stops_gives_its_account_to_the_others() {
    let one = rig();
    one.settle(&numbered_request(1).await).await.unwrap();
    let two = rig_on(one.node.clone(), one.book.join(), |_| {});
    AnyFacilitatorScheme::start(&two.facilitator);
    AnyFacilitatorScheme::stop(&one.facilitator).await;
    assert!(not_sent(one.settle(&numbered_request(2).await).await).contains("stopping"));
    two.settle(&numbered_request(3).await).await.unwrap();
    let nonces: Vec<u64> = one.node.world().mined.iter().map(|signed| signed.tx().nonce).collect();
    assert_eq!(nonces, [0, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_transaction_whose_block_vanished_is_sent_again_and_its_payment_is_open() {
    let rig = rig();
    let request = golden_request();
    let settlement = rig.settle(&request).await.unwrap();
    until("the note of the landing", || rig.book.count("landed") == 1).await;
    rig.node.world().reorganise();
    until("the reopening", || rig.book.count("reopened") == 1).await;
    assert!(matches!(rig.entry(&request).await.unwrap().state, SettlementState::Sending(_)));
    until("the second landing", || rig.book.count("landed") == 2).await;
    assert_eq!(rig.outcome(&request).await, Outcome::Settled(settlement));
    assert_eq!(rig.book.sent().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_final_is_followed_no_further() {
    let rig = rig_with(|config| config.confirm.final_blocks = 3);
    rig.settle(&golden_request()).await.unwrap();
    for _ in 0..2 {
        rig.node.mine();
    }
    until("the end", || rig.book.count("closed") == 1).await;
    let before = rig.node.round_trips();
    tokio::time::sleep(Duration::from_mins(5)).await;
    assert!(rig.node.round_trips() <= before, "nothing is asked while nothing is under way");
}

#[tokio::test(start_paused = true)]
async fn no_more_is_spent_for_a_payer_in_a_day_than_the_operator_allows() {
    // About 137,500 units of gas at 1.001 gwei each.
    let rig = rig_with(|config| config.gas.daily_budget_per_payer_gwei = Some(200_000));
    rig.settle(&numbered_request(1).await).await.unwrap();
    let refused = not_sent(rig.settle(&numbered_request(2).await).await);
    assert!(refused.contains("200000 gwei") && refused.contains(golden::PAYER), "{refused}");
    assert_eq!(rig.book.sent().len(), 1);
}

#[tokio::test]
async fn a_payment_that_is_not_worth_its_gas_is_refused() {
    let rig = rig_with(|config| {
        config.gas.max_share_percent = Some(10);
        config.gas.native_price_usd = Some("3000".parse().unwrap());
    });
    let refusal = rig.refusal(&golden_request()).await;
    assert!(refusal.message.contains("at most 10 %"), "{}", refusal.message);
    let rig = rig_with(|config| config.gas.minimum_amount = Some("$0.02".parse().unwrap()));
    assert!(rig.refusal(&golden_request()).await.message.contains("at least $0.02"));
}

#[tokio::test]
async fn an_account_without_money_leaves_the_work_to_the_others() {
    let poor = live(Mining::Instant, |_| {}).await;
    let (first, second) = (signer(RELAYER_KEY).address(), signer(golden::SECOND_KEY).address());
    poor.devnet.set_balance(first, U256::ZERO);
    let both = live_on(poor.devnet.clone(), Book::default(), &[RELAYER_KEY, golden::SECOND_KEY], |_| {});
    let requests = both.payments(6).await;
    for request in &requests[..5] {
        both.settle(request).await.unwrap();
    }
    assert_eq!(both.received(), U256::from(50_000));
    AnyFacilitatorScheme::ready(&both.facilitator).await.unwrap();
    both.devnet.set_balance(second, U256::ZERO);
    let broke = live_on(poor.devnet.clone(), Book::default(), &[RELAYER_KEY, golden::SECOND_KEY], |_| {});
    let refused = not_sent(broke.settle(&requests[5]).await);
    assert!(refused.contains("nsufficient"), "{refused}");
    let error = AnyFacilitatorScheme::ready(&broke.facilitator).await.unwrap_err();
    assert!(format!("{error:?}").contains("Broke"), "{error:?}");
}

#[tokio::test]
async fn two_accounts_share_the_load() {
    let live = live(Mining::Manual, |_| {}).await;
    let both = live_on(live.devnet.clone(), Book::default(), &[RELAYER_KEY, golden::SECOND_KEY], |config| {
        config.relay.max_in_flight = 1;
        config.relay.max_batch_gas_units = 1;
    });
    let accounts = [RELAYER_KEY, golden::SECOND_KEY].map(|key| signer(key).address());
    let before = accounts.map(|account| both.devnet.balance(account));
    let requests = both.payments(8).await;
    let settled = both.mining(join_all(requests.iter().map(|request| both.settle(request)))).await;
    assert!(settled.iter().all(Result::is_ok), "{settled:?}");
    for (account, before) in accounts.into_iter().zip(before) {
        assert!(both.devnet.balance(account) < before, "{account} has sent nothing");
    }
}

#[tokio::test]
async fn a_real_reorganisation_loses_nothing() {
    let live = live(Mining::Manual, |_| {}).await;
    let request = live.payments(1).await.remove(0);
    let settlement = live.mining(live.settle(&request)).await.unwrap();
    let depth = live.devnet.block_number();
    live.devnet.reorg(depth.min(2)).unwrap();
    let again = async {
        while live.book.count("reopened") == 0 || live.book.count("landed") < 2 {
            tokio::time::sleep(MOMENT).await;
        }
    };
    live.mining(tokio::time::timeout(Duration::from_secs(30), again)).await.expect("it is sent again");
    assert_eq!(live.received(), U256::from(10_000));
    assert_eq!(live.entry(&request).await.unwrap().transaction, settlement.transaction);
}
