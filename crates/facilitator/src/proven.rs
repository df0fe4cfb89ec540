//! What was found good here, so that a payment that somebody else broadcasts before it is sent is known again.
//!
//! Whoever sees a payer's authorization can carry it out: an observer, or the payer. Then the seller was paid, and the
//! payment's nonce is used before it was ever sent from here. To refuse it would make the buyer pay twice. But a used
//! nonce alone proves nothing: the authorization may have been spent for something else, through another facilitator,
//! and within its time anybody could present it again, to another server of the same seller. So the order decides:
//!
//! 1. Verified here, then found used: its use came after a request that this facilitator had found good, for which it had
//!    verified it. That request, from that caller, and no other, is answered with the transaction that moved the money,
//!    if exactly this payment moved. The book takes one request for each payment, so it buys one thing once.
//! 2. Never verified here, or for another request: refused as used.
//!
//! An authorization names no resource, so this cannot tell apart a payer who has it verified here for one server and spends
//! it at another server of the same seller, through another facilitator. The second server is safe where it verifies
//! before it settles, as the payment is refused there; where callers have keys, so that nobody verifies in its name; and
//! where the seller's servers share a book. The same holds for two that settle one authorization at the same moment.
//!
//! This is kept in memory, for a bounded number of payments and until a while after each has expired. What is forgotten,
//! after a restart or at another replica, is refused as used: that is safe, and the payer can show the transaction to the
//! seller. A payment that is dead in the book was sent for its request, which proves as much and is never forgotten.
//! `/verify` refuses a used nonce in every case.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use farthing_core::books::{Fingerprint, PaymentRecord};
use farthing_core::time::UnixSeconds;
use sha2::{Digest, Sha256};

/// The most payments that are remembered; the oldest are forgotten first.
pub(crate) const MAX_PROVEN_PAYMENTS: usize = 65_536;

/// For how long a payment is remembered after its expiry, in seconds: somebody else may have carried it out in its last
/// moment, and then it looks as if it had merely expired.
pub(crate) const PROVEN_GRACE_SECONDS: u64 = 600;

/// A digest of payment, request and caller.
type Mark = [u8; 32];

/// The payments that were found good.
#[derive(Clone, Default)]
pub(crate) struct Proven(Arc<Mutex<Marks>>);

#[derive(Default)]
struct Marks {
    expiries: HashMap<Mark, UnixSeconds>,
    /// Oldest first.
    order: VecDeque<Mark>,
}

/// One payment, as one request of one caller brought it.
#[derive(Clone)]
pub(crate) struct Proof {
    proven: Proven,
    mark: Mark,
    expires_at: UnixSeconds,
}

impl Proven {
    /// What is known of this payment, if this request of this caller brings it.
    pub(crate) fn of(&self, record: &PaymentRecord, request: &Fingerprint, caller: Option<&str>) -> Proof {
        let mut digest = Sha256::new();
        digest.update(record.key.0);
        // A fingerprint is a digest, so that no two of these run into each other.
        digest.update(request.0.as_bytes());
        digest.update([u8::from(caller.is_some())]);
        digest.update(caller.unwrap_or_default());
        Proof { proven: self.clone(), mark: digest.finalize().into(), expires_at: record.expires_at }
    }

    fn marks(&self) -> MutexGuard<'_, Marks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Proof {
    /// It was found good just now.
    pub(crate) fn remember(&self) {
        let mut marks = self.proven.marks();
        if marks.expiries.insert(self.mark, self.expires_at).is_some() {
            return;
        }
        marks.order.push_back(self.mark);
        while marks.order.len() > MAX_PROVEN_PAYMENTS {
            let Some(oldest) = marks.order.pop_front() else { break };
            marks.expiries.remove(&oldest);
        }
    }

    /// Whether it was found good, and has not expired long since.
    pub(crate) fn holds(&self, now: UnixSeconds) -> bool {
        self.proven.marks().expiries.get(&self.mark).is_some_and(|expires_at| now < expires_at.plus(PROVEN_GRACE_SECONDS))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use farthing_core::amount::Amount;
    use farthing_core::scheme::PaymentKey;

    const NOW: UnixSeconds = UnixSeconds(1_000);

    fn record(number: u32) -> PaymentRecord {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&number.to_be_bytes());
        PaymentRecord {
            key: PaymentKey(key),
            scheme: "exact".to_owned(),
            network: "eip155:8453".parse().unwrap(),
            payer: "0xPayer".parse().unwrap(),
            pay_to: "0xSeller".parse().unwrap(),
            asset: "0xAsset".parse().unwrap(),
            amount: Amount::from(1),
            expires_at: NOW.plus(60),
            reference: number.to_string(),
        }
    }

    /// For tests of what hands one on.
    pub(crate) fn some_proof() -> Proof {
        proof(&Proven::default(), 1, "one", None)
    }

    fn proof(proven: &Proven, number: u32, request: &str, caller: Option<&str>) -> Proof {
        proven.of(&record(number), &Fingerprint(request.to_owned()), caller)
    }

    #[test]
    fn only_the_same_payment_of_the_same_request_and_caller_is_known_and_only_for_its_time() {
        let proven = Proven::default();
        let good = proof(&proven, 1, "one", Some("shop"));
        assert!(!good.holds(NOW));
        good.remember();
        assert!(good.holds(NOW) && good.holds(NOW.plus(60 + PROVEN_GRACE_SECONDS - 1)));
        assert!(!good.holds(NOW.plus(60 + PROVEN_GRACE_SECONDS)));
        let others = [(2, "one", Some("shop")), (1, "two", Some("shop")), (1, "one", Some("mall")), (1, "one", None)];
        for (number, request, caller) in others {
            assert!(!proof(&proven, number, request, caller).holds(NOW), "{number} {request} {caller:?}");
        }
        proof(&proven, 3, "one", None).remember();
        assert!(!proof(&proven, 3, "one", Some("")).holds(NOW));
    }

    #[test]
    fn the_oldest_are_forgotten_first() {
        let proven = Proven::default();
        for number in 0..=u32::try_from(MAX_PROVEN_PAYMENTS).unwrap() {
            proof(&proven, number, "one", None).remember();
        }
        assert!(!proof(&proven, 0, "one", None).holds(NOW));
        assert!(proof(&proven, 1, "one", None).holds(NOW));
        assert_eq!(proven.marks().order.len(), MAX_PROVEN_PAYMENTS);
    }
}
