//! Farthing against the official SDKs, role by role.
//!
//! - [`chain`]: the chain of a test: anvil, which judges what our own chain can't, or our own.
//! - [`peer`]: the official client, server and facilitator, each a process of its own.
//! - [`roles`]: who plays which role, and every combination that makes sense.
//! - [`purchase`]: buys a report through a combination and checks what moved on the chain.
//! - [`goods`]: every other way to pay, and who can play which role in it.
//! - [`shop`]: sells the goods, each to a [`payer`] of its own, and checks what everybody says of it.
//! - [`farthing`]: Farthing in each role.
//! - [`conformance`]: the independent conformance suite.
//!
//! `interop/peers/README.md` says what the peers are and how they are started. `cargo xtask peers` installs them.

pub mod chain;
pub mod conformance;
pub mod farthing;
pub mod goods;
pub mod payer;
pub mod peer;
pub mod purchase;
pub mod roles;
pub mod shop;

mod anvil;
mod installed;
mod overheard;
mod rpc;
