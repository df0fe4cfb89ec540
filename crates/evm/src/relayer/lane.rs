//! One sending account: a task that holds its lease, and alone decides what is sent from it and in which order.
//!
//! An account that the book gives to a node which does not work it is lost to all: what is under way on it is followed by
//! nobody. So a node goes back to what may be its own before it counts shares; and of accounts that can't be shared out
//! evenly, the rest goes to whoever sees that nobody else wants it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::Address;
use farthing_core::books::{BookError, LaneClaim, LaneLease};
use farthing_core::scheme::TransactionId;
use metrics::gauge;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::launch::Sent;
use super::order::RelayError;
use super::queue::Ticket;
use super::{Inner, STOP_PATIENCE};
use crate::signer::Signer;

/// How long a node waits until it asks for a lane again that another node has.
const TAKE_AGAIN: Duration = Duration::from_secs(1);
/// How often an idle lane looks whether this node has more than its share.
const SHARE_CHECK: Duration = Duration::from_secs(10);
/// How long a lane beyond this node's share must have been free for the others: those that have less ask more often.
const LEFT_OVER_AFTER: Duration = Duration::from_secs(3);
/// How often a lane beyond this node's share is offered to the others, while their number does not change.
const OFFER_AGAIN: Duration = Duration::from_mins(5);

/// One lane, while this node has it.
pub(super) struct Lane {
    pub(super) inner: Arc<Inner>,
    pub(super) index: usize,
    pub(super) signer: Arc<dyn Signer>,
    pub(super) lease: LaneLease,
    /// The next number.
    pub(super) next: u64,
    /// Lower numbers that nothing uses: they stop everything behind them.
    pub(super) holes: BTreeSet<u64>,
    /// No hole is filled before, after that failed.
    pub(super) fill_at: Instant,
    /// Whether the chain has Multicall3.
    pub(super) batches: bool,
    /// The height that was known when the lane was taken.
    pub(super) height: u64,
    pub(super) broadcasts: JoinSet<Option<Sent>>,
    /// Which of them broadcasts again what is not mined.
    pub(super) rebroadcast: Option<AbortHandle>,
    /// When the balance is looked at again, after it was too low.
    pub(super) recheck_at: Instant,
    share_at: Instant,
    /// When something was sent last, and until when orders gather for the next.
    pub(super) launched_at: Instant,
    pub(super) gather_until: Option<Instant>,
    taken: Taken,
}

/// When a lane was taken, and among how many nodes.
#[derive(Clone, Copy)]
pub(super) struct Taken {
    at: Instant,
    nodes: usize,
}

/// What this node has to do with a lane that it does not work.
#[derive(Default)]
struct Claim {
    /// Once it was taken: the book may say that it is this node's, until it says that it is not.
    taken: Option<Taken>,
    /// Since when it was left to others because this node has its share.
    left_since: Option<Instant>,
    /// What must be found out once it is taken again.
    limbo: Option<Limbo>,
}

/// Why a lane stopped.
pub(super) enum End {
    /// The relayer is stopping.
    Stopped,
    /// Another node has the lane.
    LeaseLost,
    /// Another node should have it.
    Excess,
    /// It is not known whether this was written down.
    Limbo(Limbo),
}

/// Orders of a transaction of which it is not known whether it is in the book.
pub(super) struct Limbo {
    pub(super) transaction: TransactionId,
    pub(super) tickets: Vec<Ticket>,
    pub(super) error: Arc<BookError>,
}

impl Limbo {
    /// Another node has the lane, and knows.
    pub(super) fn unknown(self) {
        for ticket in self.tickets {
            ticket.answer(Err(RelayError::Unknown(self.transaction.clone())));
        }
    }
}

/// Takes the lane whenever it can be had, and sends from it.
pub(super) async fn run(inner: Arc<Inner>, index: usize) {
    let mut stopping = inner.stopping.subscribe();
    let mut claim = Claim::default();
    let mut last_error = None;
    while !inner.is_stopping() {
        match claim.take(&inner, index).await {
            Ok(Some((lease, taken))) => {
                last_error = None;
                claim.hold(&inner, index, lease, taken).await;
                if claim.limbo.is_some() {
                    continue;
                }
            }
            Ok(None) => {
                if let Some(limbo) = claim.limbo.take() {
                    limbo.unknown();
                }
            }
            Err(error) => {
                let error = error.to_string();
                if last_error.as_ref() != Some(&error) {
                    tracing::error!(network = %inner.network, %error, "a sending account can't be taken");
                }
                last_error = Some(error);
            }
        }
        tokio::select! {
            () = sleep(TAKE_AGAIN) => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
    }
    if let Some(limbo) = claim.limbo {
        limbo.unknown();
    }
}

impl Claim {
    /// The lease, if the lane is free and either this node has less than its share or nobody else wants the lane.
    async fn take(&mut self, inner: &Inner, index: usize) -> Result<Option<(LaneLease, Taken)>, BookError> {
        let Some(lane) = inner.lanes.get(index) else { return Ok(None) };
        let _taking = inner.taking.lock().await;
        let nodes = inner.outbox.nodes(&inner.network).await?;
        if self.taken.is_none() && inner.accounts.held() >= share(inner, nodes) {
            let since = *self.left_since.get_or_insert_with(Instant::now);
            if since.elapsed() < LEFT_OVER_AFTER {
                return Ok(None);
            }
        }
        self.left_since = None;
        // Also where the book's answer is lost.
        let taken = *self.taken.get_or_insert_with(|| Taken { at: Instant::now(), nodes });
        match inner.outbox.take(lane).await? {
            LaneClaim::Ours(lease) => {
                inner.accounts.hold(index, true);
                Ok(Some((lease, taken)))
            }
            LaneClaim::Theirs => {
                self.taken = None;
                Ok(None)
            }
        }
    }

    /// Sends from the lane until it is lost.
    async fn hold(&mut self, inner: &Arc<Inner>, index: usize, lease: LaneLease, taken: Taken) {
        inner.flights().open(index, lease.clone());
        let end = match Lane::adopt(inner.clone(), index, lease.clone(), taken, self.limbo.take()).await {
            Ok(mut lane) => {
                let lane_id = &lane.lease.lane;
                tracing::info!(lane = %lane_id, next = lane.next, "this node sends from the account");
                lane.work().await
            }
            Err(end) => end,
        };
        if matches!(end, End::Stopped | End::Excess) {
            inner.notes.written().await;
            match inner.outbox.give_back(&lease).await {
                Ok(()) => self.taken = None,
                Err(error) => tracing::warn!(lane = %lease.lane, %error, "the account could not be given back"),
            }
        }
        inner.drop_lane(index);
        match end {
            End::Limbo(limbo) => self.limbo = Some(limbo),
            End::LeaseLost => tracing::warn!(lane = %lease.lane, "another node sends from the account now"),
            End::Stopped | End::Excess if self.taken.is_none() => {
                tracing::info!(lane = %lease.lane, "the account was given back");
            }
            End::Stopped | End::Excess => {}
        }
    }
}

/// How many lanes are each node's.
fn share(inner: &Inner, nodes: usize) -> usize {
    inner.lanes.len().checked_div(nodes).unwrap_or_default().max(1)
}

impl Lane {
    pub(super) fn new(inner: Arc<Inner>, index: usize, signer: Arc<dyn Signer>, lease: LaneLease, taken: Taken) -> Self {
        let now = Instant::now();
        Self {
            inner,
            index,
            signer,
            lease,
            next: 0,
            holes: BTreeSet::new(),
            fill_at: now,
            batches: false,
            height: 0,
            broadcasts: JoinSet::new(),
            rebroadcast: None,
            recheck_at: now,
            share_at: now + SHARE_CHECK,
            launched_at: now,
            gather_until: None,
            taken,
        }
    }

    pub(super) fn address(&self) -> Address {
        self.signer.address()
    }

    async fn work(&mut self) -> End {
        let mut queued = self.inner.queue.changes();
        let mut stopping = self.inner.stopping.subscribe();
        loop {
            match self.step(&mut queued, &mut stopping).await {
                Ok(()) => {}
                Err(End::Stopped) => return self.finish().await,
                Err(end) => return end,
            }
        }
    }

    /// Does what can be done now, then waits for more.
    async fn step(&mut self, queued: &mut watch::Receiver<()>, stopping: &mut watch::Receiver<bool>) -> Result<(), End> {
        if *stopping.borrow_and_update() {
            return Err(End::Stopped);
        }
        self.part_with_foreign().await?;
        queued.borrow_and_update();
        if self.send_more().await? {
            return Ok(());
        }
        self.mend().await?;
        self.check_share().await?;
        let until = self.next_due();
        let inner = self.inner.clone();
        tokio::select! {
            _ = queued.changed() => {}
            _ = stopping.changed() => {}
            // What has landed is no longer in flight.
            () = wake(&inner, self.index) => self.show(),
            Some(sent) = self.broadcasts.join_next(), if !self.broadcasts.is_empty() => {
                if let Ok(Some(sent)) = sent {
                    self.learn(sent).await?;
                }
            }
            () = sleep_until(until) => {}
        }
        Ok(())
    }

    /// Waits a moment for what is under way.
    async fn finish(&mut self) -> End {
        let deadline = Instant::now() + STOP_PATIENCE;
        loop {
            let is_waited_for = self.inner.flights().lane(self.index).any(|(_, flight)| !flight.tickets.is_empty());
            if self.broadcasts.is_empty() && !is_waited_for {
                return End::Stopped;
            }
            let inner = self.inner.clone();
            let news = async {
                tokio::select! {
                    Some(sent) = self.broadcasts.join_next(), if !self.broadcasts.is_empty() => sent.ok().flatten(),
                    () = wake(&inner, self.index) => None,
                    // Who waits is told by the follower, which wakes nobody for it.
                    () = sleep(self.inner.confirm.poll()) => None,
                }
            };
            let Ok(sent) = timeout_at(deadline, news).await else { return End::Stopped };
            if let Some(sent) = sent
                && let Err(end) = self.learn(sent).await
            {
                return end;
            }
        }
    }

    /// A node that has more than its share offers an idle lane to the others, once for each number of nodes and then seldom.
    async fn check_share(&mut self) -> Result<(), End> {
        if Instant::now() < self.share_at {
            return Ok(());
        }
        self.share_at = Instant::now() + SHARE_CHECK;
        let inner = self.inner.clone();
        // A lane that sends nothing learns nowhere else that another node has it: no lane has such a number.
        if let Ok(None) = inner.outbox.under_way(&self.lease, u64::MAX, 1).await {
            return Err(End::LeaseLost);
        }
        let is_idle = self.broadcasts.is_empty() && inner.flights().unmined(self.index).next().is_none();
        if !is_idle || !inner.queue.is_empty_for(self.address()) {
            return Ok(());
        }
        let _taking = inner.taking.lock().await;
        let Ok(nodes) = inner.outbox.nodes(&inner.network).await else { return Ok(()) };
        let is_offered = nodes != self.taken.nodes || self.taken.at.elapsed() >= OFFER_AGAIN;
        if is_offered && inner.accounts.held() > share(&inner, nodes) {
            // Counted at once, so that two lanes do not both make room for one.
            inner.accounts.hold(self.index, false);
            return Err(End::Excess);
        }
        Ok(())
    }

    fn next_due(&self) -> Instant {
        let flights = self.inner.flights();
        let mut until = self.share_at;
        let rebroadcasts = !self.is_broadcasting_again();
        for (place, (_, flight)) in flights.unmined(self.index).enumerate() {
            if rebroadcasts {
                until = until.min(flight.rebroadcast_at);
            }
            if place == 0 {
                until = until.min(flight.since + self.inner.relay.replace_after());
            }
        }
        if !self.holes.is_empty() {
            until = until.min(self.fill_at);
        }
        if let Some(gather_until) = self.gather_until {
            until = until.min(gather_until);
        }
        if self.inner.accounts.is_short(self.index) {
            until = until.min(self.recheck_at);
        }
        until
    }

    /// Shows how many are under way.
    pub(super) fn show(&self) {
        let count = self.inner.flights().unmined(self.index).count();
        let labels = [("chain", self.inner.network.to_string()), ("signer", self.address().to_string())];
        gauge!("x402_signer_inflight", &labels).set(f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
    }
}

async fn wake(inner: &Inner, lane: usize) {
    match inner.wakes.get(lane) {
        Some(wake) => wake.notified().await,
        None => std::future::pending().await,
    }
}
