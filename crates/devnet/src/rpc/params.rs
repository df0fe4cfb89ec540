//! Parameters out of JSON. Whatever is wrong becomes an error that says which parameter and why.

use alloy_eips::eip2930::{AccessList, AccessListItem};
use alloy_primitives::{Address, B256, Bytes, U256};
use revm::context::TxEnv;
use revm::primitives::TxKind;
use serde_json::{Map, Value};

use super::{RpcError, gas::MAX_CALL_GAS};

/// A request's positional parameters.
#[derive(Clone, Copy)]
pub(super) struct Params<'request>(pub &'request [Value]);

/// Which block a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BlockId {
    Latest,
    Pending,
    Number(u64),
    Hash(B256),
}

impl<'request> Params<'request> {
    /// A parameter, or nothing if it is absent or null.
    pub(super) fn optional(self, index: usize) -> Option<&'request Value> {
        self.0.get(index).filter(|value| !value.is_null())
    }

    pub(super) fn required(self, index: usize) -> Result<&'request Value, RpcError> {
        self.optional(index).ok_or_else(|| RpcError::params(format!("missing value for required argument {index}")))
    }

    pub(super) fn address(self, index: usize) -> Result<Address, RpcError> {
        address(self.required(index)?)
    }

    pub(super) fn hash(self, index: usize) -> Result<B256, RpcError> {
        hash(self.required(index)?)
    }

    pub(super) fn bytes(self, index: usize) -> Result<Bytes, RpcError> {
        bytes(self.required(index)?)
    }

    pub(super) fn u256(self, index: usize) -> Result<U256, RpcError> {
        u256(self.required(index)?)
    }

    pub(super) fn u64(self, index: usize) -> Result<u64, RpcError> {
        u64_of(self.required(index)?)
    }

    pub(super) fn flag(self, index: usize) -> bool {
        self.optional(index).and_then(Value::as_bool).unwrap_or(false)
    }

    /// A block; absent means the newest one.
    pub(super) fn block(self, index: usize) -> Result<BlockId, RpcError> {
        self.optional(index).map_or(Ok(BlockId::Latest), block_id)
    }
}

fn text(value: &Value) -> Result<&str, RpcError> {
    value.as_str().ok_or_else(|| RpcError::params(format!("expected a string, got {}", shorten(value))))
}

/// Errors quote what was sent, but not megabytes of it.
fn shorten(value: &Value) -> String {
    value.to_string().chars().take(80).collect()
}

pub(super) fn address(value: &Value) -> Result<Address, RpcError> {
    hexadecimal(value, "an address")
}

pub(super) fn hash(value: &Value) -> Result<B256, RpcError> {
    hexadecimal(value, "a 32 byte hash")
}

pub(super) fn bytes(value: &Value) -> Result<Bytes, RpcError> {
    hexadecimal(value, "hexadecimal bytes")
}

fn hexadecimal<T: std::str::FromStr>(value: &Value, expected: &str) -> Result<T, RpcError> {
    let text = text(value)?;
    let parsed = if text.starts_with("0x") { text.parse().ok() } else { None };
    parsed.ok_or_else(|| RpcError::params(format!("expected {expected} with 0x, got {}", shorten(value))))
}

/// A quantity: 0x-hexadecimal, or a JSON number as some tools send.
pub(super) fn u256(value: &Value) -> Result<U256, RpcError> {
    let parsed = match value {
        Value::Number(number) => number.as_u64().map(U256::from),
        Value::String(text) => text
            .strip_prefix("0x")
            .and_then(|digits| if digits.is_empty() { None } else { U256::from_str_radix(digits, 16).ok() }),
        _ => None,
    };
    parsed.ok_or_else(|| RpcError::params(format!("expected a quantity such as 0x1f, got {}", shorten(value))))
}

pub(super) fn u64_of(value: &Value) -> Result<u64, RpcError> {
    u64::try_from(u256(value)?).map_err(|_| RpcError::params(format!("{} is above 64 bits", shorten(value))))
}

pub(super) fn block_id(value: &Value) -> Result<BlockId, RpcError> {
    if let Value::Object(fields) = value {
        // EIP-1898
        return match (fields.get("blockHash"), fields.get("blockNumber")) {
            (Some(block), None) => Ok(BlockId::Hash(hash(block)?)),
            (None, Some(number)) => Ok(BlockId::Number(u64_of(number)?)),
            _ => Err(RpcError::params("expected either blockHash or blockNumber")),
        };
    }
    match value.as_str() {
        Some("latest" | "safe" | "finalized") => Ok(BlockId::Latest),
        Some("pending") => Ok(BlockId::Pending),
        Some("earliest") => Ok(BlockId::Number(0)),
        // 32 bytes can only be a hash.
        Some(text) if text.len() == 66 => Ok(BlockId::Hash(hash(value)?)),
        _ => Ok(BlockId::Number(u64_of(value)?)),
    }
}

pub(super) fn object(value: &Value) -> Result<&Map<String, Value>, RpcError> {
    value.as_object().ok_or_else(|| RpcError::params(format!("expected an object, got {}", shorten(value))))
}

fn field<'value>(fields: &'value Map<String, Value>, name: &str) -> Option<&'value Value> {
    fields.get(name).filter(|value| !value.is_null())
}

/// A transaction object as `eth_call` has it. Fees are ignored: a simulated call pays none.
pub(super) fn transaction(value: &Value, chain_id: u64) -> Result<TxEnv, RpcError> {
    let fields = object(value)?;
    let data = match (field(fields, "input"), field(fields, "data")) {
        (Some(input), Some(data)) if bytes(input)? != bytes(data)? => {
            return Err(RpcError::params("both \"data\" and \"input\" are set and not equal"));
        }
        (Some(input), _) => bytes(input)?,
        (None, Some(data)) => bytes(data)?,
        (None, None) => Bytes::new(),
    };
    if let Some(wanted) = field(fields, "chainId").map(u64_of).transpose()?
        && wanted != chain_id
    {
        return Err(RpcError::server(format!("chainId does not match node's (have={wanted}, want={chain_id})")));
    }
    let access_list = field(fields, "accessList").map(access_list).transpose()?;
    let gas_limit = field(fields, "gas").map(u64_of).transpose()?.unwrap_or(MAX_CALL_GAS);
    Ok(TxEnv {
        tx_type: u8::from(access_list.is_some()),
        caller: field(fields, "from").map(address).transpose()?.unwrap_or_default(),
        kind: field(fields, "to").map(address).transpose()?.map_or(TxKind::Create, TxKind::Call),
        value: field(fields, "value").map(u256).transpose()?.unwrap_or_default(),
        gas_limit: gas_limit.min(MAX_CALL_GAS),
        gas_price: 0,
        data,
        chain_id: Some(chain_id),
        access_list: access_list.unwrap_or_default(),
        ..TxEnv::default()
    })
}

fn access_list(value: &Value) -> Result<AccessList, RpcError> {
    let items = value.as_array().ok_or_else(|| RpcError::params("accessList must be an array"))?;
    let item = |item: &Value| {
        let fields = object(item)?;
        let keys = fields.get("storageKeys").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let address = address(fields.get("address").unwrap_or(&Value::Null))?;
        Ok(AccessListItem { address, storage_keys: keys.iter().map(hash).collect::<Result<_, _>>()? })
    };
    Ok(AccessList(items.iter().map(item).collect::<Result<_, RpcError>>()?))
}
