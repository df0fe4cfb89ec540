//! Several prices for one thing, of which buyers choose one.

use farthing_core::network::Network;
use farthing_core::price::Price;

use crate::offer::{Accept, Manner, Offer, fitting, offers_of};
use crate::route::{MAX_OFFERS, RouteError};

/// One of several prices of a route: of everything that is offered, a buyer takes one.
///
/// ```
/// use axum::{Router, routing::get};
/// use farthing_server::{Ask, RouteError, Server};
///
/// fn app(toll: &Server) -> Result<Router, RouteError> {
///     let prices = [Ask::exactly("$0.01".parse()?), Ask::exactly("0.009 EURC".parse()?)];
///     Ok(Router::new().route("/report", get(|| async { "rain" }).layer(toll.charge_any(prices)?)))
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub struct Ask {
    pub(crate) price: Price,
    is_ceiling: bool,
    networks: Vec<Network>,
}

impl Ask {
    /// This price, whole.
    pub const fn exactly(price: Price) -> Self {
        Self { price, is_ceiling: false, networks: Vec::new() }
    }

    /// At most this price, and as much of it as the handler says through [`Paid::usage`](crate::Paid::usage).
    pub const fn up_to(ceiling: Price) -> Self {
        Self { price: ceiling, is_ceiling: true, networks: Vec::new() }
    }

    /// On these networks alone; on all that are accepted, if there are none.
    pub fn only_on(self, networks: impl IntoIterator<Item = Network>) -> Self {
        Self { networks: networks.into_iter().collect(), ..self }
    }

    fn is_for(&self, network: &Network) -> bool {
        self.networks.is_empty() || self.networks.contains(network)
    }
}

/// Whether all of these prices are ceilings, or none is; `None` where they differ.
pub(crate) fn in_common(asks: &[Ask]) -> Option<bool> {
    let first = asks.first()?.is_ceiling;
    asks.iter().all(|ask| ask.is_ceiling == first).then_some(first)
}

/// The offers that these prices make, in their order. Where the manner says how it is charged, that counts for all of them.
pub(crate) fn offers_for(accepts: &[Accept], asks: &[Ask], manner: Manner) -> Result<Vec<Offer>, RouteError> {
    let mut offers: Vec<Offer> = Vec::new();
    for ask in asks {
        let manner = Manner { is_metered: manner.is_metered.or(Some(ask.is_ceiling)), ..manner };
        let mut places = fitting(accepts, manner)?;
        if let Some(network) = ask.networks.iter().find(|network| places.iter().all(|place| place.network != **network)) {
            let networks = places.iter().map(|place| place.network.clone()).collect();
            return Err(RouteError::NotPaid { network: network.clone(), networks });
        }
        places.retain(|place| ask.is_for(&place.network));
        for offer in offers_of(&places, &ask.price, manner)? {
            let ours = &offer.requirements;
            let is_same = |other: &Offer| {
                let theirs = &other.requirements;
                (&theirs.scheme, &theirs.network, &theirs.asset) == (&ours.scheme, &ours.network, &ours.asset)
            };
            if offers.iter().any(is_same) {
                let (scheme, network) = (ours.scheme.clone(), ours.network.clone());
                return Err(RouteError::OfferedTwice { scheme, network, asset: ours.asset.clone() });
            }
            offers.push(offer);
        }
    }
    match offers.len() {
        got if got > MAX_OFFERS => Err(RouteError::TooManyOffers { got }),
        0 => Err(RouteError::NoPrice),
        _ => Ok(offers),
    }
}
