//! What each payer has under way on a chain, by whichever scheme and method: transfers that its balance covers one by one,
//! but not together, must not all go out.
//! A simulation sees what is mined and nothing else, so that all but the first would revert and burn the facilitator's
//! gas.
//!
//! A look is begun before the balance is read, and remembers what had ended by then. What has ended since may be missing
//! from the balance, so it counts like what is still under way. That may count too much, and too little only of what this
//! process has lost sight of, with its lane or before its start: whoever is not covered waits for the others and looks again.
//!
//! A payment never stands in its own way: of its copies one can land at most, so they count as one transfer.
//!
//! What was verified and is to be settled later can be held ([`holds`]). A transfer that goes out now looks at what is under
//! way and at nothing else: it is certain to be lost if it is refused, and what is held may never be asked for. Whoever is
//! only verified looks at both, because no work was done for it yet.

pub(crate) mod holds;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use alloy_primitives::{Address, U256};
use farthing_core::scheme::PaymentKey;
use tokio::sync::watch;

use self::holds::Holds;

/// Whose money: the asset, the payer.
pub(crate) type Purse = (Address, Address);

/// What is under way, and what is held.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cover(Arc<Mutex<Covered>>);

#[derive(Debug, Default)]
struct Covered {
    /// The transfers under way.
    purses: HashMap<Purse, Transfers>,
    holds: Holds,
}

/// The transfers of one purse, while anybody looks at it or has one under way.
#[derive(Debug)]
struct Transfers {
    each: HashMap<PaymentKey, Transfer>,
    /// The sum of them.
    under_way: U256,
    ended: U256,
    looks: usize,
    /// Replaced when one payment at most is under way any more, which wakes whoever waits for that.
    until_idle: watch::Sender<()>,
}

/// One payment's transfer, under way in so many copies.
#[derive(Debug, Default)]
struct Transfer {
    value: U256,
    copies: usize,
}

/// A look at a purse, begun before its balance was read.
#[derive(Debug)]
pub(crate) struct Look {
    cover: Cover,
    purse: Purse,
    ended: U256,
}

/// A transfer that counts as under way until this is dropped.
#[must_use]
pub(crate) struct Share {
    cover: Cover,
    purse: Purse,
    payment: PaymentKey,
}

/// The transfers that stand in the way of one more.
pub(crate) struct Others(Option<watch::Receiver<()>>);

impl Cover {
    /// Begins a look. The balance must be read afterwards.
    pub(crate) fn look(&self, purse: Purse) -> Look {
        let ended = self.change(purse, |transfers| {
            transfers.looks = transfers.looks.saturating_add(1);
            transfers.ended
        });
        Look { cover: self.clone(), purse, ended }
    }

    /// Changes what is under way of a purse, and forgets it when nobody needs it any more.
    fn change<T>(&self, purse: Purse, change: impl FnOnce(&mut Transfers) -> T) -> T {
        let mut covered = self.lock();
        let transfers = covered.purses.entry(purse).or_insert_with(|| Transfers {
            each: HashMap::new(),
            under_way: U256::ZERO,
            ended: U256::ZERO,
            looks: 0,
            until_idle: watch::Sender::new(()),
        });
        let changed = change(transfers);
        if transfers.looks == 0 && transfers.each.is_empty() {
            covered.purses.remove(&purse);
        }
        changed
    }

    fn lock(&self) -> MutexGuard<'_, Covered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Look {
    /// Counts a payment's transfer as under way, if what is available (of balance and allowance, whichever is less) covers
    /// it beside its others. Without others that does not matter: the simulation has decided.
    pub(crate) fn take(&self, payment: PaymentKey, value: U256, available: Option<U256>) -> Result<Share, Others> {
        self.cover.change(self.purse, |transfers| {
            let own = transfers.each.get(&payment).map_or(U256::ZERO, |transfer| transfer.value);
            let under_way = transfers.under_way.saturating_sub(own);
            let others = under_way.saturating_add(transfers.ended.saturating_sub(self.ended));
            let all = others.checked_add(value);
            let is_covered = others.is_zero() || all.is_some_and(|all| available.is_some_and(|available| all <= available));
            if !is_covered {
                return Err(Others((!under_way.is_zero()).then(|| transfers.until_idle.subscribe())));
            }
            let transfer = transfers.each.entry(payment).or_default();
            transfer.value = transfer.value.max(value);
            transfer.copies = transfer.copies.saturating_add(1);
            transfers.under_way = under_way.saturating_add(transfer.value);
            Ok(Share { cover: self.cover.clone(), purse: self.purse, payment })
        })
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        self.cover.change(self.purse, |transfers| transfers.looks = transfers.looks.saturating_sub(1));
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.cover.change(self.purse, |transfers| {
            let Entry::Occupied(mut transfer) = transfers.each.entry(self.payment) else { return };
            transfer.get_mut().copies = transfer.get().copies.saturating_sub(1);
            if transfer.get().copies > 0 {
                return;
            }
            let value = transfer.remove().value;
            transfers.under_way = transfers.under_way.saturating_sub(value);
            transfers.ended = transfers.ended.saturating_add(value);
            // Not at each end, so that a thousand who wait do not look again a thousand times. The last one that is left
            // may be a copy of the one who waits.
            if transfers.each.len() <= 1 {
                transfers.until_idle = watch::Sender::new(());
            }
        });
    }
}

impl Others {
    /// Returns when one payment of this purse at most is under way any more, or none.
    pub(crate) async fn end(self) {
        if let Some(mut idle) = self.0 {
            while idle.changed().await.is_ok() {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    const PURSE: Purse = (Address::ZERO, Address::ZERO);

    fn key(number: u8) -> PaymentKey {
        PaymentKey([number; 32])
    }

    fn take(look: &Look, payment: u8, value: u64, balance: u64) -> Result<Share, Others> {
        look.take(key(payment), U256::from(value), Some(U256::from(balance)))
    }

    #[tokio::test]
    async fn no_more_is_under_way_than_the_balance_covers() {
        let cover = Cover::default();
        let look = cover.look(PURSE);
        let first = take(&look, 1, 5, 10).ok().unwrap();
        let second = take(&look, 2, 3, 10).ok().unwrap();
        let third = take(&look, 3, 2, 10).ok().unwrap();
        let mut fourth = std::pin::pin!(take(&look, 4, 1, 10).err().unwrap().end());
        assert!(fourth.as_mut().now_or_never().is_none());
        drop(first);
        assert!(fourth.as_mut().now_or_never().is_none(), "two others are still under way");
        drop(second);
        fourth.await;
        assert!(take(&look, 4, 9, 10).err().unwrap().end().now_or_never().is_none(), "the third is still under way");
        assert!(take(&cover.look(PURSE), 4, 8, 10).is_ok());
        drop(third);
    }

    #[tokio::test]
    async fn a_payment_never_stands_in_its_own_way() {
        let cover = Cover::default();
        let look = cover.look(PURSE);
        let given_up = take(&look, 1, 6, 6).ok().unwrap();
        let again = take(&look, 1, 6, 6).ok().unwrap();
        let other = take(&look, 2, 1, 6).err().unwrap();
        drop(again);
        assert!(other.end().now_or_never().is_none(), "one copy is still under way");
        assert!(take(&look, 2, 1, 7).is_ok(), "both copies count once");
        drop(given_up);
        assert!(take(&cover.look(PURSE), 2, 6, 6).is_ok());
        drop(look);
        assert!(cover.lock().purses.is_empty());
    }

    #[tokio::test]
    async fn whoever_waits_for_another_payment_does_not_wait_for_its_own_copy() {
        let cover = Cover::default();
        let look = cover.look(PURSE);
        let other = take(&look, 1, 6, 12).ok().unwrap();
        let _given_up = take(&look, 2, 6, 12).ok().unwrap();
        let waiting = take(&look, 2, 6, 6).err().unwrap();
        drop(other);
        assert!(waiting.end().now_or_never().is_some());
        assert!(take(&cover.look(PURSE), 2, 6, 6).is_ok());
    }

    #[tokio::test]
    async fn a_balance_that_was_read_before_others_ended_is_not_believed() {
        let cover = Cover::default();
        let (early, look) = (cover.look(PURSE), cover.look(PURSE));
        drop(take(&look, 1, 6, 10).ok().unwrap());
        let others = take(&early, 2, 6, 10).err().unwrap();
        assert!(others.end().now_or_never().is_some(), "there is nothing to wait for");
        assert!(take(&early, 2, 4, 10).is_ok());
        assert!(take(&cover.look(PURSE), 2, 6, 10).is_ok(), "a balance read now has it all");
    }

    #[tokio::test]
    async fn a_single_transfer_is_the_simulations_affair_and_purses_are_apart() {
        let cover = Cover::default();
        let look = cover.look(PURSE);
        let share = look.take(key(1), U256::from(6), None).ok().unwrap();
        assert!(cover.look((Address::ZERO, Address::repeat_byte(1))).take(key(2), U256::from(6), None).is_ok());
        assert!(take(&look, 2, 1, 6).is_err());
        assert!(look.take(key(2), U256::from(1), None).is_err());
        assert!(look.take(key(2), U256::MAX, Some(U256::MAX)).is_err(), "the sum does not wrap");
        assert!(take(&look, 2, 1, 7).is_ok());
        drop((share, look));
        assert!(cover.lock().purses.is_empty(), "what nobody needs is forgotten");
    }
}
