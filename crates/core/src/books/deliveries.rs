//! The server's book: Claimed → Served | Cancelled, and Unsettled while a settlement's outcome is not known.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Mutex;

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
    /// A request is being worked on for this payment.
    Claimed,
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
pub trait Deliveries: Send + Sync {
    /// Takes the payment for one request; one of many concurrent claims wins.
    fn claim<'a>(&'a self, key: PaymentKey, request: &'a Fingerprint) -> BoxFuture<'a, Result<DeliveryClaim, BookError>>;

    /// The money moved.
    fn served<'a>(&'a self, key: PaymentKey, transaction: &'a TransactionId) -> BoxFuture<'a, Result<(), BookError>>;

    /// The settlement's outcome is not known; the answer was withheld.
    fn unsettled(&self, key: PaymentKey) -> BoxFuture<'_, Result<(), BookError>>;

    /// Nothing was charged and nothing was given: the payment is free again.
    fn cancel(&self, key: PaymentKey) -> BoxFuture<'_, Result<(), BookError>>;
}

/// A book that dies with the process.
#[derive(Debug, Default)]
pub struct MemoryDeliveries(Mutex<HashMap<PaymentKey, (Fingerprint, Delivery)>>);

impl MemoryDeliveries {
    fn set(&self, key: PaymentKey, delivery: Delivery) {
        if let Some((_, current)) = locked(&self.0).get_mut(&key) {
            *current = delivery;
        }
    }
}

impl Deliveries for MemoryDeliveries {
    fn claim<'a>(&'a self, key: PaymentKey, request: &'a Fingerprint) -> BoxFuture<'a, Result<DeliveryClaim, BookError>> {
        let claim = match locked(&self.0).entry(key) {
            Entry::Vacant(entry) => {
                entry.insert((request.clone(), Delivery::Claimed));
                DeliveryClaim::New
            }
            Entry::Occupied(mut entry) => {
                let (claimed_for, delivery) = entry.get_mut();
                if *delivery == Delivery::Unsettled && claimed_for == request {
                    *delivery = Delivery::Claimed;
                    DeliveryClaim::Resumed
                } else {
                    DeliveryClaim::Taken(delivery.clone())
                }
            }
        };
        Box::pin(std::future::ready(Ok(claim)))
    }

    fn served<'a>(&'a self, key: PaymentKey, transaction: &'a TransactionId) -> BoxFuture<'a, Result<(), BookError>> {
        self.set(key, Delivery::Served(transaction.clone()));
        Box::pin(std::future::ready(Ok(())))
    }

    fn unsettled(&self, key: PaymentKey) -> BoxFuture<'_, Result<(), BookError>> {
        self.set(key, Delivery::Unsettled);
        Box::pin(std::future::ready(Ok(())))
    }

    fn cancel(&self, key: PaymentKey) -> BoxFuture<'_, Result<(), BookError>> {
        let mut deliveries = locked(&self.0);
        if deliveries.get(&key).is_some_and(|(_, delivery)| *delivery == Delivery::Claimed) {
            deliveries.remove(&key);
        }
        Box::pin(std::future::ready(Ok(())))
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
        now(book.unsettled(KEY));
        now(book.cancel(KEY));
        assert_eq!(now(book.claim(KEY, &request("other"))), DeliveryClaim::Taken(Delivery::Unsettled));
        assert_eq!(now(book.claim(KEY, &request("one"))), DeliveryClaim::Resumed);
        assert_eq!(now(book.claim(KEY, &request("one"))), DeliveryClaim::Taken(Delivery::Claimed));
    }

    #[test]
    fn a_served_payment_is_used_up() {
        let book = MemoryDeliveries::default();
        let transaction = TransactionId("0x1".to_owned());
        now(book.claim(KEY, &request("one")));
        now(book.served(KEY, &transaction));
        now(book.cancel(KEY));
        assert_eq!(now(book.claim(KEY, &request("one"))), DeliveryClaim::Taken(Delivery::Served(transaction)));
    }
}
