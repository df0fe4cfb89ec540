//! From the file's plain data to a facilitator, and to what those need who only look.

use std::sync::Arc;

use anyhow::{Context, bail};
use farthing::core::extension::builder_code::FacilitatorCodes;
use farthing::evm::asset::AssetTable;
use farthing::evm::config::{ChainConfig, NodeConfig, RpcUrl};
use farthing::evm::signer::{LocalSigner, Signer};
use farthing::facilitator::{Caller, CallerLimits, Callers, Setup};

use crate::commands::purse::throw_away_signer;
use crate::config::{self, BuilderCode, Config, Network};

/// The accounts that send on one network.
type Signers = Vec<Arc<dyn Signer>>;

/// What a configuration describes, with its secrets fetched, and without a book. Nothing is asked or sent.
pub fn setup(config: &Config) -> anyhow::Result<Setup> {
    with_signers(config, signers)
}

/// The same for whoever only looks: no secret of an account is fetched, and nothing that it says can be sent.
pub fn setup_to_look(config: &Config) -> anyhow::Result<Setup> {
    with_signers(config, |_| Ok(vec![Arc::new(throw_away_signer()?)]))
}

fn with_signers(config: &Config, signers: impl Fn(&Network) -> anyhow::Result<Signers>) -> anyhow::Result<Setup> {
    let mut setup = farthing::Facilitator::builder();
    for asset in &config.asset {
        setup = setup.asset(asset.clone());
    }
    if !config.caller.is_empty() {
        setup = setup.callers(Callers::new(config.caller.iter().map(caller))?);
    }
    if let Some(BuilderCode { wallet, service }) = &config.facilitator.builder_code {
        setup = setup.builder_codes(FacilitatorCodes { wallet: wallet.clone(), service: service.clone() });
    }
    for (name, network) in &config.network {
        let place = || format!("network.{name:?}");
        let chain = chain(name, network).with_context(place)?;
        if !network.assets.is_empty() {
            setup = setup.only(chain.network.clone(), network.assets.clone());
        }
        setup = setup.chain(chain, signers(network).with_context(place)?);
    }
    Ok(setup)
}

fn caller(caller: &config::Caller) -> Caller {
    let limits = CallerLimits {
        verifies_per_minute: caller.verifies_per_minute,
        settles_per_minute: caller.settles_per_minute,
        settlements_per_day: caller.settlements_per_day,
    };
    Caller { name: caller.name.clone(), key: caller.key_sha256, limits }
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
pub fn assets(config: &Config) -> anyhow::Result<AssetTable> {
    let mut table = config.asset.iter().try_fold(AssetTable::known(), AssetTable::with)?;
    for (name, network) in config.network.iter().filter(|(_, network)| !network.assets.is_empty()) {
        table = table.only(&config::network(name)?, &network.assets).with_context(|| format!("network.{name:?}"))?;
    }
    Ok(table)
}
