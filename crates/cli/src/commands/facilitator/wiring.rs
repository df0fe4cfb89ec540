//! From the file's plain data to a facilitator.

use std::sync::Arc;

use anyhow::{Context, bail};
use farthing::evm::config::{ChainConfig, NodeConfig, RpcUrl};
use farthing::evm::signer::{LocalSigner, Signer};
use farthing::facilitator::{Caller, CallerLimits, Callers, Local};
use farthing::store::Store;

use crate::config::{self, Config, Network};

/// The facilitator that a configuration describes, on this book. Nothing is asked or sent yet.
pub fn build(config: Config, store: &Store) -> anyhow::Result<Local> {
    let mut builder = farthing::Facilitator::builder().store(store);
    for asset in config.asset {
        builder = builder.asset(asset);
    }
    if !config.caller.is_empty() {
        let callers = config.caller.into_iter().map(|caller| Caller {
            name: caller.name,
            key: caller.key_sha256,
            limits: CallerLimits {
                verifies_per_minute: caller.verifies_per_minute,
                settles_per_minute: caller.settles_per_minute,
                settlements_per_day: caller.settlements_per_day,
            },
        });
        builder = builder.callers(Callers::new(callers)?);
    }
    for (name, network) in &config.network {
        let (chain, signers) = chain(name, network).with_context(|| format!("network.{name:?}"))?;
        if !network.assets.is_empty() {
            builder = builder.only(chain.network.clone(), network.assets.clone());
        }
        builder = builder.chain(chain, signers);
    }
    Ok(builder.build()?)
}

/// One network, with its secrets fetched.
pub fn chain(name: &str, network: &Network) -> anyhow::Result<(ChainConfig, Vec<Arc<dyn Signer>>)> {
    let id = config::network(name)?;
    let mut nodes = Vec::new();
    for url in &network.rpc {
        nodes.push(NodeConfig::new(RpcUrl::new(&**url.resolve().context("rpc")?)));
    }
    let mut signers: Vec<Arc<dyn Signer>> = Vec::new();
    for key in &network.signer {
        let signer = key.resolve().map_err(anyhow::Error::from).and_then(|key| Ok(LocalSigner::from_hex(key)?));
        let signer = signer.context("signer")?;
        if signers.iter().any(|other| other.address() == signer.address()) {
            bail!("signer: {} is there twice; every account sends by itself, so name each once", signer.address());
        }
        signers.push(Arc::new(signer));
    }
    let Network { confirm, gas, relay, .. } = network;
    let chain = ChainConfig { network: id, nodes, confirm: *confirm, gas: gas.clone(), relay: *relay };
    Ok((chain, signers))
}
