//! Chaos: many payments through a node where every so many-th exchange goes wrong. In the end the book is the chain, to
//! the atom; nobody paid twice; nothing is unknown any more.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use farthing_core::wire::PaymentRequest;
use farthing_interop::chain::{Chain, ChainKind, TOKEN};
use futures_util::stream::{self, StreamExt as _};
use serde::Serialize;
use serde_json::json;

use super::SENDER_WEI;
use crate::chaos::{Chaos, Weather};
use crate::invariants::{self, Findings};
use crate::payments::{self, AMOUNT_ATOMIC, MachineClock, Payer};
use crate::replica::{self, Parts, Replica};
use crate::rpc::Rpc;
use crate::store;
use crate::stores::Stores;

/// How long the facilitator waits for its node, in milliseconds.
const NODE_PATIENCE_MILLISECONDS: u64 = 300;
/// The most buyers; beyond that they pay several times.
const MAX_PAYERS: u64 = 200;

/// What a campaign is.
pub struct Config {
    /// Where the books are.
    pub stores: Stores,
    /// On which chain.
    pub chain: ChainKind,
    /// How many payments.
    pub payments: u64,
    /// How many at once.
    pub at_once: usize,
    /// How many sending accounts.
    pub senders: u64,
    /// How many exchanges in a thousand go wrong.
    pub faults_per_thousand: u64,
    /// What decides which.
    pub seed: u64,
    /// How long a payment may stay without an answer while the weather is bad; after that it is presented again.
    pub storm_patience: Duration,
    /// How long all of the rest may take once the weather is good.
    pub calm_patience: Duration,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// What decided.
    pub seed: u64,
    /// Payments.
    pub payments: u64,
    /// Exchanges with the node.
    pub exchanges: u64,
    /// Those that went wrong.
    pub faults: u64,
    /// By kind.
    pub faults_by_kind: BTreeMap<String, u64>,
    /// Payments without a good answer when the storm ended.
    pub open_after_storm: usize,
    /// How long the storm lasted, in milliseconds.
    pub storm_milliseconds: u128,
    /// How long it took until all had their answer after that, in milliseconds.
    pub calm_milliseconds: u128,
    /// Settled in the book.
    pub settled: usize,
    /// Moved on the chain.
    pub moved: usize,
    /// Transactions that were mined.
    pub transactions: usize,
}

/// Runs it.
pub async fn run(config: &Config) -> Result<Summary> {
    let folder = super::folder()?;
    let chain = Chain::start(config.chain).await?;
    let keys: Vec<_> = (0..config.senders).map(|number| payments::key_of("sender", config.seed, number)).collect();
    let rpc = Rpc::new(chain.rpc_url())?;
    for sender in replica::accounts(&keys)? {
        rpc.call("anvil_setBalance", json!([sender.to_string(), SENDER_WEI])).await?;
    }
    let requests = sign(config, &chain).await?;

    let weather = Weather::stormy(config.faults_per_thousand, Duration::from_millis(NODE_PATIENCE_MILLISECONDS));
    let chaos = Chaos::start(chain.rpc_url(), config.seed, weather).await?;
    let fresh = config.stores.fresh(&folder).await?;
    let store = store::open(fresh.url()).await?;
    let mut parts = Parts::new(&store, chaos.url(), &keys)?;
    for node in &mut parts.config.nodes {
        node.request_timeout_milliseconds = NODE_PATIENCE_MILLISECONDS;
    }
    parts.node = replica::node(&parts.config)?;
    let replica = parts.start()?;

    let begun = Instant::now();
    let open = settle(&replica, requests.iter().collect(), config.at_once, config.storm_patience).await;
    let storm_time = begun.elapsed();
    let tally = chaos.tally();
    chaos.calm();
    let calmed = Instant::now();
    let left = settle(&replica, open.iter().map(|(request, _)| *request).collect(), config.at_once, config.calm_patience).await;
    if let Some((request, why)) = left.first() {
        bail!("{} payments have no good answer in calm weather; {}: {why}", left.len(), payments::nonce_of(request)?);
    }
    let calm_time = calmed.elapsed();
    replica.stop().await;
    let findings = invariants::reconcile(store.settlements().as_ref(), &rpc, TOKEN, &replica::accounts(&keys)?).await?;
    store.close().await;
    fresh.remove().await?;
    std::fs::remove_dir_all(&folder)?;
    let Findings { settled, used, transactions, .. } = findings.hold()?;
    ensure!(u64::try_from(used)? == config.payments, "{used} of {} payments moved", config.payments);
    Ok(Summary {
        seed: config.seed,
        payments: config.payments,
        exchanges: tally.exchanges,
        faults: tally.all_faults(),
        faults_by_kind: tally.faults.iter().map(|(kind, count)| (kind.to_string(), *count)).collect(),
        open_after_storm: open.len(),
        storm_milliseconds: storm_time.as_millis(),
        calm_milliseconds: calm_time.as_millis(),
        settled,
        moved: used,
        transactions,
    })
}

/// Signs all payments, and gives the buyers what they pay.
async fn sign(config: &Config, chain: &Chain) -> Result<Vec<PaymentRequest>> {
    let count = config.payments.clamp(1, MAX_PAYERS);
    let mut payers = Vec::new();
    for number in 0..count {
        let payer = Payer::new(config.seed, number, Arc::new(MachineClock))?;
        chain.fund(payer.address(), config.payments.div_ceil(count).saturating_mul(AMOUNT_ATOMIC)).await?;
        payers.push(payer);
    }
    let mut requests = Vec::new();
    for (_, payer) in (0..config.payments).zip(payers.iter().cycle()) {
        requests.push(payer.pay().await?);
    }
    Ok(requests)
}

/// Presents payments until each is settled or the patience is over; gives back those that are not, and why.
async fn settle<'a>(
    replica: &Replica,
    requests: Vec<&'a PaymentRequest>,
    at_once: usize,
    patience: Duration,
) -> Vec<(&'a PaymentRequest, String)> {
    let settle_one = |request| async move {
        match replica.settle(request, patience).await {
            Ok(answer) if answer.success => None,
            Ok(answer) => Some((request, format!("{answer:?}"))),
            Err(error) => Some((request, format!("{error:#}"))),
        }
    };
    stream::iter(requests).map(settle_one).buffer_unordered(at_once).filter_map(std::future::ready).collect().await
}

impl fmt::Display for Summary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, payments, exchanges, faults, open_after_storm, settled, moved, transactions, .. } = self;
        writeln!(
            formatter,
            "{payments} payments, {exchanges} exchanges with the node, {faults} of them with a fault (seed {seed})"
        )?;
        writeln!(formatter, "{:?}", self.faults_by_kind)?;
        writeln!(
            formatter,
            "storm {} ms, {open_after_storm} open then; settled {} ms later",
            self.storm_milliseconds, self.calm_milliseconds
        )?;
        write!(formatter, "{settled} settled in the book, {moved} moved on chain, in {transactions} transactions")
    }
}
