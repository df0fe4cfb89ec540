//! The `farthing` command: pay, inspect, gateway, facilitator, ledger, devnet, demo.

mod commands;
mod config;
mod exit;
mod logging;
mod metrics;
mod open_files;
mod serve;
mod settling;
mod signals;
mod terminal;
mod tls;
mod traces;

use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use tokio::runtime::{Builder, Runtime};

use crate::commands::{demo, devnet, facilitator, gateway, inspect, ledger, pay};

/// Charge and pay for anything over HTTP, in stablecoins (x402).
#[derive(Parser)]
#[command(name = "farthing", version, disable_help_subcommand = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Play the whole story offline: a chain, a facilitator, a sample API, agents that pay
    Demo(demo::Arguments),
    /// Request a URL, and pay for it if it asks, within limits
    Pay(pay::Arguments),
    /// Show what a URL asks for, and whether it would be paid; pays nothing
    Inspect(inspect::Arguments),
    /// Charge for what is behind a URL: a reverse proxy with prices
    Gateway(gateway::Arguments),
    /// Verify and settle payments for servers
    Facilitator(facilitator::Arguments),
    /// Read a facilitator's book, explain a payment, compare all of it with the chain
    Ledger(ledger::Arguments),
    /// Run an EVM inside the process, with USDC and funded accounts
    Devnet(devnet::Arguments),
}

impl Command {
    /// One request needs one thread; what serves uses all cores.
    fn runtime(&self) -> anyhow::Result<Runtime> {
        let mut builder = match self {
            Self::Pay(_) | Self::Inspect(_) | Self::Ledger(_) => Builder::new_current_thread(),
            Self::Demo(_) | Self::Gateway(_) | Self::Facilitator(_) | Self::Devnet(_) => Builder::new_multi_thread(),
        };
        builder.enable_all().build().context("the runtime could not start")
    }

    async fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Demo(arguments) => demo::run(arguments).await,
            Self::Pay(arguments) => pay::run(arguments).await,
            Self::Inspect(arguments) => inspect::run(arguments).await,
            Self::Gateway(arguments) => gateway::run(arguments).await,
            Self::Facilitator(arguments) => facilitator::run(arguments).await,
            Self::Ledger(arguments) => ledger::run(arguments).await,
            Self::Devnet(arguments) => devnet::run(arguments).await,
        }
    }
}

fn main() -> ExitCode {
    let Cli { command } = Cli::parse();
    command.runtime().and_then(|runtime| runtime.block_on(command.run())).unwrap_or_else(|error| exit::failure(&error))
}
