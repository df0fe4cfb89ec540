//! What one payment is to buy, as the gate carries it from the way in to the settlement.

use std::sync::Arc;

use farthing_core::amount::Amount;
use farthing_core::asset::Asset;
use farthing_core::books::{BookError, Fingerprint};
use farthing_core::scheme::{PaymentFlow, PaymentKey};
use farthing_core::trace::TraceParent;
use farthing_core::wire::{Accepted, PaymentPayload, PaymentRequest, PaymentRequirements, SettleResponse, Verbatim, Version};
use sha2::{Digest, Sha256};

use crate::extensions::After;
use crate::gate::Paid;
use crate::hooks::{HandlerAnswer, HookContext};
use crate::offer::Offer;
use crate::purchase::Named;
use crate::resource::RequestFacts;
use crate::sold::Sold;
use crate::usage::Usage;

/// What is to be settled.
pub(crate) struct Order {
    pub(crate) request: PaymentRequest,
    pub(crate) paid: Paid,
    pub(crate) asset: Arc<Asset>,
    /// What it is for, by the names of the book of sales.
    pub(crate) sold: Sold,
    /// What is to be done once it has settled, before its answer goes.
    pub(crate) after: Option<After>,
    pub(crate) version: Version,
    pub(crate) flow: PaymentFlow,
    /// What its client calls it.
    pub(crate) named: Option<Named>,
    /// For what it is, for hooks alone.
    pub(crate) resource_url: String,
    /// What a hook answers in the place of the handler.
    pub(crate) instead: Option<HandlerAnswer>,
}

impl Order {
    pub(crate) fn new(offer: &Offer, payment: PaymentPayload, payment_key: PaymentKey, trace: TraceParent) -> Self {
        let requirements = offer.requirements.clone();
        let paid = Paid {
            payer: None,
            pay_to: requirements.pay_to.clone(),
            amount: requirements.amount,
            asset: requirements.asset.clone(),
            network: requirements.network.clone(),
            scheme: requirements.scheme.clone(),
            payment_key,
            usage: Usage::new(requirements.amount, Arc::clone(&offer.asset), offer.scheme.is_metered()),
        };
        let version = payment.version;
        // Facilitators see version 2 whatever the buyer speaks: what was signed is the same in both.
        let payment = payment.upgraded(&requirements, None);
        let request = PaymentRequest { version: Version::V2, payment, requirements, trace: Some(trace) };
        let (flow, asset, resource_url) = (offer.flow, Arc::clone(&offer.asset), String::new());
        let sold = Sold::default();
        Self { request, paid, asset, sold, after: None, version, flow, named: None, resource_url, instead: None }
    }

    /// The payment as hooks see it.
    pub(crate) fn hook_context(&self, payment_key: PaymentKey) -> HookContext {
        HookContext {
            resource_url: self.resource_url.clone(),
            requirements: self.request.requirements.clone().into_value(),
            payer: self.paid.payer.clone(),
            payment_key,
            version: self.version,
        }
    }

    /// What the facilitator is asked to settle from now on. The payment itself stays as it was signed.
    pub(crate) fn charge(&mut self, amount: Amount) -> Result<(), serde_json::Error> {
        if amount != self.request.requirements.amount {
            let requirements = self.request.requirements.clone().into_value();
            self.request.requirements = Verbatim::new(PaymentRequirements { amount, ..requirements })?;
        }
        Ok(())
    }

    /// What the payment may have been charged before, and is asked for again to the unit. A buyer of version 1 echoes no offer:
    /// what its payment took was of that amount, whatever is asked for by now.
    pub(crate) fn recall(&mut self, amount: Amount) -> Result<(), serde_json::Error> {
        self.charge(amount)?;
        if self.is_known_by_payload() {
            self.request.payment.accepted = Accepted::Offer(self.request.requirements.clone());
            self.paid.amount = amount;
            self.paid.usage = self.paid.usage.up_to(amount);
        }
        Ok(())
    }

    /// Whether the payment says no more of its offer than scheme and network, and is charged for all of it: then all else that
    /// it took is in the book.
    fn is_known_by_payload(&self) -> bool {
        self.version == Version::V1 && !self.paid.usage.is_metered()
    }

    /// The money has moved before the work: there is nothing left to say about how much.
    pub(crate) fn charged_before(&mut self, response: &SettleResponse) {
        self.paid.payer.clone_from(&response.payer);
        self.paid.usage.fix(self.request.requirements.amount);
    }

    /// What the claim is bound to: the request, and the very payment that came with it, its extensions included; of a payment
    /// that echoes no offer nothing that it did not say, because the price may have moved since. A digest, so that the book holds
    /// neither signatures nor what buyers ask for.
    pub(crate) fn fingerprint(&self, facts: &RequestFacts) -> Result<Fingerprint, BookError> {
        let PaymentRequest { payment, requirements, .. } = &self.request;
        let payment = if self.is_known_by_payload() {
            serde_json::to_vec(&(1, &requirements.scheme, &requirements.network, &payment.payload))
        } else {
            serde_json::to_vec(&self.request)
        };
        let payment = payment.map_err(|error| BookError(Box::new(error)))?;
        // The first part is as long as every digest, so that nothing can be moved from one part into the other.
        let digest = Sha256::new().chain_update(Sha256::digest(&facts.bound_to().0)).chain_update(payment).finalize();
        Ok(Fingerprint(format!("{digest:x}")))
    }
}
