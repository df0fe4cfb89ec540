//! Running transactions and calls on revm, and building blocks.

use std::convert::Infallible;
use std::sync::Arc;

use alloy_consensus::proofs::ordered_trie_root_encoded;
use alloy_consensus::{
    EMPTY_OMMER_ROOT_HASH, EMPTY_ROOT_HASH, Header, Receipt, ReceiptEnvelope, ReceiptWithBloom, Transaction as _, TxType,
};
use alloy_eips::eip1559::BaseFeeParams;
use alloy_eips::eip2718::Encodable2718;
use alloy_eips::eip7685::EMPTY_REQUESTS_HASH;
use alloy_primitives::{B256, Bloom, Bytes, U256, keccak256};
use alloy_rlp::Encodable;
use revm::context::result::{EVMError, ExecutionResult, InvalidTransaction};
use revm::context::{BlockEnv, Context, TxEnv};
use revm::handler::{MainnetContext, MainnetEvm};
use revm::primitives::hardfork::SpecId;
use revm::{ExecuteCommitEvm, ExecuteEvm, MainBuilder, MainContext};

use crate::chain::{Block, Chain, Mined};
use crate::pool::Pool;
use crate::state::{State, World};
use crate::transaction::Signed;

/// The rules every block is made by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    pub chain_id: u64,
    pub block_gas_limit: u64,
    pub max_log_range_blocks: u64,
}

/// A call that is only pretended: its sender needs neither a nonce nor money for gas.
pub(crate) fn simulate(
    rules: Rules,
    world: World,
    block: BlockEnv,
    transaction: TxEnv,
) -> Result<ExecutionResult, EVMError<Infallible>> {
    let mut evm = evm(rules, world, block, true);
    evm.transact_one(transaction)
}

/// Runs a call of nobody's and returns the state after it with what it answered. There is no block for it, and its sender
/// is as before.
pub(crate) fn apply_call(rules: Rules, world: World, block: BlockEnv, transaction: TxEnv) -> Result<(State, Bytes), String> {
    let mut state = world.state.clone();
    let apart = [transaction.caller, block.beneficiary];
    let outcome = evm(rules, world, block, true).transact(transaction).map_err(|error| error.to_string())?;
    if !outcome.result.is_success() {
        return Err(format!("the call failed: {:?}", outcome.result));
    }
    state.apply(outcome.state.into_iter().filter(|(address, _)| !apart.contains(address)).collect());
    Ok((state, outcome.result.into_output().unwrap_or_default()))
}

fn evm(rules: Rules, world: World, block: BlockEnv, simulated: bool) -> MainnetEvm<MainnetContext<World>> {
    Context::mainnet()
        .with_db(world)
        .with_block(block)
        .modify_cfg_chained(|settings| {
            settings.set_spec_and_mainnet_gas_params(SpecId::PRAGUE);
            settings.chain_id = rules.chain_id;
            if simulated {
                settings.disable_nonce_check = true;
                settings.disable_base_fee = true;
                settings.disable_eip3607 = true;
                settings.disable_block_gas_limit = true;
            }
        })
        .build_mainnet()
}

/// The environment of the block with this header.
pub(crate) fn environment(header: &Header) -> BlockEnv {
    BlockEnv {
        number: U256::from(header.number),
        beneficiary: header.beneficiary,
        timestamp: U256::from(header.timestamp),
        gas_limit: header.gas_limit,
        basefee: header.base_fee_per_gas.unwrap_or_default(),
        prevrandao: Some(header.mix_hash),
        ..BlockEnv::default()
    }
}

/// The header of the block after `parent`, before any transaction is in it. `branch` tells apart blocks of the same
/// height on both sides of a reorganisation, which would otherwise have the same hash.
pub(crate) fn next_header(rules: Rules, parent: &Block, timestamp: u64, branch: u64) -> Header {
    let parent_header = &parent.header;
    let number = parent_header.number + 1;
    let mut seed = Vec::with_capacity(24);
    for part in [rules.chain_id, branch, number] {
        seed.extend_from_slice(&part.to_be_bytes());
    }
    Header {
        parent_hash: parent.hash,
        timestamp,
        base_fee_per_gas: parent_header.next_block_base_fee(BaseFeeParams::ethereum()),
        mix_hash: keccak256(&seed),
        ..header_template(number, rules.block_gas_limit)
    }
}

pub(crate) fn header_template(number: u64, gas_limit: u64) -> Header {
    Header {
        number,
        gas_limit,
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        transactions_root: EMPTY_ROOT_HASH,
        receipts_root: EMPTY_ROOT_HASH,
        withdrawals_root: Some(EMPTY_ROOT_HASH),
        blob_gas_used: Some(0),
        excess_blob_gas: Some(0),
        parent_beacon_block_root: Some(B256::ZERO),
        requests_hash: Some(EMPTY_REQUESTS_HASH),
        ..Header::default()
    }
}

/// A block built on the chain's head, the state after it, and transactions that turned out impossible.
pub(crate) struct Built {
    pub block: Block,
    pub state: State,
    pub impossible: Vec<B256>,
}

pub(crate) fn build_block(rules: Rules, chain: &Chain, pool: Option<&Pool>, timestamp: u64, branch: u64) -> Built {
    let header = next_header(rules, chain.head(), timestamp, branch);
    let base_fee = header.base_fee_per_gas.unwrap_or_default();
    let mut mined: Vec<Mined> = Vec::new();
    let mut impossible = Vec::new();
    let mut state = chain.state().clone();
    if let Some(pool) = pool {
        let mut candidates = pool.candidates(&state, base_fee);
        let mut evm = evm(rules, chain.world(state), environment(&header), false);
        while let Some(signed) = candidates.next() {
            let used = mined.last().map_or(0, |last| last.cumulative_gas_used);
            if used.saturating_add(signed.envelope.gas_limit()) > rules.block_gas_limit {
                continue; // waits for the next block, and so do its sender's later ones
            }
            match evm.transact_commit(signed.environment()) {
                Ok(result) => {
                    candidates.taken(&signed);
                    mined.push(record(signed, result, base_fee, mined.last()));
                }
                Err(error) => {
                    tracing::debug!(transaction = %signed.hash, %error, "transaction cannot be mined any more");
                    impossible.push(signed.hash);
                }
            }
        }
        state = evm.ctx.journaled_state.database.state.clone();
    }
    Built { block: seal(header, mined), state, impossible }
}

fn record(signed: Arc<Signed>, result: ExecutionResult, base_fee: u64, previous: Option<&Mined>) -> Mined {
    let gas_used = result.gas().tx_gas_used();
    let success = result.is_success();
    let contract = result.created_address();
    let logs = if success { result.into_logs() } else { Vec::new() };
    Mined {
        effective_gas_price: u128::from(base_fee).saturating_add(signed.tip(base_fee).unwrap_or_default()),
        success,
        gas_used,
        cumulative_gas_used: gas_used + previous.map_or(0, |mined| mined.cumulative_gas_used),
        contract: contract.filter(|_| success),
        bloom: logs.iter().collect::<Bloom>(),
        first_log: previous.map_or(0, |mined| mined.first_log + mined.logs.len()),
        logs,
        signed,
    }
}

/// Completes the header from what is in the block. The state root stays zero: nobody can ask for a proof here.
pub(crate) fn seal(mut header: Header, transactions: Vec<Mined>) -> Block {
    let mut bodies_bytes = 0;
    if let Some(last) = transactions.last() {
        let raw: Vec<Vec<u8>> = transactions.iter().map(|mined| mined.signed.raw()).collect();
        bodies_bytes = raw.iter().map(Vec::len).sum();
        header.gas_used = last.cumulative_gas_used;
        header.transactions_root = ordered_trie_root_encoded(&raw);
        let receipts: Vec<Vec<u8>> = transactions.iter().map(encoded_receipt).collect();
        header.receipts_root = ordered_trie_root_encoded(&receipts);
        header.logs_bloom = transactions.iter().fold(Bloom::ZERO, |bloom, mined| bloom | mined.bloom);
    }
    Block { hash: header.hash_slow(), size_bytes: header.length() + bodies_bytes, header, transactions }
}

fn encoded_receipt(mined: &Mined) -> Vec<u8> {
    let receipt = ReceiptWithBloom {
        receipt: Receipt {
            status: mined.success.into(),
            cumulative_gas_used: mined.cumulative_gas_used,
            logs: mined.logs.clone(),
        },
        logs_bloom: mined.bloom,
    };
    match mined.signed.envelope.tx_type() {
        TxType::Legacy => ReceiptEnvelope::Legacy(receipt),
        TxType::Eip2930 => ReceiptEnvelope::Eip2930(receipt),
        TxType::Eip7702 => ReceiptEnvelope::Eip7702(receipt),
        _ => ReceiptEnvelope::Eip1559(receipt),
    }
    .encoded_2718()
}

/// How geth words what revm refuses.
pub(crate) fn refusal(error: EVMError<Infallible>, gas_limit: u64) -> String {
    match error {
        EVMError::Transaction(InvalidTransaction::LackOfFundForMaxFee { fee, balance }) => {
            format!("insufficient funds for gas * price + value: balance {balance}, tx cost {fee}")
        }
        EVMError::Transaction(InvalidTransaction::CallGasCostMoreThanGasLimit { initial_gas, .. }) => {
            format!("intrinsic gas too low: have {gas_limit}, want {initial_gas}")
        }
        EVMError::Transaction(InvalidTransaction::GasFloorMoreThanGasLimit { gas_floor, .. }) => {
            format!("insufficient gas for floor data gas cost: have {gas_limit}, want {gas_floor}")
        }
        other => other.to_string(),
    }
}
