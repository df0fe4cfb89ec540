//! The facilitator over HTTP (x402 v2 §7).
//!
//! - 200: the answer of the protocol, also when a payment is refused.
//! - 400, 408, 413: the body could not be read. The answer has the same shape and says what is wrong with which field.
//! - 503 with `Retry-After`: the chain, the book or a place in the queue is not to be had now. Nothing was sent.
//!
//! No body of whatever content gets another status. The content type of a request is not looked at.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use farthing_core::facilitator::{Facilitator, FacilitatorError};
use farthing_core::reason::{Reason, Refusal};
use farthing_core::wire::{PaymentRequest, SettleResponse, VerifyResponse, Version, v1};
use http::{HeaderValue, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::{Value, json};
use tracing::warn;

use crate::local::Local;
use crate::settle::chain;

/// The longest body that is read, in bytes.
pub const MAX_BODY_BYTES: usize = 64 * 1024;
/// How long a caller may take to send a body, in seconds.
pub const BODY_TIMEOUT_SECONDS: u64 = 10;
/// After how many seconds a caller should try again who was answered 503.
pub const RETRY_AFTER_SECONDS: u64 = 1;

/// A body that is no request, and the status for it.
struct Unreadable {
    status: StatusCode,
    refusal: Refusal,
}

/// `POST /verify`, `POST /settle`, `GET /supported`; `GET /healthz` (the process is alive) and `GET /readyz` (the
/// chains can be reached).
pub fn router(facilitator: Arc<Local>) -> Router {
    Router::new()
        .route("/verify", post(verify))
        .route("/settle", post(settle))
        .route("/supported", get(supported))
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .fallback(not_found)
        .with_state(facilitator)
}

async fn verify(State(facilitator): State<Arc<Local>>, request: Request) -> Response {
    let request = match read(request).await {
        Ok(request) => request,
        Err(Unreadable { status, refusal }) => return (status, Json(VerifyResponse::invalid(refusal, None))).into_response(),
    };
    match facilitator.verify(&request).await {
        Ok(answer) => Json(answer).into_response(),
        Err(cause) => {
            warn!(error = chain(&cause), "could not verify");
            let refusal = Refusal::new(Reason::UnexpectedVerifyError, "the payment cannot be checked now; try again later");
            try_again(VerifyResponse::invalid(refusal, None))
        }
    }
}

async fn settle(State(facilitator): State<Arc<Local>>, request: Request) -> Response {
    let request = match read(request).await {
        Ok(request) => request,
        Err(Unreadable { status, refusal }) => return (status, Json(SettleResponse::failure(refusal, None))).into_response(),
    };
    match facilitator.settle(&request).await {
        Ok(answer) => Json(in_version(&answer, request.version)).into_response(),
        Err(cause) => {
            warn!(error = chain(&cause), "could not settle");
            let refusal = not_settled(&cause);
            let network = request.requirements.network.clone();
            try_again(in_version(&SettleResponse::failure(refusal, Some(network)), request.version))
        }
    }
}

async fn supported(State(facilitator): State<Arc<Local>>) -> Response {
    match facilitator.supported().await {
        Ok(answer) => Json(answer).into_response(),
        Err(cause) => {
            warn!(error = chain(&cause), "could not say what is supported");
            try_again(json!({"error": "the facilitator cannot say now; try again later"}))
        }
    }
}

async fn ready(State(facilitator): State<Arc<Local>>) -> Response {
    match facilitator.ready().await {
        Ok(()) => "ready\n".into_response(),
        Err(_logged) => try_again(json!({"error": "a network that is served cannot be reached now"})),
    }
}

async fn not_found() -> Response {
    let error = "no such endpoint; there are POST /verify, POST /settle, GET /supported, GET /healthz and GET /readyz";
    (StatusCode::NOT_FOUND, Json(json!({"error": error}))).into_response()
}

async fn read(request: Request) -> Result<PaymentRequest, Unreadable> {
    let body = read_body(request)
        .await
        .map_err(|(status, message)| Unreadable { status, refusal: Refusal::new(Reason::InvalidPayload, message) })?;
    PaymentRequest::read(&body).map_err(|refusal| {
        // A network whose name means nothing here is read very well; it is only not served, as any other is not.
        let status = if refusal.reason == Reason::InvalidNetwork { StatusCode::OK } else { StatusCode::BAD_REQUEST };
        Unreadable { status, refusal }
    })
}

async fn read_body(request: Request) -> Result<Bytes, (StatusCode, String)> {
    let body = Limited::new(request.into_body(), MAX_BODY_BYTES).collect();
    match tokio::time::timeout(Duration::from_secs(BODY_TIMEOUT_SECONDS), body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err((StatusCode::PAYLOAD_TOO_LARGE, format!("the body is longer than {MAX_BODY_BYTES} bytes")))
        }
        Ok(Err(_broken)) => Err((StatusCode::BAD_REQUEST, "the body broke off".to_owned())),
        Err(_elapsed) => Err((StatusCode::REQUEST_TIMEOUT, format!("the body did not come within {BODY_TIMEOUT_SECONDS} s"))),
    }
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

fn try_again(answer: impl serde::Serialize) -> Response {
    let retry_after = [(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS))];
    (StatusCode::SERVICE_UNAVAILABLE, retry_after, Json(answer)).into_response()
}
