//! Extensions of the protocol (x402 v2 §8): what rides along with terms and payments, one file each.
//!
//! An extension is an object with an `info`, which says something, and a `schema`, which describes `info` in JSON Schema.
//! Servers declare extensions in their terms; clients echo them and may add what is theirs to say.
//!
//! - [`bazaar`]: how something is asked for and what comes back, for catalogues.
//! - [`echo`]: what a client may change of what it echoes.
//! - [`builder_code`]: who built what a payment went through, written behind the transaction's data.
//! - [`offer_receipt`]: the server's signature under its offers and under what was paid.
//! - [`payment_identifier`]: a name that the client gives a purchase, so that it is made once.
//! - [`sign_in_with_x`]: a wallet proves who it is, so that what it paid for once opens again.

pub mod bazaar;
pub mod builder_code;
pub mod echo;
pub mod offer_receipt;
pub mod payment_identifier;
pub mod sign_in_with_x;
