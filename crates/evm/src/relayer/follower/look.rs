//! Looking things up: receipts of what was mined, numbers that somebody else used up, and blocks that are gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::B256;
use farthing_core::books::Landing;
use farthing_core::scheme::TransactionId;
use metrics::counter;
use tokio::time::Instant;

use super::super::clerk::Note;
use super::super::fees::gwei;
use super::super::flights::{Foreign, Landed, Place};
use super::{Follower, lasted};
use crate::rpc::{self, BlockTag, Call, NodeError, Receipt};

/// The calls in one round trip.
const CALLS_AT_ONCE: usize = 100;
/// How long the chain must have counted a number without showing our transaction until somebody else has used it: a node
/// may count a block a little before it has its receipts.
const FOREIGN_GRACE: Duration = Duration::from_secs(2);

impl Follower {
    /// Asks for the receipts that are due, and, when there is a new block, how far the chain has counted.
    pub(super) async fn look_up(&mut self, height: u64, is_new: bool) -> Result<(), NodeError> {
        let (asked, lanes) = self.due(is_new);
        if asked.is_empty() && lanes.is_empty() {
            return Ok(());
        }
        let mut counted = BTreeMap::new();
        let mut calls: Vec<Call> = Vec::new();
        for lane in &lanes {
            calls.extend(self.inner.signers.get(*lane).map(|signer| Call::mined_count(signer.address())));
        }
        calls.extend(asked.iter().map(|(_, hash)| Call::receipt(*hash)));
        let mut answers = Vec::with_capacity(calls.len());
        for some in calls.chunks(CALLS_AT_ONCE) {
            answers.extend(self.inner.node.ask(some).await?);
        }
        for (lane, answer) in lanes.iter().zip(&answers) {
            counted.insert(*lane, rpc::quantity(answer, "eth_getTransactionCount")?);
        }
        self.take_receipts(&asked, answers.get(lanes.len()..).unwrap_or_default(), height);
        self.miss(&counted, height);
        Ok(())
    }

    /// What is to be asked for, and the lanes whose count says whether something is missing.
    fn due(&self, is_new: bool) -> (Vec<(Place, B256)>, Vec<usize>) {
        let flights = self.inner.flights();
        let unmined = flights.iter().filter(|(_, flight)| flight.landed.is_none());
        let mut asked = Vec::new();
        let mut lanes = BTreeSet::new();
        for (place, flight) in unmined {
            if flight.is_asked_for() {
                asked.extend(flight.hashes.iter().map(|hash| (place, *hash)));
            }
            if is_new || flight.is_asked_for() {
                lanes.insert(place.0);
            }
        }
        (asked, lanes.into_iter().collect())
    }

    /// Notices numbers that the chain has counted without our having been in it.
    fn miss(&mut self, counted: &BTreeMap<usize, u64>, height: u64) {
        let mut flights = self.inner.flights();
        let mut foreign = BTreeSet::new();
        for ((lane, sequence), flight) in flights.iter_mut().filter(|(_, flight)| flight.landed.is_none()) {
            let Some(count) = counted.get(&lane) else { continue };
            // In the round in which it is noticed the receipts may not have been asked for.
            let was_asked = flight.is_asked_for();
            flight.ask = false;
            if *count <= sequence {
                // Also where another history has not used it.
                (flight.missed_since, flight.foreign) = (None, None);
                continue;
            }
            let since = flight.missed_since.get_or_insert_with(Instant::now);
            if was_asked && flight.foreign.is_none() && lasted(Some(*since), FOREIGN_GRACE) {
                flight.foreign = Some(Foreign { height, parted: false });
                foreign.insert(lane);
            }
        }
        drop(flights);
        for lane in foreign {
            self.wake(lane);
        }
    }

    /// Writes down where a transaction was mined, and lets its lane go on.
    pub(super) fn land(&mut self, place: Place, receipt: Receipt) {
        let mut flights = self.inner.flights();
        let lease = flights.lease(place.0).cloned();
        let Some(flight) = flights.get_mut(place) else { return };
        if flight.landed.as_ref().is_some_and(|landed| landed.block == receipt.block_hash) {
            return;
        }
        let landing = Landing {
            transaction: TransactionId(receipt.transaction_hash.to_string()),
            height: receipt.block_number,
            block: receipt.block_hash.to_string(),
            fee_gwei: gwei(receipt.cost_wei()),
            succeeded: receipt.succeeded,
        };
        let is_first = flight.landed.is_none();
        (flight.ask, flight.seen, flight.number_refused) = (false, false, false);
        (flight.missed_since, flight.newest, flight.foreign) = (None, None, None);
        let was_concluded = std::mem::replace(&mut flight.concluded, true);
        flight.landed = Some(Landed {
            hash: receipt.transaction_hash,
            block: receipt.block_hash,
            landing: landing.clone(),
            receipt: Some(Arc::new(receipt)),
        });
        let waited = flight.since.elapsed();
        drop(flights);
        if let Some(lease) = lease {
            if was_concluded {
                // In another block it may have done something else: what was concluded from the first is open again.
                self.inner.notes.leave(Note::Reopened(lease.clone(), place.1, self.inner.clock.now()));
            }
            self.inner.notes.leave(Note::Landed(lease, place.1, landing.clone()));
        }
        if is_first {
            self.pace.mined(waited);
            self.count(if landing.succeeded { "succeeded" } else { "reverted" }, landing.fee_gwei);
        }
        self.wake(place.0);
    }

    /// Looks at everything that is not final again, because the history may be another one.
    pub(super) async fn look_again(&mut self, height: u64) -> Result<(), NodeError> {
        let landed: Vec<(Place, Landed)> = {
            let mut flights = self.inner.flights();
            for (_, flight) in flights.iter_mut() {
                flight.ask |= flight.landed.is_none();
                flight.seen = false;
            }
            flights.iter().filter_map(|(place, flight)| flight.landed.clone().map(|landed| (place, landed))).collect()
        };
        let mut certain = true;
        for some in landed.chunks(CALLS_AT_ONCE / 2) {
            let calls: Vec<Call> = some
                .iter()
                .flat_map(|(_, it)| [Call::block(BlockTag::Number(it.landing.height)), Call::receipt(it.hash)])
                .collect();
            let answers = self.inner.node.ask(&calls).await?;
            for ((place, landed), pair) in some.iter().zip(answers.chunks_exact(2)) {
                let [block, receipt] = pair else { return Err(NodeError::Malformed("eth_getBlockByNumber")) };
                // Each by itself: a node that has forgotten one old receipt must not stop all others.
                match (rpc::block(block), rpc::receipt(receipt)) {
                    // What is in a block stays in it.
                    (Ok(Some(block)), _) if block.hash == landed.block => {}
                    (_, Ok(Some(receipt)))
                        if receipt.transaction_hash == landed.hash
                            && receipt.block_hash != landed.block
                            && receipt.block_number <= height =>
                    {
                        tracing::warn!(network = %self.inner.network, transaction = %landed.hash, "a transaction has moved to another block");
                        self.land(*place, receipt);
                    }
                    (Ok(Some(_)), Ok(None)) => self.reopen(*place, landed),
                    // A node that lags behind says nothing: asked again in the next round.
                    _ => certain = false,
                }
            }
        }
        self.doubt = !certain;
        Ok(())
    }

    /// The block that held it is gone, and it is in no other.
    fn reopen(&self, place: Place, landed: &Landed) {
        let mut flights = self.inner.flights();
        let lease = flights.lease(place.0).cloned();
        let Some(flight) = flights.get_mut(place) else { return };
        (flight.landed, flight.ask, flight.concluded) = (None, true, false);
        (flight.since, flight.rebroadcast_at) = (Instant::now(), Instant::now());
        drop(flights);
        tracing::warn!(
            network = %self.inner.network, transaction = %landed.hash, height = landed.landing.height,
            "the block that held a transaction is gone; its payments are open again",
        );
        counter!("farthing_reorged_total", "chain" => self.inner.network.to_string()).increment(1);
        if let Some(lease) = lease {
            self.inner.notes.leave(Note::Reopened(lease, place.1, self.inner.clock.now()));
        }
        self.wake(place.0);
    }

    fn wake(&self, lane: usize) {
        if let Some(wake) = self.inner.wakes.get(lane) {
            wake.notify_one();
        }
    }
}
