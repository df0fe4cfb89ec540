//! Who comes in on which terms, around the payment.
//!
//! 1. Addresses that are [blocked](crate::file::List), or not among those that alone are allowed, are refused.
//! 2. On routes that ask for keys or tokens, who brings one is known by it. A wrong one is told so: whoever believes to have
//!    subscribed is not silently asked for money. Who pays is served for that, whatever key came along.
//! 3. Rate limits by address and key are counted, and what is above them is refused with 429, before anything else is done.
//! 4. Nothing is charged for the requests of subscribers, for those of a free quota, and on routes in shadow mode. The gateway
//!    does not lead them around the payment layer: it says so to it by a [hook](hook), which lets them in.
//! 5. Of a payment that was found good the payer is known: the lists of payers, their rate limits and the
//!    [screening](screening) are asked by the same hook, before any money moves and before the upstream works. Whoever signs
//!    in is looked up in the same way.
//!
//! What cannot be counted, because the book is away, is not free; it can still be paid for. What cannot be limited or screened
//! is refused.

mod caller;
mod desk;
mod fallback;
mod hook;
mod key_set;
mod keys;
mod limits;
mod lists;
mod passes;
mod request;
mod rules;
mod screening;
mod ticket;
mod tokens;

#[cfg(test)]
mod tests;

pub(crate) use caller::address;
pub use desk::{Desk, DeskError, DeskMaterials};
pub(crate) use lists::Lists;
pub(crate) use passes::PassSale;
pub use rules::EntryError;
pub(crate) use rules::{Rules, Terms};
pub(crate) use ticket::Pass;
