//! Whether the book and the chains can be reached, asked of them seldom however often a probe asks.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use farthing_core::erased::AnyFacilitatorScheme;
use farthing_core::network::Network;
use farthing_core::scheme::{PaymentKey, VerifyError};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout};
use tracing::warn;

use crate::book::Book;
use crate::error::{TooSlow, chain};
use crate::kinds::Kinds;

/// How long the chains may take to answer a readiness probe, in seconds.
pub const READY_TIMEOUT_SECONDS: u64 = 5;
/// How long an answer stands, in seconds.
const READY_FRESH_SECONDS: u64 = 1;

/// Why this facilitator could not settle everything that it serves just now. It names no node and no account of its
/// own accord, so that a probe may show it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// It ends: what is under way is finished, and nothing new is taken.
    #[error("this facilitator is stopping")]
    Stopping,
    /// The settlements book cannot be read, so nothing can be settled.
    #[error("the settlements book cannot be read")]
    Book,
    /// One of these networks cannot be reached.
    #[error("cannot be reached: {}", names(.0))]
    Unreachable(Vec<Network>),
    /// One of these networks cannot be settled on for a cause that its scheme names, such as `low_balance`.
    #[error("{}: {cause}: {message}", names(.networks))]
    Scheme {
        /// The networks of the scheme.
        networks: Vec<Network>,
        /// The class of the cause, as a word.
        cause: String,
        /// The cause, for people.
        message: String,
    },
}

/// The last answer.
#[derive(Default)]
pub(crate) struct Readiness(Mutex<Option<(Instant, Vec<NotReady>)>>);

impl NotReady {
    /// The class of the cause, as a word: `stopping`, `book`, `unreachable`, or the scheme's own.
    pub fn cause(&self) -> &str {
        match self {
            Self::Stopping => "stopping",
            Self::Book => "book",
            Self::Unreachable(_) => "unreachable",
            Self::Scheme { cause, .. } => cause,
        }
    }

    /// The networks that may be concerned; none if all are.
    pub fn networks(&self) -> &[Network] {
        match self {
            Self::Stopping | Self::Book => &[],
            Self::Unreachable(networks) | Self::Scheme { networks, .. } => networks,
        }
    }
}

impl Readiness {
    /// Asks book and chains, unless they were asked a moment ago. Concurrent probes share one round of questions.
    pub(crate) async fn check(&self, kinds: &Kinds, book: &Book) -> Vec<NotReady> {
        let mut last = self.0.lock().await;
        if let Some((at, causes)) = &*last
            && at.elapsed() < Duration::from_secs(READY_FRESH_SECONDS)
        {
            return causes.clone();
        }
        let causes = ask(kinds, book).await;
        *last = Some((Instant::now(), causes.clone()));
        causes
    }
}

async fn ask(kinds: &Kinds, book: &Book) -> Vec<NotReady> {
    let limit = Duration::from_secs(READY_TIMEOUT_SECONDS);
    let mut causes = Vec::new();
    let too_slow = || TooSlow { what: "the readiness probe", seconds: READY_TIMEOUT_SECONDS };
    // No payment has this key; what counts is that the book answers.
    match timeout(limit, book.find(PaymentKey([0; 32]))).await {
        Ok(Ok(_)) => {}
        Ok(Err(cause)) => causes.push((NotReady::Book, chain(&cause))),
        Err(_elapsed) => causes.push((NotReady::Book, too_slow().to_string())),
    }
    let probes: Vec<_> = kinds.schemes().iter().map(|scheme| (networks_of(&**scheme), probe(Arc::clone(scheme)))).collect();
    for (networks, probe) in probes {
        match probe.await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(VerifyError::Invalid(refusal)))) => {
                let text = refusal.to_string();
                let cause = refusal.reason.to_string();
                causes.push((NotReady::Scheme { networks, cause, message: refusal.message }, text));
            }
            Ok(Ok(Err(VerifyError::Unavailable(cause)))) => causes.push((NotReady::Unreachable(networks), chain(&*cause))),
            Ok(Err(_elapsed)) => causes.push((NotReady::Unreachable(networks), too_slow().to_string())),
            Err(panic) => causes.push((NotReady::Unreachable(networks), panic.to_string())),
        }
    }
    for (cause, error) in &causes {
        warn!(error, "not ready: {cause}");
    }
    causes.into_iter().map(|(cause, _)| cause).collect()
}

/// Asks one scheme, beside the others, so that one that hangs takes no time from them.
fn probe(scheme: Arc<dyn AnyFacilitatorScheme>) -> JoinHandle<Result<Result<(), VerifyError>, Elapsed>> {
    let limit = Duration::from_secs(READY_TIMEOUT_SECONDS);
    tokio::spawn(async move { timeout(limit, scheme.ready()).await })
}

fn networks_of(scheme: &dyn AnyFacilitatorScheme) -> Vec<Network> {
    let networks: BTreeSet<Network> = scheme.kinds().into_iter().map(|kind| kind.network).collect();
    networks.into_iter().collect()
}

fn names(networks: &[Network]) -> String {
    networks.iter().map(Network::as_str).collect::<Vec<_>>().join(", ")
}
