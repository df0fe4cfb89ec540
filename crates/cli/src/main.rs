//! The `farthing` command: pay, inspect, facilitator, devnet, demo.

mod commands;
mod config;
mod exit;
mod logging;
mod terminal;

use clap::{Parser, Subcommand};

/// Charge and pay for anything over HTTP, in stablecoins (x402).
#[derive(Parser)]
#[command(name = "farthing", version, propagate_version = true, max_term_width = 120)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Play the whole story offline: a chain, a facilitator, a sample API, and agents that pay.
    Demo(commands::demo::Arguments),
    /// Request a URL and pay for it if it asks, within limits.
    Pay(commands::pay::Arguments),
    /// Show what a URL asks for, and whether it would be paid; pays nothing.
    Inspect(commands::inspect::Arguments),
    /// Verify and settle payments for servers.
    Facilitator(commands::facilitator::Arguments),
    /// Run an EVM inside the process, with USDC and funded accounts.
    Devnet(commands::devnet::Arguments),
}

fn main() -> std::process::ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit::failure(&anyhow::Error::new(error).context("the runtime could not start")),
    };
    let result = runtime.block_on(async {
        match cli.command {
            Command::Demo(arguments) => commands::demo::run(arguments).await,
            Command::Pay(arguments) => commands::pay::run(arguments).await,
            Command::Inspect(arguments) => commands::inspect::run(arguments).await,
            Command::Facilitator(arguments) => commands::facilitator::run(arguments).await,
            Command::Devnet(arguments) => commands::devnet::run(arguments).await,
        }
    });
    result.unwrap_or_else(|error| exit::failure(&error))
}
