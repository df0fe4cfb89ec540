//! The one list of chain families and of their schemes, role by role. A new family is one crate, and one line in each
//! role's file.

mod assets;
#[cfg(feature = "client")]
pub(crate) mod client;
#[cfg(feature = "facilitator")]
pub(crate) mod facilitator;
#[cfg(feature = "server")]
pub(crate) mod server;
