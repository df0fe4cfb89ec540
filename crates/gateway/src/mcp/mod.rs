//! MCP servers behind the gateway: tools, resources and prompts with prices of their own, over streamable HTTP.
//!
//! A client sends messages of JSON-RPC by POST. Of these
//!
//! 1. what calls a tool, reads a resource or gets a prompt is looked up by its name: it is free, denied or sold;
//! 2. what sells nothing (`initialize`, `tools/list`, notifications, answers to the server) goes through, and its answer
//!    comes back as a stream; so do the GET and the DELETE of a session;
//! 3. any other method is refused, until the file says that it is free.
//!
//! What is sold goes through the same payment layer as a request of HTTP: books, replays, names of purchases, quotes and hooks are
//! those of [`farthing_server::http`]. The payment comes in `params._meta["x402/payment"]`, or in the header
//! `PAYMENT-SIGNATURE`; a payment is bound to the endpoint, the name and the arguments. A call that is refused or fails
//! (`isError`, an error, no answer) is not charged, and its answer is held until the money has moved.
//!
//! Who pays in a message, or reads streams as every MCP client must, hears of terms in a message; others by status 402.
//!
//! What was not paid for cannot be fetched in another way: calls go to the server under ids that only the gateway gives, and
//! streams are not gone on with (`Last-Event-ID`), nor can what is sold be had as a task.

mod answer;
mod calling;
mod events;
mod menu;
mod message;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use farthing_core::header;
use farthing_server::Server;
use http::header::{
    ACCEPT, ACCESS_CONTROL_EXPOSE_HEADERS, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
};
use http::{Method, Request, Response, StatusCode};
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use sha2::{Digest, Sha256};
use tower::ServiceExt;

use self::answer::{Asker, INVALID_PARAMS, METHOD_NOT_FOUND, TYPED_SINCE};
use self::calling::{Calling, Heard, LAST_EVENT_ID, Placed};
pub use self::menu::Dish;
use self::menu::{Kitchen, Menu, Offer};
use self::message::{Call, Kind, Message, OUR_ID};
use crate::file::{self, Origins};
use crate::preflight;
use crate::problem::Problem;
use crate::routes::{Counter, Fault};
use crate::service::Answering;

/// Methods that sell nothing.
const FREE_METHODS: [&str; 16] = [
    "initialize",
    "ping",
    "server/discover",
    "tools/list",
    "resources/list",
    "resources/templates/list",
    "resources/subscribe",
    "resources/unsubscribe",
    "subscriptions/listen",
    "prompts/list",
    "completion/complete",
    "logging/setLevel",
    // Nothing that is sold becomes a task.
    "tasks/get",
    "tasks/list",
    "tasks/result",
    "tasks/cancel",
];
/// What has no answer and sells nothing.
const NOTIFICATIONS: &str = "notifications/";

const PAYMENT_SIGNATURE: HeaderName = HeaderName::from_static(header::PAYMENT_SIGNATURE);
const X_PAYMENT: HeaderName = HeaderName::from_static(header::X_PAYMENT);
/// By which clients of a later revision say what a message calls, for those who do not read it.
const MCP_METHOD: HeaderName = HeaderName::from_static("mcp-method");
const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
/// By which a server names a session; scripts need to read it.
const SESSION_ID: &str = "Mcp-Session-Id";
const MCP_NAME: HeaderName = HeaderName::from_static("mcp-name");

/// A route to an MCP server.
pub(crate) struct Tools<S> {
    upstream: S,
    menu: Menu<S>,
    free_methods: Vec<String>,
    max_body_bytes: usize,
    body_timeout: Duration,
    /// How many calls were placed, so that each has an id of its own.
    calls: AtomicU64,
}

impl<S: Answering> Tools<S> {
    pub(crate) fn build(
        menu: &file::Menu,
        server: &Server,
        upstream: &S,
        settings: &file::Gateway,
    ) -> Result<(Arc<Self>, Vec<Dish>), Fault> {
        let calling = Calling::new(upstream.clone(), settings.max_held_body_bytes);
        let (built, dishes) = Menu::build(menu, &Kitchen { server, upstream: &calling, settings })?;
        let tools = Self {
            upstream: upstream.clone(),
            menu: built,
            free_methods: menu.free_methods.clone(),
            max_body_bytes: settings.max_priced_body_bytes,
            body_timeout: settings.upstream.limits.body_timeout,
            calls: AtomicU64::new(0),
        };
        Ok((Arc::new(tools), dishes))
    }

    /// Answers a request to the endpoint, so that scripts of these origins may read it.
    pub(crate) async fn answer(&self, request: Request<Body>, origins: &Origins) -> Result<Response<Body>, Problem> {
        let origin = preflight::allowed(origins, request.headers());
        let mut answer = self.pass(request).await?;
        if origin.is_some() && !answer.headers().contains_key(ACCESS_CONTROL_EXPOSE_HEADERS) {
            answer.headers_mut().insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(SESSION_ID));
        }
        preflight::open(origin, &mut answer);
        Ok(answer)
    }

    async fn pass(&self, mut request: Request<Body>) -> Result<Response<Body>, Problem> {
        request.headers_mut().remove(LAST_EVENT_ID);
        if *request.method() != Method::POST {
            let is_of_session = matches!(*request.method(), Method::GET | Method::HEAD | Method::DELETE);
            return if is_of_session { Ok(self.forward(request).await) } else { Err(wrong_method()) };
        }
        check_form(request.headers())?;
        let (parts, body) = request.into_parts();
        let body = self.read(body).await?;
        let unreadable = |error: message::Unreadable| Problem::bad_request("ambiguous_message", error.to_string());
        let message = Message::read(&body).map_err(unreadable)?;
        let method = message.method.clone();
        check_header(&parts.headers, &MCP_METHOD, method.as_deref())?;
        match message.call().map_err(unreadable)? {
            Ok(call) => {
                check_header(&parts.headers, &MCP_NAME, Some(&call.name))?;
                self.serve(call, parts).await
            }
            Err(message) if self.is_free(&message) => Ok(self.forward(with_body(parts, body)).await),
            Err(message) => Ok(refuse_method(&message)),
        }
    }

    async fn serve(&self, call: Call, parts: http::request::Parts) -> Result<Response<Body>, Problem> {
        let asker = asker(&call, &parts.headers)?;
        match self.menu.find(call.kind, &call.name) {
            Offer::Free => {
                let body = call.forwarded(&call.id).map_err(|error| unwritten(&error))?;
                Ok(self.forward(with_body(parts, body.into())).await)
            }
            Offer::Denied => {
                let (noun, table) = (call.kind.noun(), format!("[route.{}s]", call.kind.noun()));
                let message = format!(
                    "this {noun} is not for sale here; if you are the seller: name it in {table} with a price or with \"free\""
                );
                Ok(asker.refuse(INVALID_PARAMS, &message, &json!({"error": "not_for_sale"})))
            }
            Offer::Sold(_) if call.is_task() => {
                let message = "what is sold is answered at once, and paid for with its answer; call it without task";
                Ok(asker.refuse(INVALID_PARAMS, message, &json!({"error": "no_tasks"})))
            }
            Offer::Sold(counter) => self.sell(counter, &call, &asker, parts).await,
        }
    }

    async fn sell(
        &self,
        counter: &Counter<Calling<S>>,
        call: &Call,
        asker: &Asker,
        mut parts: http::request::Parts,
    ) -> Result<Response<Body>, Problem> {
        if let Some(payment) = &call.payment {
            let value = HeaderValue::try_from(header::encode_bytes(payment.get())).map_err(|error| unwritten(&error))?;
            parts.headers.insert(PAYMENT_SIGNATURE, value);
        }
        let bought = Bytes::from(call.bought().map_err(|error| unwritten(&error))?);
        let id = self.id(&parts.headers, &bought).map_err(|error| unwritten(&error))?;
        let body = Bytes::from(call.forwarded(&id).map_err(|error| unwritten(&error))?);
        let heard = Heard::default();
        parts.extensions.insert(Placed { body, id, heard: heard.clone() });
        let request = with_body(parts, bought);
        let answer = match counter {
            Counter::Paid(service) => service.clone().oneshot(request).await.map(|answer| answer.map(Body::new)),
            Counter::Metered(service) => service.clone().oneshot(request).await.map(|answer| answer.map(Body::new)),
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(never) => match never {},
        };
        Ok(asker.tell(answer, heard.take()).await)
    }

    /// An id that no other call has that the server may still be busy with, at this gateway or beside it: what pays for a call
    /// is in it, and no payment pays for two at once.
    fn id(&self, headers: &HeaderMap, bought: &[u8]) -> Result<Box<RawValue>, serde_json::Error> {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        let mut digest = Sha256::new();
        for name in [&PAYMENT_SIGNATURE, &X_PAYMENT] {
            digest.update(headers.get(name).map_or(b"".as_slice(), HeaderValue::as_bytes));
        }
        digest.update(bought);
        to_raw_value(&format!("{OUR_ID}{number}-{:x}", digest.finalize()))
    }

    fn is_free(&self, message: &Message) -> bool {
        let Some(method) = message.method.as_deref() else { return true };
        FREE_METHODS.contains(&method)
            || (message.id.is_none() && method.starts_with(NOTIFICATIONS))
            || self.free_methods.iter().any(|free| free == method)
    }

    async fn forward(&self, request: Request<Body>) -> Response<Body> {
        match self.upstream.clone().oneshot(request).await {
            Ok(answer) => answer,
            Err(never) => match never {},
        }
    }

    async fn read(&self, body: Body) -> Result<Bytes, Problem> {
        let max_bytes = self.max_body_bytes;
        let Ok(read) = tokio::time::timeout(self.body_timeout, answer::read(body, max_bytes)).await else {
            return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", "the message did not come in time"));
        };
        read.ok_or_else(|| {
            let message = format!("the body: expected a whole message of at most {max_bytes} bytes, got more, or it broke off");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
        })
    }
}

/// Who asks, and how they are to be answered.
fn asker(call: &Call, headers: &HeaderMap) -> Result<Asker, Problem> {
    let has_header = headers.contains_key(PAYMENT_SIGNATURE) || headers.contains_key(X_PAYMENT);
    if has_header && call.payment.is_some() {
        let message = "expected one payment, got one in a header and one in params._meta; nothing was charged";
        return Err(Problem::bad_request("two_payments", message));
    }
    let lists = headers.get_all(ACCEPT).iter().filter_map(|list| list.to_str().ok());
    let reads_streams = lists.flat_map(|list| list.split(',')).any(|range| {
        range.split(';').next().is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case("text/event-stream"))
    });
    let in_messages = call.payment.is_some() || (reads_streams && !has_header);
    let types_results = headers.get(PROTOCOL_VERSION).is_some_and(|version| version.as_bytes() >= TYPED_SINCE.as_bytes());
    Ok(Asker { id: call.id.clone(), kind: call.kind, in_messages, reads_streams, types_results })
}

/// Refuses bytes that a server could take for something else than this gateway does.
fn check_form(headers: &HeaderMap) -> Result<(), Problem> {
    let text = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default().to_ascii_lowercase();
    let mut parts = text.split(';').map(str::trim);
    let is_json = parts.next() == Some("application/json");
    let is_utf8 = parts.all(|parameter| parameter.replace('"', "") == "charset=utf-8");
    let is_plain = headers.get(CONTENT_ENCODING).is_none_or(|coding| coding == "identity");
    if is_json && is_utf8 && is_plain {
        return Ok(());
    }
    let message = "Content-Type: expected application/json in UTF-8, without a Content-Encoding";
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "wrong_media_type", message))
}

/// Refuses a header that says something else than the message.
fn check_header(headers: &HeaderMap, name: &HeaderName, said: Option<&str>) -> Result<(), Problem> {
    match headers.get(name) {
        Some(value) if said.map(str::as_bytes) != Some(value.as_bytes()) => Err(Problem::bad_request(
            "ambiguous_message",
            format!("{name}: expected what the message says, got something else"),
        )),
        _ => Ok(()),
    }
}

fn with_body(mut parts: http::request::Parts, body: Bytes) -> Request<Body> {
    parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    Request::from_parts(parts, Body::from(body))
}

fn refuse_method(message: &Message) -> Response<Body> {
    let id = message.id.clone().unwrap_or_else(|| RawValue::NULL.to_owned());
    let asker = Asker { id, kind: Kind::Tool, in_messages: true, reads_streams: false, types_results: false };
    let text = "this method is not offered here; if you are the seller: add it to free_methods";
    asker.refuse(METHOD_NOT_FOUND, text, &json!({"error": "not_for_sale"}))
}

fn wrong_method() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "expected POST with a message, or GET or DELETE of a session",
    )
}

fn unwritten(error: &(dyn std::error::Error + 'static)) -> Problem {
    tracing::error!(error, "a message could not be written");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "unwritten", "the message could not be passed on; nothing was charged")
}
