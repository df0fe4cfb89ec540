//! The server's book of what it has delivered, or is delivering, before it was paid: one line for each payment, at its payer.
//!
//! | a payment that is | becomes | by |
//! |---|---|---|
//! | not in the book | owed, for the most that it may come to | `owe`, if that leaves the payer within the limit |
//! | owed | owed, for what it came to | `amend` |
//! | owed | not in the book | `paid` |
//!
//! Nothing is delivered unpaid before `owe` has said yes, so no payer ever has more than the limit of what is not paid, whatever
//! happens to whoever delivers it. Nothing here is forgotten by itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::{BookError, locked};
use crate::BoxFuture;
use crate::amount::Amount;
use crate::asset::{AccountId, AssetId};
use crate::network::Network;
use crate::scheme::PaymentKey;
use crate::time::UnixSeconds;

/// What one payment owes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Debt {
    /// The payment by which it is to be paid.
    pub key: PaymentKey,
    /// Who owes it, as the chain's crate writes accounts.
    pub payer: AccountId,
    /// Where it is to be paid.
    pub network: Network,
    /// In what.
    pub asset: AssetId,
    /// How much, in atomic units.
    pub amount: Amount,
    /// Since when.
    pub since: UnixSeconds,
}

/// Who owes what. Each call is durable when it returns; after an error it may or may not be.
pub trait Debts: Send + Sync {
    /// Writes a debt down, unless its payer would then owe more than the limit in that asset on that network, this debt included:
    /// `false`, and nothing was written. A debt of the same payment is replaced. Of concurrent calls no two pass the limit
    /// together.
    fn owe<'a>(&'a self, debt: &'a Debt, limit: Amount) -> BoxFuture<'a, Result<bool, BookError>>;

    /// A debt came to so much. Of a payment that owes nothing, nothing is written.
    fn amend(&self, key: PaymentKey, amount: Amount) -> BoxFuture<'_, Result<(), BookError>>;

    /// A payment owes nothing any more.
    fn paid(&self, key: PaymentKey) -> BoxFuture<'_, Result<(), BookError>>;

    /// So many debts at most, the oldest first.
    fn open(&self, count: u32) -> BoxFuture<'_, Result<Vec<Debt>, BookError>>;
}

/// A book of debts that dies with the process. Every clone is the same book.
#[derive(Clone, Debug, Default)]
pub struct MemoryDebts(Arc<Mutex<BTreeMap<PaymentKey, Debt>>>);

impl Debt {
    /// Whether both are counted together. Facilitators are free in the letter case of an address.
    #[must_use]
    pub fn is_alike(&self, other: &Self) -> bool {
        let is_one = |ours: &str, theirs: &str| ours.eq_ignore_ascii_case(theirs);
        self.network == other.network
            && is_one(self.payer.as_str(), other.payer.as_str())
            && is_one(self.asset.as_str(), other.asset.as_str())
    }
}

/// A book in memory never waits.
fn ready<'a, T: Send + 'a>(value: T) -> BoxFuture<'a, Result<T, BookError>> {
    Box::pin(std::future::ready(Ok(value)))
}

impl Debts for MemoryDebts {
    fn owe<'a>(&'a self, debt: &'a Debt, limit: Amount) -> BoxFuture<'a, Result<bool, BookError>> {
        let mut book = locked(&self.0);
        let others = book.values().filter(|other| other.key != debt.key && other.is_alike(debt));
        let sum = others.map(|other| other.amount).try_fold(debt.amount, Amount::checked_add);
        let fits = sum.is_some_and(|sum| sum <= limit);
        if fits {
            book.insert(debt.key, debt.clone());
        }
        ready(fits)
    }

    fn amend(&self, key: PaymentKey, amount: Amount) -> BoxFuture<'_, Result<(), BookError>> {
        if let Some(debt) = locked(&self.0).get_mut(&key) {
            debt.amount = amount;
        }
        ready(())
    }

    fn paid(&self, key: PaymentKey) -> BoxFuture<'_, Result<(), BookError>> {
        locked(&self.0).remove(&key);
        ready(())
    }

    fn open(&self, count: u32) -> BoxFuture<'_, Result<Vec<Debt>, BookError>> {
        let mut debts: Vec<Debt> = locked(&self.0).values().cloned().collect();
        debts.sort_by_key(|debt| (debt.since, debt.key));
        debts.truncate(usize::try_from(count).unwrap_or(usize::MAX));
        ready(debts)
    }
}
