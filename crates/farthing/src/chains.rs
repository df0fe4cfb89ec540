//! The one list of chain families and of their schemes. A new family is one crate and one line in each function.

use std::sync::Arc;

use farthing_core::network::Network;
use farthing_evm::asset::AssetTable;
use farthing_evm::chain::Chain;
use farthing_evm::config::{AssetConfig, ChainConfig, ConfigError, NodeConfig, RpcUrl};
use farthing_evm::exact;
use farthing_evm::rpc::HttpNode;
use farthing_evm::signer::Signer;

use crate::system::{SystemClock, SystemEntropy};

/// A node that a wallet asks for its balance.
#[cfg(feature = "client")]
pub(crate) struct Node {
    network: Network,
    config: NodeConfig,
}

#[cfg(feature = "client")]
impl Node {
    pub(crate) fn new(network: Network, rpc_url: &str) -> Self {
        Self { network, config: NodeConfig::new(RpcUrl::new(rpc_url)) }
    }
}

/// How a wallet can pay.
#[cfg(feature = "client")]
pub(crate) fn client_schemes(
    signer: Option<Arc<dyn Signer>>,
    nodes: &[Node],
    assets: &[AssetConfig],
) -> Result<farthing_core::erased::ClientSchemes, ConfigError> {
    let Some(signer) = signer else { return Ok(Vec::new()) };
    let mut exact = exact::Client::new(signer, table(assets)?, Arc::new(SystemClock), Arc::new(SystemEntropy));
    for node in nodes {
        exact = exact.with_node(node.network.clone(), Arc::new(HttpNode::new(&node.network, &node.config)?));
    }
    Ok(vec![Arc::new(exact)])
}

/// How a seller can be paid.
#[cfg(feature = "server")]
pub(crate) fn server_schemes() -> farthing_core::erased::ServerSchemes {
    vec![Arc::new(exact::Server::new(Arc::new(AssetTable::known())))]
}

/// How a facilitator can settle, on these chains and no others.
#[cfg(feature = "facilitator")]
pub(crate) fn facilitator_schemes(
    chains: Vec<(ChainConfig, Arc<dyn Signer>)>,
    assets: &[AssetConfig],
) -> Result<farthing_core::erased::FacilitatorSchemes, ConfigError> {
    let chains = chains.into_iter().map(|(config, signer)| Chain::connect(&config, signer)).collect::<Result<Vec<_>, _>>()?;
    Ok(vec![Arc::new(exact::Facilitator::new(chains, table(assets)?, Arc::new(SystemClock)))])
}

fn table(assets: &[AssetConfig]) -> Result<Arc<AssetTable>, ConfigError> {
    assets.iter().try_fold(AssetTable::known(), AssetTable::with).map(Arc::new)
}
