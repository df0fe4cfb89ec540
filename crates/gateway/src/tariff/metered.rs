//! A rate of something that the answer uses: counted once the answer is whole, and charged out of what the buyer signed for.
//!
//! The answer is held back in any case until its payment has settled; so it is read here, whole, and an answer in which there is
//! nothing to count becomes 502 before anything is charged. Answers of status 400 and above are nobody's to pay and pass as they
//! are; those without a body, redirects and answers to HEAD cost nothing. Where a seller says what an answer without a count
//! costs (`uncounted`), it is given for that.

use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use farthing_core::amount::Amount;
use farthing_core::asset::AssetId;
use farthing_core::network::Network;
use farthing_server::Paid;
use http::header::{ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, RANGE};
use http::{Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::time::Instant;
use tower_service::Service;

use super::events::Form;
use super::found::is_encoded;
use super::quantity::Quantity;
use super::rate::Rate;
use super::source::{Pointer, Source};
use super::streamed::{Gauge, Scanner, Streamed};
use super::unit::Unit;
use crate::problem::Problem;
use crate::service::{Answering, BoxAnswer};

/// What a metered route counts.
pub(crate) struct Metering {
    rate: Rate,
    /// In which it is paid for.
    assets: Vec<Payable>,
    /// The largest answer that is read.
    max_body_bytes: usize,
    /// Whether answers are counted as they go out, where they can be.
    streams: bool,
}

/// An asset, and how many decimals it has.
pub(crate) struct Payable {
    pub(crate) network: Network,
    pub(crate) asset: AssetId,
    pub(crate) decimals: u8,
}

/// Counts what an answer used, and tells the payment that lets it in.
#[derive(Clone)]
pub(crate) struct Meter<S> {
    inner: S,
    /// One for each price of the route that is counted.
    meterings: Arc<[Arc<Metering>]>,
}

/// Why an answer cannot be charged for.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unmetered {
    #[error("it broke off")]
    BrokeOff,
    #[error("it is larger than the {0} bytes that are held back until a payment has settled")]
    TooLarge(usize),
    #[error("it is compressed, although that was not asked for")]
    Encoded,
    #[error("it is not UTF-8")]
    NotUtf8,
    #[error("it has nothing to count at that place")]
    Missing,
    #[error("its price is no whole amount of the asset")]
    Charge,
}

impl Metering {
    pub(crate) const fn new(rate: Rate, assets: Vec<Payable>, max_body_bytes: usize, streams: bool) -> Self {
        Self { rate, assets, max_body_bytes, streams }
    }

    /// How an answer is counted as it goes out, if it is.
    fn gauge(&self, headers: &HeaderMap, began: Instant) -> Option<Gauge> {
        let unit = self.rate.per.unit;
        match (self.pointer(), unit) {
            _ if !self.streams => None,
            (None, Unit::Bytes) => Some(Gauge::Bytes(0)),
            (None, Unit::Seconds) => Some(Gauge::Time(began)),
            (Some(pointer), _) if !is_encoded(headers) => match form_of(headers) {
                Form::One => None,
                form @ (Form::Events | Form::Lines) => Some(Gauge::Events(Scanner::new(form, pointer.clone(), unit))),
            },
            _ => None,
        }
    }

    /// Whether this is what that payment took.
    fn is_for(&self, paid: &Paid) -> bool {
        self.assets.iter().any(|asset| asset.network == paid.network && asset.asset == paid.asset)
    }

    /// Where to look; `None` for the whole answer.
    fn pointer(&self) -> Option<&Pointer> {
        match &self.rate.of {
            Source::Response(pointer) if !pointer.is_whole() => Some(pointer),
            _ => None,
        }
    }

    /// Whether the body's text is read, rather than its length or the clock.
    fn reads_text(&self) -> bool {
        self.pointer().is_some() || !matches!(self.rate.per.unit, Unit::Bytes | Unit::Seconds)
    }

    fn count(&self, headers: &HeaderMap, body: &Bytes, began: Instant) -> Result<Quantity, Unmetered> {
        let unit = self.rate.per.unit;
        match unit {
            Unit::Seconds => return Ok(Quantity::millionths(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX))),
            Unit::Bytes if self.pointer().is_none() => return Ok(Quantity::length(body.len())),
            _ if is_encoded(headers) => return Err(Unmetered::Encoded),
            _ => {}
        }
        let text = std::str::from_utf8(body).map_err(|_| Unmetered::NotUtf8)?;
        let count = match self.pointer() {
            None => unit.in_text(text),
            Some(pointer) => form_of(headers).last(text, pointer).and_then(|value| unit.in_json(&value, true)),
        };
        count.ok_or(Unmetered::Missing)
    }

    /// What a count costs, in the asset that the buyer chose, and never more than was signed for.
    pub(super) fn charge(&self, count: Option<Quantity>, paid: &Paid) -> Result<(), Unmetered> {
        let is_paid = |asset: &&Payable| asset.network == paid.network && asset.asset == paid.asset;
        let decimals = self.assets.iter().find(is_paid).ok_or(Unmetered::Charge)?.decimals;
        let cost = match (count, &self.rate.uncounted) {
            (Some(count), _) if count.is_none() => Amount::ZERO,
            (Some(count), _) => self.rate.cost(count, decimals),
            (None, Some(price)) => price.atomic(decimals).ok_or(Unmetered::Charge)?,
            (None, None) => return Err(Unmetered::Missing),
        };
        paid.usage().set(cost.min(paid.usage().ceiling())).map_err(|_| Unmetered::Charge)
    }

    /// The answer as it was, once what it used is charged.
    async fn meter(&self, answer: Response<Body>, paid: &Paid, began: Instant) -> Result<Response<Body>, Unmetered> {
        let (parts, body) = answer.into_parts();
        let collected = Limited::new(body, self.max_body_bytes).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() { Unmetered::TooLarge(self.max_body_bytes) } else { Unmetered::BrokeOff }
        })?;
        let trailers = collected.trailers().cloned();
        let body = collected.to_bytes();
        let count = match self.count(&parts.headers, &body, began) {
            Err(Unmetered::Missing) => None,
            count => Some(count?),
        };
        self.charge(count, paid)?;
        Ok(Response::from_parts(parts, whole(body, trailers)))
    }
}

impl<S> Meter<S> {
    pub(crate) fn new(inner: S, meterings: Vec<Metering>) -> Self {
        Self { inner, meterings: meterings.into_iter().map(Arc::new).collect() }
    }
}

impl<S: Answering> Service<Request<Body>> for Meter<S> {
    type Response = Response<Body>;
    type Error = std::convert::Infallible;
    type Future = BoxAnswer;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> BoxAnswer {
        let inner = self.inner.clone();
        // The service that was polled ready is the one to call.
        let mut inner = std::mem::replace(&mut self.inner, inner);
        let metered = request.extensions().get::<Paid>().filter(|paid| paid.usage().is_metered()).cloned();
        let Some(paid) = metered else {
            // Let in by a hook, so that nobody pays, or paid at a price beside this one that is not counted.
            return Box::pin(inner.call(request));
        };
        let Some(metering) = self.meterings.iter().find(|metering| metering.is_for(&paid)).map(Arc::clone) else {
            let version = request.version();
            return Box::pin(async move { Ok(problem("it is paid in what has no price here", version)) });
        };
        if metering.reads_text() {
            request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            // A part of a document has no count in it.
            request.headers_mut().remove(RANGE);
        }
        let (version, is_head) = (request.version(), request.method() == Method::HEAD);
        Box::pin(async move {
            let began = Instant::now();
            let answer = inner.call(request).await?;
            if answer.status().as_u16() >= 400 {
                return Ok(answer);
            }
            if is_head || is_bodiless(answer.status()) {
                return Ok(free(answer, &paid, version));
            }
            if let Some(gauge) = metering.gauge(answer.headers(), began) {
                let (parts, body) = answer.into_parts();
                let streamed = Streamed::new(body, Arc::clone(&metering), paid, gauge);
                let streamed = streamed.map(|body| Response::from_parts(parts, Body::new(body)));
                return Ok(streamed.unwrap_or_else(|why| unmetered(&metering.rate, &why, version)));
            }
            Ok(metering.meter(answer, &paid, began).await.unwrap_or_else(|why| unmetered(&metering.rate, &why, version)))
        })
    }
}

/// How an answer holds JSON.
fn form_of(headers: &HeaderMap) -> Form {
    Form::of(headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default())
}

fn is_bodiless(status: StatusCode) -> bool {
    status.is_redirection() || matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT)
}

fn free(answer: Response<Body>, paid: &Paid, version: Version) -> Response<Body> {
    match paid.usage().set(Amount::ZERO) {
        Ok(()) => answer,
        Err(_) => problem("it cannot be given for nothing", version),
    }
}

fn unmetered(rate: &Rate, why: &Unmetered, version: Version) -> Response<Body> {
    tracing::error!(reason = %why, counted = %rate.of, "an upstream's answer cannot be charged for, and was dropped");
    problem(&format!("{}: expected {} to count, but {why}", rate.of, rate.per.name()), version)
}

fn problem(why: &str, version: Version) -> Response<Body> {
    let message = format!("{why}; the answer was dropped and nothing was charged; ask the seller, or ask in another way");
    Problem::new(StatusCode::BAD_GATEWAY, "usage_unknown", message).answer(version)
}

/// A body that is there already, with what came behind it.
fn whole(body: Bytes, trailers: Option<HeaderMap>) -> Body {
    match trailers {
        None => Body::from(body),
        Some(trailers) => Body::new(http_body_util::Full::new(body).with_trailers(std::future::ready(Some(Ok(trailers))))),
    }
}
