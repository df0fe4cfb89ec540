//! The ways in which a seller can be paid, and the offers that a price becomes there.

use std::sync::Arc;

use farthing_core::amount::Amount;
use farthing_core::asset::{AccountId, Asset};
use farthing_core::erased::AnyServerScheme;
use farthing_core::network::Network;
use farthing_core::price::{Price, PriceError};
use farthing_core::scheme::PaymentFlow;
use farthing_core::wire::{PaymentRequirements, SupportedKind, Verbatim, v1};
use serde_json::{Map, Value};

use crate::ask::Ask;
use crate::route::{DEFAULT_MAX_TIMEOUT_SECONDS, MAX_OFFERS, RouteError};
use crate::template::has_mark;

/// One way in which the server takes money: a network, an account there, and the scheme that moves it.
#[derive(Clone)]
pub(crate) struct Accept {
    pub(crate) network: Network,
    pub(crate) pay_to: AccountId,
    pub(crate) scheme: Arc<dyn AnyServerScheme>,
    pub(crate) kind: SupportedKind,
}

/// How a route charges, whatever its price.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Manner {
    pub(crate) max_timeout_seconds: u64,
    pub(crate) flow: PaymentFlow,
    /// Whether the work decides how much of the price is charged; `None` where each of its prices says so for itself.
    pub(crate) is_metered: Option<bool>,
}

/// How a route is priced.
#[derive(Clone)]
pub(crate) struct Pricing {
    /// What is asked for, of which a buyer takes one; if metered, at most.
    pub(crate) asks: Vec<Ask>,
    pub(crate) manner: Manner,
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

impl Manner {
    /// A fixed price, charged after the work.
    pub(crate) const FIXED: Self =
        Self { max_timeout_seconds: DEFAULT_MAX_TIMEOUT_SECONDS, flow: PaymentFlow::Authorization, is_metered: Some(false) };
    /// A price that is a ceiling.
    pub(crate) const METERED: Self = Self { is_metered: Some(true), ..Self::FIXED };
    /// Several prices, each with its own word on that.
    pub(crate) const AS_ASKED: Self = Self { is_metered: None, ..Self::FIXED };
}

/// The offer that a payment echoes, made anew of what it says that it costs and to whom: nothing else of the echo is used.
/// `None` where nothing like it could be offered here. Whether it ever was is for the caller to find out.
pub(crate) fn echoed(accepts: &[Accept], manner: Manner, echo: &PaymentRequirements) -> Option<Offer> {
    let accepts = fitting(accepts, manner).ok()?;
    let place = accepts.into_iter().find(|accept| accept.scheme.name() == echo.scheme && accept.network == echo.network)?;
    let asset = place.scheme.assets(&place.network).into_iter().find(|asset| asset.id == echo.asset)?;
    let place = Accept { pay_to: echo.pay_to.clone(), ..place.clone() };
    place.offer(echo.amount, asset, manner).ok()
}

impl Accept {
    /// The offers for a price here: a dollar price is asked in the network's default dollar asset only, so that nobody
    /// is paid in a coin that they did not choose.
    fn offers(&self, price: &Price, manner: Manner) -> Result<Vec<Offer>, RouteError> {
        let mut offers = Vec::new();
        for asset in self.scheme.assets(&self.network) {
            let amount = match price.in_asset(&asset) {
                Ok(amount) if amount.is_zero() => return Err(RouteError::Free(price.clone())),
                Ok(amount) => amount,
                Err(PriceError::OtherAsset { .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            offers.push(self.offer(amount, asset, manner)?);
            if matches!(price, Price::Usd(_)) {
                break;
            }
        }
        Ok(offers)
    }

    /// The offer of so much of one of the assets.
    pub(crate) fn offer(&self, amount: Amount, asset: Asset, manner: Manner) -> Result<Offer, RouteError> {
        let mut extra = Map::new();
        if manner.flow == PaymentFlow::Upfront {
            extra.insert("paymentFlow".to_owned(), "upfront".into());
        }
        let requirements = PaymentRequirements {
            scheme: self.scheme.name().to_owned(),
            network: self.network.clone(),
            amount,
            asset: asset.id.clone(),
            pay_to: self.pay_to.clone(),
            max_timeout_seconds: manner.max_timeout_seconds,
            extra,
        };
        let (scheme, network) = (self.scheme.name(), self.network.clone());
        let refused = |refusal| RouteError::Offer { scheme, network: network.clone(), refusal };
        let requirements = self.scheme.complete(requirements, &self.kind).map_err(refused)?;
        let flow = self.scheme.flow(&requirements).map_err(refused)?;
        if flow != manner.flow || flow == PaymentFlow::Escrow {
            return Err(RouteError::Flow { scheme, network, flow });
        }
        Offer::of(requirements, Arc::clone(&self.scheme), Arc::new(asset), flow)
    }
}

impl Offer {
    fn of(
        requirements: PaymentRequirements,
        scheme: Arc<dyn AnyServerScheme>,
        asset: Arc<Asset>,
        flow: PaymentFlow,
    ) -> Result<Self, RouteError> {
        let requirements = Verbatim::new(requirements)?;
        let fields = serde_json::from_str(requirements.raw())?;
        Ok(Self { requirements, fields, scheme, asset, flow })
    }

    /// The same offer with something more in `extra`.
    pub(crate) fn with_extra(self, key: &str, value: Value) -> Result<Self, RouteError> {
        let mut requirements = self.requirements.into_value();
        requirements.extra.insert(key.to_owned(), value);
        Self::of(requirements, self.scheme, self.asset, self.flow)
    }
}

/// The ways that can charge in this manner.
pub(crate) fn fitting(accepts: &[Accept], manner: Manner) -> Result<Vec<&Accept>, RouteError> {
    if manner.max_timeout_seconds == 0 {
        return Err(RouteError::NoTime);
    }
    let Some(is_metered) = manner.is_metered else { return Ok(accepts.iter().collect()) };
    let fitting: Vec<&Accept> = accepts.iter().filter(|accept| accept.scheme.is_metered() == is_metered).collect();
    if fitting.is_empty() {
        return Err(RouteError::NoScheme { is_metered, schemes: schemes_of(accepts) });
    }
    Ok(fitting)
}

/// The offers for a price in all of these ways.
pub(crate) fn offers_of(fitting: &[&Accept], price: &Price, manner: Manner) -> Result<Vec<Offer>, RouteError> {
    let mut offers = Vec::new();
    for accept in fitting {
        offers.extend(accept.offers(price, manner)?);
    }
    if offers.is_empty() {
        return Err(RouteError::NoAsset { price: price.clone(), assets: assets_of(fitting) });
    }
    if offers.len() > MAX_OFFERS {
        return Err(RouteError::TooManyOffers { got: offers.len() });
    }
    if offers.iter().any(|offer| has_mark(offer.requirements.raw())) {
        return Err(RouteError::Unwritable("an offer holds private-use characters (U+E000 to U+E02F)".to_owned()));
    }
    Ok(offers)
}

/// The offers that a version 1 buyer can take. Its payment names scheme and network and nothing else, so there is one
/// offer for each pair, the first.
pub(crate) fn for_version_one(offers: &[Offer]) -> Vec<&Verbatim<PaymentRequirements>> {
    let mut takers: Vec<&Verbatim<PaymentRequirements>> = Vec::new();
    for offer in offers.iter().map(|offer| &offer.requirements).filter(|offer| v1::knows(&offer.network)) {
        if !takers.iter().any(|other| other.scheme == offer.scheme && other.network == offer.network) {
            takers.push(offer);
        }
    }
    takers
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
