//! A node that answers from memory, counts its round trips and fails on demand.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use alloy_consensus::transaction::RlpEcdsaDecodableTx;
use alloy_consensus::{Signed, TxEip1559};
use alloy_primitives::{Address, B256, Bytes, U256, hex};
use alloy_sol_types::{Revert, SolCall, SolError, SolEvent, SolValue};
use farthing_core::BoxFuture;
use farthing_evm::abi::{MULTICALL3, Multicall3, ProbeContract, Token};
use farthing_evm::rpc::{Answer, Call, CallError, Node, NodeError};
use serde_json::value::RawValue;
use serde_json::{Value, json};

pub type Fault = Box<dyn Fn(&mut World, &Value) -> Option<Result<Answer, NodeError>> + Send>;

/// What the node knows. Tests change it as they like.
#[expect(clippy::struct_excessive_bools, reason = "each is a way in which chains and tokens differ")]
pub struct World {
    pub chain_id: u64,
    pub height: u64,
    pub has_multicall: bool,
    /// Whether calls can be executed under an assumed state.
    pub has_overrides: bool,
    /// Whether a shared call comes back without the answer to its last question, for want of gas.
    pub starves_last: bool,
    pub code: HashMap<Address, Bytes>,
    pub token: Address,
    pub token_name: &'static str,
    pub token_version: &'static str,
    pub token_has_eip3009: bool,
    /// Whether a transfer with a used nonce succeeds and does nothing, as some tokens do.
    pub token_ignores_used_nonces: bool,
    /// Whether transfers leave the log that proves them.
    pub token_logs: bool,
    pub token_reverts: Option<&'static str>,
    /// Whether every transaction reverts when it is mined, though simulations succeed.
    pub transactions_revert: bool,
    pub balances: HashMap<Address, U256>,
    pub used: HashSet<(Address, B256)>,
    /// What the sending account has for gas.
    pub gas_money: U256,
    pub count: u64,
    /// The transactions of each block.
    pub blocks: HashMap<u64, Vec<B256>>,
    /// The time of every block.
    pub timestamp: u64,
    /// Which history this is: blocks have other hashes in another one.
    pub history: u64,
    /// Whether transactions are mined as they come.
    pub mines: bool,
    pub pool: Vec<Signed<TxEip1559>>,
    pub mined: Vec<Signed<TxEip1559>>,
    pub receipts: HashMap<B256, Value>,
    /// What happens to the next calls of a method instead.
    pub faults: HashMap<&'static str, VecDeque<Fault>>,
    /// How long the next questions with a call of this method take.
    pub delays: HashMap<&'static str, VecDeque<Duration>>,
    /// Nothing is answered at all.
    pub down: Option<NodeError>,
    pub round_trips: usize,
    /// Round trips in which nothing was asked.
    pub empty_round_trips: usize,
    pub calls: Vec<Call>,
}

pub struct FakeNode(Mutex<World>);

impl FakeNode {
    pub fn new(chain_id: u64, token: Address, token_name: &'static str) -> Arc<Self> {
        Arc::new(Self(Mutex::new(World {
            chain_id,
            height: 100,
            has_multicall: true,
            has_overrides: true,
            starves_last: false,
            code: HashMap::new(),
            token,
            token_name,
            token_version: "2",
            token_has_eip3009: true,
            token_ignores_used_nonces: false,
            token_logs: true,
            token_reverts: None,
            transactions_revert: false,
            balances: HashMap::new(),
            used: HashSet::new(),
            gas_money: U256::from(10).pow(U256::from(19)),
            count: 0,
            blocks: HashMap::new(),
            timestamp: crate::support::NOW,
            history: 0,
            mines: true,
            pool: Vec::new(),
            mined: Vec::new(),
            receipts: HashMap::new(),
            faults: HashMap::new(),
            delays: HashMap::new(),
            down: None,
            round_trips: 0,
            empty_round_trips: 0,
            calls: Vec::new(),
        })))
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        // A fault may panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next call of the method gets this error.
    pub fn refuse_next(&self, method: &'static str, code: i64, message: &'static str) {
        self.fault(method, move |_, _| Some(Ok(Err(CallError { code, message: message.to_owned(), data: None }))));
    }

    /// The next call of the method gets this answer.
    pub fn answer_next(&self, method: &'static str, json: &'static str) {
        self.fault(method, move |_, _| Some(Ok(Ok(RawValue::from_string(json.to_owned()).unwrap()))));
    }

    pub fn fault(
        &self,
        method: &'static str,
        fault: impl Fn(&mut World, &Value) -> Option<Result<Answer, NodeError>> + Send + 'static,
    ) {
        self.world().faults.entry(method).or_default().push_back(Box::new(fault));
    }

    pub fn round_trips(&self) -> usize {
        self.world().round_trips
    }

    pub fn mine(&self) {
        self.world().mine();
    }

    /// The next question with such a call takes so long.
    pub fn delay_next(&self, method: &'static str, delay: Duration) {
        self.world().delays.entry(method).or_default().push_back(delay);
    }

    fn answers(&self, calls: &[Call]) -> Result<Vec<Answer>, NodeError> {
        let mut world = self.world();
        match world.down.clone() {
            Some(error) => Err(error),
            None => calls.iter().map(|call| world.answer(call)).collect(),
        }
    }
}

impl Node for FakeNode {
    fn ask<'a>(&'a self, calls: &'a [Call]) -> BoxFuture<'a, Result<Vec<Answer>, NodeError>> {
        let delay = {
            let mut world = self.world();
            world.round_trips += 1;
            world.empty_round_trips += usize::from(calls.is_empty());
            world.calls.extend_from_slice(calls);
            let delays = calls.iter().find_map(|call| world.delays.get_mut(call.method)?.pop_front());
            delays.unwrap_or_default()
        };
        Box::pin(async move {
            if delay.is_zero() {
                let answers = self.answers(calls);
                // A real node never answers at once: let others run in between.
                tokio::task::yield_now().await;
                return answers;
            }
            tokio::time::sleep(delay).await;
            self.answers(calls)
        })
    }
}

impl World {
    fn answer(&mut self, call: &Call) -> Result<Answer, NodeError> {
        let params: Value = serde_json::from_str(&call.params).expect("parameters are JSON");
        let fault = self.faults.get_mut(call.method).and_then(VecDeque::pop_front);
        if let Some(answer) = fault.and_then(|fault| fault(self, &params)) {
            return answer;
        }
        let address = |at: usize| params[at].as_str().unwrap().parse::<Address>().unwrap();
        let answer = match call.method {
            "eth_chainId" => Ok(json!(format!("{:#x}", self.chain_id))),
            "eth_blockNumber" => Ok(json!(format!("{:#x}", self.height))),
            "eth_getCode" => Ok(json!(self.code_of(address(0)))),
            "eth_call" => {
                let to: Address = params[0]["to"].as_str().unwrap().parse().unwrap();
                let data = bytes(&params[0]["data"]);
                match params.get(2) {
                    None => self.call(to, &data).map(|data| json!(Bytes::from(data))).map_err(revert),
                    Some(_) if self.has_overrides => Ok(json!(Bytes::from(self.observe(&data)))),
                    Some(_) => {
                        let message = "too many arguments, want at most 2".to_owned();
                        Err(CallError { code: -32_602, message, data: None })
                    }
                }
            }
            "eth_estimateGas" => {
                let to: Address = params[0]["to"].as_str().unwrap().parse().unwrap();
                self.call(to, &bytes(&params[0]["data"])).map(|_| json!("0x15f90")).map_err(revert)
            }
            "eth_feeHistory" => Ok(json!({"baseFeePerGas": ["0x3b9aca00", "0x3b9aca00"], "reward": [["0xf4240"]]})),
            "eth_getTransactionCount" => Ok(json!(format!("{:#x}", self.count_of(params[1] == "pending")))),
            "eth_getBalance" => Ok(json!(format!("{:#x}", self.gas_money))),
            "eth_getBlockByNumber" => {
                let tag = params[0].as_str().unwrap();
                let number = tag.strip_prefix("0x").map_or(self.height, |digits| u64::from_str_radix(digits, 16).unwrap());
                Ok(if number > self.height { Value::Null } else { self.block(number) })
            }
            "eth_sendRawTransaction" => self.send(&bytes(&params[0])).map(|hash| json!(hash)),
            "eth_getTransactionReceipt" => {
                let hash: B256 = params[0].as_str().unwrap().parse().unwrap();
                Ok(self.receipts.get(&hash).cloned().unwrap_or(Value::Null))
            }
            "eth_getLogs" => Ok(self.logs(&params[0])),
            "eth_getTransactionByHash" => {
                let hash: B256 = params[0].as_str().unwrap().parse().unwrap();
                Ok(if self.knows(hash) { json!({"hash": hash}) } else { Value::Null })
            }
            other => panic!("the fake node knows no {other}"),
        };
        Ok(answer.map(|json| serde_json::value::to_raw_value(&json).unwrap()))
    }

    fn code_of(&self, address: Address) -> Bytes {
        let has_code = address == self.token || (address == MULTICALL3 && self.has_multicall);
        self.code.get(&address).cloned().unwrap_or_else(|| if has_code { Bytes::from(vec![0x60]) } else { Bytes::new() })
    }

    fn count_of(&self, pending: bool) -> u64 {
        let mut count = self.count;
        while pending && self.pool.iter().any(|signed| signed.tx().nonce == count) {
            count += 1;
        }
        count
    }

    fn hash_of(&self, number: u64) -> B256 {
        B256::from(U256::from(number) + (U256::from(self.history + 1) << 64))
    }

    fn block(&self, number: u64) -> Value {
        json!({
            "number": format!("{number:#x}"), "hash": self.hash_of(number), "parentHash": self.hash_of(number - 1),
            "timestamp": format!("{:#x}", self.timestamp), "baseFeePerGas": "0x3b9aca00",
            "transactions": self.blocks.get(&number).cloned().unwrap_or_default(),
        })
    }

    fn logs(&self, filter: &Value) -> Value {
        let mut found = Vec::new();
        for receipt in self.receipts.values() {
            for log in receipt["logs"].as_array().unwrap() {
                let wanted = filter["topics"].as_array().unwrap();
                let topics = log["topics"].as_array().unwrap();
                if wanted.iter().zip(topics).all(|(wanted, topic)| wanted.is_null() || wanted == topic) {
                    let mut log = log.clone();
                    for field in ["transactionHash", "blockNumber", "blockHash"] {
                        log[field] = receipt[field].clone();
                    }
                    found.push(log);
                }
            }
        }
        Value::Array(found)
    }

    /// Another history without anything that this one has mined, one block longer.
    pub fn reorganise(&mut self) {
        self.history += 1;
        self.height += 1;
        self.count = 0;
        self.used.clear();
        self.blocks.clear();
        self.receipts.clear();
        let total = self.balances.values().fold(U256::ZERO, |total, balance| total + balance);
        self.balances = HashMap::from([(crate::support::payer(), total)]);
    }

    pub fn knows(&self, hash: B256) -> bool {
        self.receipts.contains_key(&hash) || self.pool.iter().any(|known| *known.hash() == hash)
    }

    fn call(&mut self, to: Address, data: &[u8]) -> Result<Vec<u8>, Vec<u8>> {
        if self.code_of(to).is_empty() {
            return Ok(Vec::new());
        }
        if to == MULTICALL3 {
            let calls = Multicall3::aggregate3Call::abi_decode(data).unwrap().calls;
            let results = calls.iter().map(|call| {
                let (success, data) = match self.call(call.target, &call.callData) {
                    Ok(data) => (true, data),
                    Err(data) => (false, data),
                };
                Multicall3::Result { success, returnData: data.into() }
            });
            return Ok(Multicall3::aggregate3Call::abi_encode_returns(&results.collect()));
        }
        let selector: [u8; 4] = data[..4].try_into().unwrap();
        match selector {
            Token::nameCall::SELECTOR => Ok(self.token_name.to_owned().abi_encode()),
            Token::versionCall::SELECTOR => Ok(self.token_version.to_owned().abi_encode()),
            Token::balanceOfCall::SELECTOR => {
                let account = Token::balanceOfCall::abi_decode(data).unwrap().account;
                Ok(self.balances.get(&account).copied().unwrap_or_default().abi_encode())
            }
            Token::authorizationStateCall::SELECTOR if self.token_has_eip3009 => {
                let call = Token::authorizationStateCall::abi_decode(data).unwrap();
                Ok(self.used.contains(&(call.authorizer, call.nonce)).abi_encode())
            }
            Token::transferWithAuthorization_0Call::SELECTOR if self.token_has_eip3009 => {
                self.check_transfer(&Token::transferWithAuthorization_0Call::abi_decode(data).unwrap())
            }
            _ => Err(Vec::new()),
        }
    }

    /// What the assumed contract does.
    fn observe(&mut self, data: &[u8]) -> Vec<u8> {
        let groups = ProbeContract::observeCall::abi_decode(data).unwrap().groups;
        let count = groups.len();
        let report = |(index, group): (usize, ProbeContract::Group)| {
            let balances = self.balances.clone();
            let results = group.calls.iter().map(|call| match self.call(call.to, &call.data) {
                Ok(data) => {
                    self.credit(&call.data);
                    ProbeContract::Result { outcome: 1, data: data.into() }
                }
                Err(data) => ProbeContract::Result { outcome: 0, data: data.into() },
            });
            let results: Vec<_> = results.collect();
            self.balances = balances;
            let starved = self.starves_last && count > 1 && index + 1 == count;
            let skipped = group.ordinaryOnly && !self.code_of(group.account).is_empty();
            let results = if starved || skipped { Bytes::new() } else { results.abi_encode().into() };
            ProbeContract::Report { codeSize: U256::from(self.code_of(group.account).len()), results }
        };
        let reports = groups.into_iter().enumerate().map(report).collect();
        let (height, timestamp) = (U256::from(self.height), U256::from(1_700_000_000));
        ProbeContract::observeCall::abi_encode_returns(&ProbeContract::observeReturn { height, timestamp, reports })
    }

    /// What the rest of a group sees of a transfer before it.
    fn credit(&mut self, data: &[u8]) {
        if let Ok(transfer) = Token::transferWithAuthorization_0Call::abi_decode(data) {
            *self.balances.entry(transfer.to).or_default() += transfer.value;
        }
    }

    fn check_transfer(&self, call: &Token::transferWithAuthorization_0Call) -> Result<Vec<u8>, Vec<u8>> {
        let fail = |reason: &str| Err(Revert::from(reason.to_owned()).abi_encode());
        if let Some(reason) = self.token_reverts {
            return fail(reason);
        }
        if self.used.contains(&(call.from, call.nonce)) && !self.token_ignores_used_nonces {
            return fail("FiatTokenV2: authorization is used or canceled");
        }
        if self.balances.get(&call.from).copied().unwrap_or_default() < call.value {
            return fail("ERC20: transfer amount exceeds balance");
        }
        Ok(Vec::new())
    }

    fn send(&mut self, raw: &[u8]) -> Result<B256, CallError> {
        let refuse = |message: &str| Err(CallError { code: -32_000, message: message.to_owned(), data: None });
        let signed = TxEip1559::eip2718_decode(&mut &raw[..]).expect("a signed EIP-1559 transaction");
        let hash = *signed.hash();
        assert_eq!(signed.tx().chain_id, self.chain_id);
        if self.pool.iter().any(|known| *known.hash() == hash) {
            return refuse("already known");
        }
        if signed.tx().nonce < self.count {
            return refuse("nonce too low");
        }
        if let Some(at) = self.pool.iter().position(|known| known.tx().nonce == signed.tx().nonce) {
            let (old, new) = (self.pool[at].tx(), signed.tx());
            let is_more = |old: u128, new: u128| new >= old + old / 10;
            if !is_more(old.max_fee_per_gas, new.max_fee_per_gas)
                || !is_more(old.max_priority_fee_per_gas, new.max_priority_fee_per_gas)
            {
                return refuse("replacement transaction underpriced");
            }
            self.pool.swap_remove(at);
        }
        self.pool.push(signed);
        if self.mines {
            self.mine();
        }
        Ok(hash)
    }

    /// Takes the same transaction twice and gives the second answer.
    pub fn send_raw_twice(&mut self, raw: &str) -> Answer {
        let raw = hex::decode(raw).unwrap();
        drop(self.send(&raw));
        self.send(&raw).map(|hash| serde_json::value::to_raw_value(&json!(hash)).unwrap())
    }

    /// Mines what is next in line, as far as there is no gap.
    pub fn mine(&mut self) {
        self.height += 1;
        while let Some(at) = self.pool.iter().position(|signed| signed.tx().nonce == self.count) {
            let signed = self.pool.swap_remove(at);
            self.count += 1;
            let logs = self.execute(signed.tx());
            let succeeded = logs.is_some();
            self.receipts.insert(
                *signed.hash(),
                json!({
                    "transactionHash": signed.hash(), "status": if succeeded { "0x1" } else { "0x0" },
                    "blockNumber": format!("{:#x}", self.height), "blockHash": self.hash_of(self.height),
                    "gasUsed": "0x15000", "effectiveGasPrice": "0x1", "logs": logs.unwrap_or_default(),
                }),
            );
            self.blocks.entry(self.height).or_default().push(*signed.hash());
            self.mined.push(signed);
        }
    }

    /// The logs of a transaction; `None` if it reverts.
    fn execute(&mut self, transaction: &TxEip1559) -> Option<Vec<Value>> {
        if transaction.input.is_empty() {
            return Some(Vec::new());
        }
        if self.transactions_revert {
            return None;
        }
        if transaction.to.to() != Some(&MULTICALL3) {
            return self.carry_out(&transaction.input);
        }
        let calls = Multicall3::aggregate3Call::abi_decode(&transaction.input).unwrap().calls;
        Some(calls.iter().filter_map(|call| self.carry_out(&call.callData)).flatten().collect())
    }

    /// The logs of one transfer; `None` if it reverts.
    fn carry_out(&mut self, data: &[u8]) -> Option<Vec<Value>> {
        let call = Token::transferWithAuthorization_0Call::abi_decode(data).unwrap();
        if self.check_transfer(&call).is_err() {
            return None;
        }
        let first_use = self.used.insert((call.from, call.nonce));
        if !(first_use && self.token_logs) {
            return Some(Vec::new());
        }
        *self.balances.entry(call.from).or_default() -= call.value;
        *self.balances.entry(call.to).or_default() += call.value;
        let used = Token::AuthorizationUsed { authorizer: call.from, nonce: call.nonce }.encode_log_data();
        let moved = Token::Transfer { from: call.from, to: call.to, value: call.value }.encode_log_data();
        Some([used, moved].map(|log| json!({"address": self.token, "topics": log.topics(), "data": log.data})).to_vec())
    }
}

fn revert(data: Vec<u8>) -> CallError {
    CallError { code: 3, message: "execution reverted".to_owned(), data: Some(data.into()) }
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}
