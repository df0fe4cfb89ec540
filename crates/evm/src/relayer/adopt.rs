//! Taking a lane over: what the book holds of it and what the chain has counted decide where it goes on.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use farthing_core::books::{LaneLease, UnderWay};
use metrics::counter;
use tokio::time::{Instant, sleep};

use super::Inner;
use super::flights::Flight;
use super::lane::{End, Lane, Limbo, Taken};
use super::order::NotSent;
use crate::abi::MULTICALL3;
use crate::rpc::{self, BlockTag, Call, NodeError};

/// How long a lane waits until it asks again for what it needs to begin.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How long a node may count less than what is final before it is believed.
const BEHIND_PATIENCE: Duration = Duration::from_secs(30);
/// How many numbers are read of the book at once: each may come with the bytes of several transactions.
const PAGE_NUMBERS: usize = 16;
/// The most numbers that are filled after a take-over: more missing ones are no gap but a chain that started over.
const MAX_HOLES: usize = 1_024;

/// What the chain says of a lane.
struct Counted {
    mined: u64,
    pending: u64,
    height: u64,
    has_multicall: bool,
}

impl Lane {
    /// Begins where whoever had the lane before has stopped.
    pub(super) async fn adopt(
        inner: Arc<Inner>,
        index: usize,
        lease: LaneLease,
        taken: Taken,
        limbo: Option<Limbo>,
    ) -> Result<Self, End> {
        let Some(signer) = inner.signers.get(index).cloned() else { return Err(End::Stopped) };
        let mut lane = Self::new(inner, index, signer, lease, taken);
        let ours = lane.take_over(limbo).await?;
        let after_closed = lane.after_closed().await?;
        let counted = lane.count(after_closed).await?;
        lane.go_on(&ours, &counted);
        lane.inner.news.notify_one();
        Ok(lane)
    }

    async fn read_book(&self, from: u64) -> Result<Vec<UnderWay>, End> {
        loop {
            match self.inner.outbox.under_way(&self.lease, from, PAGE_NUMBERS).await {
                Ok(Some(page)) => return Ok(page),
                Ok(None) => return Err(End::LeaseLost),
                Err(error) => tracing::error!(lane = %self.lease.lane, %error, "the outbox can't be read; trying again"),
            }
            self.pause().await?;
        }
    }

    /// Follows what is under way, and tells those whose transaction is not there that it is not. Returns the numbers.
    async fn take_over(&self, mut limbo: Option<Limbo>) -> Result<BTreeSet<u64>, End> {
        let mut ours = BTreeSet::new();
        loop {
            let from = ours.last().map_or(0, |last: &u64| last.saturating_add(1));
            let page = match self.read_book(from).await {
                Ok(page) => page,
                Err(end) => {
                    limbo.into_iter().for_each(Limbo::unknown);
                    return Err(end);
                }
            };
            for one in &page {
                self.follow(one, &mut limbo);
            }
            ours.extend(page.iter().map(|one| one.sequence));
            if page.len() < PAGE_NUMBERS {
                break;
            }
        }
        if let Some(Limbo { tickets, error, .. }) = limbo {
            for ticket in tickets {
                ticket.put_down();
                ticket.answer(Err(NotSent::Book(error.clone()).into()));
            }
        }
        if !ours.is_empty() {
            tracing::info!(lane = %self.lease.lane, transactions = ours.len(), "taking over what is under way");
        }
        Ok(ours)
    }

    /// Follows one number.
    fn follow(&self, one: &UnderWay, limbo: &mut Option<Limbo>) {
        let Some(mut flight) = Flight::adopted(one) else {
            let (lane, sequence) = (&self.lease.lane, one.sequence);
            tracing::error!(%lane, sequence, "what the outbox holds is no transaction of this chain");
            return;
        };
        let is_carried = |limbo: &mut Limbo| one.transactions.iter().any(|(id, _)| *id == limbo.transaction);
        if let Some(limbo) = limbo.take_if(is_carried) {
            for ticket in &limbo.tickets {
                ticket.order.right.written(&limbo.transaction);
            }
            flight.tickets = limbo.tickets;
        }
        self.inner.flights().adopt((self.index, one.sequence), flight);
    }

    /// The number after the last one that is final.
    async fn after_closed(&self) -> Result<u64, End> {
        loop {
            match self.inner.outbox.last_closed(&self.lease.lane).await {
                Ok(last) => return Ok(last.map_or(0, |last| last.saturating_add(1))),
                Err(error) => tracing::error!(lane = %self.lease.lane, %error, "the outbox can't be read; trying again"),
            }
            self.pause().await?;
        }
    }

    /// What the chain counts. A node that counts less than what is final is behind, and what was sent under its numbers could
    /// never land: it is asked again, for a while. After that it is the chain itself that has taken back what was final, or has
    /// started over.
    async fn count(&self, after_closed: u64) -> Result<Counted, End> {
        let deadline = Instant::now() + BEHIND_PATIENCE;
        loop {
            match self.ask_counts().await {
                Ok(counted) if counted.mined < after_closed && Instant::now() < deadline => {
                    let (lane, mined) = (&self.lease.lane, counted.mined);
                    tracing::warn!(%lane, mined, after_closed, "the node counts less than what is final; asking again");
                }
                Ok(counted) => return Ok(counted),
                Err(error) => {
                    tracing::warn!(lane = %self.lease.lane, %error, "the chain can't be asked for the account; trying again");
                }
            }
            self.pause().await?;
        }
    }

    async fn ask_counts(&self) -> Result<Counted, NodeError> {
        let account = self.address();
        let mut calls = vec![
            Call::chain_id(),
            Call::mined_count(account),
            Call::pending_count(account),
            Call::block(BlockTag::Latest),
            Call::code(MULTICALL3),
        ];
        let upkeep = self.inner.plan_upkeep(&mut calls);
        let answers = self.inner.node.ask(&calls).await?;
        let [id, mined, pending, block, code, ..] = answers.as_slice() else {
            return Err(NodeError::Malformed("eth_getTransactionCount"));
        };
        let got = rpc::quantity(id, "eth_chainId")?;
        if got != self.inner.chain_id {
            return Err(NodeError::OtherChain { expected: self.inner.chain_id, got });
        }
        let block = rpc::block(block)?.ok_or(NodeError::Malformed("eth_getBlockByNumber"))?;
        if let Some(upkeep) = upkeep {
            self.inner.absorb_upkeep(&upkeep, &answers);
        }
        Ok(Counted {
            mined: rpc::quantity(mined, "eth_getTransactionCount")?,
            pending: rpc::quantity(pending, "eth_getTransactionCount")?,
            height: block.number,
            has_multicall: !rpc::bytes(code, "eth_getCode")?.is_empty(),
        })
    }

    /// Decides the next number, and which lower ones nothing uses.
    fn go_on(&mut self, ours: &BTreeSet<u64>, counted: &Counted) {
        let after_ours = ours.last().map_or(0, |last| last.saturating_add(1));
        self.next = counted.mined.max(after_ours);
        if counted.pending > self.next {
            self.report_foreign(self.next);
            self.next = counted.pending;
        }
        let unused = (counted.mined.max(counted.pending)..self.next).filter(|number| !ours.contains(number));
        self.holes = unused.take(MAX_HOLES).collect();
        if !self.holes.is_empty() {
            tracing::warn!(lane = %self.lease.lane, numbers = self.holes.len(), "numbers are missing in the account's line; filling them");
        }
        self.height = counted.height;
        self.batches = counted.has_multicall;
    }

    /// Somebody else sends from the account.
    pub(super) fn report_foreign(&self, sequence: u64) {
        tracing::error!(
            lane = %self.lease.lane, sequence,
            "another program sends from this account; give the facilitator accounts of its own",
        );
        let chain = self.inner.network.to_string();
        counter!("farthing_signer_external_use_total", "chain" => chain, "signer" => self.address().to_string()).increment(1);
    }

    async fn pause(&self) -> Result<(), End> {
        let mut stopping = self.inner.stopping.subscribe();
        tokio::select! {
            () = sleep(ASK_AGAIN) => Ok(()),
            _ = stopping.wait_for(|stopping| *stopping) => Err(End::Stopped),
        }
    }
}
