//! Signs what pays a sale back: a payment of the seller's own, to whoever bought, by the scheme `exact`.
//!
//! Nothing is sent here. What is signed goes into the book of refunds first ([`Refunds::book`]), and is then settled by whoever
//! settles payments ([`RefundDesk`](crate::server::RefundDesk)): that one pays for the gas, once for each authorization.

use std::sync::Arc;

use farthing_core::amount::Amount;
use farthing_core::asset::{AccountId, Asset};
#[cfg(doc)]
use farthing_core::books::Refunds;
use farthing_core::reason::Refusal;
use farthing_core::scheme::{PayError, PaymentKey};
use farthing_core::time::UnixSeconds;
use farthing_core::wire::{
    Accepted, Extensions, PaymentPayload, PaymentRequest, PaymentRequirements, SupportedKind, Verbatim, Version,
};
use farthing_evm::config::{AssetConfig, ConfigError};
use farthing_evm::message::MessageKey;
use farthing_evm::signer::Signer;
use serde_json::Map;

use crate::chains;

/// The scheme in which refunds are paid: just what is signed, whatever the sale was paid by.
const SCHEME: &str = "exact";

/// Why a refund cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum RefundError {
    /// A token is described wrongly.
    #[error(transparent)]
    Asset(#[from] ConfigError),
    /// Nothing here pays in that asset.
    #[error("{0} on {1} is not paid here by the scheme {SCHEME}; describe the token with an [[asset]] table")]
    Unpayable(String, String),
    /// The payment would not be one.
    #[error("{0}")]
    Terms(Refusal),
    /// The account did not sign.
    #[error("the account that pays back did not sign")]
    Sign(#[source] PayError),
    /// What was signed cannot be written.
    #[error("the refund cannot be written")]
    Unwritable(#[from] serde_json::Error),
}

/// A signed refund, not sent yet. It moves money, so it is never shown.
pub struct SignedRefund {
    /// What makes it unique.
    pub id: PaymentKey,
    /// Who pays back.
    pub from: AccountId,
    /// From when on it can't settle any more.
    pub expires_at: UnixSeconds,
    /// What a facilitator is to be asked to settle, as JSON.
    pub request: String,
}

/// What is to be paid back.
#[derive(Clone, Debug)]
pub struct RefundTerms {
    /// In what.
    pub asset: Asset,
    /// To whom.
    pub to: AccountId,
    /// How much, in atomic units.
    pub amount: Amount,
    /// How long it may take to settle, in seconds.
    pub seconds: u64,
}

/// Signs, with tokens besides the known ones.
pub async fn sign(signer: Arc<dyn Signer>, assets: &[AssetConfig], terms: &RefundTerms) -> Result<SignedRefund, RefundError> {
    let RefundTerms { asset, to, amount, seconds } = terms.clone();
    let network = asset.network;
    let unpayable = || RefundError::Unpayable(asset.symbol.clone(), network.to_string());
    let sellers = chains::server::schemes_with(assets)?;
    let seller =
        sellers.into_iter().find(|scheme| scheme.name() == SCHEME && scheme.supports(&network)).ok_or_else(unpayable)?;
    let payers = chains::client::schemes(&MessageKey::Ordinary(signer), &[], assets)?;
    let payer = payers.into_iter().find(|scheme| scheme.name() == SCHEME && scheme.supports(&network)).ok_or_else(unpayable)?;
    let from = payer.payer(&network).ok_or_else(unpayable)?;
    let kind = SupportedKind { x402_version: Version::V2, scheme: SCHEME.to_owned(), network: network.clone(), extra: None };
    let requirements = PaymentRequirements {
        scheme: SCHEME.to_owned(),
        network,
        amount,
        asset: asset.id,
        pay_to: to,
        max_timeout_seconds: seconds,
        extra: Map::new(),
    };
    let requirements = Verbatim::new(seller.complete(requirements, &kind).map_err(RefundError::Terms)?)?;
    let (payload, extensions) = payer.pay(&requirements, &Extensions::default()).await.map_err(RefundError::Sign)?;
    let accepted = Accepted::Offer(requirements.clone());
    let payment = PaymentPayload { version: Version::V2, resource: None, accepted, payload, extensions };
    let (id, expires_at) = seller.identify(&payment, &requirements).map_err(RefundError::Terms)?;
    let request = PaymentRequest { version: Version::V2, payment, requirements, trace: None };
    let expires_at = expires_at.unwrap_or(UnixSeconds(u64::MAX >> 1));
    Ok(SignedRefund { id, from, expires_at, request: serde_json::to_string(&request)? })
}
