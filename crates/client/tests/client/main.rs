//! The client's behaviour, seen from outside: real sockets, a wallet that signs nothing real.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers too"
)]

mod choosing;
mod engine;
mod extensions;
mod hooks;
mod hostile;
mod limits;
mod named;
mod observing;
mod origins;
mod outcomes;
mod paying;
mod pending;
mod policies;
mod sign_in;
mod statements;
mod support;
mod terms;
