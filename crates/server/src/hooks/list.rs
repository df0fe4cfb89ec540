//! Asks hooks in their order, and keeps their failures from moving anything.

use std::sync::Arc;
use std::time::Duration;

use farthing_core::hooks::Round;
use farthing_core::wire::{SettleResponse, VerifyResponse};
use tracing::{info, warn};

use super::{
    Access, AfterVerify, Before, Cancellation, Failure, HOOKS_TIMEOUT_SECONDS, HandlerAnswer, HookContext, HookFailed,
    HookFuture, Hooks, ProtectedRequest, SettlePhase, SignedIn, Welcome,
};

type AnyHook = dyn Hooks;

/// Every hook, in order. Where there is none, nothing is made to be shown to one.
#[derive(Clone, Default)]
pub(crate) struct HookList {
    list: farthing_core::hooks::HookList<AnyHook>,
    hooks: Vec<Arc<AnyHook>>,
}

impl HookList {
    pub(crate) fn new(hooks: Vec<Arc<AnyHook>>) -> Self {
        Self { list: farthing_core::hooks::HookList::new(hooks.clone(), |hook| hook.name()), hooks }
    }

    /// These, and one more behind them.
    pub(crate) fn with(&self, hook: Arc<AnyHook>) -> Self {
        Self::new(self.hooks.iter().cloned().chain([hook]).collect())
    }

    /// Whether somebody wants to hear of visitors.
    pub(crate) fn ask_visitors(&self) -> bool {
        self.hooks.iter().any(|hook| hook.asks_visitors())
    }

    /// Whether somebody must hear of every payment before it is settled.
    pub(crate) fn verify_first(&self) -> bool {
        self.hooks.iter().any(|hook| hook.verifies_first())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.hooks.is_empty()
    }

    /// Whether a request is let in, turned away, or asked to pay.
    pub(crate) async fn access(&self, request: &ProtectedRequest) -> Result<Access, HookFailed> {
        let moment = "on_protected_request";
        let mut round = self.at(moment);
        while let Some((hook, said)) = round.next(|hook| hook.on_protected_request(request)).await {
            match said? {
                Access::Continue => {}
                Access::Grant => {
                    info!(hook, moment, "a hook lets a request in without payment");
                    return Ok(Access::Grant);
                }
                Access::Abort(reason) => {
                    info!(hook, moment, reason, "a hook refuses a request");
                    return Ok(Access::Abort(reason));
                }
            }
        }
        Ok(Access::Continue)
    }

    /// Whether a visitor is served without payment, turned away, or treated as if nobody had asked.
    pub(crate) async fn signed_in(&self, signed_in: &SignedIn) -> Result<Welcome, HookFailed> {
        let moment = "on_signed_in";
        let mut round = self.at(moment);
        while let Some((hook, said)) = round.next(|hook| hook.on_signed_in(signed_in)).await {
            let said = said?;
            if said != Welcome::Continue {
                info!(hook, moment, is_granted = said == Welcome::Grant, "a hook decides about a visitor");
                return Ok(said);
            }
        }
        Ok(Welcome::Continue)
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

    /// All of them are asked; an abort is the last word, as is being turned away, and of several answers the last one counts.
    pub(crate) async fn after_verify(
        &self,
        context: impl FnOnce() -> HookContext,
        verified: &VerifyResponse,
    ) -> Result<AfterVerify, HookFailed> {
        if self.is_empty() {
            return Ok(AfterVerify::Continue);
        }
        let context = &context();
        let moment = "on_after_verify";
        let mut round = self.at(moment);
        let mut instead: Option<HandlerAnswer> = None;
        while let Some((hook, said)) = round.next(|hook| hook.on_after_verify(context, verified)).await {
            match said? {
                AfterVerify::Continue => {}
                AfterVerify::Abort(refusal) => {
                    info!(hook, moment, reason = %refusal.reason, "a hook refuses the payment");
                    return Ok(AfterVerify::Abort(refusal));
                }
                AfterVerify::TurnAway(away) => {
                    info!(hook, moment, reason = away.error, "a hook turns a payer away");
                    return Ok(AfterVerify::TurnAway(away));
                }
                AfterVerify::SkipHandler(answer) => {
                    info!(hook, moment, "a hook answers in place of the handler");
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

    fn at(&self, moment: &'static str) -> Round<'_, AnyHook> {
        self.list.at(moment, tokio::time::sleep(Duration::from_secs(HOOKS_TIMEOUT_SECONDS)))
    }

    async fn before<'a, T>(
        &'a self,
        moment: &'static str,
        ask: impl Fn(&'a AnyHook) -> HookFuture<'a, Before<T>>,
    ) -> Result<Before<T>, HookFailed> {
        let Some((hook, word)) = self.at(moment).before(ask).await? else { return Ok(Before::Continue) };
        match &word {
            Before::Continue => {}
            Before::Abort(refusal) => info!(hook, moment, reason = %refusal.reason, "a hook refuses the payment"),
            Before::Skip(_) => warn!(hook, moment, "a hook answers in place of the facilitator"),
        }
        Ok(word)
    }

    /// What is done is done: one that fails is logged, and the others look all the same.
    async fn look<'a>(&'a self, moment: &'static str, ask: impl Fn(&'a AnyHook) -> HookFuture<'a, ()>) {
        let mut round = self.at(moment);
        while let Some((_, looked)) = round.next(&ask).await {
            if let Err(failed) = looked {
                log_failed(&failed, "a hook failed, which changes nothing");
            }
        }
    }

    async fn failed<'a, T>(
        &'a self,
        moment: &'static str,
        failure: &Failure,
        ask: impl Fn(&'a AnyHook) -> HookFuture<'a, Option<T>>,
    ) -> Option<T> {
        let mut round = self.at(moment);
        while let Some((hook, said)) = round.next(&ask).await {
            match said {
                Ok(None) => {}
                Ok(Some(_)) if matches!(failure, Failure::Unknown { .. }) => {
                    warn!(hook, moment, "a hook's answer is not passed on: what became of the payment is not its to say");
                }
                Ok(Some(answer)) => {
                    warn!(hook, moment, "a hook answers in place of the facilitator");
                    return Some(answer);
                }
                Err(failed) => log_failed(&failed, "a hook failed after a failure, which stands"),
            }
        }
        None
    }
}

/// Says once that a hook did not do its part.
pub(crate) fn log_failed(failed: &HookFailed, what: &str) {
    let cause = failed as &dyn std::error::Error;
    warn!(cause, "{what}");
}
