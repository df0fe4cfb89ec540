//! Signed offers, kept for as long as they are good enough: a signature for every unpaid request would be the dearest part of
//! the answer, and a signer far away would be asked by whoever likes to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use farthing_core::Source;
use farthing_core::extension::offer_receipt::{Issuer, SignedOffer};
use farthing_core::time::UnixSeconds;
use farthing_core::wire::PaymentRequirements;
use serde_json::Value;

/// How long an answer waits for its offers to be signed.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long nobody asks the signer for the same offers again after it failed, in seconds.
const PAUSE_SECONDS: u64 = 5;
/// The most URLs whose offers are kept, for one route.
const MAX_KEPT_URLS: usize = 256;
/// How much of URLs and signed offers is kept in memory at most, for one route, in bytes: whoever asks chooses the URLs, and
/// each offer names them again.
const MAX_KEPT_BYTES: usize = 1024 * 1024;
/// What is declared where nothing is signed.
pub(crate) const UNSIGNED: &str = r#"{"info":{"offers":[]}}"#;

/// One route's offers, signed for each URL.
pub(super) struct SignedOffers {
    issuer: Issuer,
    accepts: Vec<PaymentRequirements>,
    kept: Mutex<Shelf>,
}

/// What is kept, by URL.
#[derive(Default)]
struct Shelf {
    kept: HashMap<String, Kept>,
    bytes: usize,
}

struct Kept {
    /// The extension as JSON.
    text: Arc<str>,
    /// The last moment at which it is given to anybody.
    until: UnixSeconds,
}

impl SignedOffers {
    pub(super) fn new(issuer: Issuer, accepts: Vec<PaymentRequirements>) -> Self {
        Self { issuer, accepts, kept: Mutex::default() }
    }

    /// The extension for this URL, if it was signed not long ago.
    pub(super) fn at_hand(&self, url: &str, now: UnixSeconds) -> Option<Arc<str>> {
        self.shelf().kept.get(url).filter(|kept| now <= kept.until).map(|kept| Arc::clone(&kept.text))
    }

    /// The extension for this URL. The offers in it are good for at least half of the time that they were signed for; if they
    /// cannot be signed, there are none in it: nobody is kept from paying for that.
    pub(super) async fn signed(&self, url: &str, now: UnixSeconds) -> Arc<str> {
        if let Some(text) = self.at_hand(url, now) {
            return text;
        }
        let signing = tokio::time::timeout(PATIENCE, self.sign(url, now)).await;
        let signed = signing.map_err(|_| Source::from("the signer took too long")).and_then(|signed| signed);
        let kept = signed.unwrap_or_else(|error| {
            let cause = error.as_ref() as &dyn std::error::Error;
            tracing::error!(cause, "offers could not be signed; the terms go out without signatures");
            Kept { text: UNSIGNED.into(), until: now.plus(PAUSE_SECONDS) }
        });
        let text = Arc::clone(&kept.text);
        self.keep(url, kept, now);
        text
    }

    async fn sign(&self, url: &str, now: UnixSeconds) -> Result<Kept, Source> {
        let declaration = self.issuer.declaration(url, &self.accepts, now).await?;
        let offers: Vec<SignedOffer> =
            serde_json::from_value(declaration.pointer("/info/offers").cloned().unwrap_or(Value::Null))?;
        let ends = offers.iter().map(|offer| offer.signed.statement().map(|offer| offer.valid_until));
        let first = ends.collect::<Result<Vec<_>, _>>()?.into_iter().min().unwrap_or(now);
        let half = first.0.saturating_sub(now.0) / 2;
        Ok(Kept { text: declaration.to_string().into(), until: now.plus(half) })
    }

    fn keep(&self, url: &str, new: Kept, now: UnixSeconds) {
        self.shelf().keep(url, new, now);
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf {
    fn keep(&mut self, url: &str, new: Kept, now: UnixSeconds) {
        let bytes = new.bytes(url);
        if bytes > MAX_KEPT_BYTES {
            return;
        }
        self.forget(url);
        if !self.has_room(bytes) {
            self.kept.retain(|_, kept| now <= kept.until);
            self.bytes = self.kept.iter().map(|(url, kept)| kept.bytes(url)).sum();
        }
        if !self.has_room(bytes) {
            *self = Self::default();
        }
        self.bytes = self.bytes.saturating_add(bytes);
        self.kept.insert(url.to_owned(), new);
    }

    fn forget(&mut self, url: &str) {
        if let Some(old) = self.kept.remove(url) {
            self.bytes = self.bytes.saturating_sub(old.bytes(url));
        }
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.kept.len() < MAX_KEPT_URLS && self.bytes.saturating_add(bytes) <= MAX_KEPT_BYTES
    }
}

impl Kept {
    fn bytes(&self, url: &str) -> usize {
        url.len().saturating_add(self.text.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixSeconds = UnixSeconds(1_000);

    fn kept(bytes: usize, until: UnixSeconds) -> Kept {
        Kept { text: "o".repeat(bytes).into(), until }
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for_in_urls_and_in_bytes() {
        for bytes in [0, 100, MAX_KEPT_BYTES / 10, MAX_KEPT_BYTES - 4, MAX_KEPT_BYTES + 1] {
            let mut shelf = Shelf::default();
            for number in 0..1_000 {
                // Some are replaced, some have had their time.
                let url = format!("/{}", number % 600);
                shelf.keep(&url, kept(bytes, NOW.plus(number % 3)), NOW.plus(number % 4));
                let actual: usize = shelf.kept.iter().map(|(url, kept)| url.len() + kept.text.len()).sum();
                assert_eq!(shelf.bytes, actual);
                assert!(shelf.kept.len() <= MAX_KEPT_URLS && actual <= MAX_KEPT_BYTES);
                assert_eq!(shelf.kept.contains_key(&url), bytes + url.len() <= MAX_KEPT_BYTES);
            }
        }
    }

    #[test]
    fn what_had_its_time_makes_room_first() {
        let mut shelf = Shelf::default();
        shelf.keep("/old", kept(MAX_KEPT_BYTES / 2, NOW), NOW);
        shelf.keep("/good", kept(MAX_KEPT_BYTES / 4, NOW.plus(100)), NOW);
        shelf.keep("/new", kept(MAX_KEPT_BYTES / 2, NOW.plus(100)), NOW.plus(1));
        assert!(shelf.kept.contains_key("/good") && shelf.kept.contains_key("/new") && !shelf.kept.contains_key("/old"));
    }
}
