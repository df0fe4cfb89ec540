//! The facilitator's TOML file, as plain data. A key that is not known is an error, so that no setting is ever
//! silently without effect.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, bail};
use farthing::evm::config::{AssetConfig, ConfirmConfig, GasConfig};
use farthing::secret::SecretRef;
use serde::Deserialize;

use crate::logging::LogFormat;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The `[facilitator]` table.
    #[serde(default)]
    pub facilitator: Facilitator,
    /// The `[log]` table.
    #[serde(default)]
    pub log: Log,
    /// The `[network."…"]` tables, by CAIP-2 name.
    pub network: BTreeMap<String, Network>,
    /// The `[[asset]]` tables: tokens besides the known ones.
    #[serde(default)]
    pub asset: Vec<AssetConfig>,
}

/// Where the facilitator listens.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Facilitator {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Must be true to listen off loopback: whoever reaches a facilitator can spend its gas.
    pub public: bool,
}

/// How it logs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// `text` or `json`.
    pub format: LogFormat,
    /// A filter such as `info`; `RUST_LOG` wins.
    pub level: String,
}

/// One network that it settles on.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// The node: a URL, or where the URL is kept (`env:NAME`, `file:PATH`).
    pub rpc: String,
    /// Where the key of the account that pays for gas is kept.
    pub signer: String,
    /// How payments are confirmed.
    #[serde(default)]
    pub confirm: ConfirmConfig,
    /// The most gas that a payment may cost.
    #[serde(default)]
    pub gas: GasConfig,
}

impl Default for Facilitator {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 4021)), public: false }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::default(), level: "info".to_owned() }
    }
}

impl Config {
    /// Reads and checks the file.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} is not a facilitator's configuration", path.display()))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let config: Self = toml::from_str(text)?;
        if config.network.is_empty() {
            bail!("there is no network; add a table such as [network.\"eip155:84532\"] with rpc and signer");
        }
        let listen = config.facilitator.listen;
        if !listen.ip().is_loopback() && !config.facilitator.public {
            bail!(
                "facilitator.listen is {listen}, which others can reach, and whoever reaches a facilitator can spend its gas; \
                 set public = true if you mean it, or listen on 127.0.0.1"
            );
        }
        Ok(config)
    }
}

/// A node's URL, given as it is or by reference. The error never repeats it, since it may carry a key.
pub fn rpc_url(text: &str) -> anyhow::Result<String> {
    if text.starts_with("http://") || text.starts_with("https://") {
        return Ok(text.to_owned());
    }
    let reference: SecretRef = text.parse().context("rpc: expected a URL with http:// or https://, env:NAME or file:PATH")?;
    Ok(reference.resolve()?.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        [facilitator]
        listen = "127.0.0.1:0"
        [network."eip155:84532"]
        rpc = "http://127.0.0.1:8545"
        signer = "env:KEY"
    "#;

    #[test]
    fn the_example_of_the_readme_is_read() {
        let config = Config::parse(GOOD).unwrap();
        assert_eq!(config.network["eip155:84532"].signer, "env:KEY");
    }

    #[test]
    fn an_unknown_key_anywhere_is_an_error_that_names_it() {
        for (place, bad) in [("top", "[extra]\nx = 1"), ("table", "[log]\nlevle = \"info\"")] {
            let error = Config::parse(&format!("{GOOD}\n{bad}")).unwrap_err().to_string();
            assert!(error.contains("unknown field"), "{place}: {error}");
        }
        let error = Config::parse(&GOOD.replace("signer", "singer")).unwrap_err().to_string();
        assert!(error.contains("singer"), "{error}");
    }

    #[test]
    fn off_loopback_needs_a_word() {
        let public = GOOD.replace("127.0.0.1:0", "0.0.0.0:4021");
        assert!(Config::parse(&public).unwrap_err().to_string().contains("public = true"));
        assert!(Config::parse(&public.replace("[network", "public = true\n[network")).is_ok());
    }

    #[test]
    fn a_file_without_networks_is_an_error() {
        assert!(Config::parse("[network]").is_err());
        assert!(Config::parse("").is_err());
    }
}
