//! The layer that prices a route.

use std::marker::PhantomData;
use std::sync::Arc;

use farthing_core::price::Price;
use farthing_core::scheme::PaymentFlow;
use tower_layer::Layer;

use super::last::LastAnswer;
use super::service::PaymentService;
use super::toll::{Charge, Passing, Toll};
use crate::extensions::{ExtensionError, SignInOptions, Wishes};
use crate::offer::{Manner, Pricing};
use crate::quotes::Quoter;
use crate::route::{Route, RouteError};
use crate::server::Server;

/// A price that is the same for every request: the usual kind of [`PaymentLayer`].
#[derive(Clone, Copy, Debug)]
pub struct FixedPrice;

/// A price that is asked for each request ([`Server::price_by`]).
#[derive(Clone, Copy, Debug)]
pub struct AskedPrice;

/// Charges for whatever it is laid over: one axum route, a router, or any tower service. See [the rules](super).
///
/// In axum, lay it over a route with `MethodRouter::layer`, or over several with `Router::route_layer`. It then charges
/// for every method of the route, and for the router's own "method not allowed", which is never charged in the end.
#[derive(Clone)]
#[must_use = "a layer that is laid over nothing charges for nothing"]
pub struct PaymentLayer<P = FixedPrice> {
    /// Shared with all services, because axum lays a layer anew for every request to a router that was not finished.
    toll: Arc<Toll>,
    price: PhantomData<P>,
}

impl PaymentLayer {
    /// Without a price, signing in alone opens it.
    pub(crate) fn fixed(server: Server, pricing: Option<Pricing>, wishes: Wishes) -> Result<Self, RouteError> {
        Self::new(server, pricing.map_or(Charge::Nothing, Charge::Fixed), wishes)
    }

    /// What the route asks for.
    pub fn route(&self) -> &Route {
        &self.toll.route
    }
}

impl PaymentLayer<AskedPrice> {
    pub(crate) fn asked(server: Server, quoter: Quoter, wishes: Wishes) -> Result<Self, RouteError> {
        Self::new(server, Charge::Asked(Arc::new(quoter)), wishes)
    }
}

impl<P> PaymentLayer<P> {
    fn new(server: Server, charge: Charge, wishes: Wishes) -> Result<Self, RouteError> {
        let route = charge.route(&server, &wishes)?;
        let toll = Toll {
            server,
            charge,
            wishes,
            route,
            passes_preflights: false,
            passing: Passing::Nothing,
            unpaid: LastAnswer::default(),
        };
        Ok(Self { toll: Arc::new(toll), price: PhantomData })
    }

    /// Says what is for sale, for people and for directories. Some facilitators refuse more than 500 characters.
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.toll_mut().route.describe(Some(description.into()), None);
        self
    }

    /// Says what the seller calls the route, for the book of sales ([`farthing_core::books::Sales`]): its description, or else
    /// the resource, unless set. Buyers are not told.
    pub fn sold_as(self, name: impl Into<String>) -> Result<Self, RouteError> {
        self.declared_anew(|wishes| wishes.name = name.into())
    }

    /// Says what media type the answer has.
    pub fn mime_type(mut self, mime_type: impl Into<String>) -> Self {
        self.toll_mut().route.describe(None, Some(mime_type.into()));
        self
    }

    /// How long a payment may take from its signature to its settlement, the handler's work included, in seconds.
    /// [`DEFAULT_MAX_TIMEOUT_SECONDS`](crate::route::DEFAULT_MAX_TIMEOUT_SECONDS) unless set.
    pub fn max_timeout_seconds(self, seconds: u64) -> Result<Self, RouteError> {
        self.priced_anew("max_timeout_seconds", |manner| manner.max_timeout_seconds = seconds)
    }

    /// Takes the money before the handler runs (the payment flow `upfront`), for work that is too costly to be done for
    /// somebody who might not pay in the end. A handler that fails has been paid all the same, and the buyer may present the
    /// same payment for the same request again.
    ///
    /// An error where an accepted scheme cannot be charged so, such as `upto`.
    pub fn upfront(self) -> Result<Self, RouteError> {
        self.priced_anew("upfront", |manner| manner.flow = PaymentFlow::Upfront)
    }

    /// Takes the money as soon as the head of a good answer is there, and lets the answer go out as it comes, where it is too
    /// large to be [kept](crate::KeepAnswers) or does not say how large it is: for downloads. Smaller answers, and those to other
    /// methods than GET, are held back as always.
    ///
    /// Where such an answer breaks off, it was paid for: that is in the book, and the same payment with the same request has the
    /// handler run again, uncharged, [`MAX_SENDS`](crate::MAX_SENDS) times in all within
    /// [`SEND_AGAIN_SECONDS`](crate::SEND_AGAIN_SECONDS). A handler that understands `Range` sends only what is missing.
    ///
    /// An error on routes that are priced up to a ceiling: what they use is known at the end.
    pub fn settling_at_head(mut self) -> Result<Self, RouteError> {
        if self.toll.route.offer_list().iter().any(|offer| offer.scheme.is_metered()) {
            return Err(RouteError::MeteredHead);
        }
        self.toll_mut().passing = Passing::Settled;
        Ok(self)
    }

    /// Lets a metered answer go out as it is made, and takes the money at its end, for what was used: for event streams. An
    /// answer that says that it is small enough to be [kept](crate::KeepAnswers) is held back as always, and so is one to a payer
    /// who would then owe more than this, counting everything under way as the ceiling that was signed for it.
    ///
    /// However it ends, what was used by then is charged. What cannot be settled is owed, in the book of
    /// [`debts`](crate::ServerBuilder::debts), until the same payment is presented with the same request and settles. What it
    /// came to is told in the trailer `PAYMENT-RESPONSE`, to clients that take trailers.
    ///
    /// An error where nothing is metered, or one answer alone may come to more than the limit.
    pub fn streaming(mut self, debt_limit: Price) -> Result<Self, RouteError> {
        let mut metered = self.toll.route.offer_list().iter().filter(|offer| offer.scheme.is_metered()).peekable();
        if metered.peek().is_none() {
            return Err(RouteError::UnmeteredStream);
        }
        for offer in metered {
            let limit = debt_limit.in_asset(&offer.asset)?;
            if limit < offer.requirements.amount {
                return Err(RouteError::DebtLimit { limit: debt_limit });
            }
        }
        self.toll_mut().passing = Passing::Owed(debt_limit);
        Ok(self)
    }

    /// Lets buyers give a purchase a name, so that it is made once however often it is asked for (`payment-identifier`); if
    /// names are required, nothing is sold without one, and nothing to buyers of version 1, who have none.
    ///
    /// The request that a name is bound to is method, host, path, query and body, and whatever else is priced
    /// ([`Server::price_by`]). Of a body, [`DEFAULT_MAX_BOUND_BODY_BYTES`](super::DEFAULT_MAX_BOUND_BODY_BYTES) are read for a
    /// purchase with a name, and with more it is refused (HTTP 413); [`Self::binding_body`] sets another limit.
    pub fn payment_identifier(self, is_required: bool) -> Result<Self, RouteError> {
        self.declared_anew(|wishes| wishes.payment_identifier = Some(is_required))
    }

    /// Binds every payment to the body of its request, of at most so many bytes: for another body it buys nothing, and a
    /// purchase with a name is another purchase. The body of a request that pays is read before anything is done for it; with
    /// more bytes it is refused (HTTP 413). The handler gets it as it came.
    ///
    /// Without this, bodies go to the handler unread, and a payment that is presented again after its settlement was not known
    /// may come with another one; only a purchase with a [name](Self::payment_identifier) is bound to its body all the same.
    /// Where the price is asked with the body ([`reading_body`](crate::quotes::reading_body)) it is bound already, and to set
    /// this is an error; as it is on a route that is opened by signing in, which would open for every body.
    ///
    /// ```
    /// use axum::{Router, routing::post};
    /// use farthing_server::{RouteError, Server};
    ///
    /// fn app(toll: &Server) -> Result<Router, RouteError> {
    ///     let layer = toll.price("$0.50")?.payment_identifier(true)?.binding_body(1024 * 1024)?;
    ///     Ok(Router::new().route("/translate", post(|text: String| async { text }).layer(layer)))
    /// }
    /// ```
    pub fn binding_body(self, max_bytes: usize) -> Result<Self, RouteError> {
        self.declared_anew(|wishes| wishes.bound_body_bytes = Some(max_bytes))
    }

    /// Lets those who have paid come back without paying, for a while (`sign-in-with-x`): a payment opens exactly what it
    /// bought, the method and the URL with its query, to the account that paid. Not for routes whose answer depends on more
    /// than that, such as a body.
    ///
    /// Handlers find a [`Visitor`](crate::Visitor) in the place of [`Paid`](crate::Paid) then. The builder's
    /// [`public_url`](crate::ServerBuilder::public_url) must be set. An error on routes that are priced up to a ceiling.
    ///
    /// ```
    /// use axum::{Extension, Router, routing::get};
    /// use farthing_server::{RouteError, Server, SignInOptions, Visitor};
    ///
    /// async fn report(visitor: Option<Extension<Visitor>>) -> &'static str {
    ///     if visitor.is_some() { "rain, still" } else { "rain" }
    /// }
    ///
    /// fn app(toll: &Server) -> Result<Router, RouteError> {
    ///     let options = SignInOptions::new().statement("Sign in to read again what you paid for").granted_for(7 * 86_400);
    ///     Ok(Router::new().route("/report", get(report).layer(toll.price("$0.01")?.sign_in(options)?)))
    /// }
    /// ```
    pub fn sign_in(self, options: SignInOptions) -> Result<Self, RouteError> {
        self.declared_anew(|wishes| wishes.sign_in = Some(options))
    }

    /// Tells catalogues how it is asked for and what comes back (`bazaar`): what [`bazaar::http`] or [`bazaar::tool`] has made. It is
    /// in the terms, and buyers send it back with their payments, so it is to be short.
    ///
    /// ```
    /// use axum::{Router, routing::get};
    /// use farthing_core::extension::bazaar::{self, Listing};
    /// use farthing_server::Server;
    ///
    /// fn app(toll: &Server) -> Result<Router, Box<dyn std::error::Error>> {
    ///     let listing = Listing { output: Some("rain".into()), ..Listing::default() };
    ///     let layer = toll.price("$0.01")?.bazaar(bazaar::http(&listing, "GET", None)?)?;
    ///     Ok(Router::new().route("/report", get(|| async { "rain" }).layer(layer)))
    /// }
    /// ```
    ///
    /// [`bazaar::http`]: farthing_core::extension::bazaar::http
    /// [`bazaar::tool`]: farthing_core::extension::bazaar::tool
    pub fn bazaar(self, listing: serde_json::Value) -> Result<Self, RouteError> {
        self.declared_anew(|wishes| wishes.bazaar = Some(listing))
    }

    /// Lets CORS preflights (`OPTIONS` with `Origin` and `Access-Control-Request-Method`) through unpaid.
    ///
    /// Only for an inner service that answers preflights and does nothing else for them: a handler for any method would
    /// work for nothing. The better place for a CORS layer is outside this one.
    pub fn pass_preflights(mut self) -> Self {
        self.toll_mut().passes_preflights = true;
        self
    }

    fn priced_anew(mut self, what: &'static str, change: impl FnOnce(&mut Manner)) -> Result<Self, RouteError> {
        let toll = self.toll_mut();
        let mut manner = toll.charge.manner().ok_or(ExtensionError::Unpriced(what))?;
        change(&mut manner);
        toll.charge.set_manner(manner);
        self.built_anew()
    }

    fn declared_anew(mut self, change: impl FnOnce(&mut Wishes)) -> Result<Self, RouteError> {
        change(&mut self.toll_mut().wishes);
        self.built_anew()
    }

    fn built_anew(mut self) -> Result<Self, RouteError> {
        let toll = self.toll_mut();
        let route = toll.charge.route(&toll.server, &toll.wishes)?;
        toll.route.take_offers_of(route);
        Ok(self)
    }

    fn toll_mut(&mut self) -> &mut Toll {
        let toll = Arc::make_mut(&mut self.toll);
        // What was answered before is not what is answered from now on.
        toll.unpaid = LastAnswer::default();
        if let Charge::Asked(quoter) = &mut toll.charge {
            *quoter = Arc::new(quoter.anew(quoter.manner()));
        }
        toll
    }
}

impl<S, P> Layer<S> for PaymentLayer<P> {
    type Service = PaymentService<S>;

    fn layer(&self, inner: S) -> PaymentService<S> {
        PaymentService::new(inner, Arc::clone(&self.toll))
    }
}
