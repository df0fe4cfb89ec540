//! What payments cost in gas, by asset: payments in one asset differ little.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use alloy_primitives::Address;
use tokio::time::Instant;

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

/// Estimates of gas.
#[derive(Debug)]
pub(super) struct GasBook {
    cap: u64,
    estimates: Mutex<HashMap<Address, Estimate>>,
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
    pub(super) fn should_ask(&self, asset: Address) -> bool {
        match self.estimates().get_mut(&asset) {
            Some(estimate) if estimate.asked.elapsed() < ESTIMATE_LIFETIME => false,
            Some(estimate) => {
                estimate.asked = Instant::now();
                true
            }
            None => true,
        }
    }

    pub(super) fn learn(&self, asset: Address, units: u64) {
        self.estimates().insert(asset, Estimate { units, asked: Instant::now() });
    }

    pub(super) fn forget(&self, asset: Address) {
        self.estimates().remove(&asset);
    }

    /// The gas that a payment may use: all that is allowed, as long as there is no estimate.
    pub(super) fn units(&self, asset: Address) -> Result<u64, GasAboveCap> {
        let Some(Estimate { units, .. }) = self.estimates().get(&asset).copied() else { return Ok(self.cap) };
        if units > self.cap {
            return Err(GasAboveCap { estimated: units, cap: self.cap });
        }
        Ok(units.saturating_add(units / 4).saturating_add(ESTIMATE_ROOM_UNITS).min(self.cap))
    }

    fn estimates(&self) -> MutexGuard<'_, HashMap<Address, Estimate>> {
        self.estimates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn gas_is_estimated_once_in_a_while_and_capped() {
        let (asset, other) = (Address::repeat_byte(1), Address::repeat_byte(2));
        let book = GasBook::new(200_000);
        assert!(book.should_ask(asset));
        assert_eq!(book.units(asset), Ok(200_000), "without an estimate the cap is the limit");
        book.learn(asset, 80_000);
        assert!(!book.should_ask(asset) && book.should_ask(other));
        assert_eq!(book.units(asset), Ok(125_000));
        tokio::time::advance(ESTIMATE_LIFETIME).await;
        assert!(book.should_ask(asset) && !book.should_ask(asset), "one asker is enough");
        assert_eq!(book.units(asset), Ok(125_000));
        book.learn(asset, 190_000);
        assert_eq!(book.units(asset), Ok(200_000));
        book.learn(asset, 200_001);
        assert_eq!(book.units(asset), Err(GasAboveCap { estimated: 200_001, cap: 200_000 }));
        book.forget(asset);
        assert!(book.should_ask(asset));
    }
}
