//! The order in which one account's transactions go out: its nonces, handed out from memory.
//!
//! Many settlements take nonces at once and none waits for another. A nonce comes back when its transaction was
//! certainly not sent, and the next settlement takes it, so that no gap stays in the line. What the chain says is taken
//! over upwards at any time, and downwards only when the lane has been still for long enough that the chain, and not a
//! node that lags behind, must be right.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long a lane must have been still before a lower count from the node is believed.
const STILL: Duration = Duration::from_secs(30);

/// One account's line of nonces.
#[derive(Clone, Debug, Default)]
pub(super) struct Lane(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// The next nonce that nobody has; `None` until the chain has said.
    next: Option<u64>,
    /// Nonces below `next` that came back.
    freed: BTreeSet<u64>,
    /// Nonces that somebody is signing for right now.
    leased: BTreeSet<u64>,
    /// Counts every change, so that an answer of the node that is older than a change is recognised.
    changes: u64,
    changed: Option<Instant>,
}

/// When a question about the lane was asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark(u64);

/// One nonce, for one transaction. Dropping it gives the nonce back.
#[derive(Debug)]
pub(super) struct Lease {
    lane: Lane,
    nonce: u64,
    kept: bool,
}

impl Lane {
    /// Whether the chain has said where the line starts.
    pub(super) fn is_known(&self) -> bool {
        self.state().next.is_some()
    }

    /// The lowest nonce that is free, if the chain has said where the line starts.
    pub(super) fn take(&self) -> Option<Lease> {
        let mut state = self.state();
        let nonce = if let Some(freed) = state.freed.pop_first() {
            freed
        } else {
            let next = state.next?;
            state.next = Some(next.saturating_add(1));
            next
        };
        state.leased.insert(nonce);
        state.touch();
        Some(Lease { lane: self.clone(), nonce, kept: false })
    }

    /// Takes exactly this nonce, to fill a gap with; `None` if somebody is signing for it.
    pub(super) fn take_gap(&self, nonce: u64) -> Option<Lease> {
        let mut state = self.state();
        if state.next.is_none_or(|next| nonce >= next) || !state.leased.insert(nonce) {
            return None;
        }
        state.freed.remove(&nonce);
        state.touch();
        Some(Lease { lane: self.clone(), nonce, kept: false })
    }

    /// To be taken before the node is asked for the count that [`Self::sync`] gets.
    pub(super) fn mark(&self) -> Mark {
        Mark(self.state().changes)
    }

    /// Takes over how many transactions the chain knows of this account. `empty` says that none of ours is under way.
    pub(super) fn sync(&self, count: u64, mark: Mark, empty: bool) {
        let mut state = self.state();
        let still = state.changed.is_none_or(|changed| changed.elapsed() >= STILL);
        let untouched = state.changes == mark.0 && state.leased.is_empty() && empty;
        match state.next {
            Some(next) if count < next && !(still && untouched) => {}
            Some(next) if count == next => {}
            _ => {
                state.next = Some(count);
                state.changes = state.changes.wrapping_add(1);
            }
        }
        state.freed = state.freed.split_off(&count);
        let next = state.next.unwrap_or(count);
        state.freed.retain(|nonce| *nonce < next);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn touch(&mut self) {
        self.changes = self.changes.wrapping_add(1);
        self.changed = Some(Instant::now());
    }
}

impl Lease {
    /// The nonce.
    pub(super) const fn nonce(&self) -> u64 {
        self.nonce
    }

    /// The nonce is used, by this transaction or by somebody else's: it does not come back, unless it is given back.
    pub(super) fn keep(&mut self) {
        self.kept = true;
        let mut state = self.lane.state();
        state.leased.remove(&self.nonce);
        state.touch();
    }

    /// The transaction was certainly refused: the nonce is free again.
    pub(super) fn give_back(mut self) {
        self.kept = false;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let mut state = self.lane.state();
        state.leased.remove(&self.nonce);
        state.freed.insert(self.nonce);
        // At the end of the line a nonce that came back leaves no gap: the line just gets shorter.
        while let Some(last) = state.next.and_then(|next| next.checked_sub(1)).filter(|last| state.freed.contains(last)) {
            state.freed.remove(&last);
            state.next = Some(last);
        }
        state.touch();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lane_at(count: u64) -> Lane {
        let lane = Lane::default();
        let mark = lane.mark();
        lane.sync(count, mark, true);
        lane
    }

    #[tokio::test]
    async fn nonces_go_out_in_order_once_the_chain_has_said_where_to_start() {
        assert!(Lane::default().take().is_none());
        let lane = lane_at(7);
        let leases: Vec<Lease> = std::iter::from_fn(|| lane.take()).take(3).collect();
        assert_eq!(leases.iter().map(Lease::nonce).collect::<Vec<_>>(), [7, 8, 9]);
    }

    #[tokio::test]
    async fn a_nonce_that_came_back_goes_out_first() {
        let lane = lane_at(0);
        let (mut first, second, mut third) = (lane.take().unwrap(), lane.take().unwrap(), lane.take().unwrap());
        first.keep();
        drop(second);
        assert_eq!(lane.take().unwrap().nonce(), 1);
        third.keep();
        assert_eq!(lane.take().unwrap().nonce(), 1, "it was dropped, so it came back again");
    }

    #[tokio::test]
    async fn at_the_end_the_line_gets_shorter() {
        let lane = lane_at(0);
        let (mut first, second, mut third) = (lane.take().unwrap(), lane.take().unwrap(), lane.take().unwrap());
        first.keep();
        drop(second);
        third.keep();
        third.give_back();
        assert_eq!(lane.state().next, Some(1));
        assert!(lane.state().freed.is_empty());
    }

    #[tokio::test]
    async fn a_count_is_taken_over_upwards_at_once() {
        let lane = lane_at(0);
        let lease = lane.take().unwrap();
        lane.sync(5, lane.mark(), false);
        assert_eq!(lane.take().unwrap().nonce(), 5);
        drop(lease);
        lane.sync(5, lane.mark(), false);
        assert_eq!(lane.take().unwrap().nonce(), 5, "a nonce that the chain has seen does not come back");
    }

    #[tokio::test(start_paused = true)]
    async fn a_count_is_taken_over_downwards_only_from_a_still_lane() {
        let lane = lane_at(5);
        lane.take().unwrap().keep();
        lane.sync(3, lane.mark(), true);
        assert_eq!(lane.state().next, Some(6), "a node may lag behind");
        tokio::time::advance(STILL).await;
        lane.sync(3, lane.mark(), false);
        assert_eq!(lane.state().next, Some(6), "something of ours is under way");
        let before = lane.mark();
        let lease = lane.take().unwrap();
        drop(lease);
        tokio::time::advance(STILL).await;
        lane.sync(3, before, true);
        assert_eq!(lane.state().next, Some(6), "the answer is older than the change");
        lane.sync(3, lane.mark(), true);
        assert_eq!(lane.state().next, Some(3));
    }

    #[tokio::test]
    async fn a_gap_is_filled_unless_somebody_signs_for_it() {
        let lane = lane_at(0);
        let (first, mut second) = (lane.take().unwrap(), lane.take().unwrap());
        second.keep();
        assert!(lane.take_gap(0).is_none(), "the first is being signed");
        drop(first);
        let mut gap = lane.take_gap(0).unwrap();
        assert_eq!(lane.take().unwrap().nonce(), 2, "the gap is taken");
        gap.keep();
        assert!(lane.take_gap(2).is_none(), "that is no gap but the end of the line");
    }

    proptest! {
        /// No two transactions ever have the same nonce at the same time, and used nonces never come back.
        #[test]
        fn nonces_are_unique(actions in prop::collection::vec((0_u8..4, any::<prop::sample::Index>()), 0..200)) {
            let lane = lane_at(10);
            let (mut held, mut used): (Vec<Lease>, BTreeSet<u64>) = (Vec::new(), BTreeSet::new());
            for (action, which) in actions {
                match action {
                    0 | 1 => {
                        let lease = lane.take().unwrap();
                        prop_assert!(!used.contains(&lease.nonce()));
                        prop_assert!(held.iter().all(|other| other.nonce() != lease.nonce()));
                        held.push(lease);
                    }
                    _ if held.is_empty() => {}
                    2 => drop(held.swap_remove(which.index(held.len()))),
                    _ => {
                        let mut lease = held.swap_remove(which.index(held.len()));
                        used.insert(lease.nonce());
                        lease.keep();
                    }
                }
            }
            held.clear();
            // All that is free now fills the line without a gap.
            let end = used.last().map_or(10, |last| last + 1);
            let free: Vec<u64> = (10..end).filter(|nonce| !used.contains(nonce)).collect();
            let next: Vec<Lease> = free.iter().map(|_| lane.take().unwrap()).collect();
            prop_assert_eq!(next.iter().map(Lease::nonce).collect::<Vec<_>>(), free);
        }
    }
}
