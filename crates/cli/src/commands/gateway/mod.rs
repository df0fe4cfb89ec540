//! `farthing gateway`: charge for what is behind a URL, until SIGTERM or Ctrl-C.
//!
//! Described by a file (`--config`), or by one command line with one price for everything.

mod check;
mod desk;
mod init;
mod one_price;
mod openapi;
mod refunds;
mod reload;
mod serve;
mod watching;
mod wiring;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use self::one_price::OnePrice;
use crate::config::gateway::Config;
use crate::exit::Usage;

/// What `farthing gateway` takes.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
    /// Print the start-up facts as one JSON object on stdout
    #[arg(long)]
    json: bool,
    /// End when stdin does; for a program that starts a gateway and must not leave it behind
    #[arg(long, hide = true)]
    until_stdin_ends: bool,
    #[command(flatten)]
    described: Described,
}

#[derive(Subcommand)]
enum Action {
    /// Write a farthing.toml to start from, with everything explained in it
    Init(init::Arguments),
    /// Say in words what the configuration means: each route, its price on each network, what is free and what is denied
    Check(check::Arguments),
}

/// A gateway, by file or by command line.
#[derive(Args)]
struct Described {
    /// The TOML file; `farthing gateway init` writes one
    #[arg(long, value_name = "FILE", conflicts_with_all = ["upstream", "price", "pay_to", "networks", "facilitator", "listen", "store"])]
    config: Option<PathBuf>,
    #[command(flatten)]
    one_price: OnePrice,
}

/// What was described, and where its relative paths start.
struct Gateway {
    config: Config,
    /// The file, if it is one.
    path: Option<PathBuf>,
}

impl Described {
    fn read(self) -> anyhow::Result<Gateway> {
        match self.config {
            Some(path) => Ok(Gateway { config: Config::load(&path)?, path: Some(path) }),
            None if self.one_price.is_empty() => {
                let what = "name the gateway's TOML file (`farthing gateway init` writes one), or say it all with --upstream, \
                            --price, --pay-to and --network";
                Err(Usage::new("--config", what).into())
            }
            None => Ok(Gateway { config: self.one_price.config()?, path: None }),
        }
    }
}

impl Gateway {
    fn folder(&self) -> &Path {
        self.path.as_deref().and_then(Path::parent).unwrap_or(Path::new(""))
    }

    /// What errors begin with.
    fn place(&self) -> String {
        self.path.as_deref().map_or_else(|| "the command line".to_owned(), |path| path.display().to_string())
    }
}

/// Runs the gateway, or what its subcommands do.
pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    match arguments.action {
        Some(Action::Init(arguments)) => init::run(&arguments),
        Some(Action::Check(arguments)) => check::run(arguments).await,
        None => serve::run(arguments.described.read()?, arguments.json, arguments.until_stdin_ends).await,
    }
}
