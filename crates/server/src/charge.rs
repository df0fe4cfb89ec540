//! Has money moved by the facilitator, or by the word of a hook, and judges what came of it.

use farthing_core::amount::Amount;
use farthing_core::facilitator::{Facilitator, FacilitatorError};
use farthing_core::reason::{Reason, Refusal};
use farthing_core::scheme::{PaymentKey, TransactionId};
use farthing_core::wire::{PaymentRequest, SettleResponse};
use serde_json::{Map, Value};

use crate::claim::Claim;
use crate::gate::Gate;
use crate::hooks::{Before, Failure, SettlePhase, log_failed};
use crate::order::Order;
use crate::settle::{Settled, pending};
use crate::sold::{HOOK, SETTLED_BY};

/// Asks once more about a payment that may have settled. Only success, or an outcome that is still unknown, can come of it.
pub(crate) async fn again(gate: &Gate, claim: &Claim, order: &Order) -> Result<SettleResponse, Settled> {
    let (key, phase) = (claim.key(), SettlePhase::BeforeHandler);
    let context = || order.hook_context(key);
    // A hook that had it settled by itself must hear of it before it is settled otherwise.
    let judged = match gate.hooks.before_settle(context, phase).await {
        Ok(Before::Continue) => judge(ask(&*gate.facilitator, &order.request, key).await, order, key),
        Ok(Before::Skip(answer)) => by_hook(answer, order),
        Ok(Before::Abort(refusal)) => {
            tracing::warn!(payment_key = %key, reason = %refusal.reason, "a hook keeps a payment from being settled that may have been charged; that stays unknown");
            return Err(Settled::unknown(order.paid.network.clone()));
        }
        Err(failed) => {
            log_failed(&failed, "nobody was asked about a payment that may have been charged: a hook did not do its part");
            return Err(Settled::unknown(order.paid.network.clone()));
        }
    };
    match judged {
        Ok(response) => {
            gate.hooks.after_settle(context, phase, &response).await;
            Ok(response)
        }
        Err(no) => {
            let no = NotCharged::perhaps(no.settled.after_another());
            // Nobody can know by now what an earlier request came to, so hooks may only look.
            gate.hooks.settle_failure(context, phase, || Failure::from(&no)).await;
            Err(no.settled)
        }
    }
}

/// Why a payment was not charged, as far as is known.
pub(crate) struct NotCharged {
    pub(crate) settled: Settled,
    /// Whether it is certain that it never was.
    pub(crate) is_free: bool,
}

impl From<&NotCharged> for Failure {
    fn from(no: &NotCharged) -> Self {
        let SettleResponse { error_reason, error_message, transaction, .. } = no.settled.response();
        let message = error_message.clone().unwrap_or_default();
        match &no.settled {
            Settled::Refused(_) if no.is_free => {
                Self::Refused(Refusal::new(error_reason.clone().unwrap_or(Reason::UnexpectedSettleError), message))
            }
            Settled::NotSent(_) if no.is_free => Self::Unavailable(message),
            _ => {
                let transaction = Some(transaction.clone()).filter(|id| !id.is_empty()).map(TransactionId);
                Self::Unknown { transaction, message }
            }
        }
    }
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
pub(crate) async fn charge(
    gate: &Gate,
    claim: &mut Claim,
    order: &mut Order,
    amount: Amount,
    phase: SettlePhase,
) -> Result<SettleResponse, NotCharged> {
    let unsent = |order: &Order| NotCharged::perhaps(Settled::not_sent(order.paid.network.clone()));
    if let Err(error) = order.charge(amount) {
        tracing::error!(payment_key = %claim.key(), %error, "what is charged could not be written; nothing was sent");
        return Err(unsent(order));
    }
    let key = claim.key();
    let said = gate.hooks.before_settle(|| order.hook_context(key), phase).await;
    let own = match said {
        Ok(Before::Continue) => None,
        Ok(Before::Skip(answer)) => Some(answer),
        Ok(Before::Abort(refusal)) => {
            let refused = SettleResponse::failure(refusal, Some(order.paid.network.clone()));
            return Err(NotCharged::for_sure(Settled::Refused(refused)));
        }
        Err(failed) => {
            log_failed(&failed, "nothing was sent to be settled: a hook did not do its part");
            return Err(unsent(order));
        }
    };
    if !claim.settling(&order.bill(gate.clock.now(), None)).await {
        // The claim knows by itself what may be written.
        return Err(unsent(order));
    }
    let context = || order.hook_context(key);
    let judged = match own {
        Some(answer) => by_hook(answer, order),
        None => judge(ask(&*gate.facilitator, &order.request, key).await, order, key),
    };
    match judged {
        Ok(response) => {
            gate.hooks.after_settle(context, phase, &response).await;
            Ok(response)
        }
        Err(no) => match gate.hooks.settle_failure(context, phase, || Failure::from(&no)).await {
            Some(answer) => by_hook(answer, order),
            None => Err(no),
        },
    }
}

/// What a hook says of a payment in the place of the facilitator, marked for whoever reads it in the book or is told.
#[expect(clippy::result_large_err, reason = "it is made once and moved once; a box would cost more")]
fn by_hook(mut answer: SettleResponse, order: &Order) -> Result<SettleResponse, NotCharged> {
    let network = order.paid.network.clone();
    if !answer.success {
        return Err(match answer.error_reason {
            Some(Reason::SettlementPending) => NotCharged::perhaps(Settled::Pending(pending(network, answer.transaction))),
            _ => NotCharged::for_sure(Settled::Refused(SettleResponse { network: Some(network), ..answer })),
        });
    }
    let mut extra = match answer.extra.take() {
        Some(Value::Object(extra)) => extra,
        _ => Map::new(),
    };
    extra.insert(SETTLED_BY.to_owned(), HOOK.into());
    let charged = order.request.requirements.amount;
    Ok(SettleResponse {
        payer: answer.payer.or_else(|| order.paid.payer.clone()),
        network: Some(network),
        amount: answer.amount.or_else(|| order.paid.usage().is_metered().then_some(charged)),
        extra: Some(Value::Object(extra)),
        ..answer
    })
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
