//! Answers that go out as they are made, and are paid for at their end: for what was used, which nobody knows before.
//!
//! | what happens | the book of debts | the book of deliveries |
//! |---|---|---|
//! | the handler begins a good answer | owed, the whole ceiling, if that leaves the payer within the limit | `settling`, for what is used so far |
//! | it would pass the limit, its payer is not known, or the book is away | nothing | nothing: the answer is held back, and settled before it goes |
//! | it ends, breaks off, or its client leaves | | `settling`, for what was used by then; the facilitator is asked |
//! | the money has moved | paid | `served` |
//! | it has not, or nobody knows | owed, what was used | `unsettled`: the same payment with the same request pays it |
//! | this process dies meanwhile | owed, the whole ceiling | what it said; for the other nodes that is `unsettled` |
//!
//! So whatever leaves unpaid is owed, in a book, within the seller's limit; and a payment for which something has left is never
//! free again. Who owes too much is served all the same, and pays before the answer goes.

use farthing_core::amount::Amount;
use farthing_core::books::{Bill, BookError, Debt};
use farthing_core::price::Price;
use farthing_core::scheme::PaymentKey;
use farthing_core::wire::{SettleResponse, Version};
use metrics::counter;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::Instrument;

use crate::charge::charge;
use crate::count;
use crate::gate::{Admitted, Gate};
use crate::hooks::SettlePhase;
use crate::settle::Settled;

/// An answer on its way that is not paid for yet. Dropped before its end, it is settled for what was used by then.
#[must_use = "an answer of which nobody says that it has ended is settled at once"]
pub(crate) struct Streaming {
    gate: Gate,
    admitted: Option<Admitted>,
    runtime: Handle,
}

/// Why an answer is held back that was to go out at once.
#[derive(Debug, thiserror::Error)]
enum Held {
    #[error("its payer is not known")]
    Nobody,
    #[error("its payer would owe more than the limit")]
    OverLimit,
    #[error("the limit is no amount of the asset that it is paid in")]
    NoLimit,
    #[error("the book could not be written")]
    Book(#[source] BookError),
}

impl Gate {
    /// Writes down what an answer may come to, so that it can go out before it is paid. If not, it is to be held back.
    pub(crate) async fn begin_stream(&self, mut admitted: Admitted, limit: &Price) -> Result<Streaming, Box<Admitted>> {
        let span = admitted.span.clone();
        match self.owe(&mut admitted, limit).instrument(span).await {
            Ok(()) => {}
            Err(why) => {
                counter!("farthing_streams_held_total").increment(1);
                let cause = &why as &dyn std::error::Error;
                tracing::info!(payment_key = %admitted.claim.key(), cause, "an answer is held back until it is paid for");
                return Err(Box::new(admitted));
            }
        }
        if let Some(watch) = admitted.watch.take() {
            watch.ends();
        }
        Ok(Streaming { gate: self.clone(), admitted: Some(admitted), runtime: Handle::current() })
    }

    async fn owe(&self, admitted: &mut Admitted, limit: &Price) -> Result<(), Held> {
        let paid = &admitted.order.paid;
        let limit = limit.in_asset(paid.usage().asset()).map_err(|_| Held::NoLimit)?;
        let debt = Debt {
            key: admitted.claim.key(),
            payer: paid.payer.clone().ok_or(Held::Nobody)?,
            network: paid.network.clone(),
            asset: paid.asset.clone(),
            amount: paid.amount,
            since: self.clock.now(),
        };
        if !self.debts.owe(&debt, limit).await.map_err(Held::Book)? {
            return Err(Held::OverLimit);
        }
        let so_far = Bill { amount: paid.usage().charge(), ..admitted.order.bill(self.clock.now(), None) };
        if !admitted.claim.settling(&so_far).await {
            // Nothing has left, and what cannot be taken back now stays a debt that nobody owes, and is seen.
            self.forgive(debt.key).await;
            return Err(Held::Book(BookError("what is used cannot be written".into())));
        }
        Ok(())
    }

    /// What a payment owed is paid, or never was delivered.
    pub(crate) async fn forgive(&self, key: PaymentKey) {
        if let Err(error) = self.debts.paid(key).await {
            let cause = &error as &dyn std::error::Error;
            tracing::error!(payment_key = %key, cause, "a debt that is paid stays in the book");
        }
    }
}

impl Streaming {
    /// The last of the answer is out of our hands: it is settled for what was used. Seen through, whoever waits for it or not.
    pub(crate) fn has_ended(mut self) -> Option<(JoinHandle<Settled>, Version)> {
        let version = self.admitted.as_ref()?.version();
        Some((self.settle()?, version))
    }

    fn settle(&mut self) -> Option<JoinHandle<Settled>> {
        let (gate, admitted) = (self.gate.clone(), self.admitted.take()?);
        let span = admitted.span.clone();
        Some(self.runtime.spawn(async move { end(&gate, admitted).await }.instrument(span)))
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        if let Some(settling) = self.settle() {
            counter!("farthing_broken_off_total").increment(1);
            tracing::info!("an answer ended before its end; what was used by then is charged");
            // The task ends by itself.
            drop(settling);
        }
    }
}

async fn end(gate: &Gate, admitted: Admitted) -> Settled {
    let began = Instant::now();
    let Admitted { mut claim, mut order, .. } = admitted;
    let amount = order.paid.usage().end();
    let key = claim.key();
    let settled = match charge(gate, &mut claim, &mut order, amount, SettlePhase::AfterHandler).await {
        Ok(mut response) => {
            if let Some(after) = &order.after {
                after.attend(&mut response, order.version).await;
            }
            gate.forgive(key).await;
            if claim.served(&response, &order.bill(gate.clock.now(), Some(&response)), None).await {
                claim.delivered();
            } else {
                claim.give_back().await;
            }
            Settled::Charged(response)
        }
        // However clearly it was refused: what it is for has left.
        Err(no) => {
            owed(gate, key, amount, no.settled.response()).await;
            claim.give_back().await;
            no.settled
        }
    };
    count::settled(&settled, began.elapsed());
    settled
}

/// Says that an answer was delivered and not paid for.
async fn owed(gate: &Gate, key: PaymentKey, amount: Amount, response: &SettleResponse) {
    counter!("farthing_debts_total").increment(1);
    let reason = response.error_reason.as_ref().map(ToString::to_string).unwrap_or_default();
    tracing::warn!(payment_key = %key, amount_atomic = %amount, reason, "an answer was delivered and could not be settled; its payer owes it");
    if let Err(error) = gate.debts.amend(key, amount).await {
        let cause = &error as &dyn std::error::Error;
        tracing::error!(payment_key = %key, cause, "a debt stays in the book as the most that it could come to");
    }
}
