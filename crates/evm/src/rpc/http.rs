//! A node behind HTTP: batches written, answers sorted, and nothing of its address told.

use std::fmt::Write as _;
use std::time::Duration;

use alloy_primitives::Bytes;
use farthing_core::BoxFuture;
use farthing_core::network::Network;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Answer, Call, CallError, MAX_RESPONSE_BYTES, Node, NodeError};
use crate::abi::plain;
use crate::config::{ConfigError, NodeConfig};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);

/// A node behind HTTP. Connections are kept; redirects and proxies of the environment are not followed.
pub struct HttpNode {
    http: reqwest::Client,
    url: reqwest::Url,
    max_batch_calls: usize,
}

impl HttpNode {
    /// Connects to nothing yet.
    pub fn new(network: &Network, config: &NodeConfig) -> Result<Self, ConfigError> {
        let bad_url = || ConfigError::RpcUrl(network.clone());
        let url = reqwest::Url::parse(config.rpc_url.expose()).map_err(|_| bad_url())?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(bad_url());
        }
        if config.max_batch_calls == 0 {
            return Err(ConfigError::Limit { field: "max_batch_calls", expected: "at least 1", got: "0".to_owned() });
        }
        let http = reqwest::Client::builder()
            .timeout(config.request_timeout())
            .connect_timeout(CONNECT_TIMEOUT.min(config.request_timeout()))
            .pool_idle_timeout(IDLE_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(|_| bad_url())?;
        Ok(Self { http, url, max_batch_calls: config.max_batch_calls })
    }

    async fn exchange(&self, calls: &[Call]) -> Result<Vec<Answer>, NodeError> {
        let mut response = self
            .http
            .post(self.url.clone())
            .header(reqwest::header::CONTENT_TYPE, "application/json")
            .body(request_body(calls))
            .send()
            .await
            .map_err(|error| without_address(&error))?;
        let status = response.status();
        if status == reqwest::StatusCode::TOO_MANY_REQUESTS {
            // Whatever it says besides, it says it to everybody.
            return Err(NodeError::Status(status.as_u16()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| without_address(&error))? {
            if body.len().saturating_add(chunk.len()) > MAX_RESPONSE_BYTES {
                return Err(NodeError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        match answers(calls, &body) {
            // Some nodes report a call's error with an HTTP status of its own.
            Err(NodeError::Malformed(_)) if !status.is_success() => Err(NodeError::Status(status.as_u16())),
            answers => answers,
        }
    }
}

impl Node for HttpNode {
    fn ask<'a>(&'a self, calls: &'a [Call]) -> BoxFuture<'a, Result<Vec<Answer>, NodeError>> {
        Box::pin(async move {
            if calls.len() <= self.max_batch_calls {
                return self.exchange(calls).await;
            }
            let batches = calls.chunks(self.max_batch_calls).map(|batch| self.exchange(batch));
            let batches = futures_util::future::try_join_all(batches).await?;
            Ok(batches.into_iter().flatten().collect())
        })
    }
}

impl std::fmt::Debug for HttpNode {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("HttpNode(…)")
    }
}

/// One call is written as an object, several as an array: nodes that know no batches can then be used one by one.
pub(super) fn request_body(calls: &[Call]) -> String {
    let mut body = String::with_capacity(calls.iter().map(|call| call.params.len().saturating_add(96)).sum());
    let batch = calls.len() != 1;
    for (id, call) in calls.iter().enumerate() {
        body.push_str(match (batch, id) {
            (true, 0) => "[",
            (true, _) => ",",
            (false, _) => "",
        });
        let Call { method, params } = call;
        let written = write!(body, r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#);
        debug_assert!(written.is_ok(), "writing to a string cannot fail");
    }
    if batch {
        body.push_str(if calls.is_empty() { "[]" } else { "]" });
    }
    body
}

/// One JSON-RPC answer. A missing `result` reads as null, which is what it means for receipts.
#[derive(Deserialize)]
struct Reply<'a> {
    #[serde(default)]
    id: Option<u64>,
    #[serde(default, borrow)]
    result: Option<&'a RawValue>,
    #[serde(default)]
    error: Option<ErrorObject>,
}

#[derive(Deserialize)]
struct ErrorObject {
    #[serde(default)]
    code: i64,
    #[serde(default)]
    message: String,
    #[serde(default)]
    data: Option<serde_json::Value>,
}

/// Sorts the answers into the order of the calls.
pub(super) fn answers(calls: &[Call], body: &[u8]) -> Result<Vec<Answer>, NodeError> {
    let method = calls.first().map_or("nothing", |call| call.method);
    let malformed = || NodeError::Malformed(method);
    let is_array = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    if !is_array {
        let reply: Reply<'_> = serde_json::from_slice(body).map_err(|_| malformed())?;
        if calls.len() == 1 {
            return Ok(vec![answer(reply)]);
        }
        return Err(reply.error.map_or_else(malformed, |error| NodeError::Refused { method, error: error.into() }));
    }
    let replies: Vec<Reply<'_>> = serde_json::from_slice(body).map_err(|_| malformed())?;
    let mut answers: Vec<Option<Answer>> = vec![None; calls.len()];
    for reply in replies {
        let id = reply.id.and_then(|id| usize::try_from(id).ok()).ok_or_else(malformed)?;
        let place = answers.get_mut(id).filter(|place| place.is_none()).ok_or_else(malformed)?;
        *place = Some(answer(reply));
    }
    answers.into_iter().collect::<Option<Vec<Answer>>>().ok_or_else(malformed)
}

fn answer(reply: Reply<'_>) -> Answer {
    match (reply.error, reply.result) {
        (Some(error), _) => Err(error.into()),
        (None, Some(result)) => Ok(result.to_owned()),
        (None, None) => Ok(RawValue::NULL.to_owned()),
    }
}

impl From<ErrorObject> for CallError {
    fn from(error: ErrorObject) -> Self {
        let data = error.data.as_ref().and_then(revert_data);
        Self { code: error.code, message: plain(&error.message), data }
    }
}

/// Where nodes put the bytes of a revert: in `data`, in `data.data`, or after the word "Reverted".
fn revert_data(data: &serde_json::Value) -> Option<Bytes> {
    let text = data.as_str().or_else(|| data.get("data")?.as_str())?;
    let text = text.strip_prefix("Reverted ").unwrap_or(text);
    crate::text::any_hex(text).map(Bytes::from)
}

/// What went wrong with an exchange, without the address that the HTTP client would mention.
fn without_address(error: &reqwest::Error) -> NodeError {
    if error.is_timeout() { NodeError::TimedOut } else { NodeError::Unreachable }
}
