//! One settlement, from the claim to its last line in the book.

use std::sync::Arc;
use std::time::Duration;

use farthing_core::books::{BookError, Fingerprint, SettlementClaim, SettlementState, Settlements};
use farthing_core::erased::{AnyFacilitatorScheme, TypedPayment};
use farthing_core::network::Network;
use farthing_core::reason::{Reason, Refusal};
use farthing_core::scheme::{Outcome, SettleError, Settlement, TransactionId};
use farthing_core::wire::{PaymentRequest, SettleResponse};
use sha2::{Digest, Sha256};
use tracing::{Instrument, error, info, warn};

use crate::error::{NotSent, TooSlow};
use crate::flight::{Answer, Lead};
use crate::local::SETTLE_TIMEOUT_SECONDS;
use crate::progress::{Progress, Stage};

/// All that one settlement needs, owned, so that it outlives the caller who asked for it.
pub(crate) struct Job {
    pub(crate) scheme: Arc<dyn AnyFacilitatorScheme>,
    pub(crate) settlements: Arc<dyn Settlements>,
    pub(crate) payment: TypedPayment,
    pub(crate) request: Fingerprint,
    pub(crate) network: Network,
}

/// The digest by which a copy of a request is known: of the whole request, as it came. A digest, so that the book holds
/// no signature.
pub(crate) fn fingerprint(request: &PaymentRequest) -> Result<Fingerprint, serde_json::Error> {
    let digest = Sha256::digest(serde_json::to_vec(request)?);
    Ok(Fingerprint(format!("{digest:x}")))
}

/// What a payment that has been used is told, by `/verify` and `/settle` alike.
pub(crate) fn already_used() -> Refusal {
    Refusal::new(
        Reason::PaymentAlreadyUsed,
        "this authorization has been settled already; sign a new one with a fresh nonce to pay again",
    )
}

/// What a payment is told whose transaction is under way.
pub(crate) fn pending(transaction: &TransactionId) -> Refusal {
    let message = format!(
        "transaction {transaction} was sent and its outcome is not known yet; \
         ask /settle again with the same payment, and do not sign another"
    );
    Refusal::new(Reason::SettlementPending, message)
}

/// What another request is told whose authorization is being settled.
pub(crate) fn in_flight() -> Refusal {
    Refusal::new(
        Reason::PaymentInFlight,
        "this authorization is being settled for another request; sign a new one with a fresh nonce for this one",
    )
}

/// Settles in tasks of its own, so that neither a caller who leaves nor a panic can leave the outcome untold.
pub(crate) async fn fly(job: Job, lead: Lead) {
    let job = Arc::new(job);
    let progress = Arc::new(Progress::new(Arc::clone(&job.settlements), job.payment.key));
    let mut work = tokio::spawn({
        let (job, progress) = (Arc::clone(&job), Arc::clone(&progress));
        async move { job.run(&progress).await }.in_current_span()
    });
    let answer = match tokio::time::timeout(Duration::from_secs(SETTLE_TIMEOUT_SECONDS), &mut work).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(panic)) => job.broken_off(&progress, panic).await,
        Err(_elapsed) => {
            if let Stage::Sent(transaction) = progress.close() {
                lead.answer(Ok(job.pending(&transaction)));
            } else {
                work.abort();
            }
            match work.await {
                Ok(answer) => answer,
                Err(_) => job.broken_off(&progress, TooSlow { what: "the settlement", seconds: SETTLE_TIMEOUT_SECONDS }).await,
            }
        }
    };
    lead.answer(answer);
}

impl Job {
    async fn run(&self, progress: &Progress) -> Answer {
        match self.settlements.claim(self.payment.key, &self.request).await.map_err(NotSent::because)? {
            SettlementClaim::New => {
                progress.claimed();
                self.send(progress).await
            }
            SettlementClaim::Resumed(SettlementState::Settled(settlement)) => Ok(success(&settlement)),
            SettlementClaim::Resumed(SettlementState::Sending(transaction)) => {
                progress.found(&transaction);
                Ok(self.reconcile(&transaction).await)
            }
            SettlementClaim::Taken(SettlementState::Settled(_)) => Ok(self.failure(already_used())),
            SettlementClaim::Taken(SettlementState::Sending(_)) => Ok(self.failure(in_flight())),
            SettlementClaim::Resumed(SettlementState::Dead(refusal))
            | SettlementClaim::Taken(SettlementState::Dead(refusal)) => Ok(self.failure(refusal)),
            SettlementClaim::Resumed(SettlementState::Claimed) | SettlementClaim::Taken(SettlementState::Claimed) => {
                Err(NotSent::because("the payment is claimed in the book, by another process or by one that ended"))
            }
        }
    }

    async fn send(&self, progress: &Progress) -> Answer {
        match self.scheme.settle(&self.payment, progress).await {
            Ok(settlement) => Ok(self.settled(&settlement).await),
            Err(SettleError::Rejected(refusal)) => Ok(self.rejected(refusal, progress.stage()).await),
            Err(SettleError::NotSent(source)) => {
                self.give_back(progress.stage()).await;
                Err(NotSent::because(source))
            }
            Err(SettleError::Unknown(transaction)) => {
                if progress.stage() != Stage::Sent(transaction.clone()) {
                    self.wrote(self.settlements.sending(self.payment.key, &transaction, &[]).await, "sending");
                }
                warn!(%transaction, "the transaction was sent and its outcome is not known");
                Ok(self.pending(&transaction))
            }
        }
    }

    /// Finds out what became of an earlier attempt. Never sends.
    async fn reconcile(&self, transaction: &TransactionId) -> SettleResponse {
        match self.scheme.outcome(&self.payment, transaction).await {
            Ok(Outcome::Settled(settlement)) => self.settled(&settlement).await,
            Ok(Outcome::Failed(refusal)) => self.rejected(refusal, Stage::Sent(transaction.clone())).await,
            Ok(Outcome::Unknown) => self.pending(transaction),
            Err(cause) => {
                warn!(%transaction, error = chain(&cause), "the outcome of the transaction cannot be read now");
                self.pending(transaction)
            }
        }
    }

    /// The money moved. That is so even if the book cannot be told.
    async fn settled(&self, settlement: &Settlement) -> SettleResponse {
        self.wrote(self.settlements.settled(self.payment.key, settlement).await, "settled");
        info!(transaction = %settlement.transaction, payer = %settlement.payer, amount_atomic = %settlement.amount, "settled");
        success(settlement)
    }

    async fn rejected(&self, refusal: Refusal, stage: Stage) -> SettleResponse {
        info!(reason = %refusal.reason, "not settled");
        let Stage::Sent(transaction) = stage else {
            self.give_back(stage).await;
            return self.failure(refusal);
        };
        self.wrote(self.settlements.dead(self.payment.key, &refusal).await, "dead");
        SettleResponse { transaction: transaction.0, ..self.failure(refusal) }
    }

    /// Makes the payment free again after an attempt that moved nothing and cannot any more.
    async fn give_back(&self, stage: Stage) {
        match stage {
            Stage::Unclaimed => {}
            Stage::Claimed => self.wrote(self.settlements.release(self.payment.key).await, "release"),
            Stage::Sent(transaction) => {
                let message = format!("transaction {transaction} was not sent after all");
                let refusal = Refusal::new(Reason::UnexpectedSettleError, message);
                self.wrote(self.settlements.dead(self.payment.key, &refusal).await, "dead");
            }
        }
    }

    /// The work ended without an answer: it panicked, or took too long and was stopped.
    async fn broken_off(&self, progress: &Progress, cause: impl std::error::Error + Send + Sync + 'static) -> Answer {
        error!(error = chain(&cause), "the settlement broke off");
        match progress.close() {
            Stage::Sent(transaction) => Ok(self.pending(&transaction)),
            stage => {
                self.give_back(stage).await;
                Err(NotSent::because(cause))
            }
        }
    }

    fn pending(&self, transaction: &TransactionId) -> SettleResponse {
        SettleResponse { transaction: transaction.0.clone(), ..self.failure(pending(transaction)) }
    }

    fn failure(&self, refusal: Refusal) -> SettleResponse {
        SettleResponse::failure(refusal, Some(self.network.clone()))
    }

    /// A line that the book did not take is not lost money: start-up recovery and the next settle find it out again.
    fn wrote(&self, written: Result<(), BookError>, line: &'static str) {
        if let Err(cause) = written {
            error!(payment = %self.payment.key, line, error = chain(&cause), "the settlements book did not take a line");
        }
    }
}

fn success(settlement: &Settlement) -> SettleResponse {
    SettleResponse {
        success: true,
        error_reason: None,
        error_message: None,
        payer: Some(settlement.payer.clone()),
        transaction: settlement.transaction.0.clone(),
        network: Some(settlement.network.clone()),
        amount: Some(settlement.amount),
        extra: None,
        extensions: None,
    }
}

/// An error and its causes, for the log.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |cause| cause.source())
        .fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
