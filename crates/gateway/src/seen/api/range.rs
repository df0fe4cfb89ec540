//! What may be asked for: a range of time in equal stretches, and pages of lists.

use std::num::NonZeroU64;

use farthing_core::scheme::PaymentKey;
use farthing_core::time::UnixSeconds;
use serde::Serialize;
use url::form_urlencoded;

/// How many entries a page has, unless it says otherwise.
const DEFAULT_LIMIT: usize = 50;
/// The most entries of a page.
const MAX_LIMIT: usize = 200;

/// The ranges that there are: their names, the length of a stretch in seconds, and how many there are.
const RANGES: [(&str, u64, u64); 4] = [("1h", 120, 30), ("24h", 3_600, 24), ("7d", 21_600, 28), ("30d", 86_400, 30)];
const DEFAULT_RANGE: &str = "24h";

/// A range of time, in equal stretches; the last one has begun and is not over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Range {
    pub(super) from: UnixSeconds,
    pub(super) before: UnixSeconds,
    pub(super) bucket_seconds: NonZeroU64,
}

/// The parameters of a query, each of them known and there once.
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub(super) fn read(query: Option<&str>, known: &[&str]) -> Result<Self, String> {
        let mut parameters: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            if !known.contains(&&*name) || parameters.iter().any(|(other, _)| *other == name) {
                return Err(format!("query: expected {}, each at most once, got {name:?}", known.join(", ")));
            }
            parameters.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self(parameters))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn range(&self, now: UnixSeconds) -> Result<Range, String> {
        let asked = self.get("range").unwrap_or(DEFAULT_RANGE);
        let found = RANGES.iter().find(|(name, ..)| *name == asked);
        let (_, seconds, count) = *found.ok_or_else(|| format!("range: expected 1h, 24h, 7d or 30d, got {asked:?}"))?;
        let bucket_seconds = NonZeroU64::new(seconds).unwrap_or(NonZeroU64::MIN);
        let last = now.0.saturating_sub(now.0 % bucket_seconds);
        let before = last.saturating_add(seconds);
        let from = before.saturating_sub(seconds.saturating_mul(count));
        Ok(Range { from: UnixSeconds(from), before: UnixSeconds(before), bucket_seconds })
    }

    pub(super) fn limit(&self) -> Result<usize, String> {
        let Some(text) = self.get("limit") else { return Ok(DEFAULT_LIMIT) };
        let limit = text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
        limit.ok_or_else(|| format!("limit: expected a number from 1 to {MAX_LIMIT}, got {text:?}"))
    }

    pub(super) fn after(&self) -> Result<Option<(UnixSeconds, PaymentKey)>, String> {
        let Some(text) = self.get("after") else { return Ok(None) };
        let parts = text.split_once('-').and_then(|(at, payment)| Some((at.parse().ok()?, payment.parse().ok()?)));
        parts.map(Some).ok_or_else(|| format!("after: expected the next of the page before, got {text:?}"))
    }
}

/// The place of an entry, as [`Parameters::after`] reads it.
pub(super) fn place(at: UnixSeconds, payment: PaymentKey) -> String {
    format!("{at}-{payment}")
}

impl Range {
    /// How many stretches there are.
    pub(super) fn len(&self) -> usize {
        let stretches = self.before.0.saturating_sub(self.from.0) / self.bucket_seconds;
        usize::try_from(stretches).unwrap_or_default()
    }

    /// In which stretch a moment is.
    pub(super) fn index(&self, at: UnixSeconds) -> Option<usize> {
        let since = at.0.checked_sub(self.from.0)? / self.bucket_seconds;
        usize::try_from(since).ok().filter(|index| *index < self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_ends_with_the_stretch_that_is_now() {
        let now = UnixSeconds(1_800_000_001);
        for (name, seconds, count) in RANGES {
            let range = Parameters::read(Some(&format!("range={name}")), &["range"]).unwrap().range(now).unwrap();
            assert_eq!(range.len(), usize::try_from(count).unwrap());
            assert_eq!((range.index(now), range.index(range.before)), (Some(range.len() - 1), None));
            assert_eq!((range.index(range.from), range.index(range.from.minus(1))), (Some(0), None));
            assert_eq!(range.from.0 % seconds, 0);
        }
    }

    #[test]
    fn what_cannot_be_asked_for_is_told() {
        let read = |query: &str| Parameters::read(Some(query), &["range", "limit", "after"]);
        for query in ["range=2h", "limit=0", "limit=201", "limit=x", "after=1", "after=1-zz", "after=x-00"] {
            let parameters = read(query).unwrap();
            let told = [parameters.range(UnixSeconds(0)).err(), parameters.limit().err(), parameters.after().err()];
            assert_eq!(told.iter().flatten().count(), 1, "{query}: {told:?}");
        }
        assert!(read("rang=1h").is_err() && read("limit=1&limit=2").is_err());
    }
}
