//! The table of routes: built once, so that all that can be wrong with a price is wrong then.

use std::sync::Arc;

use farthing_core::books::MemoryQuotas;
use farthing_core::extension::bazaar::{self, BazaarError};
use farthing_core::network::Network;
use farthing_core::wire::{PaymentRequirements, Verbatim};
use farthing_server::{Ask, PaymentLayer, PaymentService, Pricer, RouteError, Server, SignInOptions};
use http::{HeaderName, Method};
use serde_json::Value;
use tower_layer::Layer;

use crate::entry::{Desk, EntryError, Lists, PassSale, Rules, Terms};
use crate::file::{self, Access, Catalogued, Identifier, Sale, Settle, Unmatched};
use crate::mcp::{Dish, Tools};
use crate::pattern::{Pattern, Spelled};
use crate::paywall::Coins;
use crate::service::Answering;
use crate::tariff::{Choosing, Counted, Meter, Metering, Money, Payable, Rate, Tariff, Timing, Together, Voice};

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
    /// An answer that streams may end before its count.
    #[error(
        "uncounted: expected what an answer costs that ends before its count, because its client may leave; set price.uncounted"
    )]
    Uncounted,
    /// The body of every request is read for its price already.
    #[error("bound_body_bytes: a payment is bound to the body already, because its price is counted in that; leave it out")]
    BoundTwice,
    /// Which one a route means could not be told.
    #[error("two passes are called {0}; expected a name for each")]
    TwoPasses(String),
    /// Its terms around the payment cannot be kept.
    #[error(transparent)]
    Entry(#[from] EntryError),
}

/// What a route is, for whoever wants to know what the file means.
#[derive(Clone, Debug, PartialEq)]
pub struct Explained {
    /// The pattern, as in the file.
    pub matches: String,
    /// What becomes of its requests.
    pub access: Explanation,
    /// What holds around the payment, in words.
    pub entry: Vec<String>,
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
        /// Whether all the amounts are ceilings.
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
    /// Whether the amount is a ceiling.
    pub is_ceiling: bool,
}

/// The routes in the order of the file.
pub(crate) struct Routes<S> {
    entries: Vec<Entry<S>>,
    unmatched: Unmatched,
    lists: Arc<Lists>,
    desk: Arc<Desk>,
    coins: Coins,
}

struct Entry<S> {
    route: file::Route,
    pattern: Pattern,
    way: Way<S>,
    /// The headers of a request that decide the price, if any do.
    deciding: Vec<HeaderName>,
    rules: Arc<Rules>,
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
    /// To a pass that is bought.
    Pass(PaymentService<PassSale>),
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
        (desk, local): (&Arc<Desk>, &MemoryQuotas),
    ) -> Result<Self, RoutesError> {
        let lists = Arc::new(Lists::new(&settings.allow, &settings.block));
        let passes: Vec<Arc<file::Pass>> = settings.pass.iter().cloned().map(Arc::new).collect();
        let terms = Terms { settings, desk, lists: &lists, local, passes: &passes };
        let mut entries: Vec<Entry<S>> = Vec::with_capacity(routes.len().saturating_add(passes.len()));
        for (number, pass) in passes.iter().enumerate() {
            let matches = || format!("pass {}", pass.name);
            // It is none of the routes.
            let told = |fault| RoutesError { index: usize::MAX, matches: matches(), fault: Box::new(fault) };
            if passes.iter().take(number).any(|earlier| earlier.name == pass.name) {
                return Err(told(Fault::TwoPasses(pass.name.clone())));
            }
            entries.push(pass_entry(server, &terms, pass).map_err(told)?);
        }
        for (index, route) in routes.iter().enumerate() {
            let told = |fault| RoutesError { index, matches: route.matches.to_string(), fault: Box::new(fault) };
            if let Some(earlier) = entries.iter().find(|earlier| earlier.pattern.covers(&route.matches)) {
                return Err(told(Fault::Hidden(earlier.pattern.clone())));
            }
            let name = route.matches.to_string();
            let rules = Rules::new(&terms, route).map(Arc::new).map_err(|error| told(error.into()))?;
            let server = &rules.over(server);
            let (way, access) = match &route.access {
                Access::Free => (Way::Free, Explanation::Free),
                Access::Denied => (Way::Denied, Explanation::Denied),
                Access::Priced(sale) => {
                    let bazaar = catalogued(&route.matches, sale).map_err(|error| told(error.into()))?;
                    let till = Till { server, upstream, settings, sale, name, bazaar };
                    let (counter, access) = till.build().map_err(told)?;
                    (counter.into(), access)
                }
                Access::Tools(menu) => {
                    let (tools, dishes) = Tools::build(menu, server, upstream, settings).map_err(told)?;
                    (Way::Tools(tools), Explanation::Tools(dishes))
                }
            };
            let deciding = match &route.access {
                Access::Priced(sale) => sale.price.headers(),
                Access::Free | Access::Denied | Access::Tools(_) => Vec::new(),
            };
            let explained = Explained { matches: route.matches.to_string(), access, entry: rules.words() };
            entries.push(Entry { route: route.clone(), pattern: route.matches.clone(), way, deciding, rules, explained });
        }
        Ok(Self { entries, unmatched: settings.unmatched, lists, desk: Arc::clone(desk), coins: Coins::of(server, routes) })
    }
}

impl<S> Routes<S> {
    /// Where a request goes, the headers that decide its price, and the terms around that: the first route that is for it decides.
    pub(crate) fn find(&self, method: &Method, path: &Spelled) -> Option<(&Way<S>, &[HeaderName], &Rules)> {
        self.entries
            .iter()
            .find(|entry| entry.is_for(method, path))
            .map(|entry| (&entry.way, entry.deciding.as_slice(), entry.rules.as_ref()))
    }

    /// Whose addresses are let in.
    pub(crate) fn lists(&self) -> &Lists {
        &self.lists
    }

    /// What all routes know of who comes.
    pub(crate) const fn desk(&self) -> &Arc<Desk> {
        &self.desk
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

    /// What the assets stand for in which routes are priced.
    pub(crate) const fn coins(&self) -> &Coins {
        &self.coins
    }

    pub(crate) fn explain(&self) -> Vec<Explained> {
        self.entries.iter().map(|entry| entry.explained.clone()).collect()
    }
}

impl<S> Entry<S> {
    fn is_for(&self, method: &Method, path: &Spelled) -> bool {
        match self.way {
            Way::Free => self.pattern.is_exactly(method, path),
            Way::Denied | Way::Paid(_) | Way::Metered(_) | Way::Pass(_) | Way::Tools(_) => self.pattern.is_like(method, path),
        }
    }
}

/// What a priced route is built of.
pub(crate) struct Till<'a, S> {
    pub(crate) server: &'a Server,
    pub(crate) upstream: &'a S,
    pub(crate) settings: &'a file::Gateway,
    pub(crate) sale: &'a Sale,
    /// What the book of sales calls the route: its pattern.
    pub(crate) name: String,
    /// What catalogues are told.
    pub(crate) bazaar: Option<Value>,
}

type Built<S> = (Counter<S>, Explanation);

/// Where a pass is bought.
fn pass_entry<S>(server: &Server, terms: &Terms<'_>, pass: &Arc<file::Pass>) -> Result<Entry<S>, Fault> {
    let book = terms.desk.pass_book().ok_or(EntryError::NoBook("passes"))?;
    let route = pass.route();
    let Access::Priced(sale) = &route.access else { return Err(Fault::NoDecimals) };
    let Tariff::Fixed(price) = &sale.price else { return Err(Fault::NoDecimals) };
    let name = route.matches.to_string();
    let rules = Arc::new(Rules::new(terms, &route)?);
    let till = Till { server, upstream: &PassSale::new(pass, book), settings: terms.settings, sale, name, bazaar: None };
    let (service, access) = till.sold(&rules.over(server), price)?;
    let explained = Explained { matches: route.matches.to_string(), access, entry: rules.words() };
    let pattern = route.matches.clone();
    Ok(Entry { route, pattern, way: Way::Pass(service), deciding: Vec::new(), rules, explained })
}

/// One price of a route, made ready.
struct Priced {
    voice: Voice,
    offers: Vec<Offered>,
    /// Where it is counted in the answer.
    metering: Option<Metering>,
}

impl<S: Answering> Till<'_, S> {
    pub(crate) fn build(&self) -> Result<Built<S>, Fault> {
        let server = on(self.server, &self.sale.accepts)?;
        let (mut voices, mut offers, mut meterings) = (Vec::new(), Vec::new(), Vec::new());
        for (price, accepts) in parts_of(&self.sale.price) {
            let priced = self.price(&on(&server, accepts)?, price, accepts)?;
            voices.push(priced.voice);
            offers.extend(priced.offers);
            meterings.extend(priced.metering);
        }
        let is_ceiling = offers.iter().all(|offer| offer.is_ceiling);
        let explanation = Explanation::Priced { price: self.sale.price.to_string(), offers, is_ceiling };
        let mut fixed = Vec::new();
        for voice in &voices {
            if let Voice::Fixed(ask) = voice {
                fixed.push(ask.clone());
            }
        }
        if fixed.len() == voices.len() {
            let layer = self.dress(server.charge_any(fixed)?)?;
            return Ok((self.counter(&layer, meterings), explanation));
        }
        let pricer = Together::new(voices);
        if pricer.max_body_bytes().is_some() && self.sale.bound_body_bytes.is_some() {
            return Err(Fault::BoundTwice);
        }
        let layer = if meterings.is_empty() { server.price_by(pricer)? } else { server.charge_any_by(pricer)? };
        Ok((self.counter(&self.dress(layer)?, meterings), explanation))
    }

    fn counter<P>(&self, layer: &PaymentLayer<P>, meterings: Vec<Metering>) -> Counter<S> {
        let upstream = self.upstream.clone();
        if meterings.is_empty() {
            Counter::Paid(layer.layer(upstream))
        } else {
            Counter::Metered(layer.layer(Meter::new(upstream, meterings)))
        }
    }

    /// A sale at one fixed price.
    fn sold(&self, server: &Server, price: &Money) -> Result<(PaymentService<S>, Explanation), Fault> {
        let layer = self.dress(server.charge(price.price().clone())?)?;
        let explanation = Explanation::Priced {
            price: self.sale.price.to_string(),
            offers: offers_of(&layer, true, false),
            is_ceiling: false,
        };
        Ok((layer.layer(self.upstream.clone()), explanation))
    }

    fn price(&self, server: &Server, price: &Tariff, accepts: &[Network]) -> Result<Priced, Fault> {
        let asked = |pricer: Box<dyn Pricer>, like: &PaymentLayer| Priced {
            voice: Voice::Asked(pricer, accepts.to_vec()),
            offers: offers_of(like, false, false),
            metering: None,
        };
        match price {
            Tariff::Fixed(price) => {
                let ask = Ask::exactly(price.price().clone()).only_on(accepts.iter().cloned());
                let offers = offers_of(&server.charge(price.price().clone())?, true, false);
                Ok(Priced { voice: Voice::Fixed(ask), offers, metering: None })
            }
            Tariff::Rate(rate) if rate.is_metered() => self.metered(server, rate, accepts),
            Tariff::Rate(rate) => {
                // Both ends must be whole amounts of every asset; `each` need not be, because what is counted is rounded.
                for end in rate.ends() {
                    server.route(end.price())?;
                }
                let one = server.price(&rate.each().one())?;
                let decimals = decimals_of(&one).ok_or(Fault::NoDecimals)?;
                let pricer = Counted::new((**rate).clone(), decimals, self.settings.max_priced_body_bytes);
                Ok(asked(Box::new(pricer), &one))
            }
            Tariff::Choice(choice) => {
                let some = any_of(server, choice.prices())?;
                Ok(asked(Box::new(Choosing::new(choice.clone(), self.settings.max_priced_body_bytes)), &some))
            }
            Tariff::Hours(hours) => {
                let some = any_of(server, hours.prices())?;
                Ok(asked(Box::new(Timing::new(hours.clone(), server.clock())), &some))
            }
            // A list in a list is refused where the file is read.
            Tariff::Several(_) => Err(Fault::Route(RouteError::NoPrice)),
        }
    }

    fn metered(&self, server: &Server, rate: &Rate, accepts: &[Network]) -> Result<Priced, Fault> {
        let ceiling = rate.at_most().unwrap_or(rate.each()).price().clone();
        let offers = offers_of(&server.charge_up_to(ceiling.clone())?, true, true);
        // Both ends must be whole amounts of every asset; `each` need not be, because what is counted is rounded.
        for end in rate.ends() {
            let _fits = server.charge_up_to(end.price().clone())?;
        }
        let one = server.price_up_to(&rate.each().one())?;
        let assets = payable(&one).ok_or(Fault::NoDecimals)?;
        let streams = self.sale.settle == Settle::Stream;
        if streams && rate.lacks_uncounted() {
            return Err(Fault::Uncounted);
        }
        let metering = Metering::new(rate.clone(), assets, self.settings.max_held_body_bytes, streams);
        let voice = Voice::Fixed(Ask::up_to(ceiling).only_on(accepts.iter().cloned()));
        Ok(Priced { voice, offers, metering: Some(metering) })
    }

    /// All that a sale says besides its price.
    fn dress<P>(&self, mut layer: PaymentLayer<P>) -> Result<PaymentLayer<P>, RouteError> {
        let Sale {
            description,
            mime_type,
            max_timeout_seconds,
            settle,
            debt_limit,
            payment_identifier,
            sign_in,
            bound_body_bytes,
            ..
        } = self.sale;
        layer = layer.sold_as(self.name.clone())?;
        if let Some(description) = description {
            layer = layer.description(description);
        }
        if let Some(mime_type) = mime_type {
            layer = layer.mime_type(mime_type);
        }
        if let Some(seconds) = max_timeout_seconds {
            layer = layer.max_timeout_seconds(*seconds)?;
        }
        layer = match settle {
            Settle::After => layer,
            Settle::Head => layer.settling_at_head()?,
            Settle::Upfront => layer.upfront()?,
            // The file asks for a limit where answers stream.
            Settle::Stream => debt_limit.iter().try_fold(layer, |layer, limit| layer.streaming(limit.price().clone()))?,
        };
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
}

/// The seller on these networks; on all, if there are none.
fn on(server: &Server, networks: &[Network]) -> Result<Server, RouteError> {
    if networks.is_empty() { Ok(server.clone()) } else { server.only_on(networks) }
}

/// The prices of a route, each with its own networks.
fn parts_of(price: &Tariff) -> Vec<(&Tariff, &[Network])> {
    match price {
        Tariff::Several(several) => several.parts().iter().map(|part| (&part.price, part.accepts.as_slice())).collect(),
        one => vec![(one, &[])],
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

/// A layer of one of these prices, each of which must be one that can be had.
fn any_of<'a>(server: &Server, prices: impl Iterator<Item = &'a Money>) -> Result<PaymentLayer, Fault> {
    let mut some = None;
    for price in prices {
        some = Some(server.charge(price.price().clone())?);
    }
    some.ok_or(Fault::NoDecimals)
}

fn offers_of(layer: &PaymentLayer, is_fixed: bool, is_ceiling: bool) -> Vec<Offered> {
    let offers = layer.route().offers();
    offers
        .map(|offer: &Verbatim<PaymentRequirements>| Offered { requirements: (**offer).clone(), is_fixed, is_ceiling })
        .collect()
}

/// The assets in which one of a coin is asked: what one of it is in atomic units is a power of ten.
pub(crate) fn payable(one: &PaymentLayer) -> Option<Vec<Payable>> {
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
