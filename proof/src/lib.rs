//! Farthing's invariants, held against crashes, faults and races.
//!
//! What goes wrong:
//! - [`chance`]: randomness that a seed repeats.
//! - [`chaos`]: a proxy in front of any node, through which everything goes wrong that goes wrong on the way to one.
//! - [`watched`]: books and nodes with somebody who looks on, and may fail, freeze or end the process around each call.
//! - [`crash`]: one who looks on and kills: every point of a scenario, one after the other.
//!
//! What must hold:
//! - [`invariants`]: the book against the chain, to the atom.
//! - [`chain`], [`rpc`]: what the chain itself shows of payments, asked as anybody would ask.
//!
//! What is done:
//! - [`payments`]: payments of every kind, and what their payers need before.
//! - [`replica`], [`store`], [`stores`]: facilitators that settle them, and where their books are.
//! - [`seller`], [`gateway`], [`buyer`]: who sells through them, in a program of their own or by a file alone, and who buys, over
//!   HTTP.
//! - [`simulation`]: a whole world in one thread and in its own time.
//! - [`campaign`]: crash at every point, chaos, races; small as tests, large as `cargo xtask soak`.

pub mod buyer;
pub mod campaign;
pub mod chain;
pub mod chance;
pub mod chaos;
pub mod crash;
pub mod gateway;
pub mod invariants;
pub mod payments;
pub mod replica;
pub mod rpc;
pub mod seller;
pub mod simulation;
pub mod store;
pub mod stores;
pub mod watched;
