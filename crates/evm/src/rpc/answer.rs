//! What nodes answer, read strictly: an answer that is not the expected one is no answer.

use alloy_primitives::{Address, B256, Bytes, U256};
use serde::Deserialize;

use super::{Answer, CallError, NodeError};
use crate::abi::{plain, revert_reason};

/// What a read-only execution did: it returned, or it reverted.
pub type Executed = Result<Bytes, Revert>;

/// A revert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revert {
    /// Why, in words.
    pub reason: String,
    /// Which of its errors a contract reverted with, if it said so.
    pub selector: Option<[u8; 4]>,
}

/// A transaction, mined or not, as far as it is looked at.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Sent {
    /// Which.
    pub hash: B256,
    /// Who sent it.
    pub from: Address,
    /// The contract that it calls; `None` if it makes one.
    pub to: Option<Address>,
    /// The call.
    pub input: Bytes,
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
    /// That block's hash: another block at the same height is another history.
    pub block_hash: B256,
    /// The gas that it used.
    #[serde(deserialize_with = "quantity_field")]
    pub gas_used: u64,
    /// What it paid for one unit of gas, in wei.
    #[serde(rename = "effectiveGasPrice", deserialize_with = "wei_field")]
    pub effective_gas_price_wei: u128,
    /// What a rollup charges besides, for its data on the chain below, in wei.
    #[serde(rename = "l1Fee", default, deserialize_with = "optional_wei_field")]
    pub data_fee_wei: Option<u128>,
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

/// An event that was looked for, and where it was found.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MinedLog {
    /// The event.
    #[serde(flatten)]
    pub log: Log,
    /// The transaction that caused it.
    pub transaction_hash: B256,
    /// The block that holds it.
    #[serde(deserialize_with = "quantity_field")]
    pub block_number: u64,
    /// That block's hash.
    pub block_hash: B256,
}

/// A block.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Block {
    /// Its height.
    #[serde(deserialize_with = "quantity_field")]
    pub number: u64,
    /// Its hash.
    pub hash: B256,
    /// The hash of the block before it.
    pub parent_hash: B256,
    /// When it was made, in seconds since 1970.
    #[serde(rename = "timestamp", deserialize_with = "quantity_field")]
    pub timestamp_seconds: u64,
    /// What one unit of gas cost in it at least, in wei; `None` on chains that have no such thing.
    #[serde(rename = "baseFeePerGas", default, deserialize_with = "optional_wei_field")]
    pub base_fee_wei: Option<u128>,
    /// The hashes of its transactions, in their order.
    pub transactions: Vec<B256>,
}

/// What the next blocks will cost, as far as the last ones tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeeHistory {
    /// The next block's base fee for a unit of gas, in wei.
    pub base_fee_wei: u128,
    /// The median tip of recent blocks for a unit of gas, in wei.
    pub tip_wei: u128,
}

/// An answer that is a number.
pub fn quantity(answer: &Answer, method: &'static str) -> Result<u64, NodeError> {
    let text: &str = read(answer, method)?;
    parse_quantity(text).and_then(|number| number.try_into().ok()).ok_or(NodeError::Malformed(method))
}

/// An answer that is an amount of the chain's own coin, in wei.
pub fn wei(answer: &Answer, method: &'static str) -> Result<U256, NodeError> {
    let text: &str = read(answer, method)?;
    digits(text).and_then(|digits| U256::from_str_radix(digits, 16).ok()).ok_or(NodeError::Malformed(method))
}

/// An answer that is bytes.
pub fn bytes(answer: &Answer, method: &'static str) -> Result<Bytes, NodeError> {
    read(answer, method)
}

/// The answer to [`Call::execute`](super::Call::execute), [`Call::execute_with_code`](super::Call::execute_with_code) or [`Call::estimate_gas`](super::Call::estimate_gas): a revert is an answer, too.
pub fn executed(answer: &Answer) -> Result<Executed, NodeError> {
    match answer {
        Err(error) if error.is_revert() => Ok(Err(error.revert())),
        _ => read(answer, "eth_call").map(Ok),
    }
}

/// The answer to [`Call::receipt`](super::Call::receipt); `None` while the transaction is not mined.
pub fn receipt(answer: &Answer) -> Result<Option<Receipt>, NodeError> {
    read(answer, "eth_getTransactionReceipt")
}

/// The answer to [`Call::transaction`](super::Call::transaction), in full; `None` if the node has not heard of it.
pub fn transaction(answer: &Answer) -> Result<Option<Sent>, NodeError> {
    read(answer, "eth_getTransactionByHash")
}

/// The answer to [`Call::block`](super::Call::block); `None` if the node has no such block.
pub fn block(answer: &Answer) -> Result<Option<Block>, NodeError> {
    read(answer, "eth_getBlockByNumber")
}

/// The answer to [`Call::logs`](super::Call::logs).
pub fn logs(answer: &Answer) -> Result<Vec<MinedLog>, NodeError> {
    read(answer, "eth_getLogs")
}

/// The answer to [`Call::transaction`](super::Call::transaction): whether the node has heard of it.
pub fn is_known(answer: &Answer) -> Result<bool, NodeError> {
    read::<Option<serde::de::IgnoredAny>>(answer, "eth_getTransactionByHash").map(|found| found.is_some())
}

/// The answer to [`Call::fee_history`](super::Call::fee_history).
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

impl Receipt {
    /// What it cost its sender, in wei.
    pub fn cost_wei(&self) -> u128 {
        let execution = self.effective_gas_price_wei.saturating_mul(self.gas_used.into());
        execution.saturating_add(self.data_fee_wei.unwrap_or_default())
    }
}

impl Revert {
    /// The revert that a contract's bytes describe.
    pub fn from_data(data: &[u8]) -> Self {
        Self { reason: revert_reason(data), selector: data.first_chunk().copied() }
    }
}

impl CallError {
    fn revert(&self) -> Revert {
        match &self.data {
            Some(data) if !data.is_empty() => Revert::from_data(data),
            _ => Revert { reason: plain(&self.message), selector: None },
        }
    }
}

fn read<'a, T: Deserialize<'a>>(answer: &'a Answer, method: &'static str) -> Result<T, NodeError> {
    match answer {
        Ok(json) => serde_json::from_str(json.get()).map_err(|_| NodeError::Malformed(method)),
        Err(error) => Err(NodeError::Refused { method, error: error.clone() }),
    }
}

fn parse_quantity(text: &str) -> Option<u128> {
    u128::from_str_radix(digits(text)?, 16).ok()
}

/// The digits of a hexadecimal number; none is no number.
fn digits(text: &str) -> Option<&str> {
    let digits = text.strip_prefix("0x")?;
    (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(digits)
}

fn quantity_field<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
    let number = parse_quantity(&text).and_then(|number| number.try_into().ok());
    number.ok_or_else(|| serde::de::Error::custom("expected a quantity such as 0x1"))
}

fn wei_field<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
    let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
    parse_quantity(&text).ok_or_else(|| serde::de::Error::custom("expected a quantity such as 0x1"))
}

fn optional_wei_field<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<u128>, D::Error> {
    let text = Option::<std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
    let Some(text) = text else { return Ok(None) };
    parse_quantity(&text).map(Some).ok_or_else(|| serde::de::Error::custom("expected a quantity such as 0x1"))
}

fn status<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    match quantity_field(deserializer)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(serde::de::Error::custom("expected a status of 0x0 or 0x1")),
    }
}
