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
//!
//! A payment that the same request presents again, because it may have been charged for it before, goes another way: it is
//! settled when it is admitted, and its request is let in only once that has succeeded. [`Gate::settle`] then has nothing
//! left to do but to write down that it was served; [`Gate::cancel`] leaves it to be presented again. On a route of the
//! flow `upfront` every payment goes that way from the start, and the facilitator verifies it only as it settles it.
//!
//! What a metered payment is charged, its handler says through [`Paid::usage`] before [`Gate::settle`].

use std::sync::Arc;

use farthing_core::amount::Amount;
use farthing_core::asset::{AccountId, AssetId};
use farthing_core::books::{BookError, Deliveries, Delivery, Fingerprint, KEEP_EXPIRED_SECONDS, Presented};
use farthing_core::extension::echo;
use farthing_core::facilitator::{Facilitator, FacilitatorError};
use farthing_core::network::Network;
use farthing_core::reason::{Reason, Refusal};
use farthing_core::scheme::{PaymentFlow, PaymentKey};
use farthing_core::time::Clock;
use farthing_core::trace::TraceParent;
use farthing_core::wire::{PaymentPayload, PaymentRequest, PaymentRequirements, SettleResponse, Verbatim, Version};
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::{Instrument, Span};

use crate::accepted;
use crate::charges::Charges;
use crate::claim::{Claim, Taken};
use crate::count::{self, Outcome};
use crate::resource::{RequestFacts, is_same_resource};
use crate::route::{Offer, Route};
use crate::settle::{self, Ended, Settled};
use crate::usage::{Usage, UsageError};

/// Lets paid requests in and takes the money once they have been served.
#[derive(Clone)]
pub struct Gate {
    facilitator: Arc<dyn Facilitator>,
    deliveries: Arc<dyn Deliveries>,
    clock: Arc<dyn Clock>,
    charges: Arc<Charges>,
}

/// What becomes of a request.
#[must_use]
pub enum Admission {
    /// It has not paid, or not what this route asks, and why: answer with the terms (HTTP 402).
    Required(Option<Refusal>),
    /// It has a payment that will settle: do the work, then settle or cancel.
    Paid(Admitted),
    /// Its payment was to be settled before the work, and was not, or that is not known: because the route is one of the flow
    /// `upfront`, or because it presents a payment again that may have been charged. Answer with what the buyer is to be told,
    /// as after [`Gate::settle`]. Nothing is to be done for it.
    Unsettled(Settled),
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
    #[error(
        "payments cannot be recorded right now; nothing was charged by this request; present the same payment again later, and \
         do not sign another"
    )]
    Book(#[source] BookError),
}

/// The facts of the payment that let a request in. Handlers find it among the request's extensions.
///
/// The money has not moved yet, so there is no transaction to name, and a handler that fails is not paid: unless the buyer
/// presents the payment again after a settlement whose outcome was not known, or the route is one of the flow `upfront`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Paid {
    /// Who pays; `None` if the facilitator did not say.
    pub payer: Option<AccountId>,
    /// To whom.
    pub pay_to: AccountId,
    /// How much, in atomic units; where the route is priced up to a ceiling, at most.
    pub amount: Amount,
    /// In what.
    pub asset: AssetId,
    /// Where.
    pub network: Network,
    /// By which scheme.
    pub scheme: String,
    usage: Usage,
}

impl Paid {
    /// What is charged of the amount, and where a handler says so.
    pub const fn usage(&self) -> &Usage {
        &self.usage
    }
}

/// A request that may be served. Settle it or cancel it; dropping it cancels it.
#[must_use = "an admitted request that is not settled is never charged"]
pub struct Admitted {
    pub(crate) claim: Claim,
    pub(crate) order: Box<Order>,
    /// The settlement, where it came before the work.
    pub(crate) charged: Option<Box<SettleResponse>>,
    /// In which all of it happens, the caller's work included.
    pub(crate) span: Span,
}

/// What is to be settled.
pub(crate) struct Order {
    pub(crate) request: PaymentRequest,
    pub(crate) paid: Paid,
    version: Version,
    flow: PaymentFlow,
}

impl Gate {
    /// A gate that has payments checked and settled by this facilitator, and writes what they bought into this book, which
    /// forgets by this clock what has expired.
    pub fn new(facilitator: Arc<dyn Facilitator>, deliveries: Arc<dyn Deliveries>, clock: Arc<dyn Clock>) -> Self {
        Self { facilitator, deliveries, clock, charges: Arc::default() }
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
            Err(Stop::Unsettled(settled)) => {
                Outcome::of(&settled).count();
                Admission::Unsettled(settled)
            }
            Err(Stop::Denied(denied)) => {
                Outcome::Denied.count();
                Admission::Denied(denied)
            }
        }
    }

    /// Moves the money for a request that was served, and says whether its answer may go.
    ///
    /// Runs in a task of its own: a caller who leaves neither stops the settlement nor keeps it out of the book. What was
    /// charged for a caller who has left can be presented again by the same request, which then gets its answer.
    ///
    /// Where a handler has charged something else than the offer, and the scheme has no such thing, nothing is settled.
    pub async fn settle(&self, admitted: Admitted) -> Settled {
        let began = Instant::now();
        let network = admitted.order.paid.network.clone();
        if admitted.order.paid.usage.is_misused() {
            let (error, was_charged) = (UsageError::NotMetered, admitted.may_be_charged());
            tracing::error!(%error, was_charged, "a paid request was not served");
            self.cancel(admitted).await;
            let settled = Settled::not_sent(network);
            return if was_charged { settled.after_another() } else { settled };
        }
        let (span, facilitator) = (admitted.span.clone(), Arc::clone(&self.facilitator));
        let (charges, key) = (Arc::clone(&self.charges), admitted.claim.key());
        let (answer, caller) = oneshot::channel::<Ended>();
        let settling = async move {
            let ended = settle::run(&*facilitator, &charges, admitted, &answer).await;
            // An end that nobody hears is dropped, and its claim gives the payment back.
            drop(answer.send(ended));
        };
        tokio::spawn(settling.instrument(span));
        let Ended { settled, claim } = caller.await.unwrap_or_else(|_| Settled::unknown(network).into());
        count::settled(&settled, began.elapsed());
        if let (Settled::Charged(_), Some(claim)) = (&settled, claim) {
            claim.delivered();
            self.charges.forget(key);
        }
        settled
    }

    /// Ends a request that was not served: nothing is charged and the payment is free again. One that was charged before it
    /// was admitted stays charged, and may be presented again.
    pub async fn cancel(&self, admitted: Admitted) {
        if admitted.may_be_charged() {
            Outcome::Pending.count();
        } else {
            Outcome::FailedFree.count();
        }
        admitted.claim.give_back().instrument(admitted.span).await;
    }

    async fn check(&self, route: &Route, payment: PaymentPayload, facts: &RequestFacts) -> Result<Admitted, Stop> {
        let offer = accepted::find(route.offer_list(), &payment)?;
        echo::check(route.extensions(), &payment.extensions)?;
        if let Some(resource) = payment.resource.as_ref().filter(|named| !is_same_resource(&facts.resource_url, &named.url)) {
            let got: String = resource.url.chars().take(200).collect();
            return Err(Refusal::mismatch(Reason::ResourceMismatch, "resource.url", &facts.resource_url, got).into());
        }
        let (key, expires_at) = offer.scheme.identify(&payment, &offer.requirements)?;
        let now = self.clock.now();
        let (trace, span) = open_span(key, facts.trace);
        let admitting = async {
            let order = Order::new(offer, payment, trace);
            let request = order.fingerprint(facts).map_err(Denied::Book)?;
            let taken = self.take(Presented { key, request, expires_at, now }, order, span.clone()).await;
            if let Err(Stop::Denied(denied)) = &taken {
                log(denied);
            }
            taken
        };
        admitting.instrument(span.clone()).await
    }

    /// Claims the payment, and has it verified if it is new, and settled if it may have been before.
    async fn take(&self, presented: Presented, order: Order, span: Span) -> Result<Admitted, Stop> {
        let mut order = Box::new(order);
        let too_old = forgotten(&presented);
        let taken = Claim::take(Arc::clone(&self.deliveries), presented).await;
        match taken.map_err(Denied::Book)? {
            Taken::New(claim) if order.flow == PaymentFlow::Upfront => match too_old {
                None => self.settle_first(claim, order, span).await,
                Some(refusal) => {
                    claim.give_back().await;
                    Err(refusal.into())
                }
            },
            Taken::New(claim) => {
                // The facilitator has better words for a payment that expired, but need not be right.
                let stop = match (self.verify(&order.request).await, too_old) {
                    (Ok(payer), None) => {
                        order.paid.payer = payer;
                        return Ok(Admitted { claim, order, charged: None, span });
                    }
                    (Ok(_), Some(refusal)) => refusal.into(),
                    (Err(stop), _) => stop,
                };
                claim.give_back().await;
                Err(stop)
            }
            Taken::Resumed(claim) => match self.resume(&claim, &mut order).await {
                Ok(charged) => Ok(Admitted { claim, order, charged: charged.map(Box::new), span }),
                Err(settled) => {
                    claim.give_back().await;
                    Err(Stop::Unsettled(settled))
                }
            },
            Taken::Theirs(delivery) => Err(taken_already(&delivery)),
        }
    }

    /// Settles a payment before its request is let in, in a task of its own, as [`Self::settle`] does afterwards.
    async fn settle_first(&self, claim: Claim, mut order: Box<Order>, span: Span) -> Result<Admitted, Stop> {
        let network = order.paid.network.clone();
        let (facilitator, charges) = (Arc::clone(&self.facilitator), Arc::clone(&self.charges));
        let settling = async move {
            let amount = order.paid.amount;
            let (claim, response) = settle::first(&*facilitator, &charges, claim, &mut order, amount).await?;
            order.charged_before(&response);
            charges.settled(claim.key(), amount, response.clone());
            // A claim that nobody takes any more gives the payment back.
            Ok((claim, order, response))
        };
        let settled = tokio::spawn(settling.instrument(span.clone())).await;
        let (claim, order, response) = match settled {
            Ok(settled) => settled.map_err(Stop::Unsettled)?,
            Err(_) => return Err(Stop::Unsettled(Settled::unknown(network))),
        };
        Ok(Admitted { claim, order, charged: Some(Box::new(response)), span })
    }

    /// Has a payment settled that may have been before, unless this process knows that it was. A metered one of which nobody
    /// knows any more for how much is let in if it can still be settled, and then is settled after the work; there is no
    /// settlement yet for it.
    async fn resume(&self, claim: &Claim, order: &mut Order) -> Result<Option<SettleResponse>, Settled> {
        if let Some(response) = self.charges.settlement(claim.key()) {
            order.charged_before(&response);
            return Ok(Some(response));
        }
        let unknown = || Settled::unknown(order.paid.network.clone());
        if order.paid.usage.is_metered() {
            let Some(amount) = self.charges.of(claim.key()) else {
                let Ok(payer) = self.verify(&order.request).await else { return Err(unknown()) };
                order.paid.payer = payer;
                return Ok(None);
            };
            if let Err(error) = order.charge(amount) {
                tracing::error!(payment_key = %claim.key(), %error, "what was charged could not be written again");
                return Err(Settled::unknown(order.paid.network.clone()));
            }
        }
        let response = settle::again(&*self.facilitator, claim, order).await?;
        order.charged_before(&response);
        Ok(Some(response))
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
            usage: Usage::new(requirements.amount, Arc::clone(&offer.asset), offer.scheme.is_metered()),
        };
        let version = payment.version;
        // Facilitators see version 2 whatever the buyer speaks: what was signed is the same in both.
        let payment = payment.upgraded(&requirements, None);
        let request = PaymentRequest { version: Version::V2, payment, requirements, trace: Some(trace) };
        Self { request, paid, version, flow: offer.flow }
    }

    /// What the facilitator is asked to settle from now on. The payment itself stays as it was signed.
    pub(crate) fn charge(&mut self, amount: Amount) -> Result<(), serde_json::Error> {
        if amount != self.request.requirements.amount {
            let requirements = self.request.requirements.clone().into_value();
            self.request.requirements = Verbatim::new(PaymentRequirements { amount, ..requirements })?;
        }
        Ok(())
    }

    /// The money has moved before the work: there is nothing left to say about how much.
    fn charged_before(&mut self, response: &SettleResponse) {
        self.paid.payer.clone_from(&response.payer);
        self.paid.usage.fix(self.request.requirements.amount);
    }

    /// What the claim is bound to: the request, and the very payment that came with it. While a settlement is unknown its
    /// nonce may be seen on chain, and whoever copies that has another payment. A digest, so that the book holds neither
    /// signatures nor what buyers ask for.
    fn fingerprint(&self, facts: &RequestFacts) -> Result<Fingerprint, BookError> {
        let payment = serde_json::to_vec(&self.request).map_err(|error| BookError(Box::new(error)))?;
        // The first part is as long as every digest, so that nothing can be moved from one part into the other.
        let digest = Sha256::new().chain_update(Sha256::digest(&facts.fingerprint.0)).chain_update(payment).finalize();
        Ok(Fingerprint(format!("{digest:x}")))
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

    /// The settlement, if the money had to move before the work: the route is one of the flow `upfront`, or the buyer
    /// presented the payment again.
    pub fn charged(&self) -> Option<&SettleResponse> {
        self.charged.as_deref()
    }

    /// Whether the payment may have been charged, by this request or an earlier one.
    pub(crate) const fn may_be_charged(&self) -> bool {
        self.charged.is_some() || self.claim.is_resumed()
    }

    /// The span of this request in its trace: the parent of whatever the work asks of others.
    pub const fn trace(&self) -> Option<TraceParent> {
        self.order.request.trace
    }
}

/// Why a payment does not let its request in.
enum Stop {
    Refused(Refusal),
    Unsettled(Settled),
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

/// Why a payment is refused that is new to the book: it may have forgotten it.
fn forgotten(presented: &Presented) -> Option<Refusal> {
    let now = presented.now;
    let at = presented.expires_at.filter(|at| at.plus(KEEP_EXPIRED_SECONDS) < now)?;
    let expected = format!("one that expired less than {KEEP_EXPIRED_SECONDS} seconds ago, if at all");
    let got = format!("one that expired at {at}, and it is {now} now");
    Some(Refusal::mismatch(Reason::PaymentExpired, "payment", expected, got))
}

fn taken_already(delivery: &Delivery) -> Stop {
    let used = |message: String| Refusal::new(Reason::PaymentAlreadyUsed, message).into();
    match delivery {
        Delivery::Claimed | Delivery::Settling => Denied::InFlight.into(),
        // Whoever was paid can find the answer by the transaction, if it got lost on its way to the buyer.
        Delivery::Served(transaction) if transaction.0.is_empty() => used(
            "this payment has bought something already, which cost nothing; for another purchase sign a new one".to_owned(),
        ),
        Delivery::Served(transaction) => used(format!(
            "this payment has bought something already, in transaction {transaction}; if that answer never came, show the seller the \
             transaction, and for another purchase sign a new payment"
        )),
        Delivery::Unsettled => used(
            "this payment was presented for another request and may have settled; present it there, or sign a new one"
                .to_owned(),
        ),
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
