//! Moves the money of one admitted request and decides whether its answer may go.
//!
//! The book says that the payment may be charged before the facilitator is asked to, and that it was before the answer
//! goes: whoever finds those entries after a crash must neither take the payment for free nor deliver for it again.
//!
//! An unknown outcome is never turned into failure: the money may have moved, so the payment stays bound to its request
//! and may be presented for it again. Then it is settled *before* the work, and only success counts: a facilitator without
//! a book refuses what it has carried out (the nonce is used), so a refusal says nothing about the settlement before it.
//!
//! A metered payment is settled for what its handler said, and asked for again with the very same amount, which the book
//! holds from before anybody was asked.

use farthing_core::amount::Amount;
use farthing_core::books::StoredAnswer;
use farthing_core::network::Network;
use farthing_core::reason::{Reason, Refusal};
use farthing_core::wire::SettleResponse;
use tokio::sync::oneshot;

use crate::charge::charge;
use crate::claim::Claim;
use crate::departed::InTransit;
use crate::gate::{Admitted, Answer, Gate, Repeat};
use crate::hooks::SettlePhase;
use crate::order::Order;

/// What became of the money, and so of the answer. Only `Charged` lets it go.
#[must_use]
#[derive(Clone, Debug, PartialEq)]
pub enum Settled {
    /// The money has moved: release the answer.
    Charged(SettleResponse),
    /// Nothing has moved, and this payment will not settle: drop the answer and ask for payment (HTTP 402).
    Refused(SettleResponse),
    /// Nothing was sent; the payment is as good as before: drop the answer (HTTP 503).
    NotSent(SettleResponse),
    /// The outcome is not known, or cannot be written: withhold the answer; the same request may present the payment again
    /// (HTTP 503).
    Pending(SettleResponse),
    /// The facilitator's answer contradicts itself or the payment: treated as unknown (HTTP 502).
    Untrusted(SettleResponse),
}

impl Settled {
    /// Nothing is known, not even from the facilitator.
    pub(crate) fn unknown(network: Network) -> Self {
        Self::Pending(pending(network, String::new()))
    }

    /// The money has moved, and that could not be written: nothing may be done or given for it.
    pub(crate) fn charged_unwritten(order: &Order, response: SettleResponse) -> Self {
        Self::Pending(pending(order.paid.network.clone(), response.transaction))
    }

    /// Nobody was asked, or nobody did anything.
    pub(crate) fn not_sent(network: Network) -> Self {
        Self::NotSent(not_sent(network))
    }

    /// What may also have become of the money before: an earlier settlement may have done what this one could not do again.
    pub(crate) fn after_another(self) -> Self {
        match self {
            Self::Refused(SettleResponse { transaction, network: Some(network), .. })
            | Self::NotSent(SettleResponse { transaction, network: Some(network), .. }) => {
                Self::Pending(pending(network, transaction))
            }
            settled => settled,
        }
    }

    /// What the buyer is told.
    pub const fn response(&self) -> &SettleResponse {
        match self {
            Self::Charged(response)
            | Self::Refused(response)
            | Self::NotSent(response)
            | Self::Pending(response)
            | Self::Untrusted(response) => response,
        }
    }
}

/// A settlement on its way to whoever asked for it.
pub(crate) struct Ended {
    pub(crate) settled: Settled,
    /// Of a payment whose answer may go. If nobody takes it any more, its end says so.
    pub(crate) claim: Option<Claim>,
    /// The answer, where it is kept only until it has gone out.
    pub(crate) transit: Option<InTransit>,
}

impl From<Settled> for Ended {
    fn from(settled: Settled) -> Self {
        Self { settled, claim: None, transit: None }
    }
}

/// Settles, and writes into the book what became of it, together with the answer.
pub(crate) async fn run(gate: &Gate, admitted: Admitted, answer: Option<Answer>, caller: &oneshot::Sender<Ended>) -> Ended {
    let Admitted { claim, mut order, charged, .. } = admitted;
    let amount = order.paid.usage().end();
    let (mut claim, mut response) = match charged {
        Some(response) => (claim, *response),
        None => match first(gate, claim, &mut order, amount, SettlePhase::AfterHandler).await {
            Ok(paid) => paid,
            Err(settled) => return settled.into(),
        },
    };
    if let Some(after) = &order.after {
        after.attend(&mut response, order.version).await;
    }
    let stored = answer.and_then(|answer| stored(gate, &order, answer));
    if caller.is_closed() {
        let transaction = &response.transaction;
        tracing::warn!(payment_key = %claim.key(), transaction, "a payment was charged and its buyer has left; it may come back for it");
        if stored.is_none() {
            // The work is to be done again, and nobody is to be charged again. If this cannot be written, it is asked for again.
            claim.charged(&response, &order.bill(gate.clock.now(), Some(&response))).await;
            let settled = Settled::charged_unwritten(&order, response);
            return Ended { settled, claim: Some(claim), transit: None };
        }
    }
    if !claim.served(&response, &order.bill(gate.clock.now(), Some(&response)), stored.as_ref()).await {
        claim.give_back().await;
        return Settled::charged_unwritten(&order, response).into();
    }
    // Others are given theirs again, and that is why it is kept.
    let is_for_now = stored.is_some() && order.named.is_none() && gate.keep.repeat == Repeat::Guarded;
    let transit = is_for_now.then(|| gate.departed.in_transit(claim.id()));
    Ended { settled: Settled::Charged(response), claim: Some(claim), transit }
}

/// The answer as the book keeps it, if it is kept.
fn stored(gate: &Gate, order: &Order, answer: Answer) -> Option<StoredAnswer> {
    let keep = &gate.keep;
    let seconds = if order.named.is_some() { keep.seconds } else { keep.unnamed_seconds };
    let is_kept = seconds > 0 && keep.holds(answer.bytes());
    is_kept.then(|| StoredAnswer {
        head: answer.head.into(),
        body: answer.body.as_ref().into(),
        until: gate.clock.now().plus(seconds),
    })
}

/// Settles a payment that this request has not had settled before, for so much of it. Where that fails, the claim has ended.
pub(crate) async fn first(
    gate: &Gate,
    mut claim: Claim,
    order: &mut Order,
    amount: Amount,
    phase: SettlePhase,
) -> Result<(Claim, SettleResponse), Settled> {
    let no = match charge(gate, &mut claim, order, amount, phase).await {
        Ok(response) => return Ok((claim, response)),
        Err(no) => no,
    };
    let settled = if claim.is_resumed() { no.settled.after_another() } else { no.settled };
    if no.is_free {
        claim.refused().await;
    } else {
        claim.give_back().await;
    }
    Err(settled)
}

pub(crate) fn pending(network: Network, transaction: String) -> SettleResponse {
    let message = "it is not known whether the payment has settled; present the same payment for the same request again, \
                   and do not sign another";
    SettleResponse { transaction, ..SettleResponse::failure(Refusal::new(Reason::SettlementPending, message), Some(network)) }
}

fn not_sent(network: Network) -> SettleResponse {
    let message = "the payment could not be settled right now and nothing was charged by this request; present the same \
                   payment again later, and do not sign another";
    SettleResponse::failure(Refusal::new(Reason::UnexpectedSettleError, message), Some(network))
}
