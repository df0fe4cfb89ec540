//! Why a payment does not let its request in, and in which words.

use farthing_core::books::{Answered, BookError, Delivery, KEEP_EXPIRED_SECONDS, Presented};
use farthing_core::reason::{Reason, Refusal};
use farthing_core::wire::VerifyResponse;

use crate::gate::{Denied, Repeated};
use crate::hooks::Failure;
use crate::settle::Settled;

/// Why a payment does not let its request in.
pub(crate) enum Stop {
    Repeated(Box<Repeated>),
    Refused(Refusal),
    Unsettled(Settled),
    Denied(Denied),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Denied> for Stop {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}

/// Why a payment was not found good.
pub(crate) fn refusal_of(verdict: VerifyResponse) -> Refusal {
    let reason = verdict.invalid_reason.unwrap_or(Reason::UnexpectedVerifyError);
    let message = verdict.invalid_message.unwrap_or_else(|| "the facilitator refused the payment".to_owned());
    Refusal::new(reason, message)
}

/// What hooks hear of a payment that was not found good.
pub(crate) fn failure_of(stop: &Stop) -> Failure {
    match stop {
        Stop::Refused(refusal) => Failure::Refused(refusal.clone()),
        Stop::Denied(Denied::Unavailable(error) | Denied::Malformed(error)) => Failure::Unavailable(error.to_string()),
        Stop::Denied(denied) => Failure::Unavailable(denied.to_string()),
        Stop::Repeated(_) | Stop::Unsettled(_) => Failure::Unknown { transaction: None, message: String::new() },
    }
}

/// Why a payment is refused that is new to the book: it may have forgotten it.
pub(crate) fn forgotten(presented: &Presented) -> Option<Refusal> {
    let now = presented.now;
    let at = presented.expires_at.filter(|at| at.plus(KEEP_EXPIRED_SECONDS) < now)?;
    let expected = format!("one that expired less than {KEEP_EXPIRED_SECONDS} seconds ago, if at all");
    let got = format!("one that expired at {at}, and it is {now} now");
    Some(Refusal::mismatch(Reason::PaymentExpired, "payment", expected, got))
}

/// An answer that was bought before.
pub(crate) fn repeated(answered: Answered) -> Stop {
    let Answered { receipt, answer, .. } = answered;
    match serde_json::from_str(&receipt.settlement) {
        Ok(settlement) => Stop::Repeated(Box::new(Repeated { settlement, head: answer.head, body: answer.body })),
        Err(error) => Denied::Book(BookError(Box::new(error))).into(),
    }
}

/// Why nobody is charged for a purchase that another payment has made, or may have made.
pub(crate) fn bought_already(delivery: &Delivery) -> Stop {
    match delivery {
        Delivery::Served(transaction) => Refusal::new(
            Reason::PaymentAlreadyUsed,
            format!(
                "the purchase of this name was made with another payment, in transaction {transaction}, and its answer is not kept \
                 any more; nothing was charged by this request; for another purchase choose another name"
            ),
        ),
        _ => Refusal::new(
            Reason::SettlementPending,
            "it is not known whether the purchase of this name has been paid for with another payment; nothing was charged by this \
             request; present that first payment for the same request again",
        ),
    }
    .into()
}

pub(crate) fn taken_already(delivery: &Delivery) -> Stop {
    let used = |message: String| Refusal::new(Reason::PaymentAlreadyUsed, message).into();
    match delivery {
        Delivery::Claimed | Delivery::Settling => Denied::InFlight.into(),
        // Whoever was paid can find the answer by the transaction, if it got lost on its way to the buyer.
        Delivery::Served(transaction) if transaction.0.is_empty() => used(
            "this payment has bought something already, which cost nothing; for another purchase sign a new one".to_owned(),
        ),
        Delivery::Served(transaction) => used(format!(
            "this payment has bought something already, in transaction {transaction}; if that answer never came, present the same \
             payment for the same request again in a minute, or show the seller the transaction; for another purchase sign a new one"
        )),
        Delivery::Unsettled => used(
            "this payment was presented for another request and may have settled; present it there, or sign a new one"
                .to_owned(),
        ),
    }
}
