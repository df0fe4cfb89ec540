//! The schemes on EVM chains, through the public API: against a node whose round trips are counted, and against a real EVM.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers too"
)]

mod builder_codes;
mod client;
mod coalescing;
mod copies;
mod devnet;
mod endpoints;
mod fake_node;
mod front_running;
mod handing_over;
mod histories;
mod holds;
mod hostile_wallets;
mod lanes;
mod live;
mod market;
mod outcomes;
mod permit2;
mod relaying;
mod server;
mod settling;
mod sharing;
mod sponsoring;
mod support;
mod tokens;
mod upto;
mod verifying;
mod wallets;
