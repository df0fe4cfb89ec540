//! The real clock and the real source of randomness. Everything below this crate is handed these, so that tests can
//! hand in their own.

use std::time::{SystemTime, UNIX_EPOCH};

use farthing_core::Source;
use farthing_core::time::{Clock, Entropy, UnixSeconds};

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> UnixSeconds {
        // A clock before 1970 reads as 1970: every authorisation window then lies in the future and is refused.
        UnixSeconds(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
    }
}

/// The operating system's random bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), Source> {
        getrandom::fill(buffer).map_err(|error| Source::from(error.to_string()))
    }
}
