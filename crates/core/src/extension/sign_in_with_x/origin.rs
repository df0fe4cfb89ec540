//! Where a server is to be found, as a browser sees it: scheme, host and port.

use std::fmt;
use std::str::FromStr;

/// The longest host that is read, in bytes.
const MAX_HOST_BYTES: usize = 255;

/// A public origin such as `https://api.example.com`. A server's own comes from its configuration and never from a request:
/// whoever asks writes the `Host` header.
#[derive(Clone, PartialEq, Eq)]
pub struct Origin {
    text: String,
    host_at: usize,
}

/// A text that is no origin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected an origin such as \"https://api.example.com\" or \"http://127.0.0.1:4020\": http or https, ASCII host, optional \
     port, and neither user nor path nor query; got {0:?}"
)]
pub struct OriginError(String);

impl Origin {
    /// The host, with the port unless it is the scheme's own: what a sign-in calls its domain.
    pub fn host(&self) -> &str {
        self.text.get(self.host_at..).unwrap_or_default()
    }

    /// The whole, without a slash at the end.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The origin of an absolute `http` or `https` address.
    pub fn of(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let scheme = scheme.to_ascii_lowercase();
        let default_port = match scheme.as_str() {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        let authority = rest.get(..rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len()))?;
        let (host, port) = split_port(authority)?;
        let host = host.to_ascii_lowercase();
        let port = port.filter(|port| *port != default_port).map(|port| format!(":{port}")).unwrap_or_default();
        let host_at = scheme.len().saturating_add(3);
        Some(Self { text: format!("{scheme}://{host}{port}"), host_at })
    }
}

/// Host and port, if the host is one that no two readers understand differently.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            let is_plain = address.parse::<std::net::Ipv6Addr>().is_ok_and(|read| read.to_string() == address);
            let host = authority.get(..address.len().saturating_add(2)).filter(|_| is_plain)?;
            (host, rest.strip_prefix(':').or(rest.is_empty().then_some(""))?)
        }
        None => authority.split_once(':').unwrap_or((authority, "")),
    };
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let is_host = host.starts_with('[') || host.bytes().all(is_good);
    if !is_host || !(1..=MAX_HOST_BYTES).contains(&host.len()) || (port.is_empty() && authority.ends_with(':')) {
        return None;
    }
    if port.is_empty() {
        return Some((host, None));
    }
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
    Some((host, Some(is_number.then(|| port.parse().ok()).flatten()?)))
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        let fail = || OriginError(text.chars().take(100).collect());
        let bare = text.strip_suffix('/').unwrap_or(text);
        let (_, authority) = bare.split_once("://").ok_or_else(fail)?;
        if authority.contains(['/', '?', '#', '\\']) {
            return Err(fail());
        }
        Self::of(bare).ok_or_else(fail)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Origin({})", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_written_in_one_way() {
        for (text, origin, host) in [
            ("https://api.example.com", "https://api.example.com", "api.example.com"),
            ("HTTPS://API.example.com:443/", "https://api.example.com", "api.example.com"),
            ("http://127.0.0.1:4020", "http://127.0.0.1:4020", "127.0.0.1:4020"),
            ("http://api.example.com:0443", "http://api.example.com:443", "api.example.com:443"),
            ("http://[::1]:80", "http://[::1]", "[::1]"),
            ("https://[::1]:4020", "https://[::1]:4020", "[::1]:4020"),
        ] {
            let read: Origin = text.parse().unwrap();
            assert_eq!((read.as_str(), read.host()), (origin, host), "{text}");
        }
    }

    #[test]
    fn whatever_two_readers_could_understand_differently_is_no_origin() {
        for bad in [
            "",
            "api.example.com",
            "ftp://api.example.com",
            "https://",
            "https://user@api.example.com",
            "https://api.example.com/path",
            "https://api.example.com?query",
            "https://api.example.com#part",
            "https://api.example.com\\@evil.example",
            "https://api.example.com:",
            "https://api.example.com:port",
            "https://api.example.com:+80",
            "https://api.example.com:65536",
            "https://api example.com",
            "https://api.example.com\n",
            "https://%61pi.example.com",
            "https://api.ex\u{0430}mple.com",
            "https://[::1",
            "https://[evil]",
            "https://[::1]evil",
            "https://[0:0:0:0:0:0:0:1]",
            "https:api.example.com",
            "https:///api.example.com",
        ] {
            assert!(bad.parse::<Origin>().is_err(), "{bad:?}");
        }
        assert!("x".repeat(10_000).parse::<Origin>().unwrap_err().to_string().len() < 400);
    }

    #[test]
    fn an_address_has_an_origin() {
        let origin = |url| Origin::of(url).map(|origin| origin.as_str().to_owned());
        assert_eq!(origin("https://api.example.com:443/a?b#c").as_deref(), Some("https://api.example.com"));
        assert_eq!(origin("https://api.example.com?x=://").as_deref(), Some("https://api.example.com"));
        assert_eq!(origin("https://api.example.com@evil.example/"), None);
        assert_eq!(origin("urn:x"), None);
    }
}
