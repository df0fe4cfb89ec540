//! What the server promises, through real axum routers and real HTTP, with a scheme and a facilitator made for tests.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that finds nothing there has failed")]

mod bad_input;
mod engine;
mod failing;
mod metered;
mod observing;
mod paying;
mod pending;
mod remembering;
mod remote;
mod replicas;
mod settling;
mod startup;
mod support;
mod turned_away;
mod unpaid;
mod upfront;
