//! Runs hooks in their order, and keeps their failures from spending anything.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use farthing_core::Source;
use futures_util::FutureExt;
use http::HeaderMap;

use super::{
    AfterAnswer, Approval, Hooks, PaymentAnswer, PaymentCreated, PaymentCreation, PaymentCreationFailure, PaymentDemand,
    Recovered,
};
use crate::error::{Declined, Rule};
use crate::offers::shown;

/// Hooks in the order in which they were added.
#[derive(Clone, Default)]
pub(crate) struct HookList(Vec<Arc<dyn Hooks>>);

impl HookList {
    pub(crate) fn new(hooks: Vec<Arc<dyn Hooks>>) -> Self {
        Self(hooks)
    }

    /// The headers of the first hook that has some.
    pub(crate) async fn headers(&self, demand: &PaymentDemand<'_>) -> Result<Option<HeaderMap>, Declined> {
        for hook in &self.0 {
            let headers = guarded(async { hook.on_payment_required(demand).await }).await;
            if let Some(headers) = headers.map_err(|why| failed("on_payment_required", &why))? {
                return Ok(Some(headers));
            }
        }
        Ok(None)
    }

    /// Whether every hook lets the payment be made.
    pub(crate) async fn before(&self, creation: &PaymentCreation<'_>) -> Result<(), Declined> {
        for hook in &self.0 {
            let approval = guarded(async { hook.before_payment_creation(creation).await }).await;
            if let Approval::Abort { reason } = approval.map_err(|why| failed("before_payment_creation", &why))? {
                let why = format!("the payment was aborted: {}; nothing is paid", shown(&reason));
                return Err(Declined::rule(Rule::Aborted, why));
            }
        }
        Ok(())
    }

    /// Whether every hook lets the payment be sent.
    pub(crate) async fn after(&self, created: &PaymentCreated<'_>) -> Result<(), Declined> {
        for hook in &self.0 {
            let seen = guarded(async { hook.after_payment_creation(created).await }).await;
            seen.map_err(|why| failed("after_payment_creation", &why))?;
        }
        Ok(())
    }

    /// What the first hook that can has signed. One that fails ends the search.
    pub(crate) async fn recover(&self, failure: &PaymentCreationFailure<'_>) -> Option<Recovered> {
        for hook in &self.0 {
            match guarded(async { hook.on_payment_creation_failure(failure).await }).await {
                Ok(None) => {}
                Ok(Some(recovered)) => return Some(recovered),
                Err(why) => {
                    tracing::warn!("the hook on_payment_creation_failure failed, so nothing is recovered: {why}");
                    return None;
                }
            }
        }
        None
    }

    /// Whether a hook asks for another try. One that fails asks for nothing, and the others are told all the same.
    pub(crate) async fn answered(&self, answer: &PaymentAnswer<'_>) -> AfterAnswer {
        for hook in &self.0 {
            match guarded(async { hook.on_payment_response(answer).await }).await {
                Ok(AfterAnswer::Recover) => return AfterAnswer::Recover,
                Ok(AfterAnswer::Accept) => {}
                Err(why) => tracing::warn!("the hook on_payment_response failed, and what was answered stays: {why}"),
            }
        }
        AfterAnswer::Accept
    }
}

/// What a hook says, or in words why it says nothing. A panic's own text is not repeated: nobody knows what is in it.
async fn guarded<T>(hook: impl Future<Output = Result<T, Source>>) -> Result<T, String> {
    match AssertUnwindSafe(hook).catch_unwind().await {
        Ok(said) => said.map_err(|error| shown(&error.to_string())),
        Err(_) => Err("it panicked".to_owned()),
    }
}

fn failed(name: &str, why: &str) -> Declined {
    let why = format!("the hook {name} failed, and without its word nothing is paid: {why}");
    Declined::rule(Rule::HookFailed, why)
}
