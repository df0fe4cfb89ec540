//! Answers that the gateway makes itself: one JSON form for everything that goes wrong.

use std::borrow::Cow;

use axum::body::Body;
use http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{Response, StatusCode, Version};
use serde_json::json;

/// Methods that a path may be asked for by, as `Allow` says it.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");

/// Why a request was not answered by the upstream: `{"error": code, "message": text}`, as on priced routes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{status} {error}: {message}")]
pub struct Problem {
    status: StatusCode,
    error: &'static str,
    message: Cow<'static, str>,
    retry_after_seconds: Option<u64>,
}

/// Among an answer's extensions: the gateway itself says this code.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Said(pub(crate) &'static str);

impl Problem {
    /// A problem with a stable code and a message that says what was expected, what came, and what to do.
    #[must_use]
    pub fn new(status: StatusCode, error: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, error, message: message.into(), retry_after_seconds: None }
    }

    /// The client's mistake: 400.
    #[must_use]
    pub fn bad_request(error: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error, message)
    }

    /// The same, for those who may try again after so many seconds.
    #[must_use]
    pub const fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    /// The status of the answer.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// The stable code.
    #[must_use]
    pub const fn error(&self) -> &'static str {
        self.error
    }

    /// The answer to a request of that version.
    ///
    /// After a client's mistake a connection of HTTP/1 is closed: who could not be understood once may not have meant what
    /// follows as a request.
    #[must_use]
    pub fn answer(&self, version: Version) -> Response<Body> {
        let text = json!({"error": self.error, "message": self.message}).to_string();
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = self.status;
        response.extensions_mut().insert(Said(self.error));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, METHODS);
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.status.is_client_error() && version < Version::HTTP_2 {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
