//! One network as a facilitator uses it: its node, its sending account, and what was learnt of it. Shared by all schemes.

pub(crate) mod cover;
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

use self::cover::Cover;
use self::exchange::Exchange;
use self::gas::GasBook;
pub use self::gas::{GasAboveCap, GasKind, NoGas};
pub use self::question::{BlockView, Observed, Paid, Probe, Question};
use self::reads::Reads;
use crate::config::{ChainConfig, ConfigError, ConfirmConfig, SponsorConfig};
use crate::network::chain_id;
use crate::relayer::Relayer;
use crate::rpc::{self, Answer, Call, METHOD_NOT_FOUND_CODE, Node, NodeError, NodePool};
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
    cover: Cover,
    factories: Vec<Address>,
    sponsor: SponsorConfig,
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
        let (network, confirm, cover) = (config.network.clone(), config.confirm, Cover::default());
        let factories = config.wallets.factories()?;
        Ok(Arc::new(Self { network, id, node, relayer, confirm, gas, reads, cover, factories, sponsor: config.sponsor }))
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

    /// What payers have under way.
    pub(crate) const fn cover(&self) -> &Cover {
        &self.cover
    }

    /// What is done for payers beside their payments.
    pub const fn sponsor(&self) -> SponsorConfig {
        self.sponsor
    }

    /// Whether the operator trusts this contract to create wallets (ERC-6492).
    pub fn trusts_factory(&self, factory: Address) -> bool {
        self.factories.contains(&factory)
    }

    /// Carries a question's probes out on the latest state, and forgets what they did. Questions that are asked at the same
    /// time share one round trip and don't see each other. What the chain needs for itself travels along.
    pub async fn observe(&self, question: Question) -> Result<Observed, NodeError> {
        let span = debug_span!("observe", network = %self.network);
        if question.sender.is_some() {
            return self.reads.ask_alone(question).instrument(span).await;
        }
        self.reads.ask(question).instrument(span).await
    }

    /// The same, but by itself: for a payer whose own code is run, which could use up what others need.
    pub async fn observe_alone(&self, question: Question) -> Result<Observed, NodeError> {
        self.reads.ask_alone(question).instrument(debug_span!("observe", network = %self.network)).await
    }

    /// Takes over the estimate of a payment that needs so much more than others of its kind. A failed one says nothing: the
    /// simulation beside it tells why.
    pub fn learn_estimate(&self, kind: GasKind, answer: &Answer, more: u64) {
        if let Ok(units) = rpc::quantity(answer, "eth_estimateGas") {
            self.gas.learn(kind, units.saturating_sub(more));
        }
    }

    /// A payment of this kind ran out of gas: the next one estimates anew.
    pub fn forget_estimate(&self, kind: GasKind) {
        self.gas.forget(kind);
    }

    /// The gas that a payment of this kind may use, if it needs so much more than others.
    pub fn gas_units(&self, kind: GasKind, more: u64) -> Result<u64, GasAboveCap> {
        self.gas.units(kind, more)
    }

    /// The gas that one payment may use that costs like no other, because it runs its payer's code: all that is allowed, if
    /// the node makes no estimates.
    pub async fn gas_units_of(&self, payment: &Probe, sender: Option<Address>) -> Result<u64, NoGas> {
        let (sender, most) = (sender.unwrap_or(self.relayer.address()), self.relayer.caps().max_units);
        let call = Call::estimate_gas_within(sender, payment.to, &payment.data, most);
        let answer = self.reads.exchange().ask_alone(call).await;
        match answer {
            // It went through when it was simulated, with more gas or for another caller: sent, it would only burn gas.
            Some(Err(error)) if error.code != METHOD_NOT_FOUND_CODE => Err(NoGas::Fails { cap: most, error }),
            Some(Ok(answer)) => match rpc::quantity(&Ok(answer), "eth_estimateGas") {
                Ok(units) => Ok(self.gas.with_room(units)?),
                Err(_) => Ok(most),
            },
            _ => Ok(most),
        }
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
