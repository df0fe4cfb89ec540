//! What the payment layer answered, as an MCP client reads it (x402 transports v2, MCP).
//!
//! | the payment layer says | a client of the tool-result binding hears |
//! |---|---|
//! | 402 or 412 with terms | a result with `isError`, the terms as `structuredContent` and as text; of a resource or a prompt, error 402 with the terms as `data` |
//! | 200 | the result, with the settlement in `_meta["x402/payment-response"]` |
//! | that the call failed | what the server said, unpaid |
//! | another problem | a result with `isError` that says it, or error -32603 |
//!
//! A client of plain HTTP gets the status and the headers as on any other route, and in the body the message.

use axum::body::Body;
use farthing_core::header;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{HeaderName, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

use super::calling::{Failure, RESULT, Told};
use super::events;
use super::message::{Kind, Members};

/// Where a client finds the settlement, in `result._meta`.
const SETTLEMENT: &str = "x402/payment-response";
/// The error of JSON-RPC by which clients know terms where there is no result of a tool.
const PAYMENT_REQUIRED: i32 = 402;
pub(super) const INVALID_PARAMS: i32 = -32_602;
pub(super) const METHOD_NOT_FOUND: i32 = -32_601;
const INTERNAL_ERROR: i32 = -32_603;
/// The revision of MCP from which on results say what they are.
pub(super) const TYPED_SINCE: &str = "2026-07-28";
/// The largest problem that is told, in bytes: more than any of ours.
const MAX_PROBLEM_BYTES: usize = 64 * 1024;

const TERMS_HEADER: HeaderName = HeaderName::from_static(header::PAYMENT_REQUIRED);
const SETTLEMENT_HEADERS: [HeaderName; 2] =
    [HeaderName::from_static(header::PAYMENT_RESPONSE), HeaderName::from_static(header::X_PAYMENT_RESPONSE)];

/// To whom something is answered, and how.
pub(super) struct Asker {
    pub(super) id: Box<RawValue>,
    pub(super) kind: Kind,
    /// Whether terms and problems are told in a message, rather than by the status.
    pub(super) in_messages: bool,
    pub(super) reads_streams: bool,
    /// Whether a result says that it is complete, as revisions from [`TYPED_SINCE`] on want it.
    pub(super) types_results: bool,
}

/// A member of an answer: `result` or `error`.
struct Said(&'static str, Box<RawValue>);

impl Asker {
    /// The answer to a call that went through the payment layer.
    pub(super) async fn tell(&self, answer: Response<Body>, told: Told) -> Response<Body> {
        let (parts, body) = answer.into_parts();
        if matches!(told.failure, Some(Failure::Http)) {
            return Response::from_parts(parts, body);
        }
        let is_result = parts.status == StatusCode::OK && parts.headers.get(CONTENT_TYPE) == Some(&RESULT);
        if !is_result && told.failure.is_none() && !self.in_messages {
            return Response::from_parts(parts, body);
        }
        let settlement = settlement(&parts.headers);
        let said = match &told.failure {
            Some(Failure::Result(result)) => Ok(Said("result", with_settlement(result, settlement.as_deref()))),
            Some(Failure::Error(error)) => Ok(Said("error", error.clone())),
            Some(Failure::Http) | None => match body.collect().await {
                Ok(read) if is_result => match serde_json::from_slice::<Box<RawValue>>(&read.to_bytes()) {
                    Ok(result) => Ok(Said("result", with_settlement(&result, settlement.as_deref()))),
                    Err(error) => Err(error.to_string()),
                },
                Ok(read) => self.problem(&parts.headers, &read.to_bytes(), settlement.as_deref()),
                Err(error) => Err(error.to_string()),
            },
        };
        let said = said.unwrap_or_else(|error| {
            tracing::error!(error, "an answer to a call could not be written");
            failure(INTERNAL_ERROR, "the answer could not be written", &Value::Null)
        });
        let mut answer = self.message(&said, &told);
        let (content_type, status) = (answer.headers_mut().remove(CONTENT_TYPE), StatusCode::OK);
        *answer.headers_mut() = parts.headers;
        let headers = answer.headers_mut();
        headers.remove(CONTENT_LENGTH);
        headers.remove(TERMS_HEADER);
        if let Some(content_type) = content_type {
            headers.insert(CONTENT_TYPE, content_type);
        }
        *answer.status_mut() = status;
        answer
    }

    /// An error that the gateway makes itself.
    pub(super) fn refuse(&self, code: i32, message: &str, data: &Value) -> Response<Body> {
        self.message(&failure(code, message, data), &Told::default())
    }

    /// What the payment layer said besides a result: terms, or a problem.
    fn problem(&self, headers: &HeaderMap, body: &[u8], settlement: Option<&RawValue>) -> Result<Said, String> {
        if let Some(terms) = headers.get(TERMS_HEADER) {
            let terms = header::decode_required(terms.as_bytes()).map_err(|error| error.to_string())?;
            let terms = serde_json::to_value(terms).map_err(|error| error.to_string())?;
            return Ok(match self.kind {
                Kind::Tool => {
                    let result = self.result(true, &terms.to_string(), &terms);
                    Said("result", with_settlement(&result, settlement))
                }
                Kind::Resource | Kind::Prompt => failure(PAYMENT_REQUIRED, "Payment required", &terms),
            });
        }
        // Ours are JSON; a hook may have answered with anything.
        let text = String::from_utf8_lossy(body.get(..MAX_PROBLEM_BYTES).unwrap_or(body));
        let problem: Value = serde_json::from_str(&text).unwrap_or_else(|_| json!({"message": text}));
        let message = problem.get("message").and_then(Value::as_str).unwrap_or("the call was not carried out").to_owned();
        Ok(match self.kind {
            Kind::Tool => {
                let is_error = problem.get("error").is_some();
                let result = self.result(is_error, &message, &problem);
                Said("result", with_settlement(&result, settlement))
            }
            Kind::Resource | Kind::Prompt => failure(INTERNAL_ERROR, &message, &problem),
        })
    }

    /// A tool's result that the gateway makes itself.
    fn result(&self, is_error: bool, text: &str, content: &Value) -> Box<RawValue> {
        let mut result = json!({
            "isError": is_error,
            "content": [{"type": "text", "text": text}],
            "structuredContent": content,
        });
        if let Some(members) = result.as_object_mut().filter(|_| self.types_results) {
            members.insert("resultType".to_owned(), "complete".into());
        }
        raw(&result)
    }

    /// A message, with those before it if the client reads streams.
    fn message(&self, Said(member, value): &Said, told: &Told) -> Response<Body> {
        let id = self.id.get();
        let message = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"{member}\":{}}}", value.get());
        let (media_type, body) = if told.is_stream && self.reads_streams {
            let mut body: String = told.before.iter().map(|before| events::write(before.get())).collect();
            body.push_str(&events::write(&message));
            ("text/event-stream", body)
        } else {
            ("application/json", message)
        };
        let mut answer = Response::new(Body::from(body));
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        answer
    }
}

fn failure(code: i32, message: &str, data: &Value) -> Said {
    let mut error = json!({"code": code, "message": message});
    if !data.is_null()
        && let Some(members) = error.as_object_mut()
    {
        members.insert("data".to_owned(), data.clone());
    }
    Said("error", raw(&error))
}

/// The settlement that an answer's header tells, as JSON.
fn settlement(headers: &HeaderMap) -> Option<Box<RawValue>> {
    let value = SETTLEMENT_HEADERS.iter().find_map(|name| headers.get(name))?;
    let settlement = header::decode_settlement(value.as_bytes()).ok()?;
    to_raw_value(&settlement).ok()
}

/// A result with the settlement in it. What the server says of one is not believed.
fn with_settlement(result: &RawValue, settlement: Option<&RawValue>) -> Box<RawValue> {
    let Ok(mut members) = serde_json::from_str::<Members>(result.get()) else { return result.to_owned() };
    let meta = members.get("_meta").and_then(|raw| serde_json::from_str::<Members>(raw.get()).ok());
    let mut meta = match (meta, settlement) {
        (None, None) => return result.to_owned(),
        (meta, _) => meta.unwrap_or_default(),
    };
    meta.0.retain(|(key, _)| key != SETTLEMENT);
    if let Some(settlement) = settlement {
        meta.set(SETTLEMENT, settlement.to_owned());
    }
    match to_raw_value(&meta) {
        Ok(meta) => members.set("_meta", meta),
        Err(error) => tracing::error!(%error, "a settlement could not be written into a result"),
    }
    to_raw_value(&members).unwrap_or_else(|_| result.to_owned())
}

fn raw(value: &Value) -> Box<RawValue> {
    to_raw_value(value).unwrap_or_default()
}

/// The largest body that is read, whole.
pub(super) async fn read(body: Body, max_bytes: usize) -> Option<bytes::Bytes> {
    Limited::new(body, max_bytes).collect().await.ok().map(http_body_util::Collected::to_bytes)
}
