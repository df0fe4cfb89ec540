//! When something last moved, told without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// The time of the last movement, to the millisecond.
#[derive(Debug)]
pub(crate) struct Activity {
    start: Instant,
    last_millis: AtomicU64,
}

impl Activity {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), last_millis: AtomicU64::new(0) }
    }

    /// Something moved.
    pub(crate) fn touch(&self) {
        self.last_millis.store(self.millis(), Ordering::Relaxed);
    }

    /// When nothing will have moved for that long, if nothing does.
    pub(crate) fn deadline(&self, timeout: Duration) -> Instant {
        let last = Duration::from_millis(self.last_millis.load(Ordering::Relaxed));
        // One more, for what the millisecond cut off.
        self.start + last + timeout + Duration::from_millis(1)
    }

    /// Resolves once nothing has moved for that long.
    pub(crate) async fn silence(&self, timeout: Duration) {
        loop {
            let deadline = self.deadline(timeout);
            if deadline <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(deadline).await;
        }
    }

    fn millis(&self) -> u64 {
        // More milliseconds than fit are half a billion years.
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn silence_is_counted_from_the_last_movement() {
        let activity = Activity::new();
        tokio::time::advance(Duration::from_secs(3)).await;
        activity.touch();
        let before = Instant::now();
        activity.silence(Duration::from_secs(5)).await;
        let waited = before.elapsed();
        assert!(waited >= Duration::from_secs(5) && waited < Duration::from_millis(5_010), "{waited:?}");
    }
}
