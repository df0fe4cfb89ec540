//! The body of a request as a part of what is bought: read whole before anything is done for it, so that what is paid for one
//! body buys nothing for another, and still handed on as it came.

use std::time::Duration;

use bytes::Bytes;
use farthing_core::Source;
use farthing_core::extension::payment_identifier;
use farthing_core::wire::PaymentPayload;
use http::{Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use sha2::{Digest, Sha256};

use super::toll::bad_request;
use crate::quotes::PRICED_BODY_TIMEOUT_SECONDS;
use crate::resource::RequestFacts;

/// How much of a body a purchase with a name is bound to where the layer does not say
/// ([`binding_body`](super::PaymentLayer::binding_body)), in bytes; with more it is refused.
pub const DEFAULT_MAX_BOUND_BODY_BYTES: usize = 64 * 1024;

/// The body of a request that may have to be read before its handler gets it. Every one that can be made of bytes is one, such
/// as axum's.
pub(super) trait RequestBody: Body<Error: Into<Source>> + From<Bytes> {}

impl<Q: Body<Error: Into<Source>> + From<Bytes>> RequestBody for Q {}

/// How much of a body is read, in bytes, and what for.
#[derive(Clone, Copy)]
pub(super) enum BodyLimit {
    /// Its price is asked with it.
    Priced(usize),
    /// The layer binds every payment to it.
    Bound(usize),
    /// The purchase has a name.
    Named,
}

impl BodyLimit {
    /// The limit for a payment, on a layer that binds bodies of so many bytes, if it does; `None` if the body does not count.
    pub(super) fn of(payment: &PaymentPayload, bound_bytes: Option<usize>) -> Option<Self> {
        // What is no name is refused soon after, and needs no body for that.
        let is_named = || matches!(payment_identifier::of(&payment.extensions, false), Ok(Some(_)));
        bound_bytes.map(Self::Bound).or_else(|| is_named().then_some(Self::Named))
    }

    const fn max_bytes(self) -> usize {
        match self {
            Self::Priced(max_bytes) | Self::Bound(max_bytes) => max_bytes,
            Self::Named => DEFAULT_MAX_BOUND_BODY_BYTES,
        }
    }

    fn too_large(self) -> Response<Bytes> {
        let (what, then) = match self {
            Self::Priced(_) => ("can be priced here", ""),
            Self::Bound(_) => ("a payment can be bound to here", ""),
            Self::Named => (
                "a purchase with a name can be bound to here",
                "; send less, or leave the name out where none is required; a seller takes more with binding_body(…)",
            ),
        };
        let max_bytes = self.max_bytes();
        let message =
            format!("body: expected at most {max_bytes} bytes, which is what {what}, got more; nothing was charged{then}");
        bad_request(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", &message)
    }
}

/// Binds what is bought to the body of its request.
pub(super) async fn bind<Q: RequestBody>(
    request: Request<Q>,
    facts: RequestFacts,
    limit: BodyLimit,
) -> Result<(Request<Q>, RequestFacts), Response<Bytes>> {
    if request.body().is_end_stream() {
        return Ok((request, facts));
    }
    let (parts, body) = request.into_parts();
    let read = read(body, limit).await?;
    // A body of nothing is none, in however many ways that is sent.
    let facts = if read.is_empty() { facts } else { facts.with_body(digest_of(&read)) };
    Ok((Request::from_parts(parts, Q::from(read)), facts))
}

pub(super) fn digest_of(body: &Bytes) -> [u8; 32] {
    Sha256::digest(body).into()
}

/// The whole body of a request.
pub(super) async fn read<Q: RequestBody>(body: Q, limit: BodyLimit) -> Result<Bytes, Response<Bytes>> {
    let max_bytes = limit.max_bytes();
    if usize::try_from(body.size_hint().lower()).map_or(true, |least| least > max_bytes) {
        return Err(limit.too_large());
    }
    let patience = Duration::from_secs(PRICED_BODY_TIMEOUT_SECONDS);
    let Ok(read) = tokio::time::timeout(patience, Limited::new(body, max_bytes).collect()).await else {
        let message = format!("body: expected all of it within {PRICED_BODY_TIMEOUT_SECONDS} seconds; nothing was charged");
        return Err(bad_request(StatusCode::REQUEST_TIMEOUT, "body_too_slow", &message));
    };
    match read {
        Ok(read) if read.trailers().is_some() => {
            // A body that is made of bytes has none, and what was paid for is to come to the handler whole.
            let message = "body: expected one without trailers, to which nothing can be bound, got some; nothing was charged";
            Err(bad_request(StatusCode::BAD_REQUEST, "body_with_trailers", message))
        }
        Ok(read) => Ok(read.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(limit.too_large()),
        Err(_) => {
            let message = "body: it broke off before it was whole; nothing was charged";
            Err(bad_request(StatusCode::BAD_REQUEST, "body_aborted", message))
        }
    }
}
