//! The headers of requests and answers on a priced route.

use farthing_core::header;
use farthing_core::wire::{SettleResponse, Version};
use http::header::{ACCESS_CONTROL_EXPOSE_HEADERS, CACHE_CONTROL, EXPIRES, HeaderMap, HeaderName, HeaderValue, VARY};

pub(super) const PAYMENT_REQUIRED: HeaderName = HeaderName::from_static(header::PAYMENT_REQUIRED);
pub(super) const PAYMENT_SIGNATURE: HeaderName = HeaderName::from_static(header::PAYMENT_SIGNATURE);
pub(super) const X_PAYMENT: HeaderName = HeaderName::from_static(header::X_PAYMENT);
pub(super) const SIGN_IN: HeaderName = HeaderName::from_static(header::SIGN_IN_WITH_X);
const PAYMENT_RESPONSE: HeaderName = HeaderName::from_static(header::PAYMENT_RESPONSE);
const X_PAYMENT_RESPONSE: HeaderName = HeaderName::from_static(header::X_PAYMENT_RESPONSE);
/// By which a handler says what it charges; it goes no further.
pub(super) const SETTLEMENT_OVERRIDES: HeaderName = HeaderName::from_static("settlement-overrides");

/// What the protocol puts into headers; nobody else may, in either direction.
const PROTOCOL: [HeaderName; 7] =
    [PAYMENT_REQUIRED, PAYMENT_SIGNATURE, X_PAYMENT, SIGN_IN, PAYMENT_RESPONSE, X_PAYMENT_RESPONSE, SETTLEMENT_OVERRIDES];

/// Headers that make some cache ignore `Cache-Control`.
const CACHE_OVERRIDES: [HeaderName; 3] =
    [EXPIRES, HeaderName::from_static("surrogate-control"), HeaderName::from_static("x-accel-expires")];
/// How RFC 9213 names the headers by which one kind of cache is told to ignore `Cache-Control`.
const TARGETED_CACHE_CONTROL: &str = "cdn-cache-control";

/// Scripts of other origins may read the settlement and the terms.
const EXPOSED: &str = "PAYMENT-REQUIRED, PAYMENT-RESPONSE, X-PAYMENT-RESPONSE";
/// A cache that keeps an answer all the same must not give it to somebody who has not paid.
const VARIES_BY: &str = "PAYMENT-SIGNATURE, X-PAYMENT, SIGN-IN-WITH-X";

/// How many headers an answer of our own may have, so that they are given room once.
const NEW_HEADERS: usize = 7;

/// For everything that is said before the money has moved: nobody keeps it.
const NOBODY_KEEPS: HeaderValue = HeaderValue::from_static("no-store");
/// For what was paid for, and for what a payer alone was told.
pub(super) const PAYER_ALONE: HeaderValue = HeaderValue::from_static("private, no-store");

/// Removes the protocol's headers, which neither a handler nor a client may forge.
pub(super) fn strip(headers: &mut HeaderMap) {
    for name in &PROTOCOL {
        headers.remove(name);
    }
}

/// Whether a request brings a payment, of whatever kind.
pub(super) fn have_payment(headers: &HeaderMap) -> bool {
    headers.contains_key(PAYMENT_SIGNATURE) || headers.contains_key(X_PAYMENT)
}

/// Makes an answer of our own one of a priced route.
pub(super) fn mark_new(headers: &mut HeaderMap) {
    headers.reserve(NEW_HEADERS);
    headers.insert(CACHE_CONTROL, NOBODY_KEEPS);
    headers.insert(VARY, HeaderValue::from_static(VARIES_BY));
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
}

/// Makes the answer of a handler, which may have its own ideas, one of a priced route.
pub(super) fn mark(headers: &mut HeaderMap, cache_control: HeaderValue) {
    for name in &CACHE_OVERRIDES {
        headers.remove(name);
    }
    let targeted: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().ends_with(TARGETED_CACHE_CONTROL)).cloned().collect();
    for name in targeted {
        headers.remove(name);
    }
    headers.insert(CACHE_CONTROL, cache_control);
    add_to_list(headers, &VARY, VARIES_BY);
    add_to_list(headers, &ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
}

/// Tells a buyer of that version what became of the payment.
pub(super) fn tell_settlement(headers: &mut HeaderMap, response: &SettleResponse, version: Version) {
    let name = match version {
        Version::V1 => X_PAYMENT_RESPONSE,
        Version::V2 => PAYMENT_RESPONSE,
    };
    match header::encode_settlement(response, version) {
        Ok(text) => {
            headers.insert(name, value(text));
        }
        // The money has moved or it has not; failing the answer would change neither.
        Err(error) => tracing::error!(%error, "a settlement could not be written into its header"),
    }
}

/// A text without control characters, such as base64, as a header value.
pub(super) fn value(text: String) -> HeaderValue {
    HeaderValue::from_maybe_shared(bytes::Bytes::from(text)).unwrap_or_else(|error| {
        tracing::error!(%error, "a header value holds control characters and was left empty");
        HeaderValue::from_static("")
    })
}

/// Adds to a comma-separated header, in one line: there are caches that read only the first.
fn add_to_list(headers: &mut HeaderMap, name: &HeaderName, ours: &'static str) {
    let mut list: Vec<u8> = Vec::new();
    for value in headers.get_all(name) {
        list.extend_from_slice(value.as_bytes());
        list.extend_from_slice(b", ");
    }
    let merged = if list.is_empty() {
        HeaderValue::from_static(ours)
    } else {
        list.extend_from_slice(ours.as_bytes());
        HeaderValue::from_maybe_shared(bytes::Bytes::from(list)).unwrap_or(HeaderValue::from_static(ours))
    };
    headers.insert(name.clone(), merged);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_merged_into_one_line() {
        let mut headers = HeaderMap::new();
        headers.append(VARY, HeaderValue::from_static("Accept"));
        headers.append(VARY, HeaderValue::from_static("Origin"));
        mark(&mut headers, PAYER_ALONE);
        let vary: Vec<_> = headers.get_all(VARY).iter().collect();
        assert_eq!(vary, ["Accept, Origin, PAYMENT-SIGNATURE, X-PAYMENT, SIGN-IN-WITH-X"]);
        assert_eq!(headers[ACCESS_CONTROL_EXPOSE_HEADERS], EXPOSED);
    }

    #[test]
    fn no_cache_is_told_otherwise() {
        let mut headers = HeaderMap::new();
        for name in [
            "cache-control",
            "expires",
            "surrogate-control",
            "cdn-cache-control",
            "cloudflare-cdn-cache-control",
            "x-accel-expires",
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("public, max-age=3600"));
        }
        mark(&mut headers, PAYER_ALONE);
        let left: Vec<&str> =
            headers.iter().filter(|(_, value)| *value == "public, max-age=3600").map(|(n, _)| n.as_str()).collect();
        assert!(left.is_empty(), "{left:?}");
        assert_eq!(headers[CACHE_CONTROL], "private, no-store");
    }
}
