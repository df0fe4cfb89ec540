//! The facilitator as its users see it, in process or remote.

use crate::wire::{PaymentRequest, SettleResponse, SupportedResponse, VerifyResponse};
use crate::{BoxFuture, Source};

/// Why a facilitator gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum FacilitatorError {
    /// It could not be reached, or could not reach its chain. Nothing was sent; try again later.
    #[error("the facilitator is unavailable")]
    Unavailable(#[source] Source),
    /// It answered something that is no answer of the protocol.
    #[error("the facilitator's answer is not one of the protocol: {0}")]
    Malformed(String),
    /// A settle request was sent and no answer came: the money may have moved. Ask again with the same payment.
    #[error("the facilitator did not say whether it settled")]
    Indeterminate(#[source] Source),
}

/// Verifies and settles payments.
pub trait Facilitator: Send + Sync {
    /// What it can do.
    fn supported(&self) -> BoxFuture<'_, Result<SupportedResponse, FacilitatorError>>;

    /// Checks a payment; no money moves.
    fn verify<'a>(&'a self, request: &'a PaymentRequest) -> BoxFuture<'a, Result<VerifyResponse, FacilitatorError>>;

    /// Moves the money, once. The same request gets the same answer again, so that a lost answer loses no money; another
    /// request with a payment that was settled is refused.
    fn settle<'a>(&'a self, request: &'a PaymentRequest) -> BoxFuture<'a, Result<SettleResponse, FacilitatorError>>;
}
