//! How a wallet can pay.

use std::sync::Arc;

use farthing_core::erased::ClientSchemes;
use farthing_core::network::Network;
use farthing_evm::config::{AssetConfig, ConfigError, NodeConfig, RpcUrl};
use farthing_evm::rpc::HttpNode;
use farthing_evm::signer::Signer;
use farthing_evm::{exact, upto};

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
    let (assets, clock, entropy) = (table(assets)?, Arc::new(SystemClock), Arc::new(SystemEntropy));
    let mut exact = exact::Client::new(Arc::clone(&signer), Arc::clone(&assets), clock.clone(), entropy.clone());
    let mut upto = upto::Client::new(signer, assets, clock, entropy);
    for Node { network, config } in nodes {
        let node = Arc::new(HttpNode::new(network, config)?);
        exact = exact.with_node(network.clone(), node.clone());
        upto = upto.with_node(network.clone(), node);
    }
    Ok(vec![Arc::new(exact), Arc::new(upto)])
}
