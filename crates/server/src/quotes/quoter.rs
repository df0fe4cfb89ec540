//! The prices of one route: asked, made into offers with quotes, and honoured.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use farthing_core::Source;
use farthing_core::amount::Amount;
use farthing_core::reason::{Reason, Refusal};
use farthing_core::wire::PaymentRequirements;
use futures_util::FutureExt;
use http::HeaderName;
use serde_json::Value;

use super::{Binding, EXTRA, NoQuote, PRICER_TIMEOUT_SECONDS, PriceRequest, Pricer, Quote, Quotes, foreign};
use crate::ask::offers_for;
use crate::extensions::Wishes;
use crate::offer::{Accept, Manner, echoed, fitting};
use crate::route::{MAX_OFFERS, Route, RouteError};
use crate::server::Server;

/// The most prices whose terms are kept ready.
const MAX_KEPT_PRICES: usize = 64;

/// Asks for the prices of one route.
pub(crate) struct Quoter {
    pricer: Arc<dyn Pricer>,
    quotes: Arc<Quotes>,
    manner: Manner,
    /// Terms that are the same for every request of one price, but for their quotes.
    kept: Mutex<HashMap<Quote, Arc<Route>>>,
}

/// A route of the one offer that a payment takes.
pub(crate) struct Honoured {
    pub(crate) route: Route,
    /// Why it buys nothing new, if it does not.
    pub(crate) stale: Option<Refusal>,
}

/// What a route that asks for its prices has besides.
pub(crate) struct Premises<'a> {
    pub(crate) server: &'a Server,
    pub(crate) wishes: &'a Wishes,
    /// A route with the description to be used where a quote has none.
    pub(crate) sample: &'a Route,
}

impl Quoter {
    pub(crate) fn new(pricer: Arc<dyn Pricer>, quotes: Arc<Quotes>, manner: Manner) -> Self {
        Self { pricer, quotes, manner, kept: Mutex::default() }
    }

    /// The same prices, charged in another manner or under another description.
    pub(crate) fn anew(&self, manner: Manner) -> Self {
        Self::new(Arc::clone(&self.pricer), Arc::clone(&self.quotes), manner)
    }

    pub(crate) const fn manner(&self) -> Manner {
        self.manner
    }

    /// How much of a body is read before a price is asked; `None` if none of it is.
    pub(crate) fn max_body_bytes(&self) -> Option<usize> {
        self.pricer.max_body_bytes()
    }

    /// The headers on which prices depend.
    pub(crate) fn headers(&self) -> &[HeaderName] {
        self.pricer.headers()
    }

    /// A route with the smallest amount of every asset, by which all that can be wrong whatever the price is found at start-up.
    pub(crate) fn sample(&self, server: &Server, wishes: &Wishes) -> Result<Route, RouteError> {
        let mut offers = Vec::new();
        for accept in fitting(server.accepts(), self.manner)? {
            for asset in accept.scheme.assets(&accept.network) {
                offers.push(accept.offer(Amount::from(1), asset, self.manner)?);
            }
        }
        offers.truncate(MAX_OFFERS);
        Route::quoted(offers, server.seller(), wishes)
    }

    /// Asks what a request costs.
    pub(crate) async fn ask(&self, premises: &Premises<'_>, request: PriceRequest) -> Result<Arc<Route>, NoQuote> {
        // It may panic before there is a future.
        let asking = AssertUnwindSafe(async { self.pricer.price(request).await }).catch_unwind();
        let failed = |why: &str| NoQuote::Failed(Source::from(why));
        let patience = Duration::from_secs(PRICER_TIMEOUT_SECONDS);
        let asked = tokio::time::timeout(patience, asking).await.map_err(|_| failed("it took too long"))?;
        let quote = asked.map_err(|_| failed("it panicked"))??;
        if let Some(route) = self.kept().get(&quote) {
            return Ok(Arc::clone(route));
        }
        let route = Arc::new(self.route(premises, &quote)?);
        let mut kept = self.kept();
        if kept.len() >= MAX_KEPT_PRICES {
            kept.clear();
        }
        kept.insert(quote, Arc::clone(&route));
        Ok(route)
    }

    /// The quotes of a route's offers for one request, from now on.
    pub(crate) fn quotes_of(&self, route: &Route, binding: &Binding) -> Vec<String> {
        let until = self.quotes.until();
        route.offers().map(|offer| self.quotes.make(binding, offer, until)).collect()
    }

    /// The route of the offer that a payment echoes, and whether the quote in it is ours for this request. Nothing of the echo is
    /// believed before: the offer is made anew of what it says that it costs, and that is what the quote must be for.
    ///
    /// One that is not ours buys nothing. But it may have been ours before the key was changed, or another server's, and the
    /// payment may have been charged by then: only the book can tell, which knows this request with this very payment or not.
    pub(crate) fn honour(
        &self,
        premises: &Premises<'_>,
        echo: &PaymentRequirements,
        binding: &Binding,
    ) -> Result<Honoured, Refusal> {
        let quote = echo.extra.get(EXTRA).and_then(Value::as_str).ok_or_else(|| foreign(binding))?;
        let offer = echoed(premises.server.accepts(), self.manner, echo).ok_or_else(|| foreign(binding))?;
        let stale = self.quotes.check(quote, binding, &offer.requirements).unwrap_or_else(Some);
        let route = offer.with_extra(EXTRA, quote.into());
        let route = route.and_then(|offer| Route::of(vec![offer], premises.server.seller(), premises.wishes));
        let route = route.map_err(|error| Refusal::new(Reason::NoMatchingRequirements, error.to_string()))?;
        Ok(Honoured { route, stale })
    }

    fn route(&self, premises: &Premises<'_>, quote: &Quote) -> Result<Route, NoQuote> {
        let mut accepts = Vec::new();
        for accept in fitting(premises.server.accepts(), self.manner)? {
            let own = quote.pay_to.iter().find(|(network, _)| *network == accept.network);
            accepts.push(own.map_or_else(|| accept.clone(), |(_, pay_to)| Accept { pay_to: pay_to.clone(), ..accept.clone() }));
        }
        if let Some((network, _)) = quote.pay_to.iter().find(|(network, _)| accepts.iter().all(|a| a.network != *network)) {
            return Err(NoQuote::Failed(format!("pay_to: nobody can be paid on {network} here").into()));
        }
        let offers = offers_for(&accepts, &quote.asks, self.manner)?;
        let mut route = Route::quoted(offers, premises.server.seller(), premises.wishes)?;
        route.describe_as(premises.sample);
        route.describe(quote.description.clone(), None);
        Ok(route)
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<Quote, Arc<Route>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
