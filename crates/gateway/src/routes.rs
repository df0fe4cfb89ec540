//! The table of routes: built once, so that all that can be wrong with a price is wrong then.

use std::sync::Arc;

use farthing_core::extension::bazaar::{self, BazaarError};
use farthing_core::wire::{PaymentRequirements, Verbatim};
use farthing_server::{PaymentLayer, PaymentService, RouteError, Server, SignInOptions};
use http::{HeaderName, Method};
use serde_json::Value;
use tower_layer::Layer;

use crate::file::{self, Access, Catalogued, Identifier, Sale, Unmatched};
use crate::mcp::{Dish, Tools};
use crate::pattern::{Pattern, Spelled};
use crate::service::Answering;
use crate::tariff::{Choice, Choosing, Counted, Meter, Metering, Money, Payable, Rate, Tariff};

/// Why a route cannot be served as it stands in the file.
#[derive(Debug, thiserror::Error)]
#[error("{matches}: {fault}")]
pub struct RoutesError {
    /// Which one of the file, counted from 0.
    pub index: usize,
    matches: String,
    #[source]
    fault: Box<Fault>,
}

/// What is wrong with a route.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It cannot be sold so.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// An earlier route is for all of its requests.
    #[error("no request gets here, because {0}, which comes before it in the file, is for all of them; put this one first")]
    Hidden(Pattern),
    /// The networks have no asset for a price that is counted.
    #[error("the price cannot be counted in the assets of the networks on which it is sold")]
    NoDecimals,
    /// Catalogues cannot be told so.
    #[error(transparent)]
    Bazaar(#[from] BazaarError),
    /// It is wrong with one name of a menu.
    #[error("{0} {1:?}: {2}")]
    Named(&'static str, String, #[source] Box<Self>),
    /// The body of every request is read for its price already.
    #[error("bound_body_bytes: a payment is bound to the body already, because its price is counted in that; leave it out")]
    BoundTwice,
}

/// What a route is, for whoever wants to know what the file means.
#[derive(Clone, Debug, PartialEq)]
pub struct Explained {
    /// The pattern, as in the file.
    pub matches: String,
    /// What becomes of its requests.
    pub access: Explanation,
}

/// What becomes of a route's requests.
#[derive(Clone, Debug, PartialEq)]
pub enum Explanation {
    /// They go to the upstream, unpaid.
    Free,
    /// They are turned away.
    Denied,
    /// They are messages to an MCP server.
    Tools(Vec<Dish>),
    /// They are paid for.
    Priced {
        /// The price in words.
        price: String,
        /// What is offered. Where prices differ from request to request, without an amount.
        offers: Vec<Offered>,
        /// Whether the amounts are ceilings.
        is_ceiling: bool,
    },
}

/// One way to pay for a route.
#[derive(Clone, Debug, PartialEq)]
pub struct Offered {
    /// Scheme, network, asset, amount.
    pub requirements: PaymentRequirements,
    /// Whether the amount is that of every request.
    pub is_fixed: bool,
}

/// The routes in the order of the file.
pub(crate) struct Routes<S> {
    entries: Vec<Entry<S>>,
    unmatched: Unmatched,
}

struct Entry<S> {
    route: file::Route,
    pattern: Pattern,
    way: Way<S>,
    /// The header of a request that decides the price, if one does.
    header: Option<HeaderName>,
    explained: Explained,
}

/// Where a request goes.
pub(crate) enum Way<S> {
    /// To the upstream.
    Free,
    /// Nowhere.
    Denied,
    /// To the upstream, once it is paid for.
    Paid(PaymentService<S>),
    /// The same, with its answer counted.
    Metered(PaymentService<Meter<S>>),
    /// To an MCP server, message by message.
    Tools(Arc<Tools<S>>),
}

/// What stands in front of something that has a price.
pub(crate) enum Counter<S> {
    /// Its price is known beforehand.
    Paid(PaymentService<S>),
    /// Its answer is counted.
    Metered(PaymentService<Meter<S>>),
}

impl<S> From<Counter<S>> for Way<S> {
    fn from(counter: Counter<S>) -> Self {
        match counter {
            Counter::Paid(service) => Self::Paid(service),
            Counter::Metered(service) => Self::Metered(service),
        }
    }
}

impl<S: Answering> Routes<S> {
    pub(crate) fn build(
        server: &Server,
        upstream: &S,
        settings: &file::Gateway,
        routes: &[file::Route],
    ) -> Result<Self, RoutesError> {
        let mut entries: Vec<Entry<S>> = Vec::with_capacity(routes.len());
        for (index, route) in routes.iter().enumerate() {
            let told = |fault| RoutesError { index, matches: route.matches.to_string(), fault: Box::new(fault) };
            if let Some(earlier) = entries.iter().find(|earlier| earlier.pattern.covers(&route.matches)) {
                return Err(told(Fault::Hidden(earlier.pattern.clone())));
            }
            let (way, access) = match &route.access {
                Access::Free => (Way::Free, Explanation::Free),
                Access::Denied => (Way::Denied, Explanation::Denied),
                Access::Priced(sale) => {
                    let bazaar = catalogued(&route.matches, sale).map_err(|error| told(error.into()))?;
                    let till = Till { server, upstream, settings, sale, bazaar };
                    let (counter, access) = till.build().map_err(told)?;
                    (counter.into(), access)
                }
                Access::Tools(menu) => {
                    let (tools, dishes) = Tools::build(menu, server, upstream, settings).map_err(told)?;
                    (Way::Tools(tools), Explanation::Tools(dishes))
                }
            };
            let header = match &route.access {
                Access::Priced(sale) => sale.price.header().cloned(),
                Access::Free | Access::Denied | Access::Tools(_) => None,
            };
            let explained = Explained { matches: route.matches.to_string(), access };
            entries.push(Entry { route: route.clone(), pattern: route.matches.clone(), way, header, explained });
        }
        Ok(Self { entries, unmatched: settings.unmatched })
    }
}

impl<S> Routes<S> {
    /// Where a request goes, and the header that decides its price: the first route that is for it decides.
    pub(crate) fn find(&self, method: &Method, path: &Spelled) -> Option<(&Way<S>, Option<&HeaderName>)> {
        self.entries.iter().find(|entry| entry.is_for(method, path)).map(|entry| (&entry.way, entry.header.as_ref()))
    }

    /// The route that decides about such a request, and its place.
    pub(crate) fn deciding(&self, method: &Method, path: &Spelled) -> Option<(usize, &file::Route)> {
        let place = self.entries.iter().position(|entry| entry.is_for(method, path))?;
        self.entries.get(place).map(|entry| (place, &entry.route))
    }

    /// Whether a route names this very path.
    pub(crate) fn names(&self, path: &Spelled) -> bool {
        self.entries.iter().any(|entry| entry.pattern.names(path))
    }

    /// Every route, with what it means.
    pub(crate) fn described(&self) -> impl Iterator<Item = (&file::Route, &Explained)> {
        self.entries.iter().map(|entry| (&entry.route, &entry.explained))
    }

    pub(crate) const fn unmatched(&self) -> Unmatched {
        self.unmatched
    }

    pub(crate) fn explain(&self) -> Vec<Explained> {
        self.entries.iter().map(|entry| entry.explained.clone()).collect()
    }
}

impl<S> Entry<S> {
    fn is_for(&self, method: &Method, path: &Spelled) -> bool {
        match self.way {
            Way::Free => self.pattern.is_exactly(method, path),
            Way::Denied | Way::Paid(_) | Way::Metered(_) | Way::Tools(_) => self.pattern.is_like(method, path),
        }
    }
}

/// What a priced route is built of.
pub(crate) struct Till<'a, S> {
    pub(crate) server: &'a Server,
    pub(crate) upstream: &'a S,
    pub(crate) settings: &'a file::Gateway,
    pub(crate) sale: &'a Sale,
    /// What catalogues are told.
    pub(crate) bazaar: Option<Value>,
}

type Built<S> = (Counter<S>, Explanation);

impl<S: Answering> Till<'_, S> {
    pub(crate) fn build(&self) -> Result<Built<S>, Fault> {
        let on_all = self.sale.accepts.is_empty();
        let server = if on_all { self.server.clone() } else { self.server.only_on(&self.sale.accepts)? };
        match &self.sale.price {
            Tariff::Fixed(price) => self.fixed(&server, price),
            Tariff::Rate(rate) if rate.is_metered() => self.metered(&server, rate),
            Tariff::Rate(rate) => self.counted(&server, rate),
            Tariff::Choice(choice) => self.chosen(&server, choice),
        }
    }

    fn fixed(&self, server: &Server, price: &Money) -> Result<Built<S>, Fault> {
        let layer = self.dress(server.charge(price.price().clone())?)?;
        let explanation = self.explain(offers_of(&layer, true), false);
        Ok((Counter::Paid(layer.layer(self.upstream.clone())), explanation))
    }

    fn metered(&self, server: &Server, rate: &Rate) -> Result<Built<S>, Fault> {
        let ceiling = rate.at_most().unwrap_or(rate.each()).price().clone();
        let layer = self.dress(server.charge_up_to(ceiling)?)?;
        let explanation = self.explain(offers_of(&layer, true), true);
        // Both ends must be whole amounts of every asset; `each` need not be, because what is counted is rounded.
        for end in rate.ends() {
            let _fits = server.charge_up_to(end.price().clone())?;
        }
        let one = server.price_up_to(&rate.each().one())?;
        let assets = payable(&one).ok_or(Fault::NoDecimals)?;
        let metering = Metering::new(rate.clone(), assets, self.settings.max_held_body_bytes);
        let meter = Meter::new(self.upstream.clone(), Arc::new(metering));
        Ok((Counter::Metered(layer.layer(meter)), explanation))
    }

    fn counted(&self, server: &Server, rate: &Rate) -> Result<Built<S>, Fault> {
        // Both ends must be whole amounts of every asset; `each` need not be, because what is counted is rounded.
        for end in rate.ends() {
            server.route(end.price())?;
        }
        let one = server.price(&rate.each().one())?;
        let decimals = decimals_of(&one).ok_or(Fault::NoDecimals)?;
        let pricer = Counted::new(rate.clone(), decimals, self.settings.max_priced_body_bytes);
        self.asked(server, pricer, &one)
    }

    fn chosen(&self, server: &Server, choice: &Choice) -> Result<Built<S>, Fault> {
        let mut some = None;
        for price in choice.prices() {
            some = Some(server.charge(price.price().clone())?);
        }
        let some = some.ok_or(Fault::NoDecimals)?;
        self.asked(server, Choosing::new(choice.clone(), self.settings.max_priced_body_bytes), &some)
    }

    fn asked(
        &self,
        server: &Server,
        pricer: impl farthing_server::Pricer + 'static,
        like: &PaymentLayer,
    ) -> Result<Built<S>, Fault> {
        if pricer.max_body_bytes().is_some() && self.sale.bound_body_bytes.is_some() {
            return Err(Fault::BoundTwice);
        }
        let layer = self.dress(server.price_by(pricer)?)?;
        let explanation = self.explain(offers_of(like, false), false);
        Ok((Counter::Paid(layer.layer(self.upstream.clone())), explanation))
    }

    /// All that a sale says besides its price.
    fn dress<P>(&self, mut layer: PaymentLayer<P>) -> Result<PaymentLayer<P>, RouteError> {
        let Sale {
            description, mime_type, max_timeout_seconds, upfront, payment_identifier, sign_in, bound_body_bytes, ..
        } = self.sale;
        if let Some(description) = description {
            layer = layer.description(description);
        }
        if let Some(mime_type) = mime_type {
            layer = layer.mime_type(mime_type);
        }
        if let Some(seconds) = max_timeout_seconds {
            layer = layer.max_timeout_seconds(*seconds)?;
        }
        if *upfront {
            layer = layer.upfront()?;
        }
        if let Some(identifier) = payment_identifier {
            layer = layer.payment_identifier(*identifier == Identifier::Required)?;
        }
        if let Some(file::SignIn { statement, granted_seconds }) = sign_in {
            let options = SignInOptions::new();
            let options = granted_seconds.map_or(options.clone(), |seconds| options.granted_for(seconds));
            layer = layer.sign_in(statement.iter().fold(options, SignInOptions::statement))?;
        }
        if let Some(listing) = &self.bazaar {
            layer = layer.bazaar(listing.clone())?;
        }
        match bound_body_bytes {
            Some(max_bytes) => layer.binding_body(*max_bytes),
            None => Ok(layer),
        }
    }

    fn explain(&self, offers: Vec<Offered>, is_ceiling: bool) -> Explanation {
        Explanation::Priced { price: self.sale.price.to_string(), offers, is_ceiling }
    }
}

/// What catalogues are told of a route: its one method, and its path with its gaps.
fn catalogued(matches: &Pattern, sale: &Sale) -> Result<Option<Value>, BazaarError> {
    let Some(Catalogued::Http(listing)) = sale.bazaar.as_deref() else { return Ok(None) };
    let method = match matches.methods() {
        [method] => method.as_str().to_owned(),
        [] => "every method".to_owned(),
        several => several.iter().map(Method::as_str).collect::<Vec<_>>().join(" and "),
    };
    bazaar::http(listing, &method, matches.template().as_deref()).map(Some)
}

fn offers_of(layer: &PaymentLayer, is_fixed: bool) -> Vec<Offered> {
    let offers = layer.route().offers();
    offers.map(|offer: &Verbatim<PaymentRequirements>| Offered { requirements: (**offer).clone(), is_fixed }).collect()
}

/// The assets in which one of a coin is asked: what one of it is in atomic units is a power of ten.
fn payable(one: &PaymentLayer) -> Option<Vec<Payable>> {
    let decimals = |offer: &PaymentRequirements| u8::try_from(offer.amount.to_string().len().checked_sub(1)?).ok();
    let offers = one.route().offers();
    offers
        .map(|offer| Some(Payable { network: offer.network.clone(), asset: offer.asset.clone(), decimals: decimals(offer)? }))
        .collect()
}

/// How many decimals every one of these assets has.
fn decimals_of(one: &PaymentLayer) -> Option<u8> {
    payable(one)?.iter().map(|asset| asset.decimals).min()
}
