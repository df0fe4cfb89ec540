//! The settlements book, as the engine reads and writes it.
//!
//! A line that the book does not take changes no answer: what moved has moved. The entry stays `Sending`, and the
//! reconciler finds its end out again.

use std::sync::Arc;

use farthing_core::books::{BookError, Finding, SettlementEntry, SettlementQuery, Settlements};
use farthing_core::reason::Refusal;
use farthing_core::scheme::{PaymentKey, Settlement, TransactionId};
use farthing_core::time::{Clock, UnixSeconds};
use tracing::{error, info, warn};

use crate::error::chain;

/// The book, and the clock by which its lines are dated.
#[derive(Clone)]
pub(crate) struct Book {
    pub(crate) settlements: Arc<dyn Settlements>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Book {
    pub(crate) async fn find(&self, key: PaymentKey) -> Result<Option<SettlementEntry>, BookError> {
        self.settlements.find(key).await
    }

    pub(crate) async fn list(&self, query: &SettlementQuery) -> Result<Vec<SettlementEntry>, BookError> {
        self.settlements.list(query).await
    }

    pub(crate) fn now(&self) -> UnixSeconds {
        self.clock.now()
    }

    /// The money moved. Says whether the book took the line.
    pub(crate) async fn settled(&self, key: PaymentKey, settlement: &Settlement) -> bool {
        info!(
            payment = %key, transaction = %settlement.transaction, payer = %settlement.payer,
            amount_atomic = %settlement.amount, "settled"
        );
        took(key, "settled", &self.settlements.settled(key, settlement, self.now()).await)
    }

    /// Somebody else moved the money. `None` if the payment belongs to this request now, or else what the book has.
    pub(crate) async fn found(&self, finding: &Finding<'_>) -> Result<Option<SettlementEntry>, BookError> {
        let existing = self.settlements.found(finding).await?;
        if existing.is_none() {
            let Settlement { transaction, payer, amount, .. } = finding.settlement;
            warn!(
                payment = %finding.record.key, %transaction, %payer, amount_atomic = %amount,
                "settled by a transaction of somebody else, before it was sent from here"
            );
        }
        Ok(existing)
    }

    /// This transaction moved nothing and never will. Says whether the payment is dead in it now: if not, the book knows
    /// better.
    pub(crate) async fn dead(&self, key: PaymentKey, judged: &TransactionId, refusal: &Refusal) -> Result<bool, BookError> {
        info!(payment = %key, transaction = %judged, reason = %refusal.reason, "the transaction moved nothing");
        let written = self.settlements.dead(key, judged, refusal, self.now()).await;
        took(key, "dead", &written);
        written
    }

    /// What the entry says is so for good. Says whether the book took the line.
    pub(crate) async fn finished(&self, judged: &SettlementEntry) -> bool {
        took(judged.record.key, "finished", &self.settlements.finished(judged).await)
    }

    /// The chain does not show any more what settled the payment. Says whether the book took the line.
    pub(crate) async fn undone(&self, judged: &SettlementEntry) -> bool {
        let key = judged.record.key;
        warn!(payment = %key, transaction = %judged.transaction, "what settled a payment is no part of the chain any more");
        took(key, "undone", &self.settlements.undone(judged, self.now()).await)
    }
}

fn took<T>(key: PaymentKey, line: &'static str, written: &Result<T, BookError>) -> bool {
    if let Err(cause) = written {
        error!(payment = %key, line, error = chain(cause), "the settlements book did not take a line");
    }
    written.is_ok()
}
