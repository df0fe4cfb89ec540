//! A payment taken for one request, in the deliveries book, until the request's end is known.

use std::sync::Arc;

use farthing_core::books::{BookError, Deliveries, Delivery, DeliveryClaim, Fingerprint};
use farthing_core::scheme::{PaymentKey, TransactionId};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tracing::Instrument;

use crate::count::Outcome;

/// The right to use one payment for one request.
///
/// A claim that is dropped writes the book, too: a client that leaves must neither be charged nor lose its payment.
#[must_use]
pub(crate) struct Claim {
    deliveries: Arc<dyn Deliveries>,
    runtime: Handle,
    key: PaymentKey,
    /// Whether an earlier settlement of this payment has an outcome that is not known.
    is_resumed: bool,
    otherwise: Otherwise,
}

/// What the book says in the end if nothing better is known by then.
#[derive(Clone, Copy)]
enum Otherwise {
    /// Nobody was asked to settle: the payment is free again.
    Free,
    /// A settlement may have been sent: whatever happens, the payment is never free again by our word alone.
    Unsettled,
    /// The end has been written.
    Written,
}

/// What a claim found.
pub(crate) enum Taken {
    /// The payment is ours.
    Ours(Claim),
    /// It is not.
    Theirs(Delivery),
}

impl Claim {
    /// Takes the payment. Runs in a task of its own, so that a caller who leaves while the book is written leaves no
    /// claim behind.
    pub(crate) async fn take(
        deliveries: Arc<dyn Deliveries>,
        key: PaymentKey,
        fingerprint: Fingerprint,
    ) -> Result<Taken, BookError> {
        let task = tokio::spawn(async move {
            let (is_resumed, otherwise) = match deliveries.claim(key, &fingerprint).await? {
                DeliveryClaim::New => (false, Otherwise::Free),
                DeliveryClaim::Resumed => (true, Otherwise::Unsettled),
                DeliveryClaim::Taken(delivery) => return Ok(Taken::Theirs(delivery)),
            };
            Ok(Taken::Ours(Self { deliveries, runtime: Handle::current(), key, is_resumed, otherwise }))
        });
        task.await.unwrap_or_else(|error| Err(BookError(Box::new(error))))
    }

    /// What makes the payment unique.
    pub(crate) const fn key(&self) -> PaymentKey {
        self.key
    }

    /// Whether an earlier settlement of this payment has an outcome that is not known.
    pub(crate) const fn is_resumed(&self) -> bool {
        self.is_resumed
    }

    /// Writes that the payment may be charged from now on. Only after `Ok` may anybody be asked to settle; after an error
    /// nobody was, and the payment is still to be given back.
    pub(crate) async fn settling(&mut self) -> Result<(), BookError> {
        // What is resumed is in that state since it was claimed. It is written all the same: a node that was taken for dead
        // meanwhile learns so here, before two of them deliver.
        self.deliveries.settling(self.key).await?;
        self.otherwise = Otherwise::Unsettled;
        Ok(())
    }

    /// Ends without a settlement of this request, and waits until that is written.
    pub(crate) async fn give_back(mut self) {
        if let Some(task) = self.write_otherwise() {
            // The task logs its own errors and cannot be cancelled; there is nothing else to learn from it.
            task.await.unwrap_or_default();
        }
    }

    /// The facilitator has said that this payment does not settle: it is free again.
    pub(crate) async fn refused(mut self) {
        self.otherwise = Otherwise::Free;
        self.give_back().await;
    }

    /// The money moved.
    pub(crate) async fn served(mut self, transaction: &TransactionId) {
        self.otherwise = Otherwise::Written;
        // If this fails the payment stays in use: it can buy nothing else, which is what matters.
        log_failure(self.key, "served", self.deliveries.served(self.key, transaction).await);
    }

    fn write_otherwise(&mut self) -> Option<JoinHandle<()>> {
        let otherwise = std::mem::replace(&mut self.otherwise, Otherwise::Written);
        let (deliveries, key) = (Arc::clone(&self.deliveries), self.key);
        match otherwise {
            Otherwise::Written => None,
            Otherwise::Free => {
                let writing = async move { log_failure(key, "cancelled", deliveries.cancel(key).await) };
                Some(self.runtime.spawn(writing.in_current_span()))
            }
            Otherwise::Unsettled => {
                let writing = async move { log_failure(key, "unsettled", deliveries.unsettled(key).await) };
                Some(self.runtime.spawn(writing.in_current_span()))
            }
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if matches!(self.otherwise, Otherwise::Free) {
            Outcome::FailedFree.count();
        }
        // The task outlives this value on its own.
        drop(self.write_otherwise());
    }
}

fn log_failure(key: PaymentKey, state: &str, written: Result<(), BookError>) {
    if let Err(error) = written {
        let cause = &error as &dyn std::error::Error;
        tracing::error!(payment_key = %key, state, cause, "the deliveries book could not be written; the payment stays in use");
    }
}
