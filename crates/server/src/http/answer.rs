//! Answers that let nobody in, or nothing out.

use bytes::Bytes;
use farthing_core::header;
use farthing_core::reason::{Reason, Refusal};
use farthing_core::wire::Version;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use serde_json::json;

use super::headers;
use crate::extensions::Fresh;
use crate::hooks::TurnedAway;
use crate::route::Route;

/// What is said to somebody who has not paid yet, as the official SDKs say it.
const PAYMENT_REQUIRED: &str = "Payment required";
/// When a client whose payment could not be checked or settled should come back, in seconds.
const RETRY_AFTER_SECONDS: &str = "5";

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The answer to somebody who has not paid.
pub(super) fn first_challenge(route: &Route, url: &str, fresh: &Fresh) -> Response<Bytes> {
    let body = route.render(Version::V1, url, PAYMENT_REQUIRED, fresh).unwrap_or_else(|| "{}".to_owned());
    with_terms(route, url, PAYMENT_REQUIRED, fresh, body)
}

/// The answer to somebody whose payment, or whose sign-in, will not do.
pub(super) fn challenge(route: &Route, url: &str, fresh: &Fresh, refusal: &Refusal) -> Response<Bytes> {
    let error = refusal.reason.as_str();
    let body = match route.render(Version::V1, url, error, fresh) {
        Some(terms) => {
            let message = serde_json::Value::from(refusal.message.as_str());
            format!("{},\"message\":{message}}}", terms.strip_suffix('}').unwrap_or(&terms))
        }
        None => json!({"error": error, "message": refusal.message}).to_string(),
    };
    let mut response = with_terms(route, url, error, fresh, body);
    if refusal.reason == Reason::Permit2AllowanceRequired {
        // The payment is good once its payer has allowed Permit2 to move the token.
        *response.status_mut() = StatusCode::PRECONDITION_FAILED;
    }
    response
}

/// An answer that is neither what was asked for nor a challenge.
pub(super) fn problem(status: StatusCode, error: &str, message: &str) -> Response<Bytes> {
    let mut response = answer(status, json!({"error": error, "message": message}).to_string());
    if status == StatusCode::SERVICE_UNAVAILABLE || status == StatusCode::CONFLICT {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
    }
    response
}

/// The answer to somebody whom a hook does not let in.
pub(super) fn turned_away(away: &TurnedAway) -> Response<Bytes> {
    let mut response = answer(away.status, json!({"error": away.error, "message": away.message}).to_string());
    if let Some(seconds) = away.retry_after_seconds {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn with_terms(route: &Route, url: &str, error: &str, fresh: &Fresh, body: String) -> Response<Bytes> {
    let terms = route.render(Version::V2, url, error, fresh).unwrap_or_default();
    let mut response = answer(StatusCode::PAYMENT_REQUIRED, body);
    response.headers_mut().insert(headers::PAYMENT_REQUIRED, headers::value(header::encode_bytes(terms)));
    response
}

fn answer(status: StatusCode, body: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    headers::mark_new(response.headers_mut());
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}
