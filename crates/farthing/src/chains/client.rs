//! How a wallet can pay.

use std::sync::Arc;

use farthing_core::erased::ClientSchemes;
use farthing_core::network::Network;
use farthing_evm::config::{AssetConfig, ConfigError, NodeConfig, RpcUrl};
use farthing_evm::message::MessageKey;
use farthing_evm::rpc::HttpNode;
use farthing_evm::{exact, upto};

use super::assets::narrowed;
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

/// Every scheme for this account.
pub(crate) fn schemes(account: &MessageKey, nodes: &[Node], assets: &[AssetConfig]) -> Result<ClientSchemes, ConfigError> {
    let (assets, clock, entropy) = (narrowed(assets, &[])?, Arc::new(SystemClock), Arc::new(SystemEntropy));
    let (mut exact, mut upto) = match account {
        MessageKey::Ordinary(signer) => (
            exact::Client::new(Arc::clone(signer), Arc::clone(&assets), clock.clone(), entropy.clone()),
            upto::Client::new(Arc::clone(signer), assets, clock, entropy),
        ),
        MessageKey::Contract(wallet) => (
            exact::Client::with_wallet(Arc::clone(wallet), Arc::clone(&assets), clock.clone(), entropy.clone()),
            upto::Client::with_wallet(Arc::clone(wallet), assets, clock, entropy),
        ),
    };
    for Node { network, config } in nodes {
        let node = Arc::new(HttpNode::new(network, config)?);
        exact = exact.with_node(network.clone(), node.clone());
        upto = upto.with_node(network.clone(), node);
    }
    Ok(vec![Arc::new(exact), Arc::new(upto)])
}
