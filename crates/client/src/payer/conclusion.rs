//! How a payment ended: what the server said, and what the ledger keeps of it.

use farthing_core::books::Reservation;
use farthing_core::wire::SettleResponse;
use metrics::counter;

use super::{Payer, Promised, named};
use crate::settlement::{PaymentFacts, PaymentOutcome};

impl Payer {
    /// Takes in what the server said of a payment that was sent. The reservation is kept for good if the payment
    /// settled, and stays open otherwise: a signed payment can be taken until it expires.
    pub async fn conclude(&self, promised: Promised, settlement: Option<&SettleResponse>) -> PaymentFacts {
        let mut facts = promised.facts.clone();
        if let Some(settlement) = settlement {
            facts.heard(settlement);
        }
        for doubt in &facts.doubts {
            tracing::warn!(network = %facts.network, "the server's settlement is not what was signed: {doubt}");
        }
        if facts.outcome == PaymentOutcome::Settled {
            named::settled(&promised, self.now()).await;
            let reservation = promised.reservation;
            if let Err(error) = self.ledger.commit(reservation, facts.transaction.clone()).await {
                // It stays reserved, and so counts as spent all the same.
                tracing::error!(reservation = reservation.0, "a settled payment could not be written down: {error}");
            }
        }
        if facts.outcome == PaymentOutcome::Failed {
            named::failed(&promised).await;
        }
        count(facts.outcome);
        facts
    }

    /// Takes a payment back that was never sent: nothing can be taken, and nothing counts as spent, unless the same payment was
    /// given out under its name another time.
    pub async fn withdraw(&self, promised: Promised) {
        counter!("farthing_payments_total", "outcome" => "withdrawn").increment(1);
        if named::is_withdrawn(&promised).await {
            self.release(promised.reservation).await;
        }
    }

    pub(super) async fn release(&self, reservation: Reservation) {
        if let Err(error) = self.ledger.release(reservation).await {
            tracing::error!(reservation = reservation.0, "an unused reservation could not be released: {error}");
        }
    }
}

/// Counts a payment that was sent.
fn count(outcome: PaymentOutcome) {
    let counter = match outcome {
        PaymentOutcome::Settled => counter!("farthing_payments_total", "outcome" => "settled"),
        PaymentOutcome::Unconfirmed => counter!("farthing_payments_total", "outcome" => "unconfirmed"),
        PaymentOutcome::Failed => counter!("farthing_payments_total", "outcome" => "failed"),
    };
    counter.increment(1);
}
