//! The server's book: which payment bought which request, for how much, and with which answer.
//!
//! | a payment that is | becomes | by | who may |
//! |---|---|---|---|
//! | not in the book, or `Claimed` by a dead node | `Claimed` | `claim` → `New` | any request |
//! | `Unsettled`, or `Settling` by a dead node | `Settling` | `claim` → `Resumed`, with all that is known of it | the same request |
//! | `Served`, with an answer that is still kept | what it was | `claim` → `Answered`, with that answer | the same request |
//! | anything else | what it was | `claim` → `Taken` | |
//! | `Claimed` | `Claimed`, as the purchase of a name | `name` | its claim, if no other payment has the name |
//! | `Claimed`, `Settling` | `Settling`, for so much | `settling` | its claim |
//! | `Settling` | `Settling`, and charged | `charged` | its claim |
//! | `Settling` | `Served`, with its answer | `served` | its claim |
//! | `Settling`, `Served` | `Unsettled`; what was charged and answered stays known | `unsettled` | its claim, while nothing of the answer has left |
//! | `Served`, with an answer | `Served`, without it | `delivered` | its claim, once the whole answer has left |
//! | `Claimed`, `Settling` | not in the book | `cancel` | its claim |
//! | `Claimed` by a dead node, with a name | not in the book | `name` of another payment | whose purchase has that name |
//! | `Served` or `Unsettled`, its answer past its time | without the answer | a later `claim` of whatever payment | the book itself |
//! | anything, long expired | not in the book | a later `claim` of whatever payment | the book itself |
//!
//! Its claim is the one that was made last: every `New` and every `Resumed` has a [`ClaimId`] of its own, and whatever is
//! called with an older one changes nothing and says so. So a request that was given up on, by the others or by the
//! process that runs it, can't write over the one that took its payment up, and of two that deliver only one can write
//! `Served` and let its answer go.
//!
//! A claim lives as long as the node that made it. What a dead node had only claimed was never charged, so the payment is
//! free; what it was settling may have been charged, so only the same request may take it up.
//!
//! What is sold is written into the book of sales in the same writes, and is never forgotten ([`Sales`](super::Sales)).
//!
//! A name is in use for as long as its payment is in the book: of many payments that are signed for one purchase, whichever
//! node they are presented to, one is charged.

mod memory;

pub use memory::MemoryDeliveries;

use std::fmt;
use std::sync::Arc;

use super::{Bill, BookError, Sale, SettledBy};
use crate::BoxFuture;
use crate::amount::Amount;
use crate::scheme::{PaymentKey, TransactionId};
use crate::time::UnixSeconds;

/// How long a payment is remembered after it has expired, whatever became of it: in the end nobody presents it for what it
/// bought any more. A server must refuse older ones by itself.
pub const KEEP_EXPIRED_SECONDS: u64 = 7 * 24 * 60 * 60;

/// With what a payment was presented, as a digest: for a server the payment itself with method, host, path and query, for a
/// facilitator the whole request. Two presentations with one fingerprint are one request, sent again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub String);

/// A payment as it came with a request.
#[derive(Clone, Debug)]
pub struct Presented {
    /// What makes it unique.
    pub key: PaymentKey,
    /// What it is to buy.
    pub request: Fingerprint,
    /// From when on it can't settle any more; `None` if that is never sure, and it is never forgotten.
    pub expires_at: Option<UnixSeconds>,
    /// The present moment.
    pub now: UnixSeconds,
}

/// One claim of one payment: the right to write what becomes of it, until somebody else has claimed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClaimId {
    /// The payment.
    pub key: PaymentKey,
    /// The claim's number in the book: never used twice, and higher than that of any claim before it.
    pub number: u64,
}

/// How far a delivery has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// A request is being worked on for this payment; nothing was charged.
    Claimed,
    /// The payment may be charged at this very moment.
    Settling,
    /// It is not known whether the payment was charged, or it was and the answer did not get out. The same request may
    /// present it again.
    Unsettled,
    /// The money moved for this request, and its answer may go. The payment is used up.
    Served(TransactionId),
}

/// The money that moved for a payment.
#[derive(Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The transaction; empty where nothing was to be charged.
    pub transaction: TransactionId,
    /// What the buyer is told of it, for the server alone to read.
    pub settlement: String,
}

/// A payment whose money has moved.
#[derive(Clone, Debug)]
pub struct Charged<'a> {
    /// What moved it, and what the buyer is told of that.
    pub receipt: &'a Receipt,
    /// What it was for.
    pub bill: &'a Bill,
    /// Who said so.
    pub settled_by: SettledBy,
}

/// A whole answer as it went out, or was to. The book reads neither part.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredAnswer {
    /// What comes before the body.
    pub head: Arc<[u8]>,
    /// The body.
    pub body: Arc<[u8]>,
    /// From when on it is forgotten.
    pub until: UnixSeconds,
}

/// What is known of a payment that may have been charged.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Owed {
    /// For how much the facilitator was asked. It must be asked for the same again, to the unit. `None` if nobody wrote it
    /// down, as before there was a place for it.
    pub charge: Option<Amount>,
    /// [`Receipt::settlement`], if it is known that the money moved: nobody is to be asked again.
    pub settlement: Option<String>,
    /// The answer that was made for it and did not get out, if it is still kept: no work is to be done again.
    pub answer: Option<StoredAnswer>,
}

/// A payment that was served, with its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The money that moved.
    pub receipt: Receipt,
    /// The answer.
    pub answer: StoredAnswer,
    /// Whether the node that served it has died since, so that nobody knows whether the answer got out.
    pub is_left_behind: bool,
}

/// What a claim found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryClaim {
    /// The payment is new here: go on, and end with `served`, `unsettled` or `cancel`.
    New(ClaimId),
    /// The same request presents a payment again that may have been charged: see to it that it is before anything else, do
    /// not verify, and end with `served` or `unsettled`.
    Resumed(ClaimId, Box<Owed>),
    /// The same request presents a payment again that was served, and here is its answer.
    Answered(Box<Answered>),
    /// The payment is in use, or used up, or bound to another request.
    Taken(Delivery),
}

/// What a client calls one purchase, as a digest of the payer and the payer's own name for it: no payer can use, or learn
/// of, the names of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PurchaseName(pub [u8; 32]);

/// A purchase that has a name.
#[derive(Clone, Debug)]
pub struct Purchase {
    /// The name.
    pub name: PurchaseName,
    /// What is bought and on which terms, whatever payment it is bought with, as a digest.
    pub request: Fingerprint,
    /// The present moment.
    pub now: UnixSeconds,
}

/// Whose a purchase's name is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Naming {
    /// This payment's: go on.
    Ours,
    /// The claim is lost: nothing was changed.
    Lost,
    /// Another payment's, for something else.
    OtherRequest,
    /// Another payment's, which has bought the same already: its answer, if that is still kept.
    Answered(Box<Answered>),
    /// Another payment's, which is about to buy the same, or has and its answer is gone.
    Taken(Delivery),
}

/// Whether a claim was still its payment's when something was to be written under it.
#[must_use = "nothing was written if the claim was lost"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It was: the payment has the new state.
    Held,
    /// The payment has been claimed anew, or has come further than that call may follow: nothing was changed.
    Lost,
}

/// Which payment bought which request. Each call is durable when it returns; after an error it may or may not be.
pub trait Deliveries: Send + Sync {
    /// Takes the payment for one request; one of many concurrent claims wins. What a dead node had claimed counts as free,
    /// what it was settling as [`Delivery::Unsettled`]. Forgets a few answers whose time is past, and a few payments that
    /// expired more than [`KEEP_EXPIRED_SECONDS`] ago.
    fn claim<'a>(&'a self, presented: &'a Presented) -> BoxFuture<'a, Result<DeliveryClaim, BookError>>;

    /// Gives the purchase of a claimed payment its name, unless another payment has that name; one of many concurrent calls
    /// wins. To be called once it is certain who pays, and before anything is done for the payment.
    fn name<'a>(&'a self, claim: ClaimId, purchase: &'a Purchase) -> BoxFuture<'a, Result<Naming, BookError>>;

    /// The payment is about to be charged for this; the same write opens the bill. Nothing new may be settled before this has
    /// returned [`Standing::Held`].
    fn settling<'a>(&'a self, claim: ClaimId, bill: &'a Bill) -> BoxFuture<'a, Result<Standing, BookError>>;

    /// The money moved before the work, and this is what the buyer is told of it; the same write makes the sale. No work may
    /// begin before this has returned [`Standing::Held`].
    fn charged<'a>(&'a self, claim: ClaimId, charged: &'a Charged<'a>) -> BoxFuture<'a, Result<Standing, BookError>>;

    /// The money moved, and this is the answer, if it is to be kept; the same write makes the sale, unless it was made.
    /// Nothing may be delivered before this has returned [`Standing::Held`].
    fn served<'a>(
        &'a self,
        claim: ClaimId,
        charged: &'a Charged<'a>,
        answer: Option<&'a StoredAnswer>,
    ) -> BoxFuture<'a, Result<Standing, BookError>>;

    /// The settlement's outcome is not known, or the answer did not get out: nothing was delivered.
    fn unsettled(&self, claim: ClaimId) -> BoxFuture<'_, Result<Standing, BookError>>;

    /// The answers under these claims have gone out whole, and are to be given to nobody again: they are forgotten. A claim that
    /// is lost, or whose payment was not served, changes nothing.
    fn delivered<'a>(&'a self, claims: &'a [ClaimId]) -> BoxFuture<'a, Result<(), BookError>>;

    /// Nothing was charged, by the facilitator's own word where it was asked, and nothing was given: the payment is free
    /// again, and so is its purchase's name.
    fn cancel(&self, claim: ClaimId) -> BoxFuture<'_, Result<Standing, BookError>>;
}

impl Charged<'_> {
    /// The sale that it is.
    pub fn sale(&self, payment: PaymentKey) -> Sale {
        let Self { receipt, bill, settled_by } = *self;
        Sale { payment, bill: bill.clone(), transaction: receipt.transaction.clone(), settled_by }
    }
}

impl StoredAnswer {
    fn bytes(&self) -> usize {
        self.head.len().saturating_add(self.body.len())
    }
}

impl fmt::Debug for Receipt {
    /// What a buyer is told may hold a signed receipt.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Receipt({:?}, {} bytes)", self.transaction.0, self.settlement.len())
    }
}

impl fmt::Debug for Owed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { charge, settlement, answer } = self;
        let settlement_bytes = settlement.as_ref().map(String::len);
        let mut shown = formatter.debug_struct("Owed");
        shown.field("charge", charge).field("settlement_bytes", &settlement_bytes).field("answer", answer).finish()
    }
}

impl fmt::Debug for StoredAnswer {
    /// Answers are their buyers' alone.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { head, body, until } = self;
        write!(formatter, "StoredAnswer({} + {} bytes, until {until})", head.len(), body.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_buyer_was_told_is_printed() {
        let settlement = r#"{"receipt":"0xsecret"}"#.to_owned();
        let answer = StoredAnswer { head: b"secret".as_slice().into(), body: [].into(), until: UnixSeconds(7) };
        let receipt = Receipt { transaction: TransactionId("0xfeed".to_owned()), settlement: settlement.clone() };
        let owed = Owed { charge: None, settlement: Some(settlement), answer: Some(answer.clone()) };
        assert_eq!(format!("{receipt:?}"), r#"Receipt("0xfeed", 22 bytes)"#);
        let answered = DeliveryClaim::Answered(Box::new(Answered { receipt, answer, is_left_behind: false }));
        let printed = format!("{owed:?} {answered:?}");
        assert!(!printed.contains("secret") && printed.contains("settlement_bytes: Some(22)"), "{printed}");
    }
}
