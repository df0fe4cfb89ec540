//! What is refused at the door, because two parties could read it in two ways.
//!
//! 1. `CONNECT` and `TRACE`, which ask for no resource: 405.
//! 2. A target that names no resource, is too long, or whose path is not [canonical](crate::path).
//! 3. A host that is missing, doubled, malformed, or differs from the one in the target.
//! 4. Framing: `Transfer-Encoding` other than `chunked`, or beside `Content-Length`; a length that is no number.
//! 5. A header twice that means something only once.
//! 6. More bytes of headers than the limit, or a request that has passed too many gateways already.
//!
//! hyper refuses more before this sees it (a line that is folded, a space before a colon, two lengths that differ), and of a
//! chunked body with a length it drops the length, as RFC 9112 says, and closes the connection afterwards. Neither gets any
//! further: the upstream reads a head that is written anew.

use http::header::{CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING, VIA};
use http::{Method, Request, StatusCode, Uri, Version};

use crate::config::Limits;
use crate::hygiene::PSEUDONYM;
use crate::path::CanonicalPath;
use crate::problem::Problem;

/// The longest path with query, in bytes; what is priced goes into terms, and those into a header.
pub const MAX_TARGET_BYTES: usize = 8 * 1024;
/// The longest host with port, in bytes.
const MAX_HOST_BYTES: usize = 262;
/// The most of our own gateways that a request may pass.
const MAX_GATEWAYS: usize = 8;

/// Whether a request can be understood in one way only. Nothing of it is changed.
pub fn inspect<B>(request: &Request<B>, limits: &Limits) -> Result<(), Problem> {
    method(request.method())?;
    target(request.uri())?;
    headers(request.headers(), limits)?;
    host(request)?;
    framing(request.headers())?;
    expectation(request.headers())?;
    loops(request.headers())
}

fn method(method: &Method) -> Result<(), Problem> {
    if *method == Method::CONNECT || *method == Method::TRACE {
        let message = "expected a method that asks for a resource; CONNECT and TRACE are not served here";
        return Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message));
    }
    Ok(())
}

fn target(uri: &Uri) -> Result<(), Problem> {
    let length = uri.path_and_query().map_or(0, |target| target.as_str().len());
    if length > MAX_TARGET_BYTES {
        let message = format!("expected a path and query of at most {MAX_TARGET_BYTES} bytes, got {length}; shorten the query");
        return Err(Problem::new(StatusCode::URI_TOO_LONG, "url_too_long", message));
    }
    if uri.scheme_str().is_some_and(|scheme| scheme != "http" && scheme != "https") {
        return Err(Problem::bad_request("invalid_scheme", "the target: expected http or https"));
    }
    CanonicalPath::parse(uri.path()).map_err(|error| Problem::bad_request(error.code(), error.to_string()))?;
    Ok(())
}

/// The size of all headers, and those that came twice.
fn headers(headers: &HeaderMap, limits: &Limits) -> Result<(), Problem> {
    let mut seen = 0_u32;
    let mut bytes = 0_usize;
    for (name, value) in headers {
        bytes = bytes.saturating_add(name.as_str().len()).saturating_add(value.len());
        let Some(bit) = single(name) else { continue };
        if seen & bit != 0 {
            let message = format!("{name}: expected the header once, got it several times");
            return Err(Problem::bad_request("duplicate_header", message));
        }
        seen |= bit;
    }
    if bytes > limits.max_header_bytes {
        let max = limits.max_header_bytes;
        let message = format!("expected headers of at most {max} bytes, got {bytes}; send fewer or shorter ones");
        return Err(Problem::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large", message));
    }
    Ok(())
}

/// A bit of its own for each header that means something only once.
fn single(name: &HeaderName) -> Option<u32> {
    let index = match name.as_str() {
        "host" => 0,
        "content-length" => 1,
        "content-type" => 2,
        "transfer-encoding" => 3,
        "authorization" => 4,
        "proxy-authorization" => 5,
        "expect" => 6,
        "range" => 7,
        "if-range" => 8,
        "upgrade" => 9,
        "payment-signature" => 10,
        "x-payment" => 11,
        "sign-in-with-x" => 12,
        "origin" => 13,
        "sec-websocket-key" => 14,
        "sec-websocket-version" => 15,
        "http2-settings" => 16,
        "idempotency-key" => 17,
        _ => return None,
    };
    Some(1 << index)
}

/// One host, well formed, and the same wherever it is named.
fn host<B>(request: &Request<B>) -> Result<(), Problem> {
    let bad = |message: &'static str| Err(Problem::bad_request("invalid_host", message));
    let header = request.headers().get(HOST).map(HeaderValue::as_bytes);
    let authority = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    for host in [header, authority].into_iter().flatten() {
        let fits = (1..=MAX_HOST_BYTES).contains(&host.len());
        if !fits || !host.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~:[]".contains(byte)) {
            return bad("expected a host name and perhaps a port, without a user");
        }
    }
    match (header, authority) {
        (Some(header), Some(authority)) if !header.eq_ignore_ascii_case(authority) => {
            bad("Host: expected the host that the target names, got another one")
        }
        (None, None) if request.version() > Version::HTTP_10 => bad("Host: expected one header with a host name, got none"),
        _ => Ok(()),
    }
}

fn framing(headers: &HeaderMap) -> Result<(), Problem> {
    let bad = |message: &'static str| Err(Problem::bad_request("invalid_framing", message));
    let length = headers.get(CONTENT_LENGTH).map(HeaderValue::as_bytes);
    let encoding = headers.get(TRANSFER_ENCODING).map(HeaderValue::as_bytes);
    if length.is_some() && encoding.is_some() {
        return bad("expected either Content-Length or Transfer-Encoding, got both");
    }
    if encoding.is_some_and(|encoding| !encoding.eq_ignore_ascii_case(b"chunked")) {
        return bad("Transfer-Encoding: expected chunked, alone; compress with Content-Encoding");
    }
    if length.is_some_and(|length| length.is_empty() || !length.iter().all(u8::is_ascii_digit)) {
        return bad("Content-Length: expected one decimal number");
    }
    Ok(())
}

fn expectation(headers: &HeaderMap) -> Result<(), Problem> {
    match headers.get(EXPECT) {
        Some(value) if !value.as_bytes().eq_ignore_ascii_case(b"100-continue") => {
            let message = "Expect: expected 100-continue, or no such header";
            Err(Problem::new(StatusCode::EXPECTATION_FAILED, "expectation_failed", message))
        }
        _ => Ok(()),
    }
}

fn loops(headers: &HeaderMap) -> Result<(), Problem> {
    let hops = headers.get_all(VIA).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let is_ours = |hop: &&[u8]| hop.trim_ascii().rsplit(|byte| *byte == b' ').next() == Some(PSEUDONYM.as_bytes());
    if hops.filter(is_ours).count() >= MAX_GATEWAYS {
        let message = "the request has come through this gateway again and again; its upstream is the gateway itself";
        return Err(Problem::new(StatusCode::LOOP_DETECTED, "loop_detected", message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::header::{AUTHORIZATION, CONTENT_TYPE, IF_RANGE, RANGE, UPGRADE};

    use super::*;

    fn refusal(request: http::request::Builder) -> Option<(u16, &'static str)> {
        let request = request.body(()).unwrap();
        inspect(&request, &Limits::default()).err().map(|problem| (problem.status().as_u16(), problem.error()))
    }

    fn get(target: &str) -> http::request::Builder {
        Request::get(target).header(HOST, "shop.example")
    }

    #[test]
    fn plain_requests_pass() {
        for target in ["/", "/a?b=%2F../c;d", "http://shop.example/a", "http://SHOP.example/a"] {
            assert_eq!(refusal(get(target)), None, "{target}");
        }
        assert_eq!(refusal(Request::get("/").version(Version::HTTP_10)), None);
        assert_eq!(refusal(Request::get("https://shop.example/").version(Version::HTTP_2)), None);
        assert_eq!(refusal(get("/").header("cookie", "a=b").header("cookie", "c=d")), None);
        assert_eq!(refusal(Request::builder().method("PROPFIND").uri("/").header(HOST, "[::1]:80")), None);
    }

    #[test]
    fn hosts_that_differ_or_are_none_are_refused() {
        let bad = Some((400, "invalid_host"));
        assert_eq!(refusal(Request::get("/")), bad);
        assert_eq!(refusal(get("http://other.example/")), bad);
        assert_eq!(refusal(get("http://user@shop.example/")), bad);
        for host in ["", "a b", "a/b", "user@a", "a,b", "a\"b", &"a".repeat(300)] {
            assert_eq!(refusal(Request::get("/").header(HOST, host)), bad, "{host}");
        }
    }

    #[test]
    fn what_means_something_once_may_not_come_twice() {
        for name in ["host", "content-type", "authorization", "range", "payment-signature", "x-payment", "origin"] {
            let request = get("/").header(name, "a").header(name, "a");
            assert_eq!(refusal(request), Some((400, "duplicate_header")), "{name}");
        }
    }

    #[test]
    fn every_listed_header_has_a_bit_of_its_own() {
        let names = [
            HOST,
            CONTENT_LENGTH,
            CONTENT_TYPE,
            TRANSFER_ENCODING,
            AUTHORIZATION,
            EXPECT,
            RANGE,
            IF_RANGE,
            UPGRADE,
            HeaderName::from_static(farthing_core::header::PAYMENT_SIGNATURE),
            HeaderName::from_static(farthing_core::header::X_PAYMENT),
            HeaderName::from_static(farthing_core::header::SIGN_IN_WITH_X),
        ];
        let bits = names.iter().map(|name| single(name).unwrap()).fold(0, |bits: u32, bit| {
            assert_eq!(bits & bit, 0);
            bits | bit
        });
        assert_eq!(bits.count_ones() as usize, names.len());
    }

    #[test]
    fn odd_framing_is_refused() {
        let bad = Some((400, "invalid_framing"));
        assert_eq!(refusal(get("/").header("content-length", "1").header("transfer-encoding", "chunked")), bad);
        for encoding in ["gzip, chunked", "identity", "xchunked", "chunked, chunked", ""] {
            assert_eq!(refusal(get("/").header("transfer-encoding", encoding)), bad, "{encoding}");
        }
        for length in ["", "+1", "-1", "1, 1", "0x1", "1 "] {
            assert_eq!(refusal(get("/").header("content-length", length)), bad, "{length}");
        }
    }

    #[test]
    fn other_targets_and_methods_are_refused() {
        for method in ["CONNECT", "TRACE"] {
            assert_eq!(refusal(get("/").method(method)), Some((405, "method_not_allowed")));
        }
        assert_eq!(refusal(get("*").method("OPTIONS")), Some((400, "path_not_absolute")));
        assert_eq!(refusal(get("/a/../b")), Some((400, "path_dot_segment")));
        assert_eq!(refusal(get(&format!("/?{}", "a".repeat(MAX_TARGET_BYTES)))), Some((414, "url_too_long")));
        assert_eq!(refusal(get("/").header("expect", "the-moon")), Some((417, "expectation_failed")));
        assert_eq!(refusal(get("/").header("x-long", "a".repeat(100_000))), Some((431, "headers_too_large")));
    }

    #[test]
    fn a_gateway_in_front_of_itself_ends() {
        assert_eq!(refusal(get("/").header("via", "1.1 farthing, 1.1 farthing")), None);
        let endless = ["1.1 farthing"; MAX_GATEWAYS].join(", ");
        assert_eq!(refusal(get("/").header("via", endless)), Some((508, "loop_detected")));
    }
}
