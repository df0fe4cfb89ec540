//! The way in: which offer a payment takes, whose it is, and whether its request may be served.

use std::sync::Arc;

use farthing_core::books::{Delivery, Naming, Owed, Presented};
use farthing_core::facilitator::FacilitatorError;
use farthing_core::reason::{Reason, Refusal};
use farthing_core::scheme::{PaymentFlow, PaymentKey};
use farthing_core::time::UnixSeconds;
use farthing_core::trace::TraceParent;
use farthing_core::wire::{PaymentPayload, SettleResponse, VerifyResponse};
use tracing::{Instrument, Span};

use crate::accepted;
use crate::charge;
use crate::claim::{Claim, Taken};
use crate::count::Outcome;
use crate::gate::{Admission, Admitted, Denied, Gate, Repeat, Repeated};
use crate::hooks::{AfterVerify, Before, CancelReason, SettlePhase, Watch, log_failed};
use crate::order::Order;
use crate::purchase::Named;
use crate::resource::{RequestFacts, is_same_resource};
use crate::route::Route;
use crate::sending::Sends;
use crate::settle::{self, Settled};
use crate::sold::Sold;
use crate::stop::{Stop, bought_already, failure_of, forgotten, refusal_of, repeated, taken_already};

impl Gate {
    /// Decides about one request. Must be called inside a tokio runtime.
    pub async fn admit(&self, route: &Route, payment: Option<PaymentPayload>, facts: &RequestFacts) -> Admission {
        let Some(payment) = payment else {
            Outcome::Required.count();
            return Admission::Required(None);
        };
        self.admit_quoted(route, payment, facts, None).await
    }

    /// Decides about one request that pays. What it takes may be stale: an offer that buys nothing new any more, or perhaps never
    /// did. A payment that may have been charged for this very request before is answered for all the same.
    pub(crate) async fn admit_quoted(
        &self,
        route: &Route,
        payment: PaymentPayload,
        facts: &RequestFacts,
        stale: Option<Refusal>,
    ) -> Admission {
        match self.check(route, payment, facts, stale).await {
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
        stale: Option<Refusal>,
    ) -> Result<Admitted, Stop> {
        let offer = accepted::find(route.offer_list(), &payment)?;
        route.check_echo(&facts.resource_url, &payment.extensions)?;
        if let Some(resource) = payment.resource.as_ref().filter(|named| !is_same_resource(&facts.resource_url, &named.url)) {
            let got: String = resource.url.chars().take(200).collect();
            return Err(Refusal::mismatch(Reason::ResourceMismatch, "resource.url", &facts.resource_url, got).into());
        }
        let named = Named::of(route.extensions(), &payment.extensions, &facts.bound_to(), &offer.requirements)?;
        let (key, expires_at) = offer.scheme.identify(&payment, &offer.requirements)?;
        let now = self.clock.now();
        let (trace, span) = open_span(key, facts.trace);
        let admitting = async {
            let order = Order::new(offer, payment, key, trace);
            let (sold, resource_url) = (Sold::of(route, facts), facts.resource_url.clone());
            let order = Order { after: route.after(facts), sold, named, resource_url, ..order };
            let request = order.fingerprint(facts).map_err(Denied::Book)?;
            let taken = self.take(Presented { key, request, expires_at, now }, order, stale, span.clone()).await;
            if let Err(Stop::Denied(denied)) = &taken {
                log(denied);
            }
            taken
        };
        admitting.instrument(span.clone()).await
    }

    /// Claims the payment, and does with it what its past in the book asks for.
    async fn take(&self, presented: Presented, order: Order, stale: Option<Refusal>, span: Span) -> Result<Admitted, Stop> {
        let order = Box::new(order);
        let (too_old, now) = (forgotten(&presented), presented.now);
        let taken = Claim::take(Arc::clone(&self.deliveries), presented).await;
        match taken.map_err(Denied::Book)? {
            Taken::New(claim) => match stale {
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
        too_old: (Option<Refusal>, UnixSeconds),
        span: Span,
    ) -> Result<Admitted, Stop> {
        let key = claim.key();
        let verified = match self.look_at(&mut claim, &mut order, too_old).await {
            Ok(verified) => verified,
            Err(stop) => {
                claim.give_back().await;
                return Err(stop);
            }
        };
        if let Err(stop) = self.after_verify(&mut order, key, verified).await {
            claim.give_back().await;
            if let Some(watch) = Watch::new(&self.hooks, || order.hook_context(key), None) {
                watch.canceled(CancelReason::AfterVerifyAborted, None).await;
            }
            return Err(stop);
        }
        if order.flow == PaymentFlow::Upfront {
            return self.settle_first(claim, order, span).await;
        }
        let watch = Watch::new(&self.hooks, || order.hook_context(key), None);
        Ok(Admitted { claim, order, charged: None, span, watch, sends: Sends::default() })
    }

    /// Has a new payment verified, unless its settlement does that, and its purchase named.
    async fn look_at(
        &self,
        claim: &mut Claim,
        order: &mut Order,
        (too_old, now): (Option<Refusal>, UnixSeconds),
    ) -> Result<Option<VerifyResponse>, Stop> {
        let verified = self.verify(order, claim.key()).await?;
        // The facilitator has better words for a payment that expired, but need not be right.
        if let Some(refusal) = too_old {
            return Err(refusal.into());
        }
        order.paid.payer = verified.as_ref().and_then(|verified| verified.payer.clone());
        self.name(claim, order, now).await?;
        Ok(verified)
    }

    /// Lets hooks look at a payment that was found good, each of which may still refuse it or answer for the handler.
    async fn after_verify(&self, order: &mut Order, key: PaymentKey, verified: Option<VerifyResponse>) -> Result<(), Stop> {
        let Some(verified) = verified else { return Ok(()) };
        match self.hooks.after_verify(|| order.hook_context(key), &verified).await {
            Ok(AfterVerify::Continue) => Ok(()),
            Ok(AfterVerify::SkipHandler(answer)) => {
                order.instead = Some(answer);
                Ok(())
            }
            Ok(AfterVerify::Abort(refusal)) => Err(refusal.into()),
            Ok(AfterVerify::TurnAway(away)) => Err(Denied::TurnedAway(away).into()),
            Err(failed) => Err(Denied::Hook(failed).into()),
        }
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
        let (network, gate) = (order.paid.network.clone(), self.clone());
        let settling = async move {
            let amount = order.paid.amount;
            let (mut claim, response) = settle::first(&gate, claim, &mut order, amount, SettlePhase::BeforeHandler).await?;
            if !claim.charged(&response, &order.bill(gate.clock.now(), Some(&response))).await {
                claim.give_back().await;
                return Err(Settled::charged_unwritten(&order, response));
            }
            order.charged_before(&response);
            let watch = Watch::new(&gate.hooks, || order.hook_context(claim.key()), Some(&response));
            // A claim that nobody takes any more gives the payment back, and hooks hear of it.
            Ok((claim, order, response, watch))
        };
        let settled = tokio::spawn(settling.instrument(span.clone())).await;
        let (claim, order, response, watch) = match settled {
            Ok(settled) => settled.map_err(Stop::Unsettled)?,
            Err(_) => return Err(Stop::Unsettled(Settled::unknown(network))),
        };
        Ok(Admitted { claim, order, charged: Some(Box::new(response)), span, watch, sends: Sends::default() })
    }

    /// Lets a payment in that may have been charged before, once it is certain that it was; or gives it the answer that did not
    /// get out.
    async fn resume(&self, mut claim: Claim, mut order: Box<Order>, owed: Owed, span: Span) -> Result<Admitted, Stop> {
        let settled = self.settle_owed(&claim, &mut order, &owed).await;
        if settled.is_ok() {
            // Whatever left before it was paid is paid now.
            self.forgive(claim.key()).await;
        }
        let settled = match settled {
            Ok(response) => {
                let bill = order.bill(self.clock.now(), Some(&response));
                match owed.answer {
                    Some(answer) if claim.served(&response, &bill, Some(&answer)).await => {
                        claim.delivered();
                        let (head, body) = (answer.head, answer.body);
                        return Err(Stop::Repeated(Box::new(Repeated { settlement: response, head, body })));
                    }
                    None if owed.settlement.is_some() || claim.charged(&response, &bill).await => {
                        order.charged_before(&response);
                        let watch = Watch::new(&self.hooks, || order.hook_context(claim.key()), Some(&response));
                        // What is no settlement was found out above.
                        let sends = owed.settlement.as_deref().and_then(|text| Sends::read(text).ok()).unwrap_or_default();
                        return Ok(Admitted { claim, order, charged: Some(Box::new(response)), span, watch, sends });
                    }
                    _ => Settled::charged_unwritten(&order, response),
                }
            }
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
            Some(amount) => order.recall(amount).map_err(|error| {
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
            None => charge::again(self, claim, order).await,
        }
    }

    /// The verdict on a payment that is good, by the facilitator's word or that of a hook; `None` where its settlement is the
    /// verdict.
    async fn verify(&self, order: &Order, key: PaymentKey) -> Result<Option<VerifyResponse>, Stop> {
        let context = || order.hook_context(key);
        match self.hooks.before_verify(context).await.map_err(Denied::Hook)? {
            Before::Continue => {}
            Before::Abort(refusal) => return Err(refusal.into()),
            Before::Skip(verified) if verified.is_valid => return Ok(Some(verified)),
            Before::Skip(verified) => return Err(refusal_of(verified).into()),
        }
        // A settlement verifies by itself. But a name belongs to its payer, and nobody is to be charged under one before it is
        // sure that nobody was.
        if order.flow == PaymentFlow::Upfront && order.named.is_none() && !self.hooks.verify_first() {
            return Ok(None);
        }
        let stop = match self.facilitator.verify(&order.request).await {
            Ok(verified) if verified.is_valid => return Ok(Some(verified)),
            Ok(verified) => refusal_of(verified).into(),
            Err(error @ FacilitatorError::Malformed(_)) => Denied::Malformed(error).into(),
            Err(error @ (FacilitatorError::Unavailable(_) | FacilitatorError::Indeterminate(_))) => {
                Denied::Unavailable(error).into()
            }
        };
        let recovered = self.hooks.verify_failure(context, || failure_of(&stop)).await;
        recovered.map(Some).ok_or(stop)
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

fn log(denied: &Denied) {
    match denied {
        Denied::InFlight | Denied::NameInUse | Denied::TurnedAway(_) => {}
        Denied::Unavailable(error) | Denied::Malformed(error) => {
            let cause = error as &dyn std::error::Error;
            tracing::warn!(cause, "a payment was not taken: the facilitator did not verify it");
        }
        Denied::Hook(failed) => log_failed(failed, "a payment was not taken: a hook did not do its part"),
        Denied::Book(error) => {
            let cause = error as &dyn std::error::Error;
            tracing::error!(cause, "a payment was not taken: the deliveries book could not be written");
        }
    }
}
