//! One network as a facilitator uses it: its node, its sending account, and what was learnt of it. Shared by all schemes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use alloy_primitives::{Address, Bytes};
use alloy_sol_types::SolCall;
use farthing_core::network::Network;
use tokio::time::Instant;

use crate::abi::{MULTICALL3, Multicall3};
use crate::config::{ChainConfig, ConfigError, ConfirmConfig, GasConfig};
use crate::network::chain_id;
use crate::relayer::Relayer;
use crate::rpc::{self, Answer, Call, Executed, HttpNode, Node, NodeError, Revert};
use crate::signer::Signer;

/// How long an estimate of gas is used before it is made again.
const ESTIMATE_LIFETIME: Duration = Duration::from_mins(1);
/// Room above an estimate: the next payment may write to accounts that this one found written. Unused gas is not paid.
const ESTIMATE_ROOM_UNITS: u64 = 25_000;

/// One network as a facilitator uses it.
pub struct Chain {
    network: Network,
    id: u64,
    node: Arc<dyn Node>,
    relayer: Relayer,
    confirm: ConfirmConfig,
    gas: GasBook,
    multicall: AtomicU8,
}

/// One read-only call of a contract. It may carry a signature, so it is not shown.
#[derive(Clone)]
pub struct Probe {
    /// The contract.
    pub to: Address,
    /// The call.
    pub data: Vec<u8>,
}

/// What [`Chain::observe`] saw, in the order of the questions.
#[derive(Debug)]
pub struct Observed {
    /// What the probes did.
    pub executed: Vec<Executed>,
    /// The answers to the plain calls.
    pub answers: Vec<Answer>,
}

/// A payment would use more gas than the operator allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the payment would use {estimated} units of gas, and gas.max_units allows {cap}")]
pub struct GasAboveCap {
    estimated: u64,
    cap: u64,
}

/// Whether the chain has Multicall3, as far as is known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Multicall {
    Unknown,
    Absent,
    Present,
}

impl Chain {
    /// A network behind a node of the operator's choice, with a sending account. Nothing is asked yet.
    pub fn new(config: &ChainConfig, node: Arc<dyn Node>, signer: Arc<dyn Signer>) -> Result<Arc<Self>, ConfigError> {
        let id = chain_id(&config.network).ok_or_else(|| ConfigError::Network(config.network.clone()))?;
        check(config)?;
        Ok(Arc::new(Self {
            network: config.network.clone(),
            id,
            relayer: Relayer::new(id, node.clone(), signer, config),
            node,
            confirm: config.confirm,
            gas: GasBook::new(config.gas),
            multicall: AtomicU8::new(Multicall::Unknown as u8),
        }))
    }

    /// A network behind the configured node.
    pub fn connect(config: &ChainConfig, signer: Arc<dyn Signer>) -> Result<Arc<Self>, ConfigError> {
        let node = Arc::new(HttpNode::new(&config.network, &config.node)?);
        Self::new(config, node, signer)
    }

    /// The network.
    pub const fn network(&self) -> &Network {
        &self.network
    }

    /// The network, as the chain counts chains.
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// The node.
    pub fn node(&self) -> &dyn Node {
        self.node.as_ref()
    }

    /// The sending account.
    pub const fn relayer(&self) -> &Relayer {
        &self.relayer
    }

    /// When a transaction counts.
    pub const fn confirm(&self) -> ConfirmConfig {
        self.confirm
    }

    /// Whether the node can be reached and is of this chain.
    pub async fn ready(&self) -> Result<(), NodeError> {
        let answers = self.node.ask(&[Call::chain_id()]).await?;
        self.check_id(answers.first())
    }

    /// Executes the probes one after another on the latest state, later ones seeing what earlier ones did where the chain
    /// has Multicall3, and asks the plain calls, all in **one** round trip. What the chain needs for itself (which chain
    /// it is, fees, nonces) travels along.
    pub async fn observe(&self, probes: &[Probe], plain: Vec<Call>) -> Result<Observed, NodeError> {
        let plain_count = plain.len();
        let mut calls = plain;
        let multicall = self.multicall();
        if multicall == Multicall::Unknown {
            calls.extend([Call::chain_id(), Call::code(MULTICALL3)]);
        }
        let place = calls.len();
        if multicall == Multicall::Present {
            calls.push(Call::execute(MULTICALL3, &aggregate(probes)));
        } else {
            calls.extend(probes.iter().map(|probe| Call::execute(probe.to, &probe.data)));
        }
        let end = calls.len();
        let upkeep = self.relayer.plan_upkeep(&mut calls);
        let mut answers = self.node.ask(&calls).await?;
        if answers.len() != calls.len() {
            return Err(NodeError::Malformed("eth_call"));
        }
        if multicall == Multicall::Unknown {
            self.check_id(answers.get(plain_count))?;
            self.learn_multicall(answers.get(plain_count.saturating_add(1)))?;
        }
        if let Some(upkeep) = upkeep {
            self.relayer.absorb_upkeep(&upkeep, &answers);
        }
        let executed = answers.get(place..end).unwrap_or_default();
        let executed = match executed {
            [answer] if multicall == Multicall::Present => self.disaggregate(answer, probes.len())?,
            answers => answers.iter().map(rpc::executed).collect::<Result<_, _>>()?,
        };
        answers.truncate(plain_count);
        Ok(Observed { executed, answers })
    }

    /// The estimate to ask for along with the next question, if one is due for this kind of payment.
    pub fn plan_estimate(&self, probe: &Probe) -> Option<Call> {
        self.gas.should_ask(probe.to).then(|| Call::estimate_gas(self.relayer.address(), probe.to, &probe.data))
    }

    /// Takes over an estimate. A failed one says nothing: the simulation beside it tells why.
    pub fn learn_estimate(&self, asset: Address, answer: &Answer) {
        if let Ok(units) = rpc::quantity(answer, "eth_estimateGas") {
            self.gas.learn(asset, units);
        }
    }

    /// A payment in this asset ran out of gas: the next one estimates anew.
    pub fn forget_estimate(&self, asset: Address) {
        self.gas.forget(asset);
    }

    /// The gas that a payment in this asset may use.
    pub fn gas_units(&self, asset: Address) -> Result<u64, GasAboveCap> {
        self.gas.units(asset)
    }

    fn check_id(&self, answer: Option<&Answer>) -> Result<(), NodeError> {
        const METHOD: &str = "eth_chainId";
        let got = rpc::quantity(answer.ok_or(NodeError::Malformed(METHOD))?, METHOD)?;
        if got == self.id {
            return Ok(());
        }
        tracing::error!(network = %self.network, got, "the configured node is of another chain");
        Err(NodeError::OtherChain { expected: self.id, got })
    }

    fn multicall(&self) -> Multicall {
        match self.multicall.load(Ordering::Relaxed) {
            1 => Multicall::Absent,
            2 => Multicall::Present,
            _ => Multicall::Unknown,
        }
    }

    fn learn_multicall(&self, answer: Option<&Answer>) -> Result<(), NodeError> {
        const METHOD: &str = "eth_getCode";
        let code = rpc::bytes(answer.ok_or(NodeError::Malformed(METHOD))?, METHOD)?;
        let multicall = if code.is_empty() { Multicall::Absent } else { Multicall::Present };
        self.multicall.store(multicall as u8, Ordering::Relaxed);
        Ok(())
    }

    fn disaggregate(&self, answer: &Answer, count: usize) -> Result<Vec<Executed>, NodeError> {
        let malformed = || {
            // The contract may be gone (a development chain that started over): look for it again.
            self.multicall.store(Multicall::Unknown as u8, Ordering::Relaxed);
            NodeError::Malformed("eth_call")
        };
        let data = rpc::executed(answer)?.map_err(|_| malformed())?;
        let results = Multicall3::aggregate3Call::abi_decode_returns(&data).map_err(|_| malformed())?;
        if results.len() != count {
            return Err(malformed());
        }
        let executed = results
            .into_iter()
            .map(|result| if result.success { Ok(result.returnData) } else { Err(Revert::from_data(&result.returnData)) });
        Ok(executed.collect())
    }
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Chain({}, sends from {})", self.network, self.relayer.address())
    }
}

fn aggregate(probes: &[Probe]) -> Vec<u8> {
    let calls = probes.iter().map(|probe| Multicall3::Call3 {
        target: probe.to,
        allowFailure: true,
        callData: Bytes::copy_from_slice(&probe.data),
    });
    Multicall3::aggregate3Call { calls: calls.collect() }.abi_encode()
}

/// Limits that make no sense are refused at start-up.
fn check(config: &ChainConfig) -> Result<(), ConfigError> {
    let ConfirmConfig { blocks, timeout_milliseconds, poll_milliseconds, rebroadcast_milliseconds } = config.confirm;
    let limits = [
        ("confirm.blocks", blocks),
        ("confirm.timeout_milliseconds", timeout_milliseconds),
        ("confirm.poll_milliseconds", poll_milliseconds),
        ("confirm.rebroadcast_milliseconds", rebroadcast_milliseconds),
        ("node.request_timeout_milliseconds", config.node.request_timeout_milliseconds),
        ("gas.max_units", config.gas.max_units),
    ];
    match limits.into_iter().find(|(_, limit)| *limit == 0) {
        Some((field, _)) => Err(ConfigError::Limit { field, expected: "at least 1", got: "0".to_owned() }),
        None => Ok(()),
    }
}

/// Estimates of gas, by asset: payments in one asset differ little.
#[derive(Debug)]
struct GasBook {
    cap: u64,
    estimates: Mutex<HashMap<Address, Estimate>>,
}

#[derive(Clone, Copy, Debug)]
struct Estimate {
    units: u64,
    asked: Instant,
}

impl GasBook {
    fn new(caps: GasConfig) -> Self {
        Self { cap: caps.max_units, estimates: Mutex::default() }
    }

    fn should_ask(&self, asset: Address) -> bool {
        let mut estimates = self.estimates.lock().unwrap_or_else(PoisonError::into_inner);
        match estimates.get_mut(&asset) {
            Some(estimate) if estimate.asked.elapsed() < ESTIMATE_LIFETIME => false,
            Some(estimate) => {
                estimate.asked = Instant::now();
                true
            }
            None => true,
        }
    }

    fn learn(&self, asset: Address, units: u64) {
        let mut estimates = self.estimates.lock().unwrap_or_else(PoisonError::into_inner);
        estimates.insert(asset, Estimate { units, asked: Instant::now() });
    }

    fn forget(&self, asset: Address) {
        self.estimates.lock().unwrap_or_else(PoisonError::into_inner).remove(&asset);
    }

    fn units(&self, asset: Address) -> Result<u64, GasAboveCap> {
        let estimates = self.estimates.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Estimate { units, .. }) = estimates.get(&asset).copied() else { return Ok(self.cap) };
        if units > self.cap {
            return Err(GasAboveCap { estimated: units, cap: self.cap });
        }
        Ok(units.saturating_add(units / 4).saturating_add(ESTIMATE_ROOM_UNITS).min(self.cap))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn gas_is_estimated_once_in_a_while_and_capped() {
        let (asset, other) = (Address::repeat_byte(1), Address::repeat_byte(2));
        let book = GasBook::new(GasConfig { max_units: 200_000, ..GasConfig::default() });
        assert!(book.should_ask(asset));
        assert_eq!(book.units(asset), Ok(200_000), "without an estimate the cap is the limit");
        book.learn(asset, 80_000);
        assert!(!book.should_ask(asset) && book.should_ask(other));
        assert_eq!(book.units(asset), Ok(125_000));
        tokio::time::advance(ESTIMATE_LIFETIME).await;
        assert!(book.should_ask(asset) && !book.should_ask(asset), "one asker is enough");
        assert_eq!(book.units(asset), Ok(125_000));
        book.learn(asset, 190_000);
        assert_eq!(book.units(asset), Ok(200_000));
        book.learn(asset, 200_001);
        assert_eq!(book.units(asset), Err(GasAboveCap { estimated: 200_001, cap: 200_000 }));
        book.forget(asset);
        assert!(book.should_ask(asset));
    }
}
