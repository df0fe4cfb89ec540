//! What a process needs that settles for itself or for others: networks, accounts that send, tokens.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, bail};
use farthing::evm::asset::AssetTable;
use farthing::evm::config::{AssetConfig, ChainConfig, NodeConfig, RpcUrl};
use farthing::evm::signer::{LocalSigner, Signer};
use farthing::facilitator::Setup;

use crate::config::{self, Network};

/// The `[network."…"]` tables, by name.
pub type Networks = BTreeMap<String, Network>;
/// The accounts that send on one network.
pub type Signers = Vec<Arc<dyn Signer>>;

/// A facilitator on these networks, without a book. Nothing is asked or sent.
pub fn setup(
    networks: &Networks,
    assets: &[AssetConfig],
    signers: impl Fn(&Network) -> anyhow::Result<Signers>,
) -> anyhow::Result<Setup> {
    let mut setup = farthing::Facilitator::builder();
    for asset in assets {
        setup = setup.asset(asset.clone());
    }
    for (name, network) in networks {
        let place = || format!("network.{name:?}");
        let chain = chain(name, network).with_context(place)?;
        if !network.assets.is_empty() {
            setup = setup.only(chain.network.clone(), network.assets.clone());
        }
        setup = setup.chain(chain, signers(network).with_context(place)?);
    }
    Ok(setup)
}

/// One network, with the addresses of its nodes fetched.
pub fn chain(name: &str, network: &Network) -> anyhow::Result<ChainConfig> {
    let mut nodes = Vec::new();
    for url in &network.rpc {
        nodes.push(NodeConfig::new(RpcUrl::new(&**url.resolve().context("rpc")?)));
    }
    let Network { confirm, gas, relay, wallets, sponsor, .. } = network;
    Ok(ChainConfig {
        network: config::network(name)?,
        nodes,
        confirm: *confirm,
        gas: *gas,
        relay: *relay,
        wallets: wallets.clone(),
        sponsor: *sponsor,
    })
}

/// Its sending accounts, with their keys fetched.
pub fn signers(network: &Network) -> anyhow::Result<Signers> {
    let mut signers: Signers = Vec::new();
    for key in &network.signer {
        let signer = key.resolve().map_err(anyhow::Error::from).and_then(|key| Ok(LocalSigner::from_hex(key)?));
        let signer = signer.context("signer")?;
        if signers.iter().any(|other| other.address() == signer.address()) {
            bail!("signer: {} is there twice; every account sends by itself, so name each once", signer.address());
        }
        signers.push(Arc::new(signer));
    }
    Ok(signers)
}

/// The tokens that a configuration knows, narrowed where a network takes only some.
pub fn assets(networks: &Networks, assets: &[AssetConfig]) -> anyhow::Result<AssetTable> {
    let mut table = assets.iter().try_fold(AssetTable::known(), AssetTable::with)?;
    for (name, network) in networks.iter().filter(|(_, network)| !network.assets.is_empty()) {
        table = table.only(&config::network(name)?, &network.assets).with_context(|| format!("network.{name:?}"))?;
    }
    Ok(table)
}
