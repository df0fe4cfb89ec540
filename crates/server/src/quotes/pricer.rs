//! Who is asked for the price of a request, and what may be answered.

use bytes::Bytes;
use farthing_core::asset::AccountId;
use farthing_core::network::Network;
use farthing_core::price::{Price, PriceError};
use farthing_core::{BoxFuture, Source};
use http::{HeaderMap, HeaderName, Method, StatusCode};

use crate::ask::Ask;

/// A sensible limit for bodies that are priced, in bytes.
pub const DEFAULT_MAX_PRICED_BODY_BYTES: usize = 1024 * 1024;

/// Tells what a request costs. Every async function from a [`PriceRequest`] to a [`Quote`] is one; [`reading_body`] makes it
/// one that is shown the body, too, and [`reading_headers`] one whose quotes are bound to headers.
///
/// ```
/// use axum::{Router, routing::post};
/// use farthing_core::price::PriceError;
/// use farthing_server::quotes::{NoQuote, PriceRequest, Quote, reading_body};
/// use farthing_server::{RouteError, Server};
///
/// /// A hundredth of a cent for each word.
/// async fn by_words(request: PriceRequest) -> Result<Quote, NoQuote> {
///     let body = request.body.unwrap_or_default();
///     let text = std::str::from_utf8(&body).map_err(|_| NoQuote::bad_request("the body must be text"))?;
///     match text.split_whitespace().count() {
///         0 => Err(NoQuote::bad_request("the body must have words in it")),
///         words => Ok(Quote::of(&format!("${}.{:04}", words / 10_000, words % 10_000))?),
///     }
/// }
///
/// fn app(toll: &Server) -> Result<Router, RouteError> {
///     let layer = toll.price_by(reading_body(64 * 1024, by_words))?;
///     Ok(Router::new().route("/translate", post(|text: String| async { text }).layer(layer)))
/// }
/// ```
pub trait Pricer: Send + Sync {
    /// How many bytes the body of a request may have, if its price depends on it: then it is read before the price is asked,
    /// and requests with more are refused (HTTP 413). `None` if it does not: then the body goes to the handler unread, and a
    /// quote is good whatever the body is.
    fn max_body_bytes(&self) -> Option<usize> {
        None
    }

    /// The headers on which the price depends. A quote is good only for a request whose headers of these names are those that
    /// it was made for. Nothing binds it to any other header: a price that is lower for who leaves one out, or makes it up, is
    /// everybody's.
    fn headers(&self) -> &[HeaderName] {
        &[]
    }

    /// What this request costs. Asked for each request that is not paid with a good quote; not twice for the same sale.
    fn price(&self, request: PriceRequest) -> BoxFuture<'_, Result<Quote, NoQuote>>;
}

/// A request whose price is asked, without what it pays or signs in with.
#[derive(Clone)]
#[non_exhaustive]
pub struct PriceRequest {
    /// The method.
    pub method: Method,
    /// The URL of what is asked for, with its query, as the terms name it.
    pub resource_url: String,
    /// The headers. Those of the protocol are left out. Those that the price depends on are to be [named](Pricer::headers).
    pub headers: HeaderMap,
    /// The whole body, if the pricer [reads it](Pricer::max_body_bytes).
    pub body: Option<Bytes>,
}

/// What a request costs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub struct Quote {
    pub(super) asks: Vec<Ask>,
    pub(super) pay_to: Vec<(Network, AccountId)>,
    pub(super) description: Option<String>,
}

/// Why a request has no price.
#[derive(Debug)]
pub enum NoQuote {
    /// It cannot be had so, and that is the request's fault.
    BadRequest {
        /// The status to answer with, one from 400 to 499.
        status: StatusCode,
        /// What is wrong with it, for whoever sent it.
        message: String,
    },
    /// There is no price right now (HTTP 503). Why is logged, and not told.
    Failed(Source),
}

impl Quote {
    /// This price; where the route is metered, at most this price.
    pub fn new(price: Price) -> Self {
        Self::asking(Ask::exactly(price))
    }

    /// This price, where a route has [several](crate::Server::charge_any_by).
    pub fn asking(ask: Ask) -> Self {
        Self { asks: vec![ask], pay_to: Vec::new(), description: None }
    }

    /// Another price besides, of which a buyer takes one. No two may be for the same scheme, network and asset.
    pub fn or(mut self, ask: Ask) -> Self {
        self.asks.push(ask);
        self
    }

    /// All of its prices.
    pub fn asks(&self) -> &[Ask] {
        &self.asks
    }

    /// A price such as `"$0.01"` or `"0.10 USDC"`.
    pub fn of(price: &str) -> Result<Self, PriceError> {
        price.parse().map(Self::new)
    }

    /// Pays this account on that network, in the place of the server's own. It must be one that the server accepts.
    pub fn pay_to(mut self, network: Network, account: AccountId) -> Self {
        self.pay_to.retain(|(other, _)| *other != network);
        self.pay_to.push((network, account));
        self
    }

    /// Says what is for sale, in the place of the route's own description.
    pub fn description(self, description: impl Into<String>) -> Self {
        Self { description: Some(description.into()), ..self }
    }
}

impl NoQuote {
    /// The request is bad (HTTP 400).
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::BadRequest { status: StatusCode::BAD_REQUEST, message: message.into() }
    }

    /// The request cannot be had, with a status of its own, such as 404 or 422.
    pub fn refused(status: StatusCode, message: impl Into<String>) -> Self {
        Self::BadRequest { status, message: message.into() }
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for NoQuote {
    fn from(error: E) -> Self {
        Self::Failed(Box::new(error))
    }
}

impl<F, A> Pricer for F
where
    F: Fn(PriceRequest) -> A + Send + Sync,
    A: Future<Output = Result<Quote, NoQuote>> + Send + 'static,
{
    fn price(&self, request: PriceRequest) -> BoxFuture<'_, Result<Quote, NoQuote>> {
        Box::pin(self(request))
    }
}

/// The same pricer, shown the body of each request, of at most so many bytes.
pub fn reading_body(max_body_bytes: usize, pricer: impl Pricer) -> impl Pricer {
    ReadingBody { max_body_bytes, pricer }
}

/// The same pricer, whose quotes are good only for the very values that a request has of these headers.
pub fn reading_headers(names: impl IntoIterator<Item = HeaderName>, pricer: impl Pricer) -> impl Pricer {
    ReadingHeaders { names: names.into_iter().collect(), pricer }
}

struct ReadingBody<P> {
    max_body_bytes: usize,
    pricer: P,
}

struct ReadingHeaders<P> {
    names: Vec<HeaderName>,
    pricer: P,
}

impl<P: Pricer> Pricer for ReadingBody<P> {
    fn max_body_bytes(&self) -> Option<usize> {
        Some(self.max_body_bytes)
    }

    fn headers(&self) -> &[HeaderName] {
        self.pricer.headers()
    }

    fn price(&self, request: PriceRequest) -> BoxFuture<'_, Result<Quote, NoQuote>> {
        self.pricer.price(request)
    }
}

impl<P: Pricer> Pricer for ReadingHeaders<P> {
    fn max_body_bytes(&self) -> Option<usize> {
        self.pricer.max_body_bytes()
    }

    fn headers(&self) -> &[HeaderName] {
        &self.names
    }

    fn price(&self, request: PriceRequest) -> BoxFuture<'_, Result<Quote, NoQuote>> {
        self.pricer.price(request)
    }
}
