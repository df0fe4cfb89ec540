//! The gateway's part of a configuration file, as plain data: `[gateway]`, `[pay_to]`, `[[route]]`.
//!
//! What is wrong with one of them is told while it is read, so that whoever reads the file knows the line. Unknown keys are
//! errors. Secrets are named and never given: `env:NAME` or `file:PATH`; this crate reads neither environment nor files, and
//! hands these texts to whoever does.
//!
//! ```
//! # #[derive(serde::Deserialize)] struct File { gateway: farthing_gateway::file::Gateway, pay_to: farthing_gateway::file::PayTo, route: Vec<farthing_gateway::file::Route> }
//! let file: File = toml::from_str(r#"
//!     [gateway]
//!     listen = "127.0.0.1:4020"
//!     upstream = "http://127.0.0.1:3000"
//!     facilitator = "https://facilitator.example"
//!
//!     [pay_to]
//!     "eip155:8453" = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C"
//!
//!     [[route]]
//!     match = "GET /reports/*"
//!     price = "$0.01"
//!
//!     [[route]]
//!     match = "POST /v1/chat/completions"
//!     price = { each = "$0.002", per = "1000 tokens", of = "response:/usage/total_tokens", at_most = "$0.05" }
//! "#)?;
//! assert_eq!(file.route.len(), 2);
//! # Ok::<_, toml::de::Error>(())
//! ```

mod admin;
mod discovery;
mod entry;
mod pass;
mod paywall;
mod price;
mod read;
mod route;
mod tls;
mod tools;

use std::fmt;
use std::net::SocketAddr;

use farthing_core::asset::AccountId;
use farthing_core::network::Network;
use farthing_core::wire::v1;
use http::{HeaderName, HeaderValue};
use serde::de::{Deserialize, Deserializer, Error as _};

pub use self::admin::Admin;
pub use self::discovery::{Discovery, OpenApi};
use self::entry::or_off;
pub use self::entry::{
    Algorithm, DEFAULT_SCREENING_CACHE_SECONDS, DEFAULT_SCREENING_TIMEOUT_SECONDS, Entry, Fallback, FreeQuota, Keys, List,
    MAX_SCREENING_TIMEOUT_SECONDS, OnError, OrOff, PayerName, Period, Proof, RateLimit, Screening, Subject, Tokens, Unknown,
};
pub use self::pass::{Pass, PassKind};
pub use self::paywall::{Colour, Link, Logo, Origin, Paywall};
use self::read::{pairs, parsed};
pub use self::route::{Access, Catalogued, Identifier, Route, Sale, Settle, SignIn};
pub use self::tls::Tls;
pub(crate) use self::tools::MAX_NAME_BYTES;
pub use self::tools::{EVERY_OTHER, Item, Menu};
use crate::config::UpstreamConfig;

/// The largest request body whose price depends on it, unless set otherwise, in bytes.
pub const DEFAULT_MAX_PRICED_BODY_BYTES: usize = farthing_server::quotes::DEFAULT_MAX_PRICED_BODY_BYTES;
/// The largest answer that is held back until its payment has settled, unless set otherwise, in bytes.
pub const DEFAULT_MAX_HELD_BODY_BYTES: usize = farthing_server::DEFAULT_MAX_HELD_BODY_BYTES;

/// The `[gateway]` table.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gateway {
    /// Address and port; port 0 takes a free one.
    #[serde(default = "loopback", deserialize_with = "socket_address")]
    pub listen: SocketAddr,
    /// What is behind the gateway: a URL, or a table with more about it.
    #[serde(deserialize_with = "read::upstream")]
    pub upstream: UpstreamConfig,
    /// Where clients reach the gateway, such as `https://api.example.com`; what they say in `Host`, unless set.
    #[serde(default)]
    pub public_url: Option<String>,
    /// The book of payments: `sqlite:PATH`, a `postgres://…` URL, or where that is kept.
    #[serde(default)]
    pub store: Option<Reference>,
    /// Who verifies and settles, if not this process itself.
    #[serde(default)]
    pub facilitator: Option<Reference>,
    /// What becomes of requests that no route is for.
    #[serde(default)]
    pub unmatched: Unmatched,
    /// Origins whose scripts may read what is sold.
    #[serde(default, deserialize_with = "read::origins")]
    pub origins: Origins,
    /// Where the key of quotes is kept, 32 bytes in hex. Made at start-up unless set, for this process alone.
    #[serde(default)]
    pub quote_key: Option<Reference>,
    /// For how long a quoted price is honoured.
    #[serde(default)]
    pub quote_seconds: Option<u64>,
    /// The largest request body whose price depends on it.
    #[serde(default = "max_priced_body_bytes")]
    pub max_priced_body_bytes: usize,
    /// The largest answer that is held back until its payment has settled.
    #[serde(default = "max_held_body_bytes")]
    pub max_held_body_bytes: usize,
    /// Headers that each request takes to the upstream, such as `authorization = "Bearer env:UPSTREAM_KEY"`: a text that ends in
    /// where a secret is kept.
    #[serde(default, deserialize_with = "pairs")]
    pub headers: Vec<(HeaderText, Reference)>,
    /// What the gateway tells machines about what it sells.
    #[serde(default)]
    pub discovery: Discovery,
    /// What is free before it costs, on priced routes that say nothing else.
    #[serde(default, deserialize_with = "or_off")]
    pub free_quota: Option<OrOff<FreeQuota>>,
    /// Whose requests pass unpaid, on priced routes that say nothing else.
    #[serde(default)]
    pub subscribers: Option<Vec<Proof>>,
    /// How often may be asked, on routes that say nothing else.
    #[serde(default)]
    pub rate_limits: Option<Vec<RateLimit>>,
    /// What is offered beside payment, on priced routes that say nothing else.
    #[serde(default, deserialize_with = "or_off")]
    pub fallback: Option<OrOff<Fallback>>,
    /// Whether nothing is charged, on priced routes that say nothing else.
    #[serde(default)]
    pub shadow: Option<bool>,
    /// What is bought once, for later.
    #[serde(default)]
    pub pass: Vec<Pass>,
    /// API keys of subscribers.
    #[serde(default)]
    pub keys: Option<Keys>,
    /// Signed tokens of subscribers.
    #[serde(default)]
    pub tokens: Option<Tokens>,
    /// Who alone may ask and pay, if anybody is listed.
    #[serde(default)]
    pub allow: List,
    /// Who may not.
    #[serde(default)]
    pub block: List,
    /// Who is looked up before any money moves.
    #[serde(default)]
    pub screening: Option<Screening>,
    /// By which certificate clients know the gateway; without one it speaks plain HTTP.
    #[serde(default)]
    pub tls: Option<Tls>,
    /// The page that browsers get where something is for sale.
    #[serde(default)]
    pub paywall: Paywall,
    /// Whether a line is logged for each request.
    #[serde(default = "yes")]
    pub access_log: bool,
    /// Where the gateway can be watched, and by whom; nowhere unless it is set.
    #[serde(default)]
    pub admin: Option<Admin>,
}

/// A text that may carry a secret, or says where one is kept. It is never shown.
#[derive(Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(transparent)]
pub struct Reference(String);

/// The name of a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderText(pub HeaderName);

/// What becomes of requests that no route is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unmatched {
    /// They are answered with 404, and the upstream never sees them.
    #[default]
    Deny,
    /// They go to the upstream, unpaid.
    Free,
}

/// Whose scripts may read what is sold (CORS). No cookies are taken from other origins in any case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origins {
    /// Everybody's: what is sold is sold to whoever pays.
    #[default]
    Any,
    /// These; none, if there are none.
    These(Vec<HeaderValue>),
}

/// The `[pay_to]` table: who is paid on which network, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PayTo(pub Vec<(Network, AccountId)>);

impl Reference {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for Reference {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Reference(…)")
    }
}

impl Gateway {
    /// A gateway in front of this, with nothing special about it.
    #[must_use]
    pub fn new(listen: SocketAddr, upstream: UpstreamConfig) -> Self {
        Self {
            listen,
            upstream,
            public_url: None,
            store: None,
            facilitator: None,
            unmatched: Unmatched::default(),
            origins: Origins::default(),
            quote_key: None,
            quote_seconds: None,
            max_priced_body_bytes: DEFAULT_MAX_PRICED_BODY_BYTES,
            max_held_body_bytes: DEFAULT_MAX_HELD_BODY_BYTES,
            headers: Vec::new(),
            paywall: Paywall::default(),
            discovery: Discovery::default(),
            tls: None,
            free_quota: None,
            subscribers: None,
            rate_limits: None,
            fallback: None,
            shadow: None,
            pass: Vec::new(),
            keys: None,
            tokens: None,
            allow: List::default(),
            block: List::default(),
            screening: None,
            access_log: true,
            admin: None,
        }
    }

    /// The terms around the payment, for routes that say nothing else.
    #[must_use]
    pub fn entry(&self) -> Entry {
        Entry {
            free_quota: self.free_quota.clone(),
            subscribers: self.subscribers.clone(),
            rate_limits: self.rate_limits.clone(),
            fallback: self.fallback.clone(),
            shadow: self.shadow,
            passes: Vec::new(),
            credits: None,
        }
    }
}

/// A network by its CAIP-2 name, or by the name that version 1 has for it, such as `base-sepolia`.
pub fn network(text: &str) -> Result<Network, farthing_core::network::NetworkError> {
    v1::network_named(text).map_or_else(|| text.parse(), Ok)
}

impl<'de> Deserialize<'de> for PayTo {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts: Vec<(String, String)> = pairs(deserializer)?;
        let mut accounts: Vec<(Network, AccountId)> = Vec::new();
        for (name, account) in texts {
            let network = network(&name).map_err(D::Error::custom)?;
            if accounts.iter().any(|(other, _)| *other == network) {
                return Err(D::Error::custom(format!("pay_to: expected one account on {network}, got two")));
            }
            let account = account.parse().map_err(|_| D::Error::custom(format!("pay_to: expected an account on {network}")))?;
            accounts.push((network, account));
        }
        Ok(Self(accounts))
    }
}

impl<'de> Deserialize<'de> for HeaderText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer).map(Self)
    }
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 4020))
}

const fn yes() -> bool {
    true
}

const fn max_priced_body_bytes() -> usize {
    DEFAULT_MAX_PRICED_BODY_BYTES
}

const fn max_held_body_bytes() -> usize {
    DEFAULT_MAX_HELD_BODY_BYTES
}

fn socket_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| D::Error::custom("expected an IP address and a port, such as \"127.0.0.1:4020\""))
}

#[cfg(test)]
mod tests;
