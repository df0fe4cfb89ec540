//! Coin for the gas of a payer's approval of Permit2, up to what the operator gives.
//!
//! It is sent as an order of its own, written down before it is broadcast and known by the approval that it is for: of many
//! requests with the same approval, on however many nodes, one gives.

use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes, Keccak256, U256};
use farthing_core::amount::Amount;
use farthing_core::books::{Fingerprint, PaymentRecord, SettlementState};
use farthing_core::extension::builder_code::Attribution;
use farthing_core::scheme::{PaymentKey, SendRight, SettleError, TransactionId};

use super::expected::Named;
use super::settle::budgets;
use super::sponsor::max_funding_wei;
use super::transfer::Transfer;
use crate::chain::Chain;
use crate::relayer::{Company, Order, RelayError};
use crate::rpc::{self, Call};
use crate::text::asset_id;
use crate::transfer::approval::Approval;

/// The most gas for a transfer of coin: accounts may have code, and some networks charge for more than the transfer.
const TRANSFER_GAS_UNITS: u64 = 100_000;

/// The right to give coin: that of the payment which it is for, without its consequences.
struct Right(Arc<dyn SendRight>);

impl SendRight for Right {
    fn request(&self) -> &Fingerprint {
        self.0.request()
    }

    fn caller(&self) -> Option<&str> {
        self.0.caller()
    }

    fn alone(&self) -> bool {
        true
    }

    fn enter(&self) -> bool {
        true
    }

    fn written(&self, _: &TransactionId) {}

    fn left(&self) {}
}

/// Gives the payer what it lacks for its approval, if it lacks anything.
pub(super) async fn give(
    chain: &Chain,
    transfer: &Transfer,
    approval: &Approval,
    payment: &PaymentRecord,
    right: &Arc<dyn SendRight>,
) -> Result<(), SettleError> {
    let payer = transfer.payer();
    let not_sent = |error| SettleError::NotSent(Box::new(error));
    // The balance first: a number that is still free after it was read has taken nothing of it.
    let answers = chain.node().ask(&[Call::balance(payer), Call::mined_count(payer)]).await.map_err(not_sent)?;
    let [balance, count] = answers.as_slice() else { return Err(SettleError::NotSent("the node gave no answer".into())) };
    let balance_wei = rpc::wei(balance, "eth_getBalance").map_err(not_sent)?;
    if rpc::quantity(count, "eth_getTransactionCount").map_err(not_sent)? > approval.nonce {
        // It was mined, for another copy of this payment perhaps, or never will be: it costs nothing more.
        return Ok(());
    }
    let lacking_wei = approval.max_cost_wei().saturating_sub(balance_wei);
    if lacking_wei.is_zero() {
        return Ok(());
    }
    if lacking_wei > max_funding_wei(chain) {
        return Err(SettleError::NotSent("the payer can't pay for the gas of its approval any more".into()));
    }
    tracing::info!(network = %chain.network(), %payer, lacking_wei = %lacking_wei, "giving a payer coin for the gas of its approval");
    let record = record(chain, approval, payment, lacking_wei);
    let order = Order {
        to: payer,
        data: Bytes::new(),
        value_wei: lacking_wei,
        gas_units: TRANSFER_GAS_UNITS,
        budgets: budgets(chain, &record, right.caller()),
        send_before: record.expires_at,
        payment: record,
        sender: None,
        attribution: Attribution::default(),
        company: Company::None,
        hold: Box::new(()),
        right: Arc::new(Right(right.clone())),
    };
    match chain.relayer().send(order).await {
        Ok(mined) if mined.receipt.succeeded => Ok(()),
        Ok(_) => Err(SettleError::NotSent("the payer does not take coin for the gas of its approval".into())),
        // It was given what this very approval costs, and spent it on something else.
        Err(RelayError::Taken(SettlementState::Settled(_))) => {
            Err(SettleError::NotSent("the payer was given coin for this approval, and does not have it any more".into()))
        }
        // What is not known of this transfer is not known of nothing else: the payment itself was not sent.
        Err(error) => Err(not_sent_yet(error)),
    }
}

/// The approval for whose gas its payer was given coin, where a book's record stands for that and not for a payment.
pub fn funded_approval(record: &PaymentRecord) -> Option<B256> {
    match Named::read(&record.reference, &record.scheme)? {
        Named::Funding(approval) => Some(approval),
        Named::Eip3009(_) | Named::Permit2 { .. } => None,
    }
}

fn not_sent_yet(error: RelayError) -> SettleError {
    SettleError::NotSent(Box::new(error))
}

/// What the book keeps of it.
fn record(chain: &Chain, approval: &Approval, payment: &PaymentRecord, value_wei: U256) -> PaymentRecord {
    let mut hasher = Keccak256::new();
    hasher.update(b"approval funding");
    hasher.update(U256::from(chain.id()).to_be_bytes::<32>());
    hasher.update(approval.hash);
    PaymentRecord {
        key: PaymentKey(hasher.finalize().0),
        pay_to: payment.payer.clone(),
        // The network's own coin has no contract.
        asset: asset_id(Address::ZERO),
        amount: Amount::from_units(value_wei),
        reference: Named::Funding(approval.hash).reference(),
        ..payment.clone()
    }
}
