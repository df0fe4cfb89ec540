//! `exact` for the payer: signs a transfer of a known asset, by EIP-3009 or by Permit2, as the offer asks.

use std::sync::Arc;

use alloy_primitives::{B256, U256};
use farthing_core::amount::Amount;
use farthing_core::asset::{AccountId, Asset};
use farthing_core::network::Network;
use farthing_core::reason::{Reason, Refusal};
use farthing_core::scheme::{ClientScheme, Offer, PayError, PaymentFlow};
use farthing_core::time::{Clock, Entropy};
use farthing_core::wire::{Extensions, PaymentRequirements};

use super::{Extra, NAME, Payload, SignedAuthorization, SignedPermit2, terms};
use crate::account::{Account, Permission};
use crate::asset::{AssetTable, KnownAsset, TransferMethod};
use crate::rpc::Node;
use crate::signer::Signer;
use crate::transfer::eip3009::Authorization;
use crate::transfer::permit2::EXACT_PROXY;
use crate::wallet::ContractSigner;

/// `exact` for the payer.
pub struct Client {
    account: Account,
}

impl Client {
    /// Pays from this account, in these assets.
    pub fn new(signer: Arc<dyn Signer>, assets: Arc<AssetTable>, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self { account: Account::ordinary(signer, assets, clock, entropy) }
    }

    /// Pays from a smart wallet, in these assets.
    pub fn with_wallet(
        wallet: Arc<dyn ContractSigner>,
        assets: Arc<AssetTable>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self { account: Account::contract(wallet, assets, clock, entropy) }
    }

    /// Lets the wallet look up its balance on that network, and what it needs to have its approval of Permit2 sponsored.
    /// Paying itself needs no node.
    #[must_use]
    pub fn with_node(mut self, network: Network, node: Arc<dyn Node>) -> Self {
        self.account.add_node(network, node);
        self
    }

    /// Whether the offer can be signed for; what is signed is the token's domain as it is known here, never as the offer
    /// says.
    fn accept(&self, offer: &Offer<Extra>) -> Result<(&Arc<KnownAsset>, TransferMethod, Permission), Refusal> {
        let Offer { requirements, extra, .. } = offer;
        if requirements.scheme != NAME {
            let got = crate::text::quoted(&requirements.scheme);
            return Err(Refusal::mismatch(Reason::UnsupportedScheme, "scheme", format!("{NAME:?}"), got));
        }
        let (asset, method) = terms::asset_of(requirements, extra, self.account.assets())?;
        terms::same_domain(extra, asset)?;
        terms::flow_of(requirements, &[PaymentFlow::Authorization, PaymentFlow::Upfront])?;
        let permission = Permission {
            proxy: EXACT_PROXY,
            pay_to: terms::recipient_of(requirements)?,
            facilitator: None,
            amount: terms::amount_of(requirements)?,
            ends_at: self.account.ends_at(requirements),
        };
        Ok((asset, method, permission))
    }
}

impl ClientScheme for Client {
    const NAME: &'static str = NAME;
    type Extra = Extra;
    type Payload = Payload;

    fn supports(&self, network: &Network) -> bool {
        self.account.pays_on(network)
    }

    fn payer(&self, network: &Network) -> Option<AccountId> {
        self.account.payer(network)
    }

    fn asset(&self, requirements: &PaymentRequirements) -> Option<Asset> {
        self.account.assets().of(requirements).map(|asset| asset.to_asset())
    }

    fn max_spend(&self, offer: &Offer<Extra>) -> Result<Amount, PayError> {
        let (_, _, permission) = self.accept(offer).map_err(PayError::Offer)?;
        Ok(Amount::from_units(permission.amount))
    }

    async fn balance(&self, offer: &Offer<Extra>) -> Result<Option<Amount>, PayError> {
        let (asset, _, _) = self.accept(offer).map_err(PayError::Offer)?;
        self.account.balance(asset).await
    }

    async fn pay(&self, offer: &Offer<Extra>) -> Result<Payload, PayError> {
        let (asset, method, permission) = self.accept(offer).map_err(PayError::Offer)?;
        match method {
            TransferMethod::Eip3009 => {
                let mut authorization = Authorization {
                    from: self.account.address(),
                    to: permission.pay_to,
                    value: permission.amount,
                    valid_after: U256::ZERO,
                    valid_before: U256::from(permission.ends_at.0),
                    nonce: B256::ZERO,
                };
                self.account.fill(authorization.nonce.as_mut_slice())?;
                let signature = self.account.sign(authorization.digest(asset.domain_separator)).await?;
                Ok(Payload::Eip3009(SignedAuthorization { signature, authorization }))
            }
            TransferMethod::Permit2 => {
                let permit2_authorization = self.account.permit2(asset, &permission)?;
                let signature = self.account.sign(permit2_authorization.digest(asset.chain_id)).await?;
                Ok(Payload::Permit2(SignedPermit2 { signature, permit2_authorization }))
            }
        }
    }

    async fn extensions(&self, offer: &Offer<Extra>, payload: &Payload) -> Result<Extensions, PayError> {
        let Payload::Permit2(signed) = payload else { return Ok(Extensions::default()) };
        let asset = terms::known_asset(&offer.requirements, self.account.assets()).map_err(PayError::Offer)?;
        self.account.sponsoring(asset, &signed.permit2_authorization, &offer.extensions).await
    }
}
