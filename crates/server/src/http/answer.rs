//! Answers that let nobody in, or nothing out.

use std::sync::{Arc, RwLock};

use bytes::Bytes;
use farthing_core::header;
use farthing_core::reason::Refusal;
use farthing_core::wire::Version;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use serde_json::json;

use super::headers::{self, NOBODY_KEEPS};
use crate::route::{PAYMENT_REQUIRED, Route};

/// When a client whose payment could not be checked or settled should come back, in seconds.
const RETRY_AFTER_SECONDS: &str = "5";

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The challenges of one route.
///
/// A first answer depends on nothing but the URL, so the latest one is kept: most priced routes have one URL, and
/// whoever asks without a payment should cost next to nothing.
pub(super) struct Challenges {
    route: Route,
    latest: RwLock<Option<Arc<Challenge>>>,
}

struct Challenge {
    url: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Challenges {
    pub(super) fn new(route: Route) -> Self {
        Self { route, latest: RwLock::new(None) }
    }

    pub(super) const fn route(&self) -> &Route {
        &self.route
    }

    /// The answer to somebody who has not paid.
    pub(super) fn first(&self, url: &str) -> Response<Bytes> {
        // Nobody ever waits here: when the lock is taken, or was poisoned, the answer is simply written again.
        if let Some(kept) = self.latest.try_read().ok().and_then(|kept| kept.as_ref().filter(|kept| kept.url == url).cloned()) {
            return kept.answer();
        }
        let body = self.route.terms(Version::V1, url, PAYMENT_REQUIRED).unwrap_or_else(|| "{}".to_owned());
        let challenge = self.challenge(url, PAYMENT_REQUIRED, body);
        let answer = challenge.answer();
        if let Ok(mut latest) = self.latest.try_write() {
            *latest = Some(Arc::new(challenge));
        }
        answer
    }

    /// The answer to somebody whose payment will not do.
    pub(super) fn again(&self, url: &str, refusal: &Refusal) -> Response<Bytes> {
        let error = refusal.reason.as_str();
        let body = match self.route.terms(Version::V1, url, error) {
            Some(terms) => {
                let message = serde_json::Value::from(refusal.message.as_str());
                format!("{},\"message\":{message}}}", terms.strip_suffix('}').unwrap_or(&terms))
            }
            None => json!({"error": error, "message": refusal.message}).to_string(),
        };
        self.challenge(url, error, body).answer()
    }

    fn challenge(&self, url: &str, error: &str, body: String) -> Challenge {
        let terms = self.route.terms(Version::V2, url, error).unwrap_or_default();
        let mut headers = HeaderMap::new();
        headers::mark(&mut headers, NOBODY_KEEPS);
        headers.insert(CONTENT_TYPE, JSON);
        headers.insert(headers::PAYMENT_REQUIRED, headers::value(header::encode_bytes(terms)));
        Challenge { url: url.to_owned(), headers, body: body.into() }
    }
}

impl Challenge {
    fn answer(&self) -> Response<Bytes> {
        let mut response = Response::new(self.body.clone());
        *response.status_mut() = StatusCode::PAYMENT_REQUIRED;
        response.headers_mut().clone_from(&self.headers);
        response
    }
}

/// An answer that is neither what was asked for nor a challenge.
pub(super) fn problem(status: StatusCode, error: &str, message: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(json!({"error": error, "message": message}).to_string()));
    *response.status_mut() = status;
    headers::mark(response.headers_mut(), NOBODY_KEEPS);
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    if status == StatusCode::SERVICE_UNAVAILABLE || status == StatusCode::CONFLICT {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
    }
    response
}
