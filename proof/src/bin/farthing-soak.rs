//! The long campaigns: `cargo xtask soak`. Prints figures, ends with an error at the first violation.

use std::fmt::Display;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand, ValueEnum};
use farthing_interop::chain::ChainKind;
use farthing_proof::campaign::{chaos, crash, races};
use farthing_proof::payments::Kind;
use farthing_proof::simulation;
use farthing_proof::stores::Stores;
use serde::Serialize;
use serde_json::json;

/// Gateways are paid one of so many payments that facilitators settle: with each is bought over HTTP, and with a copy of it.
const SHARE_OF_GATEWAYS: u64 = 10;

/// Holds Farthing's invariants against crashes, faults and races.
#[derive(Parser)]
struct Arguments {
    /// Figures as JSON, one line for each campaign.
    #[arg(long, global = true)]
    json: bool,
    /// Shows what the product itself has to say, such as `info` or `debug`, on standard error; for replays.
    #[arg(long, global = true)]
    log: Option<tracing_subscriber::filter::LevelFilter>,
    /// Which campaign; all of them, in their bounded form, unless one is named.
    #[command(subcommand)]
    campaign: Option<Campaign>,
}

#[derive(Subcommand)]
enum Campaign {
    /// Payments through a node where every so many-th exchange goes wrong.
    Chaos(ChaosArguments),
    /// Replicas on one PostgreSQL: copies of one payment, then many payments with a kill in the middle, of facilitators and of
    /// gateways.
    Races(RacesArguments),
    /// Whole worlds in simulated time, one for each seed.
    Simulate(SimulateArguments),
    /// A facilitator, then a seller, then a gateway, dies before and after each call of its books and its node.
    Crash(CrashArguments),
}

#[derive(Args)]
struct ChaosArguments {
    /// How many payments.
    #[arg(long, default_value_t = 10_000)]
    payments: u64,
    /// How many at once.
    #[arg(long, default_value_t = 256)]
    at_once: usize,
    /// How many sending accounts.
    #[arg(long, default_value_t = 4)]
    senders: u64,
    /// How many exchanges in a thousand go wrong.
    #[arg(long, default_value_t = 200)]
    faults_per_thousand: u64,
    /// What decides which.
    #[arg(long, env = "FARTHING_SEED", default_value_t = 1)]
    seed: u64,
    /// On which chain.
    #[arg(long, default_value = "anvil")]
    chain: ChainName,
    /// Where the books are.
    #[arg(long, default_value = "sqlite")]
    store: StoreName,
}

#[derive(Args)]
struct RacesArguments {
    /// Copies of one payment of each kind at each of two replicas.
    #[arg(long, default_value_t = 200)]
    copies: usize,
    /// Different payments at once, with a kill in the middle.
    #[arg(long, default_value_t = 1_000)]
    payments: u64,
    /// On which chain.
    #[arg(long, default_value = "anvil")]
    chain: ChainName,
}

#[derive(Args)]
struct SimulateArguments {
    /// One seed, to see it again.
    #[arg(long, env = "FARTHING_SEED")]
    seed: Option<u64>,
    /// How many seeds, from the first one on.
    #[arg(long, default_value_t = 300)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Actions in each world.
    #[arg(long, default_value_t = 120)]
    steps: u32,
}

#[derive(Args)]
struct CrashArguments {
    /// Only this one dies.
    #[arg(long)]
    role: Option<RoleName>,
    /// Payments in each run.
    #[arg(long, default_value_t = 8)]
    payments: u64,
    /// On which chain.
    #[arg(long, default_value = "devnet")]
    chain: ChainName,
    /// Runs at once.
    #[arg(long, default_value_t = 4)]
    jobs: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum RoleName {
    Facilitator,
    Seller,
    Gateway,
}

#[derive(Clone, Copy, ValueEnum)]
enum ChainName {
    Anvil,
    Devnet,
}

#[derive(Clone, Copy, ValueEnum)]
enum StoreName {
    Sqlite,
    Postgres,
}

impl From<ChainName> for ChainKind {
    fn from(name: ChainName) -> Self {
        match name {
            ChainName::Anvil => Self::Anvil,
            ChainName::Devnet => Self::Devnet,
        }
    }
}

impl From<StoreName> for Stores {
    fn from(name: StoreName) -> Self {
        match name {
            StoreName::Sqlite => Self::Sqlite,
            StoreName::Postgres => Self::Postgres,
        }
    }
}

/// Where figures go.
#[derive(Clone, Copy)]
struct Report {
    json: bool,
}

impl Report {
    fn show(self, campaign: &str, summary: &(impl Display + Serialize)) {
        if self.json {
            println!("{}", json!({"campaign": campaign, "figures": summary}));
        } else {
            println!("{campaign}: {summary}");
        }
    }
}

fn main() -> Result<()> {
    let Arguments { json, log, campaign } = Arguments::parse();
    if let Some(level) = log {
        tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).init();
    }
    let report = Report { json };
    let campaigns = match campaign {
        Some(campaign) => vec![campaign],
        None => [&["simulate"][..], &["crash"], &["races"], &["chaos"]].map(standard).into_iter().collect::<Result<_>>()?,
    };
    for campaign in campaigns {
        match campaign {
            // A simulation brings its own runtime, whose clock is not the machine's.
            Campaign::Simulate(arguments) => simulate(report, &arguments)?,
            Campaign::Chaos(arguments) => wait(run_chaos(report, arguments))?,
            Campaign::Races(arguments) => wait(run_races(report, arguments))?,
            Campaign::Crash(arguments) => wait(run_crash(report, arguments))?,
        }
    }
    Ok(())
}

/// A campaign as it is without arguments.
fn standard(arguments: &[&str]) -> Result<Campaign> {
    let arguments = Arguments::try_parse_from(std::iter::once(&"farthing-soak").chain(arguments))?;
    arguments.campaign.context("a campaign is named")
}

fn wait<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Runtime::new()?.block_on(work)
}

fn simulate(report: Report, arguments: &SimulateArguments) -> Result<()> {
    let seeds = arguments
        .seed
        .map_or(arguments.from..arguments.from.saturating_add(arguments.seeds), |seed| seed..seed.saturating_add(1));
    let config = simulation::Config { steps: arguments.steps, ..simulation::Config::default() };
    let begun = Instant::now();
    let summary = simulation::run_all(seeds, config)?;
    report.show("simulate", &summary);
    if !report.json {
        println!("simulate: {} s of real time", begun.elapsed().as_secs());
    }
    Ok(())
}

async fn run_chaos(report: Report, arguments: ChaosArguments) -> Result<()> {
    let config = chaos::Config {
        stores: arguments.store.into(),
        chain: arguments.chain.into(),
        payments: arguments.payments,
        at_once: arguments.at_once,
        senders: arguments.senders,
        faults_per_thousand: arguments.faults_per_thousand,
        seed: arguments.seed,
        storm_patience: Duration::from_mins(1),
        calm_patience: Duration::from_mins(2),
    };
    report.show("chaos", &chaos::run(&config).await?);
    Ok(())
}

async fn run_races(report: Report, arguments: RacesArguments) -> Result<()> {
    let stores = Stores::Postgres;
    let chain = arguments.chain.into();
    let config = races::Config { stores, chain, replicas: 2, kinds: Kind::ALL.to_vec(), copies: arguments.copies };
    report.show("copies", &races::copies(&config).await?);
    let of_gateways = arguments.payments.checked_div(SHARE_OF_GATEWAYS).unwrap_or_default().max(1);
    for (role, payments, name) in [
        (crash::Role::Facilitator, arguments.payments, "kill in the middle"),
        (crash::Role::Gateway, of_gateways, "kill of a gateway in the middle"),
    ] {
        let scenario = crash::Scenario {
            role,
            stores,
            survivor: crash::Survivor::Replica,
            chain,
            kinds: Kind::mix(payments, usize::try_from(payments)?),
            relapses: false,
            jobs: 1,
            child: child()?,
        };
        report.show(name, &scenario.run_in_the_middle().await?);
    }
    Ok(())
}

async fn run_crash(report: Report, arguments: CrashArguments) -> Result<()> {
    let places = [
        ("SQLite, one node", Stores::Sqlite, crash::Survivor::Itself),
        ("PostgreSQL, one node", Stores::Postgres, crash::Survivor::Itself),
        ("PostgreSQL, two nodes", Stores::Postgres, crash::Survivor::Replica),
    ];
    let CrashArguments { role, payments, chain, jobs } = arguments;
    let roles = role.map_or_else(|| vec![RoleName::Facilitator, RoleName::Seller, RoleName::Gateway], |role| vec![role]);
    for role in roles {
        for (place, stores, survivor) in places {
            let (role, name) = match role {
                RoleName::Facilitator => (crash::Role::Facilitator, format!("crash, {place}")),
                RoleName::Seller => (crash::Role::Seller, format!("crash of a seller, {place}")),
                RoleName::Gateway => (crash::Role::Gateway, format!("crash of a gateway, {place}")),
            };
            let scenario = crash::Scenario {
                role,
                stores,
                survivor,
                chain: chain.into(),
                kinds: Kind::mix(payments, usize::try_from(payments)?),
                relapses: survivor == crash::Survivor::Itself,
                jobs,
                child: child()?,
            };
            report.show(&name, &scenario.run().await?);
        }
    }
    Ok(())
}

/// The program that is killed lies beside this one.
fn child() -> Result<PathBuf> {
    let child = std::env::current_exe()?.with_file_name("crash-child");
    ensure!(child.exists(), "{} is missing: build with `cargo build --bins`", child.display());
    Ok(child)
}
