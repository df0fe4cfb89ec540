//! JSON-RPC 2.0 over HTTP: requests, batches, errors and injected faults. What the methods do is in `eth` and `dev`.

mod dev;
mod encode;
mod eth;
mod gas;
mod logs;
mod params;
mod view;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use http_body::Frame;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::fault::{Fault, Faults};
use crate::node::{Node, Reception};
pub use gas::MAX_CALL_GAS;
use view::View;

/// Most requests in one batch.
pub const MAX_BATCH_REQUESTS: usize = 1000;
/// Largest body of an HTTP request.
pub const MAX_BODY_BYTES: usize = 5 * 1024 * 1024;

const PARSE_ERROR: i64 = -32700;
const INVALID_REQUEST: i64 = -32600;
const METHOD_NOT_FOUND: i64 = -32601;
const INVALID_PARAMS: i64 = -32602;
const SERVER_ERROR: i64 = -32000;
/// What geth answers when the EVM reverted; `data` has the revert data.
const REVERTED: i64 = 3;

/// An error as JSON-RPC has it.
#[derive(Debug)]
struct RpcError {
    code: i64,
    message: String,
    data: Option<String>,
}

impl RpcError {
    fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    fn server(message: impl Into<String>) -> Self {
        Self::new(SERVER_ERROR, message)
    }

    fn params(message: impl Into<String>) -> Self {
        Self::new(INVALID_PARAMS, message)
    }
}

type RpcResult = Result<Value, RpcError>;

/// A node at one address, where things go wrong in their own way.
#[derive(Clone)]
pub(crate) struct Site {
    pub node: Arc<Node>,
    pub faults: Faults,
}

/// Serves until told to end, or until whoever could tell is gone.
pub(crate) async fn serve(listener: TcpListener, site: Site, mut ended: watch::Receiver<()>) {
    let app = Router::new().route("/", post(receive)).layer(DefaultBodyLimit::max(MAX_BODY_BYTES)).with_state(site);
    let until = async move {
        // Either way, a signal or the sender's end, it is over.
        let _over = ended.changed().await;
    };
    if let Err(error) = axum::serve(listener, app).with_graceful_shutdown(until).await {
        tracing::error!(%error, "the development chain's JSON-RPC server ended");
    }
}

async fn receive(State(site): State<Site>, body: Bytes) -> Response {
    let request = match serde_json::from_slice::<Value>(&body) {
        Ok(request) => request,
        Err(error) => {
            return json_response(&failure(&Value::Null, RpcError::new(PARSE_ERROR, format!("parse error: {error}"))));
        }
    };
    let outcome = match request {
        Value::Array(requests) if requests.is_empty() => {
            Ok(vec![failure(&Value::Null, RpcError::new(INVALID_REQUEST, "empty batch"))])
        }
        Value::Array(requests) if requests.len() > MAX_BATCH_REQUESTS => {
            let message = format!("batch too large: {} requests, limit {MAX_BATCH_REQUESTS}", requests.len());
            Ok(vec![failure(&Value::Null, RpcError::new(INVALID_REQUEST, message))])
        }
        Value::Array(requests) => match answer_batch(&site, requests).await {
            Ok(answers) if !answers.is_empty() => return json_response(&Value::Array(answers)),
            outcome => outcome,
        },
        request => answer(&site, request).await,
    };
    match outcome.as_deref() {
        Ok([]) => StatusCode::NO_CONTENT.into_response(),
        Ok([answer]) => json_response(answer),
        Ok(answers) => json_response(&Value::Array(answers.to_vec())),
        Err(Broken::Dropped) => Response::new(Body::new(ClosedConnection)),
        Err(Broken::Status(status)) => status.into_response(),
        Err(Broken::Garbage) => "<html>the node is in another castle</html>".into_response(),
    }
}

fn json_response(answer: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], answer.to_string()).into_response()
}

/// An injected fault took the whole HTTP answer.
enum Broken {
    Dropped,
    Status(StatusCode),
    Garbage,
}

async fn answer_batch(site: &Site, requests: Vec<Value>) -> Result<Vec<Value>, Broken> {
    let mut answers = Vec::with_capacity(requests.len());
    for request in requests {
        answers.extend(answer(site, request).await?);
        // A long batch must not keep other requests waiting.
        tokio::task::yield_now().await;
    }
    Ok(answers)
}

/// Answers one request, usually once; a notification (no id) has no answer.
async fn answer(site: &Site, request: Value) -> Result<Vec<Value>, Broken> {
    let Value::Object(mut request) = request else {
        return Ok(vec![failure(&Value::Null, RpcError::new(INVALID_REQUEST, "a request must be an object"))]);
    };
    let id = request.remove("id");
    let answered_id = id.clone().unwrap_or_default();
    if !matches!(answered_id, Value::Null | Value::String(_) | Value::Number(_)) {
        return Ok(vec![failure(&Value::Null, RpcError::new(INVALID_REQUEST, "id must be a string or a number"))]);
    }
    if request.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return Ok(vec![failure(&answered_id, RpcError::new(INVALID_REQUEST, "jsonrpc must be \"2.0\""))]);
    }
    let Some(Value::String(method)) = request.remove("method") else {
        return Ok(vec![failure(&answered_id, RpcError::new(INVALID_REQUEST, "method must be a string"))]);
    };
    let params = match request.remove("params") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(params)) => params,
        Some(_) => {
            return Ok(vec![failure(&answered_id, RpcError::params("params must be an array"))]);
        }
    };
    let Executed { result, answers } = execute_with_faults(site, &method, &params).await?;
    if id.is_none() {
        return Ok(Vec::new());
    }
    let answer = match result {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": answered_id, "result": result }),
        Err(error) => failure(&answered_id, error),
    };
    Ok(vec![answer; answers])
}

fn failure(id: &Value, error: RpcError) -> Value {
    let mut body = json!({ "code": error.code, "message": error.message });
    if let (Some(data), Value::Object(fields)) = (error.data, &mut body) {
        fields.insert("data".to_owned(), Value::String(data));
    }
    json!({ "jsonrpc": "2.0", "id": id, "error": body })
}

/// What a method answers, and how often.
struct Executed {
    result: RpcResult,
    answers: usize,
}

async fn execute_with_faults(site: &Site, method: &str, params: &[Value]) -> Result<Executed, Broken> {
    // Faults can always be ended, whatever was injected.
    let faults = if method.starts_with("dev_") { Vec::new() } else { site.faults.take(method) };
    let mut view = View { node: &site.node, faults: &site.faults, reception: Reception::Normal, unseen_blocks: 0 };
    let (mut dropped, mut twice, mut answers) = (false, false, 1);
    let mut instead = None;
    for fault in faults {
        match fault {
            Fault::Delay(duration) => tokio::time::sleep(duration).await,
            Fault::DropAnswer => dropped = true,
            Fault::HoldTransaction => view.reception = Reception::Held,
            Fault::LoseTransaction => view.reception = Reception::Lost,
            Fault::StaleHead(blocks) => view.unseen_blocks = blocks,
            Fault::ExecuteTwice => twice = true,
            Fault::AnswerTwice => answers = 2,
            Fault::Error { code, message } => instead = Some(Err(RpcError::new(code, message))),
            Fault::Answer(value) => instead = Some(Ok(value)),
            Fault::Garbage => return Err(Broken::Garbage),
            Fault::HttpStatus(status) => {
                return Err(Broken::Status(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)));
            }
        }
    }
    if let Some(result) = instead {
        return if dropped { Err(Broken::Dropped) } else { Ok(Executed { result, answers }) };
    }
    let result = dispatch(&view, method, params);
    if twice {
        // Only its effects matter.
        drop(dispatch(&view, method, params));
    }
    if dropped { Err(Broken::Dropped) } else { Ok(Executed { result, answers }) }
}

fn dispatch(view: &View<'_>, method: &str, params: &[Value]) -> RpcResult {
    let params = params::Params(params);
    if let Some(result) = eth::call(view, method, params) {
        return result;
    }
    if let Some(result) = dev::call(view, method, params) {
        return result;
    }
    Err(RpcError::new(METHOD_NOT_FOUND, format!("the method {method} does not exist/is not available")))
}

/// A body that fails at once: hyper then closes the connection, which is what a client sees of a lost answer.
struct ClosedConnection;

impl HttpBody for ClosedConnection {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        Poll::Ready(Some(Err(std::io::Error::other("the answer was dropped on purpose"))))
    }
}
