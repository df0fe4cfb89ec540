//! Nodes that count what they are asked: one that answers from memory, and one that passes everything on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use alloy_primitives::{Bytes, U256, hex};
use alloy_sol_types::{SolCall, SolValue};
use axum::Router;
use axum::extract::State;
use axum::routing::post;
use farthing::evm::abi::{Multicall3, Token};
use farthing::evm::rpc::{Answer, Call, Node, NodeError};
use farthing_core::BoxFuture;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::net::TcpListener;

use crate::sample::CHAIN_ID;

/// The contract's address as calls write it.
const MULTICALL3_TEXT: &str = "0xca11bde05977b3631167028862be2a173976ca11";
/// What every payer has.
const BALANCE_ATOMIC: u64 = 1_000_000_000;

/// How often a node was asked.
#[derive(Debug, Default)]
pub struct Counter {
    round_trips: AtomicUsize,
    calls: AtomicUsize,
}

/// A node that counts and passes on.
pub struct Counted {
    node: Arc<dyn Node>,
    /// What it has counted.
    pub counter: Counter,
}

/// A node of a chain on which every payment would settle. Its answers cost next to nothing.
pub struct Memory {
    chain_id: Box<RawValue>,
    some_code: Box<RawValue>,
    no_code: Box<RawValue>,
    /// What the simulation answers in one call, by Multicall3.
    simulation: Box<RawValue>,
    /// The same in single calls, by the selector of each, as long as nobody knows of Multicall3.
    probes: Vec<(String, Box<RawValue>)>,
    gas: Box<RawValue>,
    fees: Box<RawValue>,
    count: Box<RawValue>,
}

impl Counter {
    fn add(&self, calls: usize) {
        self.round_trips.fetch_add(1, Ordering::Relaxed);
        self.calls.fetch_add(calls, Ordering::Relaxed);
    }

    /// Round trips and single calls since it was last asked.
    pub fn take(&self) -> (usize, usize) {
        (self.round_trips.swap(0, Ordering::Relaxed), self.calls.swap(0, Ordering::Relaxed))
    }
}

impl Counted {
    pub fn new(node: impl Node + 'static) -> Arc<Self> {
        Arc::new(Self { node: Arc::new(node), counter: Counter::default() })
    }
}

impl Node for Counted {
    fn ask<'a>(&'a self, calls: &'a [Call]) -> BoxFuture<'a, Result<Vec<Answer>, NodeError>> {
        self.counter.add(calls.len());
        self.node.ask(calls)
    }
}

impl Memory {
    pub fn new() -> anyhow::Result<Self> {
        let json = |value: serde_json::Value| serde_json::value::to_raw_value(&value);
        let bytes = |data: &[u8]| json(hex::encode_prefixed(data).into());
        let quantity = |number: u64| json(format!("{number:#x}").into());
        let probes = [
            (Token::authorizationStateCall::SELECTOR, false.abi_encode()),
            (Token::balanceOfCall::SELECTOR, U256::from(BALANCE_ATOMIC).abi_encode()),
            (Token::nameCall::SELECTOR, "USDC".abi_encode()),
            (Token::versionCall::SELECTOR, "2".abi_encode()),
            (Token::transferWithAuthorization_0Call::SELECTOR, Vec::new()),
        ];
        let results = probes.clone().map(|(_, data)| Multicall3::Result { success: true, returnData: Bytes::from(data) });
        let simulation = Multicall3::aggregate3Call::abi_encode_returns(&results.to_vec());
        let probes = probes.map(|(selector, data)| Ok((hex::encode_prefixed(selector), bytes(&data)?)));
        Ok(Self {
            chain_id: quantity(CHAIN_ID)?,
            some_code: json("0x60".into())?,
            no_code: json("0x".into())?,
            simulation: bytes(&simulation)?,
            probes: probes.into_iter().collect::<Result<_, serde_json::Error>>()?,
            gas: quantity(80_000)?,
            fees: json(serde_json::json!({"baseFeePerGas": ["0x7", "0x7"], "reward": [["0x1"]]}))?,
            count: quantity(0)?,
        })
    }

    /// The answer to a call; null for what no verification asks.
    fn answer(&self, method: &str, params: &str) -> &RawValue {
        match method {
            "eth_chainId" => &self.chain_id,
            "eth_getCode" if params.contains(MULTICALL3_TEXT) => &self.some_code,
            "eth_getCode" => &self.no_code,
            "eth_call" if params.contains(MULTICALL3_TEXT) => &self.simulation,
            "eth_call" => {
                let probe = self.probes.iter().find(|(selector, _)| params.contains(&format!("\"data\":\"{selector}")));
                probe.map_or(RawValue::NULL, |(_, answer)| answer)
            }
            "eth_estimateGas" => &self.gas,
            "eth_feeHistory" => &self.fees,
            "eth_getTransactionCount" => &self.count,
            _ => RawValue::NULL,
        }
    }
}

impl Node for Memory {
    fn ask<'a>(&'a self, calls: &'a [Call]) -> BoxFuture<'a, Result<Vec<Answer>, NodeError>> {
        let answers = calls.iter().map(|call| Ok(self.answer(call.method, &call.params).to_owned())).collect();
        Box::pin(std::future::ready(Ok(answers)))
    }
}

struct Served {
    memory: Memory,
    counter: Arc<Counter>,
}

#[derive(Deserialize)]
struct Question<'a> {
    id: u64,
    #[serde(borrow)]
    method: &'a str,
    #[serde(borrow)]
    params: &'a RawValue,
}

/// Serves the node in memory as JSON-RPC on loopback; returns its URL and what it counts.
pub async fn serve_memory() -> anyhow::Result<(String, Arc<Counter>)> {
    let counter = Arc::new(Counter::default());
    let served = Arc::new(Served { memory: Memory::new()?, counter: Arc::clone(&counter) });
    let app = Router::new().route("/", post(receive)).with_state(served);
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok((url, counter))
}

async fn receive(State(served): State<Arc<Served>>, body: String) -> ([(&'static str, &'static str); 1], String) {
    let answer = |question: &Question<'_>| {
        let result = served.memory.answer(question.method, question.params.get());
        format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, question.id)
    };
    let (calls, body) = match serde_json::from_str::<Vec<Question<'_>>>(&body) {
        Ok(batch) => (batch.len(), format!("[{}]", batch.iter().map(answer).collect::<Vec<_>>().join(","))),
        Err(_) => (1, serde_json::from_str(&body).map_or_else(|error| error.to_string(), |one| answer(&one))),
    };
    served.counter.add(calls);
    ([("content-type", "application/json")], body)
}
