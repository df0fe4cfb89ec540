//! The server's book of what was bought for later: time, and credits.
//!
//! | what a holder has | becomes | by |
//! |---|---|---|
//! | anything, and this payment is not in the book | what the payment bought, more | `grant` |
//! | anything, and this payment is in the book | as it was | `grant` |
//! | enough credits | so many less | `spend` |
//! | too few | as it was | `spend` |
//! | anything | so many credits more | `give_back` |
//!
//! A pass is bought by a settlement and granted once for its payment, however often that is said. Time is added to what is left
//! of it. Credits are spent before anything is done for them, so that of many requests at once no more are served than were
//! paid for.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex};

use super::{BookError, locked};
use crate::BoxFuture;
use crate::asset::AccountId;
use crate::network::Network;
use crate::scheme::PaymentKey;
use crate::time::UnixSeconds;

/// Who has a pass: an account may be somebody else's on another network.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PassHolder {
    /// Which pass, as the server names it.
    pub pass: String,
    /// Where it was paid for.
    pub network: Network,
    /// Who paid, written in one way always.
    pub payer: AccountId,
}

/// What a payment buys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassTerms {
    /// So much time, from now on or from the end of what is left.
    Seconds(NonZeroU64),
    /// So many credits.
    Credits(NonZeroU64),
}

/// A pass that was paid for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassPurchase {
    /// By which payment.
    pub payment: PaymentKey,
    /// By whom.
    pub holder: PassHolder,
    /// What it bought.
    pub terms: PassTerms,
    /// The present moment.
    pub now: UnixSeconds,
}

/// What a holder has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PassBalance {
    /// The last moment of the time that was bought, if any was.
    pub until: Option<UnixSeconds>,
    /// The credits that are left.
    pub credits: u64,
}

/// What was bought for later. Each call is durable when it returns; after an error it may or may not be.
pub trait Passes: Send + Sync {
    /// Gives a holder what a settled payment bought, once for each payment, and says what the holder has now.
    fn grant<'a>(&'a self, purchase: &'a PassPurchase) -> BoxFuture<'a, Result<PassBalance, BookError>>;

    /// What a holder has.
    fn balance<'a>(&'a self, holder: &'a PassHolder) -> BoxFuture<'a, Result<PassBalance, BookError>>;

    /// Takes credits from a holder, and says what is left; `None` if there are too few, and nothing is taken. Of many at once
    /// no more succeed than there are credits for.
    fn spend<'a>(
        &'a self,
        holder: &'a PassHolder,
        credits: NonZeroU64,
    ) -> BoxFuture<'a, Result<Option<PassBalance>, BookError>>;

    /// Gives credits back for which nothing was done.
    fn give_back<'a>(&'a self, holder: &'a PassHolder, credits: NonZeroU64) -> BoxFuture<'a, Result<(), BookError>>;
}

/// A book of passes that dies with the process. Every clone is the same book.
#[derive(Clone, Debug, Default)]
pub struct MemoryPasses {
    book: Arc<Mutex<Book>>,
}

#[derive(Debug, Default)]
struct Book {
    balances: HashMap<PassHolder, PassBalance>,
    payments: HashSet<PaymentKey>,
}

impl PassPurchase {
    /// What the holder has once this is added to what there was.
    #[must_use]
    pub fn added_to(&self, before: PassBalance) -> PassBalance {
        match self.terms {
            PassTerms::Seconds(seconds) => {
                let from = before.until.unwrap_or(self.now).max(self.now);
                PassBalance { until: Some(from.plus(seconds.get())), ..before }
            }
            PassTerms::Credits(credits) => PassBalance { credits: before.credits.saturating_add(credits.get()), ..before },
        }
    }
}

impl PassBalance {
    /// Whether time is left.
    #[must_use]
    pub fn is_open(&self, now: UnixSeconds) -> bool {
        self.until.is_some_and(|until| now <= until)
    }
}

/// A book in memory never waits.
fn ready<'a, T: Send + 'a>(value: T) -> BoxFuture<'a, Result<T, BookError>> {
    Box::pin(std::future::ready(Ok(value)))
}

impl Passes for MemoryPasses {
    fn grant<'a>(&'a self, purchase: &'a PassPurchase) -> BoxFuture<'a, Result<PassBalance, BookError>> {
        let mut book = locked(&self.book);
        let is_new = book.payments.insert(purchase.payment);
        let balance = book.balances.entry(purchase.holder.clone()).or_default();
        if is_new {
            *balance = purchase.added_to(*balance);
        }
        ready(*balance)
    }

    fn balance<'a>(&'a self, holder: &'a PassHolder) -> BoxFuture<'a, Result<PassBalance, BookError>> {
        ready(locked(&self.book).balances.get(holder).copied().unwrap_or_default())
    }

    fn spend<'a>(
        &'a self,
        holder: &'a PassHolder,
        credits: NonZeroU64,
    ) -> BoxFuture<'a, Result<Option<PassBalance>, BookError>> {
        let mut book = locked(&self.book);
        let spent = book.balances.get_mut(holder).and_then(|balance| {
            balance.credits = balance.credits.checked_sub(credits.get())?;
            Some(*balance)
        });
        ready(spent)
    }

    fn give_back<'a>(&'a self, holder: &'a PassHolder, credits: NonZeroU64) -> BoxFuture<'a, Result<(), BookError>> {
        if let Some(balance) = locked(&self.book).balances.get_mut(holder) {
            balance.credits = balance.credits.saturating_add(credits.get());
        }
        ready(())
    }
}
