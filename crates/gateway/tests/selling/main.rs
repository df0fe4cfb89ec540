//! What a seller puts a price on with a file, as its buyers meet it: over a real chain, with the settled money counted.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test that finds nothing there has failed")]

mod browsers;
mod counted;
mod metered;
mod moves;
mod prices;
mod routes;
mod shop;
mod streams;
mod wall;
