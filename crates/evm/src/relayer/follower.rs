//! The one task per chain that finds out what became of everything under way, and whether it stays so.
//!
//! It reads each new block once, whose list of transactions says what was mined, and asks only for those receipts. Blocks
//! are linked by their hashes: where a link is missing, or too many blocks were missed, everything that is not final is
//! looked up again.

use std::collections::BTreeMap;
use std::sync::Arc;

use alloy_primitives::B256;
use metrics::counter;
use tokio::time::{Instant, sleep_until};

use super::Inner;
use super::clerk::Note;
use super::flights::Place;
use super::pace::Pace;
use crate::rpc::{self, Answer, Block, BlockTag, Call, NodeError};

mod look;

/// The most blocks that are read to catch up; beyond it, what is under way is looked up directly.
const MAX_MISSED_BLOCKS: u64 = 64;
/// On a chain that makes blocks on demand, the receipts asked for in the same round trip as the block.
const FIRST_IN_LINE: usize = 8;

/// The newest block that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) number: u64,
    pub(super) hash: B256,
    pub(super) timestamp_seconds: u64,
}

/// One follower.
struct Follower {
    inner: Arc<Inner>,
    pace: Pace,
    /// The hashes of recent blocks, by their heights.
    recent: BTreeMap<u64, B256>,
    /// What is known of blocks may be another history than the chain's.
    doubt: bool,
}

/// How urgent it is.
enum Need {
    Nothing,
    Watch,
    Follow,
}

/// Follows for as long as the relayer lives.
pub(super) async fn follow(inner: Arc<Inner>) {
    let mut follower = Follower { inner, pace: Pace::new(), recent: BTreeMap::new(), doubt: false };
    let mut failing = false;
    loop {
        let next = match follower.need() {
            Need::Nothing => None,
            Need::Watch => Some(follower.pace.watch()),
            Need::Follow => Some(follower.pace.next(follower.inner.confirm.poll())),
        };
        let due = async {
            match next {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = follower.inner.news.notified() => {
                follower.pace.sent();
                continue;
            }
            () = due => {}
        }
        let round = follower.round().await;
        if let (Err(error), false) = (&round, failing) {
            tracing::warn!(network = %follower.inner.network, %error, "the chain can't be followed; trying again");
        }
        failing = round.is_err();
        follower.pace.asked(failing);
    }
}

impl Follower {
    fn need(&self) -> Need {
        let flights = self.inner.flights();
        if flights.is_empty() {
            return Need::Nothing;
        }
        let is_settled = flights.iter().all(|(_, flight)| !flight.is_in_line() && flight.tickets.is_empty());
        if is_settled && !self.doubt && !flights.has_doubt() { Need::Watch } else { Need::Follow }
    }

    async fn round(&mut self) -> Result<(), NodeError> {
        let first = if self.pace.is_on_demand() { self.first_in_line() } else { Vec::new() };
        let mut calls = vec![Call::block(BlockTag::Latest)];
        calls.extend(first.iter().map(|(_, hash)| Call::receipt(*hash)));
        let upkeep = self.inner.plan_upkeep(&mut calls);
        let answers = self.inner.node.ask(&calls).await?;
        let head = answers.first().ok_or(NodeError::Malformed("eth_getBlockByNumber"))?;
        let head = rpc::block(head)?.ok_or(NodeError::Malformed("eth_getBlockByNumber"))?;
        if let Some(upkeep) = upkeep {
            self.inner.absorb_upkeep(&upkeep, &answers);
        }
        let is_new = self.advance(&head).await?;
        self.doubt |= self.inner.flights().take_doubt();
        if self.doubt {
            self.look_again(head.number).await?;
        }
        self.take_receipts(&first, answers.get(1..).unwrap_or_default(), head.number);
        self.look_up(head.number, is_new).await?;
        self.conclude(head.number);
        Ok(())
    }

    /// Takes over the newest block and those between it and the one before. `true` if it is new.
    async fn advance(&mut self, head: &Block) -> Result<bool, NodeError> {
        if self.recent.get(&head.number) == Some(&head.hash) {
            return Ok(false);
        }
        let known = self.recent.last_key_value().map(|(number, hash)| (*number, *hash));
        let missed = match known {
            Some((number, hash)) if number < head.number && head.number.saturating_sub(number) <= MAX_MISSED_BLOCKS => {
                self.missed(number, hash, head).await?
            }
            // The first block, one of another history, or one too far ahead: what was sent may be in any.
            _ => None,
        };
        match missed {
            Some(blocks) => {
                self.pace.advanced(u64::try_from(blocks.len()).unwrap_or(u64::MAX).saturating_add(1));
                for block in blocks.iter().chain([head]) {
                    self.see(block);
                }
            }
            None if known.is_some_and(|(number, _)| head.number < number) => {
                // A node that lags behind, or a shorter history: the doubt is settled by looking at each block.
                self.doubt = true;
                return Ok(false);
            }
            None => {
                self.doubt = true;
                self.recent.clear();
                match known {
                    Some((number, _)) if number < head.number => self.pace.advanced(head.number.saturating_sub(number)),
                    _ => self.pace.lost_count(),
                }
                self.see(head);
            }
        }
        let new = Head { number: head.number, hash: head.hash, timestamp_seconds: head.timestamp_seconds };
        *super::locked(&self.inner.head) = Some(new);
        *super::locked(&self.inner.next_block) = self.pace.next_block();
        Ok(true)
    }

    /// The blocks between the last one that was seen and the newest, oldest first; `None` if they do not hang together.
    async fn missed(&self, number: u64, hash: B256, head: &Block) -> Result<Option<Vec<Block>>, NodeError> {
        let calls: Vec<Call> =
            (number.saturating_add(1)..head.number).map(|number| Call::block(BlockTag::Number(number))).collect();
        let answers = if calls.is_empty() { Vec::new() } else { self.inner.node.ask(&calls).await? };
        let blocks: Option<Vec<Block>> = answers.iter().map(rpc::block).collect::<Result<_, _>>()?;
        let Some(blocks) = blocks else { return Ok(None) };
        let mut parent = hash;
        let linked = blocks.iter().chain([head]).all(|block| std::mem::replace(&mut parent, block.hash) == block.parent_hash);
        Ok(linked.then_some(blocks))
    }

    /// Remembers a block and marks what of ours is in it.
    fn see(&mut self, block: &Block) {
        self.recent.insert(block.number, block.hash);
        let kept = self.inner.confirm.final_blocks.max(MAX_MISSED_BLOCKS);
        self.recent = self.recent.split_off(&block.number.saturating_sub(kept));
        let mut flights = self.inner.flights();
        for hash in &block.transactions {
            if let Some(flight) = flights.place(*hash).and_then(|place| flights.get_mut(place))
                && flight.landed.is_none()
            {
                flight.seen = true;
            }
        }
    }

    /// The oldest that are not mined, of every lane.
    fn first_in_line(&self) -> Vec<(Place, B256)> {
        let flights = self.inner.flights();
        let unmined = flights.iter().filter(|(_, flight)| flight.landed.is_none());
        let hashes = unmined.flat_map(|(place, flight)| flight.hashes.iter().map(move |hash| (place, *hash)));
        hashes.take(FIRST_IN_LINE).collect()
    }

    /// Tells who waits, as far as it is deep enough, and forgets what is final.
    fn conclude(&mut self, height: u64) {
        let confirm = self.inner.confirm;
        let mut flights = self.inner.flights();
        let is_certain = !self.doubt && !flights.has_doubt();
        let mut done = Vec::new();
        for (place, flight) in flights.iter_mut() {
            if is_certain {
                flight.confirm(height, confirm.blocks);
            }
            let depth = flight.ended_at().map(|ended_at| height.saturating_sub(ended_at).saturating_add(1));
            if is_certain && depth.is_some_and(|depth| depth >= confirm.final_blocks) && flight.tickets.is_empty() {
                done.push(place);
            }
        }
        for place in done {
            if let Some(lease) = flights.lease(place.0) {
                self.inner.notes.leave(Note::Closed(lease.clone(), place.1));
            }
            drop(flights.remove(place));
        }
    }

    /// Counts what became of a transaction.
    fn count(&self, outcome: &'static str, fee_gwei: u64) {
        let chain = self.inner.network.to_string();
        counter!("farthing_transactions_total", "chain" => chain.clone(), "outcome" => outcome).increment(1);
        counter!("farthing_gas_spent_gwei_total", "chain" => chain).increment(fee_gwei);
    }

    fn take_receipts(&mut self, asked: &[(Place, B256)], answers: &[Answer], height: u64) {
        for ((place, hash), answer) in asked.iter().zip(answers) {
            match rpc::receipt(answer) {
                Ok(Some(receipt)) if receipt.transaction_hash == *hash && receipt.block_number <= height => {
                    match self.recent.get(&receipt.block_number) {
                        Some(block) if *block == receipt.block_hash => self.land(*place, receipt),
                        // Another node's word, of another history than the one that is followed.
                        Some(_) => self.doubt = true,
                        None => {
                            self.doubt = true;
                            self.land(*place, receipt);
                        }
                    }
                }
                // A node may know the receipt before it counts the block, or may not have it yet.
                Ok(None) => {}
                Ok(Some(_)) | Err(_) => {
                    tracing::debug!(network = %self.inner.network, transaction = %hash, "the receipt makes no sense; asking again");
                }
            }
        }
    }
}

/// Whether something has gone on for so long.
fn lasted(since: Option<Instant>, at_least: std::time::Duration) -> bool {
    since.is_some_and(|since| since.elapsed() >= at_least)
}
