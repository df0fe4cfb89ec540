//! One transaction for several orders: a plain call for one, Multicall3's `aggregate3` for more.

use alloy_consensus::transaction::RlpEcdsaDecodableTx;
use alloy_consensus::{SignableTransaction, TxEip1559};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use alloy_sol_types::SolCall;

use super::fees::Fees;
use super::order::Order;
use super::queue::Ticket;
use crate::abi::{MULTICALL3, Multicall3};
use crate::signer::{Signer, SignerError};

/// What Multicall3 itself uses, and for each call that it makes.
const BATCH_GAS_UNITS: u64 = 40_000;
const BATCH_CALL_GAS_UNITS: u64 = 4_000;
/// The gas of a transfer of nothing to oneself, with room for networks that charge more.
const EMPTY_GAS_UNITS: u64 = 100_000;

/// What a transaction does.
#[derive(Clone)]
pub(super) struct Load {
    to: Address,
    data: Bytes,
    value_wei: U256,
    gas_units: u64,
}

/// A transaction that could be sent as it is.
pub(super) struct Signed {
    pub(super) hash: B256,
    pub(super) bytes: Bytes,
    /// The most that it can cost, in wei.
    pub(super) cost_wei: u128,
}

/// What a signed transaction offers and does, read back from its bytes.
pub(super) struct Offered {
    pub(super) load: Load,
    pub(super) max_wei: u128,
    pub(super) tip_wei: u128,
}

impl Load {
    /// The calls of these orders, in one.
    pub(super) fn of(tickets: &[Ticket], sender: Address) -> Self {
        match tickets {
            [] => Self::nothing(sender),
            [only] => {
                let Order { to, data, value_wei, gas_units, .. } = &only.order;
                Self { to: *to, data: data.clone(), value_wei: *value_wei, gas_units: *gas_units }
            }
            several => {
                let calls = several.iter().map(|ticket| Multicall3::Call3 {
                    target: ticket.order.to,
                    allowFailure: true,
                    callData: ticket.order.data.clone(),
                });
                let data = Multicall3::aggregate3Call { calls: calls.collect() }.abi_encode();
                let gas_units = several.iter().fold(BATCH_GAS_UNITS, |units, ticket| {
                    units.saturating_add(ticket.order.gas_units).saturating_add(BATCH_CALL_GAS_UNITS)
                });
                Self { to: MULTICALL3, data: data.into(), value_wei: U256::ZERO, gas_units }
            }
        }
    }

    /// A transfer of nothing to oneself: it only uses a number up.
    pub(super) const fn nothing(sender: Address) -> Self {
        Self { to: sender, data: Bytes::new(), value_wei: U256::ZERO, gas_units: EMPTY_GAS_UNITS }
    }

    /// The most that it can cost at this price, in wei.
    fn cost_wei(&self, max_wei: u128) -> u128 {
        let value_wei = self.value_wei.try_into().unwrap_or(u128::MAX);
        max_wei.saturating_mul(self.gas_units.into()).saturating_add(value_wei)
    }

    /// Signs it.
    pub(super) async fn sign(&self, signer: &dyn Signer, chain_id: u64, nonce: u64, fees: Fees) -> Result<Signed, SignerError> {
        let transaction = TxEip1559 {
            chain_id,
            nonce,
            gas_limit: self.gas_units,
            max_fee_per_gas: fees.max_wei,
            max_priority_fee_per_gas: fees.tip_wei,
            to: TxKind::Call(self.to),
            value: self.value_wei,
            input: self.data.clone(),
            ..TxEip1559::default()
        };
        let signature = signer.sign_hash(transaction.signature_hash()).await?;
        let ready = transaction.into_signed(signature.to_alloy());
        let mut bytes = Vec::with_capacity(ready.eip2718_encoded_length());
        ready.eip2718_encode(&mut bytes);
        let cost_wei = self.cost_wei(fees.max_wei);
        Ok(Signed { hash: *ready.hash(), bytes: bytes.into(), cost_wei })
    }
}

impl Offered {
    /// Reads what an earlier process may have signed.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let signed = TxEip1559::eip2718_decode(&mut &*bytes).ok()?;
        let transaction = signed.strip_signature();
        let to = transaction.to.to().copied()?;
        Some(Self {
            load: Load { to, data: transaction.input, value_wei: transaction.value, gas_units: transaction.gas_limit },
            max_wei: transaction.max_fee_per_gas,
            tip_wei: transaction.max_priority_fee_per_gas,
        })
    }

    /// The most that it can cost, in wei.
    pub(super) fn cost_wei(&self) -> u128 {
        self.load.cost_wei(self.max_wei)
    }
}
