//! The methods only a development chain has: time, state, snapshots, reorganisations and faults. Names are those that
//! hardhat and anvil gave them; what neither has begins with `dev_`.

use std::time::Duration;

use alloy_primitives::{Address, U256};
use serde_json::{Map, Value, json};

use super::encode::{data, quantity};
use super::params::{self, Params};
use super::view::View;
use super::{RpcError, RpcResult};
use crate::fault::{Fault, FaultId, Times};
use crate::node::Orphans;
use crate::token::{self, Ledger};
use crate::wallet;

/// Answers a method of this file, or nothing if it is not one.
pub(super) fn call(node: &View<'_>, method: &str, params: Params<'_>) -> Option<RpcResult> {
    Some(match method {
        "evm_mine" => mine_one(node, params),
        "anvil_mine" | "hardhat_mine" => mine(node, params),
        "evm_increaseTime" | "anvil_increaseTime" => increase_time(node, params),
        "evm_setNextBlockTimestamp" | "anvil_setNextBlockTimestamp" => set_next_timestamp(node, params),
        "evm_snapshot" | "anvil_snapshot" => Ok(quantity(node.snapshot())),
        "evm_revert" | "anvil_revert" => params.u64(0).map(|id| json!(node.revert(id))),
        "anvil_setBalance" | "hardhat_setBalance" => set_balance(node, params),
        "anvil_setCode" | "hardhat_setCode" => set_code(node, params),
        "anvil_setNonce" | "hardhat_setNonce" => set_nonce(node, params),
        "anvil_setStorageAt" | "hardhat_setStorageAt" => set_storage(node, params),
        "anvil_dropTransaction" | "hardhat_dropTransaction" => drop_transaction(node, params),
        "dev_giveUsdc" => give_usdc(node, params),
        "dev_giveTokens" => give_tokens(node, params),
        "dev_setAllowance" => set_allowance(node, params),
        "dev_createSmartWallet" => create_smart_wallet(node, params),
        "dev_reorg" => reorg(node, params),
        "dev_fault" => inject(node, params),
        "dev_clearFault" => params.u64(0).map(|id| json!(node.faults.clear(FaultId(id)))),
        "dev_clearFaults" => {
            node.faults.clear_all();
            Ok(json!(true))
        }
        _ => return None,
    })
}

fn mine_one(node: &View<'_>, params: Params<'_>) -> RpcResult {
    // hardhat's form is a timestamp, ganache's and anvil's also an object with options.
    if let Some(value) = params.optional(0) {
        let timestamp = value.get("timestamp").unwrap_or(value);
        if !timestamp.is_object() && !timestamp.is_null() {
            node.set_next_timestamp(params::u64_of(timestamp)?).map_err(RpcError::params)?;
        }
    }
    node.mine(1).map_err(RpcError::params)?;
    Ok(json!("0x0"))
}

fn mine(node: &View<'_>, params: Params<'_>) -> RpcResult {
    let blocks = params.optional(0).map_or(Ok(1), params::u64_of)?;
    node.mine(blocks).map_err(RpcError::params)?;
    Ok(Value::Null)
}

fn increase_time(node: &View<'_>, params: Params<'_>) -> RpcResult {
    let seconds = params.u64(0)?;
    node.clock.advance(seconds);
    Ok(json!(seconds))
}

fn set_next_timestamp(node: &View<'_>, params: Params<'_>) -> RpcResult {
    node.set_next_timestamp(params.u64(0)?).map_err(RpcError::params)?;
    Ok(Value::Null)
}

fn set_balance(node: &View<'_>, params: Params<'_>) -> RpcResult {
    let (address, wei) = (params.address(0)?, params.u256(1)?);
    node.edit_state(|state| state.set_balance(address, wei));
    Ok(Value::Null)
}

fn set_code(node: &View<'_>, params: Params<'_>) -> RpcResult {
    let (address, code) = (params.address(0)?, params.bytes(1)?);
    node.edit_state(|state| state.set_code(address, code)).map_err(RpcError::params)?;
    Ok(Value::Null)
}

fn set_nonce(node: &View<'_>, params: Params<'_>) -> RpcResult {
    let (address, nonce) = (params.address(0)?, params.u64(1)?);
    node.edit_state(|state| state.set_nonce(address, nonce));
    Ok(Value::Null)
}

fn set_storage(node: &View<'_>, params: Params<'_>) -> RpcResult {
    let (address, slot, word) = (params.address(0)?, params.u256(1)?, params.u256(2)?);
    node.edit_state(|state| state.set_storage(address, slot, word));
    Ok(json!(true))
}

fn drop_transaction(node: &View<'_>, params: Params<'_>) -> RpcResult {
    Ok(node.drop_pooled(params.hash(0)?).map_or(Value::Null, |signed| data(signed.hash)))
}

/// `[holder, amount]`.
fn give_usdc(node: &View<'_>, params: Params<'_>) -> RpcResult {
    let usdc = token::find_usdc(node.rules.chain_id).map_err(|error| RpcError::server(error.to_string()))?;
    give(node, usdc.address, params.address(0)?, params.u256(1)?)
}

/// `[token, holder, amount]`.
fn give_tokens(node: &View<'_>, params: Params<'_>) -> RpcResult {
    give(node, params.address(0)?, params.address(1)?, params.u256(2)?)
}

fn give(node: &View<'_>, token: Address, holder: Address, amount: U256) -> RpcResult {
    let ledger = ledger(node, token)?;
    node.edit_state(|state| ledger.give(state, holder, amount)).map_err(|error| RpcError::params(error.to_string()))?;
    Ok(Value::Null)
}

/// `[token, holder, spender, amount]`.
fn set_allowance(node: &View<'_>, params: Params<'_>) -> RpcResult {
    let ledger = ledger(node, params.address(0)?)?;
    let (holder, spender, amount) = (params.address(1)?, params.address(2)?, params.u256(3)?);
    node.edit_state(|state| ledger.set_allowance(state, holder, spender, amount));
    Ok(Value::Null)
}

fn ledger(node: &View<'_>, token: Address) -> Result<Ledger, RpcError> {
    token::ledger(node.rules.chain_id, token).map_err(|error| RpcError::params(error.to_string()))
}

/// `[owner, salt?]`; answers the wallet's address.
fn create_smart_wallet(node: &View<'_>, params: Params<'_>) -> RpcResult {
    let (owner, salt) = (params.address(0)?, params.optional(1).map_or(Ok(U256::ZERO), params::u256)?);
    let wallet = wallet::create(node, owner, salt).map_err(|error| RpcError::params(error.to_string()))?;
    Ok(data(wallet))
}

/// `[depth]`, or `[depth, "requeue"]` to have the transactions wait again.
fn reorg(node: &View<'_>, params: Params<'_>) -> RpcResult {
    let orphans = match params.optional(1).map(Value::as_str) {
        None | Some(Some("forget")) => Orphans::Forgotten,
        Some(Some("requeue")) => Orphans::Pooled,
        Some(_) => return Err(RpcError::params("expected \"forget\" or \"requeue\"")),
    };
    node.reorganise(params.u64(0)?, orphans).map_err(RpcError::params)?;
    Ok(Value::Null)
}

/// `[{method, fault, times?, per_mille?, seed?, milliseconds?, code?, message?, status?, answer?, blocks?}]`; without
/// `times` and `per_mille` until it is cleared.
fn inject(node: &View<'_>, params: Params<'_>) -> RpcResult {
    let fields = params::object(params.required(0)?)?;
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    let number =
        |name: &str| fields.get(name).ok_or_else(|| RpcError::params(format!("missing {name}"))).and_then(params::u64_of);
    let method = text("method").ok_or_else(|| RpcError::params("missing method"))?;
    let fault = match text("fault") {
        Some("delay") => Fault::Delay(Duration::from_millis(number("milliseconds")?)),
        Some("drop_answer") => Fault::DropAnswer,
        Some("hold_transaction") => Fault::HoldTransaction,
        Some("lose_transaction") => Fault::LoseTransaction,
        Some("execute_twice") => Fault::ExecuteTwice,
        Some("answer_twice") => Fault::AnswerTwice,
        Some("garbage") => Fault::Garbage,
        Some("answer") => Fault::Answer(fields.get("answer").cloned().ok_or_else(|| RpcError::params("missing answer"))?),
        Some("stale_head") => Fault::StaleHead(number("blocks")?),
        Some("error") => Fault::Error {
            code: fields.get("code").and_then(Value::as_i64).unwrap_or(super::SERVER_ERROR),
            message: text("message").unwrap_or("injected fault").to_owned(),
        },
        Some("http_status") => Fault::HttpStatus(
            u16::try_from(number("status")?)
                .ok()
                .filter(|status| (400..600).contains(status))
                .ok_or_else(|| RpcError::params("status must be 400 to 599"))?,
        ),
        _ => {
            return Err(RpcError::params(
                "fault must be delay, drop_answer, hold_transaction, lose_transaction, execute_twice, answer_twice, answer, \
                 garbage, stale_head, error or http_status",
            ));
        }
    };
    Ok(quantity(node.faults.inject(method, fault, times(fields)?).0))
}

fn times(fields: &Map<String, Value>) -> Result<Times, RpcError> {
    let number = |name: &str| fields.get(name).filter(|value| !value.is_null()).map(params::u64_of).transpose();
    match (number("times")?, number("per_mille")?) {
        (None, None) => Ok(Times::UntilCleared),
        (Some(times), None) => {
            Ok(Times::Exactly(u32::try_from(times).map_err(|_| RpcError::params("times is above 32 bits"))?))
        }
        (None, Some(per_mille)) => {
            let per_mille = u16::try_from(per_mille).ok().filter(|per_mille| *per_mille <= 1000);
            let per_mille = per_mille.ok_or_else(|| RpcError::params("per_mille must be 0 to 1000"))?;
            Ok(Times::Sometimes { per_mille, seed: number("seed")?.unwrap_or_default() })
        }
        (Some(_), Some(_)) => Err(RpcError::params("expected either times or per_mille")),
    }
}
