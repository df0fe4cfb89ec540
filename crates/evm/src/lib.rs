//! x402 schemes on EVM chains, for client, server and facilitator.
//!
//! - [`network`], [`asset`]: the networks and dollar tokens that are known without being told.
//! - [`config`]: how an operator describes chains and tokens of their own, as plain data.
//! - [`rpc`]: the only file that talks to a node.
//! - [`signer`], [`signature`]: accounts, and what counts as their signature.
//! - [`transfer`]: how a token moves by signature: typed data, calldata, logs.
//! - [`chain`]: one network as a facilitator uses it, shared by all schemes.
//! - [`relayer`]: the facilitator's sending accounts: batches, numbers, fees, broadcast, replacement, confirmation.
//! - [`exact`]: the scheme `exact`, one file for each role.
//!
//! Nothing here reads the environment, a file or the clock; nothing prints a key, a signature or a node's address.

pub mod abi;
pub mod asset;
pub mod chain;
pub mod config;
pub mod exact;
pub mod network;
pub mod relayer;
pub mod rpc;
pub mod signature;
pub mod signer;
mod text;
pub mod transfer;

pub use alloy_primitives::{Address, B256, Bytes, U256};
pub use text::{account_id, asset_id, parse_address};
