//! A payment taken for one request, in the deliveries book, until the request's end is known.
//!
//! Which states there are and which lead where is a table in [`farthing_core::books::Deliveries`]'s file. Of it, this is
//! what one request writes:
//!
//! | the request | writes |
//! |---|---|
//! | fails before its settlement, or its settlement was not sent or was refused | `cancel` |
//! | has a name for its purchase, and was verified | `name` |
//! | is about to be settled | `settling`, with its bill |
//! | has settled before its work | `charged`, with its sale, and only then does the work begin |
//! | has settled | `served`, with its sale and the answer, and only then does the answer go |
//! | has settled at the head of its answer | `charged`, and only then does anything of the answer go; `served` at its end |
//! | has sent all of an answer that is kept for nobody else | `delivered`, by [`crate::departed`], for which nobody waits |
//! | does not know whether it has settled, or has nobody left to answer | `unsettled` |
//! | resumes an unsettled payment, and fails or is refused, however clearly | `unsettled`: an earlier request may have settled it |
//!
//! The last word of a claim is written until it is written: while the book is away, the payment would be in use for as long
//! as this process lives.

use std::sync::Arc;
use std::time::Duration;

use farthing_core::books::{
    Answered, Bill, BookError, Charged, ClaimId, Deliveries, Delivery, DeliveryClaim, Naming, Owed, Presented, Purchase,
    Receipt, Standing, StoredAnswer,
};
use farthing_core::scheme::{PaymentKey, TransactionId};
use farthing_core::wire::SettleResponse;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::Instrument;

use crate::apart::see_through;
use crate::count::Outcome;
use crate::sold::settled_by;

/// The pause after a last word could not be written for the first time; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause before it is tried again.
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// For how long it is tried.
const PATIENCE: Duration = Duration::from_hours(1);

/// The right to use one payment for one request.
///
/// A claim that is dropped writes the book, too: a client that leaves must neither be charged nor lose its payment.
#[must_use]
pub(crate) struct Claim {
    deliveries: Arc<dyn Deliveries>,
    runtime: Handle,
    id: ClaimId,
    otherwise: Otherwise,
    is_resumed: bool,
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
    /// The payment is ours, and new.
    New(Claim),
    /// The payment is ours, and may have been charged for this very request before.
    Resumed(Claim, Box<Owed>),
    /// It was served for this very request, and here is the answer.
    Answered(Box<Answered>),
    /// It is not ours.
    Theirs(Delivery),
}

impl Claim {
    /// Takes the payment. Seen through, so that a caller who leaves while the book is written leaves no claim behind.
    pub(crate) async fn take(deliveries: Arc<dyn Deliveries>, presented: Presented) -> Result<Taken, BookError> {
        let taking = see_through(async move {
            let claim = deliveries.claim(&presented).await?;
            let ours = |id, otherwise, is_resumed| Self { deliveries, runtime: Handle::current(), id, otherwise, is_resumed };
            Ok(match claim {
                DeliveryClaim::New(id) => Taken::New(ours(id, Otherwise::Free, false)),
                DeliveryClaim::Resumed(id, owed) => Taken::Resumed(ours(id, Otherwise::Unsettled, true), owed),
                DeliveryClaim::Answered(answered) => Taken::Answered(answered),
                DeliveryClaim::Taken(delivery) => Taken::Theirs(delivery),
            })
        });
        taking.await.unwrap_or_else(|| Err(BookError("the claim's task did not end".into())))
    }

    /// The right itself.
    pub(crate) const fn id(&self) -> ClaimId {
        self.id
    }

    /// What makes the payment unique.
    pub(crate) const fn key(&self) -> PaymentKey {
        self.id.key
    }

    /// Whether an earlier request may have had the payment settled: then no refusal ever sets it free.
    pub(crate) const fn is_resumed(&self) -> bool {
        self.is_resumed
    }

    /// Gives its purchase a name, unless another payment has it.
    pub(crate) async fn name(&mut self, purchase: &Purchase) -> Result<Naming, BookError> {
        let naming = self.deliveries.name(self.id, purchase).await?;
        if naming == Naming::Lost {
            self.lost("name");
        }
        Ok(naming)
    }

    /// Writes that the payment may be charged from now on, for this. Only if it says so may anybody be asked to settle;
    /// otherwise nobody was, and the payment is still to be given back.
    pub(crate) async fn settling(&mut self, bill: &Bill) -> bool {
        let written = self.deliveries.settling(self.id, bill).await;
        let is_held = self.is_held("settling", written);
        if is_held {
            self.otherwise = Otherwise::Unsettled;
        }
        is_held
    }

    /// Writes that the money moved before the work. Only if it says so may the work begin: otherwise it could be done for
    /// somebody of whom nobody knows that he has paid.
    pub(crate) async fn charged(&mut self, response: &SettleResponse, bill: &Bill) -> bool {
        let Some(receipt) = self.receipt(response) else { return false };
        self.charged_as(response, receipt, bill).await
    }

    /// The same, with a receipt in the words that the book is to keep.
    pub(crate) async fn charged_as(&mut self, response: &SettleResponse, receipt: Receipt, bill: &Bill) -> bool {
        let charged = Charged { receipt: &receipt, bill, settled_by: settled_by(response) };
        let written = self.deliveries.charged(self.id, &charged).await;
        self.is_held("charged", written)
    }

    /// Writes that the money moved, with the answer that is kept. Only if it says so may the answer go: otherwise somebody
    /// else may deliver it, or the same payment be presented again. Until [`Self::delivered`] says that it did go, the payment
    /// can be given back.
    pub(crate) async fn served(&mut self, response: &SettleResponse, bill: &Bill, answer: Option<&StoredAnswer>) -> bool {
        let Some(receipt) = self.receipt(response) else { return false };
        let charged = Charged { receipt: &receipt, bill, settled_by: settled_by(response) };
        let written = self.deliveries.served(self.id, &charged, answer).await;
        self.is_held("served", written)
    }

    fn receipt(&self, response: &SettleResponse) -> Option<Receipt> {
        let transaction = TransactionId(response.transaction.clone());
        let written = serde_json::to_string(response);
        let settlement = written.inspect_err(|error| {
            tracing::error!(payment_key = %self.key(), %error, "a settlement cannot be written; no answer goes out for this payment");
        });
        Some(Receipt { transaction, settlement: settlement.ok()? })
    }

    fn is_held(&mut self, state: &str, written: Result<Standing, BookError>) -> bool {
        match written {
            Ok(Standing::Held) => true,
            Ok(Standing::Lost) => {
                self.lost(state);
                false
            }
            Err(error) => {
                log_unwritten(self.key(), state, &error);
                false
            }
        }
    }

    /// The answer is on its way: nothing is left to be written.
    pub(crate) fn delivered(mut self) {
        self.otherwise = Otherwise::Written;
    }

    /// Ends without an answer, and waits until that was written, or could not be at once.
    pub(crate) async fn give_back(mut self) {
        if let Some(first_try) = self.write_otherwise() {
            // The task goes on by itself and logs its own errors; there is nothing else to learn from it.
            first_try.await.unwrap_or_default();
        }
    }

    /// The facilitator has said that this payment was not settled: it is free, unless an earlier request can have settled it.
    pub(crate) async fn refused(mut self) {
        if !self.is_resumed {
            self.otherwise = Otherwise::Free;
        }
        self.give_back().await;
    }

    fn lost(&mut self, state: &str) {
        self.otherwise = Otherwise::Written;
        tracing::warn!(payment_key = %self.key(), state, "a payment was taken over: its request gets no answer here");
    }

    fn write_otherwise(&mut self) -> Option<oneshot::Receiver<()>> {
        let state = match std::mem::replace(&mut self.otherwise, Otherwise::Written) {
            Otherwise::Written => return None,
            Otherwise::Free => LastWord::Cancelled,
            Otherwise::Unsettled => LastWord::Unsettled,
        };
        let (tried, first_try) = oneshot::channel();
        let writing = write_at_last(Arc::clone(&self.deliveries), self.id, state, tried);
        self.runtime.spawn(writing.in_current_span());
        Some(first_try)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        match self.otherwise {
            Otherwise::Free => Outcome::FailedFree.count(),
            Otherwise::Unsettled => Outcome::Pending.count(),
            Otherwise::Written => {}
        }
        // The task outlives this value on its own.
        drop(self.write_otherwise());
    }
}

/// What a claim ends with that ends without an answer.
#[derive(Clone, Copy)]
enum LastWord {
    Cancelled,
    Unsettled,
}

impl LastWord {
    const fn name(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::Unsettled => "unsettled",
        }
    }

    async fn write(self, deliveries: &dyn Deliveries, id: ClaimId) -> Result<(), BookError> {
        let written = match self {
            Self::Cancelled => deliveries.cancel(id).await,
            Self::Unsettled => deliveries.unsettled(id).await,
        };
        // Where the claim was lost, another request has the payment, or an earlier try has arrived after all.
        written.map(|_: Standing| ())
    }
}

/// Writes a claim's last word, again and again while the book cannot be written. Tells when it was tried once.
async fn write_at_last(deliveries: Arc<dyn Deliveries>, id: ClaimId, word: LastWord, tried: oneshot::Sender<()>) {
    let (began, mut pause, mut tried) = (Instant::now(), FIRST_PAUSE, Some(tried));
    while let Err(error) = word.write(&*deliveries, id).await {
        if let Some(tried) = tried.take() {
            log_unwritten(id.key, word.name(), &error);
            // Whoever wanted to know may have left.
            tried.send(()).unwrap_or_default();
        }
        if began.elapsed() >= PATIENCE {
            let state = word.name();
            tracing::error!(payment_key = %id.key, state, "a payment stays in use until this process ends: its book was away for too long");
            return;
        }
        tokio::time::sleep(pause).await;
        pause = pause.saturating_mul(2).min(MAX_PAUSE);
    }
    if let Some(tried) = tried {
        tried.send(()).unwrap_or_default();
    } else {
        tracing::info!(payment_key = %id.key, state = word.name(), "the deliveries book could be written at last");
    }
}

fn log_unwritten(key: PaymentKey, state: &str, error: &BookError) {
    let cause = error as &dyn std::error::Error;
    tracing::error!(payment_key = %key, state, cause, "the deliveries book could not be written; no answer goes out for this payment");
}
