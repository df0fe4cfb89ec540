//! The client with everything wired: wallets by reference, every known chain, the machine's clock.

use std::sync::Arc;

use farthing_client::ClientBuilder as Inner;
use farthing_core::books::Ledger;
use farthing_evm::config::{AssetConfig, ConfigError};
use farthing_evm::message::MessageKey;
use farthing_evm::signer::{LocalSigner, Signer, SignerError};
use farthing_evm::wallet::ContractSigner;

pub use farthing_client::*;

use crate::chains::client::{Node, schemes};
use crate::secret::{SecretError, SecretRef};
use crate::system::{SystemClock, SystemEntropy};

/// Builds a [`Client`] that knows every chain and asset of this release.
#[must_use]
pub struct Builder {
    inner: Inner,
    account: Option<MessageKey>,
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
            account: None,
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
        self.account = Some(MessageKey::Ordinary(signer));
        self
    }

    /// Pays from this smart wallet: a contract whose code says what its signature is (ERC-1271), such as
    /// [`OwnedWallet`](farthing_evm::wallet::OwnedWallet). It needs no key on chain and no coin for gas.
    pub fn smart_wallet(mut self, wallet: Arc<dyn ContractSigner>) -> Self {
        self.account = Some(MessageKey::Contract(wallet));
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

    /// When the wallet signs in before it pays (`sign-in-with-x`): where it has paid before, unless told otherwise. The
    /// ledger knows where that was, so one in memory knows it until the process ends.
    pub fn sign_in(mut self, policy: SignInPolicy) -> Self {
        self.inner = self.inner.sign_in(policy);
        self
    }

    /// The service codes that payments name where a server wants to know them (`builder-code`), such as `"my_agent"`.
    pub fn service_codes(mut self, codes: impl IntoIterator<Item: AsRef<str>>) -> Result<Self, SetupError> {
        self.inner = self.inner.service_codes(codes)?;
        Ok(self)
    }

    /// Adds hooks: the buyer's own code at the turns of a payment's life.
    pub fn hooks(mut self, hooks: Arc<dyn Hooks>) -> Self {
        self.inner = self.inner.hooks(hooks);
        self
    }

    /// Changes what this builder has no method for: controls, policies, time-outs, the HTTP client below.
    pub fn configure(mut self, change: impl FnOnce(Inner) -> Inner) -> Self {
        self.inner = change(self.inner);
        self
    }

    /// The client.
    pub fn build(self) -> Result<Client, SetupError> {
        let Some(account) = self.account else { return Ok(self.inner.build()?) };
        let schemes = schemes(&account, &self.nodes, &self.assets)?;
        Ok(self.inner.schemes(schemes).message_signer(Arc::new(account)).build()?)
    }
}
