//! `farthing ledger`: what the book of who settles says, and whether the chain agrees; and what the book of who sells says.
//! Facilitator and gateway may run meanwhile. All but `refund` only read.

mod export;
mod list;
mod receipt;
mod reconcile;
mod refund;
mod row;
mod sales;
mod show;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use farthing::evm::Address;
use farthing::evm::asset::AssetTable;
use farthing::store::{Access, Store, StoreUrl};

use crate::config::{BookConfig, StoreLocation};
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
    /// List what was sold, the newest first, by the book of a gateway or another seller
    Sales(sales::Arguments),
    /// Show one sale, whole
    Receipt(receipt::Arguments),
    /// Pay a sale back to whoever bought, whole or in part, once
    Refund(refund::Arguments),
    /// Export sales for accounts, as CSV, JSON or beancount
    Export(export::Arguments),
    /// Compare every payment of the book with the chain, to the atom
    Reconcile(reconcile::Arguments),
}

/// Which book to read.
#[derive(Args)]
struct Book {
    /// The TOML file of a facilitator or gateway, which says where its book is
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[arg(
        long,
        value_name = "BOOK",
        conflicts_with = "config",
        help = "The book itself: sqlite:PATH, or where its URL is kept, env:NAME or file:PATH"
    )]
    store: Option<String>,
}

/// Reads the book.
pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    logging::start_plain(false)?;
    match arguments.action {
        Action::List(arguments) => list::run(arguments).await,
        Action::Show(arguments) => show::run(arguments).await,
        Action::Sales(arguments) => sales::run(arguments).await,
        Action::Receipt(arguments) => receipt::run(arguments).await,
        Action::Refund(arguments) => refund::run(arguments).await,
        Action::Export(arguments) => export::run(arguments).await,
        Action::Reconcile(arguments) => reconcile::run(arguments).await,
    }
}

impl Book {
    /// The book, to read what was sold. Sellers have one whoever settles for them.
    async fn open_sales(&self) -> anyhow::Result<Store> {
        match &self.config {
            Some(path) => open(&BookConfig::sales_book(path)?).await,
            None => Ok(self.open().await?.0),
        }
    }

    /// The book, to read it, and the tokens by whose names its amounts are shown.
    async fn open(&self) -> anyhow::Result<(Store, AssetTable)> {
        match (&self.config, &self.store) {
            (Some(path), _) => {
                let config = BookConfig::load(path)?;
                Ok((open(&config.store).await?, all_assets(&config)?))
            }
            (None, Some(store)) => {
                // The text is not repeated: a URL in the wrong place may carry a password.
                let location: StoreLocation = store.parse().map_err(|why| Usage::new("--store", why))?;
                let url = location.resolve(Path::new("")).context("--store")?;
                Ok((open(&url).await?, AssetTable::known()))
            }
            (None, None) => {
                Err(Usage::new("--config", "name the TOML file of the facilitator or gateway, or its book with --store").into())
            }
        }
    }
}

async fn open(url: &StoreUrl) -> anyhow::Result<Store> {
    Store::open(url, Access::Read).await.with_context(|| format!("the book {url} cannot be read"))
}

/// The known tokens and the configuration's own, also those that are not taken any more: the book remembers them.
fn all_assets(config: &BookConfig) -> anyhow::Result<AssetTable> {
    Ok(config.asset.iter().try_fold(AssetTable::known(), AssetTable::with)?)
}

/// An account or transaction in the letter case of the book: addresses with their checksum, hashes in lower case.
fn in_book_case(text: &str) -> String {
    match text.parse::<Address>() {
        Ok(address) => address.to_string(),
        Err(_) if text.starts_with("0x") || text.starts_with("0X") => text.to_ascii_lowercase(),
        Err(_) => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_looked_up_in_the_letter_case_of_the_book() {
        let address = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C";
        assert_eq!(in_book_case(&address.to_lowercase()), address);
        assert_eq!(in_book_case("0xABCD"), "0xabcd");
        let elsewhere = "SomeOtherChainsAccountWhereLetterCaseCounts";
        assert_eq!(in_book_case(elsewhere), elsewhere);
    }
}
