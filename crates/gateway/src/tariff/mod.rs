//! What a route costs: a price, or a rate for what a request brings or an answer uses.
//!
//! | price | means |
//! |---|---|
//! | `"$0.01"` | the same for every request |
//! | `{ each = "$0.002", per = "1000 words", of = "request:/text" }` | counted in the request, before it is paid |
//! | `{ each = "$0.002", per = "1000 tokens", of = "response:/usage/total_tokens", at_most = "$0.05" }` | counted in the answer, after the buyer has signed for `at_most` |
//! | `{ by = "header:x-tier", gold = "$0.05", otherwise = "$0.20" }` | looked up by what a request says |
//!
//! Everything is exact. A price that is counted is rounded up once, to the smallest unit of the asset, and is never more
//! than `at_most` nor less than `at_least`.
//!
//! What cannot be counted is never guessed. In a request: 422 (or 400, where the body is no JSON), and nothing is asked for. In
//! an answer: 502, and nothing is charged, unless the rate says what it costs then (`uncounted`). What comes to nothing: a request is refused with 422 unless there is an `at_least`;
//! an answer is given, and nothing is charged for it.

mod choice;
mod counted;
mod events;
mod found;
mod metered;
mod money;
mod quantity;
mod rate;
mod source;
mod unit;

use std::fmt;

use http::HeaderName;

pub use self::choice::Choice;
pub(crate) use self::choice::Choosing;
pub(crate) use self::counted::Counted;
pub(crate) use self::metered::{Meter, Metering, Payable};
pub use self::money::{Money, MoneyError};
pub use self::rate::{Rate, RateError};
pub use self::source::{Source, SourceError};
pub use self::unit::{Per, UnitError};

/// What a route costs, as in a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tariff {
    /// The same for every request.
    Fixed(Money),
    /// So much for each unit of what the request brings or the answer uses.
    Rate(Box<Rate>),
    /// A price for each value of something that a request says.
    Choice(Choice),
}

impl Tariff {
    /// Whether the price is known only after the work, and buyers sign a ceiling.
    #[must_use]
    pub const fn is_metered(&self) -> bool {
        matches!(self, Self::Rate(rate) if rate.is_metered())
    }

    /// The least and the most that it can cost, as far as that is known beforehand.
    pub(crate) fn bounds(&self) -> (Option<&Money>, Option<&Money>) {
        match self {
            Self::Fixed(price) => (Some(price), Some(price)),
            Self::Rate(rate) => (rate.at_least(), rate.at_most()),
            Self::Choice(choice) => ends(choice.prices().collect()),
        }
    }

    /// Whether it is counted in, or looked up from, the body of a request.
    pub(crate) fn reads_body(&self) -> bool {
        match self {
            Self::Fixed(_) => false,
            Self::Rate(rate) => matches!(rate.of(), Source::Request(_)),
            Self::Choice(choice) => matches!(choice.by(), Source::Request(_)),
        }
    }

    /// The header of a request that decides the price, if one does.
    pub(crate) fn header(&self) -> Option<&HeaderName> {
        let source = match self {
            Self::Fixed(_) => return None,
            Self::Rate(rate) => rate.of(),
            Self::Choice(choice) => choice.by(),
        };
        match source {
            Source::Header(name) => Some(name),
            Source::Request(_) | Source::Query(_) | Source::Response(_) => None,
        }
    }
}

/// The least and the most of several prices; neither, where they cannot be compared.
pub(crate) fn ends(mut prices: Vec<&Money>) -> (Option<&Money>, Option<&Money>) {
    prices.sort_by_key(|price| price.scaled());
    let is_one_coin = prices.windows(2).all(|pair| matches!(pair, [one, other] if one.is_same_coin(other)));
    if is_one_coin { (prices.first().copied(), prices.last().copied()) } else { (None, None) }
}

impl fmt::Display for Tariff {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(price) => write!(formatter, "{price}"),
            Self::Rate(rate) => write!(formatter, "{rate}"),
            Self::Choice(choice) => write!(formatter, "{choice}"),
        }
    }
}
