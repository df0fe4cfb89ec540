//! How far one settlement has come, shared between the work and whoever waits for it.
//!
//! A wait may end before the work does. It must then be said truly whether anything was sent: so the wait closes the
//! progress, after which nothing can be sent any more, unless something was sent already.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use farthing_core::books::Settlements;
use farthing_core::scheme::{PaymentKey, SendLog, TransactionId};
use farthing_core::{BoxFuture, Source};

/// What has happened so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The payment is not claimed.
    Unclaimed,
    /// The payment is claimed in the book, and nothing was sent.
    Claimed,
    /// A signed transaction is in the book and may be on its way.
    Sent(TransactionId),
}

/// One settlement's progress, and the way into the book for the scheme that settles.
pub(crate) struct Progress {
    settlements: Arc<dyn Settlements>,
    key: PaymentKey,
    state: Mutex<State>,
}

struct State {
    stage: Stage,
    closed: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("the settlement was given up before anything was sent; nothing may be sent for it now")]
struct GivenUp;

impl Progress {
    pub(crate) fn new(settlements: Arc<dyn Settlements>, key: PaymentKey) -> Self {
        Self { settlements, key, state: Mutex::new(State { stage: Stage::Unclaimed, closed: false }) }
    }

    /// The payment is claimed in the book.
    pub(crate) fn claimed(&self) {
        self.state().stage = Stage::Claimed;
    }

    /// A transaction of an earlier attempt is in the book.
    pub(crate) fn found(&self, transaction: &TransactionId) {
        self.state().stage = Stage::Sent(transaction.clone());
    }

    /// How far it has come.
    pub(crate) fn stage(&self) -> Stage {
        self.state().stage.clone()
    }

    /// Forbids to send from now on, and says what had happened until now.
    pub(crate) fn close(&self) -> Stage {
        let mut state = self.state();
        state.closed = true;
        state.stage.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters the transaction, unless the settlement was given up; returns the stage before.
    fn enter(&self, transaction: &TransactionId) -> Result<Stage, GivenUp> {
        let mut state = self.state();
        let before = state.stage.clone();
        if state.closed && !matches!(before, Stage::Sent(_)) {
            return Err(GivenUp);
        }
        state.stage = Stage::Sent(transaction.clone());
        Ok(before)
    }
}

impl SendLog for Progress {
    fn sending<'a>(&'a self, transaction: &'a TransactionId, signed: &'a [u8]) -> BoxFuture<'a, Result<(), Source>> {
        Box::pin(async move {
            let before = self.enter(transaction)?;
            if let Err(error) = self.settlements.sending(self.key, transaction, signed).await {
                // What is not in the book must not be broadcast, so it was not sent.
                self.state().stage = before;
                return Err(error.into());
            }
            Ok(())
        })
    }
}
