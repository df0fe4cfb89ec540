//! The server's book of what may be had so many times in a period: free requests, and requests at all.
//!
//! | a counter, in the period that is asked for | becomes | by | answer |
//! |---|---|---|---|
//! | not in the book, or of an earlier period | 1 | `take` | granted |
//! | below its limit | one more | `take` | granted |
//! | at its limit | as it was | `take` | not granted |
//! | of a later period | as it was | `take` | not granted |
//!
//! Periods follow each other without a gap from 1970 on, so days begin at midnight in UTC, and every node of a book counts in
//! the same one. A clock that is behind can take nothing from a period that the others have left.
//!
//! What was taken is durable before anything is given for it; nothing is ever given back, so no failure is worth a request.

use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex};

use super::{BookError, locked};
use crate::BoxFuture;
use crate::time::UnixSeconds;

/// The most counters that a book in memory keeps. With more, those are forgotten whose period ends first.
pub const MAX_COUNTERS_IN_MEMORY: usize = 100_000;

/// One request, to be counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct QuotaRequest {
    /// What is counted, and for whom. Counters with different limits or periods need different names.
    pub counter: String,
    /// How many are granted in one period; with 0, none is.
    pub limit: u64,
    /// How long a period is.
    pub period_seconds: NonZeroU64,
    /// The present moment.
    pub now: UnixSeconds,
}

/// What a request to count came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaTaken {
    /// Whether it is one of those that are granted.
    pub is_granted: bool,
    /// How many more would be granted in this period.
    pub left: u64,
    /// When the next period begins.
    pub renews_at: UnixSeconds,
}

/// What may be had so many times in a period. A call is durable when it returns; after an error it may or may not be.
pub trait Quotas: Send + Sync {
    /// Counts one request. Of many concurrent ones, on however many nodes, no more are granted than the limit says.
    fn take<'a>(&'a self, request: &'a QuotaRequest) -> BoxFuture<'a, Result<QuotaTaken, BookError>>;
}

impl QuotaRequest {
    /// When the period ends that the present moment is in.
    #[must_use]
    pub fn renews_at(&self) -> UnixSeconds {
        let period = self.period_seconds.get();
        let begun = self.now.0.checked_div(period).unwrap_or_default().saturating_mul(period);
        UnixSeconds(begun.saturating_add(period))
    }

    /// What is left once so many were granted, this one included if it was.
    #[must_use]
    pub fn counted(&self, is_granted: bool, used: u64, renews_at: UnixSeconds) -> QuotaTaken {
        QuotaTaken { is_granted, left: self.limit.saturating_sub(used), renews_at }
    }
}

/// A book of quotas that dies with the process. Every clone is the same book.
#[derive(Clone, Debug, Default)]
pub struct MemoryQuotas {
    book: Arc<Mutex<Book>>,
}

#[derive(Debug, Default)]
struct Book {
    /// How many were granted until when.
    counters: HashMap<String, (UnixSeconds, u64)>,
    /// The counters by the end of their period, the first of them first.
    ageing: BTreeSet<(UnixSeconds, String)>,
}

impl Book {
    fn take(&mut self, request: &QuotaRequest) -> QuotaTaken {
        let QuotaRequest { counter, limit, now, .. } = request;
        let renews_at = request.renews_at();
        match self.counters.get_mut(counter) {
            Some((until, used)) if *until > renews_at => return request.counted(false, *used, *until),
            Some((until, used)) if *until == renews_at => {
                let is_granted = *used < *limit;
                *used = used.saturating_add(u64::from(is_granted));
                return request.counted(is_granted, *used, renews_at);
            }
            Some((until, _)) => {
                self.ageing.remove(&(*until, counter.clone()));
            }
            None => {}
        }
        if *limit == 0 {
            return request.counted(false, 0, renews_at);
        }
        self.forget(*now);
        self.counters.insert(counter.clone(), (renews_at, 1));
        self.ageing.insert((renews_at, counter.clone()));
        request.counted(true, 1, renews_at)
    }

    /// Forgets what counts for nothing any more, and makes room for one.
    fn forget(&mut self, now: UnixSeconds) {
        while let Some((until, _)) = self.ageing.first() {
            if *until > now && self.counters.len() < MAX_COUNTERS_IN_MEMORY {
                return;
            }
            if let Some((_, counter)) = self.ageing.pop_first() {
                self.counters.remove(&counter);
            }
        }
    }
}

impl Quotas for MemoryQuotas {
    fn take<'a>(&'a self, request: &'a QuotaRequest) -> BoxFuture<'a, Result<QuotaTaken, BookError>> {
        let taken = locked(&self.book).take(request);
        Box::pin(std::future::ready(Ok(taken)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::now as answer;
    use super::*;

    const NOW: UnixSeconds = UnixSeconds(1_000_050);

    fn request(counter: &str, limit: u64, now: UnixSeconds) -> QuotaRequest {
        QuotaRequest { counter: counter.to_owned(), limit, period_seconds: NonZeroU64::new(60).unwrap(), now }
    }

    #[test]
    fn a_period_begins_where_the_one_before_it_ended() {
        let at = |now| request("a", 1, UnixSeconds(now)).renews_at().0;
        assert_eq!((at(0), at(59), at(60), at(119), at(120)), (60, 60, 120, 120, 180));
        assert_eq!(at(u64::MAX), u64::MAX);
    }

    #[test]
    fn what_is_left_is_told() {
        let book = MemoryQuotas::default();
        let take = || answer(book.take(&request("a", 2, NOW)));
        assert_eq!(take(), QuotaTaken { is_granted: true, left: 1, renews_at: UnixSeconds(1_000_080) });
        assert_eq!((take().is_granted, take().is_granted, take().left), (true, false, 0));
    }

    #[test]
    fn counters_that_count_for_nothing_any_more_are_forgotten() {
        let book = MemoryQuotas::default();
        for number in 0..1_000 {
            let now = NOW.plus(number * 30);
            assert!(answer(book.take(&request(&number.to_string(), 1, now))).is_granted);
        }
        let book = book.book.lock().unwrap();
        assert!(book.counters.len() <= 3 && book.counters.len() == book.ageing.len(), "{}", book.counters.len());
    }

    #[test]
    fn no_more_counters_are_kept_than_there_is_room_for() {
        let book = MemoryQuotas::default();
        for number in 0..MAX_COUNTERS_IN_MEMORY + 10 {
            answer(book.take(&request(&number.to_string(), 1, NOW)));
        }
        let book = book.book.lock().unwrap();
        assert_eq!((book.counters.len(), book.ageing.len()), (MAX_COUNTERS_IN_MEMORY, MAX_COUNTERS_IN_MEMORY));
    }
}
