//! `farthing ledger`: what a facilitator's book says, and whether the chain agrees. Reads only; the facilitator may run.

mod list;
mod reconcile;
mod row;
mod show;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use farthing::store::{Access, Store};

use crate::config::{Config, StoreLocation};
use crate::exit::Usage;
use crate::logging;

/// What `farthing ledger` takes.
#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// List payments, the newest first
    List(list::Arguments),
    /// Explain one payment's life, by its id or by a transaction
    Show(show::Arguments),
    /// Compare every payment of the book with the chain, to the atom
    Reconcile(reconcile::Arguments),
}

/// Which book to read.
#[derive(Args)]
struct Book {
    /// The facilitator's TOML file, which says where its book is
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The book itself: sqlite:PATH, or where a URL is kept, env:NAME or file:PATH
    #[arg(long, value_name = "BOOK", conflicts_with = "config")]
    store: Option<String>,
}

/// Reads the book.
pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    logging::start_plain(false)?;
    match arguments.action {
        Action::List(arguments) => list::run(arguments).await,
        Action::Show(arguments) => show::run(arguments).await,
        Action::Reconcile(arguments) => reconcile::run(arguments).await,
    }
}

impl Book {
    async fn open(&self) -> anyhow::Result<Store> {
        match (&self.config, &self.store) {
            (Some(path), _) => open(&Config::load(path)?, path).await,
            (None, Some(store)) => {
                // The text is not repeated: a URL in the wrong place may carry a password.
                let location: StoreLocation = store.parse().map_err(|why| Usage::new("--store", why))?;
                let url = location.resolve(Path::new(""))?;
                Store::open(&url, Access::Read).await.context("the book cannot be read")
            }
            (None, None) => Err(Usage::new("--config", "name the facilitator's TOML file, or its book with --store").into()),
        }
    }
}

/// Opens the book that a configuration names, to read it.
async fn open(config: &Config, path: &Path) -> anyhow::Result<Store> {
    let url = config.facilitator.store.resolve(path.parent().unwrap_or(Path::new("")))?;
    Store::open(&url, Access::Read).await.context("the book cannot be read")
}
