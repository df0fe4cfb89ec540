//! Test doubles, builders and peers' launchers. A dev-dependency only.
//!
//! - [`golden`]: values that other implementations produced, to be met byte for byte.
//! - [`Stack`]: a chain, a facilitator on it, and funded wallets.

pub mod golden;
mod stack;

pub use stack::{Stack, WALLET_USDC_ATOMIC};
