//! A purchase that its client has named (`payment-identifier`): it is made once, with however many payments it is asked for.

use farthing_core::asset::AccountId;
use farthing_core::books::{Fingerprint, Purchase, PurchaseName};
use farthing_core::extension::payment_identifier::{self, PaymentId};
use farthing_core::reason::Refusal;
use farthing_core::time::UnixSeconds;
use farthing_core::wire::{Extensions, PaymentRequirements};
use sha2::{Digest, Sha256};

/// What is bought under a name, before it is known who pays.
pub(crate) struct Named {
    id: PaymentId,
    request: Fingerprint,
}

impl Named {
    /// The purchase of a payment that names it; it must where the terms say so.
    pub(crate) fn of(
        declared: &Extensions,
        brought: &Extensions,
        request: &Fingerprint,
        terms: &PaymentRequirements,
    ) -> Result<Option<Self>, Refusal> {
        let id = payment_identifier::of(brought, payment_identifier::is_required(declared))?;
        Ok(id.map(|id| Self { id, request: digest_of(request, terms) }))
    }

    /// The purchase of this payer.
    pub(crate) fn by(&self, payer: &AccountId, now: UnixSeconds) -> Purchase {
        // Facilitators are free in the letter case of an address.
        let payer = Sha256::digest(payer.as_str().to_ascii_lowercase());
        let name = Sha256::new().chain_update(payer).chain_update(self.id.as_str()).finalize();
        Purchase { name: PurchaseName(name.into()), request: self.request.clone(), now }
    }
}

/// What is bought and on which terms. What else an offer holds may differ from one answer to the next and is the same sale.
fn digest_of(request: &Fingerprint, terms: &PaymentRequirements) -> Fingerprint {
    let amount = terms.amount.to_string();
    let parts =
        [request.0.as_str(), &terms.scheme, terms.network.as_str(), terms.asset.as_str(), terms.pay_to.as_str(), &amount];
    // Each part becomes as long as every other, so that nothing can be moved from one into the next.
    let digest = parts.iter().fold(Sha256::new(), |digest, part| digest.chain_update(Sha256::digest(part)));
    Fingerprint(format!("{:x}", digest.finalize()))
}
