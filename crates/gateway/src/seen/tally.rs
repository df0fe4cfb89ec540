//! How requests ended, over time, as this process has counted them since it started.
//!
//! The book of sales knows for good what was sold; what was only asked for, and what came to nothing, is in no book. So it is
//! counted here: by the minute for the last hours, by the hour for the last month, within a limit.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use farthing_core::time::UnixSeconds;

use super::outcome::{OTHER, Outcome};

/// A minute, in seconds.
const MINUTE_SECONDS: u64 = 60;
/// An hour, in seconds.
const HOUR_SECONDS: u64 = 3_600;
/// For how many minutes each is known by itself.
const MINUTES_MAX: usize = 3 * 60;
/// For how many hours each is known by itself: a little more than thirty days.
const HOURS_MAX: usize = 31 * 24;
/// How many kinds of endings are told apart in one stretch of time; more are counted as one.
const KINDS_MAX: usize = 2_048;

/// One kind of ending.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ending {
    pub(super) route: Arc<str>,
    pub(super) outcome: Outcome,
    /// Why, of those that came to nothing.
    pub(super) reason: Option<Cow<'static, str>>,
}

/// All endings.
#[derive(Debug)]
pub(super) struct Tally {
    minutes: Ring,
    hours: Ring,
}

#[derive(Debug)]
struct Ring {
    seconds: u64,
    max: usize,
    /// The newest last; stretches in which nothing happened are left out.
    stretches: VecDeque<(UnixSeconds, BTreeMap<Ending, u64>)>,
}

impl Tally {
    pub(super) fn new() -> Self {
        let ring = |seconds, max| Ring { seconds, max, stretches: VecDeque::new() };
        Self { minutes: ring(MINUTE_SECONDS, MINUTES_MAX), hours: ring(HOUR_SECONDS, HOURS_MAX) }
    }

    /// A request has ended.
    pub(super) fn count(&mut self, now: UnixSeconds, ending: &Ending) {
        self.minutes.count(now, ending);
        self.hours.count(now, ending);
    }

    /// Endings between these moments, by the beginning of stretches of so many seconds, which are whole minutes or hours.
    pub(super) fn endings(
        &self,
        since: UnixSeconds,
        before: UnixSeconds,
        bucket_seconds: u64,
    ) -> impl Iterator<Item = (UnixSeconds, &Ending, u64)> {
        let ring = if bucket_seconds.is_multiple_of(HOUR_SECONDS) { &self.hours } else { &self.minutes };
        let within = ring.stretches.iter().filter(move |(at, _)| *at >= since && *at < before);
        within.flat_map(move |(at, counts)| {
            let bucket = UnixSeconds(at.0.saturating_sub(at.0 % bucket_seconds.max(1)));
            counts.iter().map(move |(ending, count)| (bucket, ending, *count))
        })
    }
}

impl Ring {
    fn count(&mut self, now: UnixSeconds, ending: &Ending) {
        let at = UnixSeconds(now.0.saturating_sub(now.0 % self.seconds));
        // A clock that goes back adds to the newest.
        if self.stretches.back().is_none_or(|(newest, _)| *newest < at) {
            self.stretches.push_back((at, BTreeMap::new()));
            while self.stretches.len() > self.max {
                self.stretches.pop_front();
            }
        }
        let Some((_, counts)) = self.stretches.back_mut() else { return };
        if let Some(count) = counts.get_mut(ending) {
            *count = count.saturating_add(1);
            return;
        }
        let ending = if counts.len() < KINDS_MAX {
            ending.clone()
        } else {
            Ending { route: Arc::from(OTHER), outcome: ending.outcome, reason: None }
        };
        let count = counts.entry(ending).or_default();
        *count = count.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::Outcome::{Paid, Required};
    use super::*;

    fn ending(route: &str, outcome: Outcome) -> Ending {
        Ending { route: Arc::from(route), outcome, reason: None }
    }

    #[test]
    fn endings_are_kept_by_the_minute_and_by_the_hour() {
        let mut tally = Tally::new();
        for second in [7_200, 7_230, 7_260, 10_800] {
            tally.count(UnixSeconds(second), &ending("/a", Outcome::Required));
        }
        tally.count(UnixSeconds(10_800), &ending("/a", Outcome::Paid));
        let counts = |bucket| {
            let endings = tally.endings(UnixSeconds(7_200), UnixSeconds(20_000), bucket);
            endings.map(|(at, ending, count)| (at.0, ending.outcome, count)).collect::<Vec<_>>()
        };
        assert_eq!(counts(60), [(7_200, Required, 2), (7_260, Required, 1), (10_800, Required, 1), (10_800, Paid, 1)]);
        assert_eq!(counts(3_600), [(7_200, Required, 3), (10_800, Required, 1), (10_800, Paid, 1)]);
        assert_eq!(tally.endings(UnixSeconds(7_201), UnixSeconds(7_261), 60).count(), 1);
    }

    #[test]
    fn it_forgets_what_is_old_and_tells_no_more_apart_than_it_may() {
        let mut tally = Tally::new();
        for minute in 0..10_000 {
            tally.count(UnixSeconds(minute * 60), &ending("/a", Outcome::Free));
        }
        assert_eq!((tally.minutes.stretches.len(), tally.hours.stretches.len()), (MINUTES_MAX, 10_000_usize.div_ceil(60)));
        for number in 0..KINDS_MAX * 2 {
            tally.count(UnixSeconds(600_000), &ending(&format!("/{number}"), Outcome::Free));
        }
        let newest = &tally.minutes.stretches.back().unwrap().1;
        assert_eq!(newest.len(), KINDS_MAX + 1);
        assert_eq!(newest.values().sum::<u64>(), u64::try_from(KINDS_MAX * 2).unwrap());
    }
}
