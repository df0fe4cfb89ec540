//! The seller's book of sales: what was sold to whom for how much, for ever.
//!
//! It is kept by whoever keeps [`Deliveries`](super::Deliveries), in the same writes, so that neither is ahead of the other:
//!
//! | a delivery that becomes | writes |
//! |---|---|
//! | `Settling` | the [`Bill`] as open: the payment may be charged |
//! | charged, or `Served` | the [`Sale`]: the money has moved |
//! | cancelled | nothing any more: an open bill is struck out |
//!
//! One payment is one sale, by the key that the chain makes unique; whatever is written of it later (the same payment
//! presented again, an answer given again) changes nothing. A sale stays when its delivery is forgotten, and so does a bill
//! that nobody knows the end of.

mod memory;

pub(super) use memory::SalesBook;

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use super::{BookError, Usd};
use crate::BoxFuture;
use crate::amount::Amount;
use crate::asset::{AccountId, Asset};
use crate::network::Network;
use crate::scheme::{PaymentKey, TransactionId};
use crate::time::UnixSeconds;

/// The most bytes of a route's name that the book keeps.
pub const ROUTE_NAME_MAX_BYTES: usize = 256;
/// The most bytes of a resource's name that the book keeps.
pub const SOLD_RESOURCE_MAX_BYTES: usize = 2_048;

/// What a payment is charged for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bill {
    /// When it was last asked for; of a sale, when it was first known that the money had moved.
    pub at: UnixSeconds,
    /// What the seller calls it: a pattern in a file of routes, or a description. At most [`ROUTE_NAME_MAX_BYTES`].
    pub route: String,
    /// The method and the URL, without its query, which may hold what is nobody's business. At most
    /// [`SOLD_RESOURCE_MAX_BYTES`].
    pub resource: String,
    /// Who pays, as the facilitator spells it; `None` while nobody has said.
    pub payer: Option<AccountId>,
    /// Who is paid.
    pub pay_to: AccountId,
    /// In what, and where.
    pub asset: Asset,
    /// How much, in atomic units.
    pub amount: Amount,
    /// By which scheme.
    pub scheme: String,
}

/// Who said that the money moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SettledBy {
    /// The facilitator.
    Facilitator,
    /// The seller's own code.
    Hook,
}

/// One payment that was charged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sale {
    /// What makes the payment unique. It is the sale's name, and that of its receipt.
    pub payment: PaymentKey,
    /// What it was for.
    pub bill: Bill,
    /// What moved the money; empty where nothing was to be charged, or a hook named none.
    pub transaction: TransactionId,
    /// Who said so.
    pub settled_by: SettledBy,
}

/// A payment that may have been charged, or not: it is settled at this moment, or nobody knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenSale {
    /// What makes the payment unique.
    pub payment: PaymentKey,
    /// What it is for.
    pub bill: Bill,
}

/// Which sales are meant. Every filter that is set must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SaleFilter {
    /// At this moment or later.
    pub since: Option<UnixSeconds>,
    /// Before this moment.
    pub before: Option<UnixSeconds>,
    /// Of this route, by its whole name.
    pub route: Option<String>,
    /// On this network.
    pub network: Option<Network>,
    /// To this payer, in the letter case of the book.
    pub payer: Option<AccountId>,
    /// Paid by this transaction, in the letter case of the book.
    pub transaction: Option<TransactionId>,
}

/// A page of a list, the newest first, ties in the order of their payments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SaleQuery {
    /// Which.
    pub filter: SaleFilter,
    /// Continue after this one of the page before: its moment and its payment.
    pub after: Option<(UnixSeconds, PaymentKey)>,
    /// The most entries wanted.
    pub limit: usize,
}

/// By what sales are added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SaleGroup {
    /// [`Bill::route`].
    Route,
    /// [`Asset::network`].
    Network,
    /// [`Bill::payer`].
    Payer,
}

/// What is to be added up. Amounts of different assets never are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SaleSumQuery {
    /// Of which sales.
    pub filter: SaleFilter,
    /// For each stretch of so many seconds, counted from 1970 on in UTC; together unless set.
    pub bucket_seconds: Option<NonZeroU64>,
    /// For each of these; together unless set.
    pub by: Option<SaleGroup>,
    /// The most sums wanted, in the order of [`Sales::sums`].
    pub limit: usize,
}

/// Sales in one asset, added up exactly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaleSum {
    /// Where its stretch of time begins.
    pub bucket: Option<UnixSeconds>,
    /// The route, the network or the payer; `None` too for sales of which the payer is not known.
    pub group: Option<String>,
    /// In what.
    pub asset: Asset,
    /// How many sales.
    pub sales: u64,
    /// Their amounts, in atomic units.
    pub amount: Amount,
}

/// What was sold. Nothing here writes: [`Deliveries`](super::Deliveries) does.
pub trait Sales: Send + Sync {
    /// The sale that this payment paid for; `None` while it is open, too.
    fn find(&self, payment: PaymentKey) -> BoxFuture<'_, Result<Option<Sale>, BookError>>;

    /// The sales that match, the newest first.
    fn list<'a>(&'a self, query: &'a SaleQuery) -> BoxFuture<'a, Result<Vec<Sale>, BookError>>;

    /// The payments that may have been charged and of which nobody knows it, the newest first. A filter for a transaction
    /// matches none: nothing is known of any.
    fn open<'a>(&'a self, query: &'a SaleQuery) -> BoxFuture<'a, Result<Vec<OpenSale>, BookError>>;

    /// Sales added up, in the order of their buckets, groups, networks and assets; what has no group comes first. Fails where
    /// a sum is more than an [`Amount`] holds.
    fn sums<'a>(&'a self, query: &'a SaleSumQuery) -> BoxFuture<'a, Result<Vec<SaleSum>, BookError>>;
}

impl Bill {
    /// What it is in dollars, where its asset stands for one.
    pub fn usd(&self) -> Option<Usd> {
        Usd::of(self.amount, &self.asset)
    }
}

impl SaleSum {
    /// What it is in dollars, where its asset stands for one.
    pub fn usd(&self) -> Option<Usd> {
        Usd::of(self.amount, &self.asset)
    }
}

impl SaleFilter {
    /// Whether it means this bill, of which that transaction is known.
    pub fn matches(&self, bill: &Bill, transaction: Option<&TransactionId>) -> bool {
        self.since.is_none_or(|since| bill.at >= since)
            && self.before.is_none_or(|before| bill.at < before)
            && self.route.as_ref().is_none_or(|route| *route == bill.route)
            && self.network.as_ref().is_none_or(|network| *network == bill.asset.network)
            && self.payer.as_ref().is_none_or(|payer| bill.payer.as_ref() == Some(payer))
            && self.transaction.as_ref().is_none_or(|wanted| transaction == Some(wanted))
    }
}

impl SaleGroup {
    /// What it is of a bill.
    fn of(self, bill: &Bill) -> Option<String> {
        match self {
            Self::Route => Some(bill.route.clone()),
            Self::Network => Some(bill.asset.network.to_string()),
            Self::Payer => bill.payer.as_ref().map(AccountId::to_string),
        }
    }
}

impl SettledBy {
    /// The name as it is stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Facilitator => "facilitator",
            Self::Hook => "hook",
        }
    }
}

impl fmt::Display for SettledBy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for SettledBy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = [Self::Facilitator, Self::Hook].into_iter().find(|by| by.as_str() == text);
        found.ok_or_else(|| format!("expected facilitator or hook, got {text:?}"))
    }
}
