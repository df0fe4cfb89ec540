//! What one node leaves to another, or to itself: accounts, gaps, expired payments, lost answers, budgets.

use std::fmt::Write;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use farthing_core::books::{LaneClaim, LaneId, Outbox, SettlementState};
use farthing_core::erased::AnyFacilitatorScheme;
use farthing_core::reason::Reason;
use farthing_core::scheme::{Outcome, SettleError};
use farthing_evm::config::ChainConfig;
use farthing_evm::{Address, U256};
use farthing_testkit::golden;
use futures_util::future::join_all;
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use serde_json::Value;

use crate::support::*;

const MOMENT: Duration = Duration::from_millis(50);
/// Longer than a node with too many accounts waits until it gives one back, and another until it asks for one.
const UNTIL_SHARED: Duration = Duration::from_secs(15);
const KEYS: [&str; 2] = [RELAYER_KEY, golden::SECOND_KEY];

/// Waits until something is so, in the paused time of a test.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..10_000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(MOMENT).await;
    }
    panic!("{what} has not come about");
}

fn nonces(rig: &Rig) -> Vec<u64> {
    rig.node.world().mined.iter().map(|signed| signed.tx().nonce).collect()
}

/// Begins to settle, and goes away.
async fn begin(rig: &Rig, request: &Value) {
    let settling = tokio::time::timeout(Duration::from_secs(1), rig.settle(request)).await;
    assert!(settling.is_err(), "{settling:?}");
}

/// Checks that every account is held by a node that is alive.
async fn nobody_gets_an_account_of(book: &Book) {
    let stranger = book.join();
    for key in KEYS {
        let account = signer(key).address().to_string().parse().unwrap();
        let lane = LaneId { network: golden::NETWORK.parse().unwrap(), account };
        assert_eq!(stranger.take(&lane).await.unwrap(), LaneClaim::Theirs, "{lane}");
    }
}

#[tokio::test(start_paused = true)]
async fn two_nodes_share_the_accounts_and_one_gets_all_when_the_other_dies() {
    let first = rig();
    let (node, book) = (first.node.clone(), first.book.clone());
    drop(first);
    let one = rig_of(node.clone(), book.clone(), &KEYS, |_| {});
    AnyFacilitatorScheme::start(&one.facilitator);
    until("the first node has an account", || one.chain.relayer().ready().is_ok()).await;
    tokio::time::sleep(UNTIL_SHARED).await;
    nobody_gets_an_account_of(&book).await;
    let two = rig_of(node.clone(), book.join(), &KEYS, |_| {});
    AnyFacilitatorScheme::start(&two.facilitator);
    tokio::time::sleep(UNTIL_SHARED).await;
    for rig in [&one, &two] {
        rig.chain.relayer().ready().unwrap();
    }
    nobody_gets_an_account_of(&book).await;
    // Each keeps its own.
    tokio::time::sleep(UNTIL_SHARED * 4).await;
    for rig in [&one, &two] {
        rig.chain.relayer().ready().unwrap();
    }
    two.settle(&numbered_request(1).await).await.unwrap();
    two.book.memory.die();
    drop(two);
    tokio::time::sleep(UNTIL_SHARED).await;
    nobody_gets_an_account_of(&book).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_serves_another_network_gets_no_share() {
    let one = rig();
    let elsewhere = one.book.join();
    assert_eq!(elsewhere.nodes(&"eip155:137".parse().unwrap()).await.unwrap(), 1);
    let both = rig_of(one.node.clone(), one.book.join(), &KEYS, |_| {});
    AnyFacilitatorScheme::start(&both.facilitator);
    tokio::time::sleep(UNTIL_SHARED).await;
    nobody_gets_an_account_of(&one.book).await;
}

#[tokio::test(start_paused = true)]
async fn a_gap_in_the_line_that_was_taken_over_is_filled() {
    let before = rig();
    before.node.world().mines = false;
    // The first is refused while another is on its way behind it, and the node dies before it can fill the gap.
    before.node.delay_next("eth_sendRawTransaction", Duration::from_secs(1));
    before.node.fault("eth_sendRawTransaction", |_, _| None);
    before.node.refuse_next("eth_sendRawTransaction", -32_000, "insufficient funds for gas * price + value");
    let requests = join_all((1..=2).map(numbered_request)).await;
    let second = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        before.settle(&requests[1]).await
    };
    let both = async { tokio::join!(before.settle(&requests[0]), second) };
    drop(tokio::time::timeout(Duration::from_millis(1_500), both).await);
    let (node, book) = (before.node.clone(), before.book.clone());
    drop(before);
    assert!(node.world().mined.is_empty());
    assert_eq!((book.batches(), book.count("refused")), (vec![1, 1], 1));
    let after = rig_on(node.clone(), book, |_| {});
    AnyFacilitatorScheme::start(&after.facilitator);
    until("both are in the pool", || node.world().pool.len() == 2).await;
    node.mine();
    until("the landing", || after.book.count("landed") == 2).await;
    assert_eq!(nonces(&after), [0, 1]);
    assert!(node.world().mined[0].tx().input.is_empty(), "a transfer of nothing to oneself");
    assert!(matches!(after.outcome(&requests[1]).await, Outcome::Settled(_)));
}

/// A facilitator on a book in which number 0 is closed, over a node that counts nothing.
async fn over_a_node_that_is_behind() -> Rig {
    let quick = |config: &mut ChainConfig| config.confirm.final_blocks = 3;
    let before = rig_with(quick);
    assert!(before.settle(&numbered_request(1).await).await.is_ok());
    let (node, book) = (before.node.clone(), before.book.clone());
    for _ in 0..3 {
        node.mine();
    }
    until("the end", || book.count("closed") == 1).await;
    drop(before);
    node.world().count = 0;
    rig_on(node, book, quick)
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_under_a_number_that_is_used_for_good_because_a_node_is_behind() {
    let rig = over_a_node_that_is_behind().await;
    let request = numbered_request(2).await;
    let catching_up = async {
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(rig.book.batches().len(), 1, "nothing was sent");
        rig.node.world().count = 1;
    };
    let (settled, ()) = tokio::join!(rig.settle(&request), catching_up);
    assert!(settled.is_ok() || rig.settle(&request).await.is_ok());
    assert_eq!(nonces(&rig), [0, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_chain_that_has_started_over_is_believed_in_the_end() {
    let rig = over_a_node_that_is_behind().await;
    AnyFacilitatorScheme::start(&rig.facilitator);
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert!(rig.settle(&numbered_request(2).await).await.is_ok());
    assert_eq!(nonces(&rig), [0, 0]);
}

#[tokio::test(start_paused = true)]
async fn what_was_taken_over_and_has_expired_is_replaced_by_nothing() {
    let before = rig();
    before.node.world().mines = false;
    let (node, book, request) = (before.node.clone(), before.book.clone(), golden_request());
    begin(&before, &request).await;
    drop(before);
    node.world().pool.clear();
    node.world().timestamp = golden::VALID_BEFORE;
    let after = rig_on(node.clone(), book.clone(), |_| {});
    AnyFacilitatorScheme::start(&after.facilitator);
    until("the replacement", || book.count("replacing") == 1).await;
    until("its broadcast", || node.world().pool.iter().any(|signed| signed.tx().input.is_empty())).await;
    node.mine();
    until("the landing", || book.count("landed") == 1).await;
    assert_eq!(nonces(&after), [0]);
    assert!(node.world().mined[0].tx().input.is_empty(), "no gas is burnt on what can only revert");
    assert!(matches!(after.outcome(&request).await, Outcome::Failed(refusal)
        if refusal.reason == Reason::InvalidExactEvmPayloadAuthorizationValidBefore));
}

#[tokio::test(start_paused = true)]
async fn what_was_taken_over_and_has_not_expired_is_replaced_by_itself() {
    let before = rig();
    before.node.world().mines = false;
    let (node, book, request) = (before.node.clone(), before.book.clone(), golden_request());
    begin(&before, &request).await;
    drop(before);
    let after = rig_on(node.clone(), book.clone(), |_| {});
    AnyFacilitatorScheme::start(&after.facilitator);
    until("the replacement", || book.count("replacing") == 1).await;
    until("its broadcast", || node.world().pool.iter().any(|signed| signed.tx().max_priority_fee_per_gas > 1_000_000)).await;
    node.mine();
    until("the landing", || book.count("landed") == 1).await;
    assert!(matches!(after.outcome(&request).await, Outcome::Settled(_)));
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_answer_was_lost_is_found_in_the_book_and_sent() {
    let rig = rig();
    rig.book.loses_answer.store(true, Ordering::Relaxed);
    let requests = join_all((1..=3).map(numbered_request)).await;
    for settled in join_all(requests.iter().map(|request| rig.settle(request))).await {
        settled.unwrap();
    }
    assert_eq!(rig.book.batches().iter().sum::<usize>(), 3, "nothing is written twice");
    assert_eq!(rig.node.world().balances[&pay_to()], U256::from(30_000));
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_answer_was_lost_is_unknown_where_another_node_took_the_account() {
    let one = rig();
    one.settle(&numbered_request(1).await).await.unwrap();
    let two = rig_on(one.node.clone(), one.book.join(), |_| {});
    let (book, node, request) = (&one.book, &one.node, golden_request());
    node.world().mines = false;
    // Its write is the last thing that the book hears of it, until another node has the account.
    book.loses_answer.store(true, Ordering::Relaxed);
    book.is_cut_off.store(true, Ordering::Relaxed);
    let take_over = async {
        until("the write", || book.batches().len() == 2).await;
        assert!(node.world().pool.is_empty(), "what may not be in the book is not sent");
        book.memory.die();
        AnyFacilitatorScheme::start(&two.facilitator);
        until("the broadcast by the other node", || !node.world().pool.is_empty()).await;
        book.is_cut_off.store(false, Ordering::Relaxed);
    };
    let (settled, ()) = tokio::join!(one.settle(&request), take_over);
    let transaction = book.sent().pop().unwrap();
    assert!(matches!(&settled, Err(SettleError::Unknown(unknown)) if *unknown == transaction), "{settled:?}");
    node.mine();
    assert!(matches!(two.outcome(&request).await, Outcome::Settled(settlement) if settlement.transaction == transaction));
}

#[tokio::test(start_paused = true)]
async fn a_chain_without_multicall_gets_single_calls_one_behind_the_other() {
    let rig = rig();
    rig.node.world().has_multicall = false;
    rig.node.world().mines = false;
    // Nobody waits for the first to be acknowledged.
    rig.node.delay_next("eth_sendRawTransaction", Duration::from_secs(5));
    let requests = join_all((1..=6).map(numbered_request)).await;
    let settling = join_all(requests.iter().map(|request| rig.settle(request)));
    let mining = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let pool: Vec<u64> = rig.node.world().pool.iter().map(|signed| signed.tx().nonce).collect();
        assert_eq!(pool, [1, 2, 3, 4, 5]);
        tokio::time::sleep(Duration::from_secs(5)).await;
        rig.node.mine();
    };
    let (settled, ()) = tokio::join!(settling, mining);
    assert!(settled.iter().all(Result::is_ok), "{settled:?}");
    assert_eq!((rig.book.batches(), nonces(&rig)), (vec![1; 6], vec![0, 1, 2, 3, 4, 5]));
    assert!(rig.node.world().mined.iter().all(|signed| signed.tx().to.to() == Some(&usdc())));
}

#[tokio::test(start_paused = true)]
async fn what_the_node_refused_counts_against_no_budget() {
    // About 137,500 units of gas at 1.001 gwei each.
    let rig = rig_with(|config| config.gas.daily_budget_per_payer_gwei = Some(200_000));
    let request = golden_request();
    for _ in 0..3 {
        rig.node.refuse_next("eth_sendRawTransaction", -32_000, "insufficient funds for gas * price + value");
        match rig.settle(&request).await {
            Err(SettleError::NotSent(source)) => assert!(source.to_string().contains("insufficient"), "{source}"),
            other => panic!("{other:?}"),
        }
        assert!(matches!(rig.entry(&request).await.unwrap().state, SettlementState::Dead(_)));
    }
    rig.settle(&request).await.unwrap();
    assert!(rig.settle(&numbered_request(2).await).await.is_err(), "what was sent counts");
}

/// Remembers what is logged as a warning.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

struct Message<'a>(&'a mut String);

impl tracing::field::Visit for Message<'_> {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        let _ = write!(self.0, "{field}={value:?} ");
    }
}

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::WARN
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut text = String::new();
        event.record(&mut Message(&mut text));
        self.0.lock().unwrap().push(text);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test(start_paused = true)]
async fn an_account_that_runs_low_is_shown_and_warned_of_once() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let warnings = Warnings::default();
    let _logging = tracing::subscriber::set_default(warnings.clone());
    let lows = || warnings.0.lock().unwrap().iter().filter(|text| text.contains("running low")).cloned().collect::<Vec<_>>();
    let account: Address = signer(RELAYER_KEY).address();
    let rig = rig_with(|config| config.gas.low_balance_gwei = Some(6_000_000));
    let gwei = U256::from(1_000_000_000);
    rig.node.world().gas_money = U256::from(7_000_000) * gwei;
    rig.settle(&numbered_request(1).await).await.unwrap();
    assert_eq!(lows(), Vec::<String>::new());
    rig.node.world().gas_money = U256::from(5_000_000) * gwei;
    for number in 2..=4 {
        tokio::time::sleep(Duration::from_secs(61)).await;
        rig.settle(&numbered_request(number).await).await.unwrap();
    }
    let lows = lows();
    assert_eq!(lows.len(), 1, "{lows:?}");
    assert!(lows[0].contains("balance_gwei=5000000") && lows[0].contains(&account.to_string()), "{lows:?}");
    let gauges: Vec<f64> = snapshotter
        .snapshot()
        .into_vec()
        .into_iter()
        .filter(|(key, ..)| key.key().name() == "farthing_signer_balance_gwei")
        .filter(|(key, ..)| key.key().labels().any(|label| label.value() == account.to_string()))
        .map(|(_, _, _, value)| if let DebugValue::Gauge(value) = value { value.into_inner() } else { f64::NAN })
        .collect();
    assert_eq!(gauges, [5_000_000.0]);
    rig.chain.relayer().ready().unwrap();
}
