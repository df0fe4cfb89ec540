//! One file a command.

pub mod demo;
pub mod devnet;
pub mod facilitator;
pub mod inspect;
pub mod pay;
