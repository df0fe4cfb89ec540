//! Chains and tokens as an operator describes them: plain data, read from TOML by the outermost layer.
//!
//! Every limit has a default that suits public networks. An unknown key is an error, so that a misspelt limit is not
//! silently no limit.

mod node;
mod sending;
mod sponsoring;

use std::time::Duration;

use farthing_core::network::Network;
use serde::Deserialize;

pub(crate) use self::node::check_nodes;
pub use self::node::{NodeConfig, RpcUrl};
pub use self::sending::{ConfirmConfig, GasConfig, RelayConfig};
pub use self::sponsoring::{SponsorConfig, WalletConfig};
use crate::asset::TransferMethod;

/// One network and how to use it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainConfig {
    /// The network, such as `eip155:8453`.
    pub network: Network,
    /// How to reach it: at least one node, the preferred one first.
    pub nodes: Vec<NodeConfig>,
    /// How payments are confirmed.
    #[serde(default)]
    pub confirm: ConfirmConfig,
    /// The most gas that a payment may cost.
    #[serde(default)]
    pub gas: GasConfig,
    /// How payments are sent.
    #[serde(default)]
    pub relay: RelayConfig,
    /// Payers that are contracts.
    #[serde(default)]
    pub wallets: WalletConfig,
    /// What is done for payers beside their payments.
    #[serde(default)]
    pub sponsor: SponsorConfig,
}

impl ChainConfig {
    /// A network with a node and default limits.
    pub fn new(network: Network, rpc_url: RpcUrl) -> Self {
        Self {
            network,
            nodes: vec![NodeConfig::new(rpc_url)],
            confirm: ConfirmConfig::default(),
            gas: GasConfig::default(),
            relay: RelayConfig::default(),
            wallets: WalletConfig::default(),
            sponsor: SponsorConfig::default(),
        }
    }

    /// The longest that one question to the nodes may take, other nodes asked in place of the first one included.
    pub fn request_timeout(&self) -> Duration {
        let longest = self.nodes.iter().map(NodeConfig::request_timeout).max().unwrap_or_default();
        if self.nodes.len() > 1 { longest.saturating_mul(crate::rpc::POOL_PATIENCE) } else { longest }
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
    /// Whether it takes approvals by signature (EIP-2612).
    #[serde(default = "default_permits")]
    pub permits: bool,
    /// Whether one stands for one US dollar, so that dollar prices can be asked in it.
    #[serde(default)]
    pub usd: bool,
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
    /// There is no account to send from, or one is there twice.
    #[error("signers of {network}: expected at least one sending account and each once, got {got}")]
    Signers {
        /// Of which network.
        network: Network,
        /// What was there.
        got: String,
    },
    /// An allow-list names a token that is not known.
    #[error("assets: expected addresses of tokens known on {network}, got {got:?}; describe others in [[asset]] tables")]
    UnknownAsset {
        /// The network.
        network: Network,
        /// What was there.
        got: String,
    },
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

const fn default_method() -> TransferMethod {
    TransferMethod::Eip3009
}

const fn default_permits() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_and_a_url_are_enough() {
        let json = r#"{"network": "eip155:8453", "nodes": [{"rpc_url": "https://node.example/v2/secret-key"}]}"#;
        let config: ChainConfig = serde_json::from_str(json).unwrap();
        let expected = ChainConfig::new("eip155:8453".parse().unwrap(), RpcUrl::new("https://node.example/v2/secret-key"));
        assert_eq!(config, expected);
        assert!(!format!("{config:?}").contains("secret"));
    }

    #[test]
    fn a_misspelt_limit_is_an_error() {
        let json = r#"{"network": "eip155:8453", "nodes": [{"rpc_url": "x"}], "gas": {"max_unit": 1}}"#;
        assert!(serde_json::from_str::<ChainConfig>(json).unwrap_err().to_string().contains("max_unit"));
    }
}
