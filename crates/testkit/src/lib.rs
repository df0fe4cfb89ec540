//! Test doubles, builders and peers' launchers. A dev-dependency only.
//!
//! - `postgres` (feature `postgres`): a PostgreSQL server, and a fresh database for each test.
//! - `browser` (feature `browser`): a real Chromium, with wallets that sign.
//! - [`golden`]: values that other implementations produced, to be met byte for byte.
//! - `Stack` (feature `stack`): a chain, a facilitator on it, and funded wallets.

#[cfg(feature = "browser")]
pub mod browser;
pub mod golden;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "stack")]
mod stack;

#[cfg(feature = "stack")]
pub use stack::{Stack, WALLET_USDC_ATOMIC};
