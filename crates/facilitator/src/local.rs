//! The facilitator in this process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use farthing_core::books::{SettlementState, Settlements};
use farthing_core::erased::{AnyFacilitatorScheme, FacilitatorSchemes, TypedPayment};
use farthing_core::facilitator::{Facilitator, FacilitatorError};
use farthing_core::reason::Refusal;
use farthing_core::scheme::VerifyError;
use farthing_core::wire::{PaymentRequest, SettleResponse, SupportedResponse, VerifyResponse};
use farthing_core::{BoxFuture, Source};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tracing::{Instrument, info, info_span};

use crate::error::{Overloaded, TooSlow};
use crate::flight::{Flights, Turn, Wait};
use crate::kinds::Kinds;
use crate::ready::Readiness;
use crate::settle::{self, Job};

/// The most payments that are verified at once; more are answered 503.
pub const MAX_VERIFIES_IN_FLIGHT: usize = 4_096;
/// The most settle requests that are under way at once, waiting copies included; more are answered 503.
pub const MAX_SETTLES_IN_FLIGHT: usize = 4_096;
/// How long a verification may take, in seconds.
pub const VERIFY_TIMEOUT_SECONDS: u64 = 15;
/// How long a settle request may wait for its answer, in seconds: less than the 90 s that the official clients wait.
/// What was sent by then is pending and goes on; what was not is given up.
pub const SETTLE_TIMEOUT_SECONDS: u64 = 75;
/// How long a settle request waits while another request has the same authorization, in seconds; longer than a forgery
/// can stand in the way.
const TURN_TIMEOUT_SECONDS: u64 = 10;

/// Verifies and settles with the schemes that it was given, and keeps the book of it.
///
/// ```
/// use std::sync::Arc;
/// use farthing_core::books::MemorySettlements;
/// use farthing_facilitator::{BuildError, Local};
///
/// // A facilitator that could settle nothing is a mistake, and is found at start-up.
/// let nothing = Local::builder().schemes([]).settlements(Arc::new(MemorySettlements::default())).build();
/// assert!(matches!(nothing, Err(BuildError::NoKinds)));
/// ```
pub struct Local {
    kinds: Kinds,
    settlements: Arc<dyn Settlements>,
    flights: Flights,
    verifies: Arc<Semaphore>,
    settles: Arc<Semaphore>,
    readiness: Readiness,
}

/// Makes a [`Local`].
#[derive(Default)]
pub struct Builder {
    schemes: FacilitatorSchemes,
    settlements: Option<Arc<dyn Settlements>>,
}

/// Why there is no facilitator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// No scheme can settle anything.
    #[error("no scheme serves any network; configure at least one")]
    NoKinds,
    /// Two schemes claim the same kind, so that it would not be clear which one settles.
    #[error("{0} is served by two schemes; configure each kind once")]
    DuplicateKind(String),
    /// Nothing may be settled without a book.
    #[error("no settlements book was given; without one a crash would lose payments")]
    NoSettlements,
}

impl Builder {
    /// Adds schemes; what they say they serve is served, and nothing else.
    #[must_use]
    pub fn schemes(mut self, schemes: impl IntoIterator<Item = Arc<dyn AnyFacilitatorScheme>>) -> Self {
        self.schemes.extend(schemes);
        self
    }

    /// The book of what was sent.
    #[must_use]
    pub fn settlements(mut self, settlements: Arc<dyn Settlements>) -> Self {
        self.settlements = Some(settlements);
        self
    }

    /// The facilitator.
    pub fn build(self) -> Result<Local, BuildError> {
        Ok(Local {
            kinds: Kinds::of(self.schemes)?,
            settlements: self.settlements.ok_or(BuildError::NoSettlements)?,
            flights: Flights::default(),
            verifies: Arc::new(Semaphore::new(MAX_VERIFIES_IN_FLIGHT)),
            settles: Arc::new(Semaphore::new(MAX_SETTLES_IN_FLIGHT)),
            readiness: Readiness::default(),
        })
    }
}

impl Local {
    /// Starts to make a facilitator.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Whether every network that is served can be reached; asked of the nodes at most once a second.
    pub async fn ready(&self) -> Result<(), FacilitatorError> {
        self.readiness.check(self.kinds.schemes()).await
    }

    /// Returns when no settlement is under way. For shutdown, after the last request was taken: a settlement goes on when
    /// its caller has left, and the end of the runtime would cut it off.
    pub async fn drained(&self) {
        let all = u32::try_from(MAX_SETTLES_IN_FLIGHT).unwrap_or(u32::MAX);
        // The semaphore is never closed, so that there is nothing to tell.
        drop(self.settles.acquire_many(all).await);
    }

    async fn verify_now(&self, request: &PaymentRequest) -> Result<VerifyResponse, FacilitatorError> {
        let invalid = |refusal: Refusal| {
            info!(reason = %refusal.reason, "not valid");
            Ok(VerifyResponse::invalid(refusal, None))
        };
        let (scheme, payment) = match self.read(request) {
            Ok(read) => read,
            Err(refusal) => return invalid(refusal),
        };
        // A mere claim is no reason to refuse: anybody can make one with a copied nonce and a signature of their own.
        match self.settlements.state(payment.key).await.map_err(unavailable)? {
            Some(SettlementState::Settled(_)) => return invalid(settle::already_used()),
            Some(SettlementState::Sending(transaction)) => return invalid(settle::pending(&transaction)),
            Some(SettlementState::Claimed | SettlementState::Dead(_)) | None => {}
        }
        let _slot = self.verifies.try_acquire().map_err(|_| overloaded("verifications", MAX_VERIFIES_IN_FLIGHT))?;
        match tokio::time::timeout(Duration::from_secs(VERIFY_TIMEOUT_SECONDS), scheme.verify(&payment)).await {
            Ok(Ok(payer)) => Ok(VerifyResponse::valid(payer)),
            Ok(Err(VerifyError::Invalid(refusal))) => invalid(refusal),
            Ok(Err(VerifyError::Unavailable(source))) => Err(FacilitatorError::Unavailable(source)),
            Err(_elapsed) => Err(unavailable(TooSlow { what: "the verification", seconds: VERIFY_TIMEOUT_SECONDS })),
        }
    }

    async fn settle_now(&self, request: &PaymentRequest) -> Result<SettleResponse, FacilitatorError> {
        let network = request.requirements.network.clone();
        let (scheme, payment) = match self.read(request) {
            Ok(read) => read,
            Err(refusal) => {
                info!(reason = %refusal.reason, "not settled");
                return Ok(SettleResponse::failure(refusal, Some(network)));
            }
        };
        let slot = Arc::clone(&self.settles).try_acquire_owned();
        // Held by whoever waits and by the work itself, which may go on when nobody waits any more.
        let slot = Arc::new(slot.map_err(|_| overloaded("settlements", MAX_SETTLES_IN_FLIGHT))?);
        let job = Job {
            scheme: Arc::clone(scheme),
            settlements: Arc::clone(&self.settlements),
            payment,
            request: settle::fingerprint(request).map_err(unavailable)?,
            network: network.clone(),
        };
        match self.take_turn(job, &slot).await {
            Some(wait) => wait.answer().await?.map_err(unavailable),
            None => Ok(SettleResponse::failure(settle::in_flight(), Some(network))),
        }
    }

    /// Settles when it is this request's turn, or finds the copy that does; `None` if the turn does not come.
    async fn take_turn(&self, job: Job, slot: &Arc<OwnedSemaphorePermit>) -> Option<Wait> {
        let deadline = Instant::now() + Duration::from_secs(TURN_TIMEOUT_SECONDS);
        loop {
            match self.flights.turn(job.payment.key, &job.request) {
                Turn::Other(wait) => tokio::time::timeout_at(deadline, wait.end()).await.ok()?,
                Turn::Copy(wait) => return Some(wait),
                Turn::Lead(lead, wait) => {
                    let slot = Arc::clone(slot);
                    let flight = async move {
                        settle::fly(job, lead).await;
                        drop(slot);
                    };
                    tokio::spawn(flight.in_current_span());
                    return Some(wait);
                }
            }
        }
    }

    fn read(&self, request: &PaymentRequest) -> Result<(&Arc<dyn AnyFacilitatorScheme>, TypedPayment), Refusal> {
        let scheme = self.kinds.scheme_for(request)?;
        let payment = scheme.read(request)?;
        Ok((scheme, payment))
    }
}

impl Facilitator for Local {
    fn supported(&self) -> BoxFuture<'_, Result<SupportedResponse, FacilitatorError>> {
        let mut supported = SupportedResponse::default();
        let mut signers: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for scheme in self.kinds.schemes() {
            supported.kinds.extend(scheme.kinds());
            for (family, account) in scheme.signers() {
                let accounts = signers.entry(family).or_default();
                if !accounts.contains(&account) {
                    accounts.push(account);
                }
            }
        }
        supported.signers = signers;
        Box::pin(std::future::ready(Ok(supported)))
    }

    fn verify<'a>(&'a self, request: &'a PaymentRequest) -> BoxFuture<'a, Result<VerifyResponse, FacilitatorError>> {
        let span = info_span!("verify", scheme = short(&request.requirements.scheme), network = %request.requirements.network);
        Box::pin(self.verify_now(request).instrument(span))
    }

    fn settle<'a>(&'a self, request: &'a PaymentRequest) -> BoxFuture<'a, Result<SettleResponse, FacilitatorError>> {
        let span = info_span!("settle", scheme = short(&request.requirements.scheme), network = %request.requirements.network);
        Box::pin(self.settle_now(request).instrument(span))
    }
}

/// A peer's text, short enough for a log line or a message.
pub(crate) fn short(text: &str) -> &str {
    const MAX_SHOWN_CHARS: usize = 100;
    text.char_indices().nth(MAX_SHOWN_CHARS).map_or(text, |(end, _)| text.get(..end).unwrap_or_default())
}

fn unavailable(cause: impl Into<Source>) -> FacilitatorError {
    FacilitatorError::Unavailable(cause.into())
}

fn overloaded(what: &'static str, max: usize) -> FacilitatorError {
    unavailable(Overloaded { what, max })
}
