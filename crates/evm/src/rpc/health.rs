//! What is known of one node: whether it answers, whether it is of the right chain, how quick it is, how far it has got.
//!
//! 1. A node that failed is asked nothing more until it has answered a probe, which is tried after a pause that doubles
//!    with every failure. Its chain is then checked anew: another node may be behind the same address.
//! 2. Failures of questions that were under way together count as one.
//! 3. A node is stale if its newest block is both several blocks and several seconds behind that of another node, so that
//!    neither a quick chain nor a slow one makes nodes stale that are merely a moment late.

use std::time::Duration;

use tokio::time::Instant;

/// The pause after a first failure; it doubles with every further one.
const FIRST_BACK_OFF: Duration = Duration::from_millis(500);
/// The longest pause.
const MAX_BACK_OFF: Duration = Duration::from_secs(30);
/// The pause after a node said that it is of another chain. It does not grow: to ask which chain it is costs nothing and can
/// harm nothing, and where many nodes answer behind one address, the next one may be right.
const OTHER_CHAIN_BACK_OFF: Duration = Duration::from_secs(1);
/// How often a node is looked at while the pool is used.
const PROBE_INTERVAL: Duration = Duration::from_secs(3);
/// How old another node's word on the newest block may be to count.
const MAX_HEAD_AGE: Duration = Duration::from_secs(10);
/// A node is stale if it is further behind than this, in both.
const MAX_LAG_BLOCKS: u64 = 2;
const MAX_LAG_SECONDS: u64 = 10;
/// How much of the average is the newest exchange: one part in this many.
const LATENCY_WEIGHT: u32 = 8;

/// The newest block of a node, as it said itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) number: u64,
    pub(super) timestamp_seconds: u64,
    pub(super) seen: Instant,
}

/// Whether a node may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing is known of it. It may be asked once its chain is checked.
    Untested,
    /// It answers, and it is of the right chain.
    Healthy,
    /// It does not answer.
    Failed,
    /// It is of this other chain. It is asked nothing else.
    OtherChain(u64),
}

/// What is known of one node.
#[derive(Debug)]
pub(super) struct Health {
    pub(super) standing: Standing,
    pub(super) stale: bool,
    pub(super) latency: Option<Duration>,
    head: Option<Head>,
    consecutive_failures: u32,
    last_failure: Option<Instant>,
    next_probe: Option<Instant>,
}

impl Health {
    pub(super) const fn new() -> Self {
        Self {
            standing: Standing::Untested,
            stale: false,
            latency: None,
            head: None,
            consecutive_failures: 0,
            last_failure: None,
            next_probe: None,
        }
    }

    /// An exchange failed. Says whether that is news.
    pub(super) fn failed(&mut self, started: Instant, other_chain: Option<u64>) -> bool {
        if self.last_failure.is_some_and(|failure| started < failure) {
            return false;
        }
        let now = Instant::now();
        let standing = other_chain.map_or(Standing::Failed, Standing::OtherChain);
        let news = self.standing != standing;
        self.consecutive_failures = self.consecutive_failures.saturating_add(1);
        let back_off = match standing {
            Standing::OtherChain(_) => OTHER_CHAIN_BACK_OFF,
            _ => back_off(self.consecutive_failures),
        };
        self.standing = standing;
        self.last_failure = Some(now);
        self.next_probe = Some(now + back_off);
        news
    }

    /// An exchange succeeded, with a node whose chain was checked. Says whether that is news.
    pub(super) fn answered(&mut self, started: Instant) -> bool {
        if self.last_failure.is_some_and(|failure| started < failure) {
            return false;
        }
        let took = started.elapsed();
        let weight = LATENCY_WEIGHT;
        self.latency =
            Some(self.latency.map_or(took, |average| (average.saturating_mul(weight.saturating_sub(1)) + took) / weight));
        let news = matches!(self.standing, Standing::Failed | Standing::OtherChain(_));
        self.standing = Standing::Healthy;
        self.consecutive_failures = 0;
        news
    }

    /// Whether it is time to look at the node; if so, it is the caller who does it.
    pub(super) fn take_probe(&mut self) -> bool {
        let now = Instant::now();
        let due = self.next_probe.is_none_or(|next| next <= now);
        if due {
            self.next_probe = Some(now + PROBE_INTERVAL);
        }
        due
    }

    /// Whether a node that is passed over has had its pause.
    pub(super) fn may_be_tried(&self) -> bool {
        self.next_probe.is_none_or(|next| next <= Instant::now())
    }

    /// How quickly it answers, if it does.
    pub(super) fn latency_if_usable(&self) -> Option<Duration> {
        self.latency.filter(|_| self.standing == Standing::Healthy && !self.stale)
    }

    /// The newest block that the node told of, if that is not long ago and it can be trusted.
    pub(super) fn recent_head(&self) -> Option<Head> {
        self.head.filter(|head| self.standing == Standing::Healthy && head.seen.elapsed() <= MAX_HEAD_AGE)
    }

    /// The node told of its newest block; `best` is the best one that others told of. Says whether it became stale.
    pub(super) fn saw(&mut self, head: Head, best: Option<Head>) -> bool {
        let behind = best.is_some_and(|best| {
            best.number.saturating_sub(head.number) > MAX_LAG_BLOCKS
                && best.timestamp_seconds.saturating_sub(head.timestamp_seconds) > MAX_LAG_SECONDS
        });
        let news = behind && !self.stale;
        self.head = Some(head);
        self.stale = behind;
        news
    }
}

fn back_off(consecutive_failures: u32) -> Duration {
    let doublings = consecutive_failures.saturating_sub(1).min(31);
    FIRST_BACK_OFF.saturating_mul(1_u32 << doublings).min(MAX_BACK_OFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(number: u64, timestamp_seconds: u64) -> Head {
        Head { number, timestamp_seconds, seen: Instant::now() }
    }

    #[test]
    fn pauses_double_up_to_the_cap() {
        let pauses: Vec<u64> = (1..=9).map(|failures| u64::try_from(back_off(failures).as_millis()).unwrap()).collect();
        assert_eq!(pauses, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
        assert_eq!(back_off(u32::MAX), MAX_BACK_OFF);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_of_questions_under_way_together_count_once() {
        let mut health = Health::new();
        let started = Instant::now();
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(health.failed(started, None), "the first is news");
        for _ in 0..100 {
            assert!(!health.failed(started, None));
        }
        assert_eq!(health.consecutive_failures, 1);
        assert!(!health.answered(started), "what was asked before it failed does not heal it");
        assert_eq!(health.standing, Standing::Failed);
        assert!(!health.take_probe());
        tokio::time::advance(FIRST_BACK_OFF).await;
        assert!(health.take_probe() && !health.take_probe(), "one prober is enough");
        assert!(health.answered(Instant::now()));
        assert_eq!((health.standing, health.consecutive_failures), (Standing::Healthy, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn stale_is_behind_in_blocks_and_in_seconds() {
        let mut health = Health::new();
        assert!(health.answered(Instant::now()) || health.standing == Standing::Healthy);
        assert!(!health.saw(head(100, 1_000), None));
        assert!(!health.saw(head(100, 1_000), Some(head(102, 1_060))), "two slow blocks");
        assert!(!health.saw(head(100, 1_000), Some(head(140, 1_010))), "many quick blocks");
        assert!(health.saw(head(100, 1_000), Some(head(103, 1_011))));
        assert!(health.stale && !health.saw(head(100, 1_000), Some(head(104, 1_012))), "said once");
        assert!(!health.saw(head(104, 1_012), Some(head(104, 1_012))) && !health.stale, "it caught up");
        assert!(health.recent_head().is_some());
        tokio::time::advance(MAX_HEAD_AGE + Duration::from_secs(1)).await;
        assert!(health.recent_head().is_none());
    }
}
