//! The settle requests that are under way: so many at once, none any more once the facilitator is stopping.

use std::sync::Arc;

use tokio::sync::watch;

use crate::error::{Overloaded, Stopping};
use crate::local::MAX_SETTLES_IN_FLIGHT;

/// The places.
pub(crate) struct Slots(watch::Sender<State>);

#[derive(Default)]
struct State {
    taken: usize,
    closed: bool,
}

/// One place, until it is dropped.
pub(crate) struct Slot(Arc<Slots>);

/// Why there is no place.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoSlot {
    /// For a moment.
    #[error(transparent)]
    Overloaded(Overloaded),
    /// For good.
    #[error(transparent)]
    Stopping(Stopping),
}

impl Slots {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(watch::Sender::new(State::default())))
    }

    pub(crate) fn take(self: &Arc<Self>) -> Result<Slot, NoSlot> {
        let mut why_not = None;
        self.0.send_if_modified(|state| {
            if state.closed {
                why_not = Some(NoSlot::Stopping(Stopping));
            } else if state.taken >= MAX_SETTLES_IN_FLIGHT {
                why_not = Some(NoSlot::Overloaded(Overloaded { what: "settlements", max: MAX_SETTLES_IN_FLIGHT }));
            } else {
                state.taken = state.taken.saturating_add(1);
            }
            // Nobody waits for more of them.
            false
        });
        why_not.map_or_else(|| Ok(Slot(Arc::clone(self))), Err)
    }

    /// Gives no more places.
    pub(crate) fn close(&self) {
        self.0.send_modify(|state| state.closed = true);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.0.borrow().closed
    }

    /// Returns when no place is taken. Takes none itself.
    pub(crate) async fn emptied(&self) {
        // The sender is `self`, so that waiting cannot fail.
        drop(self.0.subscribe().wait_for(|state| state.taken == 0).await);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.0.send_if_modified(|state| {
            state.taken = state.taken.saturating_sub(1);
            state.taken == 0
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn places_are_counted_and_waiting_for_their_end_takes_none() {
        let slots = Slots::new();
        let mut taken: Vec<Slot> = (0..MAX_SETTLES_IN_FLIGHT).map(|_| slots.take().ok().unwrap()).collect();
        assert!(matches!(slots.take(), Err(NoSlot::Overloaded(_))));
        taken.truncate(1);
        let mut emptied = std::pin::pin!(slots.emptied());
        assert!(emptied.as_mut().now_or_never().is_none());
        drop(slots.take().ok().unwrap());
        assert!(emptied.as_mut().now_or_never().is_none(), "the first is still there");
        taken.clear();
        emptied.await;
    }

    #[test]
    fn a_stopping_facilitator_says_so() {
        let slots = Slots::new();
        let _one = slots.take().ok().unwrap();
        slots.close();
        assert!(slots.is_closed());
        let why_not = slots.take().err().unwrap().to_string();
        assert!(why_not.contains("stopping") && !why_not.contains("in flight"), "{why_not}");
    }
}
