//! How often the chain is asked: as soon as there may be news, and not more often.

use std::time::Duration;

use tokio::time::Instant;

/// The shortest pause between two questions.
const SHORTEST_PAUSE: Duration = Duration::from_millis(2);
/// The pause while everything is mined and only a change of history could be news.
const WATCH_PAUSE: Duration = Duration::from_secs(5);
/// A chain whose transactions are mined sooner than this part of the time between its blocks makes blocks on demand.
const ON_DEMAND_PART: u32 = 8;
/// A block that comes at its own pace is asked for from this part of the time between blocks before it is due, ...
const EARLY_PART: u32 = 16;
/// ... and then each time after this part.
const STEP_PART: u32 = 40;

/// What was learnt of the chain's rhythm.
#[derive(Debug)]
pub(super) struct Pace {
    /// How long the node's acceptance of a transaction lay back when it was found mined, usually.
    usual: Duration,
    /// The time between blocks, usually.
    interval: Option<Duration>,
    head_at: Option<Instant>,
    /// When something was sent last.
    sent_at: Option<Instant>,
    asked_at: Instant,
    failing: bool,
}

impl Pace {
    pub(super) fn new() -> Self {
        let (usual, interval, head_at, sent_at) = (Duration::ZERO, None, None, None);
        Self { usual, interval, head_at, sent_at, asked_at: Instant::now(), failing: false }
    }

    pub(super) fn asked(&mut self, failing: bool) {
        self.asked_at = Instant::now();
        self.failing = failing;
    }

    pub(super) fn sent(&mut self) {
        self.sent_at = Some(Instant::now());
    }

    /// A transaction was found mined so long after it was sent.
    pub(super) fn mined(&mut self, after: Duration) {
        self.usual = self.usual.saturating_mul(3).saturating_add(after) / 4;
    }

    /// The head is so many blocks higher.
    pub(super) fn advanced(&mut self, blocks: u64) {
        let now = Instant::now();
        let blocks = u32::try_from(blocks).unwrap_or(u32::MAX).max(1);
        if let Some(before) = self.head_at {
            let each = now.duration_since(before) / blocks;
            // One long gap is no rhythm: a chain that stood still for a while goes on as before.
            let each = self.interval.map_or(each, |usual| each.min(usual.saturating_mul(2)));
            self.interval = Some(self.interval.map_or(each, |usual| usual.saturating_mul(3).saturating_add(each) / 4));
        }
        self.head_at = Some(now);
    }

    /// The head is higher by who knows how many blocks.
    pub(super) fn lost_count(&mut self) {
        self.head_at = Some(Instant::now());
    }

    /// Whether a transaction may be mined the moment it is sent.
    pub(super) fn is_on_demand(&self) -> bool {
        self.interval.is_none_or(|interval| self.usual.saturating_mul(ON_DEMAND_PART) < interval)
            || self.usual < Duration::from_millis(50)
    }

    /// When the next block is due, on a chain that makes them at its own pace.
    pub(super) fn next_block(&self) -> Option<Instant> {
        self.head_at.zip(self.interval).filter(|_| !self.is_on_demand()).map(|(head_at, interval)| head_at + interval)
    }

    /// When to ask next, where something is not mined or not deep enough.
    pub(super) fn next(&self, longest: Duration) -> Instant {
        if self.failing {
            return self.asked_at + longest;
        }
        let waited = self.sent_at.map_or(Duration::ZERO, |sent_at| sent_at.elapsed());
        let soon = self.asked_at + (waited / 2).max(self.usual / 8).max(SHORTEST_PAUSE).min(longest);
        match (self.interval, self.next_block()) {
            (Some(interval), Some(due)) => {
                let step = (interval / STEP_PART).max(SHORTEST_PAUSE).min(longest);
                (due - interval / EARLY_PART).max(self.asked_at + step)
            }
            _ => soon,
        }
    }

    /// When to look next, where everything is mined.
    pub(super) fn watch(&self) -> Instant {
        self.asked_at + WATCH_PAUSE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_millis(200);

    #[tokio::test(start_paused = true)]
    async fn questions_start_close_together_and_spread_out() {
        let mut pace = Pace::new();
        pace.sent();
        assert_eq!(pace.next(LONGEST), Instant::now() + SHORTEST_PAUSE);
        tokio::time::advance(Duration::from_millis(40)).await;
        pace.asked(false);
        assert_eq!(pace.next(LONGEST), Instant::now() + Duration::from_millis(20));
        tokio::time::advance(Duration::from_secs(40)).await;
        pace.asked(false);
        assert_eq!(pace.next(LONGEST), Instant::now() + LONGEST);
    }

    #[tokio::test(start_paused = true)]
    async fn regular_blocks_are_asked_for_when_they_are_due() {
        let mut pace = Pace::new();
        for _ in 0..20 {
            pace.advanced(1);
            pace.mined(Duration::from_secs(1));
            tokio::time::advance(Duration::from_secs(2)).await;
        }
        pace.advanced(1);
        pace.asked(false);
        pace.sent();
        assert!(!pace.is_on_demand());
        assert_eq!(pace.next_block(), Some(Instant::now() + Duration::from_secs(2)));
        assert_eq!(pace.next(LONGEST), Instant::now() + Duration::from_millis(1_875));
        tokio::time::advance(Duration::from_millis(1_900)).await;
        pace.asked(false);
        assert_eq!(pace.next(LONGEST), Instant::now() + Duration::from_millis(50));
    }

    #[tokio::test(start_paused = true)]
    async fn a_chain_that_stood_still_is_asked_as_often_as_before() {
        let mut pace = Pace::new();
        for _ in 0..20 {
            pace.advanced(1);
            pace.mined(Duration::from_secs(1));
            tokio::time::advance(Duration::from_secs(2)).await;
        }
        tokio::time::advance(Duration::from_mins(10)).await;
        pace.advanced(1);
        pace.asked(false);
        assert!(pace.next(LONGEST) <= Instant::now() + Duration::from_secs(4));
    }

    #[tokio::test(start_paused = true)]
    async fn blocks_on_demand_are_asked_for_at_once() {
        let mut pace = Pace::new();
        for _ in 0..20 {
            pace.advanced(1);
            pace.mined(Duration::from_millis(3));
            tokio::time::advance(Duration::from_secs(2)).await;
        }
        pace.asked(false);
        pace.sent();
        assert!(pace.is_on_demand());
        assert_eq!(pace.next_block(), None);
        assert_eq!(pace.next(LONGEST), Instant::now() + SHORTEST_PAUSE);
    }
}
