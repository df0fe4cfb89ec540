//! Calls, gas estimates and fees.

use alloy_consensus::Header;
use alloy_eips::eip1559::BaseFeeParams;
use alloy_primitives::{Bytes, U256};
use alloy_sol_types::{Panic, Revert, SolError};
use revm::context::TxEnv;
use revm::context::result::{ExecutionResult, HaltReason};
use revm::primitives::TxKind;
use serde_json::{Map, Value, json};

use super::encode::{data, quantity};
use super::params::{self, BlockId, Params};
use super::view::View;
use super::{REVERTED, RpcError, RpcResult};
use crate::chain::Chain;
use crate::execute::{environment, next_header, refusal, simulate};
use crate::state::World;

/// Most gas a simulated call can have, as geth's default; also what it has if it does not say.
pub const MAX_CALL_GAS: u64 = 50_000_000;

/// What `eth_maxPriorityFeePerGas` suggests: any tip gets into a block here.
const SUGGESTED_TIP_WEI: u64 = 1_000_000;
const TRANSFER_GAS: u64 = 21_000;
/// A call that forwards value adds this to what its callee has.
const CALL_STIPEND: u64 = 2_300;
/// An estimate is good enough when it is this close, in thousandths (geth's ratio).
const ESTIMATE_TOLERANCE_PER_MILLE: u64 = 15;
const MAX_FEE_HISTORY_BLOCKS: u64 = 1024;
const MAX_FEE_PERCENTILES: usize = 100;

/// A chain as one request sees it: the world to run in and the block to run in.
struct Scene {
    world: World,
    header: Header,
}

/// The state and block a call at `block` runs on. See the crate's documentation on time.
fn scene(node: &View<'_>, chain: &Chain, block: BlockId) -> Result<Scene, RpcError> {
    let number = match block {
        BlockId::Latest | BlockId::Pending => chain.number(),
        BlockId::Number(number) => number,
        BlockId::Hash(hash) => {
            chain.block_by_hash(hash).ok_or_else(|| RpcError::server("header for hash not found"))?.header.number
        }
    };
    let found = chain.block(number).ok_or_else(|| RpcError::server("header not found"))?;
    let state = chain.state_at(number).ok_or_else(|| RpcError::server(format!("missing state of block {number}: too old")))?;
    let mut header = found.header.clone();
    match block {
        BlockId::Pending => {
            header = next_header(node.rules, chain.head(), node.clock.next_block(header.timestamp), 0);
        }
        BlockId::Latest => header.timestamp = node.clock.next_block(header.timestamp),
        BlockId::Number(_) | BlockId::Hash(_) => {}
    }
    Ok(Scene { world: chain.world(state.clone()), header })
}

pub(super) fn call(node: &View<'_>, params: Params<'_>) -> RpcResult {
    let (scene, transaction) = prepare(node, params)?;
    let gas_limit = transaction.gas_limit;
    let result = simulate(node.rules, scene.world, environment(&scene.header), transaction)
        .map_err(|error| RpcError::server(refusal(error, gas_limit)))?;
    match result {
        ExecutionResult::Success { output, .. } => Ok(data(output.data())),
        failed => Err(failure(&failed)),
    }
}

fn prepare(node: &View<'_>, params: Params<'_>) -> Result<(Scene, TxEnv), RpcError> {
    let transaction = params::transaction(params.required(0)?, node.rules.chain_id)?;
    let mut scene = scene(node, &node.chain(), params.block(1)?)?;
    if let Some(overrides) = params.optional(2) {
        apply_overrides(&mut scene.world, params::object(overrides)?)?;
    }
    Ok((scene, transaction))
}

fn apply_overrides(world: &mut World, overrides: &Map<String, Value>) -> Result<(), RpcError> {
    for (account, fields) in overrides {
        let address = params::address(&Value::String(account.clone()))?;
        for (name, value) in params::object(fields)? {
            match name.as_str() {
                "balance" => world.state.set_balance(address, params::u256(value)?),
                "nonce" => world.state.set_nonce(address, params::u64_of(value)?),
                "code" => world.state.set_code(address, params::bytes(value)?).map_err(RpcError::params)?,
                "state" | "stateDiff" => {
                    if name == "state" {
                        world.emptied.insert(address);
                    }
                    for (slot, word) in params::object(value)? {
                        let slot = params::u256(&Value::String(slot.clone()))?;
                        world.overridden.insert((address, slot), params::u256(word)?);
                    }
                }
                other => return Err(RpcError::params(format!("unknown state override {other}"))),
            }
        }
    }
    Ok(())
}

/// Why a call failed, as geth says it.
fn failure(result: &ExecutionResult) -> RpcError {
    match result {
        ExecutionResult::Revert { output, .. } => {
            let message = match reason(output) {
                Some(reason) => format!("execution reverted: {reason}"),
                None => "execution reverted".to_owned(),
            };
            RpcError { code: REVERTED, message, data: Some(format!("{output:#x}")) }
        }
        ExecutionResult::Halt { reason: HaltReason::OutOfGas(_), .. } => RpcError::server("out of gas"),
        ExecutionResult::Halt { reason, .. } => RpcError::server(reason.to_string()),
        ExecutionResult::Success { .. } => RpcError::server("execution succeeded"),
    }
}

fn reason(output: &Bytes) -> Option<String> {
    if let Ok(Revert { reason }) = Revert::abi_decode(output) {
        return Some(reason);
    }
    let panic = Panic::abi_decode(output).ok()?;
    Some(panic.kind().map_or_else(|| format!("panic code {:#x}", panic.code), |kind| kind.as_str().to_owned()))
}

pub(super) fn estimate(node: &View<'_>, params: Params<'_>) -> RpcResult {
    let (scene, mut transaction) = prepare(node, params)?;
    let block = environment(&scene.header);
    let code_free = match transaction.kind {
        TxKind::Call(to) => transaction.data.is_empty() && scene.world.state.code(to).is_empty(),
        TxKind::Create => false,
    };
    let has_gas = params.optional(0).and_then(|call| call.get("gas")).is_some_and(|gas| !gas.is_null());
    let mut high = if has_gas { transaction.gas_limit.max(TRANSFER_GAS) } else { node.rules.block_gas_limit };
    high = high.min(MAX_CALL_GAS);
    let run = |transaction: &TxEnv, gas_limit: u64| {
        let attempt = TxEnv { gas_limit, ..transaction.clone() };
        simulate(node.rules, scene.world.clone(), block.clone(), attempt)
    };
    transaction.gas_limit = high;
    let first = run(&transaction, high).map_err(|error| RpcError::server(refusal(error, high)))?;
    if !first.is_success() {
        if matches!(first, ExecutionResult::Halt { reason: HaltReason::OutOfGas(_), .. }) {
            return Err(RpcError::server(format!("gas required exceeds allowance ({high})")));
        }
        return Err(failure(&first));
    }
    if code_free && first.gas().tx_gas_used() == TRANSFER_GAS {
        return Ok(quantity(TRANSFER_GAS));
    }
    let enough = |gas_limit: u64| run(&transaction, gas_limit).is_ok_and(|result| result.is_success());
    // A callee gets at most 63/64 of what is left, so the answer is above what was spent.
    let spent = first.gas().total_gas_spent().max(first.gas().tx_gas_used());
    let mut low = first.gas().tx_gas_used().saturating_sub(1);
    let hopeful = spent.saturating_add(CALL_STIPEND).saturating_mul(64) / 63;
    if hopeful < high {
        if enough(hopeful) {
            high = hopeful;
        } else {
            low = hopeful;
        }
    }
    while low + 1 < high && (high - low).saturating_mul(1000) >= high.saturating_mul(ESTIMATE_TOLERANCE_PER_MILLE) {
        let middle = low + (high - low) / 2;
        if enough(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    Ok(quantity(high))
}

fn next_base_fee(chain: &Chain) -> u64 {
    chain.head().header.next_block_base_fee(BaseFeeParams::ethereum()).unwrap_or_default()
}

pub(super) fn gas_price(node: &View<'_>) -> Value {
    quantity(next_base_fee(&node.chain()).saturating_add(SUGGESTED_TIP_WEI))
}

pub(super) fn suggested_tip() -> Value {
    quantity(SUGGESTED_TIP_WEI)
}

pub(super) fn fee_history(node: &View<'_>, params: Params<'_>) -> RpcResult {
    let chain = node.chain();
    let newest = match params.block(1)? {
        BlockId::Latest | BlockId::Pending => chain.number(),
        BlockId::Number(number) if number <= chain.number() => number,
        BlockId::Number(_) => return Err(RpcError::server("request beyond head block")),
        BlockId::Hash(_) => return Err(RpcError::params("expected a block number or tag")),
    };
    let count = params.u64(0)?.min(MAX_FEE_HISTORY_BLOCKS).min(newest + 1);
    let percentiles = match params.optional(2) {
        None => Vec::new(),
        Some(value) => percentiles(value)?,
    };
    let oldest = newest + 1 - count;
    let (mut base_fees, mut ratios, mut rewards) = (Vec::new(), Vec::new(), Vec::new());
    for block in (oldest..=newest).filter_map(|number| chain.block(number)) {
        let header = &block.header;
        if base_fees.is_empty() {
            base_fees.push(quantity(header.base_fee_per_gas.unwrap_or_default()));
        }
        base_fees.push(quantity(header.next_block_base_fee(BaseFeeParams::ethereum()).unwrap_or_default()));
        ratios.push(ratio(header.gas_used, header.gas_limit));
        let base_fee = u128::from(header.base_fee_per_gas.unwrap_or_default());
        let mut tips: Vec<(u128, u64)> =
            block.transactions.iter().map(|mined| (mined.effective_gas_price - base_fee, mined.gas_used)).collect();
        tips.sort_unstable();
        rewards.push(percentiles.iter().map(|percent| quantity(tip_at(&tips, header.gas_used, *percent))).collect::<Vec<_>>());
    }
    let mut history = json!({ "oldestBlock": quantity(oldest), "baseFeePerGas": base_fees, "gasUsedRatio": ratios });
    if let (false, Value::Object(fields)) = (percentiles.is_empty(), &mut history) {
        fields.insert("reward".to_owned(), json!(rewards));
    }
    Ok(history)
}

/// Percentiles as whole numbers: a fraction of a percent makes no difference here.
fn percentiles(value: &Value) -> Result<Vec<u64>, RpcError> {
    let list = value.as_array().filter(|list| list.len() <= MAX_FEE_PERCENTILES);
    let list = list.ok_or_else(|| RpcError::params(format!("expected at most {MAX_FEE_PERCENTILES} percentiles")))?;
    list.iter()
        .map(|percent| {
            let text = percent.to_string();
            let whole = text.split('.').next().and_then(|digits| digits.parse().ok());
            whole.filter(|percent| *percent <= 100).ok_or_else(|| RpcError::params(format!("invalid percentile {text}")))
        })
        .collect()
}

/// The tip that `percent` of the block's gas paid at most.
fn tip_at(tips: &[(u128, u64)], gas_used: u64, percent: u64) -> U256 {
    let threshold = gas_used.saturating_mul(percent) / 100;
    let mut sum = 0_u64;
    let mut tip = 0;
    for (paid, gas) in tips {
        tip = *paid;
        sum = sum.saturating_add(*gas);
        if sum >= threshold {
            break;
        }
    }
    U256::from(tip)
}

/// `part / whole` with four digits, written as a JSON number without computing in floats.
fn ratio(part: u64, whole: u64) -> Value {
    let scaled = u128::from(part) * 10_000 / u128::from(whole.max(1));
    let text = format!("{}.{:04}", scaled / 10_000, scaled % 10_000);
    serde_json::from_str(&text).unwrap_or_default()
}

/// A block that could be built now, for clients that read the next base fee from `pending`.
pub(super) fn pending_block(node: &View<'_>, chain: &Chain) -> crate::chain::Block {
    let timestamp = node.clock.next_block(chain.head().header.timestamp);
    crate::execute::seal(next_header(node.rules, chain.head(), timestamp, 0), Vec::new())
}
