//! What somebody needs who reads the book of settlements: of a facilitator's file, or of the file of a gateway that settles for
//! itself.

use std::path::Path;

use anyhow::{Context, bail};
use farthing::evm::config::AssetConfig;
use farthing::store::StoreUrl;
use toml::Table;

use super::{Config, explain, gateway};
use crate::settling::Networks;

/// A book, and what its entries are about.
pub struct BookConfig {
    /// Where it is.
    pub store: StoreUrl,
    /// The networks on which was settled.
    pub network: Networks,
    /// Tokens besides the known ones.
    pub asset: Vec<AssetConfig>,
}

impl BookConfig {
    /// Where the book of sales is that this file names.
    pub fn sales_book(path: &Path) -> anyhow::Result<StoreUrl> {
        let text = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
        let place = || path.display().to_string();
        let table: Table = toml::from_str(&text).map_err(|error| explain(&error, &text)).with_context(place)?;
        if !table.contains_key("gateway") {
            bail!("{}: this is no gateway's file; name the book of whoever sells with --store", place());
        }
        gateway::Config::load(path)?.store(path.parent().unwrap_or(Path::new(""))).with_context(place)
    }

    /// Reads and checks the file.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
        let place = || path.display().to_string();
        let table: Table = toml::from_str(&text).map_err(|error| explain(&error, &text)).with_context(place)?;
        if !table.contains_key("gateway") {
            let config = Config::load(path)?;
            return Ok(Self { store: config.store(path)?, network: config.network, asset: config.asset });
        }
        let config = gateway::Config::load(path)?;
        if config.network.is_empty() {
            bail!("{}: this gateway settles at somebody else's facilitator, and the book of settlements is there", place());
        }
        let store = config.store(path.parent().unwrap_or(Path::new(""))).with_context(place)?;
        Ok(Self { store, network: config.network, asset: config.asset })
    }
}
