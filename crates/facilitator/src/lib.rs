//! Verifies and settles x402 payments, in process or over HTTP.
//!
//! 1. A payment is served only if its exact scheme, network and protocol version are among the kinds that the
//!    schemes were configured with; a family such as `eip155` is never enough.
//! 2. `verify` moves no money and takes at most the node calls that the scheme makes; what the book knows to be used
//!    costs none.
//! 3. `settle` reads the book, settles a payment once, and gives every copy of the same request the same answer, also
//!    after a crash and on another node. Another request with the same authorization never gets that answer.
//! 4. Nothing durable is written before the scheme has verified, so forgeries cost a look into the book and no more.
//! 5. Nothing is broadcast that is not in the book. What was broadcast and is not known to have landed is pending:
//!    asking again reconciles, the reconciler does so unasked, and neither ever sends another transaction.
//! 6. A payment that was found good here for a request, and that somebody else broadcast before it was sent, is settled for
//!    that request by the transaction that moved the money. An authorization that was used before this process verified it
//!    buys nothing. What was verified is remembered in memory only: after a restart, or at another replica, such a payment
//!    is refused as used.
//!
//! - [`Local`]: the facilitator in this process. It knows no chain: schemes, book and clock are handed in.
//! - [`router`]: the same over HTTP (x402 v2 §7), for everybody or for [`Callers`] with keys and quotas.
//! - [`Hooks`]: code of the operator's own, around verifications and settlements.
//! - [`describe_metrics`]: what is counted and timed.
//!
//! It reads no file, no environment and no clock but the one that it is given and the runtime's timer.

mod answers;
mod book;
mod builder;
mod callers;
mod error;
mod flight;
mod fly;
mod hooks;
mod http;
mod kinds;
mod local;
mod metrics;
mod progress;
mod proven;
mod ready;
mod recover;
mod settle;
mod slots;

pub use builder::{BuildError, Builder};
pub use callers::{Caller, CallerLimits, Callers, CallersError, KeyDigest};
pub use hooks::{Before, Failure, HOOKS_TIMEOUT_SECONDS, HookContext, HookFuture, Hooks};
pub use http::{BODY_TIMEOUT_SECONDS, MAX_BODY_BYTES, RETRY_AFTER_SECONDS, router};
pub use local::{
    Local, MAX_LOOKUPS_IN_FLIGHT, MAX_SETTLES_IN_FLIGHT, MAX_VERIFIES_IN_FLIGHT, SETTLE_TIMEOUT_SECONDS, VERIFY_TIMEOUT_SECONDS,
};
pub use metrics::describe_metrics;
pub use ready::{NotReady, READY_TIMEOUT_SECONDS};
pub use recover::{RECONCILE_EVERY_SECONDS, RECONCILE_GRACE_SECONDS};
