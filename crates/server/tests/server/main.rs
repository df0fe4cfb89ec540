//! What the server promises, through real axum routers and real HTTP, with a scheme and a facilitator made for tests.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that finds nothing there has failed")]

mod bad_input;
mod binding;
mod declaring;
mod engine;
mod failing;
mod hook_support;
mod hooking;
mod metered;
mod naming;
mod observing;
mod paying;
mod pending;
mod pricing;
mod quote_support;
mod quoting;
mod receipts;
mod refunding;
mod remembering;
mod remote;
mod repeating;
mod replicas;
mod sales;
mod sending;
mod settling;
mod sign_in_support;
mod signing_in;
mod startup;
mod streaming;
mod support;
mod turned_away;
mod unpaid;
mod upfront;
