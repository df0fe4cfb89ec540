//! Version 2 of the messages (x402 v2 §5), which is also how the rest of Farthing sees version 1.
//!
//! - [`PaymentRequired`], [`PaymentRequirements`], [`ResourceInfo`]: what a server asks for.
//! - [`PaymentPayload`], [`PaymentRequest`]: what a client signed, and what a server asks its facilitator about it.
//! - [`VerifyResponse`], [`SettleResponse`], [`SupportedResponse`]: what a facilitator answers.

mod answers;
mod extensions;
mod lenient;
mod payment;
mod terms;

pub use answers::{SettleResponse, SupportedKind, SupportedResponse, VerifyResponse};
pub use extensions::Extensions;
pub(super) use lenient::seconds;
pub use payment::{Accepted, Payload, PaymentPayload, PaymentRequest};
pub use terms::{PaymentRequired, PaymentRequirements, ResourceInfo, UnreadableOffer};
