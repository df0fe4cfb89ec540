//! The way in: which offer a payment takes, whose it is, and whether its request may be served.

use std::sync::Arc;

use farthing_core::asset::AccountId;
use farthing_core::books::{Answered, BookError, Delivery, KEEP_EXPIRED_SECONDS, Naming, Owed, Presented};
use farthing_core::facilitator::FacilitatorError;
use farthing_core::reason::{Reason, Refusal};
use farthing_core::scheme::{PaymentFlow, PaymentKey};
use farthing_core::time::UnixSeconds;
use farthing_core::trace::TraceParent;
use farthing_core::wire::{PaymentPayload, PaymentRequest, SettleResponse};
use tracing::{Instrument, Span};

use crate::accepted;
use crate::claim::{Claim, Taken};
use crate::count::Outcome;
use crate::gate::{Admission, Admitted, Denied, Gate, Repeat, Repeated};
use crate::order::Order;
use crate::purchase::Named;
use crate::resource::{RequestFacts, is_same_resource};
use crate::route::Route;
use crate::settle::{self, Settled};

impl Gate {
    /// Decides about one request. Must be called inside a tokio runtime.
    pub async fn admit(&self, route: &Route, payment: Option<PaymentPayload>, facts: &RequestFacts) -> Admission {
        let Some(payment) = payment else {
            Outcome::Required.count();
            return Admission::Required(None);
        };
        self.admit_quoted(route, payment, facts, None).await
    }

    /// Decides about one request that pays. What it takes may have been offered for so long that it buys nothing new; a payment
    /// that may have been charged for it before is answered for all the same.
    pub(crate) async fn admit_quoted(
        &self,
        route: &Route,
        payment: PaymentPayload,
        facts: &RequestFacts,
        expired: Option<Refusal>,
    ) -> Admission {
        match self.check(route, payment, facts, expired).await {
            Ok(admitted) => Admission::Paid(admitted),
            Err(Stop::Repeated(repeated)) => {
                Outcome::Repeated.count();
                Admission::Repeated(repeated)
            }
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

    async fn check(
        &self,
        route: &Route,
        payment: PaymentPayload,
        facts: &RequestFacts,
        expired: Option<Refusal>,
    ) -> Result<Admitted, Stop> {
        let offer = accepted::find(route.offer_list(), &payment)?;
        route.check_echo(&facts.resource_url, &payment.extensions)?;
        if let Some(resource) = payment.resource.as_ref().filter(|named| !is_same_resource(&facts.resource_url, &named.url)) {
            let got: String = resource.url.chars().take(200).collect();
            return Err(Refusal::mismatch(Reason::ResourceMismatch, "resource.url", &facts.resource_url, got).into());
        }
        let named = Named::of(route.extensions(), &payment.extensions, &facts.fingerprint, &offer.requirements)?;
        let (key, expires_at) = offer.scheme.identify(&payment, &offer.requirements)?;
        let now = self.clock.now();
        let (trace, span) = open_span(key, facts.trace);
        let admitting = async {
            let order = Order { after: route.after(facts), named, ..Order::new(offer, payment, trace) };
            let request = order.fingerprint(facts).map_err(Denied::Book)?;
            let taken = self.take(Presented { key, request, expires_at, now }, order, expired, span.clone()).await;
            if let Err(Stop::Denied(denied)) = &taken {
                log(denied);
            }
            taken
        };
        admitting.instrument(span.clone()).await
    }

    /// Claims the payment, and does with it what its past in the book asks for.
    async fn take(
        &self,
        presented: Presented,
        order: Order,
        expired: Option<Refusal>,
        span: Span,
    ) -> Result<Admitted, Stop> {
        let order = Box::new(order);
        let (too_old, now) = (forgotten(&presented), presented.now);
        let taken = Claim::take(Arc::clone(&self.deliveries), presented).await;
        match taken.map_err(Denied::Book)? {
            Taken::New(claim) => match expired {
                None => self.begin(claim, order, (too_old, now), span).await,
                Some(refusal) => {
                    claim.give_back().await;
                    Err(refusal.into())
                }
            },
            Taken::Resumed(claim, owed) => self.resume(claim, order, *owed, span).await,
            Taken::Answered(answered) => {
                let is_safe = order.named.is_some() || answered.is_left_behind || self.keep.repeat == Repeat::Always;
                // Whoever asks may have found the payment on chain.
                Err(if is_safe { repeated(*answered) } else { taken_already(&Delivery::Served(answered.receipt.transaction)) })
            }
            Taken::Theirs(delivery) => Err(taken_already(&delivery)),
        }
    }

    /// Has a new payment verified, and its purchase named; or settled, where that comes first.
    async fn begin(
        &self,
        mut claim: Claim,
        mut order: Box<Order>,
        (too_old, now): (Option<Refusal>, UnixSeconds),
        span: Span,
    ) -> Result<Admitted, Stop> {
        let is_upfront = order.flow == PaymentFlow::Upfront;
        // A settlement verifies by itself. But a name belongs to its payer, and nobody is to be charged under one before it is
        // sure that nobody was.
        let needs_verifying = !is_upfront || order.named.is_some();
        let verified = if needs_verifying { self.verify(&order.request).await } else { Ok(None) };
        let good = match (verified, too_old) {
            // The facilitator has better words for a payment that expired, but need not be right.
            (Ok(_), Some(refusal)) => Err(refusal.into()),
            (Ok(payer), None) => {
                order.paid.payer = payer;
                self.name(&mut claim, &order, now).await
            }
            (Err(stop), _) => Err(stop),
        };
        if let Err(stop) = good {
            claim.give_back().await;
            return Err(stop);
        }
        if is_upfront {
            return self.settle_first(claim, order, span).await;
        }
        Ok(Admitted { claim, order, charged: None, span })
    }

    /// Sees to it that a purchase with a name is made once.
    async fn name(&self, claim: &mut Claim, order: &Order, now: UnixSeconds) -> Result<(), Stop> {
        let Some(named) = &order.named else { return Ok(()) };
        let nobody = || FacilitatorError::Malformed("payer: expected who pays, which a purchase with a name needs".to_owned());
        let payer = order.paid.payer.as_ref().ok_or_else(|| Denied::Malformed(nobody()))?;
        match claim.name(&named.by(payer, now)).await.map_err(Denied::Book)? {
            Naming::Ours => Ok(()),
            Naming::Answered(answered) => Err(repeated(*answered)),
            Naming::OtherRequest => Err(Denied::NameInUse.into()),
            Naming::Lost | Naming::Taken(Delivery::Claimed | Delivery::Settling) => Err(Denied::InFlight.into()),
            Naming::Taken(delivery) => Err(bought_already(&delivery)),
        }
    }

    /// Settles a payment before its request is let in, in a task of its own, as [`Self::settle`] does afterwards.
    async fn settle_first(&self, claim: Claim, mut order: Box<Order>, span: Span) -> Result<Admitted, Stop> {
        let network = order.paid.network.clone();
        let facilitator = Arc::clone(&self.facilitator);
        let settling = async move {
            let amount = order.paid.amount;
            let (mut claim, response) = settle::first(&*facilitator, claim, &mut order, amount).await?;
            if !claim.charged(&response).await {
                claim.give_back().await;
                return Err(Settled::charged_unwritten(&order, response));
            }
            order.charged_before(&response);
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

    /// Lets a payment in that may have been charged before, once it is certain that it was; or gives it the answer that did not
    /// get out.
    async fn resume(&self, mut claim: Claim, mut order: Box<Order>, owed: Owed, span: Span) -> Result<Admitted, Stop> {
        let settled = match self.settle_owed(&claim, &mut order, &owed).await {
            Ok(response) => match owed.answer {
                Some(answer) if claim.served(&response, Some(&answer)).await => {
                    claim.delivered();
                    let (head, body) = (answer.head, answer.body);
                    return Err(Stop::Repeated(Box::new(Repeated { settlement: response, head, body })));
                }
                None if owed.settlement.is_some() || claim.charged(&response).await => {
                    order.charged_before(&response);
                    return Ok(Admitted { claim, order, charged: Some(Box::new(response)), span });
                }
                _ => Settled::charged_unwritten(&order, response),
            },
            Err(settled) => settled,
        };
        claim.give_back().await;
        Err(Stop::Unsettled(settled))
    }

    /// The settlement of a payment that may have been charged: as the book knows it, or else as the facilitator is asked for
    /// it again, for the very same amount.
    async fn settle_owed(&self, claim: &Claim, order: &mut Order, owed: &Owed) -> Result<SettleResponse, Settled> {
        let unknown = |order: &Order| Settled::unknown(order.paid.network.clone());
        match owed.charge {
            Some(amount) => order.charge(amount).map_err(|error| {
                tracing::error!(payment_key = %claim.key(), %error, "what was charged could not be written again");
                unknown(order)
            })?,
            // Nobody wrote down what its handler said, and nobody may be charged for more.
            None if order.paid.usage.is_metered() => return Err(unknown(order)),
            None => {}
        }
        match &owed.settlement {
            Some(text) => serde_json::from_str(text).map_err(|error| {
                tracing::error!(payment_key = %claim.key(), %error, "the settlement in the deliveries book cannot be read");
                unknown(order)
            }),
            None => settle::again(&*self.facilitator, claim, order).await,
        }
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

/// Why a payment does not let its request in.
enum Stop {
    Repeated(Box<Repeated>),
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

/// An answer that was bought before.
fn repeated(answered: Answered) -> Stop {
    let Answered { receipt, answer, .. } = answered;
    match serde_json::from_str(&receipt.settlement) {
        Ok(settlement) => Stop::Repeated(Box::new(Repeated { settlement, head: answer.head, body: answer.body })),
        Err(error) => Denied::Book(BookError(Box::new(error))).into(),
    }
}

/// Why nobody is charged for a purchase that another payment has made, or may have made.
fn bought_already(delivery: &Delivery) -> Stop {
    match delivery {
        Delivery::Served(transaction) => Refusal::new(
            Reason::PaymentAlreadyUsed,
            format!(
                "the purchase of this name was made with another payment, in transaction {transaction}, and its answer is not kept \
                 any more; nothing was charged by this request; for another purchase choose another name"
            ),
        ),
        _ => Refusal::new(
            Reason::SettlementPending,
            "it is not known whether the purchase of this name has been paid for with another payment; nothing was charged by this \
             request; present that first payment for the same request again",
        ),
    }
    .into()
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
            "this payment has bought something already, in transaction {transaction}; if that answer never came, present the same \
             payment for the same request again in a minute, or show the seller the transaction; for another purchase sign a new one"
        )),
        Delivery::Unsettled => used(
            "this payment was presented for another request and may have settled; present it there, or sign a new one"
                .to_owned(),
        ),
    }
}

fn log(denied: &Denied) {
    match denied {
        Denied::InFlight | Denied::NameInUse => {}
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
