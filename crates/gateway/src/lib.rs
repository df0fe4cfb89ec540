//! A reverse proxy that charges for what is behind it.
//!
//! [`Gateway`] is what a [file](mod@file) describes: which requests are sold, at which [tariff], which are free and which are turned
//! away. A request goes
//!
//! 1. past [`inspect`], which refuses whatever two parties could read in two ways: a path that is not [canonical](path), a
//!    header twice, framing that is odd. It is called before a route is matched, and again by [`Upstream`], so that nothing
//!    goes around it;
//! 2. to the first route whose [pattern] is for it, and on a priced one through the payment layer of `farthing-server`;
//! 3. through [`Upstream`], a tower service, which takes away what is not the client's to say ([`hygiene`]), says who the
//!    client is ([`Peer`]), adds the seller's own credentials, and streams in both directions, within limits that all have
//!    names ([`Limits`]);
//! 4. or into a tunnel, where a route is free and both sides agree on an upgrade such as WebSocket.
//!
//! Around the payment, `entry` knows subscribers, counts what is free and what is too much, and looks payers up.
//!
//! What becomes of each request is [`seen`]: counted, logged, and shown to whoever runs the gateway.
//!
//! What goes wrong on the way is a [`Problem`]: JSON that says what was expected and what to do.
//!
//! # Why hyper-util
//! The upstream is reached by hyper-util's `legacy::Client`: the pool that reqwest and axum's world stand on, over the same
//! hyper that serves our own side, so a body passes from one socket to the other as the buffers it was read into, and an
//! upgrade is `hyper::upgrade` on both sides. It never sends a request again of which a byte was written. Pingora is the
//! other well-kept choice; it brings its own server, its own HTTP types and a TLS of C (OpenSSL or `BoringSSL`), none of which
//! fits under a tower layer such as the one that charges. reqwest hides what a proxy needs: trailers, upgrades, the reason of a
//! failure.

mod activity;
mod body;
pub mod config;
mod connector;
pub mod discovery;
mod entry;
pub mod file;
mod forward;
mod forwarded;
mod gateway;
mod health;
pub mod hygiene;
mod inspect;
mod mcp;
pub mod path;
pub mod pattern;
mod paywall;
mod preflight;
mod problem;
mod routes;
pub mod seen;
mod service;
mod slots;
pub mod tariff;
mod tunnel;
mod upstream;

pub use config::{Limits, Protocol, UpstreamConfig, UpstreamUrl};
pub use entry::{Desk, DeskError, DeskMaterials, EntryError};
pub use forwarded::{Peer, TrustedProxies};
pub use gateway::Gateway;
pub use inspect::inspect;
pub use mcp::Dish;
pub use path::CanonicalPath;
pub use problem::Problem;
pub use routes::{Explained, Explanation, Fault, Offered, RoutesError};
pub use service::Answering;
pub use upstream::{AddedHeaders, Materials, Upstream, UpstreamError};
