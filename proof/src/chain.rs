//! What the chain itself shows of payments: every use of an authorization, and every transaction that carried one.
//!
//! A transfer by the token's own signature is told by the log of the authorization before it. Permit2 logs no nonce: there
//! the call tells which payments were to move, and the logs, in the same order, which of them did.

mod calls;

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_sol_types::{SolCall, sol};
use anyhow::{Context, Result};
use farthing_devnet::{PERMIT2, X402_EXACT_PERMIT2_PROXY, X402_UPTO_PERMIT2_PROXY};
use serde_json::{Value, json};

use self::calls::{Through, carried_by};
use crate::payments::{Authorization, By};
use crate::rpc::Rpc;

/// How many blocks' logs are asked for at once.
const MAX_RANGE_BLOCKS: u64 = 500;
/// How many blocks are asked for in one batch.
const MAX_BATCH_BLOCKS: usize = 100;

sol! {
    function approve(address spender, uint256 value);
    function nonceBitmap(address owner, uint256 word) returns (uint256);
}

/// Money that moved by an authorization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// To whom.
    pub to: Address,
    /// How much, in atomic units; for coin, in wei.
    pub amount: U256,
    /// In which transaction.
    pub transaction: B256,
}

/// What a chain shows.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// What each used authorization moved. Coin that payers were given is among it.
    pub used: BTreeMap<Authorization, Moved>,
    /// Every mined transaction of the facilitator's that carried an authorization.
    pub carried: BTreeMap<Authorization, Vec<B256>>,
    /// How many approvals of Permit2 each account had mined by a transaction of its own.
    pub approvals: BTreeMap<Address, usize>,
    /// How many transactions of the facilitator's were mined.
    pub mined: usize,
    /// What should not be there at all, in words.
    pub strays: Vec<String>,
    /// What proxies moved, by transaction, and nobody has claimed yet.
    unclaimed: BTreeMap<B256, Vec<Through>>,
}

/// Reads the whole chain.
pub async fn read(rpc: &Rpc, token: Address, senders: &[Address]) -> Result<Ledger> {
    let head = rpc.number("eth_blockNumber", json!([])).await?;
    let mut ledger = Ledger::default();
    let mut from = 0;
    while from <= head {
        let to = from.saturating_add(MAX_RANGE_BLOCKS - 1).min(head);
        let addresses = [token, X402_EXACT_PERMIT2_PROXY, X402_UPTO_PERMIT2_PROXY].map(|address| address.to_string());
        let range = json!([{"address": addresses, "fromBlock": format!("{from:#x}"), "toBlock": format!("{to:#x}")}]);
        let logs = rpc.call("eth_getLogs", range).await?;
        ledger.add_logs(token, logs.as_array().context("logs are a list")?)?;
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
            ledger.add_block(block.get("result").context("a block")?, token, senders)?;
        }
    }
    for (transaction, moved) in std::mem::take(&mut ledger.unclaimed) {
        ledger.strays.extend(moved.iter().map(|moved| format!("{transaction} moved {moved:?}, which no call of it was for")));
    }
    Ok(ledger)
}

/// Whether Permit2 itself calls a nonce used.
pub async fn is_used(rpc: &Rpc, owner: Address, nonce: U256) -> Result<bool> {
    let call = nonceBitmapCall { owner, word: nonce >> 8 };
    let params = json!([{"to": PERMIT2.to_string(), "data": Bytes::from(call.abi_encode()).to_string()}, "latest"]);
    let answer: Bytes = rpc.call("eth_call", params).await?.as_str().context("a call returns bytes")?.parse()?;
    Ok(nonceBitmapCall::abi_decode_returns(&answer)?.bit((nonce & U256::from(0xff)).to()))
}

impl Ledger {
    /// What moved for payments: the coin that was given for approvals is none.
    pub fn payments(&self) -> impl Iterator<Item = (&Authorization, &Moved)> {
        self.used.iter().filter(|(used, _)| used.by != By::Funding)
    }

    fn add_logs(&mut self, token: Address, logs: &[Value]) -> Result<()> {
        let used = keccak256("AuthorizationUsed(address,bytes32)");
        let moved = keccak256("Transfer(address,address,uint256)");
        let settled = ["Settled()", "SettledWithPermit()"].map(keccak256);
        let mut open: Option<(B256, Authorization)> = None;
        let mut transfer: Option<(B256, Through)> = None;
        for log in logs {
            let transaction: B256 = text(log, "transactionHash")?.parse()?;
            let (contract, event): (Address, B256) = (text(log, "address")?.parse()?, topic(log, 0)?);
            // The token logs the use and right after it the transfer, in the same transaction.
            let just_used = open.take();
            if contract != token {
                if settled.contains(&event) {
                    match transfer.take().filter(|(of, _)| *of == transaction) {
                        Some((_, through)) => {
                            self.unclaimed.entry(transaction).or_default().push(Through { proxy: contract, ..through });
                        }
                        None => self.strays.push(format!("{contract} settled in {transaction} and moved nothing")),
                    }
                }
            } else if event == moved {
                let (from, to) = (Address::from_word(topic(log, 1)?), Address::from_word(topic(log, 2)?));
                let amount = U256::try_from_be_slice(&text(log, "data")?.parse::<Bytes>()?).context("an amount")?;
                match just_used {
                    Some((of, authorization)) if of == transaction && authorization.payer == from => {
                        self.uses(authorization, Moved { to, amount, transaction });
                        continue;
                    }
                    _ => transfer = Some((transaction, Through { proxy: Address::ZERO, from, to, amount })),
                }
            } else if event == used {
                let (payer, nonce) = (Address::from_word(topic(log, 1)?), topic(log, 2)?);
                open = Some((transaction, Authorization { payer, by: By::Eip3009(nonce) }));
            }
            self.moved_nothing(just_used);
        }
        self.moved_nothing(open);
        Ok(())
    }

    fn moved_nothing(&mut self, used: Option<(B256, Authorization)>) {
        self.strays
            .extend(used.map(|(transaction, authorization)| format!("{authorization} was used in {transaction} for nothing")));
    }

    fn uses(&mut self, authorization: Authorization, moved: Moved) {
        if let Some(before) = self.used.insert(authorization, moved) {
            self.strays.push(format!("{authorization} was used twice: in {} too", before.transaction));
        }
    }

    fn add_block(&mut self, block: &Value, token: Address, senders: &[Address]) -> Result<()> {
        for transaction in block.get("transactions").and_then(Value::as_array).context("a block has transactions")? {
            let from: Address = text(transaction, "from")?.parse()?;
            let to = transaction.get("to").and_then(Value::as_str).map(str::parse::<Address>).transpose()?;
            let input: Bytes = text(transaction, "input")?.parse()?;
            if senders.contains(&from) {
                let hash: B256 = text(transaction, "hash")?.parse()?;
                let value_wei: U256 = text(transaction, "value")?.parse()?;
                self.add_sent(hash, (from, to.context("a facilitator creates no contracts")?), &input, value_wei);
            } else if to == Some(token) && approveCall::abi_decode(&input).is_ok_and(|call| call.spender == PERMIT2) {
                let count = self.approvals.entry(from).or_default();
                *count = count.saturating_add(1);
            }
        }
        Ok(())
    }

    /// A mined transaction of the facilitator's.
    fn add_sent(&mut self, hash: B256, (from, to): (Address, Address), input: &[u8], value_wei: U256) {
        self.mined = self.mined.saturating_add(1);
        if input.is_empty() && !value_wei.is_zero() {
            let funding = Authorization { payer: to, by: By::Funding };
            self.carried.entry(funding).or_default().push(hash);
            self.uses(funding, Moved { to, amount: value_wei, transaction: hash });
            return;
        }
        let carried = carried_by(to, input);
        let is_empty = input.is_empty() && to == from;
        if (carried.is_empty() && !is_empty) || !value_wei.is_zero() {
            self.strays.push(format!("{hash} of {from} is none of the calls that a facilitator signs"));
        }
        let mut moved = self.unclaimed.remove(&hash).unwrap_or_default();
        for (place, one) in carried.iter().enumerate() {
            self.carried.entry(one.authorization).or_default().push(hash);
            let Some(through) = one.through else { continue };
            if through.amount.is_zero() {
                self.strays.push(format!("{hash} moves nothing for {}", one.authorization));
            }
            if carried.iter().take(place).any(|other| other.through == one.through) {
                self.strays.push(format!("{hash} carries two payments that are alike, {} one of them", one.authorization));
            }
            if let Some(place) = moved.iter().position(|moved| *moved == through) {
                moved.remove(place);
                self.uses(one.authorization, Moved { to: through.to, amount: through.amount, transaction: hash });
            }
        }
        if !moved.is_empty() {
            self.unclaimed.insert(hash, moved);
        }
    }
}

fn topic(log: &Value, at: usize) -> Result<B256> {
    let topic = log.get("topics").and_then(|topics| topics.get(at)).and_then(Value::as_str);
    Ok(topic.context("the log has fewer topics")?.parse()?)
}

fn text<'a>(value: &'a Value, field: &str) -> Result<&'a str> {
    value.get(field).and_then(Value::as_str).with_context(|| format!("{field} is missing"))
}
