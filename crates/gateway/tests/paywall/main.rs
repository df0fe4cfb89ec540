//! The page that people get where something is for sale: who gets it and with what, and a real browser that pays on it.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test that finds nothing there has failed")]

mod answers;
mod buying;
mod looks;
mod once;
mod site;
mod wallets;
