//! Moves the money of one admitted request and decides whether its answer may go.
//!
//! The book says that the payment may be charged before the facilitator is asked to: whoever finds that entry after a
//! crash must not take the payment for free.
//!
//! An unknown outcome is never turned into failure: the money may have moved, so the payment stays bound to its request
//! and may be presented for it again.

use std::sync::Arc;

use farthing_core::books::BookError;
use farthing_core::facilitator::{Facilitator, FacilitatorError};
use farthing_core::network::Network;
use farthing_core::reason::{Reason, Refusal};
use farthing_core::scheme::{PaymentKey, TransactionId};
use farthing_core::wire::{PaymentRequest, SettleResponse};

use crate::gate::{Admitted, Order, Paid};

/// What became of the money, and so of the answer. Only `Charged` lets it go.
#[must_use]
#[derive(Clone, Debug, PartialEq)]
pub enum Settled {
    /// The money has moved: release the answer.
    Charged(SettleResponse),
    /// Nothing has moved, and this payment will not settle: drop the answer and ask for payment (HTTP 402).
    Refused(SettleResponse),
    /// Nothing was sent; the payment is as good as before: drop the answer (HTTP 503).
    NotSent(SettleResponse),
    /// The outcome is not known: withhold the answer; the same request may present the payment again (HTTP 503).
    Pending(SettleResponse),
    /// The facilitator's answer contradicts itself or the payment: treated as unknown (HTTP 502).
    Untrusted(SettleResponse),
}

impl Settled {
    /// Nothing is known, not even from the facilitator.
    pub(crate) fn unknown(network: Network) -> Self {
        Self::Pending(pending(Some(network), String::new()))
    }

    /// What the buyer is told.
    pub const fn response(&self) -> &SettleResponse {
        match self {
            Self::Charged(response)
            | Self::Refused(response)
            | Self::NotSent(response)
            | Self::Pending(response)
            | Self::Untrusted(response) => response,
        }
    }
}

/// Settles, and writes into the book what became of it.
pub(crate) async fn run(facilitator: Arc<dyn Facilitator>, admitted: Admitted) -> Settled {
    let Admitted { mut claim, order, .. } = admitted;
    let Order { request, paid, .. } = *order;
    let was_unknown = claim.is_resumed();
    let network = Some(paid.network.clone());
    let key = claim.key();
    if let Err(error) = claim.settling().await {
        log_unrecorded(key, &error);
        claim.give_back().await;
        return Settled::NotSent(not_sent(network));
    }
    match ask(&*facilitator, &request, key).await {
        Ok(response) if response.success => match contradiction(&response, &paid) {
            None => {
                claim.served(&TransactionId(response.transaction.clone())).await;
                let payer = response.payer.or(paid.payer);
                Settled::Charged(SettleResponse { payer, ..response })
            }
            Some(contradiction) => {
                tracing::error!(payment_key = %key, contradiction, "a settlement cannot be trusted; its answer was withheld");
                claim.give_back().await;
                Settled::Untrusted(pending(network, response.transaction))
            }
        },
        Ok(response) if response.error_reason == Some(Reason::SettlementPending) => {
            tracing::warn!(payment_key = %key, transaction = response.transaction, "a settlement is pending; its answer was withheld");
            claim.give_back().await;
            Settled::Pending(pending(network, response.transaction))
        }
        Ok(response) => {
            let error_reason = response.error_reason.unwrap_or(Reason::UnexpectedSettleError);
            let reason = error_reason.as_str();
            tracing::warn!(payment_key = %key, reason, was_unknown, "a settlement was refused; its answer was dropped");
            // Even after an unknown settlement: left resumable, it would have its work done for nothing again and again,
            // while a payment that is free again must first pass verification.
            claim.refused().await;
            Settled::Refused(SettleResponse { error_reason: Some(error_reason), network, ..response })
        }
        Err(error) => {
            log(key, &error, "a settlement got no answer; the work's answer was withheld");
            let nothing_sent = matches!(error, FacilitatorError::Unavailable(_)) && !was_unknown;
            if nothing_sent {
                claim.refused().await;
            } else {
                claim.give_back().await;
            }
            match error {
                _ if nothing_sent => Settled::NotSent(not_sent(network)),
                FacilitatorError::Malformed(_) => Settled::Untrusted(pending(network, String::new())),
                _ => Settled::Pending(pending(network, String::new())),
            }
        }
    }
}

/// Asks once, and exactly once more, with the same payment, if a transaction was sent and not yet seen to end.
async fn ask(
    facilitator: &dyn Facilitator,
    request: &PaymentRequest,
    key: PaymentKey,
) -> Result<SettleResponse, FacilitatorError> {
    let first = facilitator.settle(request).await?;
    let is_pending = !first.success && first.error_reason == Some(Reason::SettlementPending);
    if !is_pending || first.transaction.is_empty() {
        return Ok(first);
    }
    match facilitator.settle(request).await {
        Ok(second) => Ok(second),
        Err(error) => {
            log(key, &error, "a pending settlement could not be asked for again");
            Ok(first)
        }
    }
}

/// What a successful settlement says that cannot be, if anything.
fn contradiction(response: &SettleResponse, paid: &Paid) -> Option<&'static str> {
    let payer_differs = match (&response.payer, &paid.payer) {
        // Facilitators are free in the letter case of an address.
        (Some(settled), Some(verified)) => !settled.as_str().eq_ignore_ascii_case(verified.as_str()),
        (None, None) => true,
        _ => false,
    };
    if response.transaction.is_empty() {
        Some("transaction: expected one, got none")
    } else if response.network.as_ref() != Some(&paid.network) {
        Some("network: expected the offer's")
    } else if payer_differs {
        Some("payer: expected the one that was verified")
    } else if response.amount.is_some_and(|amount| amount != paid.amount) {
        Some("amount: expected the offer's")
    } else {
        None
    }
}

fn log(key: PaymentKey, error: &FacilitatorError, what: &str) {
    let cause = error as &dyn std::error::Error;
    tracing::warn!(payment_key = %key, cause, "{what}");
}

fn log_unrecorded(key: PaymentKey, error: &BookError) {
    let cause = error as &dyn std::error::Error;
    tracing::error!(payment_key = %key, cause, "a settlement could not be recorded and was not asked for; its answer was withheld");
}

fn pending(network: Option<Network>, transaction: String) -> SettleResponse {
    let message = "it is not known whether the payment has settled; present the same payment for the same request again, \
                   and do not sign another";
    SettleResponse { transaction, ..SettleResponse::failure(Refusal::new(Reason::SettlementPending, message), network) }
}

fn not_sent(network: Option<Network>) -> SettleResponse {
    let message = "the payment could not be settled right now and nothing was charged; present the same payment again later";
    SettleResponse::failure(Refusal::new(Reason::UnexpectedSettleError, message), network)
}
