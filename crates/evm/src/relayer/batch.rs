//! One transaction for several orders: a plain call for one, Multicall3's `aggregate3` for more.
//!
//! Each call in a batch keeps the builder codes of its payment behind it, so that none is counted for another one. Behind the
//! whole, where the codes of a transaction are looked for, stand those that all of its payments name: the facilitator's own,
//! and the app's and the services' where they are the same.

use alloy_consensus::transaction::RlpEcdsaDecodableTx;
use alloy_consensus::{SignableTransaction, TxEip1559};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use alloy_sol_types::SolCall;
use farthing_core::extension::builder_code::Attribution;

use super::fees::Fees;
use super::order::Order;
use super::queue::Ticket;
use crate::abi::{MAX_DATA_BYTE_GAS_UNITS, MULTICALL3, Multicall3};
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
                let mut data = Multicall3::aggregate3Call { calls: calls.collect() }.abi_encode();
                let suffix = named_by_all(several.iter().map(|ticket| &ticket.order.attribution)).suffix();
                data.extend(&suffix);
                let suffix_gas_units = u64::try_from(suffix.len()).unwrap_or(u64::MAX).saturating_mul(MAX_DATA_BYTE_GAS_UNITS);
                let gas_units = several.iter().fold(BATCH_GAS_UNITS.saturating_add(suffix_gas_units), |units, ticket| {
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

/// Whom all of these name.
fn named_by_all<'a>(mut all: impl Iterator<Item = &'a Attribution>) -> Attribution {
    let mut shared = all.next().cloned().unwrap_or_default();
    for other in all {
        shared.app = shared.app.filter(|code| other.app.as_ref() == Some(code));
        shared.wallet = shared.wallet.filter(|code| other.wallet.as_ref() == Some(code));
        shared.services.retain(|code| other.services.contains(code));
    }
    shared
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

#[cfg(test)]
mod tests {
    use super::*;
    use farthing_core::extension::builder_code::Code;

    fn attribution(app: &str, services: &[&str]) -> Attribution {
        let code = |text: &str| Code::new(text).unwrap();
        let services = services.iter().map(|text| code(text)).collect();
        Attribution { app: Some(code(app)), wallet: Some(code("our_wallet")), services }
    }

    #[test]
    fn behind_a_batch_stand_only_the_codes_that_all_of_its_payments_name() {
        let all =
            [attribution("shop", &["one", "ours"]), attribution("shop", &["ours"]), attribution("shop", &["two", "ours"])];
        assert_eq!(named_by_all(all.iter()), attribution("shop", &["ours"]));
        let mixed = [attribution("shop", &["one"]), attribution("mall", &["two"])];
        let expected = Attribution { app: None, services: Vec::new(), ..attribution("shop", &[]) };
        assert_eq!(named_by_all(mixed.iter()), expected);
        assert!(named_by_all([attribution("shop", &["one"]), Attribution::default()].iter()).is_empty());
        assert!(named_by_all([].iter()).is_empty());
    }
}
