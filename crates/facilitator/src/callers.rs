//! Who may ask this facilitator, by API key, and how much.
//!
//! 1. A key is known by its SHA-256 digest only; the key itself is nowhere kept, shown or logged.
//! 2. Every configured digest is compared, and each comparison takes as long as any other.
//! 3. Requests are counted in minutes of the runtime's timer, which begin with a request, and settlements in days of the
//!    clock that the facilitator was given, in UTC. A clock that is put forward or back begins another day, and locks nobody
//!    out. The counts are those of this process and start anew with it.
//! 4. No quota stands between a caller and a payment that is in the book already: what may have moved is always told.

use std::collections::BTreeSet;
use std::fmt;
use std::hint::black_box;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use farthing_core::time::UnixSeconds;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::error::OverQuota;
use crate::progress::Progress;

const SECONDS_PER_MINUTE: u64 = 60;
const SECONDS_PER_DAY: u64 = 86_400;
/// The longest name of a caller, in bytes.
const MAX_CALLER_NAME_BYTES: usize = 64;

/// The SHA-256 digest of an API key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyDigest([u8; 32]);

/// Somebody who may ask.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The name under which it is counted, logged and booked.
    pub name: String,
    /// What its key is known by.
    pub key: KeyDigest,
    /// How much it may ask.
    pub limits: CallerLimits,
}

/// How much a caller may ask; `None` is as much as it likes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallerLimits {
    /// `/verify` requests in each minute.
    pub verifies_per_minute: Option<u32>,
    /// `/settle` requests in each minute.
    pub settles_per_minute: Option<u32>,
    /// Payments sent to the chain in each UTC day; a copy of a request counts once.
    pub settlements_per_day: Option<u32>,
}

/// Everybody who may ask.
#[derive(Debug)]
pub struct Callers(Vec<Known>);

/// Why a list of callers cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallersError {
    /// A facilitator that asks for keys and knows none would serve nobody.
    #[error("callers: expected at least one, got none; leave them out to serve everybody")]
    None,
    /// The name cannot be used.
    #[error("caller {0:?}: expected a name of 1 to {MAX_CALLER_NAME_BYTES} printable ASCII characters")]
    Name(String),
    /// Two callers have one name, and would share one account.
    #[error("caller {0:?} is listed twice; give each caller a name of its own")]
    DuplicateName(String),
    /// Two callers have one key, and could not be told apart.
    #[error("caller {0:?} has the key of another caller; give each caller a key of its own")]
    DuplicateKey(String),
}

#[derive(Debug)]
struct Known {
    caller: Caller,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    minute: Option<Instant>,
    verifies: u32,
    settles: u32,
    day: u64,
    settlements: u32,
}

/// What is counted by the minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Verify,
    Settle,
}

/// One settlement of a caller's day. Given back when dropped, unless the payment has entered the book.
pub(crate) struct Reserved {
    callers: Arc<Callers>,
    index: usize,
    day: u64,
    progress: Arc<Progress>,
}

impl KeyDigest {
    /// The digest of a key.
    #[must_use]
    pub fn of(key: &str) -> Self {
        Self(Sha256::digest(key).into())
    }

    /// Whether the digests are equal, in a time that does not depend on where they differ.
    fn matches(&self, other: &Self) -> bool {
        let difference = self.0.iter().zip(&other.0).fold(0, |difference, (one, two)| black_box(difference | (one ^ two)));
        difference == 0
    }
}

impl FromStr for KeyDigest {
    type Err = String;

    /// Reads the 64 hexadecimal digits that `sha256sum` prints.
    fn from_str(text: &str) -> Result<Self, String> {
        let key: Result<farthing_core::scheme::PaymentKey, _> = text.parse();
        // What was given instead may be the key itself, and is not repeated.
        key.map(|digits| Self(digits.0)).map_err(|_| {
            "expected the SHA-256 digest of the key as 64 hexadecimal digits (printf %s \"$KEY\" | sha256sum)".to_owned()
        })
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("KeyDigest(…)")
    }
}

impl Callers {
    /// These callers and no others.
    pub fn new(callers: impl IntoIterator<Item = Caller>) -> Result<Self, CallersError> {
        let (mut names, mut keys, mut known) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
        for caller in callers {
            let name = caller.name.clone();
            let fits = (1..=MAX_CALLER_NAME_BYTES).contains(&name.len());
            if !fits || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(CallersError::Name(name.chars().take(MAX_CALLER_NAME_BYTES).collect()));
            }
            if !keys.insert(caller.key) {
                return Err(CallersError::DuplicateKey(name));
            }
            if !names.insert(name.clone()) {
                return Err(CallersError::DuplicateName(name));
            }
            known.push(Known { caller, counts: Mutex::default() });
        }
        if known.is_empty() { Err(CallersError::None) } else { Ok(Self(known)) }
    }

    /// Whose key it is.
    pub(crate) fn with_key(&self, key: &str) -> Option<&str> {
        let digest = KeyDigest::of(key);
        // Not `find`: the time must not tell how many were compared.
        let matching =
            self.0.iter().fold(None, |found, known| if digest.matches(&known.caller.key) { Some(known) } else { found });
        matching.map(|known| known.caller.name.as_str())
    }

    /// Counts a request against the caller's minute.
    pub(crate) fn ask(&self, name: &str, asked: Asked) -> Result<(), OverQuota> {
        let Some((_, known)) = self.named(name) else { return Ok(()) };
        let limits = known.caller.limits;
        let mut counts = known.counts();
        let passed_seconds = counts.minute.map(|began| began.elapsed().as_secs()).filter(|passed| *passed < SECONDS_PER_MINUTE);
        if passed_seconds.is_none() {
            (counts.minute, counts.verifies, counts.settles) = (Some(Instant::now()), 0, 0);
        }
        let rest_seconds = SECONDS_PER_MINUTE.saturating_sub(passed_seconds.unwrap_or_default());
        let (limit, count, what) = match asked {
            Asked::Verify => (limits.verifies_per_minute, &mut counts.verifies, "verify requests a minute"),
            Asked::Settle => (limits.settles_per_minute, &mut counts.settles, "settle requests a minute"),
        };
        take(name, limit, count, what, rest_seconds)
    }

    /// Counts a settlement against the caller's day.
    pub(crate) fn reserve(
        self: &Arc<Self>,
        name: &str,
        now: UnixSeconds,
        progress: &Arc<Progress>,
    ) -> Result<Option<Reserved>, OverQuota> {
        let Some((index, known)) = self.named(name) else { return Ok(None) };
        let mut counts = known.counts();
        let day = now.0 / SECONDS_PER_DAY;
        if day != counts.day {
            (counts.day, counts.settlements) = (day, 0);
        }
        let limit = known.caller.limits.settlements_per_day;
        take(name, limit, &mut counts.settlements, "settlements a day", SECONDS_PER_DAY - now.0 % SECONDS_PER_DAY)?;
        let (callers, progress) = (Arc::clone(self), Arc::clone(progress));
        Ok(Some(Reserved { callers, index, day: counts.day, progress }))
    }

    fn named(&self, name: &str) -> Option<(usize, &Known)> {
        self.0.iter().enumerate().find(|(_, known)| known.caller.name == name)
    }
}

fn take(
    caller: &str,
    limit: Option<u32>,
    count: &mut u32,
    what: &'static str,
    retry_after_seconds: u64,
) -> Result<(), OverQuota> {
    if let Some(limit) = limit.filter(|limit| *count >= *limit) {
        return Err(OverQuota { caller: caller.to_owned(), limit, what, retry_after_seconds });
    }
    *count = count.saturating_add(1);
    Ok(())
}

impl Known {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if self.progress.wrote() {
            return;
        }
        if let Some(mut counts) = self.callers.0.get(self.index).map(Known::counts)
            && counts.day == self.day
        {
            counts.settlements = counts.settlements.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(name: &str, key: &str) -> Caller {
        let limits = CallerLimits { verifies_per_minute: Some(2), settles_per_minute: None, settlements_per_day: Some(1) };
        Caller { name: name.to_owned(), key: KeyDigest::of(key), limits }
    }

    #[test]
    fn a_key_is_known_by_its_digest() {
        let callers = Callers::new([caller("shop", "secret-1"), caller("bank", "secret-2")]).unwrap();
        assert_eq!(callers.with_key("secret-1"), Some("shop"));
        assert_eq!(callers.with_key("secret-2"), Some("bank"));
        for wrong in ["", "secret", "secret-3", "SECRET-1"] {
            assert_eq!(callers.with_key(wrong), None, "{wrong}");
        }
        assert!(!format!("{callers:?}").contains("secret"));
    }

    #[test]
    fn a_digest_is_read_as_sha256sum_prints_it() {
        let digest = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
        assert_eq!(digest.parse::<KeyDigest>().unwrap(), KeyDigest::of("secret"));
        let error = "my-very-secret-key".parse::<KeyDigest>().unwrap_err();
        assert!(error.contains("64 hexadecimal digits") && !error.contains("very-secret"), "{error}");
    }

    #[test]
    fn a_list_that_cannot_tell_callers_apart_is_refused() {
        let error = |callers: Vec<Caller>| Callers::new(callers).err();
        assert_eq!(error(vec![]), Some(CallersError::None));
        assert_eq!(error(vec![caller("", "1")]), Some(CallersError::Name(String::new())));
        assert_eq!(error(vec![caller("a\nb", "1")]), Some(CallersError::Name("a\nb".to_owned())));
        assert_eq!(error(vec![caller("a", "1"), caller("a", "2")]), Some(CallersError::DuplicateName("a".to_owned())));
        assert_eq!(error(vec![caller("a", "1"), caller("b", "1")]), Some(CallersError::DuplicateKey("b".to_owned())));
    }

    #[tokio::test(start_paused = true)]
    async fn a_minute_holds_so_many_requests_and_the_next_one_as_many_again() {
        let callers = Callers::new([caller("shop", "1")]).unwrap();
        let ask = |asked| callers.ask("shop", asked).map_err(|quota| quota.retry_after_seconds);
        let pass = |seconds| tokio::time::advance(std::time::Duration::from_secs(seconds));
        for _ in 0..2 {
            assert_eq!((ask(Asked::Verify), ask(Asked::Verify)), (Ok(()), Ok(())));
            assert_eq!(ask(Asked::Verify), Err(60));
            pass(59).await;
            assert_eq!(ask(Asked::Verify), Err(1));
            assert_eq!(ask(Asked::Settle), Ok(()), "what has no limit is not limited");
            pass(1).await;
        }
    }

    #[test]
    fn a_clock_that_was_ahead_for_a_while_locks_nobody_out() {
        let callers = Arc::new(Callers::new([caller("shop", "1")]).unwrap());
        let progress = Progress::new();
        let reserve = |day: u64| callers.reserve("shop", UnixSeconds(day * SECONDS_PER_DAY), &progress).map(drop);
        let take = |day: u64| std::mem::forget(callers.reserve("shop", UnixSeconds(day * SECONDS_PER_DAY), &progress));
        take(900);
        assert!(reserve(900).is_err());
        assert!(reserve(7).is_ok());
        take(7);
        assert!(reserve(7).is_err(), "the day is counted all the same");
    }

    #[test]
    fn a_settlement_that_never_entered_the_book_is_given_back() {
        let callers = Arc::new(Callers::new([caller("shop", "1")]).unwrap());
        let progress = Progress::new();
        let reserve = || callers.reserve("shop", UnixSeconds(86_400), &progress);
        let first = reserve().unwrap();
        assert_eq!(reserve().err().map(|quota| quota.retry_after_seconds), Some(86_400));
        drop(first);
        let second = reserve().unwrap();
        assert!(second.is_some());
        let request = farthing_core::books::Fingerprint(String::new());
        let right = progress.attempt(&request, None, false, &crate::proven::tests::some_proof());
        farthing_core::scheme::SendRight::written(&*right, &farthing_core::scheme::TransactionId("0x1".to_owned()));
        drop(second);
        assert!(reserve().is_err());
    }
}
