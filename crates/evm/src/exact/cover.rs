//! What each payer has under way: transfers that its balance covers one by one, but not together, must not all go out.
//! A simulation sees what is mined and nothing else, so that all but the first would revert and burn the facilitator's
//! gas.
//!
//! A look is begun before the balance is read, and remembers what had ended by then. What has ended since may be missing
//! from the balance, so it counts like what is still under way. That may count too much, and never too little: whoever is
//! not covered waits for the others and looks again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use alloy_primitives::{Address, U256};
use tokio::sync::watch;

/// Whose money: the chain, the asset, the payer.
pub(super) type Purse = (u64, Address, Address);

/// The transfers under way, by purse.
#[derive(Clone, Debug, Default)]
pub(super) struct Cover(Arc<Mutex<HashMap<Purse, Transfers>>>);

/// The transfers of one purse, while anybody looks at it or has one under way.
#[derive(Debug)]
struct Transfers {
    under_way: U256,
    ended: U256,
    looks: usize,
    /// Replaced when nothing is under way any more, which wakes whoever waits for that.
    until_idle: watch::Sender<()>,
}

/// A look at a purse, begun before its balance was read.
#[derive(Debug)]
pub(super) struct Look {
    cover: Cover,
    purse: Purse,
    ended: U256,
}

/// A transfer that counts as under way until this is dropped.
#[must_use]
pub(super) struct Share {
    cover: Cover,
    purse: Purse,
    value: U256,
}

/// The transfers that stand in the way of one more.
pub(super) struct Others(Option<watch::Receiver<()>>);

impl Cover {
    /// Begins a look. The balance must be read afterwards.
    pub(super) fn look(&self, purse: Purse) -> Look {
        let ended = self.change(purse, |transfers| {
            transfers.looks = transfers.looks.saturating_add(1);
            transfers.ended
        });
        Look { cover: self.clone(), purse, ended }
    }

    /// Changes what is known of a purse, and forgets it when nobody needs it any more.
    fn change<T>(&self, purse: Purse, change: impl FnOnce(&mut Transfers) -> T) -> T {
        let mut purses = self.purses();
        let transfers = purses.entry(purse).or_insert_with(|| Transfers {
            under_way: U256::ZERO,
            ended: U256::ZERO,
            looks: 0,
            until_idle: watch::Sender::new(()),
        });
        let changed = change(transfers);
        if transfers.looks == 0 && transfers.under_way.is_zero() {
            purses.remove(&purse);
        }
        changed
    }

    fn purses(&self) -> MutexGuard<'_, HashMap<Purse, Transfers>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Look {
    /// Counts a transfer as under way, if the balance covers it beside its others. Without others the balance does not
    /// matter: the simulation has decided.
    pub(super) fn take(&self, value: U256, balance: Option<U256>) -> Result<Share, Others> {
        self.cover.change(self.purse, |transfers| {
            let others = transfers.under_way.saturating_add(transfers.ended.saturating_sub(self.ended));
            let all = others.checked_add(value);
            let is_covered = others.is_zero() || all.is_some_and(|all| balance.is_some_and(|balance| all <= balance));
            if !is_covered {
                let is_idle = transfers.under_way.is_zero();
                return Err(Others((!is_idle).then(|| transfers.until_idle.subscribe())));
            }
            transfers.under_way = transfers.under_way.saturating_add(value);
            Ok(Share { cover: self.cover.clone(), purse: self.purse, value })
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
            transfers.under_way = transfers.under_way.saturating_sub(self.value);
            transfers.ended = transfers.ended.saturating_add(self.value);
            if transfers.under_way.is_zero() {
                transfers.until_idle = watch::Sender::new(());
            }
        });
    }
}

impl Others {
    /// Returns when none of this purse's transfers is under way any more.
    pub(super) async fn end(self) {
        if let Some(mut idle) = self.0 {
            while idle.changed().await.is_ok() {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    const PURSE: Purse = (1, Address::ZERO, Address::ZERO);

    fn take(look: &Look, value: u64, balance: u64) -> Result<Share, Others> {
        look.take(U256::from(value), Some(U256::from(balance)))
    }

    #[tokio::test]
    async fn no_more_is_under_way_than_the_balance_covers() {
        let cover = Cover::default();
        let look = cover.look(PURSE);
        let first = take(&look, 6, 10).ok().unwrap();
        let second = take(&look, 4, 10).ok().unwrap();
        let mut third = std::pin::pin!(take(&look, 1, 10).err().unwrap().end());
        assert!(third.as_mut().now_or_never().is_none());
        drop(first);
        assert!(third.as_mut().now_or_never().is_none(), "the second is still under way");
        drop(second);
        third.await;
    }

    #[tokio::test]
    async fn a_balance_that_was_read_before_others_ended_is_not_believed() {
        let cover = Cover::default();
        let (early, look) = (cover.look(PURSE), cover.look(PURSE));
        drop(take(&look, 6, 10).ok().unwrap());
        let others = take(&early, 6, 10).err().unwrap();
        assert!(others.end().now_or_never().is_some(), "there is nothing to wait for");
        assert!(take(&early, 4, 10).is_ok());
        assert!(take(&cover.look(PURSE), 6, 10).is_ok(), "a balance read now has it all");
    }

    #[tokio::test]
    async fn a_single_transfer_is_the_simulations_affair_and_purses_are_apart() {
        let cover = Cover::default();
        let look = cover.look(PURSE);
        let share = look.take(U256::from(6), None).ok().unwrap();
        assert!(cover.look((2, Address::ZERO, Address::ZERO)).take(U256::from(6), None).is_ok());
        assert!(take(&look, 1, 6).is_err());
        assert!(look.take(U256::from(1), None).is_err());
        assert!(look.take(U256::MAX, Some(U256::MAX)).is_err(), "the sum does not wrap");
        assert!(take(&look, 1, 7).is_ok());
        drop((share, look));
        assert!(cover.purses().is_empty(), "what nobody needs is forgotten");
    }
}
