//! How an operator describes the nodes of a chain.

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use farthing_core::network::Network;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::ConfigError;

/// The longest name of a node: it is a label of metrics.
const MAX_NAME_BYTES: usize = 32;

/// A node that answers JSON-RPC over HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// What logs and metrics call it; without a name, its place in the list. At most 32 letters, digits, `-`, `_`, `.`.
    #[serde(default)]
    pub name: Option<String>,
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
            name: None,
            rpc_url,
            request_timeout_milliseconds: default_request_timeout_milliseconds(),
            max_batch_calls: default_max_batch_calls(),
        }
    }

    /// How long one HTTP exchange may take.
    pub const fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_milliseconds)
    }

    /// How it is called where its address must not appear.
    pub(crate) fn label(&self, place: usize) -> String {
        self.name.clone().unwrap_or_else(|| place.to_string())
    }
}

/// Refuses lists of nodes that cannot be used, at start-up.
pub(crate) fn check_nodes(network: &Network, nodes: &[NodeConfig]) -> Result<(), ConfigError> {
    let limit = |field, expected, got: String| Err(ConfigError::Limit { field, expected, got });
    if nodes.is_empty() {
        return limit("nodes", "at least one node", format!("none for {network}"));
    }
    let mut labels = HashSet::new();
    for (place, node) in nodes.iter().enumerate() {
        let label = node.label(place);
        let fits =
            label.len() <= MAX_NAME_BYTES && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if label.is_empty() || !fits {
            // Not repeated: it may be an address that was put into the wrong place.
            return limit("nodes.name", "1 to 32 letters, digits, -, _ or .", format!("{} bytes", label.len()));
        }
        if !labels.insert(label) {
            return limit("nodes.name", "a name of its own for each node", format!("one twice for {network}"));
        }
        if node.request_timeout_milliseconds == 0 {
            return limit("nodes.request_timeout_milliseconds", "at least 1", "0".to_owned());
        }
    }
    Ok(())
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

const fn default_request_timeout_milliseconds() -> u64 {
    10_000
}

const fn default_max_batch_calls() -> usize {
    100
}
