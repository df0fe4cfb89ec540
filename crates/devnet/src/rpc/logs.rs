//! `eth_getLogs` and the filters that are polled.

use serde_json::{Map, Value};

use super::encode;
use super::params::{self, BlockId, Params};
use super::view::View;
use super::{RpcError, RpcResult};
use crate::chain::Chain;
use crate::filter::{LogQuery, MAX_LOG_ALTERNATIVES, MAX_LOG_RESULTS, Subject};

const MAX_TOPICS: usize = 4;

pub(super) fn get_logs(node: &View<'_>, params: Params<'_>) -> RpcResult {
    let chain = node.chain();
    let fields = params::object(params.required(0)?)?;
    let query = query(fields)?;
    if let Some(hash) = fields.get("blockHash").filter(|hash| !hash.is_null()) {
        if fields.contains_key("fromBlock") || fields.contains_key("toBlock") {
            return Err(RpcError::params("cannot specify both BlockHash and FromBlock/ToBlock, choose one or the other"));
        }
        let block = chain.block_by_hash(params::hash(hash)?).ok_or_else(|| RpcError::server("unknown block"))?;
        return collect(node, &chain, &query, block.header.number, block.header.number);
    }
    let from = bound(fields, "fromBlock", &chain)?.unwrap_or_else(|| chain.number());
    let to = bound(fields, "toBlock", &chain)?.unwrap_or_else(|| chain.number());
    if from > to {
        return Err(RpcError::params("invalid block range params"));
    }
    collect(node, &chain, &query, from, to)
}

fn collect(node: &View<'_>, chain: &Chain, query: &LogQuery, from: u64, to: u64) -> RpcResult {
    let limit = node.rules.max_log_range_blocks;
    let to = to.min(chain.number());
    if to.saturating_sub(from) >= limit {
        return Err(RpcError::server(format!("block range is too large, the limit is {limit}")));
    }
    let mut logs = Vec::new();
    let complete = query.visit(chain, from..=to, |block, index, mined, log_index, log| {
        logs.push(encode::log(block, index, mined, log_index, log));
    });
    if !complete {
        return Err(RpcError::server(format!("query returned more than {MAX_LOG_RESULTS} results")));
    }
    Ok(Value::Array(logs))
}

fn bound(fields: &Map<String, Value>, name: &str, chain: &Chain) -> Result<Option<u64>, RpcError> {
    let Some(value) = fields.get(name).filter(|value| !value.is_null()) else { return Ok(None) };
    match params::block_id(value)? {
        BlockId::Latest | BlockId::Pending => Ok(Some(chain.number())),
        BlockId::Number(number) => Ok(Some(number)),
        BlockId::Hash(_) => Err(RpcError::params(format!("{name} must be a number or a tag"))),
    }
}

fn query(fields: &Map<String, Value>) -> Result<LogQuery, RpcError> {
    let addresses = alternatives(fields.get("address").unwrap_or(&Value::Null), params::address)?;
    let topics = match fields.get("topics").unwrap_or(&Value::Null) {
        Value::Null => Vec::new(),
        Value::Array(positions) if positions.len() <= MAX_TOPICS => {
            positions.iter().map(|position| alternatives(position, params::hash)).collect::<Result<_, _>>()?
        }
        _ => return Err(RpcError::params(format!("topics must be an array of at most {MAX_TOPICS}"))),
    };
    Ok(LogQuery { addresses, topics })
}

/// One value, a list of values, or null for any.
fn alternatives<T>(value: &Value, parse: fn(&Value) -> Result<T, RpcError>) -> Result<Vec<T>, RpcError> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(values) if values.len() <= MAX_LOG_ALTERNATIVES => values.iter().map(parse).collect(),
        Value::Array(_) => Err(RpcError::params(format!("more than {MAX_LOG_ALTERNATIVES} alternatives"))),
        value => Ok(vec![parse(value)?]),
    }
}

pub(super) fn new_filter(node: &View<'_>, params: Params<'_>) -> RpcResult {
    let chain = node.chain();
    let fields = params::object(params.required(0)?)?;
    let next = chain.number() + 1;
    let explicit = |name: &str| match fields.get(name).map(|value| (value, value.as_str())) {
        None | Some((_, Some("latest" | "pending" | "safe" | "finalized"))) => Ok(None),
        Some(_) => bound(fields, name, &chain),
    };
    let from = explicit("fromBlock")?.unwrap_or(next);
    let to = explicit("toBlock")?;
    let subject = Subject::Logs { query: query(fields)?, from, to };
    // As with geth, only what happens from now on is announced; eth_getFilterLogs has the past.
    Ok(encode::quantity(node.filters().install(subject, from.max(next))))
}

pub(super) fn new_block_filter(node: &View<'_>) -> Value {
    let next = node.chain().number() + 1;
    encode::quantity(node.filters().install(Subject::Blocks, next))
}

pub(super) fn changes(node: &View<'_>, params: Params<'_>) -> RpcResult {
    let id = params.u64(0)?;
    let chain = node.chain();
    let (subject, from) = node.filters().poll(id, chain.number()).ok_or_else(not_found)?;
    match subject {
        Subject::Blocks => {
            let blocks = (from..=chain.number()).filter_map(|number| chain.block(number));
            Ok(blocks.map(|block| encode::data(block.hash)).collect())
        }
        Subject::Logs { query, to, .. } => collect(node, &chain, &query, from, to.unwrap_or(u64::MAX)),
    }
}

pub(super) fn filter_logs(node: &View<'_>, params: Params<'_>) -> RpcResult {
    match node.filters().subject(params.u64(0)?) {
        Some(Subject::Logs { query, from, to }) => collect(node, &node.chain(), &query, from, to.unwrap_or(u64::MAX)),
        Some(Subject::Blocks) | None => Err(not_found()),
    }
}

pub(super) fn uninstall(node: &View<'_>, params: Params<'_>) -> RpcResult {
    Ok(Value::Bool(node.filters().uninstall(params.u64(0)?)))
}

fn not_found() -> RpcError {
    RpcError::server("filter not found")
}
