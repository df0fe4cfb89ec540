//! The only place that talks to a node: JSON-RPC over HTTP.
//!
//! A [`Node`] answers many calls in one round trip, which is what its users count. It says nothing of the node's address
//! in any error, because that may carry an API key, and tells apart what is a fact of the chain ([`CallError`], such as
//! a revert) from what is only the node's trouble ([`NodeError`]): a payment is never refused for the latter.

mod answer;
mod call;
mod health;
mod http;
mod pool;

use alloy_primitives::Bytes;
use farthing_core::BoxFuture;
use serde_json::value::RawValue;

pub use self::answer::{
    Block, Executed, FeeHistory, Log, MinedLog, Receipt, Revert, Sent, block, bytes, executed, fee_history, is_known, logs,
    quantity, receipt, transaction, wei,
};
pub use self::call::{BlockTag, Call};
pub use self::http::HttpNode;
pub use self::pool::{NodePool, POOL_PATIENCE};

const MAX_RESPONSE_BYTES: usize = 16 * 1024 * 1024;
/// The JSON-RPC code with which nodes report a revert that has data.
const REVERT_CODE: i64 = 3;
/// The JSON-RPC code for parameters that a node does not understand.
const INVALID_PARAMS_CODE: i64 = -32602;
/// The JSON-RPC code (EIP-1474) for a request above a node's limits.
const LIMIT_EXCEEDED_CODE: i64 = -32005;
/// The JSON-RPC codes for a method that a node does not have, and for its own failure.
pub(crate) const METHOD_NOT_FOUND_CODE: i64 = -32601;
const INTERNAL_ERROR_CODE: i64 = -32603;
/// What nodes answer to those who ask too often: HTTP's code, and one that several networks' public nodes use.
const RATE_LIMIT_CODES: [i64; 3] = [429, -32016, -32029];

/// Something that answers JSON-RPC calls: a node, or a test's double.
pub trait Node: Send + Sync {
    /// Asks all of it in one round trip. There is one answer for each call, in the same order.
    fn ask<'a>(&'a self, calls: &'a [Call]) -> BoxFuture<'a, Result<Vec<Answer>, NodeError>>;
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

impl NodeError {
    /// What kind of failure it is, in one word: a label of metrics.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::TimedOut => "timed_out",
            Self::Unreachable => "unreachable",
            Self::Status(_) => "status",
            Self::TooLarge => "too_large",
            Self::Malformed(_) => "malformed",
            Self::Refused { .. } => "refused",
            Self::OtherChain { .. } => "other_chain",
        }
    }
}

impl CallError {
    /// Whether this is what a contract did, as opposed to the node's own trouble.
    pub fn is_revert(&self) -> bool {
        let by_message = ["revert", "out of gas", "invalid opcode", "invalid jump", "stack underflow"];
        self.code == REVERT_CODE || self.data.is_some() || self.says(&by_message)
    }

    /// Whether this is how nodes say that they cannot execute a call under an assumed state.
    pub fn refuses_overrides(&self) -> bool {
        let by_message = ["override", "too many arguments", "too many parameters", "expected 2"];
        self.code == INVALID_PARAMS_CODE || self.says(&by_message)
    }

    /// Whether this is how nodes say that they are asked too often.
    pub fn is_rate_limit(&self) -> bool {
        let by_message = ["rate limit", "too many requests", "throughput", "compute units", "slow down", "quota"];
        RATE_LIMIT_CODES.contains(&self.code) || self.says(&by_message)
    }

    /// Whether this is how nodes say that a transaction was broadcast before.
    pub fn is_already_known(&self) -> bool {
        let by_message = ["already known", "already imported", "already in pool", "already in mempool", "alreadyknown"];
        self.says(&by_message) || (self.says(&["known transaction"]) && !self.says(&["unknown transaction"]))
    }

    /// Whether a node says that it cannot answer, for a reason that another node need not share: it failed, it lacks the
    /// method, the block or the state.
    pub fn is_own_trouble(&self) -> bool {
        let by_message = ["header not found", "missing trie node", "missing state", "unknown block", "not available"];
        let by_code = [METHOD_NOT_FOUND_CODE, INTERNAL_ERROR_CODE].contains(&self.code);
        !self.is_revert() && (by_code || self.says(&by_message))
    }

    /// Whether this is how nodes say that a query of logs covers too many blocks or finds too many logs: ask for less.
    pub fn range_is_too_large(&self) -> bool {
        let by_message =
            ["range", "more than", "too many", "limited to", "response size", "max results", "exceeds max", "query timeout"];
        self.code == LIMIT_EXCEEDED_CODE || self.says(&by_message)
    }

    fn says(&self, words: &[&str]) -> bool {
        let message = self.message.to_ascii_lowercase();
        words.iter().any(|words| message.contains(words))
    }
}

#[cfg(test)]
mod tests;
