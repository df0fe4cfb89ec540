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
    /// With the head of a good answer, of which the rest is too large to be held back, or nobody knows how large it is.
    Begun(Response<B>),
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

/// How much of an answer is held back.
#[derive(Clone, Copy)]
pub(super) struct Hold {
    /// The most that is.
    pub(super) max_bytes: usize,
    /// Above so many bytes it goes out as it comes, if it may.
    pub(super) passes_above_bytes: Option<usize>,
}

/// Serves the request and collects the answer's body, as far as that is held back.
pub(super) async fn run<S, Q, B>(mut inner: S, request: Request<Q>, hold: Hold) -> Work<B, S::Error>
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
        if hold.passes_above_bytes.is_some_and(|bytes| is_larger(response.body(), bytes)) {
            return Work::Begun(response);
        }
        collect(response, hold.max_bytes).await
    });
    work.catch_unwind().await.unwrap_or(Work::Failed(Failure::Panicked))
}

/// Holds an answer back that was to go out as it comes.
pub(super) async fn hold<B: AnswerBody, E>(answer: Response<B>, max_bytes: usize) -> Work<B, E> {
    AssertUnwindSafe(collect(answer, max_bytes)).catch_unwind().await.unwrap_or(Work::Failed(Failure::Panicked))
}

async fn collect<B: AnswerBody, E>(answer: Response<B>, max_bytes: usize) -> Work<B, E> {
    let (parts, body) = answer.into_parts();
    match Limited::new(body, max_bytes).collect().await {
        Ok(collected) => {
            let trailers = collected.trailers().cloned();
            Work::Done(Response::from_parts(parts, Held::new(collected.to_bytes(), trailers)))
        }
        Err(error) if error.is::<LengthLimitError>() => Work::Failed(Failure::BodyTooLarge),
        Err(_) => Work::Failed(Failure::BodyAborted),
    }
}

/// Whether a body may have more bytes than that.
fn is_larger(body: &impl Body, bytes: usize) -> bool {
    let most = body.size_hint().upper().and_then(|most| usize::try_from(most).ok());
    !body.is_end_stream() && most.is_none_or(|most| most > bytes)
}
