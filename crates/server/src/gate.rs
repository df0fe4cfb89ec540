//! The engine that charges, free of any transport: admit, work, settle or cancel.
//!
//! 1. [`Gate::admit`] finds the offer that a payment takes, claims the payment for this one request, and has it
//!    verified. Nothing has been charged yet.
//! 2. The caller does the work and holds the answer back.
//! 3. [`Gate::settle`] writes down that the payment may be charged from now on, and then moves the money; only
//!    [`Settled::Charged`] lets the answer go. Or [`Gate::cancel`]: nobody pays for a failure. An [`Admitted`] that is
//!    dropped is cancelled, too.
//!
//! The claim comes before the verification and not beside it: a replay or a copy costs a look into the book, and never a
//! question to the facilitator.

use std::sync::Arc;

use farthing_core::amount::Amount;
use farthing_core::asset::{AccountId, AssetId};
use farthing_core::books::{BookError, Deliveries, Delivery, Fingerprint};
use farthing_core::facilitator::{Facilitator, FacilitatorError};
use farthing_core::network::Network;
use farthing_core::reason::{Reason, Refusal};
use farthing_core::scheme::PaymentKey;
use farthing_core::trace::TraceParent;
use farthing_core::wire::{PaymentPayload, PaymentRequest, Version};
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use tracing::{Instrument, Span};

use crate::accepted;
use crate::claim::{Claim, Taken};
use crate::count::{self, Outcome};
use crate::resource::{RequestFacts, is_same_resource};
use crate::route::{Offer, Route};
use crate::settle::{self, Settled};

/// Lets paid requests in and takes the money once they have been served.
#[derive(Clone)]
pub struct Gate {
    facilitator: Arc<dyn Facilitator>,
    deliveries: Arc<dyn Deliveries>,
}

/// What becomes of a request.
#[must_use]
pub enum Admission {
    /// It has not paid, or not what this route asks, and why: answer with the terms (HTTP 402).
    Required(Option<Refusal>),
    /// It has a payment that will settle: do the work, then settle or cancel.
    Paid(Admitted),
    /// It cannot be let in now, and that is no fault of the payment.
    Denied(Denied),
}

/// Why a request is turned away although its payment may be good.
#[derive(Debug, thiserror::Error)]
pub enum Denied {
    /// The payment is in use (HTTP 409).
    #[error("this payment is being used by another request right now; wait for that one's answer")]
    InFlight,
    /// The facilitator could not check the payment (HTTP 503).
    #[error("payments cannot be checked right now; nothing was charged; present the same payment again later")]
    Unavailable(#[source] FacilitatorError),
    /// The facilitator answered nonsense (HTTP 502).
    #[error("the facilitator's answer makes no sense; nothing was charged; present the same payment again later")]
    Malformed(#[source] FacilitatorError),
    /// The deliveries book could not be written (HTTP 503).
    #[error("payments cannot be recorded right now; nothing was charged; present the same payment again later")]
    Book(#[source] BookError),
}

/// The facts of the payment that let a request in. Handlers find it among the request's extensions.
///
/// The money has not moved yet, so there is no transaction to name; a handler that fails is not paid.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Paid {
    /// Who pays; `None` if the facilitator did not say, or if the payment is presented again after a settlement whose
    /// outcome is not known.
    pub payer: Option<AccountId>,
    /// To whom.
    pub pay_to: AccountId,
    /// How much, in atomic units.
    pub amount: Amount,
    /// In what.
    pub asset: AssetId,
    /// Where.
    pub network: Network,
    /// By which scheme.
    pub scheme: String,
}

/// A request that may be served. Settle it or cancel it; dropping it cancels it.
#[must_use = "an admitted request that is not settled is never charged"]
pub struct Admitted {
    pub(crate) claim: Claim,
    pub(crate) order: Box<Order>,
    /// In which all of it happens, the caller's work included.
    pub(crate) span: Span,
}

/// What is to be settled.
pub(crate) struct Order {
    pub(crate) request: PaymentRequest,
    pub(crate) paid: Paid,
    version: Version,
}

impl Gate {
    /// A gate that has payments checked and settled by this facilitator, and writes what they bought into this book.
    pub fn new(facilitator: Arc<dyn Facilitator>, deliveries: Arc<dyn Deliveries>) -> Self {
        Self { facilitator, deliveries }
    }

    /// Decides about one request. Must be called inside a tokio runtime.
    pub async fn admit(&self, route: &Route, payment: Option<PaymentPayload>, facts: &RequestFacts) -> Admission {
        let Some(payment) = payment else {
            Outcome::Required.count();
            return Admission::Required(None);
        };
        match self.check(route, payment, facts).await {
            Ok(admitted) => Admission::Paid(admitted),
            Err(Stop::Refused(refusal)) => {
                Outcome::Refused.count();
                Admission::Required(Some(refusal))
            }
            Err(Stop::Denied(denied)) => {
                Outcome::Denied.count();
                Admission::Denied(denied)
            }
        }
    }

    /// Moves the money for a request that was served, and says whether its answer may go.
    ///
    /// Runs in a task of its own: a caller who leaves neither stops the settlement nor keeps it out of the book.
    pub async fn settle(&self, admitted: Admitted) -> Settled {
        let began = Instant::now();
        let network = admitted.order.paid.network.clone();
        let span = admitted.span.clone();
        let task = tokio::spawn(settle::run(Arc::clone(&self.facilitator), admitted).instrument(span));
        let settled = task.await.unwrap_or_else(|_| Settled::unknown(network));
        count::settled(&settled, began.elapsed());
        settled
    }

    /// Ends a request that was not served: nothing is charged and the payment is free again.
    pub async fn cancel(&self, admitted: Admitted) {
        Outcome::FailedFree.count();
        admitted.claim.give_back().instrument(admitted.span).await;
    }

    async fn check(&self, route: &Route, payment: PaymentPayload, facts: &RequestFacts) -> Result<Admitted, Stop> {
        let offer = accepted::find(route.offer_list(), &payment)?;
        if let Some(resource) = payment.resource.as_ref().filter(|named| !is_same_resource(&facts.resource_url, &named.url)) {
            let got: String = resource.url.chars().take(200).collect();
            return Err(Refusal::mismatch(Reason::ResourceMismatch, "resource.url", &facts.resource_url, got).into());
        }
        let key = offer.scheme.key(&payment, &offer.requirements)?;
        let (trace, span) = open_span(key, facts.trace);
        let admitting = async {
            let taken = self.take(key, Order::new(offer, payment, trace), facts, span.clone()).await;
            if let Err(Stop::Denied(denied)) = &taken {
                log(denied);
            }
            taken
        };
        admitting.instrument(span.clone()).await
    }

    /// Claims the payment, and has it verified if it is new.
    async fn take(&self, key: PaymentKey, order: Order, facts: &RequestFacts, span: Span) -> Result<Admitted, Stop> {
        let fingerprint = order.fingerprint(facts).map_err(Denied::Book)?;
        let taken = Claim::take(Arc::clone(&self.deliveries), key, fingerprint).await;
        let claim = match taken.map_err(Denied::Book)? {
            Taken::Ours(claim) => claim,
            Taken::Theirs(delivery) => return Err(taken_already(&delivery)),
        };
        let mut admitted = Admitted { claim, order: Box::new(order), span };
        if !admitted.claim.is_resumed() {
            match self.verify(&admitted.order.request).await {
                Ok(payer) => admitted.order.paid.payer = payer,
                Err(stop) => {
                    admitted.claim.give_back().await;
                    return Err(stop);
                }
            }
        }
        Ok(admitted)
    }

    async fn verify(&self, request: &PaymentRequest) -> Result<Option<AccountId>, Stop> {
        let verdict = self.facilitator.verify(request).await.map_err(|error| match error {
            FacilitatorError::Malformed(_) => Denied::Malformed(error),
            FacilitatorError::Unavailable(_) | FacilitatorError::Indeterminate(_) => Denied::Unavailable(error),
        })?;
        if verdict.is_valid {
            return Ok(verdict.payer);
        }
        let reason = verdict.invalid_reason.unwrap_or(Reason::UnexpectedVerifyError);
        let message = verdict.invalid_message.unwrap_or_else(|| "the facilitator refused the payment".to_owned());
        Err(Refusal::new(reason, message).into())
    }
}

impl Order {
    fn new(offer: &Offer, payment: PaymentPayload, trace: TraceParent) -> Self {
        let requirements = offer.requirements.clone();
        let paid = Paid {
            payer: None,
            pay_to: requirements.pay_to.clone(),
            amount: requirements.amount,
            asset: requirements.asset.clone(),
            network: requirements.network.clone(),
            scheme: requirements.scheme.clone(),
        };
        let version = payment.version;
        // Facilitators see version 2 whatever the buyer speaks: what was signed is the same in both.
        let payment = payment.upgraded(&requirements, None);
        let request = PaymentRequest { version: Version::V2, payment, requirements, trace: Some(trace) };
        Self { request, paid, version }
    }

    /// What the claim is bound to: the request, and the very payment that came with it. While a settlement is unknown its
    /// nonce may be seen on chain, and whoever copies that has another payment. A digest, so that the book holds no
    /// signature.
    fn fingerprint(&self, facts: &RequestFacts) -> Result<Fingerprint, BookError> {
        let payment = serde_json::to_vec(&self.request).map_err(|error| BookError(Box::new(error)))?;
        Ok(Fingerprint(format!("{} {:x}", facts.fingerprint.0, Sha256::digest(payment))))
    }
}

impl Admitted {
    /// The facts of the payment.
    pub const fn paid(&self) -> &Paid {
        &self.order.paid
    }

    /// The protocol version that the buyer speaks, and wants the settlement told in.
    pub const fn version(&self) -> Version {
        self.order.version
    }

    /// The span of this request in its trace: the parent of whatever the work asks of others.
    pub const fn trace(&self) -> Option<TraceParent> {
        self.order.request.trace
    }
}

/// Why a payment does not let its request in.
enum Stop {
    Refused(Refusal),
    Denied(Denied),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Denied> for Stop {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}

/// The span of one paid request: below the caller's, or in a trace that is named for the payment.
fn open_span(key: PaymentKey, parent: Option<TraceParent>) -> (TraceParent, Span) {
    let trace = parent.unwrap_or_else(|| TraceParent::of_payment(key)).child("charge");
    let span = tracing::info_span!(
        "charge",
        trace_id = %trace.trace_id(),
        span_id = %trace.span_id(),
        parent_id = parent.map(|parent| tracing::field::display(parent.span_id())),
        payment_key = %key,
    );
    (trace, span)
}

fn taken_already(delivery: &Delivery) -> Stop {
    let used = |message: &str| Refusal::new(Reason::PaymentAlreadyUsed, message).into();
    match delivery {
        Delivery::Claimed | Delivery::Settling => Denied::InFlight.into(),
        Delivery::Served(_) => used("this payment has bought something already; sign a new one"),
        Delivery::Unsettled => {
            used("this payment was presented for another request and may have settled; present it there, or sign a new one")
        }
    }
}

fn log(denied: &Denied) {
    match denied {
        Denied::InFlight => {}
        Denied::Unavailable(error) | Denied::Malformed(error) => {
            let cause = error as &dyn std::error::Error;
            tracing::warn!(cause, "a payment was not taken: the facilitator did not verify it");
        }
        Denied::Book(error) => {
            let cause = error as &dyn std::error::Error;
            tracing::error!(cause, "a payment was not taken: the deliveries book could not be written");
        }
    }
}
