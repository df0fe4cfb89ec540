//! Who may ask: `Authorization: Bearer` against the configured callers, and what is left of their quotas.

use axum::response::{IntoResponse, Response};
use farthing_core::reason::{Reason, Refusal};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tracing::info;

use crate::callers::Asked;
use crate::error::OverQuota;
use crate::local::Local;

/// The caller's name; none where callers have no names.
pub(super) fn caller<'a>(facilitator: &'a Local, headers: &HeaderMap) -> Result<Option<&'a str>, Refusal> {
    let Some(callers) = facilitator.callers() else { return Ok(None) };
    let refused = |got: &str| {
        info!(got, "a caller without a known key was turned away");
        Err(Refusal::mismatch(
            Reason::Unauthorized,
            "Authorization",
            "\"Bearer\" and the API key that the operator of this facilitator gave you",
            got,
        ))
    };
    let Some(shown) = headers.get(header::AUTHORIZATION) else { return refused("nothing") };
    match bearer(shown) {
        None => refused("another form of authorization"),
        Some(key) => match callers.with_key(key) {
            Some(name) => Ok(Some(name)),
            None => refused("a key that is not known"),
        },
    }
}

/// Counts a request against its caller's minute.
pub(super) fn ask(facilitator: &Local, caller: Option<&str>, asked: Asked) -> Result<(), OverQuota> {
    match (facilitator.callers(), caller) {
        (Some(callers), Some(caller)) => callers.ask(caller, asked),
        _ => Ok(()),
    }
}

pub(super) fn over_quota(quota: &OverQuota) -> Refusal {
    Refusal::new(Reason::QuotaExceeded, format!("{quota}; nothing was sent for this request"))
}

pub(super) fn unauthorized(answer: impl IntoResponse) -> Response {
    let challenge = [(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))];
    (StatusCode::UNAUTHORIZED, challenge, answer).into_response()
}

pub(super) fn too_many(quota: &OverQuota, answer: impl IntoResponse) -> Response {
    info!(caller = quota.caller, limit = quota.limit, what = quota.what, "a caller has used up its quota");
    let retry_after = [(header::RETRY_AFTER, HeaderValue::from(quota.retry_after_seconds))];
    (StatusCode::TOO_MANY_REQUESTS, retry_after, answer).into_response()
}

/// The key of `Bearer KEY` (RFC 6750 §2.1; the scheme's letter case is free, RFC 9110 §11.1).
fn bearer(value: &HeaderValue) -> Option<&str> {
    let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}
