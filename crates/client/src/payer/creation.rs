//! One offer paid: hooks, reservation, signature, and what goes along with it.

use farthing_core::books::Spend;
use farthing_core::extension::builder_code;
use farthing_core::extension::payment_identifier::{self, PaymentId};
use farthing_core::reason::Reason;
use farthing_core::scheme::PayError;
use farthing_core::wire::{Accepted, Extensions, Payload, PaymentPayload, PaymentRequired};
use serde_json::Value;

use super::ways::{self, Way};
use super::{Obstacle, Payer, Promised, Purchase, Refused};
use crate::error::{Declined, Rule};
use crate::hooks::{PaymentCreated, PaymentCreation, PaymentCreationFailure, Recovered};
use crate::offers::{Considered, Skip};
use crate::settlement::{PaymentFacts, PaymentOutcome};

/// What the names that are made here begin with, as the official SDK's do.
const PAYMENT_ID_PREFIX: &str = "pay_";

impl Payer {
    /// The purchase's name, where the server declares that it takes one: the caller's, or a new one where one is required.
    pub(super) fn payment_id(&self, required: &PaymentRequired, purchase: &Purchase) -> Result<Option<PaymentId>, Declined> {
        let declared: Option<Value> = required.extensions.get(payment_identifier::KEY, Reason::InvalidPayload).ok().flatten();
        let Some(info) = declared.as_ref().and_then(|declared| declared.get("info")?.as_object()) else { return Ok(None) };
        if purchase.payment_id.is_some() || info.get("required") != Some(&Value::Bool(true)) {
            return Ok(purchase.payment_id.clone());
        }
        self.new_payment_id().map(Some).ok_or_else(|| {
            let why = "the server sells only with a name for the purchase; give the request a payment_id, or the client entropy \
                       to make one; nothing is paid";
            Declined::rule(Rule::NoPaymentId, why.to_owned())
        })
    }

    fn new_payment_id(&self) -> Option<PaymentId> {
        let mut bytes = [0; 16];
        self.entropy.as_ref()?.fill(&mut bytes).ok()?;
        PaymentId::new(&format!("{PAYMENT_ID_PREFIX}{:032x}", u128::from_be_bytes(bytes))).ok()
    }

    /// Pays one offer.
    pub(super) async fn take(
        &self,
        way: &Way,
        required: &PaymentRequired,
        purchase: &Purchase,
        payment_id: Option<&PaymentId>,
        considered: &mut Considered,
    ) -> Result<Promised, Obstacle> {
        ways::afford(way, considered).await.map_err(Obstacle::Skip)?;
        let facts = facts(required, way, payment_id);
        let creation = PaymentCreation { required, selected: &facts, resource: &purchase.resource };
        self.hooks.before(&creation).await.map_err(|declined| Obstacle::Stop(Refused::Policy(declined)))?;
        let limits = self.limits(purchase);
        let reservation = self.ledger.reserve(&way.spend(purchase), &limits, self.clock.now()).await?;
        match self.create(way, creation).await {
            Ok(payment) => Ok(Promised { payment, facts, reservation, named: None }),
            Err(obstacle) => {
                self.release(reservation).await;
                Err(obstacle)
            }
        }
    }

    /// Signs, or has a hook do so, and asks the hooks whether what was signed may be sent.
    async fn create(&self, way: &Way, creation: PaymentCreation<'_>) -> Result<PaymentPayload, Obstacle> {
        let signed = match way.scheme.pay(&way.offer, &creation.required.extensions).await {
            Ok(signed) => signed,
            Err(error) => match self.hooks.recover(&PaymentCreationFailure { creation, error: &error }).await {
                Some(Recovered { payload, extensions }) => (payload, extensions),
                None => return Err(not_signed(error)),
            },
        };
        let payment = self.payment(creation, way, signed);
        let created = PaymentCreated { creation, payment: &payment };
        self.hooks.after(&created).await.map_err(|declined| Obstacle::Stop(Refused::Policy(declined)))?;
        Ok(payment)
    }

    /// The payment as it is sent: resource, offer and extensions as they came, but for what is added to these by the scheme,
    /// the purchase's name, and the client's service codes.
    fn payment(&self, creation: PaymentCreation<'_>, way: &Way, (payload, added): (Payload, Extensions)) -> PaymentPayload {
        let required = creation.required;
        let mut extensions = required.extensions.clone();
        extensions.extend(added);
        if let Some(id) = &creation.selected.payment_id {
            payment_identifier::add(&mut extensions, id);
        }
        if required.extensions.raw(builder_code::KEY).is_some()
            && let Err(refusal) = builder_code::add(&mut extensions, &self.service_codes)
        {
            // They are for statistics, and no reason not to pay.
            tracing::debug!("the service codes are left out: {refusal}");
        }
        PaymentPayload {
            version: required.version,
            resource: required.resource.clone(),
            accepted: Accepted::Offer(way.offer.clone()),
            payload,
            extensions,
        }
    }
}

impl Way {
    pub(super) fn spend(&self, purchase: &Purchase) -> Spend {
        Spend { usd: self.usd, resource: purchase.resource.clone() }
    }
}

fn not_signed(error: PayError) -> Obstacle {
    match error {
        PayError::Offer(refusal) => Obstacle::Skip(Skip::Scheme(refusal)),
        PayError::Wallet(source) => Obstacle::Stop(Refused::Wallet(source)),
    }
}

fn facts(required: &PaymentRequired, way: &Way, payment_id: Option<&PaymentId>) -> PaymentFacts {
    PaymentFacts {
        offer: way.offer.clone(),
        payer: way.payer.clone(),
        network: way.offer.network.clone(),
        asset: way.asset.clone(),
        amount: way.amount,
        usd: way.usd,
        version: required.version,
        payment_id: payment_id.cloned(),
        outcome: PaymentOutcome::Unconfirmed,
        transaction: None,
        doubts: Vec::new(),
    }
}
