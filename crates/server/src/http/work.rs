//! Runs the inner service for a request that may be served, and holds its answer back.

use std::panic::AssertUnwindSafe;

use bytes::Bytes;
use farthing_core::Source;
use futures_util::FutureExt;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tower_service::Service;

use super::body::Held;
use crate::hooks::CancelReason;

/// The body of a handler's answer.
pub(super) trait AnswerBody: Body<Data = Bytes, Error: Into<Source>> {}

impl<B: Body<Data = Bytes, Error: Into<Source>>> AnswerBody for B {}

/// How the work ended.
#[expect(clippy::large_enum_variant, reason = "the largest is the common one, and is to cost no allocation")]
pub(super) enum Work<B, E> {
    /// With an answer that is worth its money.
    Done(Response<Held>),
    /// With an answer of status 400 or above, which is free.
    Declined(Response<B>),
    /// Without an answer.
    Failed(Failure),
    /// With an error of the service's own.
    Error(E),
}

/// Said in an answer's extensions where the answer of the work broke off before it was whole, so that a proxy can say 502 in
/// the place of 500.
#[derive(Clone, Copy, Debug)]
pub struct BrokeOff;

/// Why there is no answer. These are the stable codes that a client finds in `error`.
#[derive(Clone, Copy)]
pub(super) enum Failure {
    Panicked,
    BodyAborted,
    BodyTooLarge,
    /// The handler charged what cannot be charged.
    BadUsage,
}

impl Failure {
    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::Panicked => "handler_panicked",
            Self::BodyAborted => "body_aborted",
            Self::BodyTooLarge => "body_too_large",
            Self::BadUsage => "handler_charged_wrongly",
        }
    }

    /// What hooks are told of the payment then.
    pub(super) const fn cancels(self) -> CancelReason {
        match self {
            Self::Panicked => CancelReason::HandlerThrew,
            Self::BodyAborted | Self::BodyTooLarge | Self::BadUsage => CancelReason::HandlerFailed,
        }
    }

    /// What happened, for people.
    pub(super) const fn message(self) -> &'static str {
        match self {
            Self::Panicked => "the resource's own code failed",
            Self::BodyAborted => "the answer broke off before it was whole",
            Self::BodyTooLarge => "the answer is larger than the server holds back until a payment has settled",
            Self::BadUsage => "the resource's own code charged what cannot be charged",
        }
    }
}

/// Serves the request and collects the answer's body, at most `max_body_bytes` of it.
pub(super) async fn run<S, Q, B>(mut inner: S, request: Request<Q>, max_body_bytes: usize) -> Work<B, S::Error>
where
    S: Service<Request<Q>, Response = Response<B>>,
    B: AnswerBody,
{
    // Whatever the panic left half done is dropped with the service and the request.
    let work = AssertUnwindSafe(async move {
        let response = match inner.call(request).await {
            Ok(response) => response,
            Err(error) => return Work::Error(error),
        };
        if response.status().as_u16() >= 400 {
            return Work::Declined(response);
        }
        let (parts, body) = response.into_parts();
        match Limited::new(body, max_body_bytes).collect().await {
            Ok(collected) => {
                let trailers = collected.trailers().cloned();
                Work::Done(Response::from_parts(parts, Held::new(collected.to_bytes(), trailers)))
            }
            Err(error) if error.is::<LengthLimitError>() => Work::Failed(Failure::BodyTooLarge),
            Err(_) => Work::Failed(Failure::BodyAborted),
        }
    });
    work.catch_unwind().await.unwrap_or(Work::Failed(Failure::Panicked))
}
