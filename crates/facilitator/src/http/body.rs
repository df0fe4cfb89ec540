//! Reading a request's body, within limits of length and time.

use std::time::Duration;

use axum::body::{Body, Bytes};
use farthing_core::reason::{Reason, Refusal};
use farthing_core::wire::PaymentRequest;
use http::StatusCode;
use http_body_util::{BodyExt, LengthLimitError, Limited};

/// The longest body that is read, in bytes.
pub const MAX_BODY_BYTES: usize = 64 * 1024;
/// How long a caller may take to send a body, in seconds.
pub const BODY_TIMEOUT_SECONDS: u64 = 10;

/// A body that is no request, and the status for it.
pub(super) struct Unreadable {
    pub(super) status: StatusCode,
    pub(super) refusal: Refusal,
}

pub(super) async fn read(body: Body) -> Result<PaymentRequest, Unreadable> {
    let body = collect(body)
        .await
        .map_err(|(status, message)| Unreadable { status, refusal: Refusal::new(Reason::InvalidPayload, message) })?;
    PaymentRequest::read(&body).map_err(|refusal| {
        // A network whose name means nothing here is read very well; it is only not served, as any other is not.
        let status = if refusal.reason == Reason::InvalidNetwork { StatusCode::OK } else { StatusCode::BAD_REQUEST };
        Unreadable { status, refusal }
    })
}

async fn collect(body: Body) -> Result<Bytes, (StatusCode, String)> {
    let body = Limited::new(body, MAX_BODY_BYTES).collect();
    match tokio::time::timeout(Duration::from_secs(BODY_TIMEOUT_SECONDS), body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err((StatusCode::PAYLOAD_TOO_LARGE, format!("the body is longer than {MAX_BODY_BYTES} bytes")))
        }
        Ok(Err(_broken)) => Err((StatusCode::BAD_REQUEST, "the body broke off".to_owned())),
        Err(_elapsed) => Err((StatusCode::REQUEST_TIMEOUT, format!("the body did not come within {BODY_TIMEOUT_SECONDS} s"))),
    }
}
