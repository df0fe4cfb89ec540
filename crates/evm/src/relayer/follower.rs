//! The one task per chain that finds out what became of the transactions under way.
//!
//! It lives while there are any. However many payments wait, each round asks for the account's count and the receipts of
//! the first few in the line: only when those are mined is there anything to ask of the others.

use std::sync::{Arc, Weak};
use std::time::Duration;

use alloy_primitives::Bytes;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::tracked::Key;
use super::{Inner, Order};
use crate::rpc::{self, Answer, Call, NodeError};

/// The receipts asked for in each round, of the first in the line.
const FIRST_IN_LINE: usize = 8;
/// The receipts asked for at once when the chain says that they are there.
const RECEIPTS_PER_BATCH: usize = 100;
/// The transactions broadcast again at once.
const REBROADCASTS_PER_BATCH: usize = 100;
/// How long a gap must last before it is filled.
const GAP_GRACE: Duration = Duration::from_secs(2);
/// The most nonces filled in one round.
const GAPS_PER_ROUND: usize = 16;
/// The gas of a transaction that fills a gap: a transfer of nothing to oneself, with room for networks that charge more.
const GAP_GAS_UNITS: u64 = 100_000;

/// Follows until nothing is under way, or the relayer is gone.
pub(super) async fn follow(relayer: Weak<Inner>, wake: Arc<Notify>) {
    let mut last = Instant::now();
    let mut failing = false;
    loop {
        let pause = {
            let Some(inner) = relayer.upgrade() else { return };
            let mut tracked = inner.tracked();
            if tracked.is_empty() {
                tracked.task = None;
                return;
            }
            if failing { inner.confirm.poll() } else { tracked.pause(inner.confirm.poll()) }
        };
        tokio::select! {
            () = sleep_until(last + pause) => {}
            () = wake.notified() => continue,
        }
        let Some(inner) = relayer.upgrade() else { return };
        let round = inner.round().await;
        last = Instant::now();
        if let (Err(error), false) = (&round, failing) {
            tracing::warn!(chain_id = inner.chain_id, %error, "receipts cannot be asked for; trying again");
        }
        failing = round.is_err();
        inner.tracked().abandon();
    }
}

impl Inner {
    async fn round(self: &Arc<Self>) -> Result<(), NodeError> {
        let first = self.tracked().lowest(FIRST_IN_LINE);
        let mut calls = vec![Call::mined_count(self.signer.address()), Call::block_number()];
        calls.extend(first.iter().map(|(_, hash)| Call::receipt(*hash)));
        let answers = self.node.ask(&calls).await?;
        let [mined, height, receipts @ ..] = answers.as_slice() else {
            return Err(NodeError::Malformed("eth_getTransactionCount"));
        };
        let mined = rpc::quantity(mined, "eth_getTransactionCount")?;
        let height = rpc::quantity(height, "eth_blockNumber")?;
        self.take_receipts(&first, receipts, height);
        let rest = self.tracked().mined_besides(mined, &first);
        for batch in rest.chunks(RECEIPTS_PER_BATCH) {
            let calls: Vec<Call> = batch.iter().map(|(_, hash)| Call::receipt(*hash)).collect();
            let receipts = self.node.ask(&calls).await?;
            self.take_receipts(batch, &receipts, height);
        }
        self.broadcast_again(mined).await?;
        self.fill_gaps(mined).await
    }

    /// Tells who waits for these transactions, once they are in as many blocks as asked for.
    fn take_receipts(&self, keys: &[Key], answers: &[Answer], height: u64) {
        let mut tracked = self.tracked();
        for (key, answer) in keys.iter().zip(answers) {
            match rpc::receipt(answer) {
                Ok(Some(receipt)) if receipt.transaction_hash == key.1 => {
                    // A node may know a receipt before it counts the block.
                    let blocks = height.saturating_sub(receipt.block_number).saturating_add(1);
                    if blocks >= self.confirm.blocks {
                        tracked.confirmed(*key, receipt);
                    }
                }
                Ok(None) => {}
                Ok(Some(_)) | Err(_) => {
                    tracing::debug!(chain_id = self.chain_id, transaction = %key.1, "the receipt makes no sense; asking again");
                }
            }
        }
    }

    async fn broadcast_again(&self, mined: u64) -> Result<(), NodeError> {
        let due = self.tracked().due(mined, self.confirm.rebroadcast(), REBROADCASTS_PER_BATCH);
        if due.is_empty() {
            return Ok(());
        }
        tracing::debug!(chain_id = self.chain_id, transactions = due.len(), "broadcasting again what is not mined");
        let calls: Vec<Call> = due.iter().map(|signed| Call::broadcast(signed)).collect();
        // What the node says to each does not matter: only a receipt decides.
        self.node.ask(&calls).await.map(drop)
    }

    /// A nonce that nobody uses stops everything behind it: uses it up with a transfer of nothing to oneself.
    async fn fill_gaps(self: &Arc<Self>, mined: u64) -> Result<(), NodeError> {
        let gap = self.tracked().gap(mined, GAP_GRACE);
        if gap.is_empty() {
            return Ok(());
        }
        let Some(Ok(fees)) = self.fees.current() else { return self.catch_up().await };
        let order = Order { to: self.signer.address(), data: Bytes::new(), gas_units: GAP_GAS_UNITS };
        let mut calls = Vec::new();
        for mut lease in gap.take(GAPS_PER_ROUND).filter_map(|nonce| self.lane.take_gap(nonce)) {
            let Ok(signed) = self.sign(lease.nonce(), fees, &order).await else { continue };
            calls.push(Call::broadcast(&signed.bytes));
            self.track((lease.nonce(), signed.hash), signed.bytes, None);
            lease.keep();
        }
        if calls.is_empty() {
            return Ok(());
        }
        tracing::warn!(chain_id = self.chain_id, transactions = calls.len(), "filling a gap in the sending account's nonces");
        self.node.ask(&calls).await.map(drop)
    }
}
