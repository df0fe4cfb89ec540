//! One settlement at a time for each payment, however many requests carry it.
//!
//! Copies of the request that leads wait for its answer and share it, as far as there is room for them. Another request
//! with the same authorization, perhaps a forgery made to get in the way, waits until the leader is through and then has
//! its own turn.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use farthing_core::books::Fingerprint;
use farthing_core::scheme::PaymentKey;
use farthing_core::wire::SettleResponse;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::error::NoAnswer;
use crate::settle::JOIN_TIMEOUT_SECONDS;

/// The most copies that wait for one settlement; more are answered from the book at once.
pub(crate) const MAX_COPIES_PER_FLIGHT: usize = 1_024;

/// The most other requests with its authorization that wait for one settlement; more are answered from the book at once.
pub(crate) const MAX_OTHERS_PER_FLIGHT: usize = 256;

/// What a settlement came to.
pub(crate) type Answer = Result<SettleResponse, NoAnswer>;

/// The settlements under way in this process.
#[derive(Clone, Default)]
pub(crate) struct Flights(Arc<Mutex<HashMap<PaymentKey, Flight>>>);

struct Flight {
    request: Fingerprint,
    answer: watch::Receiver<Option<Answer>>,
    copies: Arc<Semaphore>,
    others: Arc<Semaphore>,
}

/// What a request is to do.
pub(crate) enum Turn {
    /// Settle, and answer the others through the lead.
    Lead(Lead, Wait),
    /// Wait for the answer of a copy.
    Copy(Wait),
    /// As many wait already as may.
    OneTooMany,
    /// Wait until another request with the same authorization is through, then ask again.
    Other(Wait),
}

/// The right to settle one payment. Dropping it gives others their turn.
pub(crate) struct Lead {
    flights: Flights,
    key: PaymentKey,
    answer: watch::Sender<Option<Answer>>,
}

/// A place in the queue for one payment.
pub(crate) struct Wait {
    answer: watch::Receiver<Option<Answer>>,
    _place: Option<OwnedSemaphorePermit>,
}

impl Flights {
    pub(crate) fn turn(&self, key: PaymentKey, request: &Fingerprint) -> Turn {
        match self.flights().entry(key) {
            Entry::Occupied(entry) => {
                let flight = entry.get();
                let is_copy = flight.request == *request;
                let places = if is_copy { &flight.copies } else { &flight.others };
                let Ok(place) = Arc::clone(places).try_acquire_owned() else { return Turn::OneTooMany };
                let wait = Wait { answer: flight.answer.clone(), _place: Some(place) };
                if is_copy { Turn::Copy(wait) } else { Turn::Other(wait) }
            }
            Entry::Vacant(entry) => {
                let (sender, receiver) = watch::channel(None);
                let places = |max| Arc::new(Semaphore::new(max));
                entry.insert(Flight {
                    request: request.clone(),
                    answer: receiver.clone(),
                    copies: places(MAX_COPIES_PER_FLIGHT),
                    others: places(MAX_OTHERS_PER_FLIGHT),
                });
                Turn::Lead(Lead { flights: self.clone(), key, answer: sender }, Wait { answer: receiver, _place: None })
            }
        }
    }

    /// Whether the payment is being settled here.
    pub(crate) fn has(&self, key: PaymentKey) -> bool {
        self.flights().contains_key(&key)
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<PaymentKey, Flight>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lead {
    /// Answers all copies; may be called again when more is known.
    pub(crate) fn answer(&self, answer: Answer) {
        self.answer.send_replace(Some(answer));
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.flights.flights().remove(&self.key);
    }
}

impl Wait {
    /// The answer. Who comes after a first answer was given waits a moment for a better one.
    pub(crate) async fn answer(mut self) -> Answer {
        if self.answer.borrow().is_some() {
            let better = async { while self.answer.changed().await.is_ok() {} };
            // Where no better one comes, the first one stands.
            drop(tokio::time::timeout(Duration::from_secs(JOIN_TIMEOUT_SECONDS), better).await);
        }
        let answer = self.answer.wait_for(Option::is_some).await.ok().and_then(|answer| answer.clone());
        // The leader always gives an answer, unless the whole process is ending.
        answer.unwrap_or_else(|| Err(NoAnswer::unclear("the settlement ended without an answer")))
    }

    /// Returns when the leader is through.
    pub(crate) async fn end(mut self) {
        while self.answer.changed().await.is_ok() {}
    }
}
