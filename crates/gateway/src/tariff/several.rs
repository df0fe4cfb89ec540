//! Several prices for one route, of which a buyer takes one: in another coin, on another network, or counted in another way.

use std::fmt;

use farthing_core::BoxFuture;
use farthing_core::network::Network;
use farthing_server::Ask;
use farthing_server::quotes::{NoQuote, PriceRequest, Pricer, Quote};
use http::HeaderName;

use super::Tariff;

/// The prices, in the order in which they are offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Several(Vec<Part>);

/// One of several prices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// What it costs.
    pub price: Tariff,
    /// The networks on which it costs that; all of the route's, if there are none.
    pub accepts: Vec<Network>,
}

/// Why prices cannot stand beside each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SeveralError {
    /// An empty list.
    #[error("expected at least one price, got an empty list")]
    None,
    /// A list within a list.
    #[error("expected a price in the list, got another list")]
    Nested,
}

impl Several {
    /// These prices.
    pub fn new(parts: Vec<Part>) -> Result<Self, SeveralError> {
        if parts.is_empty() {
            return Err(SeveralError::None);
        }
        if parts.iter().any(|part| matches!(part.price, Tariff::Several(_))) {
            return Err(SeveralError::Nested);
        }
        Ok(Self(parts))
    }

    /// The prices.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.0
    }
}

/// One of several prices, as the server is told it.
pub(crate) enum Voice {
    /// The same for every request.
    Fixed(Ask),
    /// Asked for each request, and asked on these networks alone, if there are any.
    Asked(Box<dyn Pricer>, Vec<Network>),
}

/// All of them, where at least one is asked for each request. A request to which one of them gives no price has none.
pub(crate) struct Together {
    voices: Vec<Voice>,
    headers: Vec<HeaderName>,
    max_body_bytes: Option<usize>,
}

impl Together {
    pub(crate) fn new(voices: Vec<Voice>) -> Self {
        let pricers = || {
            voices.iter().filter_map(|voice| match voice {
                Voice::Asked(pricer, _) => Some(pricer),
                Voice::Fixed(_) => None,
            })
        };
        let headers = pricers().flat_map(|pricer| pricer.headers()).cloned().collect();
        let max_body_bytes = pricers().filter_map(|pricer| pricer.max_body_bytes()).max();
        Self { voices, headers, max_body_bytes }
    }

    async fn quote(&self, request: PriceRequest) -> Result<Quote, NoQuote> {
        let mut asks = Vec::new();
        for voice in &self.voices {
            match voice {
                Voice::Fixed(ask) => asks.push(ask.clone()),
                Voice::Asked(pricer, networks) => {
                    let quote = pricer.price(request.clone()).await?;
                    asks.extend(quote.asks().iter().map(|ask| ask.clone().only_on(networks.iter().cloned())));
                }
            }
        }
        let mut asks = asks.into_iter();
        let first = asks.next().ok_or_else(|| NoQuote::Failed("there is no price".into()))?;
        Ok(asks.fold(Quote::asking(first), Quote::or))
    }
}

impl Pricer for Together {
    fn max_body_bytes(&self) -> Option<usize> {
        self.max_body_bytes
    }

    fn headers(&self) -> &[HeaderName] {
        &self.headers
    }

    fn price(&self, request: PriceRequest) -> BoxFuture<'_, Result<Quote, NoQuote>> {
        Box::pin(self.quote(request))
    }
}

impl fmt::Display for Several {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Part { price, accepts }) in self.0.iter().enumerate() {
            let or = if index == 0 { "" } else { "; or " };
            write!(formatter, "{or}{price}")?;
            if !accepts.is_empty() {
                let networks: Vec<&str> = accepts.iter().map(Network::as_str).collect();
                write!(formatter, " on {}", networks.join(", "))?;
            }
        }
        Ok(())
    }
}
