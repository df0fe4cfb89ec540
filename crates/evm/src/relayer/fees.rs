//! What a unit of gas may cost right now, remembered for a moment and capped for good.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::GasConfig;
use crate::rpc::FeeHistory;

/// How old fees may get before the next question to the node asks for them, too.
const FRESH: Duration = Duration::from_secs(3);
/// How old fees may get before nothing is signed with them any more.
const USABLE: Duration = Duration::from_secs(30);
/// How long one asker is given before another asks as well.
const ASKING: Duration = Duration::from_secs(1);
/// The base fee may double before a transaction is left behind (six full blocks in a row).
const BASE_FEE_HEADROOM: u128 = 2;

/// The fees of an EIP-1559 transaction, in wei for a unit of gas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_field_names, reason = "the unit is last in every name")]
pub(super) struct Fees {
    /// The most.
    pub(super) max_wei: u128,
    /// What the block's maker gets of it.
    pub(super) tip_wei: u128,
    /// What it would cost right now.
    pub(super) expected_wei: u128,
}

/// A replacement must offer this much more than what it replaces, or nodes refuse it: an eighth is 12.5 %.
const BUMP_DIVISOR: u128 = 8;

impl Fees {
    /// What a unit of gas is expected to cost, in all, for this many of them, in 10⁻⁹ of the network's coin, rounded up.
    pub(super) fn expected_gwei(&self, gas_units: u64) -> u64 {
        gwei(self.expected_wei.saturating_mul(gas_units.into()))
    }

    /// The fees of what takes the place of a transaction with those; `None` if the operator's cap leaves no room.
    pub(super) fn bumped(self, old: (u128, u128), cap_wei: u128) -> Option<Self> {
        let more = |wei: u128| wei.saturating_add(wei / BUMP_DIVISOR).saturating_add(1);
        let (least_max_wei, least_tip_wei) = (more(old.0), more(old.1));
        let max_wei = self.max_wei.max(least_max_wei).min(cap_wei);
        let tip_wei = self.tip_wei.max(least_tip_wei).min(max_wei);
        (max_wei >= least_max_wei && tip_wei >= least_tip_wei).then_some(Self { max_wei, tip_wei, ..self })
    }
}

/// Wei in units of 10⁹, rounded up; stops at the largest number.
pub(super) fn gwei(wei: u128) -> u64 {
    u64::try_from(wei.div_ceil(1_000_000_000)).unwrap_or(u64::MAX)
}

/// The network asks more than the operator allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a unit of gas costs {now_wei} wei now, and gas.max_fee_per_unit_wei allows {cap_wei}; raise it or wait")]
pub struct FeesAboveCap {
    now_wei: u128,
    cap_wei: u128,
}

/// The latest fees.
#[derive(Debug)]
pub(super) struct FeeBook {
    caps: GasConfig,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    latest: Option<(Instant, FeeHistory)>,
    asked: Option<Instant>,
}

impl FeeBook {
    pub(super) fn new(caps: GasConfig) -> Self {
        Self { caps, state: Mutex::default() }
    }

    /// Whether the caller should ask the node; then others need not for a moment.
    pub(super) fn should_ask(&self) -> bool {
        let mut state = self.state();
        let fresh = state.latest.is_some_and(|(at, _)| at.elapsed() < FRESH);
        let asked = state.asked.is_some_and(|at| at.elapsed() < ASKING);
        if fresh || asked {
            return false;
        }
        state.asked = Some(Instant::now());
        true
    }

    /// Takes over what the node said.
    pub(super) fn learn(&self, history: FeeHistory) {
        let mut state = self.state();
        state.latest = Some((Instant::now(), history));
        state.asked = None;
    }

    /// The node found these fees too low: ask again before signing.
    pub(super) fn forget(&self) {
        *self.state() = State::default();
    }

    /// The fees to sign with; `None` if the node has to be asked first.
    pub(super) fn current(&self) -> Option<Result<Fees, FeesAboveCap>> {
        let (at, history) = self.state().latest?;
        (at.elapsed() < USABLE).then(|| self.capped(history))
    }

    /// The most that one unit may ever cost.
    pub(super) fn cap_wei(&self) -> u128 {
        self.caps.max_fee_per_unit_wei.into()
    }

    fn capped(&self, history: FeeHistory) -> Result<Fees, FeesAboveCap> {
        let cap_wei = u128::from(self.caps.max_fee_per_unit_wei);
        let tip_wei = history.tip_wei.max(self.caps.min_tip_per_unit_wei.into());
        let now_wei = history.base_fee_wei.saturating_add(tip_wei);
        if now_wei > cap_wei {
            return Err(FeesAboveCap { now_wei, cap_wei });
        }
        let max_wei = history.base_fee_wei.saturating_mul(BASE_FEE_HEADROOM).saturating_add(tip_wei).min(cap_wei);
        Ok(Fees { max_wei, tip_wei, expected_wei: now_wei })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book() -> FeeBook {
        FeeBook::new(GasConfig { max_fee_per_unit_wei: 100, min_tip_per_unit_wei: 2, ..GasConfig::default() })
    }

    #[tokio::test]
    async fn fees_leave_room_for_the_base_fee_to_double_within_the_cap() {
        let book = book();
        let cases = [((10, 1), (22, 2)), ((10, 5), (25, 5)), ((60, 5), (100, 5)), ((0, 0), (2, 2))];
        for ((base_fee_wei, tip_wei), (max_wei, tip)) in cases {
            book.learn(FeeHistory { base_fee_wei, tip_wei });
            let expected_wei = base_fee_wei + tip;
            assert_eq!(book.current(), Some(Ok(Fees { max_wei, tip_wei: tip, expected_wei })));
        }
        book.learn(FeeHistory { base_fee_wei: 99, tip_wei: 2 });
        assert_eq!(book.current(), Some(Err(FeesAboveCap { now_wei: 101, cap_wei: 100 })));
    }

    #[test]
    fn a_replacement_offers_an_eighth_more_or_is_none() {
        let now = Fees { max_wei: 22, tip_wei: 2, expected_wei: 12 };
        assert_eq!(now.bumped((40, 2), 100), Some(Fees { max_wei: 46, tip_wei: 3, expected_wei: 12 }));
        assert_eq!(now.bumped((10, 1), 100), Some(now), "the network asks more than that");
        assert_eq!(now.bumped((90, 2), 100), None, "101.25 are above the cap");
        assert_eq!((gwei(0), gwei(1), gwei(1_000_000_000), gwei(1_000_000_001)), (0, 1, 1, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn one_asker_at_a_time_and_old_fees_are_not_used() {
        let book = book();
        assert!(book.current().is_none());
        assert!(book.should_ask() && !book.should_ask());
        tokio::time::advance(ASKING).await;
        assert!(book.should_ask(), "the first asker never came back");
        book.learn(FeeHistory { base_fee_wei: 1, tip_wei: 1 });
        assert!(!book.should_ask());
        tokio::time::advance(FRESH).await;
        assert!(book.should_ask() && book.current().is_some());
        tokio::time::advance(USABLE).await;
        assert!(book.current().is_none());
    }
}
