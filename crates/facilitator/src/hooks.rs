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
//! 3. The book goes before the hooks around a settlement. A payment that is settled or under way is answered from there, and
//!    no hook hears of it: they are asked once, by the request that is about to send, not by the copies that wait for it. The
//!    hooks around a verification are asked whatever the book has: what one says before it stands, and moves nothing; what the
//!    book refuses is a failure.
//! 4. No hook can end what is not known. To a settlement whose outcome is unknown, and to a payment that the book has for
//!    another request, hooks may look and not answer.
//! 5. An answer of a hook's own is logged as such. It enters no book, proves no payment, and settles nothing: a payment whose
//!    verification a hook has skipped is verified all the same before it is settled.

use std::sync::Arc;
use std::time::Duration;

use farthing_core::books::PaymentRecord;
pub use farthing_core::hooks::{Before, Failure, HOOKS_TIMEOUT_SECONDS, HookFuture};
use farthing_core::hooks::{HookFailed, Round};
use farthing_core::reason::{Reason, Refusal};
use farthing_core::scheme::TransactionId;
use farthing_core::wire::{PaymentRequest, SettleResponse, VerifyResponse};
use tracing::{info, warn};

use crate::error::{NoAnswer, chain};
use crate::flight::Answer;

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
    /// What it is called in logs; asked once.
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

type AnyHook = dyn Hooks;

/// Every hook, in order.
#[derive(Clone, Default)]
pub(crate) struct HookList(farthing_core::hooks::HookList<AnyHook>);

impl HookList {
    pub(crate) fn new(hooks: Vec<Arc<AnyHook>>) -> Self {
        Self(farthing_core::hooks::HookList::new(hooks, |hook| hook.name()))
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
            failed => failure_of(failed),
        };
        let instead = self.failed("on_settle_failure", &failure, |hook| hook.on_settle_failure(context, &failure)).await;
        instead.map_or(answer, Ok)
    }

    fn at(&self, moment: &'static str) -> Round<'_, AnyHook> {
        self.0.at(moment, tokio::time::sleep(Duration::from_secs(HOOKS_TIMEOUT_SECONDS)))
    }

    async fn before<'a, T>(
        &'a self,
        moment: &'static str,
        ask: impl Fn(&'a AnyHook) -> HookFuture<'a, Before<T>>,
    ) -> Result<Before<T>, HookFailed> {
        if self.is_empty() {
            return Ok(Before::Continue);
        }
        let Some((hook, word)) = self.at(moment).before(ask).await? else { return Ok(Before::Continue) };
        match &word {
            Before::Continue => {}
            Before::Abort(refusal) => info!(hook, moment, reason = %refusal.reason, "a hook refuses the payment"),
            Before::Skip(_) => warn!(hook, moment, "a hook answers in place of the facilitator; it enters no book"),
        }
        Ok(word)
    }

    async fn after<'a>(
        &'a self,
        moment: &'static str,
        ask: impl Fn(&'a AnyHook) -> HookFuture<'a, ()>,
    ) -> Result<(), HookFailed> {
        let mut first = Ok(());
        if self.is_empty() {
            return first;
        }
        let mut round = self.at(moment);
        while let Some((_, looked)) = round.next(&ask).await {
            first = first.and(looked);
        }
        first
    }

    async fn failed<'a, T>(
        &'a self,
        moment: &'static str,
        failure: &Failure,
        ask: impl Fn(&'a AnyHook) -> HookFuture<'a, Option<T>>,
    ) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        let mut round = self.at(moment);
        while let Some((hook, said)) = round.next(&ask).await {
            match said {
                Ok(None) => {}
                Ok(Some(_)) if !may_be_answered(failure) => {
                    warn!(hook, moment, "a hook's answer is not passed on: what became of the payment is not its to say");
                }
                Ok(Some(answer)) => {
                    warn!(hook, moment, "a hook answers in place of the facilitator; it enters no book");
                    return Some(answer);
                }
                Err(failed) => warn!(error = chain(&failed), "a hook failed after a failure, which stands"),
            }
        }
        None
    }
}

/// What hooks hear of a settlement that did not succeed.
fn failure_of(answer: &Answer) -> Failure {
    match answer {
        Ok(answer) => {
            let transaction = Some(answer.transaction.clone()).filter(|id| !id.is_empty()).map(TransactionId);
            let message = answer.error_message.clone().unwrap_or_default();
            match answer.error_reason.clone().unwrap_or(Reason::UnexpectedSettleError) {
                Reason::SettlementPending => Failure::Unknown { transaction, message },
                reason => Failure::Refused(Refusal::new(reason, message)),
            }
        }
        Err(cause @ NoAnswer::Unclear(_)) => Failure::Unknown { transaction: None, message: chain(cause) },
        Err(cause @ (NoAnswer::NotSent(_) | NoAnswer::OverQuota(_))) => Failure::Unavailable(chain(cause)),
    }
}

/// Whether a hook may answer in place of the facilitator: not to what is unknown, nor to what the book says.
fn may_be_answered(failure: &Failure) -> bool {
    match failure {
        Failure::Refused(refusal) => {
            let in_book = [Reason::SettlementPending, Reason::PaymentInFlight, Reason::PaymentAlreadyUsed];
            !in_book.contains(&refusal.reason)
        }
        Failure::Unavailable(_) => true,
        Failure::Unknown { .. } => false,
    }
}
