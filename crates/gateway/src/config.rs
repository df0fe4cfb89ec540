//! What an operator says about an upstream: its URL, how to talk to it, and every limit by name.

use std::str::FromStr;
use std::time::Duration;

use http::uri::{Authority, Scheme};
use http::{HeaderValue, Uri};
use serde::{Deserialize, Deserializer};

use crate::forwarded::TrustedProxies;
use crate::path::{CanonicalPath, PathError};

/// What may be behind the gateway, as in a configuration file. Unknown keys are errors.
///
/// ```
/// let config: farthing_gateway::UpstreamConfig = toml::from_str(r#"
///     url = "http://127.0.0.1:3000/api"
///     health = "/healthz"
///     trusted_proxies = ["10.0.0.0/8"]
///     limits = { head_timeout_seconds = 300 }
/// "#)?;
/// assert_eq!(config.limits.max_body_bytes, 64 * 1024 * 1024);
/// # Ok::<_, toml::de::Error>(())
/// ```
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamConfig {
    /// Where it is.
    pub url: UpstreamUrl,
    /// How to talk to it.
    #[serde(default)]
    pub protocol: Protocol,
    /// Whether the upstream is told the client's `Host` rather than its own. It is told the client's in
    /// `X-Forwarded-Host` either way. Over HTTP/2 a name cannot be told that differs from the URL's, so with this an
    /// upstream is spoken to in HTTP/1.1.
    #[serde(default)]
    pub preserve_host: bool,
    /// Proxies in front of the gateway whose `X-Forwarded-*` and `Forwarded` are believed.
    #[serde(default)]
    pub trusted_proxies: TrustedProxies,
    /// Protocols that a connection may be upgraded to.
    #[serde(default = "default_upgrades")]
    pub upgrades: Vec<String>,
    /// A path on the upstream that answers 2xx while it is well; asked by [`crate::Upstream::watch`].
    #[serde(default)]
    pub health: Option<String>,
    /// The limits.
    #[serde(default)]
    pub limits: Limits,
}

impl UpstreamConfig {
    /// An upstream with nothing special about it.
    #[must_use]
    pub fn new(url: UpstreamUrl) -> Self {
        Self {
            url,
            protocol: Protocol::default(),
            preserve_host: false,
            trusted_proxies: TrustedProxies::default(),
            upgrades: default_upgrades(),
            health: None,
            limits: Limits::default(),
        }
    }
}

/// How to talk to the upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Over TLS what the two agree on, otherwise HTTP/1.1.
    #[default]
    Auto,
    /// HTTP/1.1 alone.
    Http1,
    /// HTTP/2 in the clear, known to be spoken there (RFC 9113, section 3.3), as gRPC servers do.
    H2c,
}

/// Every limit of the way to an upstream. In a file, durations are whole seconds: `connect_timeout_seconds = 5`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The largest request body, in bytes: 64 MiB.
    pub max_body_bytes: u64,
    /// The most bytes of a request's headers, names and values: 96 KiB, so that a payment and a sign-in, both with all that
    /// may come with them, fit.
    pub max_header_bytes: usize,
    /// The most bytes that the head of an upstream's answer may have: 128 KiB.
    pub max_answer_head_bytes: usize,
    /// The most requests under way at once: 4,096.
    pub max_requests: usize,
    /// The most upgraded connections at once: 1,024.
    pub max_upgrades: usize,
    /// The most connections that are kept without a request: 256.
    pub max_idle_connections: usize,
    /// How long a connection is kept without a request: 4 s. Shorter than the 5 s of Node.js and uvicorn, so that it is the
    /// gateway who closes: a request that meets a closing server has an unknown outcome.
    #[serde(rename = "idle_connection_timeout_seconds", deserialize_with = "seconds")]
    pub idle_connection_timeout: Duration,
    /// How long it may take to connect, TLS included: 5 s.
    #[serde(rename = "connect_timeout_seconds", deserialize_with = "seconds")]
    pub connect_timeout: Duration,
    /// How long the head of an answer may take, from the last byte of the request that could be sent: 2 minutes.
    #[serde(rename = "head_timeout_seconds", deserialize_with = "seconds")]
    pub head_timeout: Duration,
    /// How long a body may pause, in either direction, while it is waited for: 5 minutes.
    #[serde(rename = "body_timeout_seconds", deserialize_with = "seconds")]
    pub body_timeout: Duration,
    /// How long an upgraded connection may be silent in both directions: 10 minutes.
    #[serde(rename = "upgrade_timeout_seconds", deserialize_with = "seconds")]
    pub upgrade_timeout: Duration,
    /// How often the health path is asked: every 10 s.
    #[serde(rename = "health_interval_seconds", deserialize_with = "seconds")]
    pub health_interval: Duration,
    /// How long an upstream that cannot be reached is left alone: 2 s.
    #[serde(rename = "down_seconds", deserialize_with = "seconds")]
    pub down: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_body_bytes: 64 * 1024 * 1024,
            max_header_bytes: 96 * 1024,
            max_answer_head_bytes: 128 * 1024,
            max_requests: 4_096,
            max_upgrades: 1_024,
            max_idle_connections: 256,
            idle_connection_timeout: Duration::from_secs(4),
            connect_timeout: Duration::from_secs(5),
            head_timeout: Duration::from_mins(2),
            body_timeout: Duration::from_mins(5),
            upgrade_timeout: Duration::from_mins(10),
            health_interval: Duration::from_secs(10),
            down: Duration::from_secs(2),
        }
    }
}

/// Why a URL is none of an upstream.
#[derive(Debug, thiserror::Error)]
pub enum UrlError {
    /// Not a URL at all.
    #[error("expected a URL such as http://127.0.0.1:3000: {0}")]
    Malformed(#[from] http::uri::InvalidUri),
    /// Neither `http` nor `https`.
    #[error("expected a URL that begins with http:// or https://")]
    Scheme,
    /// A user name, password, query or fragment.
    #[error("expected scheme, host, port and path; credentials are added as headers by reference, never in the URL")]
    TooMuch,
    /// A path prefix that has two readings.
    #[error("the URL's path: {0}")]
    Path(#[from] PathError),
    /// A host that cannot be told in a header.
    #[error("expected a host that can be a header: {0}")]
    Host(#[from] http::header::InvalidHeaderValue),
}

/// Where an upstream is: `http` or `https`, host, perhaps a port, perhaps a path that is put before every path.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct UpstreamUrl {
    pub(crate) scheme: Scheme,
    pub(crate) authority: Authority,
    /// Empty, or with a slash before and none after it.
    pub(crate) prefix: String,
    /// The authority as a `Host` header.
    pub(crate) host: HeaderValue,
}

impl UpstreamUrl {
    /// Whether it is spoken to over TLS.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    /// `http://host:port`, without the path.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("{}://{}", self.scheme, self.authority)
    }
}

impl FromStr for UpstreamUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let parts = text.parse::<Uri>()?.into_parts();
        let scheme =
            parts.scheme.filter(|scheme| *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS).ok_or(UrlError::Scheme)?;
        let authority = parts.authority.ok_or(UrlError::Scheme)?;
        let path = parts.path_and_query.as_ref().map_or("/", http::uri::PathAndQuery::path);
        if text.contains(['?', '#']) || authority.as_str().contains('@') {
            return Err(UrlError::TooMuch);
        }
        let prefix = CanonicalPath::parse(path)?.as_str().trim_end_matches('/').to_owned();
        let host = HeaderValue::from_str(authority.as_str())?;
        Ok(Self { scheme, authority, prefix, host })
    }
}

impl TryFrom<String> for UpstreamUrl {
    type Error = UrlError;

    fn try_from(text: String) -> Result<Self, UrlError> {
        text.parse()
    }
}

fn default_upgrades() -> Vec<String> {
    vec!["websocket".to_owned()]
}

fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    match u64::deserialize(deserializer)? {
        0 => Err(serde::de::Error::custom("expected at least 1 second")),
        seconds => Ok(Duration::from_secs(seconds)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_once() {
        let url: UpstreamUrl = "https://api.example:8443/v1/".parse().unwrap();
        assert_eq!((url.origin().as_str(), url.prefix.as_str()), ("https://api.example:8443", "/v1"));
        assert!(url.is_https());
        assert_eq!("http://[::1]:3000".parse::<UpstreamUrl>().unwrap().prefix, "");
    }

    #[test]
    fn urls_that_say_too_little_or_too_much_are_refused() {
        for text in [
            "",
            "127.0.0.1:3000",
            "/a",
            "ftp://a",
            "http://a?b",
            "http://a/#b",
            "http://u:p@a",
            "http://a/b/../c",
            "http://a//b",
        ] {
            assert!(text.parse::<UpstreamUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn unknown_keys_and_zero_seconds_are_refused() {
        let read = |text: &str| toml::from_str::<UpstreamConfig>(text).map_err(|error| error.to_string());
        assert!(read("url = 'http://a'\nhealthy = '/'").unwrap_err().contains("healthy"));
        assert!(read("url = 'http://a'\nlimits = { max_bodies = 1 }").unwrap_err().contains("max_bodies"));
        assert!(read("url = 'http://a'\nlimits = { down_seconds = 0 }").unwrap_err().contains("at least 1 second"));
        assert!(read("protocol = 'h2c'").unwrap_err().contains("url"));
        let config = read("url = 'http://a'\nprotocol = 'h2c'\nlimits = { down_seconds = 3 }").unwrap();
        assert_eq!((config.protocol, config.limits.down), (Protocol::H2c, Duration::from_secs(3)));
        assert_eq!(config.limits.max_requests, Limits::default().max_requests);
    }
}
