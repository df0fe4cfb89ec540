//! Chains and tokens as an operator describes them: plain data, read from TOML by the outermost layer.
//!
//! Every limit has a default that suits public networks. An unknown key is an error, so that a misspelt limit is not
//! silently no limit.

use std::fmt;
use std::time::Duration;

use farthing_core::network::Network;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::asset::TransferMethod;

/// One network and how to use it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainConfig {
    /// The network, such as `eip155:8453`.
    pub network: Network,
    /// How to reach a node of it.
    pub node: NodeConfig,
    /// How payments are confirmed.
    #[serde(default)]
    pub confirm: ConfirmConfig,
    /// The most gas that a payment may cost.
    #[serde(default)]
    pub gas: GasConfig,
}

impl ChainConfig {
    /// A network with a node and default limits.
    pub fn new(network: Network, rpc_url: RpcUrl) -> Self {
        Self { network, node: NodeConfig::new(rpc_url), confirm: ConfirmConfig::default(), gas: GasConfig::default() }
    }
}

/// A node that answers JSON-RPC over HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// Where it listens. Often carries an API key, so it is never shown.
    pub rpc_url: RpcUrl,
    /// How long one HTTP exchange may take.
    #[serde(default = "default_request_timeout_milliseconds")]
    pub request_timeout_milliseconds: u64,
    /// How many calls go into one JSON-RPC batch; 1 for nodes that know no batches.
    #[serde(default = "default_max_batch_calls")]
    pub max_batch_calls: usize,
}

impl NodeConfig {
    /// A node with default limits.
    pub fn new(rpc_url: RpcUrl) -> Self {
        Self {
            rpc_url,
            request_timeout_milliseconds: default_request_timeout_milliseconds(),
            max_batch_calls: default_max_batch_calls(),
        }
    }

    /// How long one HTTP exchange may take.
    pub const fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_milliseconds)
    }
}

/// When a transaction counts, and how often the node is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConfirmConfig {
    /// How many blocks must hold the transaction: 1 is the block it is in.
    pub blocks: u64,
    /// How long a settlement waits for that. Afterwards its outcome is unknown, which is not failure.
    pub timeout_milliseconds: u64,
    /// The longest pause between two questions to the node, however many payments wait.
    pub poll_milliseconds: u64,
    /// How long a transaction may wait unmined before it is broadcast again.
    pub rebroadcast_milliseconds: u64,
}

impl Default for ConfirmConfig {
    fn default() -> Self {
        Self { blocks: 1, timeout_milliseconds: 60_000, poll_milliseconds: 200, rebroadcast_milliseconds: 5_000 }
    }
}

impl ConfirmConfig {
    /// How long a settlement waits.
    pub const fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_milliseconds)
    }

    /// The longest pause between two questions to the node.
    pub const fn poll(&self) -> Duration {
        Duration::from_millis(self.poll_milliseconds)
    }

    /// How long a transaction may wait unmined before it is broadcast again.
    pub const fn rebroadcast(&self) -> Duration {
        Duration::from_millis(self.rebroadcast_milliseconds)
    }
}

/// Caps on what one payment may cost the facilitator. Together they bound it: units of gas × fee per unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GasConfig {
    /// The most units of gas for one payment.
    pub max_units: u64,
    /// The most that one unit may cost, in wei.
    pub max_fee_per_unit_wei: u64,
    /// The least tip for one unit, in wei, where the network itself suggests less.
    pub min_tip_per_unit_wei: u64,
}

impl Default for GasConfig {
    fn default() -> Self {
        Self { max_units: 500_000, max_fee_per_unit_wei: 500_000_000_000, min_tip_per_unit_wei: 1_000_000 }
    }
}

/// A token that the table does not have, or that it has wrong.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssetConfig {
    /// Where it lives.
    pub network: Network,
    /// Its contract.
    pub address: String,
    /// What people call it.
    pub symbol: String,
    /// How many atomic units make one: 10^decimals.
    pub decimals: u8,
    /// The name in its EIP-712 domain.
    pub name: String,
    /// The version in its EIP-712 domain.
    pub version: String,
    /// How it is moved by signature.
    #[serde(default = "default_method")]
    pub method: TransferMethod,
    /// Whether one stands for one US dollar, so that dollar prices can be asked in it.
    #[serde(default)]
    pub usd: bool,
}

/// A node's address, kept out of every log and error: it may carry an API key.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub struct RpcUrl(Zeroizing<String>);

impl RpcUrl {
    /// Takes the address. Whether it is one shows when a node is made of it.
    pub fn new(url: impl Into<String>) -> Self {
        Self(Zeroizing::new(url.into()))
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for RpcUrl {
    fn from(url: String) -> Self {
        Self::new(url)
    }
}

impl fmt::Debug for RpcUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("RpcUrl(…)")
    }
}

/// What is wrong with a configuration. Shown to the operator at start-up.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The network is none of the EVM's.
    #[error("network: expected an EVM network such as \"eip155:8453\", got {0}")]
    Network(Network),
    /// An address is none.
    #[error("{field}: expected an address (0x and 40 hexadecimal digits), got {got:?}")]
    Address {
        /// Which.
        field: &'static str,
        /// What was there.
        got: String,
    },
    /// The node's address is none. It is not repeated here, because it may carry a key.
    #[error("rpc_url of {0}: expected an http or https URL such as \"https://mainnet.base.org\"")]
    RpcUrl(Network),
    /// A limit that makes no sense.
    #[error("{field}: expected {expected}, got {got}")]
    Limit {
        /// Which.
        field: &'static str,
        /// What makes sense.
        expected: &'static str,
        /// What was there.
        got: String,
    },
}

const fn default_request_timeout_milliseconds() -> u64 {
    10_000
}

const fn default_max_batch_calls() -> usize {
    100
}

const fn default_method() -> TransferMethod {
    TransferMethod::Eip3009
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_and_a_url_are_enough() {
        let json = r#"{"network": "eip155:8453", "node": {"rpc_url": "https://node.example/v2/secret-key"}}"#;
        let config: ChainConfig = serde_json::from_str(json).unwrap();
        let expected = ChainConfig::new("eip155:8453".parse().unwrap(), RpcUrl::new("https://node.example/v2/secret-key"));
        assert_eq!(config, expected);
        assert!(!format!("{config:?}").contains("secret"));
    }

    #[test]
    fn a_misspelt_limit_is_an_error() {
        let json = r#"{"network": "eip155:8453", "node": {"rpc_url": "x"}, "gas": {"max_unit": 1}}"#;
        assert!(serde_json::from_str::<ChainConfig>(json).unwrap_err().to_string().contains("max_unit"));
    }
}
