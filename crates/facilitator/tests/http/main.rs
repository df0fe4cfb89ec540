//! The facilitator through its HTTP interface, over a scheme whose chain is a script.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test that panics has failed")]

mod bodies;
mod callers;
mod chain;
mod crowds;
mod finality;
mod front_running;
mod hooks;
mod kinds;
mod metrics;
mod model;
mod probes;
mod reconcile;
mod recover;
mod replay;
mod replicas;
mod settle;
mod settlements;
mod support;
mod verify;
