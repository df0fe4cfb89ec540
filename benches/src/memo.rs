//! The chain's answers from memory: what was read once is answered again without asking, for every question of the same
//! shape. What is left of a verification is then the facilitator's own cost.
//!
//! It remembers by the shape because every measured payment is new: payers, nonces and signatures differ, and the answer
//! to a good payment is always the same. So it is only for payments that are all good, or all bad in the same way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use serde_json::value::RawValue;

/// What is the same for all payments: reads of the chain as it stands.
const READS: [&str; 11] = [
    "eth_blockNumber",
    "eth_call",
    "eth_chainId",
    "eth_estimateGas",
    "eth_feeHistory",
    "eth_gasPrice",
    "eth_getBalance",
    "eth_getBlockByNumber",
    "eth_getCode",
    "eth_getTransactionCount",
    "eth_maxPriorityFeePerGas",
];
/// A call's selector as text, with its `0x`.
const SELECTOR_CHARS: usize = 10;

/// Answers by the shape of their question.
#[derive(Debug, Default)]
pub struct Memo(Mutex<HashMap<String, Arc<RawValue>>>);

/// The one parameter of a call that says what is called.
#[derive(Deserialize)]
struct Target<'a> {
    #[serde(borrow)]
    to: Option<&'a str>,
    #[serde(borrow, alias = "input")]
    data: Option<&'a str>,
}

impl Memo {
    /// What was answered to such a question.
    pub fn answer(&self, shape: &str) -> Option<Arc<RawValue>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(shape).cloned()
    }

    /// Remembers an answer.
    pub fn learn(&self, shape: String, answer: &RawValue) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(shape, Arc::from(answer.to_owned()));
    }
}

/// The shape of a question, if its answer may be remembered. Of calls it is the contract, the function and the length: two
/// payments are the same question, one payment and a batch of three are not.
pub fn shape(method: &str, params: &str) -> Option<String> {
    if !READS.contains(&method) {
        return None;
    }
    if !matches!(method, "eth_call" | "eth_estimateGas") {
        return Some(format!("{method} {params}"));
    }
    let params: Vec<&RawValue> = serde_json::from_str(params).ok()?;
    let target: Target<'_> = serde_json::from_str(params.first()?.get()).ok()?;
    let (to, data) = (target.to?, target.data?);
    Some(format!("{method} {to} {} {} {}", data.get(..SELECTOR_CHARS)?, data.len(), params.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_one_length_are_one_question_and_broadcasts_are_none() {
        let call = |data: &str| shape("eth_call", &format!(r#"[{{"to":"0x01","data":"{data}"}},"latest"]"#));
        assert_eq!(call("0x11223344aa"), call("0x11223344bb"));
        assert_ne!(call("0x11223344aa"), call("0x11223344aabb"));
        assert_ne!(call("0x11223344aa"), call("0x11223355aa"));
        assert_eq!(shape("eth_sendRawTransaction", r#"["0x02"]"#), None);
    }
}
