//! What a seller puts a price on with a file, as its buyers meet it: over a real chain, with the settled money counted.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test that finds nothing there has failed")]

mod bazaar;
mod browsers;
mod counted;
mod discovery;
mod entering;
mod free_quota;
mod mcp;
mod metered;
mod moves;
mod passes;
mod payers;
mod prices;
mod routes;
mod shop;
mod streams;
mod wall;
