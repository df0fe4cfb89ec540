//! The x402 protocol: wire types, money, schemes, books.
//!
//! This crate does no I/O, has no runtime, knows no chain and no HTTP client. Everything else in Farthing is built
//! on it, and on nothing sideways:
//!
//! - [`wire`]: the JSON messages. What a peer sent is kept to the byte and echoed so.
//! - [`header`]: the messages as HTTP header values.
//! - [`amount`], [`price`], [`asset`], [`network`], [`time`]: validated values; no float is ever near money.
//! - [`scheme`]: what a payment mechanism must bring, for each of the three roles.
//! - [`erased`]: the one place where JSON becomes a scheme's typed payload.
//! - [`extension`]: what rides along with terms and payments.
//! - [`facilitator`]: verify and settle, in process or remote.
//! - [`hooks`]: how code of sellers and operators is asked, whatever it does.
//! - [`books`]: durable state, one book per role, and in-memory versions for tests.
//! - [`reason`]: the protocol's error strings.
//! - [`trace`]: which trace an operation belongs to (W3C Trace Context).

pub mod amount;
pub mod asset;
pub mod books;
pub mod erased;
pub mod extension;
pub mod facilitator;
pub mod header;
pub mod hooks;
pub mod json;
pub mod network;
pub mod price;
pub mod reason;
pub mod scheme;
pub mod time;
pub mod trace;
pub mod wire;

use std::future::Future;
use std::pin::Pin;

/// A future that can be kept behind a `dyn` trait.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The cause behind an error whose variant already says what the caller can do next.
pub type Source = Box<dyn std::error::Error + Send + Sync>;
