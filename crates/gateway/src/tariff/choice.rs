//! A price for each value of something that a request says.

use std::fmt;

use farthing_core::BoxFuture;
use farthing_server::quotes::{NoQuote, PriceRequest, Pricer, Quote};
use http::{HeaderName, StatusCode};
use serde_json::Value;

use super::found::Found;
use super::money::Money;
use super::source::Source;

/// Prices by what a request says. Whoever asks can say what they like, so a value that costs less must be one that not
/// everybody can have: set by a proxy that is trusted, or a size that costs less to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    by: Source,
    prices: Vec<(String, Money)>,
    otherwise: Option<Money>,
}

impl Choice {
    /// These prices, by the value that is found there; and another for all other values, without which they are refused.
    #[must_use]
    pub const fn new(by: Source, prices: Vec<(String, Money)>, otherwise: Option<Money>) -> Self {
        Self { by, prices, otherwise }
    }

    pub(crate) const fn by(&self) -> &Source {
        &self.by
    }

    /// Every price that there is.
    pub(crate) fn prices(&self) -> impl Iterator<Item = &Money> {
        self.prices.iter().map(|(_, price)| price).chain(&self.otherwise)
    }

    fn price_of(&self, value: Option<&str>) -> Result<&Money, NoQuote> {
        let named = self.prices.iter().find(|(name, _)| Some(name.as_str()) == value).map(|(_, price)| price);
        named.or(self.otherwise.as_ref()).ok_or_else(|| {
            let got = if value.is_some() { "another" } else { "none" };
            let message = format!("{}: expected a value that has a price here, got {got}; nothing was charged", self.by);
            NoQuote::refused(StatusCode::UNPROCESSABLE_ENTITY, message)
        })
    }
}

/// [`Choice`], as the server asks it.
pub(crate) struct Choosing {
    choice: Choice,
    headers: Vec<HeaderName>,
    max_body_bytes: usize,
}

impl Choosing {
    pub(crate) fn new(choice: Choice, max_body_bytes: usize) -> Self {
        Self { headers: choice.by.headers(), choice, max_body_bytes }
    }

    fn quote(&self, request: &PriceRequest) -> Result<Quote, NoQuote> {
        let by = &self.choice.by;
        let value = by.find(request).and_then(|found| match found {
            Found::Text(text) | Found::Json(Value::String(text)) => Ok(text),
            Found::Json(value @ (Value::Number(_) | Value::Bool(_))) => Ok(value.to_string()),
            Found::Json(_) | Found::Body(_) => Err(by.refuse("a text, a number, or true or false", "something else")),
        });
        // Where nothing can be found, there may be a price for all others; but what cannot be read at all has none.
        let value = match value {
            Ok(value) => Some(value),
            Err(NoQuote::BadRequest { status: StatusCode::UNPROCESSABLE_ENTITY, .. }) => None,
            Err(unreadable) => return Err(unreadable),
        };
        Ok(Quote::new(self.choice.price_of(value.as_deref())?.price().clone()))
    }
}

impl Pricer for Choosing {
    fn max_body_bytes(&self) -> Option<usize> {
        matches!(self.choice.by, Source::Request(_)).then_some(self.max_body_bytes)
    }

    fn headers(&self) -> &[HeaderName] {
        &self.headers
    }

    fn price(&self, request: PriceRequest) -> BoxFuture<'_, Result<Quote, NoQuote>> {
        Box::pin(std::future::ready(self.quote(&request)))
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "by {}: ", self.by)?;
        for (name, price) in &self.prices {
            write!(formatter, "{name} {price}, ")?;
        }
        match &self.otherwise {
            Some(price) => write!(formatter, "otherwise {price}"),
            None => formatter.write_str("others are refused"),
        }
    }
}
