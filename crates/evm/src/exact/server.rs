//! `exact` for the seller: completes offers, so that any buyer can sign for them. Pure.

use std::sync::Arc;

use farthing_core::asset::Asset;
use farthing_core::network::Network;
use farthing_core::reason::{Reason, Refusal};
use farthing_core::scheme::{Payment, PaymentFlow, PaymentKey, ServerScheme};
use farthing_core::time::UnixSeconds;
use farthing_core::wire::{PaymentRequirements, SupportedKind};

use super::{Extra, NAME, Payload, payment_key, terms};
use crate::asset::{AssetTable, TransferMethod};
use crate::text::{account_id, asset_id};
use crate::transfer::sponsoring;

/// `exact` for the seller.
#[derive(Clone, Debug)]
pub struct Server {
    assets: Arc<AssetTable>,
}

impl Server {
    /// Sells for these assets.
    pub fn new(assets: Arc<AssetTable>) -> Self {
        Self { assets }
    }
}

impl ServerScheme for Server {
    const NAME: &'static str = NAME;
    type Extra = Extra;
    type Payload = Payload;

    fn supports(&self, network: &Network) -> bool {
        self.assets.on(network).next().is_some()
    }

    fn assets(&self, network: &Network) -> Vec<Asset> {
        self.assets.on(network).map(|asset| asset.to_asset()).collect()
    }

    fn complete(&self, mut requirements: PaymentRequirements, kind: &SupportedKind) -> Result<PaymentRequirements, Refusal> {
        terms::check_kind(&requirements, kind, NAME)?;
        let extra: Extra = serde_json::from_value(serde_json::Value::Object(requirements.extra.clone()))
            .map_err(|error| Refusal::new(Reason::InvalidPaymentRequirements, format!("extra: {error}")))?;
        let (asset, method) = terms::asset_of(&requirements, &extra, &self.assets)?;
        terms::same_domain(&extra, asset)?;
        terms::amount_of(&requirements)?;
        let pay_to = terms::payee_of(&requirements, asset)?;
        self.flow(&requirements)?;
        requirements.asset = asset_id(asset.address);
        requirements.pay_to = account_id(pay_to);
        terms::name_domain(&mut requirements, asset, method);
        if method == TransferMethod::Permit2 {
            requirements.extra.insert("assetTransferMethod".to_owned(), method.to_string().into());
        }
        Ok(requirements)
    }

    fn flow(&self, requirements: &PaymentRequirements) -> Result<PaymentFlow, Refusal> {
        terms::flow_of(requirements, &[PaymentFlow::Authorization, PaymentFlow::Upfront])
    }

    fn declares(&self, requirements: &PaymentRequirements, known: &[String]) -> Vec<(&'static str, serde_json::Value)> {
        sponsoring::declared(requirements, known)
    }

    fn key(&self, payment: &Payment<Payload, Extra>) -> Result<PaymentKey, Refusal> {
        payment_key(payment)
    }

    fn expires_at(&self, payment: &Payment<Payload, Extra>) -> Option<UnixSeconds> {
        // Beyond what seconds are counted with, it never does.
        u64::try_from(payment.payload.authorized().ends_at()).ok().map(UnixSeconds)
    }
}
