//! Charging, with its engine: see [`crate::Server::builder`] for the entry point.

pub use farthing_server::*;
