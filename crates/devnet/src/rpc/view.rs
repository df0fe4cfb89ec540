//! The node as one request sees it: an injected fault may have it see less than there is.

use std::ops::Deref;
use std::sync::Arc;

use alloy_primitives::Address;

use crate::chain::{Chain, MAX_HISTORY_BLOCKS};
use crate::fault::Faults;
use crate::node::{Node, Reception};

/// The node, and what the faults of this request change of it.
pub(super) struct View<'a> {
    pub node: &'a Node,
    pub faults: &'a Faults,
    pub reception: Reception,
    /// How many of the newest blocks the node is made to not have seen.
    pub unseen_blocks: u64,
}

impl View<'_> {
    /// The chain as it is now, as far as it is seen. It does not change under the caller.
    pub(super) fn chain(&self) -> Arc<Chain> {
        let chain = self.node.chain();
        let unseen = self.unseen_blocks.min(chain.number()).min(MAX_HISTORY_BLOCKS);
        if unseen == 0 {
            return chain;
        }
        let mut seen = Chain::clone(&chain);
        match seen.rewind(chain.number() - unseen) {
            Some(_) => Arc::new(seen),
            None => chain,
        }
    }

    pub(super) fn pending_nonce(&self, address: Address) -> u64 {
        self.node.pending_nonce(address, || self.chain())
    }
}

impl Deref for View<'_> {
    type Target = Node;

    fn deref(&self) -> &Node {
        self.node
    }
}
