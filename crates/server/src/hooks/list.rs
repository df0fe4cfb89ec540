//! Asks hooks in their order, and keeps their failures from moving anything.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use farthing_core::Source;
use farthing_core::wire::{SettleResponse, VerifyResponse};
use futures_util::FutureExt;
use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

use super::{
    Access, AfterVerify, Before, Cancellation, Failure, HOOKS_TIMEOUT_SECONDS, HandlerAnswer, HookContext, HookFuture, Hooks,
    ProtectedRequest, SettlePhase,
};

/// Every hook, in order. Where there is none, nothing is made to be shown to one.
#[derive(Clone, Default)]
pub(crate) struct HookList(Arc<[Arc<dyn Hooks>]>);

/// A hook did not do its part.
#[derive(Debug, thiserror::Error)]
#[error("{moment} of the hook {hook} {why}")]
pub struct HookFailed {
    moment: &'static str,
    hook: String,
    why: &'static str,
    #[source]
    cause: Option<Source>,
}

impl HookList {
    pub(crate) fn new(hooks: Vec<Arc<dyn Hooks>>) -> Self {
        Self(hooks.into())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a request is let in, turned away, or asked to pay.
    pub(crate) async fn access(&self, request: &ProtectedRequest) -> Result<Access, HookFailed> {
        let (moment, deadline) = ("on_protected_request", deadline());
        for hook in self.0.iter() {
            match asked(&**hook, moment, deadline, &|hook| hook.on_protected_request(request)).await? {
                Access::Continue => {}
                Access::Grant => {
                    info!(hook = hook.name(), moment, "a hook lets a request in without payment");
                    return Ok(Access::Grant);
                }
                Access::Abort(reason) => {
                    info!(hook = hook.name(), moment, reason, "a hook refuses a request");
                    return Ok(Access::Abort(reason));
                }
            }
        }
        Ok(Access::Continue)
    }

    pub(crate) async fn before_verify(
        &self,
        context: impl FnOnce() -> HookContext,
    ) -> Result<Before<VerifyResponse>, HookFailed> {
        if self.is_empty() {
            return Ok(Before::Continue);
        }
        let context = &context();
        self.before("on_before_verify", |hook| hook.on_before_verify(context)).await
    }

    /// All of them are asked; an abort is the last word, and of several answers the last one counts.
    pub(crate) async fn after_verify(
        &self,
        context: impl FnOnce() -> HookContext,
        verified: &VerifyResponse,
    ) -> Result<AfterVerify, HookFailed> {
        if self.is_empty() {
            return Ok(AfterVerify::Continue);
        }
        let context = &context();
        let (moment, deadline) = ("on_after_verify", deadline());
        let mut instead: Option<HandlerAnswer> = None;
        for hook in self.0.iter() {
            match asked(&**hook, moment, deadline, &|hook| hook.on_after_verify(context, verified)).await? {
                AfterVerify::Continue => {}
                AfterVerify::Abort(refusal) => {
                    info!(hook = hook.name(), moment, reason = %refusal.reason, "a hook refuses the payment");
                    return Ok(AfterVerify::Abort(refusal));
                }
                AfterVerify::SkipHandler(answer) => {
                    info!(hook = hook.name(), moment, "a hook answers in place of the handler");
                    instead = Some(answer);
                }
            }
        }
        Ok(instead.map_or(AfterVerify::Continue, AfterVerify::SkipHandler))
    }

    pub(crate) async fn verify_failure(
        &self,
        context: impl FnOnce() -> HookContext,
        failure: impl FnOnce() -> Failure,
    ) -> Option<VerifyResponse> {
        if self.is_empty() {
            return None;
        }
        let (context, failure) = (&context(), &failure());
        let instead = self.failed("on_verify_failure", failure, |hook| hook.on_verify_failure(context, failure)).await;
        instead.filter(|verified| verified.is_valid)
    }

    pub(crate) async fn before_settle(
        &self,
        context: impl FnOnce() -> HookContext,
        phase: SettlePhase,
    ) -> Result<Before<SettleResponse>, HookFailed> {
        if self.is_empty() {
            return Ok(Before::Continue);
        }
        let context = &context();
        self.before("on_before_settle", |hook| hook.on_before_settle(context, phase)).await
    }

    pub(crate) async fn after_settle(
        &self,
        context: impl FnOnce() -> HookContext,
        phase: SettlePhase,
        settled: &SettleResponse,
    ) {
        if self.is_empty() {
            return;
        }
        let context = &context();
        self.look("on_after_settle", |hook| hook.on_after_settle(context, phase, settled)).await;
    }

    /// What a hook says to be settled, if one does and may.
    pub(crate) async fn settle_failure(
        &self,
        context: impl FnOnce() -> HookContext,
        phase: SettlePhase,
        failure: impl FnOnce() -> Failure,
    ) -> Option<SettleResponse> {
        if self.is_empty() {
            return None;
        }
        let (context, failure) = (&context(), &failure());
        let instead = self.failed("on_settle_failure", failure, |hook| hook.on_settle_failure(context, phase, failure)).await;
        instead.filter(|settled| settled.success)
    }

    pub(crate) async fn canceled(&self, context: &HookContext, cancellation: &Cancellation) {
        self.look("on_verified_payment_canceled", |hook| hook.on_verified_payment_canceled(context, cancellation)).await;
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
                    warn!(hook = hook.name(), moment, "a hook answers in place of the facilitator");
                    return Ok(Before::Skip(answer));
                }
            }
        }
        Ok(Before::Continue)
    }

    /// What is done is done: one that fails is logged, and the others look all the same.
    async fn look<'a>(&'a self, moment: &'static str, ask: impl Fn(&'a dyn Hooks) -> HookFuture<'a, ()>) {
        let deadline = deadline();
        for hook in self.0.iter() {
            if let Err(failed) = asked(&**hook, moment, deadline, &ask).await {
                failed.log("a hook failed, which changes nothing");
            }
        }
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
                    warn!(hook = hook.name(), moment, "a hook answers in place of the facilitator");
                    return Some(answer);
                }
                Err(failed) => failed.log("a hook failed after a failure, which stands"),
            }
        }
        None
    }
}

impl HookFailed {
    pub(crate) fn log(&self, what: &str) {
        let cause = self as &dyn std::error::Error;
        warn!(cause, "{what}");
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
    let (why, cause) = match timeout_at(deadline, asked).await {
        Ok(Ok(Ok(said))) => return Ok(said),
        Ok(Ok(Err(error))) => ("failed", Some(error)),
        Ok(Err(_panic)) => ("panicked", None),
        Err(_elapsed) => ("took longer than all hooks have at one moment", None),
    };
    Err(HookFailed { moment, hook: hook.name().to_owned(), why, cause })
}
