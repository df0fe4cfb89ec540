//! From a verified payment to money that moved.

use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::U256;
use farthing_core::amount::Amount;
use farthing_core::books::{PaymentRecord, SettlementEntry, SettlementState, SponsorBudget};
use farthing_core::reason::{Reason, Refusal};
use farthing_core::scheme::{Outcome, PaymentKey, SendRight, SettleError, Settlement, TransactionId};
use farthing_core::time::UnixSeconds;
use tokio::time::{Instant, timeout_at};

use super::expected::Moved;
use super::outcome::{self, Depth};
use super::transfer::{Transfer, margin_seconds};
use super::{Desk, Ready, Verified, look, sponsor};
use crate::chain::Chain;
use crate::chain::cover::{Look, Share};
use crate::relayer::{Mined, NotSent, Order, RelayError};
use crate::rpc::{self, Call, Receipt};
use crate::text::account_id;
use crate::wallet::Claim;

/// How long a transfer waits for others of its payer, when the balance does not cover all of them, in seconds.
pub const MAX_COVER_WAIT_SECONDS: u64 = 30;

impl Desk {
    /// Moves the money: writes into the outbox, sends, confirms, and checks what moved.
    pub(crate) async fn settle(&self, verified: Verified, right: Arc<dyn SendRight>) -> Result<Settlement, SettleError> {
        let Verified { chain, record, mut transfer, ready } = verified;
        let Some(Ready { gas_units, mut look, mut available }) = ready else {
            return Ok(Settlement {
                transaction: TransactionId(String::new()),
                network: record.network,
                payer: account_id(transfer.payer()),
                amount: Amount::from_units(U256::ZERO),
            });
        };
        if transfer.approval.is_some() {
            sponsor::approve(&chain, &transfer, &record, &right).await?;
            // Only now it can be seen whether the transfer itself is good.
            let (again, simulation) = super::look(&chain, &mut transfer).await?;
            if transfer.approval.is_some() {
                // A node that is behind, or another payment took what was approved: who asks again is told which.
                let message = "the payer's approval of Permit2 was mined, and the node does not show it; ask again in a moment";
                return Err(SettleError::NotSent(message.into()));
            }
            (look, available) = (again, simulation.available(&transfer));
        }
        let share = covered(&chain, record.key, &mut transfer, look, available).await?;
        transfer.check_expiry(self.clock.now()).map_err(SettleError::Rejected)?;
        let call = transfer.whole_call();
        let order = Order {
            to: call.to,
            data: call.data,
            value_wei: U256::ZERO,
            gas_units,
            budgets: budgets(&chain, &record, right.caller()),
            payment: record.clone(),
            sender: transfer.sender(),
            attribution: transfer.attribution.clone(),
            company: transfer.company(),
            send_before: transfer.authorized.expires_at().minus(margin_seconds(chain.id())),
            hold: Box::new(share),
            right: right.clone(),
        };
        let mined = match chain.relayer().send(order).await {
            Ok(mined) => mined,
            Err(RelayError::NotSent(NotSent::Expired)) => {
                transfer.check_expiry(self.clock.now()).map_err(SettleError::Rejected)?;
                return Err(SettleError::NotSent(Box::new(NotSent::Expired)));
            }
            Err(RelayError::Taken(_)) => return Err(SettleError::Taken),
            Err(RelayError::Unknown(id)) => {
                tracing::warn!(network = %chain.network(), transaction = %id, "a settlement is not confirmed yet; its outcome is unknown");
                return Err(SettleError::Unknown(id));
            }
            Err(error) => return Err(SettleError::NotSent(Box::new(error))),
        };
        if mined.alone
            && !mined.receipt.succeeded
            && mined.receipt.gas_used >= gas_units
            && let Some(kind) = transfer.gas_kind()
        {
            chain.forget_estimate(kind);
        }
        settled(&chain, &transfer, record, right.as_ref(), &mined, self.clock.now()).await
    }
}

/// Counts the transfer as under way. One that what the payer has does not cover beside its others waits until those have
/// ended, and is simulated again.
async fn covered(
    chain: &Chain,
    payment: PaymentKey,
    transfer: &mut Transfer,
    mut seen: Look,
    mut available: Option<U256>,
) -> Result<Share, SettleError> {
    let deadline = Instant::now() + Duration::from_secs(MAX_COVER_WAIT_SECONDS);
    loop {
        let others = match seen.take(payment, transfer.value, available) {
            Ok(share) => return Ok(share),
            Err(others) => others,
        };
        if timeout_at(deadline, others.end()).await.is_err() || Instant::now() >= deadline {
            let message = "the payer's balance does not cover this payment beside its others, which are still under way";
            return Err(SettleError::NotSent(message.into()));
        }
        let (again, simulation) = look(chain, transfer).await?;
        (seen, available) = (again, simulation.available(transfer));
    }
}

/// What a mined transaction did for this payment, from its logs; from the chain's state where they do not tell.
async fn settled(
    chain: &Chain,
    transfer: &Transfer,
    record: PaymentRecord,
    right: &dyn SendRight,
    mined: &Mined,
    now: UnixSeconds,
) -> Result<Settlement, SettleError> {
    let Mined { transaction, receipt, alone } = mined;
    let expected = transfer.expected();
    match expected.moved_by(receipt) {
        Moved::Exactly(value) => return Ok(expected.settlement(chain, *transaction, value)),
        Moved::Perhaps if *alone => return Ok(expected.settlement(chain, *transaction, expected.value)),
        Moved::Nothing if !alone => return Err(SettleError::Spoilt(moved_nothing_beside_others(transfer, receipt))),
        Moved::Perhaps | Moved::Otherwise | Moved::Nothing => {}
    }
    // Whoever holds the payer's authorization can carry it out, and then ours reverts though the seller was paid.
    let id = TransactionId(transaction.to_string());
    let entry = SettlementEntry {
        record,
        request: right.request().clone(),
        caller: None,
        state: SettlementState::Sending(id.clone()),
        transaction: id.clone(),
        height: receipt.block_number,
        sent_at: now,
        changed_at: now,
    };
    match outcome::of(chain, &entry, Depth::Confirmed).await {
        Ok(Outcome::Settled(settlement)) => Ok(settlement),
        Ok(Outcome::Failed(refusal)) if refusal.reason == transfer.reasons().failed && !receipt.succeeded => {
            Err(SettleError::Rejected(reverted(chain, transfer, receipt).await))
        }
        Ok(Outcome::Failed(refusal)) => Err(SettleError::Rejected(refusal)),
        Ok(Outcome::Unknown) | Err(_) => Err(SettleError::Unknown(id)),
    }
}

/// What a payer's and a caller's payments may cost in a day.
pub(super) fn budgets(chain: &Chain, record: &PaymentRecord, caller: Option<&str>) -> Vec<SponsorBudget> {
    let gas = chain.relayer().caps();
    let payer = gas
        .daily_budget_per_payer_gwei
        .map(|limit_gwei| SponsorBudget { account: format!("payer {} {}", record.network, record.payer), limit_gwei });
    let caller = caller.zip(gas.daily_budget_per_caller_gwei);
    let caller =
        caller.map(|(caller, limit_gwei)| SponsorBudget { account: format!("caller {} {caller}", record.network), limit_gwei });
    payer.into_iter().chain(caller).collect()
}

fn moved_nothing_beside_others(transfer: &Transfer, receipt: &Receipt) -> Refusal {
    let message =
        format!("transaction {} carried this payment beside others and moved nothing for it", receipt.transaction_hash);
    Refusal::new(transfer.reasons().failed.clone(), message)
}

/// Why a mined transfer reverted, found by trying it again, if that can be had.
async fn reverted(chain: &Chain, transfer: &Transfer, receipt: &Receipt) -> Refusal {
    let hash = receipt.transaction_hash;
    if let Claim::Undeployed(creation) = &transfer.claim
        && has_no_code(chain, transfer).await
    {
        let message = format!("transaction {hash} was mined, and {} did not create the payer's wallet", creation.factory);
        return Refusal::new(Reason::SmartWalletDeploymentFailed, message);
    }
    let call = transfer.whole_call();
    let again = match transfer.sender() {
        Some(sender) => Call::execute_from(sender, call.to, &call.data),
        None => Call::execute(call.to, &call.data),
    };
    let answers = chain.node().ask(&[again]).await.unwrap_or_default();
    let revert = answers.first().and_then(|answer| rpc::executed(answer).ok()?.err());
    let why = revert.map_or_else(String::new, |revert| format!(": {}", revert.reason));
    Refusal::new(transfer.reasons().failed.clone(), format!("transaction {hash} was mined and reverted{why}"))
}

async fn has_no_code(chain: &Chain, transfer: &Transfer) -> bool {
    let answers = chain.node().ask(&[Call::code(transfer.payer())]).await.unwrap_or_default();
    answers.first().is_some_and(|answer| rpc::bytes(answer, "eth_getCode").is_ok_and(|code| code.is_empty()))
}
