//! `exact` on EVM chains, through the public API: against a node whose round trips are counted, and against a real EVM.

mod client;
mod devnet;
mod fake_node;
mod relaying;
mod server;
mod settling;
mod support;
mod verifying;
