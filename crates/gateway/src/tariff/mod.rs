//! What a route costs: a price, or a rate for what a request brings or an answer uses.
//!
//! | price | means |
//! |---|---|
//! | `"$0.01"` | the same for every request |
//! | `{ each = "$0.002", per = "1000 words", of = "request:/text" }` | counted in the request, before it is paid |
//! | `{ each = "$0.002", per = "1000 tokens", of = "response:/usage/total_tokens", at_most = "$0.05" }` | counted in the answer, after the buyer has signed for `at_most` |
//! | `{ by = "header:x-tier", gold = "$0.05", otherwise = "$0.20" }` | looked up by what a request says |
//! | `{ by = "time", "mon-fri 09:00-17:00" = "$0.02", otherwise = "$0.01" }` | looked up by the time of the week |
//! | `["$0.01", "0.009 EURC"]` | one of these, whichever the buyer takes |
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
mod hours;
mod metered;
mod money;
mod quantity;
mod rate;
mod several;
mod source;
mod streamed;
mod unit;

use std::fmt;

use http::HeaderName;

pub use self::choice::Choice;
pub(crate) use self::choice::Choosing;
pub(crate) use self::counted::Counted;
pub(crate) use self::hours::Timing;
pub use self::hours::{Hours, HoursError, Window, Zone};
pub(crate) use self::metered::{Meter, Metering, Payable};
pub use self::money::{Money, MoneyError};
pub use self::rate::{Rate, RateError};
pub use self::several::{Part, Several, SeveralError};
pub(crate) use self::several::{Together, Voice};
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
    /// A price for each part of the week.
    Hours(Hours),
    /// Several prices, of which a buyer takes one.
    Several(Several),
}

impl Tariff {
    /// Whether the price is known only after the work, and buyers sign a ceiling.
    #[must_use]
    pub fn is_metered(&self) -> bool {
        match self {
            Self::Rate(rate) => rate.is_metered(),
            Self::Several(several) => several.parts().iter().any(|part| part.price.is_metered()),
            Self::Fixed(_) | Self::Choice(_) | Self::Hours(_) => false,
        }
    }

    /// The least and the most that it can cost, as far as that is known beforehand.
    pub(crate) fn bounds(&self) -> (Option<&Money>, Option<&Money>) {
        match self {
            Self::Fixed(price) => (Some(price), Some(price)),
            Self::Rate(rate) => (rate.at_least(), rate.at_most()),
            Self::Choice(choice) => ends(choice.prices().collect()),
            Self::Hours(hours) => ends(hours.prices().collect()),
            // One and the same thing has several prices, in coins that may differ.
            Self::Several(_) => (None, None),
        }
    }

    /// Whether it is counted in, or looked up from, the body of a request.
    pub(crate) fn reads_body(&self) -> bool {
        match self {
            Self::Fixed(_) | Self::Hours(_) => false,
            Self::Several(several) => several.parts().iter().any(|part| part.price.reads_body()),
            Self::Rate(rate) => matches!(rate.of(), Source::Request(_)),
            Self::Choice(choice) => matches!(choice.by(), Source::Request(_)),
        }
    }

    /// Whether it may differ from request to request, and is quoted before it is paid.
    #[must_use]
    pub fn is_quoted(&self) -> bool {
        match self {
            Self::Fixed(_) => false,
            Self::Rate(rate) => !rate.is_metered(),
            Self::Choice(_) | Self::Hours(_) => true,
            Self::Several(several) => several.parts().iter().any(|part| part.price.is_quoted()),
        }
    }

    /// A sum in each coin in which it is priced.
    pub(crate) fn sums(&self) -> Vec<&Money> {
        match self {
            Self::Fixed(price) => vec![price],
            Self::Rate(rate) => vec![rate.each()],
            Self::Choice(choice) => choice.prices().collect(),
            Self::Hours(hours) => hours.prices().collect(),
            Self::Several(several) => several.parts().iter().flat_map(|part| part.price.sums()).collect(),
        }
    }

    /// The headers of a request that decide the price, if any do.
    pub(crate) fn headers(&self) -> Vec<HeaderName> {
        let source = match self {
            Self::Fixed(_) | Self::Hours(_) => return Vec::new(),
            Self::Rate(rate) => rate.of(),
            Self::Choice(choice) => choice.by(),
            Self::Several(several) => return several.parts().iter().flat_map(|part| part.price.headers()).collect(),
        };
        match source {
            Source::Header(name) => vec![name.clone()],
            Source::Request(_) | Source::Query(_) | Source::Response(_) => Vec::new(),
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
            Self::Hours(hours) => write!(formatter, "{hours}"),
            Self::Several(several) => write!(formatter, "{several}"),
        }
    }
}
