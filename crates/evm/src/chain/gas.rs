//! What payments cost in gas, by their kind: those in one asset, made by one function of one contract, differ little.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use alloy_primitives::Address;
use tokio::time::Instant;

use crate::rpc::CallError;

/// How long an estimate of gas is used before it is made again.
const ESTIMATE_LIFETIME: Duration = Duration::from_mins(1);
/// Room above an estimate: the next payment may write to accounts that this one found written. Unused gas is not paid.
const ESTIMATE_ROOM_UNITS: u64 = 25_000;

/// A payment would use more gas than the operator allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the payment would use {estimated} units of gas, and gas.max_units allows {cap}")]
pub struct GasAboveCap {
    estimated: u64,
    cap: u64,
}

/// Why nobody can say what gas a payment may use that runs its payer's code.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NoGas {
    /// It needs more than is allowed.
    #[error(transparent)]
    AboveCap(#[from] GasAboveCap),
    /// It does not go through with all that is allowed.
    #[error("the payment runs its payer's code, and fails with the {cap} units of gas that gas.max_units allows")]
    Fails {
        /// The most that is allowed.
        cap: u64,
        /// What the node says.
        #[source]
        error: CallError,
    },
}

/// Payments that cost much the same: the contract that is called, its function, the asset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GasKind {
    /// The contract.
    pub contract: Address,
    /// Which of its functions.
    pub selector: [u8; 4],
    /// The asset.
    pub asset: Address,
}

/// Estimates of gas.
#[derive(Debug)]
pub(super) struct GasBook {
    cap: u64,
    estimates: Mutex<HashMap<GasKind, Estimate>>,
}

#[derive(Clone, Copy, Debug)]
struct Estimate {
    units: u64,
    asked: Instant,
}

impl GasBook {
    /// No estimates yet, and none above `cap` ever.
    pub(super) fn new(cap: u64) -> Self {
        Self { cap, estimates: Mutex::default() }
    }

    /// Whether the caller should ask for an estimate; where there is an old one, others need not for a while.
    pub(super) fn should_ask(&self, kind: GasKind) -> bool {
        match self.estimates().get_mut(&kind) {
            Some(estimate) if estimate.asked.elapsed() < ESTIMATE_LIFETIME => false,
            Some(estimate) => {
                estimate.asked = Instant::now();
                true
            }
            None => true,
        }
    }

    pub(super) fn learn(&self, kind: GasKind, units: u64) {
        self.estimates().insert(kind, Estimate { units, asked: Instant::now() });
    }

    pub(super) fn forget(&self, kind: GasKind) {
        self.estimates().remove(&kind);
    }

    /// The gas that a payment may use that needs so much more than others of its kind: all that is allowed, as long as there
    /// is no estimate.
    pub(super) fn units(&self, kind: GasKind, more: u64) -> Result<u64, GasAboveCap> {
        let Some(Estimate { units, .. }) = self.estimates().get(&kind).copied() else { return Ok(self.cap) };
        self.with_room(units.saturating_add(more))
    }

    /// What a payment with this estimate may use.
    pub(super) fn with_room(&self, units: u64) -> Result<u64, GasAboveCap> {
        if units > self.cap {
            return Err(GasAboveCap { estimated: units, cap: self.cap });
        }
        Ok(units.saturating_add(units / 4).saturating_add(ESTIMATE_ROOM_UNITS).min(self.cap))
    }

    fn estimates(&self) -> MutexGuard<'_, HashMap<GasKind, Estimate>> {
        self.estimates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn gas_is_estimated_once_in_a_while_and_capped() {
        let of = |asset| GasKind { contract: Address::ZERO, selector: [0; 4], asset };
        let (asset, other) = (of(Address::repeat_byte(1)), of(Address::repeat_byte(2)));
        let book = GasBook::new(200_000);
        assert!(book.should_ask(asset));
        assert_eq!(book.units(asset, 0), Ok(200_000), "without an estimate the cap is the limit");
        book.learn(asset, 80_000);
        assert!(!book.should_ask(asset) && book.should_ask(other));
        assert_eq!(book.units(asset, 0), Ok(125_000));
        tokio::time::advance(ESTIMATE_LIFETIME).await;
        assert!(book.should_ask(asset) && !book.should_ask(asset), "one asker is enough");
        assert_eq!(book.units(asset, 0), Ok(125_000));
        assert_eq!(book.units(asset, 1_000), Ok(126_250));
        book.learn(asset, 190_000);
        assert_eq!(book.units(asset, 0), Ok(200_000));
        assert_eq!(book.units(asset, 10_000), Ok(200_000));
        assert_eq!(book.units(asset, 10_001), Err(GasAboveCap { estimated: 200_001, cap: 200_000 }));
        book.learn(asset, 200_001);
        assert_eq!(book.units(asset, 0), Err(GasAboveCap { estimated: 200_001, cap: 200_000 }));
        book.forget(asset);
        assert!(book.should_ask(asset));
    }
}
