//! Nodes that share accounts, and books that fail now and then: no account is without a node, and nothing stays behind.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use farthing_core::BoxFuture;
use farthing_core::books::{
    BookError, Landing, LaneClaim, LaneId, LaneLease, Outbox, Outgoing, SettlementState, Settlements, UnderWay, Written,
};
use farthing_core::erased::AnyFacilitatorScheme;
use farthing_core::network::Network;
use farthing_core::reason::Refusal;
use farthing_core::scheme::{Outcome, PaymentKey, SettleError, Settlement};
use farthing_core::time::UnixSeconds;
use farthing_evm::U256;
use farthing_evm::asset::AssetTable;
use farthing_evm::chain::Chain;
use farthing_evm::config::{ChainConfig, RpcUrl};
use farthing_evm::exact;
use farthing_testkit::golden;

use crate::support::*;

const KEYS: [&str; 4] = [
    RELAYER_KEY,
    golden::SECOND_KEY,
    "0x0000000000000000000000000000000000000000000000000000000000000a11",
    "0x0000000000000000000000000000000000000000000000000000000000000b22",
];
/// By then idle accounts are shared out again.
const SHARED_OUT: Duration = Duration::from_secs(40);

type Answer<'a, T> = BoxFuture<'a, Result<T, BookError>>;
type Counts = Arc<Mutex<HashMap<&'static str, u32>>>;

/// A book that fails so many times.
#[derive(Clone, Default)]
struct Faulty {
    book: Book,
    /// So many calls of that name fail before anything of them is done.
    fails: Counts,
    /// So many calls of that name are done, and their answer is lost.
    loses: Counts,
}

impl Faulty {
    fn fail(self, call: &'static str, times: u32) -> Self {
        self.fails.lock().unwrap().insert(call, times);
        self
    }

    fn lose(self, call: &'static str, times: u32) -> Self {
        self.loses.lock().unwrap().insert(call, times);
        self
    }

    async fn with_faults<T>(
        &self,
        name: &'static str,
        call: impl Future<Output = Result<T, BookError>>,
    ) -> Result<T, BookError> {
        fault(&self.fails, name)?;
        let answer = call.await;
        fault(&self.loses, name)?;
        answer
    }
}

fn fault(faults: &Counts, call: &'static str) -> Result<(), BookError> {
    match faults.lock().unwrap().get_mut(call) {
        Some(left @ 1..) => {
            *left -= 1;
            Err(BookError("the disk hangs".into()))
        }
        _ => Ok(()),
    }
}

impl Outbox for Faulty {
    fn take<'a>(&'a self, lane: &'a LaneId) -> Answer<'a, LaneClaim> {
        Box::pin(self.with_faults("take", async move { self.book.take(lane).await }))
    }

    fn give_back<'a>(&'a self, lease: &'a LaneLease) -> Answer<'a, ()> {
        Box::pin(self.with_faults("give_back", async move { self.book.give_back(lease).await }))
    }

    fn nodes<'a>(&'a self, network: &'a Network) -> Answer<'a, usize> {
        self.book.nodes(network)
    }

    fn sending<'a>(&'a self, outgoing: &'a Outgoing<'a>) -> Answer<'a, Written> {
        self.book.sending(outgoing)
    }

    fn replacing<'a>(&'a self, outgoing: &'a Outgoing<'a>) -> Answer<'a, Written> {
        self.book.replacing(outgoing)
    }

    fn refused<'a>(&'a self, lease: &'a LaneLease, sequence: u64, refusal: &'a Refusal, now: UnixSeconds) -> Answer<'a, ()> {
        Box::pin(self.with_faults("refused", async move { self.book.refused(lease, sequence, refusal, now).await }))
    }

    fn landed<'a>(&'a self, lease: &'a LaneLease, sequence: u64, landing: &'a Landing) -> Answer<'a, ()> {
        self.book.landed(lease, sequence, landing)
    }

    fn reopened<'a>(&'a self, lease: &'a LaneLease, sequence: u64, now: UnixSeconds) -> Answer<'a, ()> {
        Box::pin(self.with_faults("reopened", async move { self.book.reopened(lease, sequence, now).await }))
    }

    fn closed<'a>(&'a self, lease: &'a LaneLease, sequence: u64) -> Answer<'a, ()> {
        self.book.closed(lease, sequence)
    }

    fn under_way<'a>(&'a self, lease: &'a LaneLease, from: u64, limit: usize) -> Answer<'a, Option<Vec<UnderWay>>> {
        self.book.under_way(lease, from, limit)
    }

    fn last_closed<'a>(&'a self, lane: &'a LaneId) -> Answer<'a, Option<u64>> {
        self.book.last_closed(lane)
    }

    fn carrier(&self, key: PaymentKey) -> Answer<'_, Option<(LaneId, u64)>> {
        self.book.carrier(key)
    }

    fn landing(&self, key: PaymentKey) -> Answer<'_, Option<Landing>> {
        self.book.landing(key)
    }
}

/// A facilitator whose book fails now and then.
fn faulty(rig: &Rig, faulty: &Faulty, keys: &[&str]) -> Rig {
    let (node, book, clock) = (rig.node.clone(), faulty.book.clone(), rig.clock.clone());
    let config = ChainConfig::new(golden::NETWORK.parse().unwrap(), RpcUrl::new("http://127.0.0.1:1"));
    let signers = keys.iter().map(|key| signer(key)).collect();
    let chain = Chain::new(&config, node.clone(), signers, Arc::new(faulty.clone()), clock.clone()).unwrap();
    let facilitator = exact::Facilitator::new(vec![chain.clone()], Arc::new(AssetTable::known()), clock.clone());
    Rig { node, book, clock, chain, facilitator }
}

fn started(rig: Rig) -> Rig {
    AnyFacilitatorScheme::start(&rig.facilitator);
    rig
}

fn not_sent(settled: Result<Settlement, SettleError>) -> String {
    match settled {
        Err(SettleError::NotSent(source)) => source.to_string(),
        other => panic!("expected that nothing was sent, got {other:?}"),
    }
}

/// How many of the accounts the book gives to nobody.
async fn free_lanes(book: &Book) -> usize {
    let onlooker = book.memory.join();
    let mut free = 0;
    for key in KEYS {
        let account = signer(key).address().to_string().parse().unwrap();
        let lane = LaneId { network: golden::NETWORK.parse().unwrap(), account };
        if let LaneClaim::Ours(lease) = onlooker.take(&lane).await.unwrap() {
            onlooker.give_back(&lease).await.unwrap();
            free += 1;
        }
    }
    onlooker.die();
    free
}

#[tokio::test(start_paused = true)]
async fn accounts_that_cannot_be_shared_out_evenly_leave_no_node_and_no_account_behind() {
    let one = started(rig_of(rig().node, Book::default(), &KEYS, |_| {}));
    tokio::time::sleep(SHARED_OUT).await;
    let two = started(rig_of(one.node.clone(), one.book.join(), &KEYS, |_| {}));
    tokio::time::sleep(SHARED_OUT).await;
    let three = started(rig_of(one.node.clone(), one.book.join(), &KEYS, |_| {}));
    tokio::time::sleep(SHARED_OUT).await;
    for (number, rig) in (1..).zip([&one, &two, &three]) {
        rig.chain.relayer().ready().unwrap();
        rig.settle(&numbered_request(number).await).await.unwrap();
    }
    assert_eq!(free_lanes(&one.book).await, 0);
}

#[tokio::test(start_paused = true)]
async fn an_account_whose_last_write_is_unclear_is_taken_up_again_whatever_the_share() {
    let one = started(rig_of(rig().node, Book::default(), &KEYS[..2], |_| {}));
    one.settle(&numbered_request(1).await).await.unwrap();
    let two = started(rig_of(one.node.clone(), one.book.join(), &KEYS[..2], |_| {}));
    tokio::time::sleep(Duration::from_secs(1)).await;
    one.book.is_full.store(true, Ordering::Relaxed);
    assert!(not_sent(one.settle(&numbered_request(2).await).await).contains("written down"));
    one.book.is_full.store(false, Ordering::Relaxed);
    tokio::time::sleep(SHARED_OUT).await;
    for (number, rig) in (2..).zip([&one, &two]) {
        rig.chain.relayer().ready().unwrap();
        rig.settle(&numbered_request(number).await).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn an_account_that_could_not_be_given_back_is_given_back_later() {
    let book = Faulty::default().fail("give_back", 1);
    let one = started(faulty(&rig(), &book, &KEYS[..2]));
    one.settle(&numbered_request(1).await).await.unwrap();
    let two = started(rig_of(one.node.clone(), one.book.join(), &KEYS[..2], |_| {}));
    tokio::time::sleep(SHARED_OUT).await;
    assert_eq!(book.fails.lock().unwrap()["give_back"], 0);
    two.settle(&numbered_request(2).await).await.unwrap();
    one.settle(&numbered_request(3).await).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_account_that_was_taken_without_an_answer_is_worked() {
    let book = Faulty::default().lose("take", 2);
    let one = started(faulty(&rig(), &book, &KEYS[..2]));
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(book.loses.lock().unwrap()["take"], 0);
    // Its share is one by now, and both are its own.
    let two = started(rig_of(one.node.clone(), one.book.join(), &KEYS[..2], |_| {}));
    tokio::time::sleep(SHARED_OUT).await;
    two.settle(&numbered_request(1).await).await.unwrap();
    one.settle(&numbered_request(2).await).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_payment_that_was_given_up_does_not_stand_in_its_own_way() {
    let one = rig();
    one.settle(&numbered_request(1).await).await.unwrap();
    one.node.world().balances.insert(payer(), U256::from(10_000));
    let two = started(rig_on(one.node.clone(), one.book.join(), |_| {}));
    let request = numbered_request(2).await;
    for _ in 0..3 {
        let since = tokio::time::Instant::now();
        assert!(not_sent(two.settle(&request).await).contains("other nodes send"));
        assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    }
    // Nor in the way of another one.
    let other = numbered_request(3).await;
    assert!(not_sent(two.settle(&other).await).contains("other nodes send"));
    one.book.memory.die();
    tokio::time::sleep(Duration::from_secs(3)).await;
    two.settle(&request).await.unwrap();
    assert_eq!(two.book.batches(), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_landing_of_the_book_whose_block_vanished_is_noticed_by_whoever_takes_over() {
    let book = Faulty::default().fail("reopened", 3);
    let rig = faulty(&rig(), &book, &KEYS[..1]);
    let request = numbered_request(1).await;
    rig.settle(&request).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(rig.book.count("landed"), 1);
    rig.node.world().mines = false;
    rig.node.world().reorganise();
    while book.fails.lock().unwrap()["reopened"] == 3 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // The account is taken anew before the book could be told, and what it is told under the old lease is void.
    rig.book.is_full.store(true, Ordering::Relaxed);
    not_sent(rig.settle(&numbered_request(2).await).await);
    rig.book.is_full.store(false, Ordering::Relaxed);
    rig.node.world().pool.clear();
    tokio::time::sleep(Duration::from_secs(30)).await;
    rig.node.world().mines = true;
    rig.node.mine();
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(rig.book.count("landed"), 2);
    assert!(matches!(rig.outcome(&request).await, Outcome::Settled(_)));
    assert_eq!(rig.book.sent().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn that_a_block_is_gone_is_written_down_however_often_the_book_fails() {
    let rig = faulty(&rig(), &Faulty::default().fail("reopened", 10), &KEYS[..1]);
    let request = golden_request();
    let settlement = rig.settle(&request).await.unwrap();
    let key = rig.read(&request).unwrap().record.key;
    rig.book.memory.settled(key, &settlement, UnixSeconds(NOW)).await.unwrap();
    rig.node.world().mines = false;
    rig.node.world().reorganise();
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(rig.book.count("reopened"), 1);
    let state = rig.entry(&request).await.unwrap().state;
    assert!(matches!(state, SettlementState::Sending(_)), "{state:?}");
}

#[tokio::test(start_paused = true)]
async fn whether_a_refused_transaction_is_out_of_the_book_is_read_from_the_book() {
    for is_out in [false, true] {
        let book = Faulty::default();
        let book = if is_out { book.lose("refused", 1) } else { book.fail("refused", 1) };
        let rig = faulty(&rig(), &book, &KEYS[..1]);
        rig.node.refuse_next("eth_sendRawTransaction", -32_000, "insufficient funds for gas * price + value");
        let request = golden_request();
        let settled = rig.settle(&request).await;
        tokio::time::sleep(Duration::from_secs(30)).await;
        let state = rig.entry(&request).await.unwrap().state;
        if is_out {
            not_sent(settled);
            assert!(matches!(state, SettlementState::Dead(_)), "{state:?}");
            assert!(rig.node.world().mined.is_empty(), "it is not sent behind the book's back");
            rig.settle(&request).await.unwrap();
        } else {
            settled.unwrap();
            assert_eq!(rig.book.sent().len(), 1);
        }
        let nonces: Vec<u64> = rig.node.world().mined.iter().map(|signed| signed.tx().nonce).collect();
        assert_eq!(nonces, [0]);
    }
}
