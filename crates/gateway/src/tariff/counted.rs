//! A rate of something that the request brings: counted, and quoted, before it is paid for.

use farthing_core::BoxFuture;
use farthing_server::quotes::{NoQuote, PriceRequest, Pricer, Quote};
use http::HeaderName;

use super::found::{Found, document};
use super::quantity::Quantity;
use super::rate::Rate;
use super::source::Source;
use super::unit::Unit;

/// A [`Rate`], as the server asks it for the price of one request.
pub(crate) struct Counted {
    rate: Rate,
    headers: Vec<HeaderName>,
    max_body_bytes: usize,
    /// What every asset that the price is asked in can hold.
    decimals: u8,
}

impl Counted {
    /// In assets of which each has at least so many decimals.
    pub(crate) fn new(rate: Rate, decimals: u8, max_body_bytes: usize) -> Self {
        Self { headers: rate.of.headers(), rate, max_body_bytes, decimals }
    }

    fn quote(&self, request: &PriceRequest) -> Result<Quote, NoQuote> {
        let Rate { each, per, of, .. } = &self.rate;
        let count = count(of, per.unit, request)?;
        let cost = self.rate.cost(count, self.decimals);
        if cost.is_zero() {
            return Err(of.refuse(&format!("{} to count", per.name()), "none"));
        }
        let quote = Quote::new(each.price_of(cost, self.decimals)?);
        Ok(quote)
    }
}

impl Pricer for Counted {
    fn max_body_bytes(&self) -> Option<usize> {
        matches!(self.rate.of, Source::Request(_)).then_some(self.max_body_bytes)
    }

    fn headers(&self) -> &[HeaderName] {
        &self.headers
    }

    fn price(&self, request: PriceRequest) -> BoxFuture<'_, Result<Quote, NoQuote>> {
        Box::pin(std::future::ready(self.quote(&request)))
    }
}

fn count(of: &Source, unit: Unit, request: &PriceRequest) -> Result<Quantity, NoQuote> {
    match of.find(request)? {
        Found::Text(text) => unit.in_parameter(&text).ok_or_else(|| of.refuse("a number of 0 or above", "something else")),
        Found::Json(value) => unit.in_json(&value, false).ok_or_else(|| of.refuse(unit.expected(), kind_of(&value))),
        Found::Body(body) if unit == Unit::Bytes => Ok(Quantity::length(body.len())),
        Found::Body(body) if unit == Unit::Things => {
            let document = document(&body)?;
            unit.in_json(&document, false).ok_or_else(|| of.refuse(unit.expected(), kind_of(&document)))
        }
        Found::Body(body) => {
            let text = std::str::from_utf8(&body).map_err(|_| of.refuse("text in UTF-8", "something else"))?;
            unit.in_text(text).ok_or_else(|| of.refuse(unit.expected(), "a text"))
        }
    }
}

/// What a value is, without the value.
const fn kind_of(value: &serde_json::Value) -> &'static str {
    use serde_json::Value;
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number that does not fit",
        Value::String(_) => "a text",
        Value::Array(_) => "a list that does not fit",
        Value::Object(_) => "an object",
    }
}
