//! `upto` for the seller: completes offers with the account that will settle. Pure.

use std::sync::Arc;

use farthing_core::asset::Asset;
use farthing_core::network::Network;
use farthing_core::reason::{Reason, Refusal};
use farthing_core::scheme::{Payment, PaymentFlow, PaymentKey, ServerScheme};
use farthing_core::time::UnixSeconds;
use farthing_core::wire::{PaymentRequirements, SupportedKind};

use super::{Extra, FACILITATOR_FIELD, METHOD, NAME, Payload, payment_key};
use crate::asset::{AssetTable, TransferMethod};
use crate::exact::terms;
use crate::facilitator::transfer::Authorized;
use crate::text::{account_id, asset_id};
use crate::transfer::sponsoring;

/// `upto` for the seller.
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
        let asset = terms::known_asset(&requirements, &self.assets)?;
        extra.check_method()?;
        terms::same_domain(&extra.token, asset)?;
        terms::amount_of(&requirements)?;
        let pay_to = terms::payee_of(&requirements, asset)?;
        self.flow(&requirements)?;
        let of_kind = kind.extra.as_ref().and_then(|extra| extra.get(FACILITATOR_FIELD)).and_then(|named| named.as_str());
        let named = of_kind.map(str::to_owned).or_else(|| extra.facilitator_address.clone());
        let named = Extra { facilitator_address: named, ..Extra::default() };
        let Some(facilitator) = named.facilitator()? else {
            let message = "extra.facilitatorAddress: missing; the facilitator's kind has to say which account settles `upto`";
            return Err(Refusal::new(Reason::InvalidPaymentRequirements, message));
        };
        requirements.asset = asset_id(asset.address);
        requirements.pay_to = account_id(pay_to);
        terms::name_domain(&mut requirements, asset, TransferMethod::Permit2);
        let fields = [("assetTransferMethod", METHOD.to_owned()), (FACILITATOR_FIELD, facilitator.to_string())];
        requirements.extra.extend(fields.map(|(field, value)| (field.to_owned(), value.into())));
        Ok(requirements)
    }

    fn flow(&self, requirements: &PaymentRequirements) -> Result<PaymentFlow, Refusal> {
        terms::flow_of(requirements, &[PaymentFlow::Authorization])
    }

    fn is_metered(&self) -> bool {
        true
    }

    fn declares(&self, requirements: &PaymentRequirements, known: &[String]) -> Vec<(&'static str, serde_json::Value)> {
        sponsoring::declared(requirements, known)
    }

    fn key(&self, payment: &Payment<Payload, Extra>) -> Result<PaymentKey, Refusal> {
        payment_key(payment)
    }

    fn expires_at(&self, payment: &Payment<Payload, Extra>) -> Option<UnixSeconds> {
        // Beyond what seconds are counted with, it never does.
        let ends_at = Authorized::Permit2(payment.payload.permit2_authorization).ends_at();
        u64::try_from(ends_at).ok().map(UnixSeconds)
    }
}
