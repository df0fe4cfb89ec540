//! A whole world in one thread and in its own time: replicas on one book, a chain, buyers, and everything that goes
//! wrong, decided by a seed.
//!
//! 1. Time is tokio's paused clock: it moves when nobody has anything to do. The chain's time follows it.
//! 2. Each step is one action drawn from the seed. After each step the invariants that hold at every moment are checked.
//! 3. In the end everything is healed, and within a bounded time every payment must have its answer, and the book must be
//!    the chain.
//!
//! A seed that fails repeats, as far as the order in which the product's own tasks wake does not depend on chance of its
//! own (the seconds of the chain's clock are real ones in between).

mod action;
mod bridge;
mod watch;
mod world;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use anyhow::{Context, Result};
use serde::Serialize;
use tokio::runtime::Builder;

use crate::chance::Chance;
use crate::invariants::Findings;

pub use action::Action;

/// What a simulation came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How often each action was taken.
    pub actions: BTreeMap<&'static str, u64>,
    /// Payments that were made, by kind.
    pub payments: BTreeMap<&'static str, u64>,
    /// Answers that refused a payment which moved all the same, by their reason.
    pub refused_and_moved: BTreeMap<String, u64>,
    /// Payments of which nothing was to be charged.
    pub unused: usize,
    /// What was found in the end.
    pub findings: Findings,
    /// Seconds of simulated time.
    pub seconds: u64,
}

/// What many worlds came to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// Worlds.
    pub worlds: u64,
    /// Actions of each kind.
    pub actions: BTreeMap<&'static str, u64>,
    /// Payments that were made.
    pub payments: u64,
    /// By kind.
    pub payments_by_kind: BTreeMap<&'static str, u64>,
    /// Payments that were settled, or of which nothing was to be charged.
    pub settled: usize,
    /// Payers that were given coin for their approvals.
    pub funded: usize,
    /// Answers that refused a payment which moved all the same, by their reason.
    pub refused_and_moved: BTreeMap<String, u64>,
    /// Seconds of simulated time.
    pub seconds: u64,
}

/// How a world is.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// How many actions.
    pub steps: u32,
    /// How many exchanges in a thousand with the node go wrong, while they do.
    pub faults_per_thousand: u64,
    /// Whether the world is healed in the end, and every payment must have its answer. Otherwise only what must hold at
    /// every moment is checked.
    pub heals: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { steps: 80, faults_per_thousand: 150, heals: true }
    }
}

/// Lives through the world of that seed. An error names the seed.
pub fn run(seed: u64, config: Config) -> Result<Outcome> {
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).build()?;
    let lived = runtime.block_on(live(seed, config));
    let steps = config.steps;
    lived.with_context(|| format!("seed {seed}; to see it again: farthing-soak simulate --seed {seed} --steps {steps}"))
}

/// Lives through one world after the other, until one fails.
pub fn run_all(seeds: Range<u64>, config: Config) -> Result<Summary> {
    let mut summary = Summary::default();
    for seed in seeds {
        let outcome = run(seed, config)?;
        summary.worlds = summary.worlds.saturating_add(1);
        summary.payments = outcome.payments.values().fold(summary.payments, |sum, count| sum.saturating_add(*count));
        summary.settled = summary.settled.saturating_add(outcome.findings.settled).saturating_add(outcome.unused);
        summary.funded = summary.funded.saturating_add(outcome.findings.funded);
        summary.seconds = summary.seconds.saturating_add(outcome.seconds);
        add(&mut summary.actions, outcome.actions);
        add(&mut summary.payments_by_kind, outcome.payments);
        add(&mut summary.refused_and_moved, outcome.refused_and_moved);
    }
    Ok(summary)
}

fn add<T: Ord>(sums: &mut BTreeMap<T, u64>, counts: BTreeMap<T, u64>) {
    for (what, count) in counts {
        let sum = sums.entry(what).or_default();
        *sum = sum.saturating_add(count);
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { worlds, actions, payments, payments_by_kind, settled, funded, refused_and_moved, seconds } = self;
        write!(
            formatter,
            "{worlds} worlds, {seconds} s in them, {settled} of {payments} payments settled, {funded} payers funded; \
             {payments_by_kind:?}; refused before they moved: {refused_and_moved:?}; {actions:?}"
        )
    }
}

async fn live(seed: u64, config: Config) -> Result<Outcome> {
    let mut world = world::World::new(seed, config.faults_per_thousand).await?;
    let mut chance = Chance::new(seed);
    let mut actions: BTreeMap<&'static str, u64> = BTreeMap::new();
    for step in 0..config.steps {
        let action = Action::draw(&mut chance);
        let count = actions.entry(action.as_str()).or_default();
        *count = count.saturating_add(1);
        world.act(action, &mut chance).await.with_context(|| format!("step {step}: {action:?}"))?;
        world.check_always().with_context(|| format!("after step {step}: {action:?}"))?;
    }
    let findings = if config.heals { world.heal_and_check().await? } else { Findings::default() };
    let (payments, refused_and_moved) = (world.payments(), world.refused_and_moved());
    Ok(Outcome { actions, payments, refused_and_moved, unused: world.unused(), findings, seconds: world.seconds() })
}
