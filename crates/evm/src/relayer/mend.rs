//! What does not go by itself: transactions that are not mined, numbers that somebody else has used, empty accounts.

use alloy_primitives::Bytes;
use farthing_core::books::{LaneLease, Outgoing, Written};
use farthing_core::scheme::TransactionId;
use metrics::counter;
use tokio::time::Instant;

use super::Inner;
use super::batch::{Load, Offered};
use super::flights::{Flight, Foreign};
use super::lane::{End, Lane};
use super::order::NotSent;
use crate::rpc::{self, Call, CallError};

/// The most transactions that are broadcast again in one round trip. The next round begins when it has come back.
const MAX_REBROADCASTS: usize = 16;
/// The most transactions that are signed for one number.
const MAX_REPLACEMENTS: usize = 16;
/// How often an order is signed for under a number that turns out to be used.
const MAX_ATTEMPTS: u8 = 4;

impl Lane {
    /// Broadcasts again what is not mined, and replaces what holds up the line.
    pub(super) async fn mend(&mut self) -> Result<(), End> {
        self.broadcast_again();
        self.replace().await?;
        self.recheck().await;
        Ok(())
    }

    /// Parts with numbers that somebody else has used.
    pub(super) async fn part_with_foreign(&mut self) -> Result<(), End> {
        let foreign: Vec<u64> = {
            let flights = self.inner.flights();
            let is_news = |flight: &Flight| flight.foreign.is_some_and(|foreign| !foreign.parted);
            flights.lane(self.index).filter(|(_, flight)| is_news(flight)).map(|(sequence, _)| sequence).collect()
        };
        for sequence in foreign {
            self.next = self.next.max(sequence.saturating_add(1));
            let message = format!("its number, {sequence}, was used by another program");
            let cause = NotSent::Refused { account: self.address(), error: CallError { code: 0, message, data: None } };
            let was_never_sent = {
                let mut flights = self.inner.flights();
                let flight = flights.get_mut((self.index, sequence));
                flight.is_some_and(|flight| flight.number_refused && flight.hashes.len() == 1)
            };
            self.report_foreign(sequence);
            // Nobody has it and its number is used: it can't land, so its payments may go under another number, as soon as
            // the book knows.
            if was_never_sent && self.take_back(sequence, &cause).await.is_ok() {
                let Some(flight) = self.inner.flights().remove((self.index, sequence)) else { continue };
                self.send_again(flight.tickets, |ticket| ticket.attempts < MAX_ATTEMPTS, &cause);
            } else if let Some(flight) = self.inner.flights().get_mut((self.index, sequence)) {
                flight.unknown();
                flight.foreign = flight.foreign.map(|foreign| Foreign { parted: true, ..foreign });
            }
        }
        Ok(())
    }

    fn broadcast_again(&mut self) {
        if self.is_broadcasting_again() {
            return;
        }
        let now = Instant::now();
        let again = now + self.inner.confirm.rebroadcast();
        let mut due = Vec::new();
        {
            let mut flights = self.inner.flights();
            let sequences: Vec<u64> = flights.unmined(self.index).map(|(sequence, _)| sequence).collect();
            for sequence in sequences {
                let Some(flight) = flights.get_mut((self.index, sequence)) else { continue };
                if flight.rebroadcast_at <= now && due.len() < MAX_REBROADCASTS {
                    flight.rebroadcast_at = again;
                    due.push((sequence, flight.newest.clone()));
                }
            }
        }
        if due.is_empty() {
            return;
        }
        tracing::debug!(lane = %self.lease.lane, transactions = due.len(), "broadcasting again what is not mined");
        let (inner, lease) = (self.inner.clone(), self.lease.clone());
        let round = self.broadcasts.spawn(async move {
            let mut calls = Vec::with_capacity(due.len());
            for (sequence, newest) in due {
                // What the book does not give now is due again soon.
                let newest = if newest.is_some() { newest } else { inner.newest(&lease, sequence).await.ok().flatten() };
                calls.extend(newest.map(|bytes| Call::broadcast(&bytes)));
            }
            if calls.is_empty() {
                return None;
            }
            // What the node says to each does not matter: only a receipt decides.
            drop(inner.node.ask(&calls).await);
            inner.news.notify_one();
            None
        });
        self.rebroadcast = Some(round);
    }

    /// Whether a round of broadcasts has not come back yet.
    pub(super) fn is_broadcasting_again(&self) -> bool {
        self.rebroadcast.as_ref().is_some_and(|round| !round.is_finished())
    }

    /// The first of the line has waited too long: offers more for the same number.
    async fn replace(&mut self) -> Result<(), End> {
        let Some((sequence, newest, is_expired)) = self.stuck() else { return Ok(()) };
        let newest = if newest.is_some() { newest } else { self.inner.newest(&self.lease, sequence).await? };
        let Some(offered) = newest.and_then(|bytes| Offered::read(&bytes)) else { return Ok(()) };
        let Ok(fees) = self.inner.fees().await else { return Ok(()) };
        let Some(fees) = fees.bumped((offered.max_wei, offered.tip_wei), self.inner.fees.cap_wei()) else {
            tracing::warn!(
                lane = %self.lease.lane, sequence,
                "a transaction is not mined, and gas.max_fee_per_unit_wei allows no higher fee; it is only broadcast again",
            );
            return Ok(());
        };
        // What has expired would only burn gas.
        let load = if is_expired { Load::nothing(self.address()) } else { offered.load };
        let Ok(signed) = load.sign(&*self.signer, self.inner.chain_id, sequence, fees).await else { return Ok(()) };
        let id = TransactionId(signed.hash.to_string());
        let outgoing = Outgoing {
            lease: &self.lease,
            sequence,
            transaction: &id,
            signed: &signed.bytes,
            height: self.height,
            payments: &[],
            now: self.inner.clock.now(),
        };
        match self.inner.outbox.replacing(&outgoing).await {
            Ok(Written::Yes) => {}
            Ok(Written::LeaseLost | Written::Without(_)) => return Err(End::LeaseLost),
            Err(error) => {
                // It may be in the book; then it is sent from there, and may land.
                tracing::error!(lane = %self.lease.lane, %error, "it is not known whether a replacement was written down");
                self.inner.flights().suspect((self.index, sequence), signed.hash);
                return Ok(());
            }
        }
        tracing::info!(lane = %self.lease.lane, sequence, transaction = %id, max_fee_wei = fees.max_wei, "replacing a transaction that is not mined");
        counter!("farthing_replacements_total", "chain" => self.inner.network.to_string()).increment(1);
        let (hash, bytes) = (signed.hash, signed.bytes.clone());
        {
            let mut flights = self.inner.flights();
            flights.replace((self.index, sequence), signed);
            if let Some(flight) = flights.get_mut((self.index, sequence)) {
                flight.rebroadcast_at = self.broadcast_deadline();
                for ticket in &flight.tickets {
                    // Whoever gave it up has done so while it waited in the queue, never since.
                    let _ = ticket.carried_by(&id);
                    ticket.order.right.written(&id);
                }
            }
        }
        self.broadcast(sequence, hash, bytes);
        Ok(())
    }

    /// The first of the line, if it has waited too long: its number, its newest transaction if it is at hand, and whether all it carries has
    /// expired by the chain's own time.
    fn stuck(&self) -> Option<(u64, Option<Bytes>, bool)> {
        let head = self.inner.head();
        let mut flights = self.inner.flights();
        let (sequence, _) = flights.unmined(self.index).next()?;
        let flight = flights.get_mut((self.index, sequence))?;
        if flight.since.elapsed() < self.inner.relay.replace_after() {
            return None;
        }
        flight.since = Instant::now();
        let is_expired = flight.expires_at.zip(head).is_some_and(|(expires_at, head)| head.timestamp_seconds >= expires_at.0);
        (flight.hashes.len() <= MAX_REPLACEMENTS).then(|| (sequence, flight.newest.clone(), is_expired))
    }

    /// Looks whether an account that was empty has been filled.
    async fn recheck(&mut self) {
        if !self.inner.accounts.is_short(self.index) || Instant::now() < self.recheck_at {
            return;
        }
        self.recheck_at = Instant::now() + self.inner.confirm.rebroadcast();
        let answers = self.inner.node.ask(&[Call::balance(self.address())]).await.unwrap_or_default();
        if let Some(Ok(balance_wei)) = answers.first().map(|answer| rpc::wei(answer, "eth_getBalance")) {
            self.inner.accounts.learn(self.index, balance_wei);
        }
    }
}

impl Inner {
    /// The newest transaction under a number, from the book; none where it can't be read now.
    async fn newest(&self, lease: &LaneLease, sequence: u64) -> Result<Option<Bytes>, End> {
        match self.outbox.under_way(lease, sequence, 1).await {
            Ok(Some(page)) => {
                let of_number = page.into_iter().find(|one| one.sequence == sequence);
                Ok(of_number.and_then(|mut one| one.transactions.pop()).map(|(_, bytes)| bytes.into()))
            }
            Ok(None) => Err(End::LeaseLost),
            Err(error) => {
                tracing::error!(lane = %lease.lane, sequence, %error, "a transaction that is not mined can't be read from the book");
                Ok(None)
            }
        }
    }
}
