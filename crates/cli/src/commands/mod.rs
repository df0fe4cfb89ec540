//! One file a command, and what `pay` and `inspect` share: the purse, the refusals, the sink.

pub mod demo;
pub mod devnet;
pub mod facilitator;
pub mod gateway;
pub mod inspect;
pub mod ledger;
pub mod pay;
mod purse;
mod refusal;
mod sink;
