//! Transactions of others that are broadcast here, such as a payer's own approval: they cost this facilitator nothing.

use alloy_primitives::B256;
use tokio::time::{Instant, sleep};

use super::Relayer;
use super::broadcast::Broadcast;
use crate::rpc::{self, Call, CallError, NodeError, Receipt};

/// Why it is not known that somebody's transaction was mined.
#[derive(Debug, thiserror::Error)]
pub enum ForeignError {
    /// The network did not take it, and does not have it.
    #[error("the network refused it")]
    Refused(#[source] CallError),
    /// A node did not take it, for something that other transactions or the node's own state change: it may be taken in a
    /// moment, or another node has it.
    #[error("a node did not take it now; try again in a moment")]
    NotTaken(#[source] CallError),
    /// It was broadcast, and was not mined in time; it may be later.
    #[error("transaction {0} is not mined yet; try again in a moment")]
    NotMined(B256),
    /// The node could not be asked.
    #[error("the node could not be asked")]
    Node(#[from] NodeError),
}

impl Relayer {
    /// Broadcasts somebody's signed transaction and waits until it is mined and as deep as `confirm.blocks` asks for.
    pub(crate) async fn broadcast_foreign(&self, hash: B256, bytes: &[u8]) -> Result<Receipt, ForeignError> {
        let inner = &self.inner;
        let deadline = Instant::now() + inner.confirm.timeout();
        let answers = inner.node.ask(&[Call::broadcast(bytes)]).await?;
        let refused = answers.into_iter().next().and_then(Result::err);
        let refused = refused.filter(|error| !matches!(Broadcast::of(error), Broadcast::Accepted | Broadcast::Unclear));
        let mut first = true;
        loop {
            let calls = [Call::receipt(hash), Call::block_number(), Call::transaction(hash)];
            let answers = inner.node.ask(&calls).await?;
            let [receipt, height, transaction] = answers.as_slice() else {
                return Err(NodeError::Malformed("eth_getTransactionReceipt").into());
            };
            let height = rpc::quantity(height, "eth_blockNumber")?;
            let receipt = rpc::receipt(receipt)?.filter(|receipt| receipt.transaction_hash == hash);
            if let Some(receipt) = receipt {
                let depth = height.saturating_sub(receipt.block_number).saturating_add(1);
                if depth >= inner.confirm.blocks {
                    return Ok(receipt);
                }
            } else if let Some(error) = refused.as_ref().filter(|_| first)
                && !rpc::is_known(transaction).unwrap_or(true)
            {
                let not_taken = if Broadcast::is_passing(error) { ForeignError::NotTaken } else { ForeignError::Refused };
                return Err(not_taken(error.clone()));
            }
            first = false;
            if Instant::now() >= deadline {
                return Err(ForeignError::NotMined(hash));
            }
            sleep(inner.confirm.poll()).await;
        }
    }
}
