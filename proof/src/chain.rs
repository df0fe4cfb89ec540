//! What the chain itself shows of payments: every use of an authorization, and every transaction that carried one.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_sol_types::{SolCall, sol};
use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::invariants::Authorization;
use crate::rpc::Rpc;

/// How many blocks' logs are asked for at once.
const MAX_RANGE_BLOCKS: u64 = 500;
/// How many blocks are asked for in one batch.
const MAX_BATCH_BLOCKS: usize = 100;

sol! {
    struct Call3 { address target; bool allowFailure; bytes callData; }
    function aggregate3(Call3[] calls);
    function transferWithAuthorization(
        address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce, bytes signature);
}

/// `transferWithAuthorization` in its older form, with the signature in three parts.
mod split {
    use alloy_sol_types::sol;

    sol! {
        function transferWithAuthorization(
            address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce,
            uint8 v, bytes32 r, bytes32 s);
    }
}

/// Money that moved by an authorization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// To whom.
    pub to: Address,
    /// How much, in atomic units.
    pub amount: U256,
    /// In which transaction.
    pub transaction: B256,
}

/// What a chain shows.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// What each used authorization moved.
    pub used: BTreeMap<Authorization, Moved>,
    /// Every mined transaction of the facilitator's that carried an authorization.
    pub carried: BTreeMap<Authorization, Vec<B256>>,
    /// How many transactions of the facilitator's were mined.
    pub mined: usize,
    /// What should not be there at all, in words.
    pub strays: Vec<String>,
}

/// Reads the whole chain.
pub async fn read(rpc: &Rpc, token: Address, senders: &[Address]) -> Result<Ledger> {
    let head = rpc.number("eth_blockNumber", json!([])).await?;
    let mut ledger = Ledger::default();
    let mut from = 0;
    while from <= head {
        let to = from.saturating_add(MAX_RANGE_BLOCKS - 1).min(head);
        let range = json!([{"address": token.to_string(), "fromBlock": format!("{from:#x}"), "toBlock": format!("{to:#x}")}]);
        let logs = rpc.call("eth_getLogs", range).await?;
        ledger.add_logs(logs.as_array().context("logs are a list")?)?;
        from = to.saturating_add(1);
    }
    let heights: Vec<u64> = (0..=head).collect();
    for heights in heights.chunks(MAX_BATCH_BLOCKS) {
        let calls = heights.iter().map(|height| {
            let params = json!([format!("{height:#x}"), true]);
            json!({"jsonrpc": "2.0", "id": height, "method": "eth_getBlockByNumber", "params": params})
        });
        let blocks = rpc.exchange(&Value::Array(calls.collect())).await?;
        for block in blocks.as_array().context("a batch is answered by a list")? {
            ledger.add_block(block.get("result").context("a block")?, senders)?;
        }
    }
    Ok(ledger)
}

impl Ledger {
    fn add_logs(&mut self, logs: &[Value]) -> Result<()> {
        let used = keccak256("AuthorizationUsed(address,bytes32)");
        let moved = keccak256("Transfer(address,address,uint256)");
        let kind = |log: &Value| topic(log, 0);
        for (place, log) in logs.iter().enumerate() {
            if kind(log)? != used {
                continue;
            }
            let payer = Address::from_word(topic(log, 1)?);
            let nonce = topic(log, 2)?;
            let transaction: B256 = text(log, "transactionHash")?.parse()?;
            // The token logs the use and right after it the transfer, in the same transaction.
            let transfer =
                logs.get(place.saturating_add(1)).filter(|next| next.get("transactionHash") == log.get("transactionHash"));
            let transfer = transfer.filter(|next| kind(next).is_ok_and(|kind| kind == moved));
            let Some(transfer) = transfer.filter(|next| topic(next, 1).is_ok_and(|from| Address::from_word(from) == payer))
            else {
                self.strays.push(format!("authorization {nonce} of {payer} was used in {transaction} and moved nothing"));
                continue;
            };
            let amount = U256::try_from_be_slice(&text(transfer, "data")?.parse::<Bytes>()?).context("an amount")?;
            let moved = Moved { to: Address::from_word(topic(transfer, 2)?), amount, transaction };
            if let Some(before) = self.used.insert((payer, nonce), moved) {
                self.strays.push(format!("authorization {nonce} of {payer} was used twice: {} too", before.transaction));
            }
        }
        Ok(())
    }

    fn add_block(&mut self, block: &Value, senders: &[Address]) -> Result<()> {
        for transaction in block.get("transactions").and_then(Value::as_array).context("a block has transactions")? {
            let from: Address = text(transaction, "from")?.parse()?;
            if !senders.contains(&from) {
                continue;
            }
            self.mined = self.mined.saturating_add(1);
            let hash: B256 = text(transaction, "hash")?.parse()?;
            let input: Bytes = text(transaction, "input")?.parse()?;
            let authorizations = carried_by(&input);
            if authorizations.is_empty() && !input.is_empty() {
                self.strays.push(format!("{hash} of {from} is none of the calls that a facilitator signs"));
            }
            for authorization in authorizations {
                self.carried.entry(authorization).or_default().push(hash);
            }
        }
        Ok(())
    }
}

/// The authorizations in a call, also in a call of several.
fn carried_by(input: &[u8]) -> Vec<Authorization> {
    if let Ok(call) = transferWithAuthorizationCall::abi_decode(input) {
        return vec![(call.from, call.nonce)];
    }
    if let Ok(call) = split::transferWithAuthorizationCall::abi_decode(input) {
        return vec![(call.from, call.nonce)];
    }
    match aggregate3Call::abi_decode(input) {
        Ok(several) => several.calls.iter().flat_map(|call| carried_by(&call.callData)).collect(),
        Err(_) => Vec::new(),
    }
}

fn topic(log: &Value, at: usize) -> Result<B256> {
    let topic = log.get("topics").and_then(|topics| topics.get(at)).and_then(Value::as_str);
    Ok(topic.context("the log has fewer topics")?.parse()?)
}

fn text<'a>(value: &'a Value, field: &str) -> Result<&'a str> {
    value.get(field).and_then(Value::as_str).with_context(|| format!("{field} is missing"))
}
