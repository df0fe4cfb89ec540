//! Whether the chains can be reached, asked of them seldom however often a probe asks.

use std::sync::Arc;
use std::time::Duration;

use farthing_core::erased::AnyFacilitatorScheme;
use farthing_core::facilitator::FacilitatorError;
use farthing_core::scheme::VerifyError;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::warn;

use crate::error::{NotSent, TooSlow};
use crate::settle::chain;

/// How long the chains may take to answer a readiness probe, in seconds.
pub const READY_TIMEOUT_SECONDS: u64 = 5;
/// How long an answer stands, in seconds.
const READY_FRESH_SECONDS: u64 = 1;

/// The last answer of the chains.
#[derive(Default)]
pub(crate) struct Readiness(Mutex<Option<(Instant, Result<(), NotSent>)>>);

impl Readiness {
    /// Asks all chains, unless they were asked a moment ago. Concurrent probes share one round of questions.
    pub(crate) async fn check(&self, schemes: &[Arc<dyn AnyFacilitatorScheme>]) -> Result<(), FacilitatorError> {
        let mut last = self.0.lock().await;
        let fresh = last.as_ref().filter(|(at, _)| at.elapsed() < Duration::from_secs(READY_FRESH_SECONDS));
        let answer = match fresh {
            Some((_, answer)) => answer.clone(),
            None => ask(schemes).await,
        };
        if fresh.is_none() {
            *last = Some((Instant::now(), answer.clone()));
        }
        answer.map_err(|cause| FacilitatorError::Unavailable(Box::new(cause)))
    }
}

async fn ask(schemes: &[Arc<dyn AnyFacilitatorScheme>]) -> Result<(), NotSent> {
    let all = async {
        for scheme in schemes {
            scheme.ready().await?;
        }
        Ok::<(), VerifyError>(())
    };
    let answer = match tokio::time::timeout(Duration::from_secs(READY_TIMEOUT_SECONDS), all).await {
        Ok(answer) => answer.map_err(NotSent::because),
        Err(_elapsed) => Err(NotSent::because(TooSlow { what: "the readiness probe", seconds: READY_TIMEOUT_SECONDS })),
    };
    if let Err(cause) = &answer {
        warn!(error = chain(cause), "a network cannot be reached");
    }
    answer
}
