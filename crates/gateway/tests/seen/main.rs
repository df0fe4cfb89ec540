//! What whoever runs a gateway sees: the figures behind the page, and the page in a real browser.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test that finds nothing there has failed")]

mod figures;
mod page;
mod till;
