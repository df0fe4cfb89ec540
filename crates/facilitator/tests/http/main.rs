//! The facilitator through its HTTP interface, over a scheme whose chain is a script.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test that panics has failed")]

mod bodies;
mod kinds;
mod probes;
mod reconcile;
mod replay;
mod settle;
mod support;
mod verify;
