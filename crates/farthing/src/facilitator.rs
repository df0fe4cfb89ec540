//! The facilitator with everything wired: every known chain, the machine's clock, a durable book.

use std::sync::Arc;

use farthing_core::books::{MemorySettlements, Outbox, Settlements};
use farthing_core::extension::builder_code::FacilitatorCodes;
use farthing_core::network::{Network, NetworkError};
use farthing_evm::config::{AssetConfig, ChainConfig, ConfigError, RpcUrl};
use farthing_evm::signer::{LocalSigner, Signer, SignerError};
#[cfg(feature = "store")]
use farthing_store::Store;

pub use farthing_facilitator::*;

use crate::chains::facilitator::schemes;
use crate::secret::{SecretError, SecretRef};
use crate::system::SystemClock;

/// Builds a [`Local`] facilitator for the networks that it is given, and for no others.
#[must_use]
#[derive(Default)]
pub struct Setup {
    chains: Vec<(ChainConfig, Vec<Arc<dyn Signer>>)>,
    assets: Vec<AssetConfig>,
    allowed: Vec<(Network, Vec<String>)>,
    callers: Option<Callers>,
    builder_codes: Option<FacilitatorCodes>,
    hooks: Vec<Arc<dyn Hooks>>,
    book: Option<(Arc<dyn Settlements>, Arc<dyn Outbox>)>,
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
        Ok(self.chain(ChainConfig::new(network.parse()?, RpcUrl::new(rpc_url)), vec![Arc::new(signer)]))
    }

    /// Settles on a network, from these accounts. Each sends by itself, so that more of them settle more at once, and
    /// replicas that share a store share them out.
    pub fn chain(mut self, config: ChainConfig, signers: Vec<Arc<dyn Signer>>) -> Self {
        self.chains.push((config, signers));
        self
    }

    /// Takes a token that the built-in table does not have.
    pub fn asset(mut self, asset: AssetConfig) -> Self {
        self.assets.push(asset);
        self
    }

    /// Takes only these tokens on a network, by address; every known one unless set.
    pub fn only(mut self, network: Network, addresses: Vec<String>) -> Self {
        self.allowed.push((network, addresses));
        self
    }

    /// Serves only callers with a key, each within its quotas; everybody unless set.
    pub fn callers(mut self, callers: Callers) -> Self {
        self.callers = Some(callers);
        self
    }

    /// Writes builder codes behind what is sent, its own among them, and says so in `/supported` (the extension
    /// `builder-code`); none at all unless set.
    pub fn builder_codes(mut self, codes: FacilitatorCodes) -> Self {
        self.builder_codes = Some(codes);
        self
    }

    /// Adds code of the operator's own around verifications and settlements; it is asked after what was added before.
    pub fn hooks(mut self, hooks: Arc<dyn Hooks>) -> Self {
        self.hooks.push(hooks);
        self
    }

    /// Keeps the book of what was sent in this store. In memory unless set, and then a crash forgets what was under way.
    #[cfg(feature = "store")]
    pub fn store(self, store: &Store) -> Self {
        self.book(store.settlements(), store.outbox())
    }

    /// Keeps the book of what was sent there; both sides must be of one book.
    pub fn book(mut self, settlements: Arc<dyn Settlements>, outbox: Arc<dyn Outbox>) -> Self {
        self.book = Some((settlements, outbox));
        self
    }

    /// The facilitator. Nothing is sent, and nothing that was left under way is taken up, until [`Local::start`].
    pub fn build(self) -> Result<Local, SetupError> {
        let (settlements, outbox) = self.book.unwrap_or_else(|| {
            let book = MemorySettlements::default();
            (Arc::new(book.clone()), Arc::new(book))
        });
        let mut builder = Local::builder()
            .schemes(schemes(self.chains, &self.assets, &self.allowed, &outbox, self.builder_codes)?)
            .settlements(settlements)
            .clock(Arc::new(SystemClock));
        if let Some(callers) = self.callers {
            builder = builder.callers(callers);
        }
        for hooks in self.hooks {
            builder = builder.hooks(hooks);
        }
        Ok(builder.build()?)
    }

    /// [`Setup::build`] and [`Local::start`], inside a tokio runtime.
    pub fn start(self) -> Result<Arc<Local>, SetupError> {
        let local = Arc::new(self.build()?);
        local.start();
        Ok(local)
    }
}
