//! What payments may still take that were verified and are not settled: of a metered payment its ceiling, so that the work
//! that is done for one of them can be charged for whatever becomes of the others.
//!
//! A hold begins when a payment was found good by its signature and by the chain, so that nobody can hold what is another's.
//! It ends with its payment, or by the clock, whichever is first. One more than there may be is refused: to drop an older one
//! for it would promise the same money twice. Who could fill all of it has to verify without end, because nothing is held for
//! longer than [`MAX_HOLD_SECONDS`].

use std::collections::{BTreeSet, HashMap};

use alloy_primitives::{B256, U256};
use farthing_core::scheme::PaymentKey;
use farthing_core::time::UnixSeconds;

use super::{Cover, Covered, Look, Purse};

/// The most payments for which one purse is held at once.
pub(crate) const MAX_HOLDS_PER_PURSE: usize = 512;
/// The most payments for which anything is held at once, on one chain: less than a hundred megabytes.
pub(crate) const MAX_HOLDS: usize = 262_144;

/// The longest that anything is held, in seconds, whatever an offer says; the offer may be the payer's own. Work that takes
/// longer is settled all the same, if the money is still there.
pub(crate) const MAX_HOLD_SECONDS: u64 = 3_600;

/// What one payment may still take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hold {
    pub(crate) value: U256,
    /// The first moment at which it is not held any more.
    pub(crate) until: UnixSeconds,
    /// What was signed, and the signature: nonces may be signed twice.
    pub(crate) proof: B256,
}

/// What others may take of a purse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) value: U256,
    /// When the last hold runs out; none where nothing is held and all of it is under way.
    pub(crate) until: Option<UnixSeconds>,
}

/// Why nothing is held for a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotHeld {
    /// What the payer has does not cover it beside its others.
    Short(Held),
    /// As much is held of this purse as may be.
    PurseFull,
    /// As much is held on this chain as may be.
    Full,
}

/// Everything that is held on a chain.
#[derive(Debug, Default)]
pub(super) struct Holds {
    purses: HashMap<Purse, HashMap<PaymentKey, Hold>>,
    /// The order in which they run out.
    ends: BTreeSet<(UnixSeconds, Purse, PaymentKey)>,
}

impl Look {
    /// Whether what is available covers a payment beside everything that others have under way and hold, if they hold
    /// anything: of what is only under way, the settlement will see what is left.
    pub(crate) fn check_held(
        &self,
        payment: PaymentKey,
        value: U256,
        available: Option<U256>,
        now: UnixSeconds,
    ) -> Result<(), NotHeld> {
        let mut covered = self.cover.lock();
        covered.holds.run_out(now);
        let others = self.others(&covered, payment);
        if others.until.is_some() { is_covered(others, value, available) } else { Ok(()) }
    }

    /// Holds that much for a payment, if what is available covers it beside everything that others have under way and hold.
    pub(crate) fn hold(
        &self,
        payment: PaymentKey,
        hold: Hold,
        available: Option<U256>,
        now: UnixSeconds,
    ) -> Result<(), NotHeld> {
        let mut covered = self.cover.lock();
        covered.holds.run_out(now);
        is_covered(self.others(&covered, payment), hold.value, available)?;
        covered.holds.put(self.purse, payment, hold)
    }

    /// What other payments have under way or hold, and what has ended since the look began.
    fn others(&self, covered: &Covered, payment: PaymentKey) -> Held {
        let Some(transfers) = covered.purses.get(&self.purse) else { return Held { value: U256::MAX, until: None } };
        let under_way_of = |key: &PaymentKey| transfers.each.get(key).map_or(U256::ZERO, |transfer| transfer.value);
        let under_way = transfers.under_way.saturating_sub(under_way_of(&payment));
        let ended = transfers.ended.saturating_sub(self.ended);
        let held = covered.holds.of_others(self.purse, payment, under_way_of);
        let value = under_way.saturating_add(ended).saturating_add(held.map_or(U256::ZERO, |(value, _)| value));
        Held { value, until: held.map(|(_, until)| until) }
    }
}

impl Cover {
    /// Holds nothing for a payment any more: it ended, and what moved counts as a transfer.
    pub(crate) fn release(&self, purse: Purse, payment: PaymentKey) {
        self.lock().holds.release(purse, payment);
    }

    /// The same, if it is this very payment: anybody can write its nonce.
    pub(crate) fn release_proven(&self, purse: Purse, payment: PaymentKey, proof: B256) {
        let mut covered = self.lock();
        if covered.holds.of(purse, payment).is_some_and(|hold| hold.proof == proof) {
            covered.holds.release(purse, payment);
        }
    }

    /// The same, where it moved without being a transfer of this process at the end: balances that were read before may
    /// still have it.
    pub(crate) fn release_moved(&self, purse: Purse, payment: PaymentKey) {
        let mut covered = self.lock();
        let Some(hold) = covered.holds.of(purse, payment) else { return };
        covered.holds.release(purse, payment);
        if let Some(transfers) = covered.purses.get_mut(&purse) {
            transfers.ended = transfers.ended.saturating_add(hold.value);
        }
    }
}

impl Holds {
    /// Forgets what has run out.
    pub(super) fn run_out(&mut self, now: UnixSeconds) {
        while let Some((until, purse, payment)) = self.ends.first().copied().filter(|(until, ..)| *until <= now) {
            self.ends.remove(&(until, purse, payment));
            self.forget(purse, payment);
        }
    }

    /// What other payments hold of a purse beyond what of each is under way; none if no other holds anything.
    pub(super) fn of_others(
        &self,
        purse: Purse,
        payment: PaymentKey,
        under_way: impl Fn(&PaymentKey) -> U256,
    ) -> Option<(U256, UnixSeconds)> {
        let others = self.purses.get(&purse)?.iter().filter(|(key, _)| **key != payment);
        others.fold(None, |sum, (key, hold)| {
            let (value, until) = sum.unwrap_or((U256::ZERO, hold.until));
            let beyond = hold.value.saturating_sub(under_way(key));
            Some((value.saturating_add(beyond), until.max(hold.until)))
        })
    }

    /// Holds that much for a payment. One that is held already is renewed: of what a payer signed under one nonce one thing
    /// can be carried out at most, and the largest counts.
    pub(super) fn put(&mut self, purse: Purse, payment: PaymentKey, hold: Hold) -> Result<(), NotHeld> {
        let before = self.purses.get(&purse).and_then(|held| held.get(&payment)).copied();
        if before.is_none() {
            if self.purses.get(&purse).is_some_and(|held| held.len() >= MAX_HOLDS_PER_PURSE) {
                return Err(NotHeld::PurseFull);
            }
            if self.ends.len() >= MAX_HOLDS {
                return Err(NotHeld::Full);
            }
        }
        let hold = before.map_or(hold, |before| {
            self.ends.remove(&(before.until, purse, payment));
            Hold { value: before.value.max(hold.value), until: before.until.max(hold.until), proof: before.proof }
        });
        self.ends.insert((hold.until, purse, payment));
        self.purses.entry(purse).or_default().insert(payment, hold);
        Ok(())
    }

    /// What is held for a payment.
    pub(super) fn of(&self, purse: Purse, payment: PaymentKey) -> Option<Hold> {
        self.purses.get(&purse)?.get(&payment).copied()
    }

    /// Holds nothing for a payment any more.
    pub(super) fn release(&mut self, purse: Purse, payment: PaymentKey) {
        if let Some(hold) = self.forget(purse, payment) {
            self.ends.remove(&(hold.until, purse, payment));
        }
    }

    fn forget(&mut self, purse: Purse, payment: PaymentKey) -> Option<Hold> {
        let payments = self.purses.get_mut(&purse)?;
        let forgotten = payments.remove(&payment);
        if payments.is_empty() {
            self.purses.remove(&purse);
        }
        forgotten
    }
}

/// Without others the simulation has decided.
fn is_covered(others: Held, value: U256, available: Option<U256>) -> Result<(), NotHeld> {
    let all = others.value.checked_add(value);
    if others.value.is_zero() || all.is_some_and(|all| available.is_some_and(|available| all <= available)) {
        return Ok(());
    }
    Err(NotHeld::Short(others))
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use alloy_primitives::Address;

    use super::*;

    const PURSE: Purse = (Address::ZERO, Address::ZERO);
    const NOW: UnixSeconds = UnixSeconds(1_000);

    fn key(number: u64) -> PaymentKey {
        PaymentKey(U256::from(number).to_be_bytes())
    }

    fn hold(value: u64, until: u64) -> Hold {
        Hold { value: U256::from(value), until: UnixSeconds(until), proof: B256::ZERO }
    }

    fn held(look: &Look, payment: u64, value: u64, balance: u64) -> Result<(), NotHeld> {
        look.hold(key(payment), hold(value, 1_300), Some(U256::from(balance)), NOW)
    }

    #[test]
    fn of_a_thousand_at_once_no_more_is_held_than_the_balance() {
        let (cover, start) = (Cover::default(), Barrier::new(1_000));
        let good = std::thread::scope(|scope| {
            let verify = |payment| {
                let (cover, start) = (&cover, &start);
                move || {
                    let look = cover.look(PURSE);
                    start.wait();
                    held(&look, payment, 7, 1_000).is_ok()
                }
            };
            let running: Vec<_> = (0..1_000).map(|payment| scope.spawn(verify(payment))).collect();
            running.into_iter().map(|thread| thread.join().unwrap()).filter(|is_good| *is_good).count()
        });
        assert_eq!(good, 142);
    }

    #[test]
    fn a_payment_counts_once_whether_it_is_held_or_under_way() {
        let cover = Cover::default();
        let look = cover.look(PURSE);
        held(&look, 1, 6, 10).unwrap();
        let share = look.take(key(1), U256::from(4), Some(U256::from(6))).ok().unwrap();
        held(&look, 2, 4, 10).unwrap();
        assert_eq!(held(&look, 3, 1, 10), Err(NotHeld::Short(Held { value: U256::from(10), until: Some(UnixSeconds(1_300)) })));
        drop(share);
        cover.release(PURSE, key(1));
        assert!(held(&look, 3, 3, 10).is_err(), "the balance was read before four of it moved");
        held(&cover.look(PURSE), 3, 2, 6).unwrap();
    }

    #[test]
    fn what_is_under_way_can_t_be_held() {
        let cover = Cover::default();
        let look = cover.look(PURSE);
        let share = look.take(key(1), U256::from(6), None).ok().unwrap();
        assert_eq!(held(&look, 2, 5, 10), Err(NotHeld::Short(Held { value: U256::from(6), until: None })));
        look.check_held(key(2), U256::from(5), Some(U256::from(10)), NOW).unwrap();
        held(&look, 2, 4, 10).unwrap();
        drop(share);
        // Money that moves now is not kept back for what may never be asked for.
        assert!(cover.look(PURSE).take(key(3), U256::from(4), Some(U256::from(4))).is_ok());
    }

    #[test]
    fn what_was_learnt_to_have_moved_may_still_be_in_the_balance() {
        let cover = Cover::default();
        let look = cover.look(PURSE);
        held(&look, 1, 6, 10).unwrap();
        cover.release_moved(PURSE, key(1));
        assert!(held(&look, 2, 5, 10).is_err());
        held(&cover.look(PURSE), 2, 5, 5).unwrap();
    }

    #[test]
    fn a_renewed_hold_is_the_largest_and_the_latest_and_its_first_proof_ends_it() {
        let cover = Cover::default();
        let look = cover.look(PURSE);
        let balance = Some(U256::from(10));
        look.hold(key(1), hold(6, 1_100), balance, NOW).unwrap();
        let other = Hold { proof: B256::repeat_byte(1), ..hold(1, 1_200) };
        look.hold(key(1), other, balance, NOW).unwrap();
        cover.release_proven(PURSE, key(1), other.proof);
        let short = |now| look.hold(key(2), hold(5, 1_300), balance, UnixSeconds(now));
        assert_eq!(short(1_199), Err(NotHeld::Short(Held { value: U256::from(6), until: Some(UnixSeconds(1_200)) })));
        short(1_200).unwrap();
        cover.release_proven(PURSE, key(2), B256::ZERO);
        let covered = cover.lock();
        assert!(covered.holds.purses.is_empty() && covered.holds.ends.is_empty(), "what has ended is forgotten");
    }

    #[test]
    fn there_is_a_limit_of_each_purse_and_of_all() {
        let mut holds = Holds::default();
        for number in 0..u64::try_from(MAX_HOLDS_PER_PURSE).unwrap() {
            holds.put(PURSE, key(number), hold(1, 1_300)).unwrap();
        }
        let all = u64::try_from(MAX_HOLDS).unwrap();
        assert_eq!(holds.put(PURSE, key(all), hold(1, 1_300)), Err(NotHeld::PurseFull));
        let another = (Address::ZERO, Address::repeat_byte(9));
        holds.put(another, key(all), hold(1, 1_300)).unwrap();
        holds.release(another, key(all));
        holds.ends = (0..all).map(|number| (UnixSeconds(1_300), PURSE, key(number))).collect();
        assert_eq!(holds.put(another, key(all), hold(1, 1_300)), Err(NotHeld::Full));
        holds.put(PURSE, key(0), hold(1, 1_400)).unwrap();
        holds.run_out(UnixSeconds(1_300));
        assert_eq!(holds.ends.len(), 1, "the one that was renewed");
        holds.put(another, key(all), hold(1, 1_500)).unwrap();
    }
}
