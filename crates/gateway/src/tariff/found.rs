//! What a request says at the place that its price depends on.
//!
//! What two servers could read in two ways has no price: a parameter or header twice, or in another spelling besides; a key twice
//! in one object of JSON, also in another letter case; a body that is compressed.

use std::borrow::Cow;

use axum::body::Bytes;
use farthing_core::json;
use farthing_server::quotes::{NoQuote, PriceRequest};
use http::StatusCode;
use http::header::{CONTENT_ENCODING, HeaderMap, HeaderName};
use serde_json::Value;
use url::form_urlencoded;

use super::source::{Pointer, Source};
use crate::pattern::fold;

/// What is there.
pub(super) enum Found {
    /// The whole body.
    Body(Bytes),
    /// A part of the body.
    Json(Value),
    /// A parameter or header.
    Text(String),
}

impl Source {
    /// Looks it up in a request.
    pub(super) fn find(&self, request: &PriceRequest) -> Result<Found, NoQuote> {
        match self {
            Self::Request(pointer) => self.in_body(pointer, request),
            Self::Query(name) => {
                let query = request.resource_url.split_once('?').map_or("", |(_, query)| query);
                let values =
                    form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == name.as_str() || is_alike(key, name));
                self.only(values.map(|(_, value)| Some(value)))
            }
            Self::Header(name) => {
                let values = request.headers.get_all(name).iter();
                self.only(values.map(|value| value.to_str().ok().map(Cow::Borrowed)))
            }
            // Never asked for: what is counted in an answer is no price of a request.
            Self::Response(_) => Err(self.refuse("something that a request says", "a part of its answer")),
        }
    }

    /// The headers that its value, or how it is read, depends on.
    pub(super) fn headers(&self) -> Vec<HeaderName> {
        match self {
            Self::Header(name) => vec![name.clone()],
            Self::Request(_) => vec![CONTENT_ENCODING],
            Self::Query(_) | Self::Response(_) => Vec::new(),
        }
    }

    /// The request can be understood, and has no price.
    pub(super) fn refuse(&self, expected: &str, got: &str) -> NoQuote {
        NoQuote::refused(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!("{self}: expected {expected}, got {got}; nothing was charged"),
        )
    }

    fn in_body(&self, pointer: &Pointer, request: &PriceRequest) -> Result<Found, NoQuote> {
        if is_encoded(&request.headers) {
            let message = "Content-Encoding: expected none, because the body is counted as it comes; nothing was charged";
            return Err(NoQuote::refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
        }
        let body = request.body.clone().unwrap_or_default();
        if pointer.is_whole() {
            return Ok(Found::Body(body));
        }
        let document = document(&body)?;
        if pointer.is_ambiguous(&document) {
            return Err(self.refuse("one key", "several that differ in their letter case only"));
        }
        let found = pointer.find(&document).cloned();
        found.map(Found::Json).ok_or_else(|| self.refuse("a value", "nothing there"))
    }

    fn only<'a>(&self, mut values: impl Iterator<Item = Option<Cow<'a, str>>>) -> Result<Found, NoQuote> {
        match (values.next(), values.next()) {
            (Some(Some(value)), None) => Ok(Found::Text(value.into_owned())),
            (Some(None), None) => Err(self.refuse("printable ASCII", "something else")),
            (None, _) => Err(self.refuse("one value", "none")),
            (Some(_), Some(_)) => Err(self.refuse("one value", "several")),
        }
    }
}

/// Whether some server takes one parameter for the other: `Pages`, `pages[]` or `pages.` for `pages`.
fn is_alike(key: &str, name: &str) -> bool {
    let plain = |text: &str| fold(text.split('[').next().unwrap_or_default().trim()).replace(['.', ' ', '-'], "_");
    !name.contains('[') && plain(key).trim_end_matches('_') == plain(name).trim_end_matches('_')
}

/// A body as JSON that everybody reads in the same way.
pub(super) fn document(body: &[u8]) -> Result<Value, NoQuote> {
    let bad =
        |why: &dyn std::fmt::Display| NoQuote::bad_request(format!("the body: expected JSON: {why}; nothing was charged"));
    let text = std::str::from_utf8(body).map_err(|_| bad(&"it is not UTF-8"))?;
    json::check(text).map_err(|error| bad(&error))?;
    serde_json::from_str(text).map_err(|error| bad(&error))
}

/// Whether a body is other than it seems.
pub(super) fn is_encoded(headers: &HeaderMap) -> bool {
    headers.get_all(CONTENT_ENCODING).iter().any(|coding| !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity"))
}
