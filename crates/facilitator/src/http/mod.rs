//! The facilitator over HTTP (x402 v2 §7).
//!
//! - 200: the answer of the protocol, also when a payment is refused.
//! - 400, 408, 413: the body could not be read. The answer has the same shape and says what is wrong with which field.
//! - 401 with `WWW-Authenticate`, 429 with `Retry-After`: the caller showed no key that is known, or has used up what it
//!   is allowed for now. Only where callers are configured, and never 429 for a payment that is in the book.
//! - 503 with `Retry-After`: the chain, the book or a place in the queue is not to be had now. What it says of whether
//!   anything was sent is true.
//!
//! No body of whatever content gets another status. The content type of a request is not looked at.

mod access;
mod body;
mod settlements;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use farthing_core::facilitator::{Facilitator, FacilitatorError};
use farthing_core::reason::{Reason, Refusal};
use farthing_core::trace::{TRACEPARENT, TraceParent};
use farthing_core::wire::{PaymentRequest, SettleResponse, VerifyResponse, Version, v1};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use tracing::warn;

use self::body::Unreadable;
pub use self::body::{BODY_TIMEOUT_SECONDS, MAX_BODY_BYTES};
use crate::callers::Asked;
use crate::error::{OverQuota, chain};
use crate::local::Local;

/// After how many seconds a caller should try again who was answered 503.
pub const RETRY_AFTER_SECONDS: u64 = 1;

/// `POST /verify`, `POST /settle`, `GET /supported`; `GET /settlements/{id}` (what became of a payment); `GET /healthz`
/// (the process is alive) and `GET /readyz` (everything that is served could be settled).
pub fn router(facilitator: Arc<Local>) -> Router {
    Router::new()
        .route("/verify", post(verify))
        .route("/settle", post(settle))
        .route("/supported", get(supported))
        .route("/settlements/{id}", get(settlements::settlement))
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .fallback(not_found)
        .with_state(facilitator)
}

async fn verify(State(facilitator): State<Arc<Local>>, request: Request) -> Response {
    let invalid = |refusal: Refusal| Json(VerifyResponse::invalid(refusal, None));
    let (head, body) = request.into_parts();
    let caller = match access::caller(&facilitator, &head.headers) {
        Ok(caller) => caller,
        Err(refusal) => return access::unauthorized(invalid(refusal)),
    };
    if let Err(quota) = access::ask(&facilitator, caller, Asked::Verify) {
        return access::too_many(&quota, invalid(access::over_quota(&quota)));
    }
    let request = match body::read(body).await {
        Ok(request) => request,
        Err(Unreadable { status, refusal }) => return (status, invalid(refusal)).into_response(),
    };
    let request = PaymentRequest { trace: trace(&head.headers), ..request };
    match facilitator.verify_for(caller, &request).await {
        Ok(answer) => Json(answer).into_response(),
        Err(_logged) => {
            let message = "the payment cannot be checked now; try again later";
            try_again(invalid(Refusal::new(Reason::UnexpectedVerifyError, message)))
        }
    }
}

async fn settle(State(facilitator): State<Arc<Local>>, request: Request) -> Response {
    let unread = |refusal: Refusal| Json(SettleResponse::failure(refusal, None));
    let (head, body) = request.into_parts();
    let caller = match access::caller(&facilitator, &head.headers) {
        Ok(caller) => caller,
        Err(refusal) => return access::unauthorized(unread(refusal)),
    };
    let quota = access::ask(&facilitator, caller, Asked::Settle).err();
    let request = match body::read(body).await {
        Ok(request) => request,
        Err(Unreadable { status, refusal }) => return (status, unread(refusal)).into_response(),
    };
    let request = PaymentRequest { trace: trace(&head.headers), ..request };
    let failure = |refusal: Refusal| {
        let network = request.requirements.network.clone();
        Json(in_version(&SettleResponse::failure(refusal, Some(network)), request.version))
    };
    let answer = match quota {
        None => facilitator.settle_for(caller, &request).await,
        // What may have moved is told, and nobody waits for it.
        Some(quota) => match facilitator.settled_before(&request).await {
            Some(answer) => answer,
            None => return access::too_many(&quota, failure(access::over_quota(&quota))),
        },
    };
    match answer {
        Ok(answer) => Json(in_version(&answer, request.version)).into_response(),
        Err(cause) => match OverQuota::behind(&cause) {
            Some(quota) => access::too_many(quota, failure(access::over_quota(quota))),
            None => try_again(failure(not_settled(&cause))),
        },
    }
}

async fn supported(State(facilitator): State<Arc<Local>>) -> Response {
    match facilitator.supported().await {
        Ok(answer) => Json(answer).into_response(),
        Err(cause) => {
            warn!(error = chain(&cause), "could not say what is supported");
            try_again(Json(json!({"error": "the facilitator cannot say now; try again later"})))
        }
    }
}

async fn ready(State(facilitator): State<Arc<Local>>) -> Response {
    let Err(causes) = facilitator.ready().await else { return "ready\n".into_response() };
    let causes: Vec<Value> = causes
        .iter()
        .map(|cause| json!({"cause": cause.cause(), "networks": cause.networks(), "message": cause.to_string()}))
        .collect();
    try_again(Json(json!({"error": "not everything that is served can be settled now", "causes": causes})))
}

async fn not_found() -> Response {
    let error = "no such endpoint; there are POST /verify, POST /settle, GET /supported, GET /settlements/{id}, GET /healthz \
                 and GET /readyz";
    (StatusCode::NOT_FOUND, Json(json!({"error": error}))).into_response()
}

/// The span that asks, if it says so, and says it once.
fn trace(headers: &HeaderMap) -> Option<TraceParent> {
    let mut said = headers.get_all(TRACEPARENT).iter();
    let (Some(parent), None) = (said.next(), said.next()) else { return None };
    parent.to_str().ok()?.parse().ok()
}

fn not_settled(cause: &FacilitatorError) -> Refusal {
    match cause {
        FacilitatorError::Unavailable(_) => Refusal::new(
            Reason::UnexpectedSettleError,
            "the payment cannot be settled now, and nothing was sent; try again later with the same payment",
        ),
        FacilitatorError::Indeterminate(_) | FacilitatorError::Malformed(_) => Refusal::new(
            Reason::SettlementPending,
            "it is not known whether the payment was settled; ask again with the same payment, and do not sign another",
        ),
    }
}

/// The answer as a server of that version reads it.
fn in_version(answer: &SettleResponse, version: Version) -> Value {
    let written = match version {
        Version::V2 => serde_json::to_value(answer),
        Version::V1 => v1::settle_response(answer),
    };
    // Text, numbers and booleans always become JSON.
    written.unwrap_or_default()
}

fn try_again(answer: impl IntoResponse) -> Response {
    let retry_after = [(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS))];
    (StatusCode::SERVICE_UNAVAILABLE, retry_after, answer).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_trace_context_is_taken_for_one() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0b9902b7-01";
        let mut headers = HeaderMap::new();
        assert_eq!(trace(&headers), None);
        headers.append(TRACEPARENT, HeaderValue::from_static(good));
        assert_eq!(trace(&headers).map(|parent| parent.to_string()).as_deref(), Some(good));
        headers.append(TRACEPARENT, HeaderValue::from_static(good));
        assert_eq!(trace(&headers), None, "two of them name no parent");
        headers.insert(TRACEPARENT, HeaderValue::from_static("00-no-trace-01"));
        assert_eq!(trace(&headers), None);
    }
}
