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
use farthing_core::facilitator::{Facilitator, FacilitatorError};
use farthing_core::network::Network;
use farthing_core::reason::{Reason, Refusal};
use farthing_core::scheme::PaymentKey;
use farthing_core::wire::{PaymentRequest, SettleResponse};
use tokio::sync::oneshot;

use crate::claim::Claim;
use crate::gate::{Admitted, Answer, Gate};
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
}

impl From<Settled> for Ended {
    fn from(settled: Settled) -> Self {
        Self { settled, claim: None }
    }
}

/// Settles, and writes into the book what became of it, together with the answer.
pub(crate) async fn run(gate: &Gate, admitted: Admitted, answer: Option<Answer>, caller: &oneshot::Sender<Ended>) -> Ended {
    let Admitted { claim, mut order, charged, .. } = admitted;
    let amount = order.paid.usage().end();
    let (mut claim, mut response) = match charged {
        Some(response) => (claim, *response),
        None => match first(&*gate.facilitator, claim, &mut order, amount).await {
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
            claim.charged(&response).await;
            return Ended { settled: Settled::charged_unwritten(&order, response), claim: Some(claim) };
        }
    }
    if !claim.served(&response, stored.as_ref()).await {
        claim.give_back().await;
        return Settled::charged_unwritten(&order, response).into();
    }
    Ended { settled: Settled::Charged(response), claim: Some(claim) }
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
    facilitator: &dyn Facilitator,
    mut claim: Claim,
    order: &mut Order,
    amount: Amount,
) -> Result<(Claim, SettleResponse), Settled> {
    let no = match charge(facilitator, &mut claim, order, amount).await {
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

/// Asks once more about a payment that may have settled. Only success, or an outcome that is still unknown, can come of it.
pub(crate) async fn again(facilitator: &dyn Facilitator, claim: &Claim, order: &Order) -> Result<SettleResponse, Settled> {
    let key = claim.key();
    judge(ask(facilitator, &order.request, key).await, order, key).map_err(|no| no.settled.after_another())
}

/// Why a payment was not charged, as far as is known.
struct NotCharged {
    settled: Settled,
    /// Whether it is certain that it never was.
    is_free: bool,
}

impl NotCharged {
    const fn for_sure(settled: Settled) -> Self {
        Self { settled, is_free: true }
    }

    const fn perhaps(settled: Settled) -> Self {
        Self { settled, is_free: false }
    }
}

/// Moves the money of a payment that nobody was asked to settle before.
async fn charge(
    facilitator: &dyn Facilitator,
    claim: &mut Claim,
    order: &mut Order,
    amount: Amount,
) -> Result<SettleResponse, NotCharged> {
    let unsent = |order: &Order| NotCharged::perhaps(Settled::not_sent(order.paid.network.clone()));
    if let Err(error) = order.charge(amount) {
        tracing::error!(payment_key = %claim.key(), %error, "what is charged could not be written; nothing was sent");
        return Err(unsent(order));
    }
    if !claim.settling(amount).await {
        // The claim knows by itself what may be written.
        return Err(unsent(order));
    }
    let key = claim.key();
    judge(ask(facilitator, &order.request, key).await, order, key)
}

/// What a facilitator's answer says of a payment.
#[expect(clippy::result_large_err, reason = "it is made once and moved once; a box would cost more")]
fn judge(
    answer: Result<SettleResponse, FacilitatorError>,
    order: &Order,
    key: PaymentKey,
) -> Result<SettleResponse, NotCharged> {
    let (paid, network) = (&order.paid, order.paid.network.clone());
    match answer {
        Ok(response) if response.success => match contradiction(&response, order) {
            None => {
                let amount = response.amount.or_else(|| paid.usage().is_metered().then_some(order.request.requirements.amount));
                Ok(SettleResponse { payer: response.payer.or_else(|| paid.payer.clone()), amount, ..response })
            }
            Some(contradiction) => {
                tracing::error!(payment_key = %key, contradiction, "a settlement cannot be trusted; its answer was withheld");
                Err(NotCharged::perhaps(Settled::Untrusted(pending(network, response.transaction))))
            }
        },
        Ok(response) if response.error_reason == Some(Reason::SettlementPending) => {
            tracing::warn!(payment_key = %key, transaction = response.transaction, "a settlement is pending; its answer was withheld");
            Err(NotCharged::perhaps(Settled::Pending(pending(network, response.transaction))))
        }
        Ok(response) => {
            let error_reason = response.error_reason.unwrap_or(Reason::UnexpectedSettleError);
            let reason = error_reason.as_str();
            tracing::warn!(payment_key = %key, reason, "a settlement was refused; its answer was dropped");
            let (error_reason, network) = (Some(error_reason), Some(network));
            Err(NotCharged::for_sure(Settled::Refused(SettleResponse { error_reason, network, ..response })))
        }
        Err(error) => {
            log(key, &error, "a settlement got no answer; the work's answer was withheld");
            Err(match error {
                FacilitatorError::Unavailable(_) => NotCharged::for_sure(Settled::not_sent(network)),
                FacilitatorError::Malformed(_) => NotCharged::perhaps(Settled::Untrusted(pending(network, String::new()))),
                FacilitatorError::Indeterminate(_) => NotCharged::perhaps(Settled::unknown(network)),
            })
        }
    }
}

/// Asks once, and exactly once more, with the same payment, if a transaction was sent and not yet seen to end. What comes
/// then counts only if it is about that transaction: whoever has forgotten it refuses the payment for its sake.
async fn ask(
    facilitator: &dyn Facilitator,
    request: &PaymentRequest,
    key: PaymentKey,
) -> Result<SettleResponse, FacilitatorError> {
    let first = facilitator.settle(request).await?;
    let is_pending = !first.success && first.error_reason == Some(Reason::SettlementPending);
    if !is_pending || first.transaction.is_empty() {
        return Ok(first);
    }
    match facilitator.settle(request).await {
        Ok(second) if second.success || second.error_reason == Some(Reason::SettlementPending) => Ok(second),
        Ok(second) if second.transaction == first.transaction => Ok(second),
        Ok(second) => {
            let reason = second.error_reason.as_ref().map(Reason::as_str);
            tracing::warn!(payment_key = %key, transaction = first.transaction, reason, "a pending settlement was refused when it was asked for again; it stays pending");
            Ok(first)
        }
        Err(error) => {
            log(key, &error, "a pending settlement could not be asked for again");
            Ok(first)
        }
    }
}

/// What a successful settlement says that cannot be, if anything.
fn contradiction(response: &SettleResponse, order: &Order) -> Option<&'static str> {
    let (paid, charged) = (&order.paid, order.request.requirements.amount);
    let payer_differs = match (&response.payer, &paid.payer) {
        // Facilitators are free in the letter case of an address.
        (Some(settled), Some(verified)) => !settled.as_str().eq_ignore_ascii_case(verified.as_str()),
        (None, None) => true,
        _ => false,
    };
    if response.transaction.is_empty() != charged.is_zero() {
        Some("transaction: expected one, or none where nothing is charged")
    } else if response.network.as_ref() != Some(&paid.network) {
        Some("network: expected the offer's")
    } else if payer_differs {
        Some("payer: expected the one that was verified")
    } else if response.amount.is_some_and(|amount| amount != charged) {
        Some("amount: expected what was to be charged")
    } else {
        None
    }
}

fn log(key: PaymentKey, error: &FacilitatorError, what: &str) {
    let cause = error as &dyn std::error::Error;
    tracing::warn!(payment_key = %key, cause, "{what}");
}

fn pending(network: Network, transaction: String) -> SettleResponse {
    let message = "it is not known whether the payment has settled; present the same payment for the same request again, \
                   and do not sign another";
    SettleResponse { transaction, ..SettleResponse::failure(Refusal::new(Reason::SettlementPending, message), Some(network)) }
}

fn not_sent(network: Network) -> SettleResponse {
    let message = "the payment could not be settled right now and nothing was charged by this request; present the same \
                   payment again later, and do not sign another";
    SettleResponse::failure(Refusal::new(Reason::UnexpectedSettleError, message), Some(network))
}
