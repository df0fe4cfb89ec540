//! A priced route: a price becomes one offer for every network and asset in which it can be paid. Built once, at
//! start-up, so that everything that can be wrong with it is wrong then.

use std::sync::Arc;

use farthing_core::asset::AssetId;
use farthing_core::network::Network;
use farthing_core::price::{Price, PriceError};
use farthing_core::reason::Refusal;
use farthing_core::scheme::PaymentFlow;
use farthing_core::wire::{Extensions, PaymentRequired, PaymentRequirements, ResourceInfo, Verbatim, Version};

use crate::ask::offers_for;
use crate::extensions::{After, Declared, ExtensionError, Fresh, Seller, SignInRule, UNSIGNED, Wishes};
use crate::offer::{Accept, Offer, Pricing, for_version_one};
use crate::quotes;
use crate::resource::RequestFacts;
use crate::template::{Fill, HOLES, Template, quote_hole};

/// How long a payment may take unless the route says otherwise, in seconds; the official SDKs' number.
pub const DEFAULT_MAX_TIMEOUT_SECONDS: u64 = 300;
/// The most offers that one route makes.
pub const MAX_OFFERS: usize = 32;

/// Why a route cannot be priced so. All of these are found at start-up.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// The price is no price, or cannot be had exactly in an accepted asset.
    #[error(transparent)]
    Price(#[from] PriceError),
    /// A price of nothing at all.
    #[error("{0} is free; leave the route unpriced instead")]
    Free(Price),
    /// No accepted network has an asset in which the price could be asked.
    #[error("{price} cannot be asked in any asset of the accepted networks; they have {assets}")]
    NoAsset {
        /// The price.
        price: Price,
        /// The assets that there are.
        assets: String,
    },
    /// A route is to be sold where nobody is paid.
    #[error("nobody is paid on {network}; expected one of {}", networks.iter().map(Network::as_str).collect::<Vec<_>>().join(", "))]
    NotPaid {
        /// The network.
        network: Network,
        /// Where somebody is paid.
        networks: Vec<Network>,
    },
    /// More offers than buyers would read.
    #[error("the route makes {got} offers; at most {MAX_OFFERS} are allowed")]
    TooManyOffers {
        /// How many it would make.
        got: usize,
    },
    /// Two of several prices are for the same way to pay.
    #[error("{asset} on {network} by {scheme} is priced twice; expected one price for each way to pay")]
    OfferedTwice {
        /// The scheme.
        scheme: String,
        /// The network.
        network: Network,
        /// The asset.
        asset: AssetId,
    },
    /// Several prices were to be there, and none is.
    #[error("expected at least one price, got none")]
    NoPrice,
    /// What is used is known at the end of an answer.
    #[error("settling at the head of an answer: expected prices that are known then, got one up to a ceiling")]
    MeteredHead,
    /// Nothing is used that could be paid for at the end.
    #[error("streaming: expected a price up to a ceiling, got none; settle at the head of the answer instead")]
    UnmeteredStream,
    /// Not even one answer could stream.
    #[error("streaming: expected a debt limit of at least what one answer may come to, got {limit}")]
    DebtLimit {
        /// The limit.
        limit: Price,
    },
    /// A payment that may take no time can never be made.
    #[error("max_timeout_seconds: expected at least 1, got 0")]
    NoTime,
    /// The scheme refuses the offer.
    #[error("{scheme} on {network} cannot be offered: {refusal}")]
    Offer {
        /// The scheme.
        scheme: &'static str,
        /// The network.
        network: Network,
        /// What is wrong with the offer.
        refusal: Refusal,
    },
    /// No accepted scheme charges in that way.
    #[error("{}; the accepted schemes are {schemes}", if *.is_metered {
        "no accepted scheme can charge less than was signed, which a price up to a ceiling needs"
    } else {
        "no accepted scheme charges a fixed price; use a price up to a ceiling"
    })]
    NoScheme {
        /// Whether it was to be a ceiling.
        is_metered: bool,
        /// The schemes that there are.
        schemes: String,
    },
    /// The offer's money moves at another time than this route can charge it.
    #[error(
        "{scheme} on {network} has the payment flow {flow:?} here; only authorization, and upfront by choice, can be charged"
    )]
    Flow {
        /// The scheme.
        scheme: &'static str,
        /// The network.
        network: Network,
        /// The flow.
        flow: PaymentFlow,
    },
    /// The terms cannot be written as JSON, or hold characters that Unicode reserves for private use.
    #[error("the terms cannot be written: {0}")]
    Unwritable(String),
    /// An extension cannot be declared so.
    #[error(transparent)]
    Extension(#[from] ExtensionError),
    /// A quote must be recognised when it comes back.
    #[error("quotes need a key; hand one in with quote_key(…), or a source of randomness with entropy(…)")]
    NoQuoteKey,
}

/// What one route asks for, ready to be answered with.
#[derive(Clone)]
pub struct Route {
    offers: Arc<[Offer]>,
    /// What the book of sales calls it, unless it is empty.
    name: String,
    description: String,
    mime_type: String,
    /// What the terms declare besides the offers.
    declared: Declared,
    /// Version 2's terms.
    current: Template,
    /// Version 1's terms, if any offer can be taken by its buyers.
    old: Option<Template>,
}

impl Route {
    pub(crate) fn build(accepts: &[Accept], pricing: &Pricing, seller: &Seller, wishes: &Wishes) -> Result<Self, RouteError> {
        Self::of(offers_for(accepts, &pricing.asks, pricing.manner)?, seller, wishes)
    }

    /// A route whose terms hold a quote for each offer, to be filled in for each answer. Its offers are without, as buyers of
    /// version 1 take them.
    pub(crate) fn quoted(offers: Vec<Offer>, seller: &Seller, wishes: &Wishes) -> Result<Self, RouteError> {
        let mut quoted = Vec::with_capacity(offers.len());
        for (index, offer) in offers.iter().enumerate() {
            quoted.push(offer.clone().with_extra(quotes::EXTRA, quote_hole(index).into())?);
        }
        let route = Self::of(offers, seller, wishes)?;
        let extensions = route.declared.with_holes()?;
        let current = terms(Version::V2, quoted.iter().map(|offer| &offer.requirements), extensions)?;
        Ok(Self { current, ..route })
    }

    /// A route that has no price and is opened by signing in alone.
    pub(crate) fn unpriced(seller: &Seller, wishes: &Wishes) -> Result<Self, RouteError> {
        Self::of(Vec::new(), seller, wishes)
    }

    /// A route of just these offers.
    pub(crate) fn of(offers: Vec<Offer>, seller: &Seller, wishes: &Wishes) -> Result<Self, RouteError> {
        let declared = Declared::of(seller, wishes, &offers)?;
        let extensions = declared.with_holes()?;
        let current = terms(Version::V2, offers.iter().map(|offer| &offer.requirements), extensions)?;
        let takers = if declared.needs_name { Vec::new() } else { for_version_one(&offers) };
        let old = match takers.len() {
            0 => None,
            _ => Some(terms(Version::V1, takers.into_iter(), Extensions::default())?),
        };
        let (description, mime_type) = (String::new(), String::new());
        Ok(Self { offers: offers.into(), name: wishes.name.clone(), description, mime_type, declared, current, old })
    }

    /// The ways to pay, in the order in which they are offered.
    pub fn offers(&self) -> impl Iterator<Item = &Verbatim<PaymentRequirements>> {
        self.offers.iter().map(|offer| &offer.requirements)
    }

    /// The terms as JSON text for a buyer of that version; `None` if such a buyer cannot take any offer. Each time with a new
    /// challenge, where the route has one, so one text is for one buyer.
    ///
    /// Where offers are signed, those go along that are at hand; [`Self::signed_terms`] has them signed first.
    pub fn terms(&self, version: Version, resource_url: &str, error: &str) -> Option<String> {
        self.render(version, resource_url, error, &self.declared.at_hand(resource_url))
    }

    /// The terms as JSON text, with every offer signed, if the seller signs offers.
    pub async fn signed_terms(&self, version: Version, resource_url: &str, error: &str) -> Option<String> {
        let fresh = self.declared.freshen(resource_url).await;
        self.render(version, resource_url, error, &fresh)
    }

    /// The terms with what is new in one answer.
    pub(crate) fn render(&self, version: Version, url: &str, error: &str, fresh: &Fresh) -> Option<String> {
        let template = match version {
            Version::V1 => self.old.as_ref()?,
            Version::V2 => &self.current,
        };
        let challenge = &fresh.sign_in;
        Some(template.render(&Fill {
            url,
            error,
            description: &self.description,
            mime_type: &self.mime_type,
            sign_in_uri: &challenge.uri,
            nonce: &challenge.nonce,
            issued_at: &challenge.issued_at,
            expiration_time: challenge.expiration_time.as_deref().unwrap_or_default(),
            offers: fresh.offers.as_deref().unwrap_or(UNSIGNED),
            quotes: &fresh.quotes,
        }))
    }

    /// What the terms declare besides the offers, as far as it is the same in every answer.
    pub(crate) const fn extensions(&self) -> &Extensions {
        self.declared.constant()
    }

    /// Checks what a payment echoes against what the terms for this URL declare.
    pub(crate) fn check_echo(&self, url: &str, echoed: &Extensions) -> Result<(), Refusal> {
        self.declared.check_echo(url, echoed)
    }

    /// What is to be done once the payment for a request has settled.
    pub(crate) fn after(&self, facts: &RequestFacts) -> Option<After> {
        self.declared.after(facts)
    }

    /// How the route is opened by signing in, if it is.
    pub(crate) fn sign_in(&self) -> Option<&SignInRule> {
        self.declared.sign_in()
    }

    pub(crate) const fn declared(&self) -> &Declared {
        &self.declared
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn description(&self) -> &str {
        &self.description
    }

    pub(crate) fn offer_list(&self) -> &[Offer] {
        &self.offers
    }

    /// The same offers under what a person should know of them.
    pub(crate) fn describe(&mut self, description: Option<String>, mime_type: Option<String>) {
        self.description = description.unwrap_or_else(|| std::mem::take(&mut self.description));
        self.mime_type = mime_type.unwrap_or_else(|| std::mem::take(&mut self.mime_type));
    }

    /// The same offers under the description of another route.
    pub(crate) fn describe_as(&mut self, other: &Self) {
        self.describe(Some(other.description.clone()), Some(other.mime_type.clone()));
    }

    /// Makes the other's offers under its own description.
    pub(crate) fn take_offers_of(&mut self, other: Self) {
        let Self { description, mime_type, .. } = std::mem::replace(self, other);
        self.describe(Some(description), Some(mime_type));
    }
}

fn terms<'a>(
    version: Version,
    offers: impl Iterator<Item = &'a Verbatim<PaymentRequirements>>,
    extensions: Extensions,
) -> Result<Template, serde_json::Error> {
    let resource = ResourceInfo {
        url: HOLES.url.to_owned(),
        description: HOLES.description.to_owned(),
        mime_type: HOLES.mime_type.to_owned(),
        ..ResourceInfo::default()
    };
    Template::of(&PaymentRequired {
        version,
        error: Some(HOLES.error.to_owned()),
        resource: Some(Verbatim::new(resource)?),
        accepts: offers.cloned().collect(),
        unreadable: Vec::new(),
        extensions,
    })
}

impl From<serde_json::Error> for RouteError {
    fn from(error: serde_json::Error) -> Self {
        Self::Unwritable(error.to_string())
    }
}
