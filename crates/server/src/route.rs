//! A priced route: a price becomes one offer for every network and asset in which it can be paid. Built once, at
//! start-up, so that everything that can be wrong with it is wrong then.

use std::sync::Arc;

use farthing_core::amount::Amount;
use farthing_core::asset::{AccountId, Asset};
use farthing_core::erased::AnyServerScheme;
use farthing_core::network::Network;
use farthing_core::price::{Price, PriceError};
use farthing_core::reason::Refusal;
use farthing_core::scheme::PaymentFlow;
use farthing_core::wire::{
    Extensions, PaymentRequired, PaymentRequirements, ResourceInfo, SupportedKind, Verbatim, Version, v1,
};
use serde_json::{Map, Value};

use crate::template::{Fill, HOLES, Template, has_mark};

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
    /// More offers than buyers would read.
    #[error("the route makes {got} offers; at most {MAX_OFFERS} are allowed")]
    TooManyOffers {
        /// How many it would make.
        got: usize,
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
}

/// One way in which the server takes money: a network, an account there, and the scheme that moves it.
#[derive(Clone)]
pub(crate) struct Accept {
    pub(crate) network: Network,
    pub(crate) pay_to: AccountId,
    pub(crate) scheme: Arc<dyn AnyServerScheme>,
    pub(crate) kind: SupportedKind,
}

/// How a route is priced.
#[derive(Clone)]
pub(crate) struct Pricing {
    /// What is asked for; if metered, at most.
    pub(crate) price: Price,
    pub(crate) max_timeout_seconds: u64,
    pub(crate) flow: PaymentFlow,
    /// Whether the work decides how much of the price is charged.
    pub(crate) is_metered: bool,
}

/// One offer of a route.
#[derive(Clone)]
pub(crate) struct Offer {
    pub(crate) requirements: Verbatim<PaymentRequirements>,
    /// The requirements as JSON, to compare echoes with.
    pub(crate) fields: Map<String, Value>,
    pub(crate) scheme: Arc<dyn AnyServerScheme>,
    pub(crate) asset: Arc<Asset>,
    pub(crate) flow: PaymentFlow,
}

/// What one route asks for, ready to be answered with.
#[derive(Clone)]
pub struct Route {
    offers: Arc<[Offer]>,
    description: String,
    mime_type: String,
    /// What the terms declare besides the offers.
    extensions: Extensions,
    /// Version 2's terms.
    current: Template,
    /// Version 1's terms, if any offer can be taken by its buyers.
    old: Option<Template>,
}

impl Route {
    pub(crate) fn build(accepts: &[Accept], pricing: &Pricing) -> Result<Self, RouteError> {
        if pricing.max_timeout_seconds == 0 {
            return Err(RouteError::NoTime);
        }
        let is_metered = pricing.is_metered;
        let fitting: Vec<&Accept> = accepts.iter().filter(|accept| accept.scheme.is_metered() == is_metered).collect();
        if fitting.is_empty() {
            return Err(RouteError::NoScheme { is_metered, schemes: schemes_of(accepts) });
        }
        let mut offers = Vec::new();
        for accept in &fitting {
            offers.extend(accept.offers(pricing)?);
        }
        if offers.is_empty() {
            return Err(RouteError::NoAsset { price: pricing.price.clone(), assets: assets_of(&fitting) });
        }
        if offers.len() > MAX_OFFERS {
            return Err(RouteError::TooManyOffers { got: offers.len() });
        }
        if offers.iter().any(|offer| has_mark(offer.requirements.raw())) {
            return Err(RouteError::Unwritable("an offer holds private-use characters (U+E000 to U+E003)".to_owned()));
        }
        let unwritable = |error: serde_json::Error| RouteError::Unwritable(error.to_string());
        let extensions = Extensions::default();
        let current = terms(Version::V2, offers.iter().map(|offer| &offer.requirements), &extensions).map_err(unwritable)?;
        let takers = for_version_one(&offers).into_iter();
        let old = match takers.len() {
            0 => None,
            _ => Some(terms(Version::V1, takers, &extensions).map_err(unwritable)?),
        };
        let (description, mime_type) = (String::new(), String::new());
        Ok(Self { offers: offers.into(), description, mime_type, extensions, current, old })
    }

    /// The ways to pay, in the order in which they are offered.
    pub fn offers(&self) -> impl Iterator<Item = &Verbatim<PaymentRequirements>> {
        self.offers.iter().map(|offer| &offer.requirements)
    }

    /// The terms as JSON text for a buyer of that version; `None` if such a buyer cannot take any offer.
    pub fn terms(&self, version: Version, resource_url: &str, error: &str) -> Option<String> {
        let template = match version {
            Version::V1 => self.old.as_ref()?,
            Version::V2 => &self.current,
        };
        let fill = Fill { url: resource_url, error, description: &self.description, mime_type: &self.mime_type };
        Some(template.render(&fill))
    }

    /// What the terms declare besides the offers.
    pub(crate) const fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    pub(crate) fn offer_list(&self) -> &[Offer] {
        &self.offers
    }

    /// The same offers under what a person should know of them.
    pub(crate) fn describe(&mut self, description: Option<String>, mime_type: Option<String>) {
        self.description = description.unwrap_or_else(|| std::mem::take(&mut self.description));
        self.mime_type = mime_type.unwrap_or_else(|| std::mem::take(&mut self.mime_type));
    }

    /// Makes the other's offers under its own description.
    pub(crate) fn take_offers_of(&mut self, other: Self) {
        let Self { description, mime_type, .. } = std::mem::replace(self, other);
        self.describe(Some(description), Some(mime_type));
    }
}

impl Pricing {
    /// A fixed price, charged after the work.
    pub(crate) const fn of(price: Price) -> Self {
        let max_timeout_seconds = DEFAULT_MAX_TIMEOUT_SECONDS;
        Self { price, max_timeout_seconds, flow: PaymentFlow::Authorization, is_metered: false }
    }
}

impl Accept {
    /// The offers for a price here: a dollar price is asked in the network's default dollar asset only, so that nobody
    /// is paid in a coin that they did not choose.
    fn offers(&self, pricing: &Pricing) -> Result<Vec<Offer>, RouteError> {
        let (mut offers, price) = (Vec::new(), &pricing.price);
        for asset in self.scheme.assets(&self.network) {
            let amount = match price.in_asset(&asset) {
                Ok(amount) if amount.is_zero() => return Err(RouteError::Free(price.clone())),
                Ok(amount) => amount,
                Err(PriceError::OtherAsset { .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            offers.push(self.offer(amount, asset, pricing)?);
            if matches!(price, Price::Usd(_)) {
                break;
            }
        }
        Ok(offers)
    }

    fn offer(&self, amount: Amount, asset: Asset, pricing: &Pricing) -> Result<Offer, RouteError> {
        let mut extra = Map::new();
        if pricing.flow == PaymentFlow::Upfront {
            extra.insert("paymentFlow".to_owned(), "upfront".into());
        }
        let requirements = PaymentRequirements {
            scheme: self.scheme.name().to_owned(),
            network: self.network.clone(),
            amount,
            asset: asset.id.clone(),
            pay_to: self.pay_to.clone(),
            max_timeout_seconds: pricing.max_timeout_seconds,
            extra,
        };
        let (scheme, network) = (self.scheme.name(), self.network.clone());
        let refused = |refusal| RouteError::Offer { scheme, network: network.clone(), refusal };
        let requirements = self.scheme.complete(requirements, &self.kind).map_err(refused)?;
        let flow = self.scheme.flow(&requirements).map_err(refused)?;
        if flow != pricing.flow || flow == PaymentFlow::Escrow {
            return Err(RouteError::Flow { scheme, network, flow });
        }
        let unwritable = |error: serde_json::Error| RouteError::Unwritable(error.to_string());
        let requirements = Verbatim::new(requirements).map_err(unwritable)?;
        let fields = serde_json::from_str(requirements.raw()).map_err(unwritable)?;
        Ok(Offer { requirements, fields, scheme: Arc::clone(&self.scheme), asset: Arc::new(asset), flow })
    }
}

/// The offers that a version 1 buyer can take. Its payment names scheme and network and nothing else, so there is one
/// offer for each pair, the first.
fn for_version_one(offers: &[Offer]) -> Vec<&Verbatim<PaymentRequirements>> {
    let mut takers: Vec<&Verbatim<PaymentRequirements>> = Vec::new();
    for offer in offers.iter().map(|offer| &offer.requirements).filter(|offer| v1::knows(&offer.network)) {
        if !takers.iter().any(|other| other.scheme == offer.scheme && other.network == offer.network) {
            takers.push(offer);
        }
    }
    takers
}

fn terms<'a>(
    version: Version,
    offers: impl Iterator<Item = &'a Verbatim<PaymentRequirements>>,
    extensions: &Extensions,
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
        extensions: extensions.clone(),
    })
}

fn schemes_of(accepts: &[Accept]) -> String {
    let names: Vec<String> = accepts.iter().map(|accept| format!("{} on {}", accept.scheme.name(), accept.network)).collect();
    names.join(", ")
}

fn assets_of(accepts: &[&Accept]) -> String {
    let assets = accepts.iter().flat_map(|accept| accept.scheme.assets(&accept.network));
    let names: Vec<String> = assets.map(|asset| format!("{} on {}", asset.symbol, asset.network)).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
