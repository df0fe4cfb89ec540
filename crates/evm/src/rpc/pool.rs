//! Several nodes of one chain, used as one.
//!
//! 1. The answers of one question always come from **one** node, so that they agree among themselves. It is the first node
//!    of the configuration that answers, is not stale and is not far slower than another one.
//! 2. A node that fails (no answer in time, an HTTP error, garbage, a rate limit) is passed over, and the same question
//!    goes to the next node, within [`POOL_PATIENCE`] times the longest time-out in all. Nodes that were found down are
//!    asked only when no other answered.
//! 3. A node of another chain is never asked anything but which chain it is of.
//! 4. A broadcast that the first node did not accept goes to all the others: the bytes are the same, so nothing can be
//!    sent twice. One node that accepts it is enough. It counts as refused only if every node that was asked refused it:
//!    while one of them may have taken it, the answer is an error, which is not a refusal.
//! 5. Nodes are told apart by their name or place, never by their address.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use farthing_core::BoxFuture;
use farthing_core::network::Network;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, timeout};

use super::health::{Head, Health, Standing};
use super::{Answer, BlockTag, Call, CallError, HttpNode, Node, NodeError, block, quantity};
use crate::config::{ConfigError, NodeConfig, check_nodes};
use crate::network::chain_id;

/// How many of the longest time-outs one question may take in all.
pub const POOL_PATIENCE: u32 = 2;
/// A node is passed over as slow if another answers this many times quicker, and quicker by this much.
const SLOW_FACTOR: u32 = 8;
const SLOW_DIFFERENCE: Duration = Duration::from_millis(250);

/// Several nodes of one chain.
pub struct NodePool(Arc<Shared>);

struct Shared {
    network: Arc<str>,
    chain_id: u64,
    request_timeout: Duration,
    endpoints: Vec<Endpoint>,
}

struct Endpoint {
    label: Arc<str>,
    node: Arc<dyn Node>,
    health: Mutex<Health>,
    /// Held while the node's chain is checked, so that many who begin at once ask once.
    introduction: tokio::sync::Mutex<()>,
}

/// In which order nodes are asked: the smaller, the sooner.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Good,
    Slow,
    Stale,
    Failed,
}

impl NodePool {
    /// The nodes that an operator configured. Connects to nothing yet.
    pub fn connect(network: &Network, nodes: &[NodeConfig]) -> Result<Self, ConfigError> {
        check_nodes(network, nodes)?;
        let id = chain_id(network).ok_or_else(|| ConfigError::Network(network.clone()))?;
        let mut endpoints: Vec<(String, Arc<dyn Node>)> = Vec::with_capacity(nodes.len());
        for (place, config) in nodes.iter().enumerate() {
            endpoints.push((config.label(place), Arc::new(HttpNode::new(network, config)?)));
        }
        let request_timeout = nodes.iter().map(NodeConfig::request_timeout).max().unwrap_or_default();
        Ok(Self::new(network, id, endpoints, request_timeout))
    }

    /// Any nodes, with what logs and metrics call them, the preferred one first.
    pub fn new(network: &Network, chain_id: u64, endpoints: Vec<(String, Arc<dyn Node>)>, request_timeout: Duration) -> Self {
        let endpoints = endpoints.into_iter().map(|(label, node)| Endpoint {
            label: label.into(),
            node,
            health: Mutex::new(Health::new()),
            introduction: tokio::sync::Mutex::default(),
        });
        Self(Arc::new(Shared {
            network: network.to_string().into(),
            chain_id,
            request_timeout,
            endpoints: endpoints.collect(),
        }))
    }
}

impl Node for NodePool {
    fn ask<'a>(&'a self, calls: &'a [Call]) -> BoxFuture<'a, Result<Vec<Answer>, NodeError>> {
        Box::pin(async move {
            let chain = Arc::clone(&self.0.network);
            metrics::counter!("farthing_node_calls_total", "chain" => chain).increment(u64::try_from(calls.len()).unwrap_or(0));
            self.probe_who_is_due();
            if calls.iter().any(Call::is_broadcast) {
                return self.0.broadcast(calls).await;
            }
            self.0.read(calls).await
        })
    }
}

impl NodePool {
    /// Looks at the nodes while the pool is used, in the background: how far they have got, and whether they are back.
    fn probe_who_is_due(&self) {
        if self.0.endpoints.len() < 2 {
            return;
        }
        for (place, endpoint) in self.0.endpoints.iter().enumerate() {
            if endpoint.health().take_probe() {
                let shared = Arc::clone(&self.0);
                tokio::spawn(async move { shared.probe(place).await });
            }
        }
    }
}

impl Shared {
    /// One node after the other, until one answers.
    async fn read(&self, calls: &[Call]) -> Result<Vec<Answer>, NodeError> {
        let deadline = self.deadline();
        let order = self.order();
        let mut doubtful = None;
        let mut failure: Option<NodeError> = None;
        for (tried, (_, endpoint)) in order.iter().enumerate() {
            let left = u32::try_from(order.len().saturating_sub(tried)).unwrap_or(u32::MAX).max(1);
            match self.attempt(endpoint, calls, deadline.saturating_duration_since(Instant::now()) / left).await {
                Ok(answers) if answers.iter().any(is_own_trouble) => doubtful = doubtful.or(Some(answers)),
                Ok(answers) => return Ok(answers),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        // What a node said of its own trouble is still its answer, if nobody knows better.
        doubtful.ok_or_else(|| failure.unwrap_or_else(|| self.nobody()))
    }

    /// The preferred node, and then all the others at once, until every broadcast is accepted.
    async fn broadcast(&self, calls: &[Call]) -> Result<Vec<Answer>, NodeError> {
        let deadline = self.deadline();
        let order = self.order();
        let mut result = Gathered { calls, answers: None, failure: None };
        let usable = order.iter().take_while(|(rank, _)| *rank < Rank::Failed).count();
        let first = usable.min(1);
        for (stage, places) in [0..first, first..usable, usable..order.len()].into_iter().enumerate() {
            let last_resort = stage == 2;
            if result.is_accepted() || (last_resort && result.answers.is_some()) {
                break;
            }
            let mut limit = deadline.saturating_duration_since(Instant::now());
            if stage == 0 && order.len() > 1 {
                limit /= POOL_PATIENCE;
            }
            let asked = order.get(places).unwrap_or_default().iter();
            let mut attempts: FuturesUnordered<_> = asked.map(|(_, endpoint)| self.attempt(endpoint, calls, limit)).collect();
            while let Some(attempt) = attempts.next().await {
                result.add(attempt);
                if result.is_accepted() {
                    break;
                }
            }
        }
        result.finish().unwrap_or_else(|| Err(self.nobody()))
    }

    /// The nodes in the order in which to ask them, without those of another chain.
    fn order(&self) -> Vec<(Rank, &Endpoint)> {
        let quickest = self.endpoints.iter().filter_map(|endpoint| endpoint.health().latency_if_usable()).min();
        let ranked = self.endpoints.iter().filter_map(|endpoint| Some((endpoint.rank(quickest)?, endpoint)));
        let mut order: Vec<_> = ranked.collect();
        // The sort is stable: the order of the configuration decides among equals.
        order.sort_by_key(|(rank, _)| *rank);
        order
    }

    /// One exchange with one node, whose chain is checked before if need be. Whatever becomes of it is remembered.
    async fn attempt(&self, endpoint: &Endpoint, calls: &[Call], limit: Duration) -> Result<Vec<Answer>, NodeError> {
        let started = Instant::now();
        let exchange = async {
            self.introduce(endpoint).await?;
            let asked = Instant::now();
            let answers = endpoint.node.ask(calls).await?;
            if answers.len() != calls.len() {
                return Err(NodeError::Malformed(calls.first().map_or("nothing", |call| call.method)));
            }
            let refused = |(call, answer): (&Call, &Answer)| {
                let error = answer.as_ref().err().filter(|error| error.is_rate_limit())?;
                Some(NodeError::Refused { method: call.method, error: error.clone() })
            };
            calls.iter().zip(&answers).find_map(refused).map_or(Ok((asked, answers)), Err)
        };
        match timeout(limit, exchange).await.unwrap_or(Err(NodeError::TimedOut)) {
            Ok((asked, answers)) => {
                self.count(endpoint, "ok");
                if endpoint.health().answered(asked) {
                    tracing::info!(network = %self.network, endpoint = %endpoint.label, "the node answers again");
                }
                self.show(endpoint);
                Ok(answers)
            }
            Err(error) => {
                self.count(endpoint, error.kind());
                self.remember_failure(endpoint, started, &error);
                Err(error)
            }
        }
    }

    /// Checks the chain of a node that is new, or that was down.
    async fn introduce(&self, endpoint: &Endpoint) -> Result<(), NodeError> {
        if endpoint.health().standing == Standing::Healthy {
            return Ok(());
        }
        let _one_at_a_time = endpoint.introduction.lock().await;
        if endpoint.health().standing == Standing::Healthy {
            return Ok(());
        }
        let started = Instant::now();
        let answers = endpoint.node.ask(&[Call::chain_id()]).await?;
        let method = Call::chain_id().method;
        let got = quantity(answers.first().ok_or(NodeError::Malformed(method))?, method)?;
        if got != self.chain_id {
            return Err(NodeError::OtherChain { expected: self.chain_id, got });
        }
        if endpoint.health().answered(started) {
            tracing::info!(network = %self.network, endpoint = %endpoint.label, "the node answers again");
        }
        Ok(())
    }

    fn remember_failure(&self, endpoint: &Endpoint, started: Instant, error: &NodeError) {
        let other_chain = match error {
            NodeError::OtherChain { got, .. } => Some(*got),
            _ => None,
        };
        if endpoint.health().failed(started, other_chain) {
            let (network, endpoint) = (&self.network, &endpoint.label);
            if other_chain.is_some() {
                tracing::error!(%network, %endpoint, %error, "the node is not used");
            } else {
                tracing::warn!(%network, %endpoint, error = error.kind(), "the node does not answer; others are asked");
            }
        }
        self.show(endpoint);
    }

    async fn probe(&self, place: usize) {
        let Some(endpoint) = self.endpoints.get(place) else { return };
        let answers = self.attempt(endpoint, &[Call::block(BlockTag::Latest)], self.request_timeout).await;
        let Some(Ok(Some(newest))) = answers.as_ref().ok().and_then(|answers| answers.first()).map(block) else { return };
        let head = Head { number: newest.number, timestamp_seconds: newest.timestamp_seconds, seen: Instant::now() };
        let others = self.endpoints.iter().enumerate().filter(|(other, _)| *other != place);
        let best = others.filter_map(|(_, other)| other.health().recent_head()).max_by_key(|head| head.number);
        if endpoint.health().saw(head, best) {
            let behind_blocks = best.map_or(0, |best| best.number.saturating_sub(head.number));
            tracing::warn!(network = %self.network, endpoint = %endpoint.label, behind_blocks, "the node is stale; others are asked");
        }
        self.show(endpoint);
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.request_timeout.saturating_mul(if self.endpoints.len() > 1 { POOL_PATIENCE } else { 1 })
    }

    /// Why no node could be asked at all: all that there are belong to another chain.
    fn nobody(&self) -> NodeError {
        let other = self.endpoints.iter().find_map(|endpoint| match endpoint.health().standing {
            Standing::OtherChain(got) => Some(got),
            _ => None,
        });
        other.map_or(NodeError::Unreachable, |got| NodeError::OtherChain { expected: self.chain_id, got })
    }

    fn count(&self, endpoint: &Endpoint, outcome: &'static str) {
        let (chain, endpoint) = (Arc::clone(&self.network), Arc::clone(&endpoint.label));
        metrics::counter!("farthing_node_requests_total", "chain" => chain, "endpoint" => endpoint, "outcome" => outcome)
            .increment(1);
    }

    fn show(&self, endpoint: &Endpoint) {
        let healthy = {
            let health = endpoint.health();
            health.standing == Standing::Healthy && !health.stale
        };
        let (chain, endpoint) = (Arc::clone(&self.network), Arc::clone(&endpoint.label));
        metrics::gauge!("farthing_node_healthy", "chain" => chain, "endpoint" => endpoint).set(u8::from(healthy));
    }
}

impl Endpoint {
    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its place in the order; `None` if it may not be asked at all.
    fn rank(&self, quickest: Option<Duration>) -> Option<Rank> {
        let health = self.health();
        let slow = |latency: Duration| {
            quickest.is_some_and(|quickest| {
                latency > quickest.saturating_mul(SLOW_FACTOR) && latency > quickest.saturating_add(SLOW_DIFFERENCE)
            })
        };
        match health.standing {
            Standing::OtherChain(_) if !health.may_be_tried() => None,
            Standing::Failed | Standing::OtherChain(_) => Some(Rank::Failed),
            Standing::Untested | Standing::Healthy if health.stale => Some(Rank::Stale),
            Standing::Untested | Standing::Healthy if health.latency.is_some_and(slow) => Some(Rank::Slow),
            Standing::Untested | Standing::Healthy => Some(Rank::Good),
        }
    }
}

/// What became of a broadcast at the nodes that were asked so far.
struct Gathered<'a> {
    calls: &'a [Call],
    answers: Option<Vec<Answer>>,
    /// A node may have taken it without saying so.
    failure: Option<NodeError>,
}

impl Gathered<'_> {
    fn add(&mut self, attempt: Result<Vec<Answer>, NodeError>) {
        match (attempt, &mut self.answers) {
            (Ok(answers), None) => self.answers = Some(answers),
            (Ok(answers), Some(gathered)) => {
                let places = self.calls.iter().zip(gathered).zip(answers);
                for ((_, place), answer) in places.filter(|((call, _), _)| call.is_broadcast()) {
                    if acceptance(&answer) > acceptance(place) {
                        *place = answer;
                    }
                }
            }
            // It was told nothing.
            (Err(error @ NodeError::OtherChain { .. }), _) => self.failure = self.failure.take().or(Some(error)),
            (Err(error), _) => match self.failure {
                None | Some(NodeError::OtherChain { .. }) => self.failure = Some(error),
                Some(_) => {}
            },
        }
    }

    fn is_accepted(&self) -> bool {
        let Some(answers) = &self.answers else { return false };
        let mut broadcasts = self.calls.iter().zip(answers).filter(|(call, _)| call.is_broadcast());
        broadcasts.all(|(_, answer)| acceptance(answer) > Acceptance::Refused)
    }

    fn finish(self) -> Option<Result<Vec<Answer>, NodeError>> {
        let accepted = self.is_accepted();
        match (self.answers, self.failure) {
            (Some(_), Some(error)) if !accepted && !matches!(error, NodeError::OtherChain { .. }) => Some(Err(error)),
            (Some(answers), _) => Some(Ok(answers)),
            (None, error) => error.map(Err),
        }
    }
}

/// What a node did with a transaction.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Acceptance {
    Refused,
    Known,
    Accepted,
}

fn acceptance(answer: &Answer) -> Acceptance {
    match answer {
        Ok(_) => Acceptance::Accepted,
        Err(error) if error.is_already_known() => Acceptance::Known,
        Err(_) => Acceptance::Refused,
    }
}

/// Whether a node could not answer for a reason of its own, so that another one may.
fn is_own_trouble(answer: &Answer) -> bool {
    answer.as_ref().is_err_and(CallError::is_own_trouble)
}

impl std::fmt::Debug for NodePool {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "NodePool({}, {} nodes)", self.0.network, self.0.endpoints.len())
    }
}

#[cfg(test)]
mod tests;
