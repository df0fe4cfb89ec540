//! The only file that talks to a node: JSON-RPC over HTTP.
//!
//! A [`Node`] answers many calls in one round trip, which is what its users count. It says nothing of the node's address
//! in any error, because that may carry an API key, and tells apart what is a fact of the chain ([`CallError`], such as
//! a revert) from what is only the node's trouble ([`NodeError`]): a payment is never refused for the latter.

use std::fmt::Write as _;
use std::time::Duration;

use alloy_primitives::{Address, B256, Bytes, hex};
use farthing_core::BoxFuture;
use farthing_core::network::Network;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::abi::{plain, revert_reason};
use crate::config::{ConfigError, NodeConfig};

const MAX_RESPONSE_BYTES: usize = 16 * 1024 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);
/// How many blocks of fee history are asked for, and where in each block's tips the suggestion lies, in per cent.
const FEE_HISTORY_BLOCKS: u8 = 5;
const FEE_HISTORY_PERCENTILE: u8 = 50;
/// The JSON-RPC code with which nodes report a revert that has data.
const REVERT_CODE: i64 = 3;

/// Something that answers JSON-RPC calls: a node, or a test's double.
pub trait Node: Send + Sync {
    /// Asks all of it in one round trip. There is one answer for each call, in the same order.
    fn ask<'a>(&'a self, calls: &'a [Call]) -> BoxFuture<'a, Result<Vec<Answer>, NodeError>>;
}

/// One call. Its parameters may carry signatures and signed transactions, so they are not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Call {
    /// The JSON-RPC method.
    pub method: &'static str,
    /// Its parameters, a JSON array.
    pub params: String,
}

/// What a node answered to one call: JSON, or why it did not.
pub type Answer = Result<Box<RawValue>, CallError>;

/// A JSON-RPC error object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node answered with error {code}: {message}")]
pub struct CallError {
    /// The code.
    pub code: i64,
    /// The message, cut short.
    pub message: String,
    /// What a contract reverted with.
    pub data: Option<Bytes>,
}

/// Why a node gave no usable answer. Never carries its address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// It did not answer in time.
    #[error("the node did not answer in time")]
    TimedOut,
    /// No connection, or it broke.
    #[error("the node cannot be reached")]
    Unreachable,
    /// An HTTP status instead of an answer.
    #[error("the node answered with HTTP status {0}")]
    Status(u16),
    /// The answer is longer than any that makes sense.
    #[error("the node's answer is longer than {MAX_RESPONSE_BYTES} bytes")]
    TooLarge,
    /// The answer is not one to the question.
    #[error("the node's answer to {0} makes no sense")]
    Malformed(&'static str),
    /// It refused to answer.
    #[error("{method}: {error}")]
    Refused {
        /// What it was asked.
        method: &'static str,
        /// What it said.
        #[source]
        error: CallError,
    },
    /// It is a node of another chain than configured.
    #[error("the node is of chain {got}, expected {expected}; correct the configured rpc_url or network")]
    OtherChain {
        /// The configured chain id.
        expected: u64,
        /// The node's chain id.
        got: u64,
    },
}

/// What a read-only execution did: it returned, or it reverted.
pub type Executed = Result<Bytes, Revert>;

/// A revert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revert {
    /// Why, in words.
    pub reason: String,
}

/// A mined transaction.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Receipt {
    /// Which transaction.
    pub transaction_hash: B256,
    /// Whether it succeeded.
    #[serde(rename = "status", deserialize_with = "status")]
    pub succeeded: bool,
    /// The block that holds it.
    #[serde(deserialize_with = "quantity_field")]
    pub block_number: u64,
    /// The gas that it used.
    #[serde(deserialize_with = "quantity_field")]
    pub gas_used: u64,
    /// What its contracts logged.
    pub logs: Vec<Log>,
}

/// One event of a contract.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Log {
    /// The contract.
    pub address: Address,
    /// The event's kind, and what is indexed of it.
    pub topics: Vec<B256>,
    /// The rest of it.
    pub data: Bytes,
}

/// What the next blocks will cost, as far as the last ones tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeeHistory {
    /// The next block's base fee for a unit of gas, in wei.
    pub base_fee_wei: u128,
    /// The median tip of recent blocks for a unit of gas, in wei.
    pub tip_wei: u128,
}

impl Call {
    /// Which chain the node is of.
    pub fn chain_id() -> Self {
        Self { method: "eth_chainId", params: "[]".to_owned() }
    }

    /// The height of the chain.
    pub fn block_number() -> Self {
        Self { method: "eth_blockNumber", params: "[]".to_owned() }
    }

    /// The code of an account.
    pub fn code(address: Address) -> Self {
        Self { method: "eth_getCode", params: format!(r#"["{address:?}","latest"]"#) }
    }

    /// Executes a call and forgets it.
    pub fn execute(to: Address, data: &[u8]) -> Self {
        let data = hex::encode_prefixed(data);
        Self { method: "eth_call", params: format!(r#"[{{"to":"{to:?}","data":"{data}"}},"latest"]"#) }
    }

    /// The gas that a call would use.
    pub fn estimate_gas(from: Address, to: Address, data: &[u8]) -> Self {
        let data = hex::encode_prefixed(data);
        Self { method: "eth_estimateGas", params: format!(r#"[{{"from":"{from:?}","to":"{to:?}","data":"{data}"}}]"#) }
    }

    /// What recent blocks cost.
    pub fn fee_history() -> Self {
        let params = format!(r#"["0x{FEE_HISTORY_BLOCKS:x}","latest",[{FEE_HISTORY_PERCENTILE}]]"#);
        Self { method: "eth_feeHistory", params }
    }

    /// How many transactions an account has in blocks.
    pub fn mined_count(address: Address) -> Self {
        Self { method: "eth_getTransactionCount", params: format!(r#"["{address:?}","latest"]"#) }
    }

    /// How many transactions an account has in blocks and in the pool.
    pub fn pending_count(address: Address) -> Self {
        Self { method: "eth_getTransactionCount", params: format!(r#"["{address:?}","pending"]"#) }
    }

    /// Broadcasts a signed transaction.
    pub fn broadcast(signed: &[u8]) -> Self {
        Self { method: "eth_sendRawTransaction", params: format!(r#"["{}"]"#, hex::encode_prefixed(signed)) }
    }

    /// A transaction, mined or not.
    pub fn transaction(hash: B256) -> Self {
        Self { method: "eth_getTransactionByHash", params: format!(r#"["{hash}"]"#) }
    }

    /// What became of a transaction.
    pub fn receipt(hash: B256) -> Self {
        Self { method: "eth_getTransactionReceipt", params: format!(r#"["{hash}"]"#) }
    }
}

/// An answer that is a number.
pub fn quantity(answer: &Answer, method: &'static str) -> Result<u64, NodeError> {
    let text: &str = read(answer, method)?;
    parse_quantity(text).and_then(|number| number.try_into().ok()).ok_or(NodeError::Malformed(method))
}

/// An answer that is bytes.
pub fn bytes(answer: &Answer, method: &'static str) -> Result<Bytes, NodeError> {
    read(answer, method)
}

/// The answer to [`Call::execute`] or [`Call::estimate_gas`]: a revert is an answer, too.
pub fn executed(answer: &Answer) -> Result<Executed, NodeError> {
    match answer {
        Err(error) if error.is_revert() => Ok(Err(error.revert())),
        _ => read(answer, "eth_call").map(Ok),
    }
}

/// The answer to [`Call::receipt`]; `None` while the transaction is not mined.
pub fn receipt(answer: &Answer) -> Result<Option<Receipt>, NodeError> {
    read(answer, "eth_getTransactionReceipt")
}

/// The answer to [`Call::transaction`]: whether the node has heard of it.
pub fn is_known(answer: &Answer) -> Result<bool, NodeError> {
    read::<Option<serde::de::IgnoredAny>>(answer, "eth_getTransactionByHash").map(|found| found.is_some())
}

/// The answer to [`Call::fee_history`].
pub fn fee_history(answer: &Answer) -> Result<FeeHistory, NodeError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Fields {
        base_fee_per_gas: Vec<String>,
        #[serde(default)]
        reward: Option<Vec<Vec<String>>>,
    }
    const METHOD: &str = "eth_feeHistory";
    let fields: Fields = read(answer, METHOD)?;
    let base_fee_wei = fields.base_fee_per_gas.last().and_then(|fee| parse_quantity(fee));
    let mut tips: Vec<u128> = Vec::new();
    for tip in fields.reward.unwrap_or_default().iter().filter_map(|block| block.first()) {
        tips.push(parse_quantity(tip).ok_or(NodeError::Malformed(METHOD))?);
    }
    tips.sort_unstable();
    let tip_wei = tips.get(tips.len() / 2).copied().unwrap_or_default();
    Ok(FeeHistory { base_fee_wei: base_fee_wei.ok_or(NodeError::Malformed(METHOD))?, tip_wei })
}

impl CallError {
    /// Whether this is what a contract did, as opposed to the node's own trouble.
    pub fn is_revert(&self) -> bool {
        let message = self.message.to_ascii_lowercase();
        let by_message = ["revert", "out of gas", "invalid opcode", "invalid jump", "stack underflow"];
        self.code == REVERT_CODE || self.data.is_some() || by_message.iter().any(|words| message.contains(words))
    }

    fn revert(&self) -> Revert {
        let reason = match &self.data {
            Some(data) if !data.is_empty() => revert_reason(data),
            _ => plain(&self.message),
        };
        Revert { reason }
    }
}

impl Revert {
    /// The revert that a contract's bytes describe.
    pub fn from_data(data: &[u8]) -> Self {
        Self { reason: revert_reason(data) }
    }
}

impl std::fmt::Debug for Call {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Call({})", self.method)
    }
}

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
fn request_body(calls: &[Call]) -> String {
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
fn answers(calls: &[Call], body: &[u8]) -> Result<Vec<Answer>, NodeError> {
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

fn read<'a, T: Deserialize<'a>>(answer: &'a Answer, method: &'static str) -> Result<T, NodeError> {
    match answer {
        Ok(json) => serde_json::from_str(json.get()).map_err(|_| NodeError::Malformed(method)),
        Err(error) => Err(NodeError::Refused { method, error: error.clone() }),
    }
}

fn parse_quantity(text: &str) -> Option<u128> {
    let digits = text.strip_prefix("0x").filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    u128::from_str_radix(digits, 16).ok()
}

fn quantity_field<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
    let number = parse_quantity(&text).and_then(|number| number.try_into().ok());
    number.ok_or_else(|| serde::de::Error::custom("expected a quantity such as 0x1"))
}

fn status<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    match quantity_field(deserializer)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(serde::de::Error::custom("expected a status of 0x0 or 0x1")),
    }
}

#[cfg(test)]
mod tests;
