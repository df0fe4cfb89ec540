//! What a request says: which resource it is for, and what it pays.

use std::borrow::Cow;

use axum::extract::OriginalUri;
use farthing_core::extension::sign_in_with_x::SignIn;
use farthing_core::header;
use farthing_core::reason::{Reason, Refusal};
use farthing_core::trace::{TRACEPARENT, TraceParent};
use farthing_core::wire::PaymentPayload;
use http::header::{ACCESS_CONTROL_REQUEST_METHOD, HOST, ORIGIN};
use http::{HeaderMap, Method, Request, StatusCode};

use super::headers::{PAYMENT_SIGNATURE, SIGN_IN, X_PAYMENT};
use crate::resource::default_scheme;

/// The longest URL of a priced resource, in bytes: it goes into the terms, and those into a header.
pub const MAX_URL_BYTES: usize = 8 * 1024;

/// The host where a request (such as one of HTTP/1.0, or one made in a test) names none.
const UNNAMED_HOST: &str = "localhost";
/// The longest host with port, in bytes.
const MAX_HOST_BYTES: usize = 262;

/// A request that cannot be understood, whether or not it pays.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadRequest {
    pub(super) status: StatusCode,
    pub(super) error: &'static str,
    pub(super) message: &'static str,
}

const BAD_HOST: BadRequest = BadRequest {
    status: StatusCode::BAD_REQUEST,
    error: "invalid_host",
    message: "Host: expected one header with a host name and perhaps a port",
};
const LONG_URL: BadRequest =
    BadRequest { status: StatusCode::URI_TOO_LONG, error: "url_too_long", message: "the URL is longer than 8 KiB" };

/// Among a request's extensions: it came over TLS, so that the URL of what it asks for begins with `https` whatever its host. Put
/// there by whoever listens; without it that is so for every host but this machine itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverTls;

/// The URL of the resource that is asked for: whole, even where a router has cut a prefix off the path.
pub(super) fn url_of<B>(request: &Request<B>, public_url: Option<&str>) -> Result<String, BadRequest> {
    let uri = request.extensions().get::<OriginalUri>().map_or_else(|| request.uri(), |original| &original.0);
    let target = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    // The form without slash occurs only in `OPTIONS *`, which names no resource of its own.
    let slash = if target.starts_with('/') { "" } else { "/" };
    let url = if let Some(base) = public_url {
        [base, slash, target].concat()
    } else {
        let authority = uri.authority().map(http::uri::Authority::as_str);
        let host = authority.map_or_else(|| host_header(request.headers()), Ok).and_then(canonical)?;
        let is_secure = request.extensions().get::<OverTls>().is_some();
        let scheme = if is_secure { "https" } else { default_scheme(&host) };
        [scheme, "://", &host, slash, target].concat()
    };
    if url.len() > MAX_URL_BYTES { Err(LONG_URL) } else { Ok(url) }
}

/// The payment that comes with a request, if any.
pub(super) fn payment_of(headers: &HeaderMap) -> Result<Option<PaymentPayload>, Refusal> {
    let mut current = headers.get_all(PAYMENT_SIGNATURE).iter();
    let mut old = headers.get_all(X_PAYMENT).iter();
    let refuse = |message: &str| Err(Refusal::new(Reason::InvalidPayload, message));
    let value = match (current.next(), old.next()) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => return refuse("PAYMENT-SIGNATURE and X-PAYMENT: expected one of them, got both"),
        (Some(value), None) | (None, Some(value)) => value,
    };
    if current.next().is_some() || old.next().is_some() {
        return refuse("payment header: expected one, got several");
    }
    if value.as_bytes().contains(&b',') {
        return refuse("payment header: expected one payment, got a list");
    }
    header::decode_payment(value.as_bytes()).map(Some)
}

/// The sign-in that comes with a request, if any.
pub(super) fn sign_in_of(headers: &HeaderMap) -> Option<Result<SignIn, Refusal>> {
    let mut values = headers.get_all(SIGN_IN).iter();
    let value = values.next()?;
    if values.next().is_some() {
        return Some(Err(Refusal::new(Reason::InvalidPayload, "sign-in header: expected one, got several")));
    }
    Some(header::decode_sign_in(value.as_bytes()))
}

/// The trace that a request belongs to; one that cannot be read, or several, are none.
pub(super) fn trace_of(headers: &HeaderMap) -> Option<TraceParent> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    value.to_str().ok()?.parse().ok()
}

/// Whether a browser asks if it may send a request, rather than sending it.
pub(super) fn is_preflight<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    request.method() == Method::OPTIONS && headers.contains_key(ORIGIN) && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

fn host_header(headers: &HeaderMap) -> Result<&str, BadRequest> {
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) => Ok(UNNAMED_HOST),
        (Some(host), None) => host.to_str().map_err(|_| BAD_HOST),
        (Some(_), Some(_)) => Err(BAD_HOST),
    }
}

fn canonical(host: &str) -> Result<Cow<'_, str>, BadRequest> {
    let fits = (1..=MAX_HOST_BYTES).contains(&host.len());
    if !fits || !host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~:[]".contains(&byte)) {
        return Err(BAD_HOST);
    }
    let has_upper_case = host.bytes().any(|byte| byte.is_ascii_uppercase());
    Ok(if has_upper_case { Cow::Owned(host.to_ascii_lowercase()) } else { Cow::Borrowed(host) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(uri: &str, hosts: &[&str], public_url: Option<&str>) -> Result<String, BadRequest> {
        let mut request = Request::get(uri);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        url_of(&request.body(()).unwrap(), public_url)
    }

    #[test]
    fn the_url_is_what_the_client_asked_for() {
        assert_eq!(url("/a?b=c", &["API.example.com"], None).unwrap(), "https://api.example.com/a?b=c");
        assert_eq!(url("/a", &["127.0.0.1:4020"], None).unwrap(), "http://127.0.0.1:4020/a");
        assert_eq!(url("http://h2.example/a", &["other.example"], None).unwrap(), "https://h2.example/a");
        assert_eq!(url("/", &[], None).unwrap(), "http://localhost/");
        assert_eq!(url("/a?", &["evil.example"], Some("https://shop.example/v1")).unwrap(), "https://shop.example/v1/a?");
    }

    #[test]
    fn what_was_asked_over_tls_is_there() {
        let request = |public_url| {
            let request = Request::get("/a").header(HOST, "127.0.0.1:4020").extension(OverTls).body(()).unwrap();
            url_of(&request, public_url).unwrap()
        };
        assert_eq!(request(None), "https://127.0.0.1:4020/a");
        assert_eq!(request(Some("http://shop.example")), "http://shop.example/a");
    }

    #[test]
    fn a_host_that_is_none_is_refused() {
        for bad in ["", "a/b", "a@b", "a b", "a\"b", "a?b", "a\\b", &"a".repeat(300)] {
            assert_eq!(url("/", &[bad], None), Err(BAD_HOST), "{bad}");
        }
        assert_eq!(url("/", &["a", "a"], None), Err(BAD_HOST));
    }

    #[test]
    fn one_readable_traceparent_names_the_trace() {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let trace = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(TRACEPARENT, value.parse().unwrap());
            }
            trace_of(&headers)
        };
        assert_eq!(trace(&[parent]), parent.parse().ok());
        assert!(trace(&[]).is_none() && trace(&["00-0-0-01"]).is_none() && trace(&[parent, parent]).is_none());
    }

    #[test]
    fn an_endless_url_is_refused() {
        let long = format!("/{}", "a".repeat(MAX_URL_BYTES));
        assert_eq!(url(&long, &[], None).unwrap_err().status, StatusCode::URI_TOO_LONG);
    }
}
