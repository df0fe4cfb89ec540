//! One sending account: a task that holds its lease, and alone decides what is sent from it and in which order.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::Address;
use farthing_core::books::{BookError, LaneClaim, LaneLease};
use farthing_core::scheme::TransactionId;
use metrics::gauge;
use tokio::sync::watch;
use tokio::task::JoinSet;
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
    /// When the balance is looked at again, after it was too low.
    pub(super) recheck_at: Instant,
    share_at: Instant,
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
    fn unknown(self) {
        for ticket in self.tickets {
            ticket.answer(Err(RelayError::Unknown(self.transaction.clone())));
        }
    }
}

/// Takes the lane whenever it can be had, and sends from it.
pub(super) async fn run(inner: Arc<Inner>, index: usize) {
    let mut stopping = inner.stopping.subscribe();
    let mut limbo = None;
    let mut last_error = None;
    while !inner.is_stopping() {
        match take(&inner, index).await {
            Ok(Some(lease)) => {
                last_error = None;
                limbo = hold(&inner, index, lease, limbo.take()).await;
                if limbo.is_some() {
                    continue;
                }
            }
            Ok(None) => {
                if let Some(limbo) = limbo.take() {
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
    if let Some(limbo) = limbo {
        limbo.unknown();
    }
}

/// The lease, if the lane is free and this node has not more than its share.
async fn take(inner: &Inner, index: usize) -> Result<Option<LaneLease>, BookError> {
    let Some(lane) = inner.lanes.get(index) else { return Ok(None) };
    let _taking = inner.taking.lock().await;
    if inner.accounts.held() >= share(inner).await? {
        return Ok(None);
    }
    match inner.outbox.take(lane).await? {
        LaneClaim::Ours(lease) => {
            inner.accounts.hold(index, true);
            Ok(Some(lease))
        }
        LaneClaim::Theirs => Ok(None),
    }
}

/// How many lanes this node may have.
async fn share(inner: &Inner) -> Result<usize, BookError> {
    let nodes = inner.outbox.nodes().await?;
    Ok(inner.lanes.len().div_ceil(nodes.max(1)))
}

/// Sends from the lane until it is lost.
async fn hold(inner: &Arc<Inner>, index: usize, lease: LaneLease, limbo: Option<Limbo>) -> Option<Limbo> {
    inner.flights().open(index, lease.clone());
    let end = match Lane::adopt(inner.clone(), index, lease.clone(), limbo).await {
        Ok(mut lane) => {
            let lane_id = &lane.lease.lane;
            tracing::info!(lane = %lane_id, next = lane.next, "this node sends from the account");
            lane.work().await
        }
        Err(end) => end,
    };
    if matches!(end, End::Stopped | End::Excess) {
        inner.notes.written().await;
        if let Err(error) = inner.outbox.give_back(&lease).await {
            tracing::warn!(lane = %lease.lane, %error, "the account could not be given back; other nodes have to wait for its lease to end");
        }
    }
    inner.accounts.hold(index, false);
    for mut flight in inner.flights().shut(index) {
        flight.unknown();
    }
    match end {
        End::Limbo(limbo) => return Some(limbo),
        End::LeaseLost => tracing::warn!(lane = %lease.lane, "another node sends from the account now"),
        End::Stopped | End::Excess => tracing::info!(lane = %lease.lane, "the account was given back"),
    }
    None
}

impl Lane {
    pub(super) fn new(inner: Arc<Inner>, index: usize, signer: Arc<dyn Signer>, lease: LaneLease) -> Self {
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
            recheck_at: now,
            share_at: now + SHARE_CHECK,
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
            () = wake(&inner, self.index) => {}
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

    /// A node that has more than its share gives an idle lane to the others.
    async fn check_share(&mut self) -> Result<(), End> {
        if Instant::now() < self.share_at {
            return Ok(());
        }
        self.share_at = Instant::now() + SHARE_CHECK;
        let inner = self.inner.clone();
        let is_idle = self.broadcasts.is_empty() && inner.flights().unmined(self.index).next().is_none();
        if !is_idle || !inner.queue.is_empty() {
            return Ok(());
        }
        let _taking = inner.taking.lock().await;
        match share(&inner).await {
            Ok(share) if inner.accounts.held() > share => {
                // Counted at once, so that two lanes do not both make room for one.
                inner.accounts.hold(self.index, false);
                Err(End::Excess)
            }
            _ => Ok(()),
        }
    }

    fn next_due(&self) -> Instant {
        let flights = self.inner.flights();
        let mut until = self.share_at;
        for (place, (_, flight)) in flights.unmined(self.index).enumerate() {
            until = until.min(flight.rebroadcast_at);
            if place == 0 {
                until = until.min(flight.since + self.inner.relay.replace_after());
            }
        }
        if !self.holes.is_empty() {
            until = until.min(self.fill_at);
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
