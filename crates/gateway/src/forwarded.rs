//! Who the client is: what the gateway knows of the connection, and what it says of it to the upstream.
//!
//! What a client says of itself in `X-Forwarded-*`, `Forwarded`, `X-Real-IP` and the like is dropped, unless the connection
//! comes from a proxy that the operator trusts; then what the gateway knows is added to it.

use std::net::IpAddr;

use bytes::{BufMut, BytesMut};
use http::header::{FORWARDED, HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;
use serde::{Deserialize, Deserializer};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The other end of a connection. Whoever listens puts it into each request's extensions; it is made once a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    address: IpAddr,
    is_secure: bool,
    /// The address, as it goes into `X-Forwarded-For`.
    text: HeaderValue,
}

impl Peer {
    /// A connection from that address, with TLS or without.
    #[must_use]
    pub fn new(address: IpAddr, is_secure: bool) -> Self {
        let address = address.to_canonical();
        // An address holds no character that a header could not.
        let text = HeaderValue::from_str(&address.to_string()).unwrap_or(HeaderValue::from_static("unknown"));
        Self { address, is_secure, text }
    }

    /// Where the connection comes from: the client, or a proxy in front of the gateway.
    #[must_use]
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// Whether the connection has TLS.
    #[must_use]
    pub const fn is_secure(&self) -> bool {
        self.is_secure
    }

    /// The client itself: the nearest address that no trusted proxy vouches for being a proxy.
    #[must_use]
    pub fn client(&self, headers: &HeaderMap, trusted: &TrustedProxies) -> IpAddr {
        let mut client = self.address;
        let lines = headers.get_all(X_FORWARDED_FOR);
        let mut hops = lines.iter().rev().flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
        while trusted.contain(client) {
            let Some(hop) = hops.next() else { break };
            let Some(address) = std::str::from_utf8(hop).ok().and_then(|hop| hop.trim().parse::<IpAddr>().ok()) else { break };
            client = address.to_canonical();
        }
        client
    }

    const fn scheme(&self) -> &'static str {
        if self.is_secure { "https" } else { "http" }
    }
}

/// Addresses and networks of proxies in front of the gateway; in a file `["10.0.0.0/8", "::1"]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// These networks.
    #[must_use]
    pub const fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Whether that address is one of theirs.
    #[must_use]
    pub fn contain(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

impl<'de> Deserialize<'de> for TrustedProxies {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        let parse = |text: String| {
            text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).map_err(|_| {
                serde::de::Error::custom(format!("expected an address or a network such as 10.0.0.0/8, got {text:?}"))
            })
        };
        texts.into_iter().map(parse).collect::<Result<_, _>>().map(Self)
    }
}

/// Says to the upstream who asks for what; `host` is the name that the client asked for.
pub(crate) fn tell(headers: &mut HeaderMap, peer: Option<&Peer>, host: Option<HeaderValue>) {
    let for_all = [list(headers, &X_FORWARDED_FOR), peer.map(|peer| peer.text.clone())];
    if let Some(hops) = joined(for_all) {
        headers.insert(X_FORWARDED_FOR, hops);
    }
    let forwarded = [list(headers, &FORWARDED), Some(element(peer, host.as_ref()))];
    if let Some(hops) = joined(forwarded) {
        headers.insert(FORWARDED, hops);
    }
    // What is still there was said by a trusted proxy, which knows what the client asked it.
    if let Some(host) = host
        && !headers.contains_key(X_FORWARDED_HOST)
    {
        headers.insert(X_FORWARDED_HOST, host);
    }
    if let Some(peer) = peer
        && !headers.contains_key(X_FORWARDED_PROTO)
    {
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(peer.scheme()));
    }
}

/// One element of `Forwarded` (RFC 7239).
fn element(peer: Option<&Peer>, host: Option<&HeaderValue>) -> HeaderValue {
    let mut text = BytesMut::with_capacity(96);
    match peer {
        Some(peer) if peer.address.is_ipv6() => {
            text.put_slice(b"for=\"[");
            text.put_slice(peer.text.as_bytes());
            text.put_slice(b"]\"");
        }
        Some(peer) => {
            text.put_slice(b"for=");
            text.put_slice(peer.text.as_bytes());
        }
        None => text.put_slice(b"for=unknown"),
    }
    // A host that was let in holds neither quotes nor backslashes.
    if let Some(host) = host {
        text.put_slice(b";host=\"");
        text.put_slice(host.as_bytes());
        text.put_slice(b"\"");
    }
    if let Some(peer) = peer {
        text.put_slice(b";proto=");
        text.put_slice(peer.scheme().as_bytes());
    }
    HeaderValue::from_maybe_shared(text.freeze()).unwrap_or(HeaderValue::from_static("for=unknown"))
}

/// All lines of a list header as one, if there are any.
pub(crate) fn list(headers: &HeaderMap, name: &HeaderName) -> Option<HeaderValue> {
    let mut lines = headers.get_all(name).iter();
    let first = lines.next()?;
    let mut lines = lines.peekable();
    if lines.peek().is_none() {
        return Some(first.clone());
    }
    let mut text = BytesMut::from(first.as_bytes());
    for line in lines {
        text.put_slice(b", ");
        text.put_slice(line.as_bytes());
    }
    HeaderValue::from_maybe_shared(text.freeze()).ok()
}

/// Two lists as one.
pub(crate) fn joined(lists: [Option<HeaderValue>; 2]) -> Option<HeaderValue> {
    match lists {
        [Some(first), Some(second)] => {
            let mut text = BytesMut::with_capacity(first.len().saturating_add(second.len()).saturating_add(2));
            text.put_slice(first.as_bytes());
            text.put_slice(b", ");
            text.put_slice(second.as_bytes());
            // Both were header values, so together they are one.
            HeaderValue::from_maybe_shared(text.freeze()).ok()
        }
        [Some(list), None] | [None, Some(list)] => Some(list),
        [None, None] => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(text: &str) -> Peer {
        Peer::new(text.parse().unwrap(), false)
    }

    #[test]
    fn the_client_is_the_nearest_address_that_nobody_trusts() {
        let trusted = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap()]);
        let client = |peer_text: &str, lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(X_FORWARDED_FOR, line.parse().unwrap());
            }
            peer(peer_text).client(&headers, &trusted).to_string()
        };
        assert_eq!(client("192.0.2.1", &["1.1.1.1"]), "192.0.2.1");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["6.6.6.6, 192.0.2.7"]), "192.0.2.7");
        assert_eq!(client("::ffff:10.0.0.1", &["6.6.6.6", "192.0.2.7 , 10.0.0.2"]), "192.0.2.7");
        assert_eq!(client("10.0.0.1", &["192.0.2.7, nonsense"]), "10.0.0.1");
    }

    #[test]
    fn networks_and_single_addresses_are_read() {
        #[derive(Debug, Deserialize)]
        struct File {
            trusted: TrustedProxies,
        }
        let read = |text: &str| toml::from_str::<File>(text).map(|file| file.trusted);
        let trusted = read("trusted = ['10.0.0.0/8', '::1']").unwrap();
        assert!(trusted.contain("10.9.9.9".parse().unwrap()) && trusted.contain("::1".parse().unwrap()));
        assert!(!trusted.contain("11.0.0.1".parse().unwrap()));
        assert!(read("trusted = ['ten']").unwrap_err().to_string().contains("10.0.0.0/8"));
    }

    #[test]
    fn the_lines_of_a_list_become_one() {
        let mut headers = HeaderMap::new();
        assert_eq!(list(&headers, &FORWARDED), None);
        for line in ["for=a", "for=b, for=c", "for=d"] {
            headers.append(FORWARDED, HeaderValue::from_static(line));
        }
        assert_eq!(list(&headers, &FORWARDED).unwrap(), "for=a, for=b, for=c, for=d");
    }

    #[test]
    fn what_is_known_of_the_connection_is_said() {
        let mut headers = HeaderMap::new();
        tell(&mut headers, Some(&peer("2001:db8::1")), Some(HeaderValue::from_static("shop.example")));
        assert_eq!(headers[X_FORWARDED_FOR], "2001:db8::1");
        assert_eq!(headers[X_FORWARDED_HOST], "shop.example");
        assert_eq!(headers[X_FORWARDED_PROTO], "http");
        assert_eq!(headers[FORWARDED], "for=\"[2001:db8::1]\";host=\"shop.example\";proto=http");
    }
}
