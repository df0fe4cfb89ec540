//! Extensions of the protocol (x402 v2 §8): what rides along with terms and payments, one file each.
//!
//! An extension is an object with an `info`, which says something, and a `schema`, which describes `info` in JSON Schema.
//! Servers declare extensions in their terms; clients echo them and may add what is theirs to say.
//!
//! - [`echo`]: what a client may change of what it echoes.
//! - [`payment_identifier`]: a name that the client gives a purchase, so that it is made once.

pub mod echo;
pub mod payment_identifier;
