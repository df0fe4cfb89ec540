//! The table of routes: built once, so that all that can be wrong with a price is wrong then.

use std::sync::Arc;

use farthing_core::books::MemoryQuotas;
use farthing_core::wire::{PaymentRequirements, Verbatim};
use farthing_server::{PaymentLayer, PaymentService, RouteError, Server, SignInOptions};
use http::{HeaderName, Method};
use tower_layer::Layer;

use crate::entry::{Desk, EntryError, Lists, PassSale, Rules, Terms};
use crate::file::{self, Access, Identifier, Sale, Unmatched};
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
    lists: Arc<Lists>,
    desk: Arc<Desk>,
}

struct Entry<S> {
    pattern: Pattern,
    way: Way<S>,
    /// The header of a request that decides the price, if one does.
    header: Option<HeaderName>,
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
            let rules = Rules::new(&terms, route).map(Arc::new).map_err(|error| told(error.into()))?;
            let server = &rules.over(server);
            let (way, access) = match &route.access {
                Access::Free => (Way::Free, Explanation::Free),
                Access::Denied => (Way::Denied, Explanation::Denied),
                Access::Priced(sale) => Till { server, upstream, settings, sale }.build().map_err(told)?,
            };
            let header = match &route.access {
                Access::Priced(sale) => sale.price.header().cloned(),
                Access::Free | Access::Denied => None,
            };
            let explained = Explained { matches: route.matches.to_string(), access, entry: rules.words() };
            entries.push(Entry { pattern: route.matches.clone(), way, header, rules, explained });
        }
        Ok(Self { entries, unmatched: settings.unmatched, lists, desk: Arc::clone(desk) })
    }

    /// Where a request goes, the header that decides its price, and the terms around that: the first route that is for it decides.
    pub(crate) fn find(&self, method: &Method, path: &Spelled) -> Option<(&Way<S>, Option<&HeaderName>, &Rules)> {
        let is_for = |entry: &&Entry<S>| match entry.way {
            Way::Free => entry.pattern.is_exactly(method, path),
            Way::Denied | Way::Paid(_) | Way::Metered(_) | Way::Pass(_) => entry.pattern.is_like(method, path),
        };
        self.entries.iter().find(is_for).map(|entry| (&entry.way, entry.header.as_ref(), entry.rules.as_ref()))
    }

    /// Whose addresses are let in.
    pub(crate) fn lists(&self) -> &Lists {
        &self.lists
    }

    /// What all routes know of who comes.
    pub(crate) const fn desk(&self) -> &Arc<Desk> {
        &self.desk
    }

    pub(crate) const fn unmatched(&self) -> Unmatched {
        self.unmatched
    }

    pub(crate) fn explain(&self) -> Vec<Explained> {
        self.entries.iter().map(|entry| entry.explained.clone()).collect()
    }
}

/// What a priced route is built of.
struct Till<'a, S> {
    server: &'a Server,
    upstream: &'a S,
    settings: &'a file::Gateway,
    sale: &'a Sale,
}

type Built<S> = (Way<S>, Explanation);

/// Where a pass is bought.
fn pass_entry<S>(server: &Server, terms: &Terms<'_>, pass: &Arc<file::Pass>) -> Result<Entry<S>, Fault> {
    let book = terms.desk.pass_book().ok_or(EntryError::NoBook("passes"))?;
    let route = pass.route();
    let Access::Priced(sale) = &route.access else { return Err(Fault::NoDecimals) };
    let Tariff::Fixed(price) = &sale.price else { return Err(Fault::NoDecimals) };
    let rules = Arc::new(Rules::new(terms, &route)?);
    let till = Till { server, upstream: &PassSale::new(pass, book), settings: terms.settings, sale };
    let (service, access) = till.sold(&rules.over(server), price)?;
    let explained = Explained { matches: route.matches.to_string(), access, entry: rules.words() };
    Ok(Entry { pattern: route.matches, way: Way::Pass(service), header: None, rules, explained })
}

impl<S: Answering> Till<'_, S> {
    fn build(&self) -> Result<Built<S>, Fault> {
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
        let (service, explanation) = self.sold(server, price)?;
        Ok((Way::Paid(service), explanation))
    }

    fn sold(&self, server: &Server, price: &Money) -> Result<(PaymentService<S>, Explanation), Fault> {
        let layer = self.dress(server.charge(price.price().clone())?)?;
        let explanation = self.explain(offers_of(&layer, true), false);
        Ok((layer.layer(self.upstream.clone()), explanation))
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
        Ok((Way::Metered(layer.layer(meter)), explanation))
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
        Ok((Way::Paid(layer.layer(self.upstream.clone())), explanation))
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
        match bound_body_bytes {
            Some(max_bytes) => layer.binding_body(*max_bytes),
            None => Ok(layer),
        }
    }

    fn explain(&self, offers: Vec<Offered>, is_ceiling: bool) -> Explanation {
        Explanation::Priced { price: self.sale.price.to_string(), offers, is_ceiling }
    }
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
