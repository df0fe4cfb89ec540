//! The methods every Ethereum client knows.

use std::sync::Arc;

use alloy_primitives::keccak256;
use serde_json::{Value, json};

use super::encode::{self, data, quantity};
use super::params::{BlockId, Params};
use super::view::View;
use super::{RpcError, RpcResult, gas, logs};
use crate::chain::{Block, Chain};
use crate::genesis::ACCOUNTS;
use crate::state::State;

/// Answers a method of this file, or nothing if it is not one.
pub(super) fn call(node: &View<'_>, method: &str, params: Params<'_>) -> Option<RpcResult> {
    Some(match method {
        "web3_clientVersion" => Ok(json!(concat!("farthing-devnet/", env!("CARGO_PKG_VERSION")))),
        "web3_sha3" => params.bytes(0).map(|bytes| data(keccak256(bytes))),
        "net_version" => Ok(json!(node.rules.chain_id.to_string())),
        "net_listening" => Ok(json!(true)),
        "eth_chainId" => Ok(quantity(node.rules.chain_id)),
        "eth_syncing" => Ok(json!(false)),
        "eth_accounts" => Ok(ACCOUNTS.iter().map(|account| data(account.address)).collect()),
        "eth_blockNumber" => Ok(quantity(node.chain().number())),
        "eth_getBalance" => balance(node, params),
        "eth_getCode" => code(node, params),
        "eth_getStorageAt" => storage(node, params),
        "eth_getTransactionCount" => transaction_count(node, params),
        "eth_call" => gas::call(node, params),
        "eth_estimateGas" => gas::estimate(node, params),
        "eth_gasPrice" => Ok(gas::gas_price(node)),
        "eth_maxPriorityFeePerGas" => Ok(gas::suggested_tip()),
        "eth_feeHistory" => gas::fee_history(node, params),
        "eth_sendRawTransaction" => send(node, params),
        "eth_getTransactionByHash" => transaction(node, params),
        "eth_getTransactionReceipt" => receipt(node, params),
        "eth_getBlockReceipts" => block_receipts(node, params),
        "eth_getBlockByNumber" | "eth_getBlockByHash" => block(node, params),
        "eth_getLogs" => logs::get_logs(node, params),
        "eth_newFilter" => logs::new_filter(node, params),
        "eth_newBlockFilter" => Ok(logs::new_block_filter(node)),
        "eth_getFilterChanges" => logs::changes(node, params),
        "eth_getFilterLogs" => logs::filter_logs(node, params),
        "eth_uninstallFilter" => logs::uninstall(node, params),
        _ => return None,
    })
}

fn find(chain: &Chain, id: BlockId) -> Option<&Arc<Block>> {
    match id {
        BlockId::Latest | BlockId::Pending => Some(chain.head()),
        BlockId::Number(number) => chain.block(number),
        BlockId::Hash(hash) => chain.block_by_hash(hash),
    }
}

fn state_at(chain: &Chain, id: BlockId) -> Result<&State, RpcError> {
    let block = find(chain, id).ok_or_else(|| RpcError::server("header not found"))?;
    let number = block.header.number;
    chain.state_at(number).ok_or_else(|| RpcError::server(format!("missing state of block {number}: too old")))
}

fn balance(node: &View<'_>, params: Params<'_>) -> RpcResult {
    let chain = node.chain();
    let state = state_at(&chain, params.block(1)?)?;
    Ok(quantity(state.account(params.address(0)?).balance))
}

fn code(node: &View<'_>, params: Params<'_>) -> RpcResult {
    let chain = node.chain();
    let state = state_at(&chain, params.block(1)?)?;
    Ok(data(state.code(params.address(0)?)))
}

fn storage(node: &View<'_>, params: Params<'_>) -> RpcResult {
    let chain = node.chain();
    let state = state_at(&chain, params.block(2)?)?;
    let word = state.storage(params.address(0)?, params.u256(1)?);
    Ok(data(alloy_primitives::B256::from(word)))
}

fn transaction_count(node: &View<'_>, params: Params<'_>) -> RpcResult {
    let address = params.address(0)?;
    let block = params.block(1)?;
    if block == BlockId::Pending {
        return Ok(quantity(node.pending_nonce(address)));
    }
    Ok(quantity(state_at(&node.chain(), block)?.account(address).nonce))
}

fn send(node: &View<'_>, params: Params<'_>) -> RpcResult {
    node.submit(&params.bytes(0)?, node.reception).map(data).map_err(RpcError::server)
}

fn transaction(node: &View<'_>, params: Params<'_>) -> RpcResult {
    let hash = params.hash(0)?;
    // The pool first: a transaction that is mined between the two look-ups must not vanish.
    let pooled = node.pooled(hash);
    let chain = node.chain();
    if let Some((block, index)) = chain.transaction(hash)
        && let Some(mined) = block.transactions.get(index)
    {
        return Ok(encode::mined_transaction(block, index, mined));
    }
    Ok(pooled.map_or(Value::Null, |signed| encode::transaction(&signed)))
}

fn receipt(node: &View<'_>, params: Params<'_>) -> RpcResult {
    let chain = node.chain();
    let found = chain.transaction(params.hash(0)?);
    let receipt =
        found.and_then(|(block, index)| block.transactions.get(index).map(|mined| encode::receipt(block, index, mined)));
    Ok(receipt.unwrap_or_default())
}

fn block_receipts(node: &View<'_>, params: Params<'_>) -> RpcResult {
    params.required(0)?;
    let chain = node.chain();
    let Some(block) = find(&chain, params.block(0)?) else { return Ok(Value::Null) };
    let receipts = block.transactions.iter().enumerate();
    Ok(receipts.map(|(index, mined)| encode::receipt(block, index, mined)).collect())
}

fn block(node: &View<'_>, params: Params<'_>) -> RpcResult {
    params.required(0)?;
    let chain = node.chain();
    let full = params.flag(1);
    match params.block(0)? {
        BlockId::Pending => Ok(encode::block(&gas::pending_block(node, &chain), full)),
        id => Ok(find(&chain, id).map_or(Value::Null, |block| encode::block(block, full))),
    }
}
