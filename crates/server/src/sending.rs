//! Answers that go out as they come, once their payment has settled: too large to be held back until they are whole.
//!
//! | what happens | the book says |
//! |---|---|
//! | the handler begins a good answer | `settling`, with the charge; then the facilitator is asked |
//! | the money has moved | `charged`, and how often an answer has begun to go out for it; only then does anything of it leave |
//! | all of it has gone out | `served` |
//! | it breaks off, or its client leaves | `unsettled`, and charged: the same payment fetches it again with the same request |
//! | this process dies meanwhile | what it said; for the other nodes that is `unsettled`, and charged |
//!
//! Nobody is charged again for what is fetched again, so that has its bounds: [`MAX_SENDS`], and [`SEND_AGAIN_SECONDS`].

use farthing_core::books::{Bill, Receipt};
use farthing_core::scheme::TransactionId;
use farthing_core::time::UnixSeconds;
use farthing_core::wire::SettleResponse;
use metrics::counter;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::runtime::Handle;
use tokio::time::Instant;
use tracing::Instrument;

use crate::apart::see_through;
use crate::claim::Claim;
use crate::count;
use crate::gate::{Admitted, Gate};
use crate::hooks::SettlePhase;
use crate::settle::{self, Settled};

/// How often an answer may begin to go out for one payment.
pub const MAX_SENDS: u32 = 4;
/// For how long after the first time it may begin again, in seconds.
pub const SEND_AGAIN_SECONDS: u64 = 60 * 60;

/// How often an answer has begun to go out for a payment. In the book it stands beside the settlement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sends(Option<Begun>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Begun {
    times: u32,
    first_at: u64,
}

/// What is read of a settlement in the book besides what its buyer is told.
#[derive(Deserialize)]
struct Beside {
    #[serde(default)]
    sends: Option<Begun>,
}

/// A paid answer on its way. Dropped before its end it has broken off.
#[must_use = "an answer of which nobody says that it has ended has broken off"]
pub(crate) struct Sending {
    claim: Option<Claim>,
    response: SettleResponse,
    bill: Bill,
    runtime: Handle,
}

impl Sends {
    /// As the book has it.
    pub(crate) fn read(settlement: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(settlement).map(|Beside { sends }| Self(sends))
    }

    /// Whether nothing goes out for this payment any more.
    pub(crate) fn are_used_up(self, now: UnixSeconds) -> bool {
        self.0.is_some_and(|begun| begun.times >= MAX_SENDS || UnixSeconds(begun.first_at).plus(SEND_AGAIN_SECONDS) < now)
    }

    fn once_more(self, now: UnixSeconds) -> Self {
        let begun = self.0.unwrap_or(Begun { times: 0, first_at: now.0 });
        Self(Some(Begun { times: begun.times.saturating_add(1), ..begun }))
    }

    /// A settlement as the book keeps it, with this beside it.
    fn beside(self, response: &SettleResponse) -> Result<String, serde_json::Error> {
        let mut written: Map<String, Value> = serde_json::from_value(serde_json::to_value(response)?)?;
        written.insert("sends".to_owned(), serde_json::to_value(self.0)?);
        serde_json::to_string(&written)
    }
}

impl Gate {
    /// Moves the money for a request whose answer has begun well, so that it can go out as it comes. Seen through as
    /// [`Self::settle`] is: what was charged for a caller who has left can be presented again.
    pub(crate) async fn settle_at_head(&self, mut admitted: Admitted) -> Result<Sending, Settled> {
        let asked_at = Instant::now();
        let network = admitted.order.paid.network.clone();
        if let Some(watch) = admitted.watch.take() {
            watch.ends();
        }
        let (span, gate) = (admitted.span.clone(), self.clone());
        // A claim that nobody takes any more gives the payment back.
        let settling = async move { begin(&gate, admitted).await }.instrument(span);
        let begun = match see_through(settling).await {
            Some(begun) => begun,
            None => Err(Settled::unknown(network)),
        };
        let settled = match &begun {
            Ok(sending) => Settled::Charged(sending.response.clone()),
            Err(settled) => settled.clone(),
        };
        count::settled(&settled, asked_at.elapsed());
        begun
    }

    /// Ends a payment for which nothing goes out any more: it has bought what it could. `false` if that cannot be written now.
    pub(crate) async fn use_up(&self, admitted: Admitted) -> bool {
        let Admitted { mut claim, order, charged, span, watch, .. } = admitted;
        if let Some(watch) = watch {
            watch.ends();
        }
        let ending = async {
            match charged {
                Some(response) if claim.served(&response, &order.bill(self.clock.now(), Some(&response)), None).await => {
                    claim.delivered();
                    true
                }
                _ => {
                    claim.give_back().await;
                    false
                }
            }
        };
        ending.instrument(span).await
    }
}

async fn begin(gate: &Gate, admitted: Admitted) -> Result<Sending, Settled> {
    let Admitted { claim, mut order, charged, sends, .. } = admitted;
    let amount = order.paid.usage().end();
    let (mut claim, mut response) = match charged {
        Some(response) => (claim, *response),
        None => settle::first(gate, claim, &mut order, amount, SettlePhase::AfterHandler).await?,
    };
    if let Some(after) = &order.after {
        after.attend(&mut response, order.version).await;
    }
    let bill = order.bill(gate.clock.now(), Some(&response));
    let written = sends.once_more(gate.clock.now()).beside(&response);
    let is_written = match written {
        Ok(settlement) => {
            let receipt = Receipt { transaction: TransactionId(response.transaction.clone()), settlement };
            claim.charged_as(&response, receipt, &bill).await
        }
        Err(error) => {
            tracing::error!(payment_key = %claim.key(), %error, "a settlement cannot be written; no answer goes out for this payment");
            false
        }
    };
    if !is_written {
        claim.give_back().await;
        return Err(Settled::charged_unwritten(&order, response));
    }
    Ok(Sending { claim: Some(claim), response, bill, runtime: Handle::current() })
}

impl Sending {
    /// What the buyer is told.
    pub(crate) const fn settlement(&self) -> &SettleResponse {
        &self.response
    }

    /// The last of the answer is out of our hands.
    pub(crate) fn has_ended(mut self) {
        let Some(mut claim) = self.claim.take() else { return };
        let (response, bill) = (self.response.clone(), self.bill.clone());
        let ending = async move {
            if claim.served(&response, &bill, None).await {
                claim.delivered();
            } else {
                claim.give_back().await;
            }
        };
        drop(self.runtime.spawn(ending.in_current_span()));
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        let Some(claim) = self.claim.take() else { return };
        counter!("farthing_broken_off_total").increment(1);
        let transaction = &self.response.transaction;
        tracing::warn!(payment_key = %claim.key(), transaction, "a paid answer broke off; the same payment fetches it again with the same request");
        drop(self.runtime.spawn(claim.give_back().in_current_span()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use farthing_core::reason::{Reason, Refusal};

    #[test]
    fn how_often_an_answer_went_out_is_read_beside_its_settlement() {
        let response = SettleResponse::failure(Refusal::new(Reason::SettlementPending, ""), None);
        let plain = serde_json::to_string(&response).unwrap();
        let mut sends = Sends::read(&plain).unwrap();
        assert_eq!(sends, Sends::default());
        for second in 0..u64::from(MAX_SENDS) {
            assert!(!sends.are_used_up(UnixSeconds(second)));
            let written = sends.once_more(UnixSeconds(second)).beside(&response).unwrap();
            assert_eq!(serde_json::from_str::<SettleResponse>(&written).unwrap(), response);
            sends = Sends::read(&written).unwrap();
        }
        assert!(sends.are_used_up(UnixSeconds(10)));
        let once = Sends::default().once_more(UnixSeconds(10)).once_more(UnixSeconds(99));
        assert!(
            !once.are_used_up(UnixSeconds(10 + SEND_AGAIN_SECONDS)) && once.are_used_up(UnixSeconds(11 + SEND_AGAIN_SECONDS))
        );
    }
}
