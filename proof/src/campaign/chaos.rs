//! Chaos: many payments through a node where every so many-th exchange goes wrong. In the end the book is the chain, to
//! the atom; nobody paid twice; nothing is unknown any more.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use farthing_core::wire::PaymentRequest;
use farthing_interop::chain::{Chain, ChainKind, TOKEN};
use futures_util::stream::{self, StreamExt as _};
use serde::Serialize;
use serde_json::json;

use super::SENDER_WEI;
use crate::chaos::{Chaos, Weather};
use crate::invariants::{self, Findings};
use crate::payments::{self, Authorization, Bill, Kind, MachineClock, Market, Payer};
use crate::replica::{self, Parts, Replica};
use crate::rpc::Rpc;
use crate::store;
use crate::stores::Stores;

/// How long the facilitator waits for its node, in milliseconds.
const NODE_PATIENCE_MILLISECONDS: u64 = 300;
/// The most buyers of each kind; beyond that they pay several times.
const MAX_PAYERS: usize = 100;

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
    /// By kind.
    pub payments_by_kind: BTreeMap<&'static str, u64>,
    /// Exchanges with the node.
    pub exchanges: u64,
    /// Those that went wrong.
    pub faults: u64,
    /// By kind.
    pub faults_by_kind: BTreeMap<String, u64>,
    /// Payments without a good answer when the storm ended.
    pub open_after_storm: usize,
    /// Those among them that were refused for good, and moved later all the same: by the reason that they were given. A
    /// node's lie is believed.
    pub refused_and_moved: BTreeMap<String, u64>,
    /// How long the storm lasted, in milliseconds.
    pub storm_milliseconds: u128,
    /// How long it took until all had their answer after that, in milliseconds.
    pub calm_milliseconds: u128,
    /// Settled in the book.
    pub settled: usize,
    /// Moved on the chain.
    pub moved: usize,
    /// Payers that were given coin for the gas of their approvals.
    pub funded: usize,
    /// Transactions that were mined.
    pub transactions: usize,
}

/// Why a payment has no good answer.
enum NoGood {
    Refused(String),
    Open(String),
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
    let market = replica::market(replica::node(&replica::config(chain.rpc_url())?)?, &keys, Arc::new(MachineClock))?;
    let (requests, bills) = sign(config, &chain, &market).await?;

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
        let which = Authorization::of(&request.payment)?;
        bail!("{} payments have no good answer in calm weather; {which}: {why}", left.len());
    }
    let calm_time = calmed.elapsed();
    replica.stop().await;
    let findings = invariants::reconcile(store.settlements().as_ref(), &rpc, TOKEN, &replica::accounts(&keys)?, &bills).await?;
    store.close().await;
    fresh.remove().await?;
    std::fs::remove_dir_all(&folder)?;
    let Findings { settled, used, funded, transactions, .. } = findings.hold()?;
    let charged = bills.iter().filter(|bill| bill.charge_atomic > 0).count();
    ensure!(used == charged, "{used} of {charged} payments moved");
    Ok(Summary {
        seed: config.seed,
        payments: config.payments,
        payments_by_kind: counted(bills.iter().map(|bill| bill.kind.as_str())),
        exchanges: tally.exchanges,
        faults: tally.all_faults(),
        faults_by_kind: tally.faults.iter().map(|(kind, count)| (kind.to_string(), *count)).collect(),
        open_after_storm: open.len(),
        refused_and_moved: counted(open.into_iter().filter_map(|(_, why)| why.refusal())),
        storm_milliseconds: storm_time.as_millis(),
        calm_milliseconds: calm_time.as_millis(),
        settled,
        moved: used,
        funded,
        transactions,
    })
}

/// Signs all payments, and gives the buyers what they need.
async fn sign(config: &Config, chain: &Chain, market: &Market) -> Result<(Vec<PaymentRequest>, Vec<Bill>)> {
    let kinds = Kind::mix(config.seed, usize::try_from(config.payments)?);
    let mut payers: BTreeMap<Kind, Vec<Payer>> = BTreeMap::new();
    for (number, kind) in (0..).zip(&kinds) {
        let alike = payers.entry(*kind).or_default();
        if alike.len() < MAX_PAYERS || !kind.repeats() {
            alike.push(Payer::furnished(chain, market, (config.seed, number), *kind, share(&kinds, *kind)?).await?);
        }
    }
    let (mut requests, mut bills) = (Vec::new(), Vec::new());
    let mut turns: BTreeMap<Kind, _> = payers.iter().map(|(kind, payers)| (*kind, payers.iter().cycle())).collect();
    for kind in &kinds {
        let request = turns.get_mut(kind).and_then(Iterator::next).context("somebody pays so")?.pay().await?;
        bills.push(Bill::of(&request, *kind)?);
        requests.push(request);
    }
    Ok((requests, bills))
}

/// How often a payer of that kind pays at most.
fn share(kinds: &[Kind], kind: Kind) -> Result<u64> {
    let all = kinds.iter().filter(|other| **other == kind).count();
    Ok(u64::try_from(if kind.repeats() { all.div_ceil(MAX_PAYERS) } else { 1 })?)
}

/// How often each of them comes.
fn counted<T: Ord>(all: impl Iterator<Item = T>) -> BTreeMap<T, u64> {
    let mut counts = BTreeMap::new();
    for one in all {
        let count: &mut u64 = counts.entry(one).or_default();
        *count = count.saturating_add(1);
    }
    counts
}

/// Presents payments until each is settled or the patience is over; gives back those that are not, and why.
async fn settle<'a>(
    replica: &Replica,
    requests: Vec<&'a PaymentRequest>,
    at_once: usize,
    patience: Duration,
) -> Vec<(&'a PaymentRequest, NoGood)> {
    let settle_one = |request| async move {
        match replica.settle(request, patience).await {
            Ok(answer) if answer.success => None,
            Ok(answer) => Some((request, NoGood::Refused(answer.error_reason.map_or_else(String::new, |it| it.to_string())))),
            Err(error) => Some((request, NoGood::Open(format!("{error:#}")))),
        }
    };
    stream::iter(requests).map(settle_one).buffer_unordered(at_once).filter_map(std::future::ready).collect().await
}

impl NoGood {
    fn refusal(self) -> Option<String> {
        match self {
            Self::Refused(reason) => Some(reason),
            Self::Open(_) => None,
        }
    }
}

impl fmt::Display for NoGood {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(reason) => write!(formatter, "refused: {reason}"),
            Self::Open(why) => formatter.write_str(why),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, payments, exchanges, faults, open_after_storm, settled, moved, funded, transactions, .. } = self;
        writeln!(
            formatter,
            "{payments} payments, {exchanges} exchanges with the node, {faults} of them with a fault (seed {seed})"
        )?;
        writeln!(formatter, "{:?}", self.payments_by_kind)?;
        writeln!(formatter, "{:?}", self.faults_by_kind)?;
        writeln!(
            formatter,
            "storm {} ms, {open_after_storm} open then; settled {} ms later; refused before they moved: {:?}",
            self.storm_milliseconds, self.calm_milliseconds, self.refused_and_moved
        )?;
        write!(
            formatter,
            "{settled} settled in the book, {moved} moved on chain, {funded} payers funded, in {transactions} transactions"
        )
    }
}
