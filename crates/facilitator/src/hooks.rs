//! What code of the operator's own may say to verifications and settlements: the official SDK's lifecycle hooks.
//!
//! | moment | a hook may | if one fails, panics or takes too long |
//! |---|---|---|
//! | [`Hooks::on_before_verify`] | abort, or answer instead | the payment is not checked: unavailable |
//! | [`Hooks::on_after_verify`] | look | nothing was promised yet: unavailable |
//! | [`Hooks::on_verify_failure`] | answer instead | the failure stands |
//! | [`Hooks::on_before_settle`] | abort, or answer instead | nothing is sent: unavailable |
//! | [`Hooks::on_after_settle`] | look | the money has moved: it is logged, and the answer stands |
//! | [`Hooks::on_settle_failure`] | answer instead | the failure stands |
//!
//! 1. Several hooks are asked in the order in which they were added; the first one that does not just go on is the last one
//!    asked.
//! 2. What cannot be read, or is not served here, is refused before any hook.
//! 3. The book goes before hooks. A payment that is settled or under way is answered from there, and no hook hears of it: the
//!    hooks around a settlement are asked once, by the request that is about to send, not by the copies that wait for it.
//! 4. No hook can end what is not known. To a settlement whose outcome is unknown, and to a payment that the book has for
//!    another request, hooks may look and not answer.
//! 5. An answer of a hook's own is logged as such. It enters no book, proves no payment, and settles nothing: a payment whose
//!    verification a hook has skipped is verified all the same before it is settled.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use farthing_core::books::PaymentRecord;
use farthing_core::reason::{Reason, Refusal};
use farthing_core::scheme::TransactionId;
use farthing_core::wire::{PaymentRequest, SettleResponse, VerifyResponse};
use farthing_core::{BoxFuture, Source};
use futures_util::FutureExt as _;
use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

use crate::error::{NoAnswer, chain};
use crate::flight::Answer;

/// How long all hooks together may take at one moment, in seconds.
pub const HOOKS_TIMEOUT_SECONDS: u64 = 5;

/// What a hook comes to; an error is one of its own, not of the payment.
pub type HookFuture<'a, T> = BoxFuture<'a, Result<T, Source>>;

/// A payment, as hooks see it.
#[derive(Clone, Copy, Debug)]
pub struct HookContext<'a> {
    /// The request that brings it.
    pub request: &'a PaymentRequest,
    /// What the book keeps of it, or would.
    pub record: &'a PaymentRecord,
    /// Whose request it is, where callers have names.
    pub caller: Option<&'a str>,
}

/// What a hook says before something is done.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Before<T> {
    /// Go on.
    #[default]
    Continue,
    /// Don't: the payment is refused.
    Abort(Refusal),
    /// Don't: this is the answer.
    Skip(T),
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The payment was refused; nothing of it has moved by what was sent from here.
    Refused(Refusal),
    /// It could not be done now, and nothing was sent.
    Unavailable(String),
    /// A transaction may have been sent, and it is not known what became of it. What a hook answers to that is not passed on.
    Unknown {
        /// The transaction, if there is one.
        transaction: Option<TransactionId>,
        /// What is known.
        message: String,
    },
}

/// Code of the operator's own, around verifications and settlements. Every method has a default that changes nothing.
///
/// ```
/// use farthing_core::reason::{Reason, Refusal};
/// use farthing_core::wire::SettleResponse;
/// use farthing_facilitator::{Before, HookContext, HookFuture, Hooks};
///
/// struct Blocklist(Vec<String>);
///
/// impl Hooks for Blocklist {
///     fn on_before_settle<'a>(&'a self, context: &'a HookContext<'a>) -> HookFuture<'a, Before<SettleResponse>> {
///         Box::pin(async move {
///             if self.0.iter().all(|blocked| *blocked != context.record.payer.as_str()) {
///                 return Ok(Before::Continue);
///             }
///             Ok(Before::Abort(Refusal::new(Reason::from("payer_blocked"), "this facilitator does not settle for the payer")))
///         })
///     }
/// }
/// ```
pub trait Hooks: Send + Sync {
    /// What it is called in logs.
    fn name(&self) -> &str {
        std::any::type_name::<Self>()
    }

    /// Before a payment is checked.
    fn on_before_verify<'a>(&'a self, context: &'a HookContext<'a>) -> HookFuture<'a, Before<VerifyResponse>> {
        let _ = context;
        ready(Before::Continue)
    }

    /// After a payment was found good, by the facilitator or by a hook that answered to its failure.
    fn on_after_verify<'a>(&'a self, context: &'a HookContext<'a>, answer: &'a VerifyResponse) -> HookFuture<'a, ()> {
        let _ = (context, answer);
        ready(())
    }

    /// After a payment was not found good. Another answer may be given instead, except for a payment that the book has.
    fn on_verify_failure<'a>(
        &'a self,
        context: &'a HookContext<'a>,
        failure: &'a Failure,
    ) -> HookFuture<'a, Option<VerifyResponse>> {
        let _ = (context, failure);
        ready(None)
    }

    /// Before a payment is verified once more and sent.
    fn on_before_settle<'a>(&'a self, context: &'a HookContext<'a>) -> HookFuture<'a, Before<SettleResponse>> {
        let _ = context;
        ready(Before::Continue)
    }

    /// After a payment was settled, before whoever asked is told.
    fn on_after_settle<'a>(&'a self, context: &'a HookContext<'a>, answer: &'a SettleResponse) -> HookFuture<'a, ()> {
        let _ = (context, answer);
        ready(())
    }

    /// After a payment was not settled, or not as far as is known. Another answer may be given instead, unless it is unknown
    /// what became of the payment or the book has it for another request.
    fn on_settle_failure<'a>(
        &'a self,
        context: &'a HookContext<'a>,
        failure: &'a Failure,
    ) -> HookFuture<'a, Option<SettleResponse>> {
        let _ = (context, failure);
        ready(None)
    }
}

fn ready<'a, T: Send + 'a>(value: T) -> HookFuture<'a, T> {
    Box::pin(std::future::ready(Ok(value)))
}

/// Every hook, in order.
#[derive(Clone, Default)]
pub(crate) struct HookList(Arc<[Arc<dyn Hooks>]>);

/// A hook did not do its part.
#[derive(Debug, thiserror::Error)]
#[error("{moment} of the hook {hook} {why}")]
pub(crate) struct HookFailed {
    moment: &'static str,
    hook: String,
    why: Why,
}

#[derive(Debug, thiserror::Error)]
enum Why {
    #[error("failed: {}", chain(&**.0))]
    Failed(Source),
    #[error("panicked")]
    Panicked,
    #[error("took longer than the {HOOKS_TIMEOUT_SECONDS} s that all hooks have")]
    TooSlow,
}

impl HookList {
    pub(crate) fn new(hooks: Vec<Arc<dyn Hooks>>) -> Self {
        Self(hooks.into())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) async fn before_verify(&self, context: &HookContext<'_>) -> Result<Before<VerifyResponse>, HookFailed> {
        self.before("on_before_verify", |hook| hook.on_before_verify(context)).await
    }

    pub(crate) async fn before_settle(&self, context: &HookContext<'_>) -> Result<Before<SettleResponse>, HookFailed> {
        self.before("on_before_settle", |hook| hook.on_before_settle(context)).await
    }

    /// All of them look; the first that fails is told.
    pub(crate) async fn after_verify(&self, context: &HookContext<'_>, answer: &VerifyResponse) -> Result<(), HookFailed> {
        self.after("on_after_verify", |hook| hook.on_after_verify(context, answer)).await
    }

    /// What a hook answers instead, if one does and may.
    pub(crate) async fn verify_failure(&self, context: &HookContext<'_>, failure: &Failure) -> Option<VerifyResponse> {
        self.failed("on_verify_failure", failure, |hook| hook.on_verify_failure(context, failure)).await
    }

    /// Shows hooks what a settlement came to, and passes on what one answers instead, if one does and may.
    pub(crate) async fn settled(&self, context: &HookContext<'_>, answer: Answer) -> Answer {
        let failure = match &answer {
            Ok(settled) if settled.success => {
                let looked = self.after("on_after_settle", |hook| hook.on_after_settle(context, settled)).await;
                if let Err(failed) = looked {
                    warn!(error = chain(&failed), "a hook failed after a settlement, which stands");
                }
                return answer;
            }
            failed => Failure::of(failed),
        };
        let instead = self.failed("on_settle_failure", &failure, |hook| hook.on_settle_failure(context, &failure)).await;
        instead.map_or(answer, Ok)
    }

    async fn before<'a, T>(
        &'a self,
        moment: &'static str,
        ask: impl Fn(&'a dyn Hooks) -> HookFuture<'a, Before<T>>,
    ) -> Result<Before<T>, HookFailed> {
        let deadline = deadline();
        for hook in self.0.iter() {
            match asked(&**hook, moment, deadline, &ask).await? {
                Before::Continue => {}
                Before::Abort(refusal) => {
                    info!(hook = hook.name(), moment, reason = %refusal.reason, "a hook refuses the payment");
                    return Ok(Before::Abort(refusal));
                }
                Before::Skip(answer) => {
                    warn!(hook = hook.name(), moment, "a hook answers in place of the facilitator; it enters no book");
                    return Ok(Before::Skip(answer));
                }
            }
        }
        Ok(Before::Continue)
    }

    async fn after<'a>(
        &'a self,
        moment: &'static str,
        ask: impl Fn(&'a dyn Hooks) -> HookFuture<'a, ()>,
    ) -> Result<(), HookFailed> {
        let deadline = deadline();
        let mut first = Ok(());
        for hook in self.0.iter() {
            let looked = asked(&**hook, moment, deadline, &ask).await;
            first = first.and(looked);
        }
        first
    }

    async fn failed<'a, T>(
        &'a self,
        moment: &'static str,
        failure: &Failure,
        ask: impl Fn(&'a dyn Hooks) -> HookFuture<'a, Option<T>>,
    ) -> Option<T> {
        let deadline = deadline();
        for hook in self.0.iter() {
            match asked(&**hook, moment, deadline, &ask).await {
                Ok(None) => {}
                Ok(Some(_)) if !failure.may_be_answered() => {
                    warn!(
                        hook = hook.name(),
                        moment, "a hook's answer is not passed on: what became of the payment is not its to say"
                    );
                }
                Ok(Some(answer)) => {
                    warn!(hook = hook.name(), moment, "a hook answers in place of the facilitator; it enters no book");
                    return Some(answer);
                }
                Err(failed) => warn!(error = chain(&failed), "a hook failed after a failure, which stands"),
            }
        }
        None
    }
}

fn deadline() -> Instant {
    Instant::now() + Duration::from_secs(HOOKS_TIMEOUT_SECONDS)
}

/// What one hook says.
async fn asked<'a, T>(
    hook: &'a dyn Hooks,
    moment: &'static str,
    deadline: Instant,
    ask: &impl Fn(&'a dyn Hooks) -> HookFuture<'a, T>,
) -> Result<T, HookFailed> {
    // It may panic before there is a future.
    let asked = AssertUnwindSafe(async { ask(hook).await }).catch_unwind();
    let why = match timeout_at(deadline, asked).await {
        Ok(Ok(Ok(said))) => return Ok(said),
        Ok(Ok(Err(error))) => Why::Failed(error),
        Ok(Err(_panic)) => Why::Panicked,
        Err(_elapsed) => Why::TooSlow,
    };
    Err(HookFailed { moment, hook: hook.name().to_owned(), why })
}

impl Failure {
    /// Of what came of a settlement that did not succeed.
    fn of(answer: &Answer) -> Self {
        match answer {
            Ok(answer) => {
                let transaction = Some(answer.transaction.clone()).filter(|id| !id.is_empty()).map(TransactionId);
                let message = answer.error_message.clone().unwrap_or_default();
                match answer.error_reason.clone().unwrap_or(Reason::UnexpectedSettleError) {
                    Reason::SettlementPending => Self::Unknown { transaction, message },
                    reason => Self::Refused(Refusal::new(reason, message)),
                }
            }
            Err(cause @ NoAnswer::Unclear(_)) => Self::Unknown { transaction: None, message: chain(cause) },
            Err(cause @ (NoAnswer::NotSent(_) | NoAnswer::OverQuota(_))) => Self::Unavailable(chain(cause)),
        }
    }

    /// Whether a hook may answer in place of the facilitator: not to what is unknown, nor to what the book says.
    fn may_be_answered(&self) -> bool {
        match self {
            Self::Refused(refusal) => {
                let in_book = [Reason::SettlementPending, Reason::PaymentInFlight, Reason::PaymentAlreadyUsed];
                !in_book.contains(&refusal.reason)
            }
            Self::Unavailable(_) => true,
            Self::Unknown { .. } => false,
        }
    }
}
