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
//! [`Hooks`] have their say at each of these turns. None of them can let an unknown outcome pass for a failure, and whatever one
//! does, the claim's end is written.
//!
//! What a metered payment is charged, its handler says through [`Paid::usage`] before [`Gate::settle`].
//!
//! An answer that [`Gate::settle_and_keep`] is given is written down with its settlement. Whoever bought it can ask for it
//! again, here or on any server with the same book: that is [`Admission::Repeated`], and costs neither work nor money. A
//! purchase that its client has named (`payment-identifier`) is made once, with however many payments it is asked for.

use std::sync::Arc;

use farthing_core::amount::Amount;
use farthing_core::asset::{AccountId, AssetId};
use farthing_core::books::{BookError, Debts, Deliveries, MemoryDebts};
use farthing_core::facilitator::{Facilitator, FacilitatorError};
use farthing_core::network::Network;
use farthing_core::reason::Refusal;
use farthing_core::scheme::PaymentKey;
use farthing_core::time::Clock;
use farthing_core::trace::TraceParent;
use farthing_core::wire::{SettleResponse, Version};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::{Instrument, Span};

use crate::apart::see_through;
use crate::claim::Claim;
use crate::count::{self, Outcome};
use crate::departed::{Departed, InTransit};
use crate::hooks::{CancelReason, HandlerAnswer, HookFailed, HookList, Hooks, TurnedAway, Watch};
pub use crate::keep::{Answer, KeepAnswers, Repeat, Repeated};
use crate::order::Order;
use crate::sending::Sends;
use crate::settle::{self, Ended, Settled};
use crate::usage::{Usage, UsageError};

/// Lets paid requests in and takes the money once they have been served.
#[derive(Clone)]
pub struct Gate {
    pub(crate) facilitator: Arc<dyn Facilitator>,
    pub(crate) deliveries: Arc<dyn Deliveries>,
    pub(crate) debts: Arc<dyn Debts>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) departed: Departed,
    pub(crate) keep: KeepAnswers,
    pub(crate) hooks: HookList,
}

/// What becomes of a request.
#[must_use]
pub enum Admission {
    /// It has not paid, or not what this route asks, and why: answer with the terms (HTTP 402).
    Required(Option<Refusal>),
    /// It has a payment that will settle: do the work, then settle or cancel.
    Paid(Admitted),
    /// It was served before: give it that answer again, and tell it that settlement. There is nothing else to be done.
    Repeated(Box<Repeated>),
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
    /// The payment, or the purchase that it names, is being worked on (HTTP 409).
    #[error(
        "another request with this payment, or for the purchase that it names, is being worked on right now; nothing was charged \
         by this one; wait for the other one's answer"
    )]
    InFlight,
    /// The payer has bought something else under this name (HTTP 409).
    #[error(
        "extensions.payment-identifier.info.id: expected the name of a new purchase, got one under which this payer buys something \
         else; nothing was charged; repeat that request as it was, or give this purchase a name of its own"
    )]
    NameInUse,
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
    /// A hook did not do its part, and nobody is let in without its word (HTTP 503).
    #[error("this cannot be sold right now; nothing was charged by this request; present the same payment again later")]
    Hook(#[source] HookFailed),
    /// A hook does not let the payer in, and says how to answer.
    #[error("{}", .0.message)]
    TurnedAway(TurnedAway),
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
    /// What makes the payment unique, however often it is presented.
    pub payment_key: PaymentKey,
    pub(crate) usage: Usage,
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
    /// Tells hooks if it comes to nothing.
    pub(crate) watch: Option<Watch>,
    /// How often an answer has begun to go out for the payment before.
    pub(crate) sends: Sends,
}

impl Gate {
    /// A gate that has payments checked and settled by this facilitator, and writes what they bought into this book, which
    /// forgets by this clock what has expired.
    pub fn new(facilitator: Arc<dyn Facilitator>, deliveries: Arc<dyn Deliveries>, clock: Arc<dyn Clock>) -> Self {
        let departed = Departed::new(Arc::clone(&deliveries));
        let debts = Arc::new(MemoryDebts::default());
        Self { facilitator, deliveries, debts, departed, clock, keep: KeepAnswers::default(), hooks: HookList::default() }
    }

    /// The same gate with another book of what was delivered before it was paid; one in memory unless set.
    #[must_use]
    pub fn debts(self, debts: Arc<dyn Debts>) -> Self {
        Self { debts, ..self }
    }

    /// The same gate with these hooks, in this order, in the place of those that it had. The one for requests of whatever kind,
    /// [`Hooks::on_protected_request`], is the transport's to ask.
    #[must_use]
    pub fn hooks(self, hooks: Vec<Arc<dyn Hooks>>) -> Self {
        Self { hooks: HookList::new(hooks), ..self }
    }

    /// The same gate with other rules for answers; [`KeepAnswers::default`] unless set.
    #[must_use]
    pub fn keep_answers(self, keep: KeepAnswers) -> Self {
        Self { keep, ..self }
    }

    /// The rules for answers. What is larger than they allow need not be handed to [`Self::settle_and_keep`].
    pub const fn kept_answers(&self) -> &KeepAnswers {
        &self.keep
    }

    /// Moves the money for a request that was served, and says whether its answer may go. The answer is not kept.
    pub async fn settle(&self, admitted: Admitted) -> Settled {
        self.settle_and_keep(admitted, None).await
    }

    /// Moves the money for a request that was served, and says whether its answer may go. What [`Self::kept_answers`] allows
    /// is written down together with the settlement, for whoever asks again.
    ///
    /// It is seen through: a caller who leaves neither stops the settlement nor keeps it out of the book. What was charged for
    /// a caller who has left can be presented again by the same request, which then gets its answer.
    ///
    /// Where a handler has charged something else than the offer, and the scheme has no such thing, nothing is settled.
    pub async fn settle_and_keep(&self, admitted: Admitted, answer: Option<Answer>) -> Settled {
        self.settle_and_send(admitted, answer).await.0
    }

    /// The same for a transport that can tell when an answer has gone out: of one that is kept only until then, it is to say so.
    pub async fn settle_and_send(&self, mut admitted: Admitted, answer: Option<Answer>) -> (Settled, Option<InTransit>) {
        let began = Instant::now();
        let network = admitted.order.paid.network.clone();
        if admitted.order.paid.usage.is_misused() {
            let (error, was_charged) = (UsageError::NotMetered, admitted.may_be_charged());
            tracing::error!(%error, was_charged, "a paid request was not served");
            self.cancel(admitted).await;
            let settled = Settled::not_sent(network);
            return (if was_charged { settled.after_another() } else { settled }, None);
        }
        if let Some(watch) = admitted.watch.take() {
            watch.ends();
        }
        let (span, gate) = (admitted.span.clone(), self.clone());
        let (end, caller) = oneshot::channel::<Ended>();
        let settling = async move {
            let ended = settle::run(&gate, admitted, answer, &end).await;
            // An end that nobody hears is dropped, and its claim gives the payment back.
            drop(end.send(ended));
        };
        // Where it did not end, nothing was heard of it either.
        see_through(settling.instrument(span)).await.unwrap_or_default();
        let Ended { settled, claim, transit } = caller.await.unwrap_or_else(|_| Settled::unknown(network).into());
        count::settled(&settled, began.elapsed());
        if let (Settled::Charged(_), Some(claim)) = (&settled, claim) {
            claim.delivered();
        }
        (settled, transit)
    }

    /// Ends a request that was not served: nothing is charged and the payment is free again. One that was charged before it
    /// was admitted stays charged, and may be presented again.
    pub async fn cancel(&self, admitted: Admitted) {
        self.cancel_because(admitted, CancelReason::HandlerFailed, None).await;
    }

    /// Ends a request that was not served, as [`Self::cancel`] does, and tells hooks why; with the status of the answer, if there
    /// is one.
    pub async fn cancel_because(&self, mut admitted: Admitted, reason: CancelReason, status: Option<u16>) {
        let watch = admitted.watch.take();
        if admitted.may_be_charged() {
            Outcome::Pending.count();
        } else {
            Outcome::FailedFree.count();
        }
        admitted.claim.give_back().instrument(admitted.span).await;
        if let Some(watch) = watch {
            watch.canceled(reason, status).await;
        }
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

    /// What a hook answers in the place of the handler, which is then not to run.
    pub fn instead(&self) -> Option<&HandlerAnswer> {
        self.order.instead.as_ref()
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
