//! What this process knows of payments that were not delivered for yet, beyond what the book of deliveries holds.
//!
//! A settlement can be asked for again only as it was asked for first, to the unit: so for metered payments the charge is
//! kept. And a facilitator without a book refuses what it has carried out: so for payments that were settled before a work that
//! failed, the settlement is kept.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use farthing_core::amount::Amount;
use farthing_core::scheme::PaymentKey;
use farthing_core::wire::SettleResponse;

/// How many charges are remembered; beyond that the oldest is forgotten, and its payment is treated as after a restart.
const MAX_CHARGES: usize = 10_000;

/// The charges that may have to be asked for again.
#[derive(Default)]
pub(crate) struct Charges(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    by_payment: HashMap<PaymentKey, Charge>,
    /// The payments in the order in which they came.
    by_age: BTreeMap<u64, PaymentKey>,
    last: u64,
}

struct Charge {
    number: u64,
    amount: Amount,
    settlement: Option<Box<SettleResponse>>,
}

impl Charges {
    /// What was to be charged, if anybody was asked to.
    pub(crate) fn of(&self, payment: PaymentKey) -> Option<Amount> {
        self.kept().by_payment.get(&payment).map(|charge| charge.amount)
    }

    /// The settlement, if the payment was settled before its work.
    pub(crate) fn settlement(&self, payment: PaymentKey) -> Option<SettleResponse> {
        self.kept().by_payment.get(&payment)?.settlement.as_deref().cloned()
    }

    /// Remembers a charge before anybody is asked for it.
    pub(crate) fn remember(&self, payment: PaymentKey, amount: Amount) {
        self.keep(payment, amount, None);
    }

    /// Remembers what was settled before the work.
    pub(crate) fn settled(&self, payment: PaymentKey, amount: Amount, settlement: SettleResponse) {
        self.keep(payment, amount, Some(Box::new(settlement)));
    }

    fn keep(&self, payment: PaymentKey, amount: Amount, settlement: Option<Box<SettleResponse>>) {
        let mut kept = self.kept();
        kept.remove(payment);
        if kept.by_age.len() >= MAX_CHARGES
            && let Some((_, oldest)) = kept.by_age.pop_first()
        {
            kept.by_payment.remove(&oldest);
        }
        kept.last = kept.last.saturating_add(1);
        let number = kept.last;
        kept.by_age.insert(number, payment);
        kept.by_payment.insert(payment, Charge { number, amount, settlement });
    }

    /// The payment is used up, or free again.
    pub(crate) fn forget(&self, payment: PaymentKey) {
        self.kept().remove(payment);
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // What a panic leaves behind is a charge too many or too few, each of which is safe.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn remove(&mut self, payment: PaymentKey) {
        if let Some(Charge { number, .. }) = self.by_payment.remove(&payment) {
            self.by_age.remove(&number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> PaymentKey {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.to_le_bytes());
        PaymentKey(key)
    }

    #[test]
    fn the_oldest_charge_makes_room() {
        let charges = Charges::default();
        for number in 0..MAX_CHARGES {
            charges.remember(key(number), Amount::from(7));
        }
        charges.remember(key(0), Amount::from(8));
        assert_eq!((charges.of(key(0)), charges.of(key(1))), (Some(8.into()), Some(7.into())));
        charges.remember(key(MAX_CHARGES), Amount::from(9));
        assert_eq!((charges.of(key(0)), charges.of(key(1))), (Some(8.into()), None));
        charges.forget(key(0));
        assert_eq!(charges.of(key(0)), None);
        let kept = charges.kept();
        assert_eq!((kept.by_age.len(), kept.by_payment.len()), (MAX_CHARGES - 1, MAX_CHARGES - 1));
    }
}
