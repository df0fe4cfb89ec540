//! What goes no further, in either direction.
//!
//! From a client:
//! 1. what is meant for one connection only (RFC 9110, section 7.6.1), and what `Connection` names;
//! 2. payments, receipts and sign-ins: they were for the gateway;
//! 3. whatever makes some framework see another method or path than the one that was matched;
//! 4. `farthing-*`, by which the gateway itself speaks to the upstream;
//! 5. what it says of itself in `Forwarded`, `X-Forwarded-*` and the like, unless it is a trusted proxy;
//! 6. any of these with `_` for `-`: to a CGI or WSGI server they are the same.
//!
//! From an upstream: 1, the protocol's own headers, which only the gate may write, and `Alt-Svc`, which would lead clients
//! around the gateway. `Settlement-Overrides` stays: by it an upstream tells the gate what it charges, which takes it away. In
//! trailers: all of it.
//!
//! A method that a framework takes from a query or a form (`_method`) is part of the request itself and is not touched: where an
//! upstream does that, one route has to cover every method of the path.

use bytes::{BufMut, BytesMut};
use farthing_core::header;
use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, HeaderMap, HeaderName, HeaderValue, LOCATION, TE, TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::{Uri, Version};

use crate::config::UpstreamUrl;
use crate::forwarded;

/// The gateway's name in `Via`.
pub(crate) const PSEUDONYM: &str = "farthing";
/// By which a handler says what it charges; a client may not.
const SETTLEMENT_OVERRIDES: &str = "settlement-overrides";

/// Removes from a request what is not the client's to say. `is_trusted`: it comes from a proxy of the operator's.
pub fn cleanse_request(headers: &mut HeaderMap, is_trusted: bool) {
    remove_named(headers);
    remove_if(headers, |name| {
        if name.contains('_') {
            let name = name.replace('_', "-");
            return is_for_one_hop(&name) || is_forbidden(&name) || is_claim(&name) || is_framing(&name);
        }
        is_for_one_hop(name) || is_forbidden(name) || (!is_trusted && is_claim(name))
    });
    join_cookies(headers);
}

/// Removes from an answer what is not the upstream's to say.
pub fn cleanse_answer(headers: &mut HeaderMap) {
    if headers.contains_key(TRANSFER_ENCODING) {
        // A length beside a transfer coding counts for nothing, and will be wrong once the coding is undone.
        headers.remove(CONTENT_LENGTH);
    }
    remove_named(headers);
    remove_if(headers, |name| is_for_one_hop(name) || is_protocol(name) || is_payment(name) || name == "alt-svc");
}

/// Removes from the trailers of either side what could not have been among its headers, or changes what those said.
pub fn cleanse_trailers(headers: &mut HeaderMap) {
    remove_if(headers, |name| {
        let name = &*name.replace('_', "-");
        is_for_one_hop(name) || is_protocol(name) || is_forbidden(name) || is_claim(name) || is_framing(name)
    });
}

/// The protocol that a request asks to go on in, if it is one of `allowed`.
///
/// Others are ignored, as a server may: `h2c` among them, by which requests are carried past proxies.
#[must_use]
pub fn asked_upgrade<'a>(headers: &HeaderMap, version: Version, allowed: &'a [String]) -> Option<&'a str> {
    let asked = headers.get(UPGRADE).filter(|_| version == Version::HTTP_11)?;
    options(headers).any(|option| option.eq_ignore_ascii_case(b"upgrade")).then_some(())?;
    allowed.iter().find(|protocol| asked.as_bytes().eq_ignore_ascii_case(protocol.as_bytes())).map(String::as_str)
}

/// Whether a client says that it reads trailers.
pub(crate) fn reads_trailers(headers: &HeaderMap) -> bool {
    headers.contains_key(TE)
        && headers
            .get_all(TE)
            .iter()
            .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
            .any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

/// Adds the gateway to `Via`; `version` is what the message came in.
pub(crate) fn add_via(headers: &mut HeaderMap, version: Version) {
    let ours = match version {
        Version::HTTP_2 => "2.0 farthing",
        Version::HTTP_10 => "1.0 farthing",
        _ => "1.1 farthing",
    };
    let hops = [forwarded::list(headers, &VIA), Some(HeaderValue::from_static(ours))];
    if let Some(hops) = forwarded::joined(hops) {
        headers.insert(VIA, hops);
    }
}

/// Turns a redirect to the upstream's own address, which clients cannot reach and should not know, into one to the gateway.
pub(crate) fn redirect_here(headers: &mut HeaderMap, upstream: &UpstreamUrl) {
    let Some(location) = headers.get(LOCATION) else { return };
    let Some(uri) = location.to_str().ok().and_then(|location| location.parse::<Uri>().ok()) else { return };
    let is_theirs = uri.scheme() == Some(&upstream.scheme) && uri.authority() == Some(&upstream.authority);
    let is_here = uri.authority().is_none() && !upstream.prefix.is_empty();
    let (true, Some(target)) = (is_theirs || is_here, uri.path_and_query()) else { return };
    let Some(rest) = target.as_str().strip_prefix(upstream.prefix.as_str()) else { return };
    let slash = match rest.as_bytes() {
        // Two slashes would be the name of another host.
        [b'/', b'/', ..] => return,
        [b'/', ..] => "",
        [] | [b'?', ..] => "/",
        // A longer segment, of which the prefix is only the beginning.
        _ => return,
    };
    if let Ok(here) = HeaderValue::try_from([slash, rest].concat()) {
        headers.insert(LOCATION, here);
    }
}

/// Removes headers of these names, and what a CGI or WSGI server would take for them.
pub(crate) fn remove_lookalikes<'a, N: Iterator<Item = &'a HeaderName>>(headers: &mut HeaderMap, names: impl Fn() -> N) {
    remove_if(headers, |name| {
        let is_alike = |other: &HeaderName| {
            let (name, other) = (name.bytes(), other.as_str().bytes());
            let dashed = |byte| if byte == b'_' { b'-' } else { byte };
            name.map(dashed).eq(other.map(dashed))
        };
        names().any(is_alike)
    });
}

/// Whether the gateway itself writes that header, so that nobody may add it.
pub(crate) fn is_reserved(name: &HeaderName) -> bool {
    let name = name.as_str();
    is_for_one_hop(name) || is_protocol(name) || is_forbidden(name) || matches!(name, "host" | "content-length" | "via")
}

/// Removes what `Connection` names.
fn remove_named(headers: &mut HeaderMap) {
    let names: Vec<HeaderName> = options(headers)
        .filter(|option| {
            ![&b"keep-alive"[..], b"close", b"upgrade", b"te"].iter().any(|known| option.eq_ignore_ascii_case(known))
        })
        .filter_map(|option| HeaderName::from_bytes(option).ok())
        .collect();
    for name in names {
        headers.remove(name);
    }
}

fn options(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers.get_all(CONNECTION).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

fn remove_if(headers: &mut HeaderMap, goes: impl Fn(&str) -> bool) {
    let names: Vec<HeaderName> = headers.keys().filter(|name| goes(name.as_str())).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// HTTP/2 sends cookies one by one; HTTP/1.1 knows one header (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let mut text = BytesMut::new();
    for cookie in headers.get_all(COOKIE) {
        if !text.is_empty() {
            text.put_slice(b"; ");
        }
        text.put_slice(cookie.as_bytes());
    }
    if let Ok(cookies) = HeaderValue::from_maybe_shared(text.freeze()) {
        headers.insert(COOKIE, cookies);
    }
}

fn is_for_one_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "expect"
            | "http2-settings"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// What the protocol puts into answers.
fn is_protocol(name: &str) -> bool {
    matches!(name, header::PAYMENT_REQUIRED | header::PAYMENT_RESPONSE | header::X_PAYMENT_RESPONSE)
}

/// What no client may say to an upstream.
fn is_forbidden(name: &str) -> bool {
    is_protocol(name)
        || is_override(name)
        || name.starts_with("farthing-")
        || name.starts_with("x-farthing-")
        || is_payment(name)
        || name == SETTLEMENT_OVERRIDES
}

/// What the protocol puts into requests.
fn is_payment(name: &str) -> bool {
    matches!(name, header::PAYMENT_SIGNATURE | header::X_PAYMENT | header::SIGN_IN_WITH_X)
}

/// What makes some server see another request than the one that was matched, or skip its own checks.
fn is_override(name: &str) -> bool {
    matches!(
        name,
        "proxy"
            | "x-accel-mapping"
            | "x-forwarded-method"
            | "x-forwarded-path"
            | "x-forwarded-uri"
            | "x-host"
            | "x-http-host-override"
            | "x-http-method"
            | "x-http-method-override"
            | "x-method-override"
            | "x-middleware-subrequest"
            | "x-original-host"
            | "x-original-method"
            | "x-original-uri"
            | "x-original-url"
            | "x-rewrite-url"
            | "x-sendfile-type"
    )
}

/// What a proxy says of its client.
fn is_claim(name: &str) -> bool {
    name.starts_with("x-forwarded-")
        || matches!(
            name,
            "cf-connecting-ip"
                | "client-ip"
                | "fastly-client-ip"
                | "forwarded"
                | "front-end-https"
                | "true-client-ip"
                | "x-client-ip"
                | "x-cluster-client-ip"
                | "x-originating-ip"
                | "x-real-ip"
                | "x-remote-addr"
                | "x-remote-ip"
                | "x-scheme"
                | "x-url-scheme"
        )
}

/// What says where a message ends, whom it is for and who sent it.
fn is_framing(name: &str) -> bool {
    matches!(name, "authorization" | "content-encoding" | "content-length" | "content-type" | "cookie" | "host" | "set-cookie")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(names: &[&str]) -> HeaderMap {
        names.iter().map(|name| (name.parse::<HeaderName>().unwrap(), HeaderValue::from_static("a"))).collect()
    }

    fn left(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn nothing_that_is_not_the_clients_to_say_gets_through() {
        let mut request = headers(&[
            "accept",
            "authorization",
            "connection",
            "content-length",
            "farthing-payer",
            "forwarded",
            "payment-required",
            "payment-response",
            "payment-signature",
            "proxy",
            "settlement-overrides",
            "sign-in-with-x",
            "te",
            "transfer-encoding",
            "upgrade",
            "x-forwarded-for",
            "x-forwarded-proto",
            "x-http-method-override",
            "x-middleware-subrequest",
            "x-original-url",
            "x-payment",
            "x-payment-response",
            "x-real-ip",
            "x-rewrite-url",
        ]);
        cleanse_request(&mut request, false);
        assert_eq!(left(&request), ["accept", "authorization", "content-length"]);
    }

    #[test]
    fn underscores_do_not_help() {
        let mut request =
            headers(&["api_key", "x_forwarded_for", "payment_signature", "content_length", "x_http_method_override"]);
        cleanse_request(&mut request, true);
        assert_eq!(left(&request), ["api_key"]);
    }

    #[test]
    fn nobody_else_sets_a_header_that_the_seller_adds() {
        let mut request = headers(&["x-api-key", "x_api_key", "x-api_key", "x-api-keys"]);
        let added = [HeaderName::from_static("x-api-key")];
        remove_lookalikes(&mut request, || added.iter());
        assert_eq!(left(&request), ["x-api-keys"]);
    }

    #[test]
    fn a_trusted_proxy_may_speak_of_its_client_and_of_nothing_else() {
        let mut request = headers(&["x-forwarded-for", "x-real-ip", "x-forwarded-uri", "x-original-url", "x-payment"]);
        cleanse_request(&mut request, true);
        assert_eq!(left(&request), ["x-forwarded-for", "x-real-ip"]);
    }

    #[test]
    fn what_connection_names_stays_on_the_connection() {
        let mut request = headers(&["x-secret", "accept"]);
        request.append(CONNECTION, HeaderValue::from_static("keep-alive, X-Secret"));
        request.append(CONNECTION, HeaderValue::from_static("close"));
        let mut answer = request.clone();
        cleanse_request(&mut request, false);
        cleanse_answer(&mut answer);
        assert_eq!((left(&request), left(&answer)), (vec!["accept"], vec!["accept"]));
    }

    #[test]
    fn an_upstream_cannot_speak_for_the_gate_nor_lead_around_it() {
        let mut answer = headers(&[
            "alt-svc",
            "content-type",
            "x-payment",
            "payment-required",
            "payment-response",
            "x-payment-response",
            "server",
        ]);
        cleanse_answer(&mut answer);
        assert_eq!(left(&answer), ["content-type", "server"]);
        let mut chunked = headers(&["content-length", "transfer-encoding"]);
        cleanse_answer(&mut chunked);
        assert!(chunked.is_empty());
    }

    #[test]
    fn trailers_change_nothing_that_headers_said() {
        let mut trailers =
            headers(&["grpc-status", "content-length", "payment-response", "x-payment", "host", "x_forwarded_for"]);
        cleanse_trailers(&mut trailers);
        assert_eq!(left(&trailers), ["grpc-status"]);
    }

    #[test]
    fn cookies_become_one_header() {
        let mut request = HeaderMap::new();
        request.append(COOKIE, HeaderValue::from_static("a=b"));
        request.append(COOKIE, HeaderValue::from_static("c=d"));
        cleanse_request(&mut request, false);
        assert_eq!(request.get_all(COOKIE).iter().collect::<Vec<_>>(), ["a=b; c=d"]);
    }

    #[test]
    fn only_allowed_upgrades_are_asked_on() {
        let allowed = vec!["websocket".to_owned()];
        let asked = |protocol: &'static str, connection: &'static str, version| {
            let mut headers = HeaderMap::new();
            headers.insert(UPGRADE, HeaderValue::from_static(protocol));
            headers.insert(CONNECTION, HeaderValue::from_static(connection));
            asked_upgrade(&headers, version, &allowed).is_some()
        };
        assert!(asked("WebSocket", "keep-alive, Upgrade", Version::HTTP_11));
        assert!(!asked("h2c", "upgrade, http2-settings", Version::HTTP_11));
        assert!(!asked("websocket, h2c", "upgrade", Version::HTTP_11));
        assert!(!asked("websocket", "keep-alive", Version::HTTP_11));
        assert!(!asked("websocket", "upgrade", Version::HTTP_10));
    }

    #[test]
    fn redirects_to_the_upstream_lead_to_the_gateway() {
        let upstream: UpstreamUrl = "http://127.0.0.1:3000/api".parse().unwrap();
        for (location, expected) in [
            ("http://127.0.0.1:3000/api/a?b=c", "/a?b=c"),
            ("http://127.0.0.1:3000/api", "/"),
            ("http://127.0.0.1:3000/elsewhere", "http://127.0.0.1:3000/elsewhere"),
            ("https://other.example/api/a", "https://other.example/api/a"),
            ("http://127.0.0.1:3000/apis", "http://127.0.0.1:3000/apis"),
            ("http://127.0.0.1:3000/api//evil.example", "http://127.0.0.1:3000/api//evil.example"),
            ("/api/a", "/a"),
            ("/a", "/a"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(LOCATION, HeaderValue::from_static(location));
            redirect_here(&mut headers, &upstream);
            assert_eq!(headers[LOCATION], expected);
        }
    }
}
