//! The proxy at real sockets: what gets through, how, and what never does.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that finds nothing there has failed")]

mod failures;
mod forms;
mod harness;
mod headers;
mod limits;
mod mangled;
mod paths;
mod protocols;
mod smuggling;
mod streaming;
mod tls;
mod upgrades;
