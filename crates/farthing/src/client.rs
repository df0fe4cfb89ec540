//! The client with everything wired: wallets by reference, every known chain, the machine's clock.

use std::sync::Arc;

use farthing_client::ClientBuilder as Inner;
use farthing_core::books::Ledger;
use farthing_evm::config::{AssetConfig, ConfigError};
use farthing_evm::signer::{LocalSigner, Signer, SignerError};

pub use farthing_client::*;

use crate::chains::client::{Node, schemes};
use crate::secret::{SecretError, SecretRef};
use crate::system::{SystemClock, SystemEntropy};

/// Builds a [`Client`] that knows every chain and asset of this release.
#[must_use]
pub struct Builder {
    inner: Inner,
    signer: Option<Arc<dyn Signer>>,
    nodes: Vec<Node>,
    assets: Vec<AssetConfig>,
}

/// Why no client was built.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The wallet's key is not where it was said to be.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// What is there is no key.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// A node or token is described wrongly.
    #[error(transparent)]
    Chain(#[from] ConfigError),
    /// A limit or network cannot be read.
    #[error(transparent)]
    Client(#[from] BuildError),
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            inner: Client::builder().clock(Arc::new(SystemClock)).entropy(Arc::new(SystemEntropy)),
            signer: None,
            nodes: Vec::new(),
            assets: Vec::new(),
        }
    }

    /// Pays from the wallet whose key is kept there: `env:NAME` or `file:PATH`. Without a wallet the client inspects
    /// and pays nothing.
    pub fn wallet(self, reference: &str) -> Result<Self, SetupError> {
        let secret = reference.parse::<SecretRef>()?.resolve()?;
        Ok(self.signer(Arc::new(LocalSigner::from_hex(secret)?)))
    }

    /// Pays from this EVM account.
    pub fn signer(mut self, signer: Arc<dyn Signer>) -> Self {
        self.signer = Some(signer);
        self
    }

    /// Adds a limit such as `"$5 per day"`. Unless a limit per payment is set, it is $1.
    pub fn limit(mut self, limit: &str) -> Result<Self, SetupError> {
        self.inner = self.inner.limit(limit)?;
        Ok(self)
    }

    /// Prefers a network among offers that cost the same.
    pub fn prefer_network(mut self, network: &str) -> Result<Self, SetupError> {
        self.inner = self.inner.prefer_network(network)?;
        Ok(self)
    }

    /// Asks this node what the wallet holds on a network, so that offers beyond it are passed over.
    pub fn node(mut self, network: &str, rpc_url: &str) -> Result<Self, SetupError> {
        self.nodes.push(Node::new(network.parse().map_err(BuildError::from)?, rpc_url));
        Ok(self)
    }

    /// Pays in a token that the built-in table does not have.
    pub fn asset(mut self, asset: AssetConfig) -> Self {
        self.assets.push(asset);
        self
    }

    /// The book of what was promised and spent; in memory unless set.
    pub fn ledger(mut self, ledger: Arc<dyn Ledger>) -> Self {
        self.inner = self.inner.ledger(ledger);
        self
    }

    /// Changes what this builder has no method for: controls, time-outs, the HTTP client below.
    pub fn configure(mut self, change: impl FnOnce(Inner) -> Inner) -> Self {
        self.inner = change(self.inner);
        self
    }

    /// The client.
    pub fn build(self) -> Result<Client, SetupError> {
        let schemes = schemes(self.signer, &self.nodes, &self.assets)?;
        Ok(self.inner.schemes(schemes).build()?)
    }
}
