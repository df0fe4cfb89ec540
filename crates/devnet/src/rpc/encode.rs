//! Blocks, transactions, receipts and logs as JSON, with geth's field names and hexadecimal quantities.

use alloy_consensus::{Transaction as _, Typed2718};
use alloy_primitives::{Log, U256};
use serde_json::{Value, json};

use crate::chain::{Block, Mined};
use crate::transaction::Signed;

/// A quantity: hexadecimal without leading zeros.
pub(super) fn quantity(value: impl TryInto<U256>) -> Value {
    // Every caller passes an unsigned integer, which always fits.
    value.try_into().map_or(Value::Null, |value: U256| Value::String(format!("{value:#x}")))
}

/// Data of fixed or variable length.
pub(super) fn data(value: impl std::fmt::LowerHex) -> Value {
    Value::String(format!("{value:#x}"))
}

fn place(index: usize) -> Value {
    Value::String(format!("{index:#x}"))
}

pub(super) fn block(block: &Block, full: bool) -> Value {
    let header = &block.header;
    let transactions: Vec<Value> = block
        .transactions
        .iter()
        .enumerate()
        .map(|(index, mined)| if full { mined_transaction(block, index, mined) } else { data(mined.signed.hash) })
        .collect();
    json!({
        "number": quantity(header.number),
        "hash": data(block.hash),
        "parentHash": data(header.parent_hash),
        "sha3Uncles": data(header.ommers_hash),
        "miner": data(header.beneficiary),
        "stateRoot": data(header.state_root),
        "transactionsRoot": data(header.transactions_root),
        "receiptsRoot": data(header.receipts_root),
        "logsBloom": data(header.logs_bloom),
        "difficulty": quantity(header.difficulty),
        "totalDifficulty": "0x0",
        "gasLimit": quantity(header.gas_limit),
        "gasUsed": quantity(header.gas_used),
        "timestamp": quantity(header.timestamp),
        "extraData": data(&header.extra_data),
        "mixHash": data(header.mix_hash),
        "nonce": data(header.nonce),
        "baseFeePerGas": quantity(header.base_fee_per_gas.unwrap_or_default()),
        "withdrawalsRoot": header.withdrawals_root.map(data),
        "blobGasUsed": quantity(header.blob_gas_used.unwrap_or_default()),
        "excessBlobGas": quantity(header.excess_blob_gas.unwrap_or_default()),
        "parentBeaconBlockRoot": header.parent_beacon_block_root.map(data),
        "requestsHash": header.requests_hash.map(data),
        "size": place(block.size_bytes),
        "uncles": [],
        "withdrawals": [],
        "transactions": transactions,
    })
}

pub(super) fn mined_transaction(block: &Block, index: usize, mined: &Mined) -> Value {
    let mut value = transaction(&mined.signed);
    if let Value::Object(fields) = &mut value {
        fields.insert("blockHash".to_owned(), data(block.hash));
        fields.insert("blockNumber".to_owned(), quantity(block.header.number));
        fields.insert("transactionIndex".to_owned(), place(index));
        fields.insert("gasPrice".to_owned(), quantity(mined.effective_gas_price));
    }
    value
}

/// A transaction that waits: no block, and the fee cap as its price.
pub(super) fn transaction(signed: &Signed) -> Value {
    let envelope = &signed.envelope;
    let signature = envelope.signature();
    let parity = u64::from(signature.v());
    let typed = !envelope.is_legacy();
    // EIP-155: a legacy signature carries the chain id in v.
    let v = if typed { parity } else { envelope.chain_id().map_or(27, |id| id.saturating_mul(2).saturating_add(35)) + parity };
    let mut value = json!({
        "type": quantity(envelope.ty()),
        "hash": data(signed.hash),
        "nonce": quantity(envelope.nonce()),
        "blockHash": null,
        "blockNumber": null,
        "transactionIndex": null,
        "from": data(signed.sender),
        "to": envelope.to().map(data),
        "value": quantity(envelope.value()),
        "gas": quantity(envelope.gas_limit()),
        "gasPrice": quantity(envelope.max_fee_per_gas()),
        "input": data(envelope.input()),
        "chainId": envelope.chain_id().map(quantity),
        "v": quantity(v),
        "r": quantity(signature.r()),
        "s": quantity(signature.s()),
    });
    let Value::Object(fields) = &mut value else { return value };
    if typed {
        fields.insert("yParity".to_owned(), quantity(parity));
    }
    if let Some(tip) = envelope.max_priority_fee_per_gas() {
        fields.insert("maxPriorityFeePerGas".to_owned(), quantity(tip));
        fields.insert("maxFeePerGas".to_owned(), quantity(envelope.max_fee_per_gas()));
    }
    if let Some(list) = envelope.access_list() {
        let items = list.0.iter().map(|item| {
            let keys: Vec<Value> = item.storage_keys.iter().map(data).collect();
            json!({ "address": data(item.address), "storageKeys": keys })
        });
        fields.insert("accessList".to_owned(), items.collect());
    }
    if let Some(list) = envelope.authorization_list() {
        let items = list.iter().map(|signed| {
            json!({
                "chainId": quantity(signed.chain_id),
                "address": data(signed.address),
                "nonce": quantity(signed.nonce),
                "yParity": quantity(signed.y_parity()),
                "r": quantity(signed.r()),
                "s": quantity(signed.s()),
            })
        });
        fields.insert("authorizationList".to_owned(), items.collect());
    }
    value
}

pub(super) fn receipt(block: &Block, index: usize, mined: &Mined) -> Value {
    let envelope = &mined.signed.envelope;
    let logs: Vec<Value> = mined
        .logs
        .iter()
        .enumerate()
        .map(|(offset, entry)| log(block, index, mined, mined.first_log + offset, entry))
        .collect();
    json!({
        "type": quantity(envelope.ty()),
        "status": quantity(u8::from(mined.success)),
        "transactionHash": data(mined.signed.hash),
        "transactionIndex": place(index),
        "blockHash": data(block.hash),
        "blockNumber": quantity(block.header.number),
        "from": data(mined.signed.sender),
        "to": envelope.to().map(data),
        "contractAddress": mined.contract.map(data),
        "gasUsed": quantity(mined.gas_used),
        "cumulativeGasUsed": quantity(mined.cumulative_gas_used),
        "effectiveGasPrice": quantity(mined.effective_gas_price),
        "logs": logs,
        "logsBloom": data(mined.bloom),
    })
}

pub(super) fn log(block: &Block, index: usize, mined: &Mined, log_index: usize, log: &Log) -> Value {
    json!({
        "address": data(log.address),
        "topics": log.data.topics().iter().map(data).collect::<Vec<_>>(),
        "data": data(&log.data.data),
        "blockHash": data(block.hash),
        "blockNumber": quantity(block.header.number),
        "blockTimestamp": quantity(block.header.timestamp),
        "transactionHash": data(mined.signed.hash),
        "transactionIndex": place(index),
        "logIndex": place(log_index),
        "removed": false,
    })
}
