//! How a seller can be paid, and who can sign in.

use std::sync::Arc;

use farthing_core::erased::ServerSchemes;
use farthing_core::extension::sign_in_with_x::MessageVerifier;
use farthing_core::network::Network;
use farthing_evm::asset::AssetTable;
use farthing_evm::config::{AssetConfig, ConfigError, NodeConfig, RpcUrl};
use farthing_evm::message::MessageChecker;
use farthing_evm::rpc::HttpNode;
use farthing_evm::{exact, upto};

use super::assets::narrowed;

/// Every scheme, in the tokens of this release.
pub(crate) fn schemes() -> ServerSchemes {
    schemes_in(Arc::new(AssetTable::known()))
}

/// Every scheme, in the tokens of this release and in these.
pub(crate) fn schemes_with(own: &[AssetConfig]) -> Result<ServerSchemes, ConfigError> {
    narrowed(own, &[]).map(schemes_in)
}

fn schemes_in(assets: Arc<AssetTable>) -> ServerSchemes {
    vec![Arc::new(exact::Server::new(Arc::clone(&assets))), Arc::new(upto::Server::new(assets))]
}

/// Who checks the signatures of visitors with ordinary accounts, one for each chain family.
pub(crate) fn verifiers() -> Vec<Arc<dyn MessageVerifier>> {
    vec![Arc::new(MessageChecker::new())]
}

/// Who checks the signatures of ordinary accounts and of smart wallets that are on these networks, by asking their nodes.
pub(crate) fn smart_wallets(nodes: &[(Network, RpcUrl)]) -> Result<Arc<dyn MessageVerifier>, ConfigError> {
    let checker = nodes.iter().try_fold(MessageChecker::new(), |checker, (network, rpc_url)| {
        let node = HttpNode::new(network, &NodeConfig::new(rpc_url.clone()))?;
        Ok::<_, ConfigError>(checker.with_node(network.clone(), Arc::new(node)))
    })?;
    Ok(Arc::new(checker))
}
