//! Scripts of other origins (CORS) on routes that are sold: the gateway answers their preflights, which must not be paid for, and
//! says in each answer that it may be read. On free routes the upstream does that itself.

use axum::body::Body;
use farthing_core::header;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, CACHE_CONTROL, HeaderMap, HeaderValue, ORIGIN, VARY,
};
use http::{Method, Request, Response, StatusCode};

use crate::file::Origins;

/// How long a browser may remember that it may ask, in seconds.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");
/// The most bytes of a list of headers that is repeated.
const MAX_HEADERS_BYTES: usize = 1_024;

/// The method that a browser asks leave for, if this is a preflight.
pub(crate) fn asked_method(request: &Request<Body>) -> Option<Method> {
    let headers = request.headers();
    let asks = request.method() == Method::OPTIONS && headers.contains_key(ORIGIN);
    headers.get(ACCESS_CONTROL_REQUEST_METHOD).filter(|_| asks).and_then(|method| Method::from_bytes(method.as_bytes()).ok())
}

/// The answer to a preflight for a route that is sold.
pub(crate) fn answer(origins: &Origins, method: &Method, headers: &HeaderMap) -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    if let Some(origin) = allowed(origins, headers) {
        let ours = answer.headers_mut();
        ours.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if let Ok(method) = HeaderValue::from_str(method.as_str()) {
            ours.insert(ACCESS_CONTROL_ALLOW_METHODS, method);
        }
        ours.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked_headers(headers));
        ours.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    }
    answer.headers_mut().insert(VARY, HeaderValue::from_static("Origin"));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// Lets scripts read an answer, in which the upstream has not said so itself.
pub(crate) fn open(origin: Option<HeaderValue>, answer: &mut Response<Body>) {
    let headers = answer.headers_mut();
    if let Some(origin) = origin
        && !headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN)
    {
        if origin != "*" {
            headers.append(VARY, HeaderValue::from_static("Origin"));
        }
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
}

/// What `Access-Control-Allow-Origin` says to who asks.
pub(crate) fn allowed(origins: &Origins, headers: &HeaderMap) -> Option<HeaderValue> {
    let origin = headers.get(ORIGIN)?;
    match origins {
        Origins::Any => Some(HeaderValue::from_static("*")),
        Origins::These(list) => list.contains(origin).then(|| origin.clone()),
    }
}

/// The headers that a browser wants to send; all that the protocol has, if it does not say.
fn asked_headers(headers: &HeaderMap) -> HeaderValue {
    let asked = headers.get(ACCESS_CONTROL_REQUEST_HEADERS).filter(|list| list.len() <= MAX_HEADERS_BYTES);
    let protocol = [header::PAYMENT_SIGNATURE, header::X_PAYMENT, header::SIGN_IN_WITH_X].join(", ");
    asked
        .cloned()
        .or_else(|| HeaderValue::from_str(&protocol).ok())
        .unwrap_or(HeaderValue::from_static(header::PAYMENT_SIGNATURE))
}
