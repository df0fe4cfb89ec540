//! Crash at every point: a process is killed before and after each call of its books and its node, all of them, one run
//! each, and what is left is held against the invariants.
//!
//! One node: it is started again on what it left, and is presented the same payments; if so wanted, it is killed once more
//! on its way back. Two nodes: the other one, which was running all the time, is presented them, and takes over.
//!
//! - `settling`: the process is a facilitator.
//! - `serving`: it is a seller, with a facilitator in it, or a gateway, and its buyers ask over HTTP.

mod serving;
mod settling;

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use farthing_core::books::SettlementEntry;
use farthing_interop::chain::{Chain, ChainKind, TOKEN};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::Serialize;
use serde_json::json;

use super::child::{Ended, Job, Work};
use super::{PATIENCE, SENDER_WEI};
use crate::crash::{Fatal, Point};
use crate::gateway::Origin;
use crate::invariants::{self, Findings};
use crate::payments::{self, Bill, Kind, MachineClock, Payer};
use crate::replica;
use crate::rpc::Rpc;
use crate::store;
use crate::stores::{Fresh, Stores};

pub use serving::Trading;

/// How often the second node looks whether the first has its lane.
const LOOK_PAUSE: Duration = Duration::from_millis(5);

/// At how many points a large scenario is killed.
const MIDDLE_RUNS: usize = 3;

/// Calls that every settlement makes: if one of them was not fatal once, killing everywhere proves less than it says.
const SETTLING: &[&str] =
    &["outbox.take", "outbox.under_way", "outbox.sending", "outbox.landed", "settlements.settled", "answer"];
/// Calls that every sale makes besides.
const SERVING: &[&str] = &["deliveries.claim", "work", "deliveries.settling", "settlements.find", "deliveries.served"];
/// How many of all points must have been fatal, in a hundred. The rest are looks at the chain's head, of which there are
/// more or fewer.
const FATAL_PER_HUNDRED_MIN: usize = 75;
/// A second life is killed within so many points.
const MAX_RELAPSE: u64 = 40;

/// What the process that is killed is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A facilitator, which is told what to settle.
    Facilitator,
    /// A seller with a facilitator in the same process, which has buyers.
    Seller,
    /// The same, and it is a gateway in front of somebody who does the work.
    Gateway,
}

/// Who goes on after the crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survivor {
    /// The same node, started again.
    Itself,
    /// Another node on the same books, which was running all the time.
    Replica,
}

/// What is crashed.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What dies.
    pub role: Role,
    /// Where the books are.
    pub stores: Stores,
    /// Who goes on.
    pub survivor: Survivor,
    /// On which chain.
    pub chain: ChainKind,
    /// Payments of which kinds, all at once.
    pub kinds: Vec<Kind>,
    /// Whether the same node, once it was started again, is killed on its way back, too.
    pub relapses: bool,
    /// How many runs at once.
    pub jobs: usize,
    /// The program that is killed.
    pub child: PathBuf,
}

/// What came of it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// All points of the scenario.
    pub points: usize,
    /// Runs that died where they were to die. The others took another course, on which that point does not lie.
    pub killed: usize,
    /// Runs whose second life was killed as well.
    pub killed_twice: usize,
    /// Calls of which at least one point was fatal.
    pub calls: BTreeSet<String>,
    /// How long all runs took together.
    pub milliseconds: u128,
    /// The largest time from the crash until every payment had its answer, in milliseconds.
    pub slowest_recovery_milliseconds: u128,
    /// What the buyers of a seller saw in all runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trading: Option<Trading>,
}

/// Where a run's process dies: in its first life, and if it gets so far in its second one.
#[derive(Clone, Debug)]
struct Death {
    point: Point,
    relapse: Option<Fatal>,
}

/// One run, with everything that it has for itself: chain, books, payers.
struct Run<'a> {
    scenario: &'a Scenario,
    folder: PathBuf,
    chain: Chain,
    store: Fresh,
    keys: Vec<[u8; 32]>,
    payers: Vec<Payer>,
    /// Who works behind a gateway, and survives it.
    origin: Option<Origin>,
}

/// How a run went.
struct Survived {
    ended: Ended,
    was_killed_twice: bool,
    recovery: Duration,
    trading: Option<Trading>,
}

impl Scenario {
    /// Kills it everywhere. That so much was fatal that it proves something is part of it.
    pub async fn run(&self) -> Result<Summary> {
        let summary = self.kill_at(<[Point]>::to_vec).await?;
        let also = if self.role == Role::Facilitator { &[] } else { SERVING };
        for call in SETTLING.iter().chain(also) {
            ensure!(summary.calls.contains(*call), "never died at {call}: {:?}", summary.calls);
        }
        let broadcast = summary.calls.iter().any(|call| call.contains("eth_sendRawTransaction"));
        ensure!(broadcast, "never died at a broadcast: {:?}", summary.calls);
        let enough = summary.points.saturating_mul(FATAL_PER_HUNDRED_MIN);
        ensure!(summary.killed.saturating_mul(100) >= enough, "too few died: {summary}");
        ensure!(!self.relapses || summary.killed_twice > 0, "no second life was killed: {summary}");
        Ok(summary)
    }

    /// Kills it at a few points in the middle only; for scenarios that are too large to be killed everywhere.
    pub async fn run_in_the_middle(&self) -> Result<Summary> {
        self.kill_at(|points| {
            (1..=MIDDLE_RUNS).filter_map(|part| points.get(points.len() * part / (MIDDLE_RUNS + 1)).cloned()).collect()
        })
        .await
    }

    async fn kill_at(&self, choose: impl FnOnce(&[Point]) -> Vec<Point>) -> Result<Summary> {
        let begun = Instant::now();
        let whole = self.survive(None).await.context("without a crash")?;
        let points = choose(&whole.ended.passed);
        ensure!(!points.is_empty(), "the scenario passes no point at all");
        let runs = (0..).zip(&points).map(|(number, point): (u64, _)| async move {
            // Every run goes a little further on its way back than the one before.
            let relapse = self.relapses.then(|| Fatal::Passing(number.checked_rem(MAX_RELAPSE).unwrap_or_default() + 1));
            let death = Death { point: point.clone(), relapse };
            let survived = self.survive(Some(&death)).await;
            survived.with_context(|| format!("killed {point}, and then {:?}", death.relapse))
        });
        let survived: Vec<Survived> = stream::iter(runs).buffer_unordered(self.jobs).try_collect().await?;
        let mut summary = Summary { points: points.len(), trading: whole.trading, ..Summary::default() };
        let killed = survived.iter().filter(|survived| survived.ended.was_killed);
        for Survived { ended, was_killed_twice, recovery, trading } in killed {
            summary.killed = summary.killed.saturating_add(1);
            summary.killed_twice = summary.killed_twice.saturating_add(usize::from(*was_killed_twice));
            summary.calls.extend(ended.passed.last().map(|point| point.call.clone()));
            summary.slowest_recovery_milliseconds = summary.slowest_recovery_milliseconds.max(recovery.as_millis());
            if let (Some(sum), Some(trading)) = (&mut summary.trading, trading) {
                sum.add(trading);
            }
        }
        summary.milliseconds = begun.elapsed().as_millis();
        Ok(summary)
    }

    async fn survive(&self, death: Option<&Death>) -> Result<Survived> {
        let run = Run::new(self).await?;
        let survived = match self.role {
            Role::Facilitator => settling::survive(&run, death).await,
            Role::Seller | Role::Gateway => serving::survive(&run, death).await,
        };
        let survived = survived.with_context(|| format!("what is left is in {}", run.folder.display()))?;
        run.remove().await?;
        Ok(survived)
    }
}

static RUNS: AtomicU64 = AtomicU64::new(0);

impl<'a> Run<'a> {
    async fn new(scenario: &'a Scenario) -> Result<Self> {
        let number = RUNS.fetch_add(1, Ordering::SeqCst);
        let folder = super::folder()?;
        let chain = Chain::start(scenario.chain).await?;
        let keys = vec![payments::key_of("sender", number, 0)];
        let rpc = Rpc::new(chain.rpc_url())?;
        for sender in replica::accounts(&keys)? {
            rpc.call("anvil_setBalance", json!([sender.to_string(), SENDER_WEI])).await?;
        }
        let market = replica::market(replica::node(&replica::config(chain.rpc_url())?)?, &keys, Arc::new(MachineClock))?;
        let mut payers = Vec::new();
        for (payer, kind) in (0..).zip(&scenario.kinds) {
            payers.push(match scenario.role {
                Role::Facilitator => Payer::furnished(&chain, &market, (number, payer), *kind, 1).await?,
                Role::Seller | Role::Gateway => Payer::at_a_shop(&chain, &market, (number, payer), *kind).await?,
            });
        }
        let store = scenario.stores.fresh(&folder).await?;
        let origin = if scenario.role == Role::Gateway { Some(Origin::open().await?) } else { None };
        Ok(Self { scenario, folder, chain, store, keys, payers, origin })
    }

    fn job(&self, work: Work, (life, fatal): (u64, Option<&Fatal>), report: &str) -> Job {
        Job {
            store_url: self.store.url().to_owned(),
            rpc_url: self.chain.rpc_url().to_owned(),
            keys: self.keys.clone(),
            work,
            report: self.folder.join(report),
            fatal: fatal.map(ToString::to_string),
            life,
        }
    }

    /// Returns when the first node, which writes that report, has taken its lane, or has died before it could: then it is
    /// time for the second one.
    async fn first_node_leads(&self, report: &str, death: Option<&Death>) {
        let report = self.folder.join(report);
        let fatal = death.map(|death| death.point.to_string());
        let deadline = Instant::now() + PATIENCE;
        let is_time = |line: &str| line == "after outbox.take 1" || Some(line) == fatal.as_deref();
        while !std::fs::read_to_string(&report).unwrap_or_default().lines().any(is_time) && Instant::now() < deadline {
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    /// Holds the book against the chain, on which every payment must have moved once, for what was said; returns the book.
    async fn reconcile(&self, bills: &[Bill]) -> Result<Vec<SettlementEntry>> {
        let store = store::look(self.store.url()).await?;
        let rpc = Rpc::new(self.chain.rpc_url())?;
        let senders = replica::accounts(&self.keys)?;
        let findings = invariants::reconcile(store.settlements().as_ref(), &rpc, TOKEN, &senders, bills).await?;
        let Findings { settled, used, .. } = findings.hold()?;
        let expected = bills.iter().filter(|bill| bill.charge_atomic > 0).count();
        ensure!((settled, used) == (expected, expected), "{settled} settled, {used} on chain, of {expected}");
        let entries = invariants::all_entries(store.settlements().as_ref()).await?;
        store.close().await;
        Ok(entries)
    }

    /// The book.
    async fn entries(&self) -> Result<Vec<SettlementEntry>> {
        let store = store::look(self.store.url()).await?;
        let entries = invariants::all_entries(store.settlements().as_ref()).await?;
        store.close().await;
        Ok(entries)
    }

    async fn remove(self) -> Result<()> {
        self.store.remove().await?;
        Ok(std::fs::remove_dir_all(&self.folder)?)
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { points, killed, killed_twice, calls, milliseconds, slowest_recovery_milliseconds, trading } = self;
        write!(
            formatter,
            "{points} points, {killed} runs killed there, {killed_twice} of them again in their second life, at {} different \
             calls, in {milliseconds} ms; the slowest recovery took {slowest_recovery_milliseconds} ms",
            calls.len()
        )?;
        trading.iter().try_for_each(|trading| write!(formatter, "; {trading}"))
    }
}
