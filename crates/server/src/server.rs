//! A seller: who is paid where, by which schemes, and through which facilitator. Everything is checked when it is built.

use std::sync::Arc;

use farthing_core::network::Network;
use farthing_core::price::Price;
use farthing_core::time::Clock;

use crate::ask::{self, Ask};
use crate::builder::ServerBuilder;
use crate::extensions::{Seller, SignInOptions, Wishes};
use crate::gate::Gate;
use crate::hooks::Hooks;
use crate::http::{AskedPrice, PaymentLayer};
use crate::offer::{Accept, Manner, Pricing};
use crate::quotes::{Pricer, Quoter, Quotes};
use crate::route::{Route, RouteError};

/// The largest answer that is held back until its payment has settled, unless set otherwise, in bytes.
pub const DEFAULT_MAX_HELD_BODY_BYTES: usize = 16 * 1024 * 1024;

/// Prices routes and charges for them. Cheap to clone; all clones are one seller.
#[derive(Clone)]
pub struct Server(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) gate: Gate,
    pub(crate) accepts: Vec<Accept>,
    pub(crate) seller: Seller,
    pub(crate) quotes: Option<Arc<Quotes>>,
    pub(crate) public_url: Option<String>,
    pub(crate) max_held_body_bytes: usize,
}

impl Server {
    /// Starts with nothing: no scheme, no clock, no facilitator, nobody to pay.
    pub fn builder() -> ServerBuilder {
        ServerBuilder::default()
    }

    /// The same seller, who is paid on these networks alone: for routes that are not sold on all of them. Engine and books are
    /// shared. An error for a network on which nobody is paid here.
    ///
    /// ```
    /// use axum::{Router, routing::get};
    /// use farthing_server::{RouteError, Server};
    ///
    /// fn app(toll: &Server) -> Result<Router, Box<dyn std::error::Error>> {
    ///     let on_base = toll.only_on(&["eip155:8453".parse()?])?;
    ///     Ok(Router::new().route("/report", get(|| async { "rain" }).layer(on_base.price("$0.01")?)))
    /// }
    /// ```
    pub fn only_on(&self, networks: &[Network]) -> Result<Self, RouteError> {
        let Shared { gate, accepts, seller, quotes, public_url, max_held_body_bytes } = &*self.0;
        if let Some(network) = networks.iter().find(|network| !seller.networks.contains(network)) {
            return Err(RouteError::NotPaid { network: (*network).clone(), networks: seller.networks.clone() });
        }
        let is_named = |network: &Network| networks.contains(network);
        let mut seller = seller.clone();
        seller.networks.retain(is_named);
        Ok(Self(Arc::new(Shared {
            gate: gate.clone(),
            accepts: accepts.iter().filter(|accept| is_named(&accept.network)).cloned().collect(),
            seller,
            quotes: quotes.clone(),
            public_url: public_url.clone(),
            max_held_body_bytes: *max_held_body_bytes,
        })))
    }

    /// The same seller, with hooks behind those that it has: for routes that are not like the others.
    #[must_use]
    pub fn hooked(&self, hooks: Arc<dyn Hooks>) -> Self {
        let Shared { gate, accepts, seller, quotes, public_url, max_held_body_bytes } = &*self.0;
        let gate = Gate { hooks: gate.hooks.with(hooks), ..gate.clone() };
        let (accepts, seller, quotes, public_url) = (accepts.clone(), seller.clone(), quotes.clone(), public_url.clone());
        Self(Arc::new(Shared { gate, accepts, seller, quotes, public_url, max_held_body_bytes: *max_held_body_bytes }))
    }

    /// A layer that charges this price, such as `"$0.01"` or `"0.10 USDC"`, for whatever it is laid over.
    pub fn price(&self, price: &str) -> Result<PaymentLayer, RouteError> {
        self.charge(price.parse()?)
    }

    /// A layer that charges this price.
    pub fn charge(&self, price: Price) -> Result<PaymentLayer, RouteError> {
        let pricing = Pricing { asks: vec![Ask::exactly(price)], manner: Manner::FIXED };
        PaymentLayer::fixed(self.clone(), Some(pricing), Wishes::default())
    }

    /// A layer that charges one of these prices, whichever the buyer takes. No two may be for the same scheme, network and
    /// asset. Buyers of version 1, who do not say which asset they pay in, take the first for their scheme and network.
    pub fn charge_any(&self, asks: impl IntoIterator<Item = Ask>) -> Result<PaymentLayer, RouteError> {
        let asks: Vec<Ask> = asks.into_iter().collect();
        let pricing = Pricing { manner: Manner { is_metered: ask::in_common(&asks), ..Manner::AS_ASKED }, asks };
        PaymentLayer::fixed(self.clone(), Some(pricing), Wishes::default())
    }

    /// A layer that charges at most this price, and as much of it as the handler says through
    /// [`Paid::usage`](crate::Paid::usage): for what is metered. Only schemes that can charge less than was signed are offered,
    /// such as `upto`.
    pub fn price_up_to(&self, ceiling: &str) -> Result<PaymentLayer, RouteError> {
        self.charge_up_to(ceiling.parse()?)
    }

    /// A layer that charges at most this price; see [`Self::price_up_to`].
    pub fn charge_up_to(&self, ceiling: Price) -> Result<PaymentLayer, RouteError> {
        let pricing = Pricing { asks: vec![Ask::up_to(ceiling)], manner: Manner::METERED };
        PaymentLayer::fixed(self.clone(), Some(pricing), Wishes::default())
    }

    /// A layer that asks for the price of each request, and honours its quotes: see [`quotes`](crate::quotes). Bodies of requests
    /// must be such that they can be made of bytes, as axum's are.
    ///
    /// Needs [`quote_key`](ServerBuilder::quote_key), or [`entropy`](ServerBuilder::entropy) to make one for this server alone.
    ///
    /// ```
    /// use axum::{Router, routing::get};
    /// use farthing_core::price::PriceError;
    /// use farthing_server::quotes::{NoQuote, PriceRequest, Quote};
    /// use farthing_server::{RouteError, Server};
    ///
    /// async fn by_size(request: PriceRequest) -> Result<Quote, NoQuote> {
    ///     let price = if request.resource_url.ends_with("?size=large") { "$0.05" } else { "$0.01" };
    ///     Ok(Quote::of(price)?)
    /// }
    ///
    /// fn app(toll: &Server) -> Result<Router, RouteError> {
    ///     Ok(Router::new().route("/picture", get(|| async { "a picture" }).layer(toll.price_by(by_size)?)))
    /// }
    /// ```
    pub fn price_by(&self, pricer: impl Pricer + 'static) -> Result<PaymentLayer<AskedPrice>, RouteError> {
        self.ask(Arc::new(pricer), Manner::FIXED)
    }

    /// A layer that asks for the most that each request may cost, and charges as much of it as the handler says; see
    /// [`Self::price_by`] and [`Self::price_up_to`].
    pub fn price_up_to_by(&self, pricer: impl Pricer + 'static) -> Result<PaymentLayer<AskedPrice>, RouteError> {
        self.ask(Arc::new(pricer), Manner::METERED)
    }

    /// A layer that asks for the prices of each request, of which a buyer takes one ([`Quote::or`](crate::Quote::or)); see
    /// [`Self::price_by`] and [`Self::charge_any`].
    pub fn charge_any_by(&self, pricer: impl Pricer + 'static) -> Result<PaymentLayer<AskedPrice>, RouteError> {
        self.ask(Arc::new(pricer), Manner::AS_ASKED)
    }

    fn ask(&self, pricer: Arc<dyn Pricer>, manner: Manner) -> Result<PaymentLayer<AskedPrice>, RouteError> {
        let quotes = Arc::clone(self.0.quotes.as_ref().ok_or(RouteError::NoQuoteKey)?);
        PaymentLayer::asked(self.clone(), Quoter::new(pricer, quotes, manner), Wishes::default())
    }

    /// A layer that charges nothing and lets in who signs in, with any account of these networks, or else of all that are
    /// accepted here. Handlers find the [`Visitor`](crate::Visitor) among the request's extensions. The builder's
    /// [`public_url`](ServerBuilder::public_url) must be set.
    pub fn sign_in_only(&self, options: SignInOptions) -> Result<PaymentLayer, RouteError> {
        PaymentLayer::fixed(self.clone(), None, Wishes { sign_in: Some(options), ..Wishes::default() })
    }

    /// The offers that this price makes, for use with [`Self::gate`] over other transports than tower's. Those of other
    /// routes are their layer's: [`PaymentLayer::route`].
    pub fn route(&self, price: &Price) -> Result<Route, RouteError> {
        let pricing = Pricing { asks: vec![Ask::exactly(price.clone())], manner: Manner::FIXED };
        Route::build(&self.0.accepts, &pricing, &self.0.seller, &Wishes::default())
    }

    /// The engine that lets paid requests in and settles them.
    pub fn gate(&self) -> &Gate {
        &self.0.gate
    }

    /// The clock by which quotes expire.
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.0.gate.clock)
    }

    pub(crate) fn accepts(&self) -> &[Accept] {
        &self.0.accepts
    }

    pub(crate) fn seller(&self) -> &Seller {
        &self.0.seller
    }

    pub(crate) fn public_url(&self) -> Option<&str> {
        self.0.public_url.as_deref()
    }

    pub(crate) fn max_held_body_bytes(&self) -> usize {
        self.0.max_held_body_bytes
    }
}
