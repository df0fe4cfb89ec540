//! The protocol's messages through the public API: golden vectors of both versions, verbatim echo, lenient reading,
//! hostile input, and the way from one version to the other.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test that panics has failed")]

mod answers;
mod arbitrary;
mod golden;
mod headers;
mod hostile;
mod lenient;
mod payments;
mod round_trips;
mod schemes;
mod terms;
mod verbatim;
mod version_1;
