//! Hooks: the seller's own code at the turns of a payment's life, by the names and meanings of the official SDKs.
//!
//! | hook | when | may | if one fails, panics or takes too long |
//! |---|---|---|---|
//! | [`on_protected_request`](Hooks::on_protected_request) | a request comes, whatever it brings | grant, or abort (403) | 503 |
//! | [`on_signed_in`](Hooks::on_signed_in) | somebody has signed in | grant, or turn away | 503, unless it pays |
//! | [`on_before_verify`](Hooks::on_before_verify) | a payment is claimed | abort, or answer instead | the payment is not taken: 503 |
//! | [`on_after_verify`](Hooks::on_after_verify) | it was found good | abort, turn away, or answer in the handler's place | not taken: 503 |
//! | [`on_verify_failure`](Hooks::on_verify_failure) | it was not | say that it is good | the failure stands |
//! | [`on_before_settle`](Hooks::on_before_settle) | nobody was asked to settle yet | abort, or say that it is settled | nothing is sent: 503 |
//! | [`on_after_settle`](Hooks::on_after_settle) | the money has moved | look | it is logged |
//! | [`on_settle_failure`](Hooks::on_settle_failure) | it has not, or that is not known | say that it is settled | the failure stands |
//! | [`on_verified_payment_canceled`](Hooks::on_verified_payment_canceled) | a good payment ends without its settlement | look | it is logged |
//!
//! 1. Several hooks are asked in the order in which they were added. The first one that does not just go on is the last one
//!    asked; but after a verification all are asked, because each of them may still abort.
//! 2. What does not fit the route, or is in the book already, is refused before any hook but the first of the table. A payment
//!    that is presented again because it may have been charged was verified when it first came: only the hooks around a
//!    settlement hear of it, if the book does not know what it came to, and an abort leaves it unknown.
//! 3. No hook can end what is not known. To a settlement whose outcome is unknown hooks may look and not answer; the payment
//!    stays bound to its request.
//! 4. What a hook says to be settled is served, and marked for good: the settlement, in the book and to the buyer, has
//!    `settledBy: "hook"` in its `extra`, and no transaction unless the hook names one.
//! 5. Hooks are never shown signatures, payments or sign-ins.
//! 6. All hooks together have [`HOOKS_TIMEOUT_SECONDS`] at one moment.
//!
//! ```
//! use std::sync::Arc;
//!
//! use farthing_core::reason::{Reason, Refusal};
//! use farthing_core::wire::VerifyResponse;
//! use farthing_server::Server;
//! use farthing_server::hooks::{AfterVerify, HookContext, HookFuture, Hooks};
//!
//! /// Sells nothing to some.
//! struct Blocklist(Vec<String>);
//!
//! impl Hooks for Blocklist {
//!     fn on_after_verify<'a>(
//!         &'a self,
//!         context: &'a HookContext,
//!         _: &'a VerifyResponse,
//!     ) -> HookFuture<'a, AfterVerify> {
//!         Box::pin(async move {
//!             let is_blocked = context.payer.as_ref().is_some_and(|payer| self.0.iter().any(|one| one == payer.as_str()));
//!             let refusal = || Refusal::new(Reason::from("payer_blocked"), "nothing is sold to this account");
//!             Ok(if is_blocked { AfterVerify::Abort(refusal()) } else { AfterVerify::Continue })
//!         })
//!     }
//! }
//!
//! let builder = Server::builder().hooks(Arc::new(Blocklist(Vec::new())));
//! # drop(builder);
//! ```

mod list;
mod watch;

use std::fmt;
use std::future::ready;

use bytes::Bytes;
use farthing_core::asset::AccountId;
use farthing_core::reason::Refusal;
use farthing_core::scheme::PaymentKey;
use farthing_core::wire::{PaymentRequirements, SettleResponse, VerifyResponse, Version};
use http::{Extensions, HeaderMap, Method, StatusCode};

use crate::extensions::Visitor;

pub use farthing_core::hooks::{Before, Failure, HOOKS_TIMEOUT_SECONDS, HookFailed, HookFuture};
pub(crate) use list::{HookList, log_failed};
pub(crate) use watch::Watch;

/// The seller's own code at the turns of a payment's life. Each method does nothing unless it is written.
pub trait Hooks: Send + Sync {
    /// What it is called in logs; asked once.
    fn name(&self) -> &str {
        std::any::type_name::<Self>()
    }

    /// Before anything is done for a request to a priced route, whether it pays or not.
    fn on_protected_request<'a>(&'a self, request: &'a ProtectedRequest) -> HookFuture<'a, Access> {
        let _ = request;
        Box::pin(ready(Ok(Access::Continue)))
    }

    /// Whether this one asks visitors ([`Self::on_signed_in`]). Where none does, a sign-in that opens nothing is not used up.
    fn asks_visitors(&self) -> bool {
        false
    }

    /// After a good sign-in, which is used up by now; only where [`Self::asks_visitors`] says so.
    fn on_signed_in<'a>(&'a self, signed_in: &'a SignedIn) -> HookFuture<'a, Welcome> {
        let _ = signed_in;
        Box::pin(ready(Ok(Welcome::Continue)))
    }

    /// Whether every payment must be verified before it is settled, on a route of the flow `upfront` too, so that
    /// [`Self::on_after_verify`] is asked about each of them.
    fn verifies_first(&self) -> bool {
        false
    }

    /// Before a payment is verified. It is claimed for this request, so no other request has it. On a route of the flow
    /// `upfront` too, where nobody verifies but the settlement.
    fn on_before_verify<'a>(&'a self, context: &'a HookContext) -> HookFuture<'a, Before<VerifyResponse>> {
        let _ = context;
        Box::pin(ready(Ok(Before::Continue)))
    }

    /// After a payment was found good, by the facilitator or by the word of a hook.
    fn on_after_verify<'a>(&'a self, context: &'a HookContext, verified: &'a VerifyResponse) -> HookFuture<'a, AfterVerify> {
        let _ = (context, verified);
        Box::pin(ready(Ok(AfterVerify::Continue)))
    }

    /// After a payment was not found good. If a hook says that it is, it is taken; it is still settled by the facilitator.
    fn on_verify_failure<'a>(
        &'a self,
        context: &'a HookContext,
        failure: &'a Failure,
    ) -> HookFuture<'a, Option<VerifyResponse>> {
        let _ = (context, failure);
        Box::pin(ready(Ok(None)))
    }

    /// Before the facilitator is asked to settle: for `context.requirements.amount`, which is what is charged now. Asked again
    /// wherever the facilitator is: who skips must do so each time.
    fn on_before_settle<'a>(&'a self, context: &'a HookContext, phase: SettlePhase) -> HookFuture<'a, Before<SettleResponse>> {
        let _ = (context, phase);
        Box::pin(ready(Ok(Before::Continue)))
    }

    /// After the money has moved, or a hook said in advance that it is settled; before the answer goes.
    fn on_after_settle<'a>(
        &'a self,
        context: &'a HookContext,
        phase: SettlePhase,
        settled: &'a SettleResponse,
    ) -> HookFuture<'a, ()> {
        let _ = (context, phase, settled);
        Box::pin(ready(Ok(())))
    }

    /// After a payment was not settled, or not as far as is known. If a hook says that it is settled, its answer goes, unless
    /// it is not known what became of the payment.
    fn on_settle_failure<'a>(
        &'a self,
        context: &'a HookContext,
        phase: SettlePhase,
        failure: &'a Failure,
    ) -> HookFuture<'a, Option<SettleResponse>> {
        let _ = (context, phase, failure);
        Box::pin(ready(Ok(None)))
    }

    /// After a payment that was found good, or settled before the work, has ended without an answer that is paid for. The book
    /// says so already.
    fn on_verified_payment_canceled<'a>(
        &'a self,
        context: &'a HookContext,
        cancellation: &'a Cancellation,
    ) -> HookFuture<'a, ()> {
        let _ = (context, cancellation);
        Box::pin(ready(Ok(())))
    }
}

/// A request to a priced route, without what it pays or signs in with.
#[derive(Clone)]
#[non_exhaustive]
pub struct ProtectedRequest {
    /// The method.
    pub method: Method,
    /// The URL of what is asked for, with its query, as the terms name it.
    pub resource_url: String,
    /// The headers. Those of the protocol are left out.
    pub headers: HeaderMap,
    /// Whether it brings a payment. Nobody has looked at it yet.
    pub has_payment: bool,
    /// What those before this layer have put there.
    pub extensions: Extensions,
}

/// Somebody who has signed in, as hooks see it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SignedIn {
    /// Who it is.
    pub visitor: Visitor,
    /// Whether what is asked for is open to the visitor, who has paid for it.
    pub has_paid: bool,
    /// The method.
    pub method: Method,
    /// The URL of what is asked for.
    pub resource_url: String,
    /// What those before this layer have put there.
    pub extensions: Extensions,
}

/// A payment and what it is to buy, as hooks see it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HookContext {
    /// The URL of what is asked for.
    pub resource_url: String,
    /// The offer that the payment takes; once it is to be settled, with what is charged of it.
    pub requirements: PaymentRequirements,
    /// Who pays, as far as that is known.
    pub payer: Option<AccountId>,
    /// What makes the payment unique.
    pub payment_key: PaymentKey,
    /// The protocol version that the buyer speaks.
    pub version: Version,
}

/// What a hook says to a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Go on.
    #[default]
    Continue,
    /// It is served, and nobody pays.
    Grant,
    /// It is refused (HTTP 403), whatever it pays, for this reason.
    Abort(String),
}

/// What a hook says to somebody who has signed in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Welcome {
    /// Go on: who has paid is served, and who has not is asked to pay.
    #[default]
    Continue,
    /// The visitor is served, and does not pay.
    Grant,
    /// The visitor is not served.
    TurnAway(TurnedAway),
}

/// An answer to somebody who is not served, whatever is paid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnedAway {
    /// The status, such as 403 or 429.
    pub status: StatusCode,
    /// A stable code.
    pub error: &'static str,
    /// What was expected, and what to do.
    pub message: String,
    /// After how many seconds to come back, if that is of use.
    pub retry_after_seconds: Option<u64>,
}

/// What a hook says to a payment that was found good.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AfterVerify {
    /// Go on.
    #[default]
    Continue,
    /// The payment is refused all the same.
    Abort(Refusal),
    /// The request is not served, and no other payment would help.
    TurnAway(TurnedAway),
    /// The handler does not run: this is the answer that is paid for.
    SkipHandler(HandlerAnswer),
}

/// An answer in the place of a handler's.
#[derive(Clone, PartialEq, Eq)]
pub struct HandlerAnswer {
    /// Its media type, such as `application/json`.
    pub content_type: String,
    /// The body.
    pub body: Bytes,
}

/// When a settlement comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SettlePhase {
    /// Before the work: on a route of the flow `upfront`, or of a payment that is presented again.
    BeforeHandler,
    /// After it.
    AfterHandler,
}

/// How a payment ended that was found good and bought nothing.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Cancellation {
    /// Why.
    pub reason: CancelReason,
    /// The status that the handler answered with, if it did.
    pub status: Option<u16>,
    /// The settlement, if the money moved before the work. It stays with the seller, and the buyer may present the payment
    /// again.
    pub settled: Option<SettleResponse>,
}

/// Why a payment that was found good bought nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CancelReason {
    /// The handler panicked or gave no answer, or its caller left before it had one.
    HandlerThrew,
    /// The handler answered that it failed, or with something that cannot go out.
    HandlerFailed,
    /// A hook did not let it pass after it was verified.
    AfterVerifyAborted,
}

impl SettlePhase {
    /// The official name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BeforeHandler => "before-handler",
            Self::AfterHandler => "after-handler",
        }
    }
}

impl CancelReason {
    /// The official name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HandlerThrew => "handler_threw",
            Self::HandlerFailed => "handler_failed",
            Self::AfterVerifyAborted => "after_verify_aborted",
        }
    }
}

impl HandlerAnswer {
    /// JSON.
    pub fn json(value: &serde_json::Value) -> Self {
        Self { content_type: "application/json".to_owned(), body: value.to_string().into() }
    }
}

impl fmt::Debug for HandlerAnswer {
    /// Answers are their buyers' alone.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "HandlerAnswer({:?}, {} bytes)", self.content_type, self.body.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_not_printed() {
        let answer = HandlerAnswer { content_type: "text/plain".to_owned(), body: "the report".into() };
        assert_eq!(format!("{answer:?}"), r#"HandlerAnswer("text/plain", 10 bytes)"#);
    }
}
