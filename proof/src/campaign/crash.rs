//! Crash at every point: a facilitator is killed before and after each call of its books and its node, all of them, one
//! run each, and what is left is held against the invariants.
//!
//! One node: it is started again on what it left, and is presented the same payments. Two nodes: the other one, which
//! was running all the time, is presented them, and takes over.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use farthing_core::wire::{PaymentRequest, SettleResponse};
use farthing_interop::chain::{Chain, ChainKind, TOKEN};
use farthing_store::Store;
use futures_util::future::try_join_all;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::Serialize;
use serde_json::json;

use super::child::{Answer, Ended, Job};
use super::{PATIENCE, SENDER_WEI};
use crate::crash::Point;
use crate::invariants::{self, Findings};
use crate::payments::{self, AMOUNT_ATOMIC, MachineClock, Payer};
use crate::replica::{self, Parts, Replica};
use crate::rpc::Rpc;
use crate::store;
use crate::stores::{Fresh, Stores};

/// How often the second node looks whether the first has its lane.
const LOOK_PAUSE: Duration = Duration::from_millis(5);

/// At how many points a large scenario is killed.
const MIDDLE_RUNS: usize = 3;

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
    /// Where the books are.
    pub stores: Stores,
    /// Who goes on.
    pub survivor: Survivor,
    /// On which chain.
    pub chain: ChainKind,
    /// How many payments, all at once.
    pub payments: u64,
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
    /// Calls of which at least one point was fatal.
    pub calls: BTreeSet<String>,
    /// How long all runs took together.
    pub milliseconds: u128,
    /// The largest time from the crash until every payment had its answer, in milliseconds.
    pub slowest_recovery_milliseconds: u128,
}

/// One run: its own chain, books, payers and payments.
struct Run<'a> {
    scenario: &'a Scenario,
    folder: PathBuf,
    chain: Chain,
    store: Fresh,
    keys: Vec<[u8; 32]>,
    requests: Vec<PaymentRequest>,
}

impl Scenario {
    /// Kills it everywhere.
    pub async fn run(&self) -> Result<Summary> {
        self.kill_at(<[Point]>::to_vec).await
    }

    async fn kill_at(&self, choose: impl FnOnce(&[Point]) -> Vec<Point>) -> Result<Summary> {
        let begun = Instant::now();
        let whole = Run::new(self).await?.survive(None).await.context("without a crash")?;
        let points = choose(&whole.0.passed);
        ensure!(!points.is_empty(), "the scenario passes no point at all");
        let runs = points.iter().map(|point| async move {
            let run = Run::new(self).await?;
            let folder = run.folder.clone();
            let ended = run.survive(Some(point)).await;
            ended.with_context(|| format!("killed {point}; what is left is in {}", folder.display()))
        });
        let ended: Vec<(Ended, Duration)> = stream::iter(runs).buffer_unordered(self.jobs).try_collect().await?;
        let mut summary = Summary { points: points.len(), ..Summary::default() };
        for (ended, recovery) in ended.iter().filter(|(ended, _)| ended.was_killed) {
            summary.killed = summary.killed.saturating_add(1);
            summary.calls.extend(ended.passed.last().map(|point| point.call.clone()));
            summary.slowest_recovery_milliseconds = summary.slowest_recovery_milliseconds.max(recovery.as_millis());
        }
        summary.milliseconds = begun.elapsed().as_millis();
        Ok(summary)
    }

    /// Kills it at a few points in the middle only; for scenarios that are too large to be killed everywhere.
    pub async fn run_in_the_middle(&self) -> Result<Summary> {
        self.kill_at(|points| {
            (1..=MIDDLE_RUNS).filter_map(|part| points.get(points.len() * part / (MIDDLE_RUNS + 1)).cloned()).collect()
        })
        .await
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
        let mut requests = Vec::new();
        for payer in 0..scenario.payments {
            let payer = Payer::new(number, payer, Arc::new(MachineClock))?;
            chain.fund(payer.address(), AMOUNT_ATOMIC).await?;
            requests.push(payer.pay().await?);
        }
        let store = scenario.stores.fresh(&folder).await?;
        payments::write(&folder.join("payments.jsonl"), &requests)?;
        Ok(Self { scenario, folder, chain, store, keys, requests })
    }

    /// Runs the child, which may die, lets the survivor finish, and checks everything.
    async fn survive(self, fatal: Option<&Point>) -> Result<(Ended, Duration)> {
        let job = self.job(fatal, "report");
        let (ended, answers, recovery) = match self.scenario.survivor {
            Survivor::Itself => {
                let ended = job.run(&self.scenario.child, &self.folder).await?;
                let crashed = Instant::now();
                let again = self.job(None, "report-again").run(&self.scenario.child, &self.folder).await?;
                (ended, again.answers, crashed.elapsed())
            }
            Survivor::Replica => {
                let job = job.run(&self.scenario.child, &self.folder);
                let crash = async { anyhow::Ok((job.await?, Instant::now())) };
                // The other node is presented the same payments at the same time, and so often that it must notice.
                let other = async {
                    let (other, store) = self.other_node(fatal).await?;
                    let answers = self.settle_all(&other).await?;
                    let answered = Instant::now();
                    other.stop().await;
                    store.close().await;
                    anyhow::Ok((answers, answered))
                };
                let ((ended, crashed), (answers, answered)) = tokio::try_join!(crash, other)?;
                (ended, answers, answered.saturating_duration_since(crashed))
            }
        };
        same_answers(&ended.answers, &answers)?;
        self.check(&answers).await?;
        self.store.remove().await?;
        std::fs::remove_dir_all(&self.folder)?;
        Ok((ended, recovery))
    }

    fn job(&self, fatal: Option<&Point>, report: &str) -> Job {
        Job {
            store_url: self.store.url().to_owned(),
            rpc_url: self.chain.rpc_url().to_owned(),
            keys: self.keys.clone(),
            payments: self.folder.join("payments.jsonl"),
            report: self.folder.join(report),
            fatal: fatal.map(ToString::to_string),
        }
    }

    /// The second node: starts when the first has taken its lane, or has died before it could.
    async fn other_node(&self, fatal: Option<&Point>) -> Result<(Replica, Store)> {
        let report = self.folder.join("report");
        let fatal = fatal.map(ToString::to_string);
        let deadline = Instant::now() + PATIENCE;
        let is_time = |line: &str| line == "after outbox.take 1" || Some(line) == fatal.as_deref();
        while !std::fs::read_to_string(&report).unwrap_or_default().lines().any(is_time) && Instant::now() < deadline {
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        let store = store::open(self.store.url()).await?;
        Ok((Parts::new(&store, self.chain.rpc_url(), &self.keys)?.start()?, store))
    }

    async fn settle_all(&self, replica: &Replica) -> Result<Vec<Answer>> {
        let settle_one = |(payment, request)| async move {
            Ok::<_, anyhow::Error>(Answer { payment, response: replica.settle(request, PATIENCE).await? })
        };
        try_join_all(self.requests.iter().enumerate().map(settle_one)).await
    }

    /// Everything that must hold at the end.
    async fn check(&self, answers: &[Answer]) -> Result<()> {
        ensure!(answers.len() == self.requests.len(), "{} answers to {} payments", answers.len(), self.requests.len());
        for Answer { payment, response } in answers {
            ensure!(response.success, "payment {payment} was not settled: {response:?}");
        }
        let store = store::look(self.store.url()).await?;
        let rpc = Rpc::new(self.chain.rpc_url())?;
        let findings =
            invariants::reconcile(store.settlements().as_ref(), &rpc, TOKEN, &replica::accounts(&self.keys)?).await?;
        let Findings { settled, used, .. } = findings.hold()?;
        ensure!((settled, used) == (self.requests.len(), self.requests.len()), "{settled} settled, {used} on chain");
        Ok(())
    }
}

/// What was answered before the crash is answered after it.
fn same_answers(before: &[Answer], after: &[Answer]) -> Result<()> {
    for answer in before {
        let again = after.iter().find(|again| again.payment == answer.payment);
        let told = |response: &SettleResponse| (response.success, response.transaction.clone(), response.payer.clone());
        if again.map(|again| told(&again.response)) != Some(told(&answer.response)) {
            bail!("payment {} was answered {:?}, and then {:?}", answer.payment, answer.response, again);
        }
    }
    Ok(())
}

impl fmt::Display for Summary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { points, killed, calls, milliseconds, slowest_recovery_milliseconds } = self;
        write!(
            formatter,
            "{points} points, {killed} runs killed there, at {} different calls, in {milliseconds} ms; the slowest recovery \
             took {slowest_recovery_milliseconds} ms",
            calls.len()
        )
    }
}
