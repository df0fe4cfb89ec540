//! The server's book: Claimed → Settling → Served | Unsettled, or free again.
//!
//! A claim belongs to the node that made it. What a node that died had only claimed was never charged, so the payment is
//! free; what it was settling may have been charged, so only the same request may take it up.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use super::{BookError, locked};
use crate::BoxFuture;
use crate::scheme::{PaymentKey, TransactionId};

/// With what a payment was presented, as a digest: for a server method, host, path, query and body, for a facilitator
/// the whole request. Two presentations with one fingerprint are one request, sent again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub String);

/// How far a delivery has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// A request is being worked on for this payment; nothing was charged.
    Claimed,
    /// The work was done, and the payment may be charged at this very moment.
    Settling,
    /// The work was done and the settlement's outcome is not known; the answer was withheld. The same request may
    /// present the payment again.
    Unsettled,
    /// The money moved for this request. The payment is used up.
    Served(TransactionId),
}

/// What a claim found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryClaim {
    /// The payment is new here: go on, and end with `served`, `unsettled` or `cancel`.
    New,
    /// The same request presents a payment again whose settlement is not known: settle again, do not verify.
    Resumed,
    /// The payment is in use, or used up, or bound to another request.
    Taken(Delivery),
}

/// Which payment bought which request. Each call is durable when it returns.
///
/// Every call but `claim` fails where the payment is not this node's any more: another node has taken it for dead.
pub trait Deliveries: Send + Sync {
    /// Takes the payment for one request; one of many concurrent claims wins. What a dead node had claimed counts as free,
    /// what it was settling as [`Delivery::Unsettled`].
    fn claim<'a>(&'a self, key: PaymentKey, request: &'a Fingerprint) -> BoxFuture<'a, Result<DeliveryClaim, BookError>>;

    /// The payment is about to be charged. Nothing may be settled before this has returned `Ok`.
    fn settling(&self, key: PaymentKey) -> BoxFuture<'_, Result<(), BookError>>;

    /// The money moved.
    fn served<'a>(&'a self, key: PaymentKey, transaction: &'a TransactionId) -> BoxFuture<'a, Result<(), BookError>>;

    /// The settlement's outcome is not known; the answer was withheld.
    fn unsettled(&self, key: PaymentKey) -> BoxFuture<'_, Result<(), BookError>>;

    /// Nothing was charged, by the facilitator's own word where it was asked, and nothing was given: the payment is free
    /// again.
    fn cancel(&self, key: PaymentKey) -> BoxFuture<'_, Result<(), BookError>>;
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
    nodes: u64,
    dead_nodes: BTreeSet<u64>,
}

#[derive(Debug)]
struct Row {
    node: u64,
    request: Fingerprint,
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

    fn set(&self, key: PaymentKey, delivery: Delivery) -> BoxFuture<'_, Result<(), BookError>> {
        let written = match self.book().deliveries.get_mut(&key).filter(|row| row.node == self.node) {
            Some(row) => {
                row.delivery = delivery;
                Ok(())
            }
            None => Err(not_ours(key)),
        };
        Box::pin(std::future::ready(written))
    }
}

fn not_ours(key: PaymentKey) -> BookError {
    BookError(format!("the delivery for payment {key} is not this node's: another one took it over").into())
}

impl Deliveries for MemoryDeliveries {
    fn claim<'a>(&'a self, key: PaymentKey, request: &'a Fingerprint) -> BoxFuture<'a, Result<DeliveryClaim, BookError>> {
        let mut book = self.book();
        let Book { deliveries, dead_nodes, .. } = &mut *book;
        let row = deliveries.get(&key);
        let claim = match row {
            None => DeliveryClaim::New,
            Some(row) => {
                let left_behind = dead_nodes.contains(&row.node);
                match &row.delivery {
                    Delivery::Claimed if left_behind => DeliveryClaim::New,
                    Delivery::Unsettled if row.request == *request => DeliveryClaim::Resumed,
                    Delivery::Settling if left_behind && row.request == *request => DeliveryClaim::Resumed,
                    Delivery::Settling if left_behind => DeliveryClaim::Taken(Delivery::Unsettled),
                    other => DeliveryClaim::Taken(other.clone()),
                }
            }
        };
        let delivery = match claim {
            DeliveryClaim::New => Some(Delivery::Claimed),
            // Nothing is known to be free: whoever takes it up settles at once.
            DeliveryClaim::Resumed => Some(Delivery::Settling),
            DeliveryClaim::Taken(_) => None,
        };
        if let Some(delivery) = delivery {
            deliveries.insert(key, Row { node: self.node, request: request.clone(), delivery });
        }
        Box::pin(std::future::ready(Ok(claim)))
    }

    fn settling(&self, key: PaymentKey) -> BoxFuture<'_, Result<(), BookError>> {
        self.set(key, Delivery::Settling)
    }

    fn served<'a>(&'a self, key: PaymentKey, transaction: &'a TransactionId) -> BoxFuture<'a, Result<(), BookError>> {
        self.set(key, Delivery::Served(transaction.clone()))
    }

    fn unsettled(&self, key: PaymentKey) -> BoxFuture<'_, Result<(), BookError>> {
        self.set(key, Delivery::Unsettled)
    }

    fn cancel(&self, key: PaymentKey) -> BoxFuture<'_, Result<(), BookError>> {
        let mut book = self.book();
        let ours = book
            .deliveries
            .get(&key)
            .is_some_and(|row| row.node == self.node && matches!(row.delivery, Delivery::Claimed | Delivery::Settling));
        if ours {
            book.deliveries.remove(&key);
        }
        Box::pin(std::future::ready(if ours { Ok(()) } else { Err(not_ours(key)) }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::now;
    use super::*;

    const KEY: PaymentKey = PaymentKey([1; 32]);

    fn request(text: &str) -> Fingerprint {
        Fingerprint(text.to_owned())
    }

    #[test]
    fn one_claim_wins_until_it_is_cancelled() {
        let book = MemoryDeliveries::default();
        assert_eq!(now(book.claim(KEY, &request("one"))), DeliveryClaim::New);
        assert_eq!(now(book.claim(KEY, &request("one"))), DeliveryClaim::Taken(Delivery::Claimed));
        assert_eq!(now(book.claim(KEY, &request("other"))), DeliveryClaim::Taken(Delivery::Claimed));
        now(book.cancel(KEY));
        assert_eq!(now(book.claim(KEY, &request("other"))), DeliveryClaim::New);
    }

    #[test]
    fn only_the_same_request_takes_up_an_unsettled_delivery() {
        let book = MemoryDeliveries::default();
        now(book.claim(KEY, &request("one")));
        now(book.settling(KEY));
        now(book.unsettled(KEY));
        assert_eq!(now(book.claim(KEY, &request("other"))), DeliveryClaim::Taken(Delivery::Unsettled));
        assert_eq!(now(book.claim(KEY, &request("one"))), DeliveryClaim::Resumed);
        assert_eq!(now(book.claim(KEY, &request("one"))), DeliveryClaim::Taken(Delivery::Settling));
    }

    #[test]
    fn a_served_payment_is_used_up() {
        let book = MemoryDeliveries::default();
        let transaction = TransactionId("0x1".to_owned());
        now(book.claim(KEY, &request("one")));
        now(book.settling(KEY));
        now(book.served(KEY, &transaction));
        assert_eq!(now(book.claim(KEY, &request("one"))), DeliveryClaim::Taken(Delivery::Served(transaction)));
    }

    #[test]
    fn what_a_dead_node_had_claimed_is_free_and_what_it_was_settling_is_the_same_requests() {
        let first = MemoryDeliveries::default();
        let second = first.join();
        let settling = PaymentKey([2; 32]);
        now(first.claim(KEY, &request("one")));
        now(first.claim(settling, &request("one")));
        now(first.settling(settling));
        assert_eq!(now(second.claim(KEY, &request("one"))), DeliveryClaim::Taken(Delivery::Claimed));
        first.die();
        assert_eq!(now(second.claim(KEY, &request("other"))), DeliveryClaim::New);
        assert_eq!(now(second.claim(settling, &request("other"))), DeliveryClaim::Taken(Delivery::Unsettled));
        assert_eq!(now(second.claim(settling, &request("one"))), DeliveryClaim::Resumed);
    }
}
