//! What can go wrong when a development chain is started or told to do something.

use std::net::SocketAddr;

use alloy_primitives::Address;

/// Why a [`Devnet`](crate::Devnet) could not do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DevnetError {
    /// No USDC is known for this chain id, so the chain would have no money on it.
    #[error("chain id {chain_id} has no USDC here; supported: {supported}")]
    UnsupportedChain {
        /// What was asked for.
        chain_id: u64,
        /// The chain ids that have one, separated by commas.
        supported: String,
    },
    /// The address to listen on is taken or not allowed.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where the JSON-RPC server was to listen.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A contract embedded in this crate is not usable: rebuild `contracts/artifacts`.
    #[error("embedded contract {name} is unusable: {detail}")]
    Contract {
        /// The contract's name.
        name: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// It is not known where this token keeps its balances: only USDC and [`DevToken`](crate::DevToken) can be written.
    #[error("{token} is neither the chain's USDC nor one of its own tokens: send a transaction to it instead")]
    UnknownToken {
        /// What was asked for.
        token: Address,
    },
    /// The call of a contract that a direct edit makes was refused.
    #[error("{what} failed: {detail}")]
    Call {
        /// What was to be done.
        what: &'static str,
        /// What the EVM said.
        detail: String,
    },
    /// The amount does not fit what the token can hold.
    #[error("the balance would exceed what the token can represent")]
    Overflow,
    /// The block, snapshot or time asked for does not exist or is out of the chain's reach.
    #[error("{0}")]
    OutOfRange(String),
}
