//! One network as a facilitator uses it: its node, its sending account, and what was learnt of it. Shared by all schemes.

mod exchange;
mod gas;
mod question;
mod reads;

use std::sync::Arc;

use alloy_primitives::Address;
use farthing_core::books::Outbox;
use farthing_core::network::Network;
use farthing_core::time::Clock;
use tracing::{Instrument, debug_span};

use self::exchange::Exchange;
pub use self::gas::GasAboveCap;
use self::gas::GasBook;
pub use self::question::{BlockView, Observed, Probe, Question};
use self::reads::Reads;
use crate::config::{ChainConfig, ConfigError, ConfirmConfig};
use crate::network::chain_id;
use crate::relayer::Relayer;
use crate::rpc::{self, Answer, Call, Node, NodeError, NodePool};
use crate::signer::Signer;

/// One network as a facilitator uses it.
pub struct Chain {
    network: Network,
    id: u64,
    node: Arc<dyn Node>,
    relayer: Arc<Relayer>,
    confirm: ConfirmConfig,
    gas: Arc<GasBook>,
    reads: Arc<Reads>,
}

impl Chain {
    /// A network behind a node of the operator's choice, with sending accounts and the book of what they send. Nothing is
    /// asked yet.
    pub fn new(
        config: &ChainConfig,
        node: Arc<dyn Node>,
        signers: Vec<Arc<dyn Signer>>,
        outbox: Arc<dyn Outbox>,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, ConfigError> {
        let id = chain_id(&config.network).ok_or_else(|| ConfigError::Network(config.network.clone()))?;
        config.check()?;
        let relayer = Arc::new(Relayer::new(config, node.clone(), signers, outbox, clock)?);
        let gas = Arc::new(GasBook::new(config.gas.max_units));
        let exchange = Exchange::new(id, config, node.clone(), relayer.clone(), gas.clone());
        let reads = Arc::new(Reads::new(exchange));
        Ok(Arc::new(Self { network: config.network.clone(), id, node, relayer, confirm: config.confirm, gas, reads }))
    }

    /// A network behind the configured nodes.
    pub fn connect(
        config: &ChainConfig,
        signers: Vec<Arc<dyn Signer>>,
        outbox: Arc<dyn Outbox>,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, ConfigError> {
        let node = Arc::new(NodePool::connect(&config.network, &config.nodes)?);
        Self::new(config, node, signers, outbox, clock)
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

    /// The sending accounts.
    pub fn relayer(&self) -> &Relayer {
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

    /// Whether the chain has Multicall3. The node is asked if it has not said so yet.
    pub async fn has_multicall(&self) -> Result<bool, NodeError> {
        self.reads.exchange().has_multicall().await
    }

    /// Carries a question's probes out on the latest state, and forgets what they did. Questions that are asked at the same
    /// time share one round trip and don't see each other. What the chain needs for itself travels along.
    pub async fn observe(&self, question: Question) -> Result<Observed, NodeError> {
        self.reads.ask(question).instrument(debug_span!("observe", network = %self.network)).await
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

    pub(crate) fn check_id(&self, answer: Option<&Answer>) -> Result<(), NodeError> {
        self.reads.exchange().check_id(answer)
    }
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Chain({}, sends from {})", self.network, self.relayer.address())
    }
}
