//! Purchases with a name: the same name is the same purchase, and the same purchase is the same payment.
//!
//! Whoever asks again under a name, because an answer was lost or refused, must not sign again: the first payment may still
//! settle, and no server is obliged to notice. So what was signed under a name is remembered, and presented again as it is: for
//! a day under a name of the caller's, unless the server said that it failed; and until it has expired under one that was made
//! here, or after a failure. That it has expired shows only that it can't settle any more, not that it has not. This holds
//! whether or not the server takes names, and until the process ends; after that only the server knows them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use farthing_core::extension::payment_identifier::PaymentId;
use farthing_core::time::UnixSeconds;
use tokio::sync::OwnedMutexGuard;

use super::Promised;

/// The most purchases that are remembered by their names. Beyond that none is begun under a new name.
pub const MAX_NAMED_PURCHASES: usize = 4096;
/// How long a purchase is remembered under a name of the caller's, in seconds, after it was asked for last.
pub const KEEP_SECONDS: u64 = 24 * 60 * 60;
/// How far a chain's clock may lag behind this one when a payment is taken for expired, in seconds.
const EXPIRY_MARGIN_SECONDS: u64 = 120;

/// What is bought, and its name.
type Key = (String, PaymentId);

/// Purchases by their names.
#[derive(Clone, Default)]
pub(super) struct NamedPurchases(Arc<Mutex<HashMap<Key, Slot>>>);

/// One purchase. Only who holds its lock signs for it.
pub(super) type Slot = Arc<tokio::sync::Mutex<Option<Signed>>>;

/// What was signed for it.
pub(super) struct Signed {
    promised: Promised,
    /// From when on it can't be taken any more.
    expired_from: UnixSeconds,
    /// Until when it must be remembered.
    until: UnixSeconds,
    /// How many promises of it were given out and not withdrawn: each may have been sent.
    given_out: usize,
    /// Whether the name is the caller's, who may ask again at any time. One that was made here is told with the answer, and
    /// servers that require names know them: a day of such purchases would leave no room for others.
    is_callers: bool,
}

impl NamedPurchases {
    /// The purchase of that name, for one caller at a time; `None` if too many are remembered already.
    pub(super) async fn open(
        &self,
        resource: &str,
        id: &PaymentId,
        now: UnixSeconds,
    ) -> Option<OwnedMutexGuard<Option<Signed>>> {
        let slot = self.slot((resource.to_owned(), id.clone()), now)?;
        Some(slot.lock_owned().await)
    }

    fn slot(&self, key: Key, now: UnixSeconds) -> Option<Slot> {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= MAX_NAMED_PURCHASES && !slots.contains_key(&key) {
            // A slot that somebody else has a hand on is in use, whatever is in it.
            slots.retain(|_, slot| Arc::strong_count(slot) > 1 || slot.try_lock().map_or(true, |slot| is_needed(&slot, now)));
            if slots.len() >= MAX_NAMED_PURCHASES {
                return None;
            }
        }
        Some(Arc::clone(slots.entry(key).or_default()))
    }
}

#[expect(clippy::ref_option, reason = "it is what a lock gives")]
fn is_needed(signed: &Option<Signed>, now: UnixSeconds) -> bool {
    signed.as_ref().is_some_and(|signed| now < signed.until)
}

/// The payment that was signed before, to be presented again.
pub(super) fn again(slot: &mut OwnedMutexGuard<Option<Signed>>, now: UnixSeconds) -> Option<Promised> {
    let handle = Arc::clone(OwnedMutexGuard::mutex(slot));
    let signed = slot.as_mut().filter(|signed| now < signed.until)?;
    signed.given_out = signed.given_out.saturating_add(1);
    // Only who knows the name can ask again under it.
    signed.is_callers = true;
    signed.until = signed.until.max(now.plus(KEEP_SECONDS));
    Some(signed.promised.copy(Some(handle)))
}

/// Remembers what was signed just now, and gives it out.
pub(super) fn remember(
    slot: &mut OwnedMutexGuard<Option<Signed>>,
    promised: &Promised,
    is_callers: bool,
    now: UnixSeconds,
) -> Promised {
    let handle = Arc::clone(OwnedMutexGuard::mutex(slot));
    let expired_from = now.plus(promised.facts.offer.max_timeout_seconds).plus(EXPIRY_MARGIN_SECONDS);
    let until = if is_callers { expired_from.max(now.plus(KEEP_SECONDS)) } else { expired_from };
    **slot = Some(Signed { promised: promised.copy(None), expired_from, until, given_out: 1, is_callers });
    promised.copy(Some(handle))
}

/// Keeps a purchase that settled in memory for longer.
pub(super) async fn settled(promised: &Promised, now: UnixSeconds) {
    let Some(slot) = &promised.named else { return };
    let mut slot = slot.lock().await;
    let ours = |signed: &&mut Signed| signed.promised.reservation == promised.reservation && signed.is_callers;
    if let Some(signed) = slot.as_mut().filter(ours) {
        signed.until = signed.until.max(now.plus(KEEP_SECONDS));
    }
}

/// Makes room for another payment as soon as this one can't be taken any more: the server says that it moved nothing.
pub(super) async fn failed(promised: &Promised) {
    let Some(slot) = &promised.named else { return };
    let mut slot = slot.lock().await;
    if let Some(signed) = slot.as_mut().filter(|signed| signed.promised.reservation == promised.reservation) {
        signed.until = signed.expired_from;
    }
}

/// Takes in that a promise was never sent. Whether no other was: nothing can be taken then, and the purchase is forgotten.
pub(super) async fn is_withdrawn(promised: &Promised) -> bool {
    let Some(slot) = &promised.named else { return true };
    let mut slot = slot.lock().await;
    let Some(signed) = slot.as_mut().filter(|signed| signed.promised.reservation == promised.reservation) else { return false };
    signed.given_out = signed.given_out.saturating_sub(1);
    let is_last = signed.given_out == 0;
    if is_last {
        *slot = None;
    }
    is_last
}
