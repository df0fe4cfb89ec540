//! The call itself, under the payment layer: one message to the upstream, and its answer read until it is whole.
//!
//! What is worth its money is an answer of status 200; all else has a status that nobody pays for. What a failed call says,
//! and what came before its end, travels beside the answer, for whoever asked.
//!
//! The upstream gets the call under an id of the gateway's. A server sends what it has for an id to whoever used that id
//! last; under an id of the client's own, a free call could fetch what a priced one has made.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, TRANSFER_ENCODING,
};
use http::{HeaderMap, Request, Response, StatusCode, Version};
use http_body_util::BodyExt;
use serde::Deserialize;
use serde_json::value::RawValue;
use tower_service::Service;

use super::events::Events;
use crate::problem::Problem;
use crate::service::{Answering, BoxAnswer};

/// How long a call may take that is paid for, in seconds.
pub(super) const MAX_CALL_SECONDS: u64 = 600;
/// The media type of a result on its way to the client.
pub(super) const RESULT: HeaderValue = HeaderValue::from_static("application/vnd.farthing.mcp-result+json");
/// By which a client goes on with a stream that broke off. What was not paid for is not fetched later, either.
pub(super) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The upstream, as somebody who calls it by messages.
#[derive(Clone)]
pub(crate) struct Calling<S> {
    inner: S,
    max_body_bytes: usize,
}

/// One call, in the extensions of its request.
#[derive(Clone)]
pub(super) struct Placed {
    /// The message.
    pub(super) body: Bytes,
    /// Its id.
    pub(super) id: Box<RawValue>,
    pub(super) heard: Heard,
}

/// What is heard of a call besides its result.
#[derive(Clone, Default)]
pub(super) struct Heard(Arc<Mutex<Told>>);

#[derive(Default)]
pub(super) struct Told {
    /// What the server said before, where it answers by a stream.
    pub(super) before: Vec<Box<RawValue>>,
    pub(super) is_stream: bool,
    /// What came of it in the end, if nobody is to pay for that.
    pub(super) failure: Option<Failure>,
}

/// How a call ended that nobody pays for.
pub(super) enum Failure {
    /// With a result that says so.
    Result(Box<RawValue>),
    /// With an error.
    Error(Box<RawValue>),
    /// Without a message: the upstream's answer is the client's to see.
    Http,
}

impl Heard {
    pub(super) fn take(&self) -> Told {
        std::mem::take(&mut self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A message from the server.
#[derive(Deserialize)]
struct Incoming<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    method: Option<String>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

/// What decides whether a result is paid for.
#[derive(Deserialize)]
struct Verdict {
    #[serde(default, rename = "isError")]
    is_error: Option<bool>,
    /// Which a later revision of the protocol has: other results than complete ones are asked for again.
    #[serde(default, rename = "resultType")]
    result_type: Option<String>,
}

/// An answer that cannot be sold.
#[derive(Debug, thiserror::Error)]
enum Unsold {
    #[error("expected application/json or text/event-stream")]
    MediaType,
    #[error("it is compressed, although that was not asked for")]
    Encoded,
    #[error("it broke off")]
    BrokeOff,
    #[error("it is larger than {0} bytes, the most that is held back until a payment has settled")]
    TooLarge(usize),
    #[error("it has no answer to the call")]
    NoAnswer,
    #[error("it is no message of JSON-RPC")]
    NoMessage,
    #[error("the server asks the client something in the middle of the call, which is not passed on before it is paid for")]
    AsksBack,
    #[error("it took longer than {MAX_CALL_SECONDS} seconds")]
    TooSlow,
    #[error("expected status 200, got {0}; tools are sold over streamable HTTP alone")]
    Status(StatusCode),
}

impl<S> Calling<S> {
    pub(super) const fn new(inner: S, max_body_bytes: usize) -> Self {
        Self { inner, max_body_bytes }
    }
}

impl<S: Answering> Service<Request<Body>> for Calling<S> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxAnswer;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> BoxAnswer {
        let (next, max_body_bytes) = (self.inner.clone(), self.max_body_bytes);
        let mut inner = std::mem::replace(&mut self.inner, next);
        Box::pin(async move {
            let version = request.version();
            let Some(placed) = request.extensions_mut().remove::<Placed>() else {
                return Ok(unsold(&Unsold::NoMessage, version));
            };
            address(request.headers_mut());
            *request.body_mut() = Body::from(placed.body.clone());
            let answer = inner.call(request).await?;
            Ok(match answer.status() {
                StatusCode::OK => {
                    let heard = hear(answer, &placed, max_body_bytes);
                    let patience = Duration::from_secs(MAX_CALL_SECONDS);
                    let heard = tokio::time::timeout(patience, heard).await.unwrap_or(Err(Unsold::TooSlow));
                    heard.unwrap_or_else(|why| unsold(&why, version))
                }
                status if status.as_u16() >= 400 => {
                    placed.heard.lock().failure = Some(Failure::Http);
                    answer
                }
                status => unsold(&Unsold::Status(status), version),
            })
        })
    }
}

/// The headers of a message of ours.
fn address(headers: &mut HeaderMap) {
    for name in [CONTENT_LENGTH, TRANSFER_ENCODING, CONTENT_ENCODING, LAST_EVENT_ID] {
        headers.remove(name);
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
}

fn unsold(why: &Unsold, version: Version) -> Response<Body> {
    tracing::error!(reason = %why, "an upstream's answer to a call that was paid for cannot be sold, and was dropped");
    let message = format!("the server's answer was dropped and nothing was charged: {why}; ask the seller");
    Problem::new(StatusCode::BAD_GATEWAY, "call_unanswered", message).answer(version)
}

/// Reads until the answer to the call has come.
async fn hear(answer: Response<Body>, placed: &Placed, max_bytes: usize) -> Result<Response<Body>, Unsold> {
    if answer.headers().get(CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        return Err(Unsold::Encoded);
    }
    let media_type = answer.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_stream = match media_type.split(';').next().unwrap_or_default().trim() {
        "application/json" => false,
        "text/event-stream" => true,
        _ => return Err(Unsold::MediaType),
    };
    placed.heard.lock().is_stream = is_stream;
    let (mut body, mut events) = (answer.into_body(), Events::default());
    let (mut whole, mut read_bytes) = (Vec::new(), 0_usize);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Unsold::BrokeOff)?.into_data() else { continue };
        read_bytes = read_bytes.saturating_add(data.len());
        if read_bytes > max_bytes {
            return Err(Unsold::TooLarge(max_bytes));
        }
        if !is_stream {
            whole.extend_from_slice(&data);
            continue;
        }
        for message in events.take(&data) {
            // An event without data only says from where to go on.
            if !message.is_empty()
                && let Some(answer) = understand(&message, placed)?
            {
                return Ok(answer);
            }
        }
    }
    if is_stream {
        return Err(Unsold::NoAnswer);
    }
    understand(&whole, placed)?.ok_or(Unsold::NoAnswer)
}

/// The answer to the call, if this is it. What is said before it is kept for later.
fn understand(message: &[u8], placed: &Placed) -> Result<Option<Response<Body>>, Unsold> {
    let incoming: Incoming<'_> = serde_json::from_slice(message).map_err(|_| Unsold::NoMessage)?;
    if incoming.method.is_some() {
        if incoming.id.is_some() {
            return Err(Unsold::AsksBack);
        }
        let raw: Box<RawValue> = serde_json::from_slice(message).map_err(|_| Unsold::NoMessage)?;
        placed.heard.lock().before.push(raw);
        return Ok(None);
    }
    if incoming.id.map(RawValue::get) != Some(placed.id.get()) {
        return Err(Unsold::NoAnswer);
    }
    match (incoming.result, incoming.error) {
        (Some(result), None) => sell(result, placed).map(Some),
        (None, Some(error)) => Ok(Some(failed(Failure::Error(error.to_owned()), placed))),
        _ => Err(Unsold::NoMessage),
    }
}

fn sell(result: &RawValue, placed: &Placed) -> Result<Response<Body>, Unsold> {
    if !result.get().starts_with('{') {
        return Err(Unsold::NoMessage);
    }
    let verdict: Verdict = serde_json::from_str(result.get()).map_err(|_| Unsold::NoMessage)?;
    let is_complete = verdict.result_type.is_none_or(|kind| kind == "complete");
    if verdict.is_error.unwrap_or_default() || !is_complete {
        return Ok(failed(Failure::Result(result.to_owned()), placed));
    }
    let mut answer = Response::new(Body::from(result.get().to_owned()));
    answer.headers_mut().insert(CONTENT_TYPE, RESULT);
    Ok(answer)
}

/// A status that nobody pays for; what is said stands beside it.
fn failed(failure: Failure, placed: &Placed) -> Response<Body> {
    placed.heard.lock().failure = Some(failure);
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
    answer
}
