//! The orders of one chain that wait for a lane: lanes pull, so that whichever has room takes what has gathered.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use alloy_primitives::{Address, B256};
use farthing_core::scheme::TransactionId;
use tokio::sync::{oneshot, watch};
use tracing::Span;

use super::order::{Company, Mined, NotSent, Order, RelayError};

/// The most orders that wait for a lane.
pub(super) const MAX_QUEUED: usize = 20_000;
/// The most orders in one transaction.
pub(super) const MAX_BATCH_ORDERS: usize = 100;
/// The most bytes of calls in one transaction: nodes take no transaction above 128 KiB.
const MAX_BATCH_DATA_BYTES: usize = 96 * 1024;

/// An order on its way, and who waits for it.
pub(super) struct Ticket {
    /// Its place in the queue, which it keeps when it is put back.
    pub(super) number: u64,
    pub(super) order: Order,
    pub(super) answer: oneshot::Sender<Result<Mined, RelayError>>,
    pub(super) stage: SharedStage,
    /// How often it was signed for.
    pub(super) attempts: u8,
    /// What the sending of it belongs to, in its payment's trace.
    pub(super) span: Span,
}

/// How far an order has come.
#[derive(Debug)]
pub(super) enum Stage {
    /// It waits for its turn.
    Queued,
    /// This transaction carries it, or is just being written down.
    Carried(TransactionId),
    /// Nobody wants it any more.
    GivenUp,
}

/// What the one who waits and the one who sends both know.
#[derive(Clone, Debug)]
pub(super) struct SharedStage(Arc<Mutex<Stage>>);

/// What a lane can take at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// Its account.
    pub(super) account: Address,
    /// The most orders.
    pub(super) orders: usize,
    /// The most gas of several orders.
    pub(super) gas_units: u64,
    /// The most gas that the lane can pay for.
    pub(super) affordable_units: u64,
}

/// The orders of one chain that wait for a lane.
pub(super) struct Queue {
    state: Mutex<State>,
    changes: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    orders: BTreeMap<u64, Ticket>,
    next_number: u64,
    closed: bool,
}

impl SharedStage {
    pub(super) fn queued() -> Self {
        Self(Arc::new(Mutex::new(Stage::Queued)))
    }

    /// Called by who waited too long: the transaction that carries the order, or `None` if it is given up in time.
    pub(super) fn give_up(&self) -> Option<TransactionId> {
        let mut stage = self.lock();
        if let Stage::Carried(transaction) = &*stage {
            return Some(transaction.clone());
        }
        *stage = Stage::GivenUp;
        None
    }

    /// Whether it still waits for its turn.
    pub(super) fn is_queued(&self) -> bool {
        matches!(*self.lock(), Stage::Queued)
    }

    fn lock(&self) -> MutexGuard<'_, Stage> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// This transaction carries it from now on. `false` if nobody wants it any more.
    pub(super) fn carried_by(&self, transaction: &TransactionId) -> bool {
        let mut stage = self.stage.lock();
        if matches!(*stage, Stage::GivenUp) {
            return false;
        }
        *stage = Stage::Carried(transaction.clone());
        true
    }

    /// Nothing carries it: it waits again.
    pub(super) fn put_down(&self) {
        let mut stage = self.stage.lock();
        if matches!(*stage, Stage::Carried(_)) {
            *stage = Stage::Queued;
        }
        drop(stage);
        self.order.right.left();
    }

    /// Tells who waits. Nobody may: then the book is read instead.
    pub(super) fn answer(self, answer: Result<Mined, RelayError>) {
        drop(self.answer.send(answer));
    }

    fn is_wanted(&self) -> bool {
        !self.answer.is_closed() && !matches!(*self.stage.lock(), Stage::GivenUp)
    }

    fn company(&self) -> Company {
        if self.order.right.alone() { Company::None } else { self.order.company }
    }

    fn may_be_sent_by(&self, account: Address) -> bool {
        self.order.sender.is_none_or(|sender| sender == account)
    }
}

/// The orders of one transaction, as far as others are taken beside them.
struct Beside {
    first: Company,
    marks: HashSet<B256>,
}

impl Beside {
    fn new(first: Company) -> Self {
        let mut beside = Self { first, marks: HashSet::new() };
        beside.takes(first);
        beside
    }

    /// Whether one more can be carried with them. Orders that are told apart by different logs are not mixed.
    fn takes(&mut self, next: Company) -> bool {
        match (self.first, next) {
            (Company::Any, Company::Any) => true,
            (Company::Unlike(_), Company::Unlike(mark)) => self.marks.insert(mark),
            _ => false,
        }
    }
}

impl Default for Queue {
    fn default() -> Self {
        Self { state: Mutex::default(), changes: watch::Sender::new(()) }
    }
}

impl Queue {
    /// Adds an order at the end, and gives it its number.
    pub(super) fn push(&self, mut ticket: Ticket) -> Result<u64, NotSent> {
        let mut state = self.state();
        if state.closed {
            return Err(NotSent::Stopping);
        }
        if state.orders.len() >= MAX_QUEUED {
            return Err(NotSent::Full(MAX_QUEUED));
        }
        let number = state.next_number;
        state.next_number = number.saturating_add(1);
        ticket.number = number;
        state.orders.insert(number, ticket);
        drop(state);
        self.changes.send_replace(());
        Ok(number)
    }

    /// Nobody wants the order any more: it goes at once, with all that it holds, whether or not a lane ever comes by.
    pub(super) fn leave(&self, number: u64) {
        let left = self.state().orders.remove(&number);
        drop(left);
    }

    /// Puts orders back to where they came from.
    pub(super) fn put_back(&self, tickets: Vec<Ticket>) {
        let mut state = self.state();
        if state.closed {
            drop(state);
            for ticket in tickets {
                ticket.answer(Err(NotSent::Stopping.into()));
            }
            return;
        }
        let (wanted, unwanted): (Vec<Ticket>, Vec<Ticket>) = tickets.into_iter().partition(Ticket::is_wanted);
        state.orders.extend(wanted.into_iter().map(|ticket| (ticket.number, ticket)));
        drop(state);
        drop(unwanted);
        self.changes.send_replace(());
    }

    /// The next order and those that can go with it; nothing, if the first is more than the lane can pay for.
    pub(super) fn pull(&self, room: Room) -> Vec<Ticket> {
        let mut state = self.state();
        let next = state.orders.iter().find(|(_, ticket)| ticket.may_be_sent_by(room.account));
        let next = next.filter(|(_, ticket)| ticket.order.gas_units <= room.affordable_units).map(|(number, _)| *number);
        let Some(first) = next.and_then(|number| state.orders.remove(&number)) else { return Vec::new() };
        let mut beside = Beside::new(first.company());
        let limit_units = room.gas_units.min(room.affordable_units);
        let most = if first.company() == Company::None { 1 } else { room.orders.min(MAX_BATCH_ORDERS) };
        let (mut gas_units, mut bytes) = (first.order.gas_units, first.order.data.len());
        let mut numbers = Vec::new();
        for (number, next) in &state.orders {
            if numbers.len().saturating_add(1) >= most {
                break;
            }
            let more_units = gas_units.saturating_add(next.order.gas_units);
            let more_bytes = bytes.saturating_add(next.order.data.len());
            let fits = more_units <= limit_units && more_bytes <= MAX_BATCH_DATA_BYTES;
            if fits && next.may_be_sent_by(room.account) && beside.takes(next.company()) {
                (gas_units, bytes) = (more_units, more_bytes);
                numbers.push(*number);
            }
        }
        let mut taken = vec![first];
        taken.extend(numbers.into_iter().filter_map(|number| state.orders.remove(&number)));
        taken
    }

    /// The gas of the next order that this account may send.
    pub(super) fn next_gas_units(&self, account: Address) -> Option<u64> {
        let state = self.state();
        state.orders.values().find(|ticket| ticket.may_be_sent_by(account)).map(|ticket| ticket.order.gas_units)
    }

    /// Whether nothing waits that this account may send.
    pub(super) fn is_empty_for(&self, account: Address) -> bool {
        !self.state().orders.values().any(|ticket| ticket.may_be_sent_by(account))
    }

    /// Tells of every change.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Takes no more, and gives back what waits.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        let waiting = std::mem::take(&mut state.orders);
        drop(state);
        for ticket in waiting.into_values() {
            ticket.answer(Err(NotSent::Stopping.into()));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_carried_together_can_be_told_apart() {
        let mark = B256::repeat_byte;
        let mut permits = Beside::new(Company::Unlike(mark(1)));
        assert!(!permits.takes(Company::Unlike(mark(1))), "it is like the first");
        assert!(permits.takes(Company::Unlike(mark(2))));
        assert!(!permits.takes(Company::Unlike(mark(2))), "it is like the second");
        assert!(!permits.takes(Company::Any) && !permits.takes(Company::None));
        let mut transfers = Beside::new(Company::Any);
        assert!(transfers.takes(Company::Any) && transfers.takes(Company::Any));
        assert!(!transfers.takes(Company::Unlike(mark(1))) && !transfers.takes(Company::None));
        assert!(!Beside::new(Company::None).takes(Company::Any));
    }
}
