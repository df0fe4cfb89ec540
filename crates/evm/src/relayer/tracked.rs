//! The transactions of one lane that are under way, and when it is worth asking what became of them.

use std::collections::BTreeMap;
use std::time::Duration;

use alloy_primitives::{B256, Bytes};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::rpc::Receipt;

/// The most transactions that are under way at once.
pub(super) const MAX_TRACKED: usize = 4_096;
/// How long a transaction that nobody waits for any more is still followed and broadcast again.
const ABANDON_AFTER: Duration = Duration::from_mins(10);
/// The shortest pause between two questions to the node.
const SHORTEST_PAUSE: Duration = Duration::from_millis(2);

/// A nonce and the transaction that has it.
pub(super) type Key = (u64, B256);

/// What is under way.
#[derive(Default)]
pub(super) struct Tracked {
    entries: BTreeMap<Key, Entry>,
    /// The one task that follows them, while there are any.
    pub(super) task: Option<JoinHandle<()>>,
    /// How long confirmations took lately: what to expect of the next.
    usual: Duration,
    newest: Option<Instant>,
    gap: Option<(u64, Instant)>,
}

struct Entry {
    signed: Bytes,
    since: Instant,
    rebroadcast_at: Instant,
    waiter: Option<oneshot::Sender<Receipt>>,
}

impl Tracked {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.entries.len() >= MAX_TRACKED
    }

    pub(super) fn insert(
        &mut self,
        key: Key,
        signed: Bytes,
        rebroadcast_at: Instant,
        waiter: Option<oneshot::Sender<Receipt>>,
    ) {
        let now = Instant::now();
        self.newest = Some(now);
        self.entries.insert(key, Entry { signed, since: now, rebroadcast_at, waiter });
    }

    pub(super) fn remove(&mut self, key: Key) {
        self.entries.remove(&key);
    }

    /// When this transaction is to be broadcast again, unless it is mined before.
    pub(super) fn rebroadcast_at(&mut self, key: Key, at: Instant) {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.rebroadcast_at = at;
        }
    }

    /// The first of the line: while these are not mined, nothing behind them is.
    pub(super) fn lowest(&self, count: usize) -> Vec<Key> {
        self.entries.keys().take(count).copied().collect()
    }

    /// Those that must be mined when the chain has counted so far, without those asked for already.
    pub(super) fn mined_besides(&self, count: u64, asked: &[Key]) -> Vec<Key> {
        self.entries.range(..(count, B256::ZERO)).map(|(key, _)| *key).filter(|key| !asked.contains(key)).collect()
    }

    /// A transaction has its receipt: tell who waits.
    pub(super) fn confirmed(&mut self, key: Key, receipt: Receipt) {
        if let Some(entry) = self.entries.remove(&key) {
            self.usual = self.usual.saturating_mul(3).saturating_add(entry.since.elapsed()) / 4;
            if let Some(waiter) = entry.waiter {
                // Whoever waited may have gone away; the book learns of it by asking for the outcome.
                drop(waiter.send(receipt));
            }
        }
    }

    /// The signed transactions that are due to be broadcast again, in the order of their nonces.
    pub(super) fn due(&mut self, mined: u64, every: Duration, most: usize) -> Vec<Bytes> {
        let now = Instant::now();
        let waiting = self.entries.range_mut((mined, B256::ZERO)..).map(|(_, entry)| entry);
        let due = waiting.filter(|entry| entry.rebroadcast_at <= now).take(most);
        due.map(|entry| {
            entry.rebroadcast_at = now + every;
            entry.signed.clone()
        })
        .collect()
    }

    /// Forgets what nobody waits for and what has not been mined for long.
    pub(super) fn abandon(&mut self) {
        self.entries.retain(|_, entry| {
            let waited_for = entry.waiter.as_ref().is_some_and(|waiter| !waiter.is_closed());
            waited_for || entry.since.elapsed() < ABANDON_AFTER
        });
    }

    /// The nonces before the first of the line that the chain still misses, once they have been missing for that long.
    pub(super) fn gap(&mut self, mined: u64, grace: Duration) -> std::ops::Range<u64> {
        let first = self.entries.keys().next().map(|(nonce, _)| *nonce).filter(|first| *first > mined);
        let Some(first) = first else {
            self.gap = None;
            return 0..0;
        };
        let since = match self.gap {
            Some((at, since)) if at == mined => since,
            _ => Instant::now(),
        };
        self.gap = Some((mined, since));
        if since.elapsed() >= grace { mined..first } else { 0..0 }
    }

    /// How long to wait before asking the node again: an eighth of the usual at first, then half of what has been
    /// waited, at most `longest`. A chain with instant blocks is asked within milliseconds, one with slow blocks a few
    /// times per block, however many payments wait.
    pub(super) fn pause(&self, longest: Duration) -> Duration {
        let waited = self.newest.map_or(Duration::ZERO, |newest| newest.elapsed());
        (waited / 2).max(self.usual / 8).max(SHORTEST_PAUSE).min(longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_millis(200);

    fn receipt() -> Receipt {
        Receipt { transaction_hash: B256::ZERO, succeeded: true, block_number: 1, gas_used: 1, logs: Vec::new() }
    }

    fn key(nonce: u64) -> Key {
        (nonce, B256::with_last_byte(1))
    }

    fn tracked(nonces: &[u64]) -> Tracked {
        let mut tracked = Tracked::default();
        for nonce in nonces {
            tracked.insert(key(*nonce), Bytes::from(vec![u8::try_from(*nonce).unwrap()]), Instant::now(), None);
        }
        tracked
    }

    #[tokio::test(start_paused = true)]
    async fn questions_start_close_together_and_spread_out() {
        let tracked = tracked(&[1]);
        assert_eq!(tracked.pause(LONGEST), SHORTEST_PAUSE);
        tokio::time::advance(Duration::from_millis(40)).await;
        assert_eq!(tracked.pause(LONGEST), Duration::from_millis(20));
        tokio::time::advance(Duration::from_secs(40)).await;
        assert_eq!(tracked.pause(LONGEST), LONGEST);
    }

    #[tokio::test(start_paused = true)]
    async fn slow_blocks_are_learnt() {
        let mut tracked = tracked(&[1, 2, 3, 4, 5, 6, 7, 8]);
        tokio::time::advance(Duration::from_secs(2)).await;
        for nonce in 1..8 {
            tracked.confirmed(key(nonce), receipt());
        }
        tracked.insert(key(9), Bytes::new(), Instant::now(), None);
        assert!(tracked.pause(LONGEST) > Duration::from_millis(150), "{:?}", tracked.pause(LONGEST));
    }

    #[tokio::test]
    async fn who_waits_is_told() {
        let mut tracked = Tracked::default();
        let (sender, waiter) = oneshot::channel();
        tracked.insert(key(1), Bytes::new(), Instant::now(), Some(sender));
        tracked.confirmed(key(1), receipt());
        assert_eq!(waiter.await, Ok(receipt()));
        assert!(tracked.is_empty());
    }

    #[tokio::test]
    async fn what_the_chain_has_counted_is_asked_for() {
        let tracked = tracked(&[3, 4, 5, 6]);
        assert_eq!(tracked.lowest(2), [key(3), key(4)]);
        assert_eq!(tracked.mined_besides(6, &tracked.lowest(2)), [key(5)]);
        assert_eq!(tracked.mined_besides(0, &[]), []);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_mined_is_broadcast_again_in_order() {
        let every = Duration::from_secs(5);
        let mut tracked = tracked(&[3, 4, 5]);
        assert_eq!(tracked.due(4, every, 10), [Bytes::from(vec![4]), Bytes::from(vec![5])]);
        assert!(tracked.due(0, every, 10).len() == 1 && tracked.due(0, every, 10).is_empty());
        tokio::time::advance(every).await;
        assert_eq!(tracked.due(0, every, 2).len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_gap_must_last_before_it_counts() {
        let grace = Duration::from_secs(2);
        let mut tracked = tracked(&[5, 6]);
        assert_eq!(tracked.gap(5, grace), 0..0);
        assert_eq!(tracked.gap(3, grace), 0..0);
        tokio::time::advance(grace).await;
        assert_eq!(tracked.gap(3, grace), 3..5);
        assert_eq!(tracked.gap(4, grace), 0..0, "the chain moved on: the grace starts again");
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_waits_for_is_forgotten_after_a_while() {
        let mut tracked = tracked(&[1]);
        let (sender, waiter) = oneshot::channel();
        tracked.insert(key(2), Bytes::new(), Instant::now(), Some(sender));
        tokio::time::advance(ABANDON_AFTER).await;
        tracked.abandon();
        assert_eq!(tracked.lowest(9), [key(2)]);
        drop(waiter);
        tracked.abandon();
        assert!(tracked.is_empty());
    }
}
