//! What a server signed of a purchase: its offers and its receipt (`offer-receipt`), checked when somebody wants to know.
//!
//! A server that signs nothing, or something wrong, is told of here and nowhere else: what was paid for stays paid for, and
//! its answer stays an answer.

use farthing_core::Source;
use farthing_core::asset::AccountId;
use farthing_core::extension::offer_receipt::{
    self, DEFAULT_MAX_AGE_SECONDS, Offer, OfferVerifier, Receipt, SignedBy, SignedOffer, SignedReceipt, StatementError, VERSION,
};
use farthing_core::time::UnixSeconds;
use farthing_core::wire::{PaymentRequired, SettleResponse};
use url::Url;

use crate::origin::fit_to_show;
use crate::settlement::PaymentFacts;

/// What a server signed of one purchase, and what this payer knows of it.
#[derive(Clone, Debug)]
pub(crate) struct Statements {
    /// What was asked for: with the query, and without it.
    urls: [String; 2],
    pub(crate) offers: Vec<SignedOffer>,
    pub(crate) receipt: Option<SignedReceipt>,
    /// Known once an answer is there.
    bought: Option<Bought>,
}

#[derive(Clone, Debug)]
struct Bought {
    facts: PaymentFacts,
    answered_at: UnixSeconds,
}

/// Why a server's statement proves nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StatementFault {
    /// There is none.
    #[error("the server signed no {0}")]
    Missing(&'static str),
    /// It is not about this purchase, or not from now.
    #[error("the server's {what} is not for this purchase: {source}")]
    NotOurs {
        /// Offer or receipt.
        what: &'static str,
        /// The difference.
        #[source]
        source: StatementError,
    },
    /// Whose signature it has could not be found out, or it has nobody's.
    #[error("the signature of the server's {what} could not be checked")]
    Signature {
        /// Offer or receipt.
        what: &'static str,
        /// The cause.
        #[source]
        source: Source,
    },
    /// Somebody signed it who cannot speak for the seller.
    #[error("the server's {what} is signed by {}; expected {}", named(.by), .expected.iter().map(named).collect::<Vec<_>>().join(" or "))]
    Stranger {
        /// Offer or receipt.
        what: &'static str,
        /// Who signed.
        by: SignedBy,
        /// Who should have.
        expected: Vec<SignedBy>,
    },
}

const OFFER: &str = "offer";
const RECEIPT: &str = "receipt";

impl Statements {
    /// What the terms bring. Offers that cannot be read are as good as none.
    pub(crate) fn offered(url: &Url, required: &PaymentRequired) -> Self {
        let mut whole = url.clone();
        whole.set_fragment(None);
        // Only what has no host has no place for them, and that is never asked.
        let _ = (whole.set_username(""), whole.set_password(None));
        let offers = offer_receipt::offers(&required.extensions).unwrap_or_else(|refusal| {
            tracing::debug!("the server's signed offers are left out: {refusal}");
            Vec::new()
        });
        Self { urls: [whole.into(), fit_to_show(url)], offers, receipt: None, bought: None }
    }

    /// And what the answer brings.
    pub(crate) fn received(self, facts: &PaymentFacts, settlement: Option<&SettleResponse>, now: UnixSeconds) -> Self {
        let receipt = settlement.and_then(offer_receipt::receipt);
        Self { receipt, bought: Some(Bought { facts: facts.clone(), answered_at: now }), ..self }
    }

    /// The receipt's content, if it is for this purchase and signed by who was paid or by one of these.
    pub(crate) async fn verify_receipt(
        &self,
        verifier: &dyn OfferVerifier,
        trusted: &[SignedBy],
    ) -> Result<Receipt, StatementFault> {
        let (Some(signed), Some(bought)) = (&self.receipt, &self.bought) else { return Err(StatementFault::Missing(RECEIPT)) };
        let ours = |source| StatementFault::NotOurs { what: RECEIPT, source };
        let claimed = signed.signed.statement().map_err(ours)?;
        let expected = bought.offer(self.url_like(&claimed.resource_url));
        let payers = [bought.facts.payer.clone()];
        let receipt = signed.check(&expected, &payers, bought.answered_at, DEFAULT_MAX_AGE_SECONDS).map_err(ours)?;
        let transaction = bought.facts.transaction.as_ref().map_or("", |transaction| &transaction.0);
        if !receipt.transaction.is_empty() && receipt.transaction != transaction {
            let (expected, got) = (short(transaction), short(&receipt.transaction));
            return Err(ours(StatementError::Mismatch { field: "transaction", expected, got }));
        }
        let by = verifier.receipt_signer(&signed.signed).await;
        bought.is_by_seller(RECEIPT, by, trusted).map(|()| receipt)
    }

    /// The content of the signed offer that was paid, if it is signed by who was paid or by one of these.
    pub(crate) async fn verify_offer(
        &self,
        verifier: &dyn OfferVerifier,
        trusted: &[SignedBy],
    ) -> Result<Offer, StatementFault> {
        let Some(bought) = &self.bought else { return Err(StatementFault::Missing(OFFER)) };
        let paid = std::slice::from_ref(&*bought.facts.offer);
        let is_paid = |signed: &&SignedOffer| signed.find(paid).is_ok_and(|place| place.is_some());
        let signed = self.offers.iter().find(is_paid).ok_or(StatementFault::Missing(OFFER))?;
        let ours = |source| StatementFault::NotOurs { what: OFFER, source };
        let claimed = signed.signed.statement().map_err(ours)?;
        let offer = signed.check(self.url_like(&claimed.resource_url), bought.answered_at).map_err(ours)?;
        let by = verifier.offer_signer(&signed.signed).await;
        bought.is_by_seller(OFFER, by, trusted).map(|()| offer)
    }

    /// The one of our own addresses that the claimed one can be compared with.
    fn url_like(&self, claimed: &str) -> &str {
        let [whole, bare] = &self.urls;
        if claimed == bare { bare } else { whole }
    }
}

impl Bought {
    /// What was bought, as a server would state it.
    fn offer(&self, url: &str) -> Offer {
        let offer = &self.facts.offer;
        Offer {
            version: VERSION,
            resource_url: url.to_owned(),
            scheme: offer.scheme.clone(),
            network: self.facts.network.clone(),
            asset: offer.asset.clone(),
            pay_to: offer.pay_to.clone(),
            amount: offer.amount,
            valid_until: UnixSeconds(0),
        }
    }

    fn is_by_seller(
        &self,
        what: &'static str,
        by: Result<SignedBy, Source>,
        trusted: &[SignedBy],
    ) -> Result<(), StatementFault> {
        let by = by.map_err(|source| StatementFault::Signature { what, source })?;
        let mut expected = vec![SignedBy::Account(self.facts.offer.pay_to.clone())];
        expected.extend_from_slice(trusted);
        if expected.iter().any(|one| is_same(one, &by)) { Ok(()) } else { Err(StatementFault::Stranger { what, by, expected }) }
    }
}

/// Letter case of accounts is not compared: it is a checksum, where it is anything.
fn is_same(one: &SignedBy, other: &SignedBy) -> bool {
    let text = |account: &AccountId| account.as_str().to_ascii_lowercase();
    match (one, other) {
        (SignedBy::Account(one), SignedBy::Account(other)) => text(one) == text(other),
        (one, other) => one == other,
    }
}

fn named(who: &SignedBy) -> String {
    match who {
        SignedBy::Account(account) => short(account.as_str()),
        SignedBy::Key(key) => short(key),
    }
}

fn short(text: &str) -> String {
    crate::offers::shown(text)
}
