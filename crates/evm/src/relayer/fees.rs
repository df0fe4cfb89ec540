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
pub(super) struct Fees {
    pub(super) max_wei: u128,
    pub(super) tip_wei: u128,
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

    fn capped(&self, history: FeeHistory) -> Result<Fees, FeesAboveCap> {
        let cap_wei = u128::from(self.caps.max_fee_per_unit_wei);
        let tip_wei = history.tip_wei.max(self.caps.min_tip_per_unit_wei.into());
        let now_wei = history.base_fee_wei.saturating_add(tip_wei);
        if now_wei > cap_wei {
            return Err(FeesAboveCap { now_wei, cap_wei });
        }
        let max_wei = history.base_fee_wei.saturating_mul(BASE_FEE_HEADROOM).saturating_add(tip_wei).min(cap_wei);
        Ok(Fees { max_wei, tip_wei })
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
            assert_eq!(book.current(), Some(Ok(Fees { max_wei, tip_wei: tip })));
        }
        book.learn(FeeHistory { base_fee_wei: 99, tip_wei: 2 });
        assert_eq!(book.current(), Some(Err(FeesAboveCap { now_wei: 101, cap_wei: 100 })));
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
