//! Verifies and settles x402 payments, in process or over HTTP.
//!
//! 1. A payment is served only if its exact scheme, network and protocol version are among the kinds that the
//!    schemes were configured with; a family such as `eip155` is never enough.
//! 2. `verify` moves no money and takes at most the node calls that the scheme makes; what the book knows to be used
//!    costs none.
//! 3. `settle` claims the payment in the book, settles it once, and gives every copy of the same request the same
//!    answer. Another request with the same authorization never gets that answer.
//! 4. Nothing is broadcast that is not in the book. What was broadcast and is not known to have landed is pending:
//!    asking again reconciles, and never sends another transaction.
//!
//! - [`Local`]: the facilitator in this process. It knows no chain: schemes and book are handed in.
//! - [`router`]: the same over HTTP (x402 v2 §7).
//!
//! It reads no file, no environment and no clock but the runtime's timer.

mod error;
mod flight;
mod http;
mod kinds;
mod local;
mod progress;
mod ready;
mod settle;

pub use http::{BODY_TIMEOUT_SECONDS, MAX_BODY_BYTES, RETRY_AFTER_SECONDS, router};
pub use local::{
    BuildError, Builder, Local, MAX_SETTLES_IN_FLIGHT, MAX_VERIFIES_IN_FLIGHT, SETTLE_TIMEOUT_SECONDS, VERIFY_TIMEOUT_SECONDS,
};
pub use ready::READY_TIMEOUT_SECONDS;
