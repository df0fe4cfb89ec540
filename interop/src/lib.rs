//! Farthing against the official SDKs, role by role.
//!
//! - [`chain`]: the chain of a test: anvil, which judges what our own chain can't, or our own.
//! - [`peer`]: the official client, server and facilitator, each a process of its own.
//! - [`roles`]: who plays which role, and the combinations that are tested.
//! - [`goods`]: what is bought: every way to pay, and every extension. [`sale`]: what is bought through whom.
//! - [`shop`]: sells the goods, each to a [`payer`] of its own, and checks what moved and what everybody says of it.
//! - [`service`]: starts servers and facilitators.
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
pub mod roles;
pub mod sale;
pub mod service;
pub mod shop;

mod anvil;
mod installed;
mod overheard;
mod rpc;
