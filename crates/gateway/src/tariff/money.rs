//! A sum of money as it is written, kept exactly.

use std::fmt;
use std::str::FromStr;

use farthing_core::amount::Amount;
use farthing_core::price::{Price, PriceError};
use ruint::aliases::U256;

/// How many digits after the point a sum is kept with: all that a price may be written with.
pub(super) const DIGITS: u8 = 36;

/// A price such as `"$0.01"` or `"0.10 USDC"`, with which can be reckoned.
#[derive(Clone, PartialEq, Eq)]
pub struct Money {
    price: Price,
    /// The number times 10^[`DIGITS`].
    scaled: U256,
}

/// Why a text is no sum of money here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// It is no price at all.
    #[error(transparent)]
    Price(#[from] PriceError),
    /// It has more digits than can be reckoned with.
    #[error("expected a price with fewer digits")]
    TooLong,
}

impl Money {
    /// The price as it was written.
    #[must_use]
    pub const fn price(&self) -> &Price {
        &self.price
    }

    /// Whether two sums can be compared: both dollars, or both of one coin.
    #[must_use]
    pub fn is_same_coin(&self, other: &Self) -> bool {
        match (&self.price, &other.price) {
            (Price::Usd(_), Price::Usd(_)) => true,
            (Price::Symbol(_, ours), Price::Symbol(_, theirs)) => ours.eq_ignore_ascii_case(theirs),
            _ => false,
        }
    }

    pub(super) const fn scaled(&self) -> U256 {
        self.scaled
    }

    /// So many atomic units of an asset with that many decimals, if that is exact.
    pub(super) fn atomic(&self, decimals: u8) -> Option<Amount> {
        let step = U256::from(10_u8).checked_pow(U256::from(DIGITS.checked_sub(decimals)?))?;
        self.scaled.checked_rem(step)?.is_zero().then_some(())?;
        self.scaled.checked_div(step).map(Amount::from_units)
    }

    /// One of the same coin, for finding out which assets stand for it.
    pub(crate) fn one(&self) -> String {
        self.written("1")
    }

    /// So many atomic units of the same coin, where it has that many decimals, as a price.
    pub(super) fn price_of(&self, amount: Amount, decimals: u8) -> Result<Price, PriceError> {
        self.written(&amount.to_decimal_string(decimals)).parse()
    }

    fn written(&self, number: &str) -> String {
        match &self.price {
            Price::Symbol(_, symbol) => format!("{number} {symbol}"),
            Price::Usd(_) | Price::Atomic(..) => format!("${number}"),
        }
    }
}

impl FromStr for Money {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let price: Price = text.parse()?;
        let scaled = match &price {
            Price::Usd(number) | Price::Symbol(number, _) => number.to_atomic(DIGITS),
            // No text is read as such a price.
            Price::Atomic(..) => None,
        };
        Ok(Self { scaled: scaled.ok_or(MoneyError::TooLong)?.units(), price })
    }
}

impl fmt::Display for Money {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.price, formatter)
    }
}

impl fmt::Debug for Money {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.price, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn money(text: &str) -> Money {
        text.parse().unwrap()
    }

    #[test]
    fn a_sum_is_atomic_units_where_that_is_exact() {
        assert_eq!(money("$0.01").atomic(6), Some(Amount::from(10_000)));
        assert_eq!(money("0.0000001 USDC").atomic(6), None);
        assert_eq!(money("0.0000001 USDC").atomic(7), Some(Amount::from(1)));
        assert_eq!(money("$1").atomic(37), None);
    }

    #[test]
    fn sums_of_one_coin_can_be_compared() {
        assert!(money("$1").is_same_coin(&money("0.01")));
        assert!(money("1 USDC").is_same_coin(&money("2 usdc")));
        assert!(!money("1 USDC").is_same_coin(&money("$1")));
        assert!(!money("1 USDC").is_same_coin(&money("1 EURC")));
        assert_eq!(money("3 EURC").one(), "1 EURC");
        assert_eq!(money("3 EURC").price_of(Amount::from(1_500_000), 6).unwrap().to_string(), "1.5 EURC");
    }
}
