//! Whether the upstream can be expected to answer.
//!
//! An upstream that could not be reached several times running is left alone for a moment, so that clients are told so at once
//! instead of each waiting for a time-out; and where a health path is configured, what it says counts, too.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

use crate::problem::Problem;

/// After so many connections in a row that failed, the upstream is down.
const FAILURES_UNTIL_DOWN: u32 = 3;
/// After so many bad answers of the health path in a row, the upstream is down.
const BAD_ANSWERS_UNTIL_DOWN: u32 = 2;

#[derive(Debug)]
pub(crate) struct Health {
    start: Instant,
    pause: Duration,
    failures: AtomicU32,
    paused_until_millis: AtomicU64,
    bad_answers: AtomicU32,
    is_sick: AtomicBool,
}

impl Health {
    pub(crate) fn new(pause: Duration) -> Self {
        Self {
            start: Instant::now(),
            pause,
            failures: AtomicU32::new(0),
            paused_until_millis: AtomicU64::new(0),
            bad_answers: AtomicU32::new(0),
            is_sick: AtomicBool::new(false),
        }
    }

    /// Whether a request has a chance.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        if self.is_sick.load(Ordering::Relaxed) {
            return Err(self.down("the server behind this gateway says that it is not well; nothing was sent to it, try again"));
        }
        if self.failures.load(Ordering::Relaxed) < FAILURES_UNTIL_DOWN
            || self.millis() >= self.paused_until_millis.load(Ordering::Relaxed)
        {
            return Ok(());
        }
        Err(self.down("the server behind this gateway could not be reached just now; nothing was sent to it, try again"))
    }

    /// The upstream could be reached.
    pub(crate) fn reached(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 && self.failures.swap(0, Ordering::Relaxed) >= FAILURES_UNTIL_DOWN {
            tracing::info!("the upstream can be reached again");
        }
    }

    /// The upstream could not be reached.
    pub(crate) fn unreachable(&self, error: &(dyn std::error::Error + 'static)) {
        let pause_millis = u64::try_from(self.pause.as_millis()).unwrap_or(u64::MAX);
        self.paused_until_millis.store(self.millis().saturating_add(pause_millis), Ordering::Relaxed);
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        // Once it is known to be down, that is not said with every request again.
        if failures <= FAILURES_UNTIL_DOWN {
            tracing::warn!(error, failures, "the upstream could not be reached");
        } else {
            tracing::debug!(error, failures, "the upstream could still not be reached");
        }
    }

    /// What the health path said.
    pub(crate) fn answered(&self, is_well: bool) {
        if is_well {
            self.bad_answers.store(0, Ordering::Relaxed);
            self.failures.store(0, Ordering::Relaxed);
            if self.is_sick.swap(false, Ordering::Relaxed) {
                tracing::info!("the upstream is well again");
            }
        } else if self.bad_answers.fetch_add(1, Ordering::Relaxed).saturating_add(1) >= BAD_ANSWERS_UNTIL_DOWN
            && !self.is_sick.swap(true, Ordering::Relaxed)
        {
            tracing::warn!("the upstream's health path says that it is not well; requests are refused until it is");
        }
    }

    fn down(&self, message: &'static str) -> Problem {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "upstream_down", message).retry_after(self.pause.as_secs().max(1))
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_upstream_that_cannot_be_reached_is_left_alone_for_a_moment() {
        let health = Health::new(Duration::from_secs(2));
        let error = std::io::Error::other("refused");
        for _ in 0..FAILURES_UNTIL_DOWN {
            assert_eq!(health.check(), Ok(()));
            health.unreachable(&error);
        }
        assert_eq!(health.check().unwrap_err().error(), "upstream_down");
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(health.check(), Ok(()));
        health.unreachable(&error);
        assert!(health.check().is_err(), "one more failure, and it is left alone again");
        health.reached();
        assert_eq!(health.check(), Ok(()));
    }

    #[test]
    fn one_bad_answer_of_the_health_path_is_forgiven() {
        let health = Health::new(Duration::from_secs(2));
        health.answered(false);
        assert_eq!(health.check(), Ok(()));
        health.answered(false);
        assert!(health.check().is_err());
        health.answered(true);
        assert_eq!(health.check(), Ok(()));
    }
}
