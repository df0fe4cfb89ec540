//! `upto` for the payer: permits a ceiling, to be taken by the facilitator that the offer names and by nobody else.

use std::sync::Arc;

use farthing_core::amount::Amount;
use farthing_core::asset::{AccountId, Asset};
use farthing_core::network::Network;
use farthing_core::reason::{Reason, Refusal};
use farthing_core::scheme::{ClientScheme, Offer, PayError, PaymentFlow};
use farthing_core::time::{Clock, Entropy};
use farthing_core::wire::{Extensions, PaymentRequirements};

use super::{Extra, NAME, Payload};
use crate::account::{Account, Permission};
use crate::asset::{AssetTable, KnownAsset};
use crate::exact::terms;
use crate::rpc::Node;
use crate::signer::Signer;
use crate::transfer::permit2::UPTO_PROXY;
use crate::wallet::ContractSigner;

/// `upto` for the payer. What it may take at most is the offer's amount, and that is what counts as spent until the seller
/// says how much it was.
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

    fn accept(&self, offer: &Offer<Extra>) -> Result<(&Arc<KnownAsset>, Permission), Refusal> {
        let Offer { requirements, extra, .. } = offer;
        if requirements.scheme != NAME {
            let got = crate::text::quoted(&requirements.scheme);
            return Err(Refusal::mismatch(Reason::UnsupportedScheme, "scheme", format!("{NAME:?}"), got));
        }
        let asset = terms::known_asset(requirements, self.account.assets())?;
        extra.check_method()?;
        terms::same_domain(&extra.token, asset)?;
        terms::flow_of(requirements, &[PaymentFlow::Authorization])?;
        let Some(facilitator) = extra.facilitator()? else {
            let message =
                "extra.facilitatorAddress: missing; without it anybody could say how much is taken, so nothing is signed";
            return Err(Refusal::new(Reason::InvalidPaymentRequirements, message));
        };
        let permission = Permission {
            proxy: UPTO_PROXY,
            pay_to: terms::recipient_of(requirements)?,
            facilitator: Some(facilitator),
            amount: terms::amount_of(requirements)?,
            ends_at: self.account.ends_at(requirements),
        };
        Ok((asset, permission))
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
        let (_, permission) = self.accept(offer).map_err(PayError::Offer)?;
        Ok(Amount::from_units(permission.amount))
    }

    async fn balance(&self, offer: &Offer<Extra>) -> Result<Option<Amount>, PayError> {
        let (asset, _) = self.accept(offer).map_err(PayError::Offer)?;
        self.account.balance(asset).await
    }

    async fn pay(&self, offer: &Offer<Extra>) -> Result<Payload, PayError> {
        let (asset, permission) = self.accept(offer).map_err(PayError::Offer)?;
        let permit2_authorization = self.account.permit2(asset, &permission)?;
        let signature = self.account.sign(permit2_authorization.digest(asset.chain_id)).await?;
        Ok(Payload { signature, permit2_authorization })
    }

    async fn extensions(&self, offer: &Offer<Extra>, payload: &Payload) -> Result<Extensions, PayError> {
        let (asset, _) = self.accept(offer).map_err(PayError::Offer)?;
        self.account.sponsoring(asset, &payload.permit2_authorization, &offer.extensions).await
    }
}
