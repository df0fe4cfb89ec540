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
/// The most URLs whose offers are kept.
const MAX_KEPT_URLS: usize = 256;
/// What is declared where nothing is signed.
pub(crate) const UNSIGNED: &str = r#"{"info":{"offers":[]}}"#;

/// One route's offers, signed for each URL.
pub(super) struct SignedOffers {
    issuer: Issuer,
    accepts: Vec<PaymentRequirements>,
    kept: Mutex<HashMap<String, Kept>>,
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
        self.kept().get(url).filter(|kept| now <= kept.until).map(|kept| Arc::clone(&kept.text))
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
        let mut kept = self.kept();
        if kept.len() >= MAX_KEPT_URLS {
            kept.retain(|_, kept| now <= kept.until);
        }
        if kept.len() >= MAX_KEPT_URLS {
            kept.clear();
        }
        kept.insert(url.to_owned(), new);
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<String, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
