//! One settlement, from the first look into the book to its last line.
//!
//! 1. The book is read first. What is settled or under way there is answered from there; nothing is claimed in it.
//! 2. Then hooks may hold it back. Only then the scheme verifies and sends, once more at most where a neighbour in its
//!    transaction spoilt it.
//! 3. Where the scheme refuses and nothing was written here, the book is read again before the refusal is passed on:
//!    another process may have sent the payment meanwhile, and that is why it can't be sent any more.
//! 4. Where it is refused although this request's payment was found good here before (`proven`), the chain is asked
//!    whether somebody else has carried it out meanwhile. If exactly this payment moved, it enters the book as settled, for
//!    whichever request finds it first, and is answered with the transaction that moved it.
//! 5. What is under way is waited for, then pending. It is never sent again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use farthing_core::books::{BookError, Finding, Fingerprint, SettlementEntry, SettlementState};
use farthing_core::erased::{AnyFacilitatorScheme, TypedPayment};
use farthing_core::network::Network;
use farthing_core::reason::Refusal;
use farthing_core::scheme::{Found, Outcome, PaymentKey, SettleError, Settlement, TransactionId, VerifyError};
use farthing_core::wire::{PaymentRequest, SettleResponse};
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::answers::{known, pending_response, success};
use crate::book::Book;
use crate::callers::{Callers, Reserved};
use crate::error::{NoAnswer, TooSlow, chain};
use crate::flight::Answer;
use crate::hooks::{Before, HookContext, HookList};
use crate::progress::{Progress, Stage};
use crate::proven::Proof;
use crate::recover::OUTCOME_TIMEOUT_SECONDS;

/// How long a request waits for a settlement that is under way elsewhere, in seconds.
pub(crate) const JOIN_TIMEOUT_SECONDS: u64 = 20;
/// The first pause between two looks at what is under way, in milliseconds; each one is twice as long as the last.
const FIRST_PAUSE_MILLISECONDS: u64 = 100;
/// The longest pause between two looks, in milliseconds.
const MAX_PAUSE_MILLISECONDS: u64 = 3_000;
/// How often the book is read for one settlement before it is left to the reconciler.
const MAX_ROUNDS: u32 = 8;

/// All that one settlement needs, owned, so that it outlives the caller who asked for it.
pub(crate) struct Job {
    pub(crate) scheme: Arc<dyn AnyFacilitatorScheme>,
    pub(crate) book: Book,
    pub(crate) callers: Option<Arc<Callers>>,
    pub(crate) payment: TypedPayment,
    pub(crate) request: Fingerprint,
    pub(crate) caller: Option<String>,
    pub(crate) network: Network,
    pub(crate) progress: Arc<Progress>,
    pub(crate) proof: Proof,
    pub(crate) watch: Watch,
}

/// The hooks around one settlement.
pub(crate) struct Watch {
    hooks: HookList,
    /// What they are shown; none where there are none.
    presented: Option<PaymentRequest>,
    /// Whether they have let the payment go, so that they are to hear what came of it.
    has_let_go: AtomicBool,
}

/// What one attempt to send came to.
enum Attempt {
    /// The answer.
    Answered(Answer),
    /// Nothing entered the book. That stands if the book says no other.
    Nothing(Nothing),
    /// Another process was faster; the book knows.
    Taken,
    /// It was carried beside others and moved nothing; it may be sent by itself.
    Spoilt,
}

/// Why nothing entered the book.
enum Nothing {
    Refused(Refusal),
    NotSent(NoAnswer),
    /// A hook has answered instead.
    Skipped(Box<SettleResponse>),
}

impl Watch {
    pub(crate) fn new(hooks: HookList, presented: Option<PaymentRequest>) -> Self {
        Self { hooks, presented, has_let_go: AtomicBool::new(false) }
    }
}

impl Job {
    /// Settles, or finds out what became of it.
    pub(crate) async fn run(&self) -> Answer {
        let (mut alone, mut nothing, mut reserved, mut is_asked) = (false, None, None, false);
        for _ in 0..MAX_ROUNDS {
            let entry = self.book.find(self.key()).await.map_err(NoAnswer::unclear)?;
            if let Some(entry) = entry.as_ref().filter(|entry| !is_dead(entry)) {
                match self.under_way(entry).await {
                    Some(answer) => return answer,
                    None => continue,
                }
            }
            if let Some(nothing) = nothing.take() {
                match self.nothing(nothing, entry).await {
                    Some(answer) => return answer,
                    None => continue,
                }
            }
            if !std::mem::replace(&mut is_asked, true) {
                nothing = self.held_back().await;
                if nothing.is_some() {
                    // The book is read again before anything is said: another process may have sent it meanwhile.
                    continue;
                }
            }
            if reserved.is_none() {
                reserved = self.reserve()?;
            }
            match self.attempt(alone).await {
                Attempt::Answered(answer) => return answer,
                Attempt::Nothing(cause) => nothing = Some(cause),
                Attempt::Taken => {}
                Attempt::Spoilt => alone = true,
            }
        }
        Err(NoAnswer::unclear("the payment's line in the book kept changing"))
    }

    /// What hooks make of the answer, if they have let the payment go.
    pub(crate) async fn watched(&self, answer: Answer) -> Answer {
        match self.context() {
            Some(context) if self.watch.has_let_go.load(Ordering::Relaxed) => self.watch.hooks.settled(&context, answer).await,
            _ => answer,
        }
    }

    fn context(&self) -> Option<HookContext<'_>> {
        let request = self.watch.presented.as_ref()?;
        Some(HookContext { request, record: &self.payment.record, caller: self.caller.as_deref() })
    }

    /// What keeps the payment from being sent, if a hook does.
    async fn held_back(&self) -> Option<Nothing> {
        match self.watch.hooks.before_settle(&self.context()?).await {
            Ok(Before::Continue) => {
                self.watch.has_let_go.store(true, Ordering::Relaxed);
                None
            }
            Ok(Before::Abort(refusal)) => Some(Nothing::Refused(refusal)),
            Ok(Before::Skip(answer)) => Some(Nothing::Skipped(Box::new(answer))),
            Err(failed) => Some(Nothing::NotSent(NoAnswer::not_sent(failed))),
        }
    }

    /// The answer that the book gives, if it knows one; for a settlement that ended without any.
    pub(crate) async fn read_back(&self) -> Result<Option<SettleResponse>, BookError> {
        Ok(self.book.find(self.key()).await?.and_then(|entry| known(&entry, &self.request, &self.network)))
    }

    pub(crate) fn pending(&self, transaction: &TransactionId) -> SettleResponse {
        pending_response(self.key(), transaction, self.network.clone())
    }

    fn key(&self) -> PaymentKey {
        self.payment.record.key
    }

    /// The answer to a payment that is settled or under way; none if it turned out dead, so that it may be sent again.
    async fn under_way(&self, entry: &SettlementEntry) -> Option<Answer> {
        match &entry.state {
            SettlementState::Sending(_) if entry.request == self.request => self.join(entry.clone()).await,
            _ => known(entry, &self.request, &self.network).map(Ok),
        }
    }

    /// Waits for the end of a settlement that another attempt has sent, perhaps in another process at this very moment.
    /// Never sends.
    async fn join(&self, mut entry: SettlementEntry) -> Option<Answer> {
        let deadline = Instant::now() + Duration::from_secs(JOIN_TIMEOUT_SECONDS);
        let mut pause = Duration::from_millis(FIRST_PAUSE_MILLISECONDS);
        loop {
            let SettlementState::Sending(transaction) = &entry.state else {
                return known(&entry, &self.request, &self.network).map(Ok);
            };
            self.progress.found(transaction);
            match self.outcome(&entry).await {
                Some(Outcome::Settled(settlement)) => return Some(Ok(self.settled(&settlement).await)),
                // It is dead, and as good as new: whoever sent it may be about to send it by itself, and what can't be sent
                // any more is refused with a better reason.
                Some(Outcome::Failed(refusal)) => {
                    let written = self.book.dead(self.key(), transaction, &refusal).await;
                    return if written.is_ok() { None } else { Some(Ok(self.pending(transaction))) };
                }
                Some(Outcome::Unknown) | None => {}
            }
            if Instant::now() + pause >= deadline {
                return Some(Ok(self.pending(transaction)));
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(Duration::from_millis(MAX_PAUSE_MILLISECONDS));
            // What cannot be read now is asked of the chain again, which knows as well.
            if let Ok(Some(read)) = self.book.find(self.key()).await {
                entry = read;
            }
        }
    }

    /// What the chain says; nothing if it cannot be asked now.
    async fn outcome(&self, entry: &SettlementEntry) -> Option<Outcome> {
        let asked = tokio::time::timeout(Duration::from_secs(OUTCOME_TIMEOUT_SECONDS), self.scheme.outcome(entry)).await;
        match asked {
            Ok(Ok(outcome)) => Some(outcome),
            Ok(Err(VerifyError::Invalid(refusal))) => {
                warn!(reason = %refusal.reason, "the scheme cannot say what became of a payment in the book");
                None
            }
            Ok(Err(VerifyError::Unavailable(_))) | Err(_) => None,
        }
    }

    fn reserve(&self) -> Result<Option<Reserved>, NoAnswer> {
        match (&self.callers, &self.caller) {
            (Some(callers), Some(caller)) => {
                callers.reserve(caller, self.book.now(), &self.progress).map_err(NoAnswer::OverQuota)
            }
            _ => Ok(None),
        }
    }

    async fn attempt(&self, alone: bool) -> Attempt {
        let right = self.progress.attempt(&self.request, self.caller.as_deref(), alone, &self.proof);
        let result = self.scheme.settle(&self.payment, right).await;
        let written = match self.progress.stage() {
            Stage::Written(transaction) => Some((transaction, true)),
            Stage::Withdrawn(transaction) => Some((transaction, false)),
            Stage::Unread | Stage::Nothing | Stage::Entered => None,
        };
        let answer = match (result, written) {
            (Ok(settlement), _) => self.settled(&settlement).await,
            (Err(SettleError::Taken), _) => return Attempt::Taken,
            (Err(SettleError::Spoilt(refusal)), Some((transaction, _))) if !alone => {
                return self.spoilt(&transaction, &refusal).await;
            }
            (Err(SettleError::Rejected(refusal) | SettleError::Spoilt(refusal)), Some((transaction, _))) => {
                return self.dead(&transaction, refusal).await;
            }
            (Err(SettleError::Rejected(refusal) | SettleError::Spoilt(refusal)), None) => {
                return Attempt::Nothing(Nothing::Refused(refusal));
            }
            (Err(SettleError::NotSent(source)), Some((transaction, true))) => {
                // It is in the book as being sent, and nobody took it back: the book is right until the chain says more.
                error!(%transaction, error = chain(&*source), "a transaction in the book was given up; it is pending");
                self.pending(&transaction)
            }
            (Err(SettleError::NotSent(source)), _) => return Attempt::Nothing(Nothing::NotSent(NoAnswer::not_sent(source))),
            (Err(SettleError::Unknown(transaction)), _) => {
                warn!(%transaction, "the transaction was sent and its outcome is not known");
                self.pending(&transaction)
            }
        };
        Attempt::Answered(Ok(answer))
    }

    /// What follows where the transaction that carried it has ended without it: once more by itself, unless the money
    /// moved after all.
    async fn spoilt(&self, transaction: &TransactionId, refusal: &Refusal) -> Attempt {
        let entry = match self.book.find(self.key()).await {
            Ok(Some(entry)) if entry.request == self.request && matches!(entry.state, SettlementState::Sending(_)) => entry,
            Ok(Some(entry)) if entry.request == self.request && is_dead(&entry) => return Attempt::Spoilt,
            // Whatever happened to its line, the next round reads it again.
            _ => return Attempt::Taken,
        };
        match self.outcome(&entry).await {
            Some(Outcome::Settled(settlement)) => Attempt::Answered(Ok(self.settled(&settlement).await)),
            Some(Outcome::Failed(_)) => match self.book.dead(self.key(), &entry.transaction, refusal).await {
                Ok(true) => Attempt::Spoilt,
                Ok(false) => Attempt::Taken,
                Err(_logged) => Attempt::Answered(Ok(self.pending(transaction))),
            },
            Some(Outcome::Unknown) | None => Attempt::Answered(Ok(self.pending(transaction))),
        }
    }

    /// The answer where nothing was sent; none if the book has the payment by now. A payment that this request had sent
    /// before, or that was found good for it, may have been carried out by somebody else since then, which makes it look
    /// like a bad one now.
    async fn nothing(&self, nothing: Nothing, dead: Option<SettlementEntry>) -> Option<Answer> {
        let refusal = match nothing {
            Nothing::NotSent(cause) => return Some(Err(cause)),
            Nothing::Skipped(answer) => return Some(Ok(*answer)),
            Nothing::Refused(refusal) => refusal,
        };
        // What was sent for this request was found good for it before.
        let sent_before = dead.filter(|entry| entry.request == self.request);
        if let Some(entry) = &sent_before {
            match self.outcome(entry).await {
                Some(Outcome::Settled(settlement)) => return self.found(Found { settlement, height: entry.height }).await,
                Some(Outcome::Failed(_) | Outcome::Unknown) => {}
                None => return Some(Ok(self.pending(&entry.transaction))),
            }
        }
        if sent_before.is_some() || self.proof.holds(self.book.now()) {
            match self.moved_already(&refusal).await {
                Ok(Some(found)) => return self.found(found).await,
                Ok(None) => {}
                Err(cause) => return Some(Err(cause)),
            }
        }
        info!(reason = %refusal.reason, "not settled");
        Some(Ok(self.failure(refusal)))
    }

    /// Whether somebody else has carried the payment out since it was found good here. Asked until the chain is certain,
    /// for a while: a refusal would make the buyer pay twice.
    async fn moved_already(&self, refusal: &Refusal) -> Result<Option<Found>, NoAnswer> {
        let deadline = Instant::now() + Duration::from_secs(JOIN_TIMEOUT_SECONDS);
        let mut pause = Duration::from_millis(FIRST_PAUSE_MILLISECONDS);
        loop {
            let asked = self.scheme.moved_already(&self.payment.record, refusal);
            let cause = match tokio::time::timeout(Duration::from_secs(OUTCOME_TIMEOUT_SECONDS), asked).await {
                Ok(Ok(found)) => return Ok(found),
                Ok(Err(cause)) => NoAnswer::unclear(cause),
                Err(_elapsed) => {
                    let what = "the question whether somebody else carried the payment out";
                    NoAnswer::unclear(TooSlow { what, seconds: OUTCOME_TIMEOUT_SECONDS })
                }
            };
            if Instant::now() + pause >= deadline {
                return Err(cause);
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(Duration::from_millis(MAX_PAUSE_MILLISECONDS));
        }
    }

    /// Writes down that somebody else moved the money, for this request if it is the first; none if the book has the
    /// payment already. What can't be written is no success: another request could have it, too.
    async fn found(&self, found: Found) -> Option<Answer> {
        let finding = Finding {
            record: &self.payment.record,
            request: &self.request,
            caller: self.caller.as_deref(),
            settlement: &found.settlement,
            height: found.height,
            now: self.book.now(),
        };
        match self.book.found(&finding).await {
            Ok(None) => Some(Ok(success(&found.settlement))),
            Ok(Some(_)) => None,
            Err(cause) => Some(Err(NoAnswer::unclear(cause))),
        }
    }

    /// The money moved. That is so even if the book cannot be told.
    async fn settled(&self, settlement: &Settlement) -> SettleResponse {
        self.book.settled(self.key(), settlement).await;
        success(settlement)
    }

    /// The transaction that carried it moved nothing. Where the book has another one by now, that one counts.
    async fn dead(&self, transaction: &TransactionId, refusal: Refusal) -> Attempt {
        Attempt::Answered(Ok(match self.book.dead(self.key(), transaction, &refusal).await {
            Ok(true) => SettleResponse { transaction: transaction.0.clone(), ..self.failure(refusal) },
            Ok(false) => return Attempt::Taken,
            Err(_logged) => self.pending(transaction),
        }))
    }

    fn failure(&self, refusal: Refusal) -> SettleResponse {
        SettleResponse::failure(refusal, Some(self.network.clone()))
    }
}

fn is_dead(entry: &SettlementEntry) -> bool {
    matches!(entry.state, SettlementState::Dead(_))
}
