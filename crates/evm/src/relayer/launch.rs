//! From orders to a transaction on its way: packed, signed, written down, broadcast.

use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{B256, Bytes, U256};
use farthing_core::books::{BookError, Outgoing, OutgoingPayment, Unsendable, Written};
use farthing_core::reason::{Reason, Refusal};
use farthing_core::scheme::{PaymentKey, TransactionId};
use metrics::histogram;
use tokio::time::{Instant, timeout_at};
use tracing::field::display;
use tracing::{Instrument, Span, debug_span};

use super::Inner;
use super::batch::{Load, Signed};
use super::broadcast::Broadcast;
use super::fees::Fees;
use super::flights::Flight;
use super::lane::{End, Lane, Limbo};
use super::order::{NotSent, RelayError};
use super::queue::{MAX_BATCH_ORDERS, Room, Ticket};
use crate::rpc::{self, Call, CallError};

/// How long orders gather for a node that has not answered a broadcast yet.
const ACKNOWLEDGE_PATIENCE: Duration = Duration::from_millis(500);
/// Beyond a broadcast's own time-out, before it is taken for lost.
const BROADCAST_GRACE: Duration = Duration::from_secs(1);
/// One part in so many of the room goes out at once where blocks are slow.
const AT_ONCE_PART: usize = 4;
/// Where it is not known when the next block is due, orders gather for this part of the time that the oldest has waited.
const GATHER_PART: u32 = 4;
/// How often an order is signed anew after the node refused it for its number or its fees.
const MAX_ATTEMPTS: u8 = 4;
const WEI_PER_GWEI: u64 = 1_000_000_000;
/// The pause after a hole could not be filled, or a balance was too low.
const TRY_AGAIN: Duration = Duration::from_secs(2);

/// What became of a broadcast.
pub(super) struct Sent {
    sequence: u64,
    hash: B256,
    broadcast: Broadcast,
    error: Option<CallError>,
}

impl Lane {
    /// Sends what waits, if there is room. `true` if it did something.
    pub(super) async fn send_more(&mut self) -> Result<bool, End> {
        let may_fill = !self.holes.is_empty() && Instant::now() >= self.fill_at;
        self.gather_until = None;
        if self.inner.queue.is_empty_for(self.address()) && !may_fill {
            return Ok(false);
        }
        let (count, under_way_wei, oldest) = {
            let flights = self.inner.flights();
            let oldest = flights.unmined(self.index).next().map(|(_, flight)| flight.since.elapsed());
            let (count, wei) = flights.unmined(self.index).fold((0_usize, 0_u128), |(count, wei), (_, flight)| {
                (count.saturating_add(1), wei.saturating_add(flight.cost_wei))
            });
            (count, wei, oldest.unwrap_or_default())
        };
        let has_room = count < self.inner.relay.max_in_flight && !self.should_gather(count, oldest);
        if !has_room && !may_fill {
            return Ok(false);
        }
        let fees = match self.inner.fees().await {
            Ok(fees) => fees,
            Err(cause) => {
                self.fill_at = Instant::now() + TRY_AGAIN;
                return Ok(self.turn_down(&cause));
            }
        };
        let tickets = if has_room { self.pull(fees, under_way_wei) } else { Vec::new() };
        if tickets.is_empty() && !may_fill {
            return Ok(false);
        }
        self.launch(tickets, fees).await?;
        Ok(true)
    }

    /// Whether orders are to gather although there is room: where blocks are slow, some go out at once, and the rest of the
    /// room is spread over the time until the block that all of them wait for.
    fn should_gather(&mut self, unmined: usize, oldest: Duration) -> bool {
        let room = self.inner.relay.max_in_flight.saturating_sub(unmined);
        if unmined.saturating_mul(AT_ONCE_PART) < self.inner.relay.max_in_flight || !self.batches {
            return false;
        }
        let until_block = self.inner.next_block().and_then(|due| due.checked_duration_since(self.launched_at));
        let pause = until_block.map_or(oldest / GATHER_PART, |left| left / u32::try_from(room).unwrap_or(u32::MAX).max(1));
        self.gather_until = Some(self.launched_at + pause).filter(|until| *until > Instant::now());
        self.gather_until.is_some()
    }

    /// The orders that wait, as far as this lane can pay for them.
    fn pull(&mut self, fees: Fees, under_way_wei: u128) -> Vec<Ticket> {
        let Some(next_units) = self.inner.queue.next_gas_units(self.address()) else { return Vec::new() };
        let room = Room {
            account: self.address(),
            orders: if self.batches { MAX_BATCH_ORDERS } else { 1 },
            gas_units: self.inner.relay.max_batch_gas_units,
            affordable_units: self.inner.accounts.affordable_units(self.index, fees.max_wei, under_way_wei),
        };
        let tickets = self.inner.queue.pull(room);
        let needed_wei = fees.max_wei.saturating_mul(next_units.into());
        if tickets.is_empty() && room.affordable_units < next_units && self.inner.accounts.lacks(self.index, needed_wei) {
            self.fall_short(needed_wei);
        }
        tickets
    }

    /// Leaves the orders to lanes that can pay for them.
    fn fall_short(&mut self, needed_wei: u128) {
        if self.inner.accounts.short(self.index, needed_wei) {
            self.recheck_at = Instant::now() + TRY_AGAIN;
            self.inner.wake_lanes();
        }
    }

    /// Nothing can be sent: says so to all who wait. `true` if anybody did.
    fn turn_down(&self, cause: &NotSent) -> bool {
        let room = Room { account: self.address(), orders: MAX_BATCH_ORDERS, gas_units: u64::MAX, affordable_units: u64::MAX };
        let tickets = self.inner.queue.pull(room);
        let any = !tickets.is_empty();
        for ticket in tickets {
            ticket.answer(Err(cause.clone().into()));
        }
        any
    }

    /// Sends one transaction with these orders; without any, one that only fills a hole.
    async fn launch(&mut self, tickets: Vec<Ticket>, fees: Fees) -> Result<(), End> {
        let is_filling = tickets.is_empty();
        let mut tickets = self.board(tickets);
        let sequence = self.holes.first().copied().unwrap_or(self.next);
        // Every round is without at least one of the orders, so it ends.
        let signed = loop {
            if tickets.is_empty() && !is_filling {
                return Ok(());
            }
            let signed = match Load::of(&tickets, self.address()).sign(&*self.signer, self.inner.chain_id, sequence, fees).await
            {
                Ok(signed) => signed,
                Err(error) => {
                    self.fill_at = Instant::now() + TRY_AGAIN;
                    let error = Arc::new(error);
                    put_down(tickets, |_| NotSent::Signer { account: self.address(), error: error.clone() }.into());
                    return Ok(());
                }
            };
            let id = TransactionId(signed.hash.to_string());
            let (carried, given_up): (Vec<Ticket>, Vec<Ticket>) =
                tickets.into_iter().partition(|ticket| ticket.carried_by(&id));
            tickets = carried;
            if !given_up.is_empty() {
                put_down(given_up, |_| NotSent::GivenUp.into());
                continue;
            }
            match self.write(sequence, &id, &signed, &tickets, fees).await {
                Ok(Written::Yes) => break signed,
                Ok(Written::LeaseLost) => {
                    for ticket in &tickets {
                        ticket.put_down();
                    }
                    self.inner.queue.put_back(tickets);
                    return Err(End::LeaseLost);
                }
                Ok(Written::Without(without)) => tickets = leave_behind(tickets, &without),
                Err(error) => {
                    tracing::error!(lane = %self.lease.lane, %error, "a transaction could not be written down; it was not sent");
                    return Err(End::Limbo(Limbo { transaction: id, tickets, error: Arc::new(error) }));
                }
            }
        };
        self.took(sequence);
        self.depart(sequence, signed, tickets).await
    }

    /// The orders that are still to be sent.
    fn board(&self, tickets: Vec<Ticket>) -> Vec<Ticket> {
        let now = self.inner.clock.now();
        let mut boarded = Vec::with_capacity(tickets.len());
        for mut ticket in tickets {
            if now > ticket.order.send_before {
                ticket.answer(Err(NotSent::Expired.into()));
            } else if ticket.order.right.enter() {
                ticket.attempts = ticket.attempts.saturating_add(1);
                boarded.push(ticket);
            } else {
                ticket.answer(Err(NotSent::GivenUp.into()));
            }
        }
        boarded
    }

    async fn write(
        &self,
        sequence: u64,
        id: &TransactionId,
        signed: &Signed,
        tickets: &[Ticket],
        fees: Fees,
    ) -> Result<Written, BookError> {
        let payments: Vec<OutgoingPayment> = tickets.iter().map(|ticket| outgoing_payment(ticket, fees)).collect();
        let outgoing = Outgoing {
            lease: &self.lease,
            sequence,
            transaction: id,
            signed: &signed.bytes,
            height: self.inner.head().map_or(self.height, |head| head.number.max(self.height)),
            payments: &payments,
            now: self.inner.clock.now(),
        };
        self.inner.outbox.sending(&outgoing).await
    }

    /// It is in the book: broadcasts it.
    async fn depart(&mut self, sequence: u64, signed: Signed, tickets: Vec<Ticket>) -> Result<(), End> {
        let id = TransactionId(signed.hash.to_string());
        for ticket in &tickets {
            ticket.order.right.written(&id);
            ticket.span.record("transaction", display(&id));
        }
        if !tickets.is_empty() {
            let count = u32::try_from(tickets.len()).unwrap_or(u32::MAX);
            histogram!("farthing_batch_payments", "chain" => self.inner.network.to_string()).record(f64::from(count));
        }
        tracing::debug!(lane = %self.lease.lane, transaction = %id, sequence, payments = tickets.len(), "sending a transaction");
        // A broadcast has one place in the traces, that of its first payment; the others' name its transaction.
        let span =
            tickets.first().map_or_else(Span::none, |first| debug_span!(parent: &first.span, "broadcast", transaction = %id));
        let (hash, bytes) = (signed.hash, signed.bytes.clone());
        self.launched_at = Instant::now();
        let flight = Flight::new(signed, tickets, self.broadcast_deadline());
        self.inner.flights().insert((self.index, sequence), flight);
        self.show();
        span.in_scope(|| self.broadcast(sequence, hash, bytes));
        // Without Multicall3 there is nothing to gather for.
        if self.batches { self.acknowledged(sequence).await } else { Ok(()) }
    }

    /// When a broadcast that is going on would be taken for lost.
    pub(super) fn broadcast_deadline(&self) -> Instant {
        Instant::now() + self.inner.request_timeout + BROADCAST_GRACE
    }

    pub(super) fn broadcast(&mut self, sequence: u64, hash: B256, bytes: Bytes) {
        let inner = self.inner.clone();
        let broadcast = async move { Some(inner.broadcast(sequence, hash, &bytes).await) };
        self.broadcasts.spawn(broadcast.in_current_span());
    }

    /// Waits until the node has answered, but not for ever: meanwhile orders gather.
    async fn acknowledged(&mut self, sequence: u64) -> Result<(), End> {
        let deadline = Instant::now() + ACKNOWLEDGE_PATIENCE;
        while let Ok(Some(sent)) = timeout_at(deadline, self.broadcasts.join_next()).await {
            let Ok(Some(sent)) = sent else { continue };
            let is_it = sent.sequence == sequence;
            self.learn(sent).await?;
            if is_it {
                break;
            }
        }
        Ok(())
    }

    /// Takes over what became of a broadcast.
    pub(super) async fn learn(&mut self, sent: Sent) -> Result<(), End> {
        let Sent { sequence, hash, broadcast, error } = sent;
        let is_only = {
            let mut flights = self.inner.flights();
            let Some(flight) = flights.get_mut((self.index, sequence)).filter(|flight| flight.landed.is_none()) else {
                return Ok(());
            };
            flight.rebroadcast_at = match broadcast {
                Broadcast::Accepted => Instant::now() + self.inner.confirm.rebroadcast(),
                _ => Instant::now(),
            };
            flight.hashes == [hash]
        };
        match broadcast {
            Broadcast::Underpriced | Broadcast::Refused if is_only => self.refused(sequence, broadcast, error).await,
            Broadcast::NonceTaken if is_only => self.number_refused(sequence).await,
            _ => {
                if broadcast == Broadcast::Accepted {
                    self.inner.news.notify_one();
                } else {
                    self.inner.flights().get_mut((self.index, sequence)).into_iter().for_each(|flight| flight.ask = true);
                    self.inner.news.notify_one();
                }
                Ok(())
            }
        }
    }

    /// The transaction was certainly refused: its number is free, and its payments may be sent anew.
    async fn refused(&mut self, sequence: u64, broadcast: Broadcast, error: Option<CallError>) -> Result<(), End> {
        let error = error.unwrap_or(CallError { code: 0, message: "no reason".to_owned(), data: None });
        let cause = NotSent::Refused { account: self.address(), error };
        let taken_back = self.take_back(sequence, &cause).await;
        let Some(flight) = self.inner.flights().remove((self.index, sequence)) else { return Ok(()) };
        if let Err(error) = taken_back {
            // If it is still in the book it has to be sent, and if not it must not be.
            return Err(End::Limbo(Limbo { transaction: flight.id(), tickets: flight.tickets, error: Arc::new(error) }));
        }
        self.free(sequence);
        self.fill_at = Instant::now() + TRY_AGAIN;
        self.show();
        tracing::warn!(lane = %self.lease.lane, %cause, "a transaction was refused");
        match broadcast {
            Broadcast::Underpriced => self.inner.fees.forget(),
            _ if is_about_money(&cause) => self.fall_short(flight.cost_wei),
            _ => {}
        }
        let again = broadcast == Broadcast::Underpriced;
        self.send_again(flight.tickets, |ticket| again && ticket.attempts < MAX_ATTEMPTS, &cause);
        Ok(())
    }

    /// Takes a transaction that is certain not to land out of the book. Where that fails, it may be out or not.
    pub(super) async fn take_back(&self, sequence: u64, cause: &NotSent) -> Result<(), BookError> {
        // Everybody may read the book's words; the node's are in the log.
        let message = "the network refused the transaction that was to carry it, and nothing moved";
        tracing::warn!(lane = %self.lease.lane, sequence, %cause, "taking a transaction back");
        let refusal = Refusal::new(Reason::InvalidExactEvmTransactionFailed, message);
        let taken_back = self.inner.outbox.refused(&self.lease, sequence, &refusal, self.inner.clock.now()).await;
        if let Err(error) = &taken_back {
            tracing::error!(lane = %self.lease.lane, %error, "a refused transaction could not be taken out of the book");
        }
        taken_back
    }

    /// Puts orders back into the queue, or says why they were not sent.
    pub(super) fn send_again(&self, tickets: Vec<Ticket>, may: impl Fn(&Ticket) -> bool, cause: &NotSent) {
        let (again, not): (Vec<Ticket>, Vec<Ticket>) = tickets.into_iter().partition(may);
        put_down(not, |_| cause.clone().into());
        for ticket in &again {
            ticket.put_down();
        }
        self.inner.queue.put_back(again);
    }

    /// The node says that the number is used, and does not know our transaction: goes on behind what the chain has counted.
    /// What becomes of this one the follower finds out.
    async fn number_refused(&mut self, sequence: u64) -> Result<(), End> {
        if let Some(flight) = self.inner.flights().get_mut((self.index, sequence)) {
            flight.number_refused = true;
            flight.rebroadcast_at = Instant::now() + self.inner.confirm.rebroadcast();
        }
        self.inner.news.notify_one();
        let account = self.address();
        let Ok(answers) = self.inner.node.ask(&[Call::mined_count(account), Call::pending_count(account)]).await else {
            return Ok(());
        };
        for answer in &answers {
            if let Ok(count) = rpc::quantity(answer, "eth_getTransactionCount") {
                self.next = self.next.max(count);
            }
        }
        self.holes = self.holes.split_off(&self.next.min(sequence.saturating_add(1)));
        Ok(())
    }

    fn took(&mut self, sequence: u64) {
        if !self.holes.remove(&sequence) {
            self.next = sequence.saturating_add(1);
        }
    }

    /// The number is used by nothing. At the end of the line that leaves no hole: the line just gets shorter.
    fn free(&mut self, sequence: u64) {
        self.holes.insert(sequence);
        while let Some(last) = self.next.checked_sub(1).filter(|last| self.holes.contains(last)) {
            self.holes.remove(&last);
            self.next = last;
        }
    }
}

impl Inner {
    /// Broadcasts, and settles what the node's words mean for this very transaction.
    async fn broadcast(&self, sequence: u64, hash: B256, bytes: &[u8]) -> Sent {
        let calls = [Call::broadcast(bytes)];
        let answer = self.node.ask(&calls).await.map(|answers| answers.into_iter().next());
        let (broadcast, error) = match answer {
            Ok(Some(Ok(_))) => (Broadcast::Accepted, None),
            Ok(Some(Err(error))) => match Broadcast::of(&error) {
                // A refusal is believed only if the node has not heard of this very transaction: a proxy may have sent it
                // twice, and the words are those for the second copy, after the first was taken in or even mined.
                Broadcast::Accepted => (Broadcast::Accepted, None),
                refused if refused != Broadcast::Unclear && !self.may_be_known(hash).await => (refused, Some(error)),
                _ => (Broadcast::Unclear, None),
            },
            Ok(None) | Err(_) => (Broadcast::Unclear, None),
        };
        Sent { sequence, hash, broadcast, error }
    }

    /// Whether the node has heard of the transaction, or cannot say.
    async fn may_be_known(&self, hash: B256) -> bool {
        let calls = [Call::transaction(hash), Call::receipt(hash)];
        let Ok(answers) = self.node.ask(&calls).await else { return true };
        let [transaction, receipt] = answers.as_slice() else { return true };
        rpc::is_known(transaction).unwrap_or(true) || !matches!(rpc::receipt(receipt), Ok(None))
    }
}

fn outgoing_payment(ticket: &Ticket, fees: Fees) -> OutgoingPayment {
    let order = &ticket.order;
    OutgoingPayment {
        record: order.payment.clone(),
        request: order.right.request().clone(),
        caller: order.right.caller().map(str::to_owned),
        fee_gwei: fees.expected_gwei(order.gas_units).saturating_add(gwei(order.value_wei)),
        budgets: order.budgets.clone(),
    }
}

/// So much of the network's coin in units of 10⁻⁹, rounded up.
fn gwei(value_wei: U256) -> u64 {
    value_wei.div_ceil(U256::from(WEI_PER_GWEI)).try_into().unwrap_or(u64::MAX)
}

/// The orders without those that the book does not take, which are told why.
fn leave_behind(tickets: Vec<Ticket>, without: &[(PaymentKey, Unsendable)]) -> Vec<Ticket> {
    let reason = |ticket: &Ticket| without.iter().find(|(key, _)| *key == ticket.order.payment.key).map(|(_, why)| why.clone());
    let (left, kept): (Vec<Ticket>, Vec<Ticket>) = tickets.into_iter().partition(|ticket| reason(ticket).is_some());
    // A book that names payments that are not there would be asked for ever.
    let (left, kept) = if left.is_empty() { (kept, left) } else { (left, kept) };
    put_down(left, |ticket| match reason(ticket) {
        Some(Unsendable::Taken(state)) => RelayError::Taken(state),
        Some(Unsendable::OverBudget(budget)) => RelayError::OverBudget(budget),
        None => NotSent::GivenUp.into(),
    });
    kept
}

/// Tells those who wait for these orders why they were not sent.
fn put_down(tickets: Vec<Ticket>, why: impl Fn(&Ticket) -> RelayError) {
    for ticket in tickets {
        ticket.put_down();
        let why = why(&ticket);
        ticket.answer(Err(why));
    }
}

fn is_about_money(cause: &NotSent) -> bool {
    matches!(cause, NotSent::Refused { error, .. } if error.message.to_ascii_lowercase().contains("insufficient"))
}
