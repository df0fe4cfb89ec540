//! How far one settlement has come, shared between the work, the relayer that sends, and whoever waits.
//!
//! A wait may end before the work does. It must then be said truly whether anything was sent: so the wait closes the
//! progress, after which nothing can enter the book any more, unless it did already.

use std::sync::Arc;

use farthing_core::books::Fingerprint;
use farthing_core::scheme::{SendRight, TransactionId};
use tokio::sync::watch;

use crate::proven::Proof;

/// What has happened so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The book was not read yet, so that anything may have happened before.
    Unread,
    /// The book has nothing under way for the payment, and nothing was sent.
    Nothing,
    /// A transaction is being written into the book at this moment.
    Entered,
    /// A transaction that carries the payment is in the book and may be on its way.
    Written(TransactionId),
    /// A transaction was in the book, and is certain never to be sent.
    Withdrawn(TransactionId),
}

/// One settlement's progress, through all its attempts.
pub(crate) struct Progress(watch::Sender<State>);

struct State {
    /// A right of an earlier attempt is void.
    attempt: u32,
    stage: Stage,
    closed: bool,
    wrote: bool,
}

/// The right to send of one attempt.
pub(crate) struct Right {
    progress: Arc<Progress>,
    attempt: u32,
    request: Fingerprint,
    caller: Option<String>,
    alone: bool,
    proof: Proof,
}

impl Progress {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(watch::Sender::new(State { attempt: 0, stage: Stage::Unread, closed: false, wrote: false })))
    }

    /// The right for a new attempt, after the book was found to have nothing under way.
    pub(crate) fn attempt(
        self: &Arc<Self>,
        request: &Fingerprint,
        caller: Option<&str>,
        alone: bool,
        proof: &Proof,
    ) -> Arc<Right> {
        let mut attempt = 0;
        self.0.send_modify(|state| {
            state.attempt = state.attempt.saturating_add(1);
            state.stage = Stage::Nothing;
            attempt = state.attempt;
        });
        let (request, caller) = (request.clone(), caller.map(str::to_owned));
        Arc::new(Right { progress: Arc::clone(self), attempt, request, caller, alone, proof: proof.clone() })
    }

    /// The book says that this transaction is under way, whoever sent it.
    pub(crate) fn found(&self, transaction: &TransactionId) {
        self.0.send_modify(|state| state.stage = Stage::Written(transaction.clone()));
    }

    /// How far it has come.
    pub(crate) fn stage(&self) -> Stage {
        self.0.borrow().stage.clone()
    }

    /// Whether any attempt has entered the book.
    pub(crate) fn wrote(&self) -> bool {
        self.0.borrow().wrote
    }

    /// Forbids to enter the book from now on, and says what had happened until now.
    pub(crate) fn close(&self) -> Stage {
        self.0.send_modify(|state| state.closed = true);
        self.stage()
    }

    /// Returns when no transaction is being written at this moment.
    pub(crate) async fn entered(&self) {
        // The sender is `self`, so that waiting cannot fail.
        drop(self.0.subscribe().wait_for(|state| state.stage != Stage::Entered).await);
    }
}

impl Right {
    fn update(&self, change: impl FnOnce(&mut State)) {
        self.progress.0.send_if_modified(|state| {
            let is_current = state.attempt == self.attempt;
            if is_current {
                change(state);
            }
            is_current
        });
    }
}

impl SendRight for Right {
    fn request(&self) -> &Fingerprint {
        &self.request
    }

    fn caller(&self) -> Option<&str> {
        self.caller.as_deref()
    }

    fn alone(&self) -> bool {
        self.alone
    }

    fn verified(&self) {
        self.proof.remember();
    }

    fn enter(&self) -> bool {
        let mut may = false;
        self.update(|state| {
            may = !state.closed && !matches!(state.stage, Stage::Written(_));
            if may {
                state.stage = Stage::Entered;
            }
        });
        may
    }

    fn written(&self, transaction: &TransactionId) {
        self.update(|state| {
            state.stage = Stage::Written(transaction.clone());
            state.wrote = true;
        });
    }

    fn left(&self) {
        self.update(|state| {
            state.stage = match &state.stage {
                Stage::Written(transaction) | Stage::Withdrawn(transaction) => Stage::Withdrawn(transaction.clone()),
                Stage::Unread | Stage::Nothing | Stage::Entered => Stage::Nothing,
            };
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proven::tests::some_proof;

    fn right(progress: &Arc<Progress>) -> Arc<Right> {
        progress.attempt(&Fingerprint("one".to_owned()), Some("shop"), false, &some_proof())
    }

    #[test]
    fn what_was_given_up_cannot_enter_the_book() {
        let progress = Progress::new();
        let right = right(&progress);
        assert_eq!(progress.close(), Stage::Nothing);
        assert!(!right.enter());
        assert_eq!(progress.stage(), Stage::Nothing);
    }

    #[test]
    fn what_was_being_written_when_it_was_given_up_may_be_sent() {
        let progress = Progress::new();
        let right = right(&progress);
        assert!(right.enter());
        assert_eq!(progress.close(), Stage::Entered);
        right.written(&TransactionId("0x1".to_owned()));
        assert_eq!(progress.stage(), Stage::Written(TransactionId("0x1".to_owned())));
        right.written(&TransactionId("0x2".to_owned()));
        assert_eq!(progress.stage(), Stage::Written(TransactionId("0x2".to_owned())));
        assert!(progress.wrote());
    }

    #[test]
    fn the_right_of_an_earlier_attempt_is_void() {
        let progress = Progress::new();
        let first = right(&progress);
        let second = right(&progress);
        assert!(!first.enter());
        first.written(&TransactionId("0x1".to_owned()));
        assert_eq!(progress.stage(), Stage::Nothing);
        assert!(second.enter());
        second.left();
        assert_eq!(progress.stage(), Stage::Nothing);
        assert!(second.enter(), "what left may enter again");
    }

    #[test]
    fn what_left_after_it_was_written_is_withdrawn() {
        let progress = Progress::new();
        let right = right(&progress);
        assert!(right.enter());
        right.written(&TransactionId("0x1".to_owned()));
        assert!(!right.enter(), "one transaction carries it already");
        right.left();
        assert_eq!(progress.stage(), Stage::Withdrawn(TransactionId("0x1".to_owned())));
    }
}
