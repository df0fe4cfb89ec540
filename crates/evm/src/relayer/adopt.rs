//! Taking a lane over: what the book holds of it and what the chain has counted decide where it goes on.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use farthing_core::books::{LaneLease, UnderWay};
use metrics::counter;
use tokio::time::sleep;

use super::Inner;
use super::flights::Flight;
use super::lane::{End, Lane, Limbo, Taken};
use super::order::NotSent;
use crate::abi::MULTICALL3;
use crate::rpc::{self, BlockTag, Call, NodeError};

/// How long a lane waits until it asks again for what it needs to begin.
const ASK_AGAIN: Duration = Duration::from_secs(1);
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
        let under_way = lane.read_book().await?;
        lane.take_over(&under_way, limbo);
        let counted = lane.count().await?;
        lane.go_on(&under_way, &counted);
        lane.inner.news.notify_one();
        Ok(lane)
    }

    async fn read_book(&self) -> Result<Vec<UnderWay>, End> {
        loop {
            match self.inner.outbox.under_way(&self.lease).await {
                Ok(under_way) => return Ok(under_way),
                Err(error) => tracing::error!(lane = %self.lease.lane, %error, "the outbox can't be read; trying again"),
            }
            self.pause().await?;
        }
    }

    /// Follows what is under way, and tells those whose transaction is not there that it is not.
    fn take_over(&self, under_way: &[UnderWay], limbo: Option<Limbo>) {
        let mut limbo = limbo;
        let mut flights = self.inner.flights();
        for one in under_way {
            let Some(mut flight) = Flight::adopted(one) else {
                tracing::error!(lane = %self.lease.lane, sequence = one.sequence, "what the outbox holds is no transaction of this chain");
                continue;
            };
            let is_carried = |limbo: &Limbo| one.transactions.iter().any(|(id, _)| *id == limbo.transaction);
            if let Some(limbo) = limbo.take_if(|limbo| is_carried(limbo)) {
                for ticket in &limbo.tickets {
                    ticket.order.right.written(&limbo.transaction);
                }
                flight.tickets = limbo.tickets;
            }
            flights.adopt((self.index, one.sequence), flight);
        }
        drop(flights);
        if let Some(Limbo { tickets, error, .. }) = limbo {
            for ticket in tickets {
                ticket.put_down();
                ticket.answer(Err(NotSent::Book(error.clone()).into()));
            }
        }
        if !under_way.is_empty() {
            tracing::info!(lane = %self.lease.lane, transactions = under_way.len(), "taking over what is under way");
        }
    }

    async fn count(&self) -> Result<Counted, End> {
        loop {
            match self.ask_counts().await {
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
    fn go_on(&mut self, under_way: &[UnderWay], counted: &Counted) {
        let ours: BTreeSet<u64> = under_way.iter().map(|one| one.sequence).collect();
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
