//! What a node can be asked.

use alloy_primitives::{Address, B256, hex};

/// How many blocks of fee history are asked for, and where in each block's tips the suggestion lies, in per cent.
const FEE_HISTORY_BLOCKS: u8 = 5;
const FEE_HISTORY_PERCENTILE: u8 = 50;
const BROADCAST: &str = "eth_sendRawTransaction";

/// One call. Its parameters may carry signatures and signed transactions, so they are not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Call {
    /// The JSON-RPC method.
    pub method: &'static str,
    /// Its parameters, a JSON array.
    pub params: String,
}

/// Which block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockTag {
    /// The newest one.
    Latest,
    /// The one at this height.
    Number(u64),
}

impl Call {
    /// Which chain the node is of.
    pub fn chain_id() -> Self {
        Self { method: "eth_chainId", params: "[]".to_owned() }
    }

    /// The height of the chain.
    pub fn block_number() -> Self {
        Self { method: "eth_blockNumber", params: "[]".to_owned() }
    }

    /// A block, with the hashes of its transactions.
    pub fn block(block: BlockTag) -> Self {
        Self { method: "eth_getBlockByNumber", params: format!(r#"["{block}",false]"#) }
    }

    /// What an account holds of the chain's own coin.
    pub fn balance(address: Address) -> Self {
        Self { method: "eth_getBalance", params: format!(r#"["{address:?}","latest"]"#) }
    }

    /// What an account held of it after a certain block, of which only a node on the same branch can say.
    pub fn balance_at(block_hash: B256, address: Address) -> Self {
        let block = canonical(block_hash);
        Self { method: "eth_getBalance", params: format!(r#"["{address:?}",{block}]"#) }
    }

    /// What a contract logged in a range of blocks, both ends included. A topic that is `None` may be anything. Nodes
    /// limit the range: see [`CallError::range_is_too_large`](super::CallError::range_is_too_large).
    pub fn logs(address: Address, topics: &[Option<B256>], from_block: u64, to_block: u64) -> Self {
        let topics: Vec<String> =
            topics.iter().map(|topic| topic.map_or_else(|| "null".to_owned(), |topic| format!(r#""{topic}""#))).collect();
        let params = format!(
            r#"[{{"address":"{address:?}","topics":[{}],"fromBlock":"{from_block:#x}","toBlock":"{to_block:#x}"}}]"#,
            topics.join(",")
        );
        Self { method: "eth_getLogs", params }
    }

    /// The code of an account.
    pub fn code(address: Address) -> Self {
        Self { method: "eth_getCode", params: format!(r#"["{address:?}","latest"]"#) }
    }

    /// Executes a call and forgets it.
    pub fn execute(to: Address, data: &[u8]) -> Self {
        let data = hex::encode_prefixed(data);
        Self { method: "eth_call", params: format!(r#"[{{"to":"{to:?}","data":"{data}"}},"latest"]"#) }
    }

    /// The same, as if this account called.
    pub fn execute_from(from: Address, to: Address, data: &[u8]) -> Self {
        let data = hex::encode_prefixed(data);
        let params = format!(r#"[{{"from":"{from:?}","to":"{to:?}","data":"{data}"}},"latest"]"#);
        Self { method: "eth_call", params }
    }

    /// Executes a call on the state that a certain block left, and forgets it. A node that does not have this very block
    /// has no answer.
    pub fn execute_at(block_hash: B256, to: Address, data: &[u8]) -> Self {
        let data = hex::encode_prefixed(data);
        let block = canonical(block_hash);
        Self { method: "eth_call", params: format!(r#"[{{"to":"{to:?}","data":"{data}"}},{block}]"#) }
    }

    /// Executes a call to an account as if it had this code, and forgets it. Not every node can: see
    /// [`CallError::refuses_overrides`](super::CallError::refuses_overrides).
    pub fn execute_with_code(address: Address, code: &[u8], data: &[u8]) -> Self {
        let (code, data) = (hex::encode_prefixed(code), hex::encode_prefixed(data));
        let params = format!(r#"[{{"to":"{address:?}","data":"{data}"}},"latest",{{"{address:?}":{{"code":"{code}"}}}}]"#);
        Self { method: "eth_call", params }
    }

    /// The gas that a call would use.
    pub fn estimate_gas(from: Address, to: Address, data: &[u8]) -> Self {
        let data = hex::encode_prefixed(data);
        Self { method: "eth_estimateGas", params: format!(r#"[{{"from":"{from:?}","to":"{to:?}","data":"{data}"}}]"#) }
    }

    /// The same, for a call that may use only so much and whose code could use more.
    pub fn estimate_gas_within(from: Address, to: Address, data: &[u8], gas_units: u64) -> Self {
        let data = hex::encode_prefixed(data);
        let params = format!(r#"[{{"from":"{from:?}","to":"{to:?}","data":"{data}","gas":"{gas_units:#x}"}}]"#);
        Self { method: "eth_estimateGas", params }
    }

    /// What recent blocks cost.
    pub fn fee_history() -> Self {
        let params = format!(r#"["0x{FEE_HISTORY_BLOCKS:x}","latest",[{FEE_HISTORY_PERCENTILE}]]"#);
        Self { method: "eth_feeHistory", params }
    }

    /// How many transactions an account has in blocks.
    pub fn mined_count(address: Address) -> Self {
        Self { method: "eth_getTransactionCount", params: format!(r#"["{address:?}","latest"]"#) }
    }

    /// How many transactions an account has up to a block, of which only a node on the same branch can say.
    pub fn mined_count_at(block_hash: B256, address: Address) -> Self {
        let block = canonical(block_hash);
        Self { method: "eth_getTransactionCount", params: format!(r#"["{address:?}",{block}]"#) }
    }

    /// How many transactions an account has in blocks and in the pool.
    pub fn pending_count(address: Address) -> Self {
        Self { method: "eth_getTransactionCount", params: format!(r#"["{address:?}","pending"]"#) }
    }

    /// Broadcasts a signed transaction.
    pub fn broadcast(signed: &[u8]) -> Self {
        Self { method: BROADCAST, params: format!(r#"["{}"]"#, hex::encode_prefixed(signed)) }
    }

    /// Whether it broadcasts a transaction. Everything else only reads.
    pub fn is_broadcast(&self) -> bool {
        self.method == BROADCAST
    }

    /// A transaction, mined or not.
    pub fn transaction(hash: B256) -> Self {
        Self { method: "eth_getTransactionByHash", params: format!(r#"["{hash}"]"#) }
    }

    /// What became of a transaction.
    pub fn receipt(hash: B256) -> Self {
        Self { method: "eth_getTransactionReceipt", params: format!(r#"["{hash}"]"#) }
    }
}

/// A block by its hash, as long as it is on the node's own branch (EIP-1898).
fn canonical(block_hash: B256) -> String {
    format!(r#"{{"blockHash":"{block_hash}","requireCanonical":true}}"#)
}

impl std::fmt::Debug for Call {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Call({})", self.method)
    }
}

impl std::fmt::Display for BlockTag {
    /// As JSON-RPC writes it.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Latest => formatter.write_str("latest"),
            Self::Number(number) => write!(formatter, "{number:#x}"),
        }
    }
}
