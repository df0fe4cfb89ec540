//! The facilitator with everything wired: every known chain, the machine's clock.

use std::sync::Arc;

use farthing_core::books::{MemorySettlements, Settlements};
use farthing_core::network::NetworkError;
use farthing_evm::config::{AssetConfig, ChainConfig, ConfigError, RpcUrl};
use farthing_evm::signer::{LocalSigner, Signer, SignerError};

pub use farthing_facilitator::*;

use crate::chains::facilitator::schemes;
use crate::secret::{SecretError, SecretRef};

/// Builds a [`Local`] facilitator for the networks that it is given, and for no others.
#[must_use]
#[derive(Default)]
pub struct Setup {
    chains: Vec<(ChainConfig, Arc<dyn Signer>)>,
    assets: Vec<AssetConfig>,
    settlements: Option<Arc<dyn Settlements>>,
}

/// Why no facilitator was built.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The account's key is not where it was said to be.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// What is there is no key.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// The text names no network.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// A chain or token is described wrongly.
    #[error(transparent)]
    Chain(#[from] ConfigError),
    /// There is nothing to settle on, or two ways to settle the same.
    #[error(transparent)]
    Facilitator(#[from] BuildError),
}

impl Setup {
    /// Settles on a network through that node, from the account whose key is kept there (`env:NAME` or `file:PATH`), under
    /// the default limits on gas and confirmation. [`Setup::chain`] sets others.
    pub fn network(self, network: &str, rpc_url: &str, signer: &str) -> Result<Self, SetupError> {
        let signer = LocalSigner::from_hex(signer.parse::<SecretRef>()?.resolve()?)?;
        Ok(self.chain(ChainConfig::new(network.parse()?, RpcUrl::new(rpc_url)), Arc::new(signer)))
    }

    /// Settles on a network, from this account.
    pub fn chain(mut self, config: ChainConfig, signer: Arc<dyn Signer>) -> Self {
        self.chains.push((config, signer));
        self
    }

    /// Takes a token that the built-in table does not have.
    pub fn asset(mut self, asset: AssetConfig) -> Self {
        self.assets.push(asset);
        self
    }

    /// The book of what was sent; in memory unless set, and then a crash forgets what was under way.
    pub fn settlements(mut self, settlements: Arc<dyn Settlements>) -> Self {
        self.settlements = Some(settlements);
        self
    }

    /// The facilitator.
    pub fn build(self) -> Result<Local, SetupError> {
        let schemes = schemes(self.chains, &self.assets)?;
        let settlements = self.settlements.unwrap_or_else(|| Arc::new(MemorySettlements::default()));
        Ok(Local::builder().schemes(schemes).settlements(settlements).build()?)
    }
}
