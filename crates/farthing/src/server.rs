//! Charging, with its engine: see [`crate::Server::builder`] for the entry point.

use std::sync::Arc;

use farthing_core::extension::offer_receipt::Issuer;
use farthing_core::extension::sign_in_with_x::MessageVerifier;
use farthing_core::network::{Network, NetworkError};
use farthing_evm::config::{ConfigError, RpcUrl};
use farthing_evm::offer_receipt::StatementSigner;
use farthing_evm::signer::{LocalSigner, SignerError};

pub use farthing_server::*;

use crate::chains;
use crate::secret::{SecretError, SecretRef};

/// Why nobody can check signatures, or sign.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The text names no network.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// A node is described wrongly.
    #[error(transparent)]
    Chain(#[from] ConfigError),
    /// The key is not where it was said to be.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// What is there is no key.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// What is there is no key of quotes. It is not shown, since it may be the secret itself.
    #[error("the key of quotes: expected 32 bytes in hex, got something else; make one with `openssl rand -hex 32`")]
    QuoteKey,
}

/// Lets smart wallets sign in, too, on each of these networks that has a node to ask: for
/// [`ServerBuilder::message_verifier`].
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let wallets = farthing::server::smart_wallets(&[("eip155:8453", "https://node.example")])?;
/// let builder = farthing::Server::builder().message_verifier(wallets);
/// # Ok(())
/// # }
/// ```
pub fn smart_wallets(nodes: &[(&str, &str)]) -> Result<Arc<dyn MessageVerifier>, SetupError> {
    let read = |(network, rpc_url): &(&str, &str)| Ok((network.parse::<Network>()?, RpcUrl::new(*rpc_url)));
    let nodes: Vec<(Network, RpcUrl)> = nodes.iter().map(read).collect::<Result<_, SetupError>>()?;
    Ok(chains::server::smart_wallets(&nodes)?)
}

/// Signs offers and receipts with the key that is kept there, `env:NAME` or `file:PATH`: for
/// [`ServerBuilder::offer_receipts`]. The key need hold no money, and better does not: it signs for everybody who asks.
pub fn issuer(reference: &str) -> Result<Issuer, SetupError> {
    let secret = reference.parse::<SecretRef>()?.resolve()?;
    Ok(Issuer::new(Arc::new(StatementSigner::new(Arc::new(LocalSigner::from_hex(secret)?)))))
}

/// The key of quotes that is kept there, `env:NAME` or `file:PATH`, as 32 bytes in hex: for [`ServerBuilder::quote_key`]. All
/// servers that sell the same routes must have the same.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let builder = farthing::Server::builder().quote_key(farthing::server::quote_key("env:QUOTE_KEY")?);
/// # Ok(())
/// # }
/// ```
pub fn quote_key(reference: &str) -> Result<QuoteKey, SetupError> {
    let secret = reference.parse::<SecretRef>()?.resolve()?;
    QuoteKey::from_hex(&secret).ok_or(SetupError::QuoteKey)
}
