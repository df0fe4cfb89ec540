//! The seller's book of refunds: what is paid back of which sale.
//!
//! A refund is a payment to whoever bought, signed once. What was signed is in the book before anybody is asked to settle it,
//! and whoever goes on with it asks for just that again: the chain takes one authorization once, so a refund that was
//! interrupted anywhere is continued and never made twice.
//!
//! | a refund that is | becomes | by |
//! |---|---|---|
//! | not in the book | `Open` | `book`, if all that is paid back of the sale is not more than it was |
//! | `Open` | `Open`, with one more question unanswered | `asking`, before a facilitator is asked to settle it |
//! | `Open` | `Open`, with one question less, and why | `refused`, once that facilitator has said for sure that it did not |
//! | `Open`, `Failed` | `Settled` | `settled`: what is known to have moved has moved |
//! | `Open` | `Failed` | `failed`: it is void, and nobody who was asked may have settled it |
//!
//! What is `Failed` counts as not paid back, everything else as paid back.

use std::fmt;
use std::str::FromStr;

use super::BookError;
use crate::BoxFuture;
use crate::amount::Amount;
use crate::scheme::{PaymentKey, TransactionId};
use crate::time::UnixSeconds;

/// The most bytes of a refund's reason, and of why it was refused.
pub const REFUND_TEXT_MAX_BYTES: usize = 512;

/// Money that is paid back.
#[derive(Clone, PartialEq, Eq)]
pub struct Refund {
    /// What makes this payment unique: the refund's id.
    pub id: PaymentKey,
    /// The sale that it is of.
    pub sale: PaymentKey,
    /// When it was booked.
    pub at: UnixSeconds,
    /// How much, in atomic units of the sale's asset.
    pub amount: Amount,
    /// Why, in the seller's words.
    pub reason: String,
    /// From when on it can't settle any more.
    pub expires_at: UnixSeconds,
    /// What a facilitator is asked to settle, signature included: never to be shown.
    pub request: String,
    /// How far it has come.
    pub state: RefundState,
    /// How often a facilitator was asked and did not say what became of it.
    pub unanswered: u64,
    /// When it was written last.
    pub changed_at: UnixSeconds,
}

/// How far a refund has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefundState {
    /// To be settled; and why it was not when it was tried last, if it was.
    Open(Option<String>),
    /// The money was paid back.
    Settled(TransactionId),
    /// It was not, and never will be, for this reason.
    Failed(String),
}

/// A state without what it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefundStateName {
    /// [`RefundState::Open`].
    Open,
    /// [`RefundState::Settled`].
    Settled,
    /// [`RefundState::Failed`].
    Failed,
}

/// Whether a refund was written.
#[must_use = "nothing may be sent for a refund that was not booked"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Booked {
    /// It was.
    Yes,
    /// The book knows no such sale.
    Unsold,
    /// Of this sale no more than so much is left to be paid back.
    TooMuch(Amount),
    /// Another refund of this sale is not at its end yet, and must come to it first.
    Another(PaymentKey),
}

/// Which refunds are meant. Every filter that is set must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RefundQuery {
    /// Of this sale.
    pub sale: Option<PaymentKey>,
    /// In this state.
    pub state: Option<RefundStateName>,
    /// Booked at this moment or later.
    pub since: Option<UnixSeconds>,
    /// Booked before this moment.
    pub before: Option<UnixSeconds>,
    /// Continue after this one of the page before.
    pub after: Option<(UnixSeconds, PaymentKey)>,
    /// The most entries wanted.
    pub limit: usize,
}

/// What is paid back. Each call is durable when it returns; after an error it may or may not be.
pub trait Refunds: Send + Sync {
    /// Writes a new refund, which must be open, if there is enough left of its sale and no other refund of it is open; one of
    /// many concurrent calls wins. Nothing may be sent for it before.
    fn book<'a>(&'a self, refund: &'a Refund) -> BoxFuture<'a, Result<Booked, BookError>>;

    /// A facilitator is about to be asked to settle it. Says whether it is open; otherwise nobody is to be asked.
    fn asking(&self, id: PaymentKey, now: UnixSeconds) -> BoxFuture<'_, Result<bool, BookError>>;

    /// That facilitator has said for sure that it did not settle it, and why.
    fn refused<'a>(&'a self, id: PaymentKey, why: &'a str, now: UnixSeconds) -> BoxFuture<'a, Result<(), BookError>>;

    /// The money was paid back, by this transaction.
    fn settled<'a>(
        &'a self,
        id: PaymentKey,
        transaction: &'a TransactionId,
        now: UnixSeconds,
    ) -> BoxFuture<'a, Result<(), BookError>>;

    /// It can't settle any more. Says whether it has failed: it has not while some facilitator that was asked has not answered,
    /// unless whoever says so knows all that was ever sent.
    fn failed<'a>(
        &'a self,
        id: PaymentKey,
        why: &'a str,
        knows_all: bool,
        now: UnixSeconds,
    ) -> BoxFuture<'a, Result<bool, BookError>>;

    /// One refund.
    fn find(&self, id: PaymentKey) -> BoxFuture<'_, Result<Option<Refund>, BookError>>;

    /// The refunds that match, the newest first, ties in the order of their ids.
    fn list<'a>(&'a self, query: &'a RefundQuery) -> BoxFuture<'a, Result<Vec<Refund>, BookError>>;
}

impl RefundQuery {
    /// Whether it means this refund.
    pub(super) fn matches(&self, refund: &Refund) -> bool {
        self.sale.is_none_or(|sale| refund.sale == sale)
            && self.state.is_none_or(|state| refund.state.name() == state)
            && self.since.is_none_or(|since| refund.at >= since)
            && self.before.is_none_or(|before| refund.at < before)
            && self.after.is_none_or(|(at, id)| refund.at < at || (refund.at == at && refund.id > id))
    }
}

impl RefundState {
    /// The state's name.
    pub const fn name(&self) -> RefundStateName {
        match self {
            Self::Open(_) => RefundStateName::Open,
            Self::Settled(_) => RefundStateName::Settled,
            Self::Failed(_) => RefundStateName::Failed,
        }
    }
}

impl RefundStateName {
    /// Every state, in the order of a refund's life.
    pub const ALL: [Self; 3] = [Self::Open, Self::Settled, Self::Failed];

    /// The name as it is stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Settled => "settled",
            Self::Failed => "failed",
        }
    }
}

impl FromStr for RefundStateName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|name| name.as_str() == text);
        found.ok_or_else(|| format!("expected open, settled or failed, got {text:?}"))
    }
}

impl fmt::Debug for Refund {
    /// What was signed moves money.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, sale, at, amount, reason, expires_at, request, state, unanswered, changed_at } = self;
        let mut shown = formatter.debug_struct("Refund");
        shown.field("id", id).field("sale", sale).field("at", at).field("amount", amount).field("reason", reason);
        shown.field("expires_at", expires_at).field("request_bytes", &request.len()).field("state", state);
        shown.field("unanswered", unanswered).field("changed_at", changed_at).finish()
    }
}
