//! The one place where JSON becomes a scheme's typed payload, and where schemes are looked up.
//!
//! Every typed scheme becomes an `Any…Scheme` by a blanket implementation, so that engines can hold a list of them.

use std::any::Any;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::BoxFuture;
use crate::amount::Amount;
use crate::asset::{AccountId, Asset};
use crate::books::{PaymentRecord, SettlementEntry};
use crate::json;
use crate::network::Network;
use crate::reason::{Reason, Refusal};
use crate::scheme::{
    ClientScheme, FacilitatorScheme, Found, Offer, Outcome, PayError, Payment, PaymentFlow, PaymentKey, Phase, SendRight,
    ServerScheme, SettleError, Settlement, VerifiedPayment, VerifyError,
};
use crate::time::UnixSeconds;
use crate::wire::{Extensions, Payload, PaymentPayload, PaymentRequest, PaymentRequirements, SupportedKind};

/// A client scheme whose types are hidden. See [`ClientScheme`].
pub trait AnyClientScheme: Send + Sync {
    /// The scheme's name.
    fn name(&self) -> &'static str;
    /// Whether this wallet can pay there at all.
    fn supports(&self, network: &Network) -> bool;
    /// Who pays there.
    fn payer(&self, network: &Network) -> Option<AccountId>;
    /// The asset of the offer, if known.
    fn asset(&self, requirements: &PaymentRequirements) -> Option<Asset>;
    /// The most that a payment for the offer can ever take.
    fn max_spend(&self, requirements: &PaymentRequirements) -> Result<Amount, PayError>;
    /// What the wallet holds of the offer's asset, if it can know.
    fn balance<'a>(&'a self, requirements: &'a PaymentRequirements) -> BoxFuture<'a, Result<Option<Amount>, PayError>>;
    /// Signs a payment for the offer, whose terms came with these extensions. What has to go along is returned beside it.
    fn pay<'a>(
        &'a self,
        requirements: &'a PaymentRequirements,
        extensions: &'a Extensions,
    ) -> BoxFuture<'a, Result<(Payload, Extensions), PayError>>;
}

/// A server scheme whose types are hidden. See [`ServerScheme`].
pub trait AnyServerScheme: Send + Sync {
    /// The scheme's name.
    fn name(&self) -> &'static str;
    /// Whether the scheme exists on that network.
    fn supports(&self, network: &Network) -> bool;
    /// The assets that a price can be asked in there, the default one first.
    fn assets(&self, network: &Network) -> Vec<Asset>;
    /// Checks an offer and fills in what buyers need.
    fn complete(&self, requirements: PaymentRequirements, kind: &SupportedKind) -> Result<PaymentRequirements, Refusal>;
    /// When the money of such an offer moves.
    fn flow(&self, requirements: &PaymentRequirements) -> Result<PaymentFlow, Refusal>;
    /// Whether less may be charged than the offer asks for.
    fn is_metered(&self) -> bool;
    /// What the terms declare beside such an offer, of the extensions that the facilitator knows; see [`ServerScheme::declares`].
    fn declares(&self, requirements: &PaymentRequirements, known: &[String]) -> Vec<(&'static str, serde_json::Value)>;
    /// What makes the payment unique, and from when on it can't settle any more; see [`ServerScheme::expires_at`].
    fn identify(
        &self,
        payment: &PaymentPayload,
        requirements: &PaymentRequirements,
    ) -> Result<(PaymentKey, Option<UnixSeconds>), Refusal>;
}

/// A facilitator scheme whose types are hidden. See [`FacilitatorScheme`].
pub trait AnyFacilitatorScheme: Send + Sync {
    /// The scheme's name.
    fn name(&self) -> &'static str;
    /// What it can do, network by network.
    fn kinds(&self) -> Vec<SupportedKind>;
    /// The sending accounts, by chain family pattern.
    fn signers(&self) -> Vec<(String, AccountId)>;
    /// The extensions that it honours, by key.
    fn extensions(&self) -> Vec<&'static str>;
    /// Reads the payment, once, for the calls below.
    fn read(&self, request: &PaymentRequest) -> Result<TypedPayment, Refusal>;
    /// Checks a payment that [`Self::read`] made.
    fn verify<'a>(&'a self, payment: &'a TypedPayment) -> BoxFuture<'a, Result<AccountId, VerifyError>>;
    /// Verifies again and settles, in one call, so that nothing is settled that was not verified.
    fn settle<'a>(
        &'a self,
        payment: &'a TypedPayment,
        right: Arc<dyn SendRight>,
    ) -> BoxFuture<'a, Result<Settlement, SettleError>>;
    /// What became of a payment that was sent.
    fn outcome<'a>(&'a self, entry: &'a SettlementEntry) -> BoxFuture<'a, Result<Outcome, VerifyError>>;
    /// What became of a payment for good.
    fn final_outcome<'a>(&'a self, entry: &'a SettlementEntry) -> BoxFuture<'a, Result<Outcome, VerifyError>>;
    /// Whether somebody else carried out a payment that was good; see [`FacilitatorScheme::moved_already`].
    fn moved_already<'a>(
        &'a self,
        record: &'a PaymentRecord,
        refusal: &'a Refusal,
    ) -> BoxFuture<'a, Result<Option<Found>, VerifyError>>;
    /// Takes up what was left under way; see [`FacilitatorScheme::start`].
    fn start(&self);
    /// Gives the sending accounts back; see [`FacilitatorScheme::stop`].
    fn stop(&self) -> BoxFuture<'_, ()>;
    /// Whether the networks can be reached.
    fn ready(&self) -> BoxFuture<'_, Result<(), VerifyError>>;
}

/// A payment that one scheme has read and only that scheme can use.
pub struct TypedPayment {
    /// What the book keeps of it, its unique key among it.
    pub record: PaymentRecord,
    typed: Box<dyn Any + Send + Sync>,
}

impl<S: ClientScheme> AnyClientScheme for S {
    fn name(&self) -> &'static str {
        S::NAME
    }

    fn supports(&self, network: &Network) -> bool {
        ClientScheme::supports(self, network)
    }

    fn payer(&self, network: &Network) -> Option<AccountId> {
        ClientScheme::payer(self, network)
    }

    fn asset(&self, requirements: &PaymentRequirements) -> Option<Asset> {
        ClientScheme::asset(self, requirements)
    }

    fn max_spend(&self, requirements: &PaymentRequirements) -> Result<Amount, PayError> {
        ClientScheme::max_spend(self, &typed_offer(requirements, &Extensions::default())?)
    }

    fn balance<'a>(&'a self, requirements: &'a PaymentRequirements) -> BoxFuture<'a, Result<Option<Amount>, PayError>> {
        Box::pin(async move { ClientScheme::balance(self, &typed_offer(requirements, &Extensions::default())?).await })
    }

    fn pay<'a>(
        &'a self,
        requirements: &'a PaymentRequirements,
        extensions: &'a Extensions,
    ) -> BoxFuture<'a, Result<(Payload, Extensions), PayError>> {
        Box::pin(async move {
            let offer = typed_offer(requirements, extensions)?;
            let payload = ClientScheme::pay(self, &offer).await?;
            let extensions = ClientScheme::extensions(self, &offer, &payload).await?;
            Ok((written(&payload)?, extensions))
        })
    }
}

impl<S: ServerScheme> AnyServerScheme for S {
    fn name(&self) -> &'static str {
        S::NAME
    }

    fn supports(&self, network: &Network) -> bool {
        ServerScheme::supports(self, network)
    }

    fn assets(&self, network: &Network) -> Vec<Asset> {
        ServerScheme::assets(self, network)
    }

    fn complete(&self, requirements: PaymentRequirements, kind: &SupportedKind) -> Result<PaymentRequirements, Refusal> {
        ServerScheme::complete(self, requirements, kind)
    }

    fn flow(&self, requirements: &PaymentRequirements) -> Result<PaymentFlow, Refusal> {
        ServerScheme::flow(self, requirements)
    }

    fn is_metered(&self) -> bool {
        ServerScheme::is_metered(self)
    }

    fn declares(&self, requirements: &PaymentRequirements, known: &[String]) -> Vec<(&'static str, serde_json::Value)> {
        ServerScheme::declares(self, requirements, known)
    }

    fn identify(
        &self,
        payment: &PaymentPayload,
        requirements: &PaymentRequirements,
    ) -> Result<(PaymentKey, Option<UnixSeconds>), Refusal> {
        let payment = typed_payment(payment, requirements)?;
        Ok((ServerScheme::key(self, &payment)?, ServerScheme::expires_at(self, &payment)))
    }
}

impl<S: FacilitatorScheme + 'static> AnyFacilitatorScheme for S
where
    S::Payload: 'static,
    S::Extra: 'static,
{
    fn name(&self) -> &'static str {
        S::NAME
    }

    fn kinds(&self) -> Vec<SupportedKind> {
        FacilitatorScheme::kinds(self)
    }

    fn signers(&self) -> Vec<(String, AccountId)> {
        FacilitatorScheme::signers(self)
    }

    fn extensions(&self) -> Vec<&'static str> {
        FacilitatorScheme::extensions(self)
    }

    fn read(&self, request: &PaymentRequest) -> Result<TypedPayment, Refusal> {
        let payment: Payment<S::Payload, S::Extra> = typed_payment(&request.payment, &request.requirements)?;
        let record = FacilitatorScheme::record(self, &payment)?;
        Ok(TypedPayment { record, typed: Box::new(payment) })
    }

    fn verify<'a>(&'a self, payment: &'a TypedPayment) -> BoxFuture<'a, Result<AccountId, VerifyError>> {
        Box::pin(async move {
            let verified = FacilitatorScheme::verify(self, own::<S>(payment)?, Phase::Verify).await?;
            Ok(verified.payer())
        })
    }

    fn settle<'a>(
        &'a self,
        payment: &'a TypedPayment,
        right: Arc<dyn SendRight>,
    ) -> BoxFuture<'a, Result<Settlement, SettleError>> {
        Box::pin(async move {
            let verified = FacilitatorScheme::verify(self, own::<S>(payment)?, Phase::Settle).await?;
            right.verified();
            FacilitatorScheme::settle(self, verified, right).await
        })
    }

    fn outcome<'a>(&'a self, entry: &'a SettlementEntry) -> BoxFuture<'a, Result<Outcome, VerifyError>> {
        Box::pin(FacilitatorScheme::outcome(self, entry))
    }

    fn final_outcome<'a>(&'a self, entry: &'a SettlementEntry) -> BoxFuture<'a, Result<Outcome, VerifyError>> {
        Box::pin(FacilitatorScheme::final_outcome(self, entry))
    }

    fn moved_already<'a>(
        &'a self,
        record: &'a PaymentRecord,
        refusal: &'a Refusal,
    ) -> BoxFuture<'a, Result<Option<Found>, VerifyError>> {
        Box::pin(FacilitatorScheme::moved_already(self, record, refusal))
    }

    fn start(&self) {
        FacilitatorScheme::start(self);
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(FacilitatorScheme::stop(self))
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), VerifyError>> {
        Box::pin(FacilitatorScheme::ready(self))
    }
}

/// The payment as the types of the scheme that read it.
fn own<S: FacilitatorScheme>(payment: &TypedPayment) -> Result<&Payment<S::Payload, S::Extra>, VerifyError>
where
    S::Payload: 'static,
    S::Extra: 'static,
{
    payment
        .typed
        .downcast_ref()
        .ok_or_else(|| VerifyError::Unavailable("a payment was handed to a scheme that did not read it".into()))
}

fn typed_offer<E: DeserializeOwned>(requirements: &PaymentRequirements, extensions: &Extensions) -> Result<Offer<E>, PayError> {
    let extra = typed_extra(requirements).map_err(PayError::Offer)?;
    Ok(Offer { requirements: requirements.clone(), extra, extensions: extensions.clone() })
}

fn typed_payment<P: DeserializeOwned, E: DeserializeOwned>(
    payment: &PaymentPayload,
    requirements: &PaymentRequirements,
) -> Result<Payment<P, E>, Refusal> {
    let payload = json::parse(payment.payload.raw())
        .map_err(|error| Refusal::new(Reason::InvalidPayload, format!("payload: {error}")))?;
    Ok(Payment {
        version: payment.version,
        accepted_scheme: payment.accepted.scheme().to_owned(),
        accepted_network: payment.accepted.network().clone(),
        payload,
        extensions: payment.extensions.clone(),
        extra: typed_extra(requirements)?,
        requirements: requirements.clone(),
    })
}

fn typed_extra<E: DeserializeOwned>(requirements: &PaymentRequirements) -> Result<E, Refusal> {
    json::parse_object(&requirements.extra)
        .map_err(|error| Refusal::new(Reason::InvalidPaymentRequirements, format!("extra: {error}")))
}

fn written(payload: &impl Serialize) -> Result<Payload, PayError> {
    Payload::new(payload).map_err(|error| PayError::Wallet(Box::new(error)))
}

/// The client schemes of one wallet.
pub type ClientSchemes = Vec<Arc<dyn AnyClientScheme>>;
/// The server schemes of one seller.
pub type ServerSchemes = Vec<Arc<dyn AnyServerScheme>>;
/// The facilitator schemes of one facilitator.
pub type FacilitatorSchemes = Vec<Arc<dyn AnyFacilitatorScheme>>;
