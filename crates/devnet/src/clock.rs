//! The chain's time: the system's, moved by an offset.
//!
//! Nothing else in this crate looks at a clock. Tests move the offset instead of sleeping.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// A moment no chain of ours will reach; the next block's timestamp is then not fixed.
const NOT_FIXED: u64 = u64::MAX;

#[derive(Debug)]
pub(crate) struct Clock {
    offset_seconds: AtomicI64,
    next_seconds: AtomicU64,
}

/// What has to be put back when a snapshot is reverted to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClockSetting {
    offset_seconds: i64,
    next_seconds: u64,
}

impl Clock {
    /// A clock that runs on from `start_seconds`, or from the system's time.
    pub(crate) fn new(start_seconds: Option<u64>) -> Self {
        let clock = Self { offset_seconds: AtomicI64::new(0), next_seconds: AtomicU64::new(NOT_FIXED) };
        if let Some(start) = start_seconds {
            clock.set(start);
        }
        clock
    }

    pub(crate) fn now(&self) -> u64 {
        system_seconds().saturating_add_signed(self.offset_seconds.load(Ordering::Relaxed))
    }

    pub(crate) fn set(&self, now_seconds: u64) {
        let system = i64::try_from(system_seconds()).unwrap_or(i64::MAX);
        let wanted = i64::try_from(now_seconds).unwrap_or(i64::MAX);
        self.offset_seconds.store(wanted.saturating_sub(system), Ordering::Relaxed);
    }

    pub(crate) fn advance(&self, seconds: u64) {
        self.set(self.now().saturating_add(seconds));
    }

    pub(crate) fn fix_next(&self, seconds: u64) {
        self.next_seconds.store(seconds, Ordering::Relaxed);
    }

    /// When a block made now would be dated; never before its parent.
    pub(crate) fn next_block(&self, parent_seconds: u64) -> u64 {
        match self.next_seconds.load(Ordering::Relaxed) {
            NOT_FIXED => self.now().max(parent_seconds),
            fixed => fixed.max(parent_seconds),
        }
    }

    /// As `next_block`, and a fixed timestamp is used up: time runs on from it.
    pub(crate) fn take_next_block(&self, parent_seconds: u64) -> u64 {
        let timestamp = self.next_block(parent_seconds);
        if self.next_seconds.swap(NOT_FIXED, Ordering::Relaxed) != NOT_FIXED {
            self.set(timestamp);
        }
        timestamp
    }

    pub(crate) fn setting(&self) -> ClockSetting {
        ClockSetting {
            offset_seconds: self.offset_seconds.load(Ordering::Relaxed),
            next_seconds: self.next_seconds.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn restore(&self, setting: ClockSetting) {
        self.offset_seconds.store(setting.offset_seconds, Ordering::Relaxed);
        self.next_seconds.store(setting.next_seconds, Ordering::Relaxed);
    }
}

fn system_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}
