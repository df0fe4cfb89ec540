//! How a wallet can pay.

use std::sync::Arc;

use farthing_core::erased::ClientSchemes;
use farthing_core::network::Network;
use farthing_evm::config::{AssetConfig, ConfigError, NodeConfig, RpcUrl};
use farthing_evm::exact;
use farthing_evm::rpc::HttpNode;
use farthing_evm::signer::Signer;

use super::assets::table;
use crate::system::{SystemClock, SystemEntropy};

/// A node that a wallet asks for its balance.
pub(crate) struct Node {
    network: Network,
    config: NodeConfig,
}

impl Node {
    pub(crate) fn new(network: Network, rpc_url: &str) -> Self {
        Self { network, config: NodeConfig::new(RpcUrl::new(rpc_url)) }
    }
}

/// Every scheme for this account, or none without an account.
pub(crate) fn schemes(
    signer: Option<Arc<dyn Signer>>,
    nodes: &[Node],
    assets: &[AssetConfig],
) -> Result<ClientSchemes, ConfigError> {
    let Some(signer) = signer else { return Ok(Vec::new()) };
    let mut exact = exact::Client::new(signer, table(assets)?, Arc::new(SystemClock), Arc::new(SystemEntropy));
    for node in nodes {
        exact = exact.with_node(node.network.clone(), Arc::new(HttpNode::new(&node.network, &node.config)?));
    }
    Ok(vec![Arc::new(exact)])
}
