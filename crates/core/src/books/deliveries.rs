//! The server's book: which payment bought which request.
//!
//! | a payment that is | becomes | by | who may |
//! |---|---|---|---|
//! | not in the book, or `Claimed` by a dead node | `Claimed` | `claim` → `New` | any request |
//! | `Unsettled`, or `Settling` by a dead node | `Settling` | `claim` → `Resumed` | the same request |
//! | anything else | what it was | `claim` → `Taken` | |
//! | `Claimed`, `Settling` | `Settling` | `settling` | its claim |
//! | `Settling` | `Served` | `served` | its claim |
//! | `Settling`, `Served` | `Unsettled` | `unsettled` | its claim, while nothing of the answer has left |
//! | `Claimed`, `Settling` | not in the book | `cancel` | its claim |
//! | anything, long expired | not in the book | a later `claim` of whatever payment | the book itself |
//!
//! Its claim is the one that was made last: every `New` and every `Resumed` has a [`ClaimId`] of its own, and whatever is
//! called with an older one changes nothing and says so. So a request that was given up on, by the others or by the
//! process that runs it, can't write over the one that took its payment up, and of two that deliver only one can write
//! `Served` and let its answer go.
//!
//! A claim lives as long as the node that made it. What a dead node had only claimed was never charged, so the payment is
//! free; what it was settling may have been charged, so only the same request may take it up.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use super::{BookError, locked};
use crate::BoxFuture;
use crate::scheme::{PaymentKey, TransactionId};
use crate::time::UnixSeconds;

/// How long a payment is remembered after it has expired, whatever became of it: in the end nobody presents it for what it
/// bought any more. A server must refuse older ones by itself.
pub const KEEP_EXPIRED_SECONDS: u64 = 7 * 24 * 60 * 60;

/// How many expired payments one claim forgets in memory, at most.
const FORGOTTEN_PER_CLAIM_MAX: usize = 2;

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

/// What a claim found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryClaim {
    /// The payment is new here: go on, and end with `served`, `unsettled` or `cancel`.
    New(ClaimId),
    /// The same request presents a payment again that may have been charged: settle again before anything else, do not
    /// verify, and end with `served` or `unsettled`.
    Resumed(ClaimId),
    /// The payment is in use, or used up, or bound to another request.
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
    /// what it was settling as [`Delivery::Unsettled`]. Forgets a few payments that expired more than
    /// [`KEEP_EXPIRED_SECONDS`] ago.
    fn claim<'a>(&'a self, presented: &'a Presented) -> BoxFuture<'a, Result<DeliveryClaim, BookError>>;

    /// The payment is about to be charged. Nothing new may be settled before this has returned [`Standing::Held`].
    fn settling(&self, claim: ClaimId) -> BoxFuture<'_, Result<Standing, BookError>>;

    /// The money moved. Nothing may be delivered before this has returned [`Standing::Held`].
    fn served<'a>(&'a self, claim: ClaimId, transaction: &'a TransactionId) -> BoxFuture<'a, Result<Standing, BookError>>;

    /// The settlement's outcome is not known, or the answer did not get out: nothing was delivered.
    fn unsettled(&self, claim: ClaimId) -> BoxFuture<'_, Result<Standing, BookError>>;

    /// Nothing was charged, by the facilitator's own word where it was asked, and nothing was given: the payment is free
    /// again.
    fn cancel(&self, claim: ClaimId) -> BoxFuture<'_, Result<Standing, BookError>>;
}

/// A server's book that dies with the process. Every clone is the same node; [`Self::join`] makes another one on the same
/// book, as a replica would be.
#[derive(Clone, Debug, Default)]
pub struct MemoryDeliveries {
    node: u64,
    book: Arc<Mutex<Book>>,
}

#[derive(Debug, Default)]
struct Book {
    deliveries: HashMap<PaymentKey, Row>,
    /// The payments that expire, the first of them first.
    expiring: BTreeSet<(UnixSeconds, PaymentKey)>,
    last_claim: u64,
    nodes: u64,
    dead_nodes: BTreeSet<u64>,
}

#[derive(Debug)]
struct Row {
    claim: u64,
    node: u64,
    request: Fingerprint,
    expires_at: Option<UnixSeconds>,
    delivery: Delivery,
}

impl MemoryDeliveries {
    /// Another node on the same book.
    #[must_use]
    pub fn join(&self) -> Self {
        let mut book = self.book();
        book.nodes = book.nodes.saturating_add(1);
        Self { node: book.nodes, book: Arc::clone(&self.book) }
    }

    /// This node is dead for the others.
    pub fn die(&self) {
        self.book().dead_nodes.insert(self.node);
    }

    /// How far a delivery has come.
    pub fn delivery(&self, key: PaymentKey) -> Option<Delivery> {
        self.book().deliveries.get(&key).map(|row| row.delivery.clone())
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        locked(&self.book)
    }

    fn advance(&self, claim: ClaimId, delivery: Delivery, from: fn(&Delivery) -> bool) -> Answer<'_, Standing> {
        let mut book = self.book();
        let row = book.deliveries.get_mut(&claim.key).filter(|row| row.claim == claim.number && from(&row.delivery));
        ready(match row {
            Some(row) => {
                if delivery == Delivery::Settling {
                    // What is settled now lives as long as whoever settles it.
                    row.node = self.node;
                }
                row.delivery = delivery;
                Standing::Held
            }
            None => Standing::Lost,
        })
    }
}

/// The two kinds of claims.
enum Kind {
    New,
    Resumed,
}

type Answer<'a, T> = BoxFuture<'a, Result<T, BookError>>;

/// A book in memory never waits.
fn ready<'a, T: Send + 'a>(value: T) -> Answer<'a, T> {
    Box::pin(std::future::ready(Ok(value)))
}

impl Book {
    /// By which kind of claim a presented payment can be had, if by any.
    fn judge(&self, presented: &Presented) -> Result<Kind, Delivery> {
        let Some(row) = self.deliveries.get(&presented.key) else { return Ok(Kind::New) };
        let left_behind = self.dead_nodes.contains(&row.node);
        let is_same = row.request == presented.request;
        match &row.delivery {
            Delivery::Claimed if left_behind => Ok(Kind::New),
            Delivery::Unsettled if is_same => Ok(Kind::Resumed),
            Delivery::Settling if left_behind && is_same => Ok(Kind::Resumed),
            Delivery::Settling if left_behind => Err(Delivery::Unsettled),
            other => Err(other.clone()),
        }
    }

    fn put(&mut self, key: PaymentKey, row: Row) {
        self.remove(key);
        self.expiring.extend(row.expires_at.map(|at| (at, key)));
        self.deliveries.insert(key, row);
    }

    fn remove(&mut self, key: PaymentKey) {
        let expires_at = self.deliveries.remove(&key).and_then(|row| row.expires_at);
        if let Some(expires_at) = expires_at {
            self.expiring.remove(&(expires_at, key));
        }
    }

    fn forget(&mut self, now: UnixSeconds) {
        for _ in 0..FORGOTTEN_PER_CLAIM_MAX {
            let first = self.expiring.first().filter(|(at, _)| at.plus(KEEP_EXPIRED_SECONDS) < now);
            let Some((_, key)) = first.copied() else { return };
            self.remove(key);
        }
    }
}

impl Deliveries for MemoryDeliveries {
    fn claim<'a>(&'a self, presented: &'a Presented) -> Answer<'a, DeliveryClaim> {
        let mut book = self.book();
        let kind = match book.judge(presented) {
            Ok(kind) => kind,
            Err(delivery) => return ready(DeliveryClaim::Taken(delivery)),
        };
        book.forget(presented.now);
        book.last_claim = book.last_claim.saturating_add(1);
        let id = ClaimId { key: presented.key, number: book.last_claim };
        let (claim, delivery) = match kind {
            Kind::New => (DeliveryClaim::New(id), Delivery::Claimed),
            // Nothing is known to be free: whoever takes it up settles at once.
            Kind::Resumed => (DeliveryClaim::Resumed(id), Delivery::Settling),
        };
        let Presented { request, expires_at, .. } = presented.clone();
        book.put(id.key, Row { claim: id.number, node: self.node, request, expires_at, delivery });
        ready(claim)
    }

    fn settling(&self, claim: ClaimId) -> Answer<'_, Standing> {
        self.advance(claim, Delivery::Settling, |from| matches!(from, Delivery::Claimed | Delivery::Settling))
    }

    fn served<'a>(&'a self, claim: ClaimId, transaction: &'a TransactionId) -> Answer<'a, Standing> {
        self.advance(claim, Delivery::Served(transaction.clone()), |from| matches!(from, Delivery::Settling))
    }

    fn unsettled(&self, claim: ClaimId) -> Answer<'_, Standing> {
        self.advance(claim, Delivery::Unsettled, |from| matches!(from, Delivery::Settling | Delivery::Served(_)))
    }

    fn cancel(&self, claim: ClaimId) -> Answer<'_, Standing> {
        let mut book = self.book();
        let row = book.deliveries.get(&claim.key).filter(|row| row.claim == claim.number);
        let is_free = row.is_some_and(|row| matches!(row.delivery, Delivery::Claimed | Delivery::Settling));
        if is_free {
            book.remove(claim.key);
        }
        ready(if is_free { Standing::Held } else { Standing::Lost })
    }
}

#[cfg(test)]
mod tests {
    use super::super::now;
    use super::*;

    const KEY: PaymentKey = PaymentKey([1; 32]);
    const NOW: UnixSeconds = UnixSeconds(1_000_000);

    fn presented(key: PaymentKey, request: &str) -> Presented {
        Presented { key, request: Fingerprint(request.to_owned()), expires_at: Some(NOW), now: NOW }
    }

    fn claim(book: &MemoryDeliveries, key: PaymentKey, request: &str) -> DeliveryClaim {
        now(book.claim(&presented(key, request)))
    }

    fn won(claim: &DeliveryClaim) -> ClaimId {
        match claim {
            DeliveryClaim::New(id) | DeliveryClaim::Resumed(id) => *id,
            DeliveryClaim::Taken(delivery) => panic!("it is {delivery:?}"),
        }
    }

    #[test]
    fn one_claim_wins_until_it_is_cancelled() {
        let book = MemoryDeliveries::default();
        let first = won(&claim(&book, KEY, "one"));
        assert_eq!(claim(&book, KEY, "one"), DeliveryClaim::Taken(Delivery::Claimed));
        assert_eq!(claim(&book, KEY, "other"), DeliveryClaim::Taken(Delivery::Claimed));
        assert_eq!(now(book.cancel(first)), Standing::Held);
        let second = won(&claim(&book, KEY, "other"));
        assert!(second.number > first.number);
        assert_eq!(now(book.settling(first)), Standing::Lost);
        assert_eq!(now(book.cancel(first)), Standing::Lost);
        assert_eq!(now(book.settling(second)), Standing::Held);
    }

    #[test]
    fn only_the_same_request_takes_up_an_unsettled_delivery() {
        let book = MemoryDeliveries::default();
        let first = won(&claim(&book, KEY, "one"));
        assert_eq!((now(book.settling(first)), now(book.unsettled(first))), (Standing::Held, Standing::Held));
        assert_eq!(claim(&book, KEY, "other"), DeliveryClaim::Taken(Delivery::Unsettled));
        let resumed = claim(&book, KEY, "one");
        assert_eq!(resumed, DeliveryClaim::Resumed(won(&resumed)));
        assert_eq!(claim(&book, KEY, "one"), DeliveryClaim::Taken(Delivery::Settling));
        assert_eq!(now(book.served(first, &TransactionId("0x1".to_owned()))), Standing::Lost);
    }

    #[test]
    fn a_served_payment_is_used_up_unless_its_answer_did_not_get_out() {
        let book = MemoryDeliveries::default();
        let transaction = TransactionId("0x1".to_owned());
        let id = won(&claim(&book, KEY, "one"));
        assert_eq!(now(book.served(id, &transaction)), Standing::Lost, "nothing was to be settled");
        assert_eq!((now(book.settling(id)), now(book.served(id, &transaction))), (Standing::Held, Standing::Held));
        assert_eq!(claim(&book, KEY, "one"), DeliveryClaim::Taken(Delivery::Served(transaction)));
        assert_eq!((now(book.settling(id)), now(book.cancel(id))), (Standing::Lost, Standing::Lost));
        assert_eq!(now(book.unsettled(id)), Standing::Held);
        assert!(matches!(claim(&book, KEY, "one"), DeliveryClaim::Resumed(_)));
    }

    #[test]
    fn what_a_dead_node_had_claimed_is_free_and_what_it_was_settling_is_the_same_requests() {
        let first = MemoryDeliveries::default();
        let second = first.join();
        let settling = PaymentKey([2; 32]);
        won(&claim(&first, KEY, "one"));
        assert_eq!(now(first.settling(won(&claim(&first, settling, "one")))), Standing::Held);
        assert_eq!(claim(&second, KEY, "one"), DeliveryClaim::Taken(Delivery::Claimed));
        first.die();
        assert!(matches!(claim(&second, KEY, "other"), DeliveryClaim::New(_)));
        assert_eq!(claim(&second, settling, "other"), DeliveryClaim::Taken(Delivery::Unsettled));
        assert!(matches!(claim(&second, settling, "one"), DeliveryClaim::Resumed(_)));
    }

    #[test]
    fn the_book_does_not_grow_with_payments_that_expired_long_ago() {
        let book = MemoryDeliveries::default();
        for number in 0..100 {
            let at = NOW.plus(u64::from(number) * KEEP_EXPIRED_SECONDS / 10);
            let presented = Presented { expires_at: Some(at), now: at, ..presented(PaymentKey([number; 32]), "one") };
            let id = won(&now(book.claim(&presented)));
            assert_eq!(now(book.settling(id)), Standing::Held);
        }
        let book = book.book();
        assert_eq!((book.deliveries.len(), book.expiring.len()), (11, 11));
    }
}
