//! What a settlement is answered, and by what a copy of a request is known.

use farthing_core::books::{Fingerprint, SettlementEntry, SettlementState};
use farthing_core::network::Network;
use farthing_core::reason::{Reason, Refusal};
use farthing_core::scheme::{PaymentKey, Settlement, TransactionId};
use farthing_core::wire::{PaymentRequest, SettleResponse};
use serde_json::json;
use sha2::{Digest, Sha256};

/// Room for most requests as JSON, in bytes, so that it need not grow while it is written.
const USUAL_REQUEST_BYTES: usize = 2 * 1024;

/// The digest by which a copy of a request is known: of the whole request, as it came. A digest, so that the book holds
/// no signature.
pub(crate) fn fingerprint(request: &PaymentRequest) -> Result<Fingerprint, serde_json::Error> {
    let mut text = Vec::with_capacity(USUAL_REQUEST_BYTES);
    serde_json::to_writer(&mut text, request)?;
    Ok(Fingerprint(format!("{:x}", Sha256::digest(text))))
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

/// The answer where a transaction is under way, with the id under which it can be looked up.
pub(crate) fn pending_response(key: PaymentKey, transaction: &TransactionId, network: Network) -> SettleResponse {
    SettleResponse {
        transaction: transaction.0.clone(),
        extra: Some(json!({"settlementId": key.to_string()})),
        ..SettleResponse::failure(pending(transaction), Some(network))
    }
}

/// What the book says to a request, without a look at the chain; nothing where the payment may be sent.
pub(crate) fn known(entry: &SettlementEntry, request: &Fingerprint, network: &Network) -> Option<SettleResponse> {
    let network = || network.clone();
    let is_copy = entry.request == *request;
    match &entry.state {
        SettlementState::Settled(settlement) if is_copy => Some(success(settlement)),
        SettlementState::Settled(_) => Some(SettleResponse::failure(already_used(), Some(network()))),
        SettlementState::Sending(transaction) if is_copy => Some(pending_response(entry.record.key, transaction, network())),
        SettlementState::Sending(_) => Some(SettleResponse::failure(in_flight(), Some(network()))),
        SettlementState::Dead(_) => None,
    }
}

/// The answer where the money moved.
pub(crate) fn success(settlement: &Settlement) -> SettleResponse {
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
