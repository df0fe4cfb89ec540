//! Which resource a request is for: the URL that goes into the terms, and the fingerprint that binds a payment to it.

use std::borrow::Cow;
use std::net::Ipv4Addr;

use farthing_core::books::Fingerprint;
use farthing_core::trace::TraceParent;

/// What the gate must know of one request, whatever its transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestFacts {
    /// What is done with what is for sale, such as the method of an HTTP request; for the book of sales.
    pub method: String,
    /// The URL of what is for sale, as the terms name it.
    pub resource_url: String,
    /// What the payment is bound to, so that it buys this request and no other; what the body adds to that is beside it.
    pub fingerprint: Fingerprint,
    /// The SHA-256 digest of the body, where the payment is bound to that, too.
    pub body: Option<[u8; 32]>,
    /// The caller's span, if it has a trace.
    pub trace: Option<TraceParent>,
}

impl RequestFacts {
    /// The facts of an HTTP request: method, host, path and query.
    ///
    /// The payment is not bound to the body, unless that is said ([`Self::with_body`]): one that may be presented again after
    /// an unknown settlement may come with another body, for the same price at the same URL.
    pub fn http(method: &str, resource_url: String) -> Self {
        let (authority, target) = locate(&resource_url);
        let fingerprint = Fingerprint(format!("{method} {}{target}", authority.to_ascii_lowercase()));
        Self { method: method.to_owned(), resource_url, fingerprint, body: None, trace: None }
    }

    /// The same facts of a request whose body counts, by the SHA-256 digest of it: a payment for it buys nothing for another
    /// body, and a purchase with a name is another purchase with another body.
    #[must_use]
    pub fn with_body(self, digest: [u8; 32]) -> Self {
        Self { body: Some(digest), ..self }
    }

    /// All that the payment is bound to.
    pub(crate) fn bound_to(&self) -> Cow<'_, Fingerprint> {
        // No URL has a space in it.
        self.body.as_ref().map_or(Cow::Borrowed(&self.fingerprint), |digest| {
            Cow::Owned(Fingerprint(format!("{} {}", self.fingerprint.0, hex(digest))))
        })
    }

    /// The same facts of a request that was priced by headers, by the SHA-256 digest of those.
    #[must_use]
    pub(crate) fn with_headers(self, digest: &[u8; 32]) -> Self {
        Self { fingerprint: Fingerprint(format!("{} headers {}", self.fingerprint.0, hex(digest))), ..self }
    }

    /// The same facts of a request that belongs to a trace.
    #[must_use]
    pub fn in_trace(self, trace: Option<TraceParent>) -> Self {
        Self { trace, ..self }
    }
}

/// Whether two URLs name the same resource: host, path and query to the letter (the host in any letter case), while the
/// scheme and its default port may differ, as they do behind a proxy that ends TLS.
pub(crate) fn is_same_resource(ours: &str, theirs: &str) -> bool {
    let (our_authority, our_target) = locate(ours);
    let (their_authority, their_target) = locate(theirs);
    our_authority.eq_ignore_ascii_case(their_authority) && our_target == their_target
}

/// A digest as text.
pub(crate) fn hex(digest: &[u8; 32]) -> String {
    digest.iter().fold(String::with_capacity(2 * digest.len()), |mut text, byte| {
        for half in [byte >> 4, byte & 15] {
            text.extend(char::from_digit(u32::from(half), 16));
        }
        text
    })
}

/// The scheme to name in a URL where none is configured: plain HTTP is for hosts that never leave the machine.
pub(crate) fn default_scheme(authority: &str) -> &'static str {
    let is_ipv6_loopback = authority == "[::1]" || authority.starts_with("[::1]:");
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    let is_loopback = is_ipv6_loopback
        || host.eq_ignore_ascii_case("localhost")
        || host.to_ascii_lowercase().ends_with(".localhost")
        || host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback());
    if is_loopback { "http" } else { "https" }
}

/// Path and query of a URL.
pub(crate) fn target_of(url: &str) -> &str {
    locate(url).1
}

/// The authority without its scheme's default port, and path with query, of a URL.
pub(crate) fn locate(url: &str) -> (&str, &str) {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    let default_port = if scheme.eq_ignore_ascii_case("http") { ":80" } else { ":443" };
    let target = if target.is_empty() { "/" } else { target };
    (authority.strip_suffix(default_port).unwrap_or(authority), target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scheme_and_host_case_may_differ_and_nothing_else() {
        let ours = "https://api.example.com/report?year=2026";
        for same in [
            "https://api.example.com/report?year=2026",
            "http://api.example.com/report?year=2026",
            "HTTPS://API.example.COM/report?year=2026",
            "https://api.example.com:443/report?year=2026",
            "http://api.example.com:80/report?year=2026",
        ] {
            assert!(is_same_resource(ours, same), "{same}");
        }
        for other in [
            "https://api.example.com/report",
            "https://api.example.com/report?year=2025",
            "https://api.example.com/report/?year=2026",
            "https://api.example.com/Report?year=2026",
            "https://api.example.com:8443/report?year=2026",
            "https://api.example.com@evil.example/report?year=2026",
            "https://example.com/report?year=2026",
            "https://api.example.com/report?year=2026#part",
            "mcp://tool/report",
            "",
        ] {
            assert!(!is_same_resource(ours, other), "{other}");
        }
        assert!(is_same_resource("https://example.com/", "https://example.com"));
    }

    #[test]
    fn the_fingerprint_is_method_host_path_and_query() {
        let facts = RequestFacts::http("GET", "https://API.example.com/a/B?c=D".to_owned());
        assert_eq!(facts.fingerprint.0, "GET api.example.com/a/B?c=D");
        assert_eq!(*facts.bound_to(), facts.fingerprint);
        let bound = format!("GET api.example.com/a/B?c=D {}", "07".repeat(32));
        assert_eq!(facts.with_body([7; 32]).bound_to().0, bound);
    }

    #[test]
    fn plain_http_is_for_loopback_hosts() {
        for host in ["localhost", "localhost:4020", "127.0.0.1", "127.8.9.1:80", "[::1]", "[::1]:4020", "shop.localhost:1"] {
            assert_eq!(default_scheme(host), "http", "{host}");
        }
        for host in ["example.com", "localhost.example.com", "10.0.0.1:80", "notlocalhost", "[::2]:80"] {
            assert_eq!(default_scheme(host), "https", "{host}");
        }
    }
}
