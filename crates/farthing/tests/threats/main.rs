//! Bad input at the socket, against the whole stack: a chain, a facilitator over HTTP, an axum app behind a price.
//!
//! The table of right answers is that of the threat model. For every fault of a payment three things are asked: `/verify`
//! and `/settle` give the same reason, the seller gives it too and delivers nothing, and neither gas nor money has moved.
//! Nothing may be answered with a 5xx, and nothing may hang.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers too"
)]

mod bodies;
mod chain;
mod copies;
mod headers;
mod market;
mod offers;
mod outages;
mod payments;
