//! x402 schemes on EVM chains, for client, server and facilitator.
//!
//! - [`network`], [`asset`]: the networks and dollar tokens that are known without being told.
//! - [`config`]: how an operator describes chains and tokens of their own, as plain data.
//! - [`rpc`]: the only file that talks to a node.
//! - [`signer`], [`signature`], [`wallet`]: accounts, and what counts as their signature.
//! - [`transfer`]: how a token moves by signature: typed data, calldata, logs.
//! - [`chain`]: one network as a facilitator uses it, shared by all schemes.
//! - [`relayer`]: the facilitator's sending accounts: batches, numbers, fees, broadcast, replacement, confirmation.
//! - `account`: an account that pays, shared by the schemes.
//! - [`exact`], [`upto`]: the schemes, one file for each role.
//! - `facilitator`: what the facilitators of all schemes have in common.
//!
//! Nothing here reads the environment, a file or the clock; nothing prints a key, a signature or a node's address.

pub mod abi;
mod account;
pub mod asset;
pub mod chain;
pub mod config;
pub mod exact;
mod facilitator;
pub mod message;
pub mod network;
pub mod offer_receipt;
pub mod relayer;
pub mod rpc;
pub mod signature;
pub mod signer;
mod text;
pub mod transfer;
pub mod upto;
pub mod wallet;

pub use alloy_primitives::{Address, B256, Bytes, U256};
pub use facilitator::funded_approval;
pub use text::{account_id, asset_id, parse_address};
