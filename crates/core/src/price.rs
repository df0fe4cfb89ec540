//! Prices as people write them: `"$0.01"`, `"0.10 USDC"`, or atomic units of a named asset.
//!
//! A price becomes atomic units exactly or not at all: what an asset's decimals cannot hold is an error, never
//! rounded, and never free.

use std::fmt;
use std::str::FromStr;

use ruint::aliases::U256;

use crate::amount::Amount;
use crate::asset::{Asset, AssetId};

const MAX_FRACTION_DIGITS: usize = 36;
const MAX_WHOLE_DIGITS: usize = 30;

/// A positive decimal number, kept exactly: mantissa × 10^−scale.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Decimal {
    mantissa: U256,
    scale: u8,
}

/// What something costs, before it is known in which asset it is paid.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Price {
    /// So many US dollars, payable in any asset that stands for a dollar.
    Usd(Decimal),
    /// So many of the asset with this symbol.
    Symbol(Decimal, String),
    /// So many atomic units of exactly this asset.
    Atomic(Amount, AssetId),
}

/// Why a price cannot be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PriceError {
    /// The text is no price.
    #[error("expected a price such as \"$0.01\" or \"0.10 USDC\", got {got:?}: {why}")]
    Unreadable {
        /// The text, cut to 100 characters.
        got: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The price has a finer fraction than the asset has decimals.
    #[error("{price} is not a whole number of atomic units of {symbol} ({decimals} decimals); the finest step is {step}")]
    NotRepresentable {
        /// The price as written.
        price: String,
        /// The asset asked for.
        symbol: String,
        /// The asset's decimals.
        decimals: u8,
        /// One atomic unit of the asset.
        step: String,
    },
    /// The price is larger than 2^256 − 1 atomic units.
    #[error("{price} is more than an amount of {symbol} can hold")]
    TooLarge {
        /// The price as written.
        price: String,
        /// The asset asked for.
        symbol: String,
    },
    /// The price names another asset, or a dollar price meets an asset that does not stand for a dollar.
    #[error("{price} cannot be asked in {symbol}")]
    OtherAsset {
        /// The price as written.
        price: String,
        /// The asset that was tried.
        symbol: String,
    },
}

impl Decimal {
    /// This number of whole units as atomic units of an asset with that many decimals; `None` if it is not exact or
    /// does not fit.
    pub fn to_atomic(self, decimals: u8) -> Option<Amount> {
        let shift = decimals.checked_sub(self.scale)?;
        let factor = U256::from(10_u8).checked_pow(U256::from(shift))?;
        self.mantissa.checked_mul(factor).map(Amount::from_units)
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(fraction) || text.ends_with('.') {
            return Err("the number must be digits with at most one point between them");
        }
        let fraction = fraction.trim_end_matches('0');
        let whole = whole.trim_start_matches('0');
        if fraction.len() > MAX_FRACTION_DIGITS || whole.len() > MAX_WHOLE_DIGITS {
            return Err("the number has too many digits");
        }
        let mantissa =
            U256::from_str_radix(&format!("0{whole}{fraction}"), 10).map_err(|_| "the number has too many digits")?;
        if mantissa.is_zero() {
            return Err("a price must be more than zero; leave the route unpriced to make it free");
        }
        let scale = u8::try_from(fraction.len()).map_err(|_| "the number has too many digits")?;
        Ok(Self { mantissa, scale })
    }
}

impl Price {
    /// What this price is in atomic units of that asset.
    pub fn in_asset(&self, asset: &Asset) -> Result<Amount, PriceError> {
        let other = || PriceError::OtherAsset { price: self.to_string(), symbol: asset.symbol.clone() };
        let number = match self {
            Self::Usd(number) if asset.usd => number,
            Self::Symbol(number, symbol) if symbol.eq_ignore_ascii_case(&asset.symbol) => number,
            Self::Atomic(amount, id) if id.as_str().eq_ignore_ascii_case(asset.id.as_str()) => return Ok(*amount),
            _ => return Err(other()),
        };
        if number.scale > asset.decimals {
            return Err(PriceError::NotRepresentable {
                price: self.to_string(),
                symbol: asset.symbol.clone(),
                decimals: asset.decimals,
                step: Amount::from(1).to_decimal_string(asset.decimals),
            });
        }
        number
            .to_atomic(asset.decimals)
            .ok_or_else(|| PriceError::TooLarge { price: self.to_string(), symbol: asset.symbol.clone() })
    }
}

impl FromStr for Price {
    type Err = PriceError;

    /// Reads `"$0.01"`, `"0.01"` (dollars too, as the official SDKs read it) and `"0.10 USDC"`.
    fn from_str(text: &str) -> Result<Self, PriceError> {
        let fail = |why| PriceError::Unreadable { got: text.chars().take(100).collect(), why };
        let trimmed = text.trim();
        if let Some(number) = trimmed.strip_prefix('$') {
            return Decimal::parse(number.trim_start()).map(Self::Usd).map_err(fail);
        }
        match trimmed.split_once(char::is_whitespace) {
            None => Decimal::parse(trimmed).map(Self::Usd).map_err(fail),
            Some((number, symbol)) => {
                let symbol = symbol.trim_start();
                let starts_well = symbol.starts_with(|first: char| first.is_ascii_alphabetic());
                if !starts_well || !symbol.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '.') {
                    return Err(fail("after the number comes one symbol such as USDC"));
                }
                Decimal::parse(number).map(|number| Self::Symbol(number, symbol.to_owned())).map_err(fail)
            }
        }
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&Amount::from_units(self.mantissa).to_decimal_string(self.scale))
    }
}

impl fmt::Debug for Decimal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl fmt::Display for Price {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usd(number) => write!(formatter, "${number}"),
            Self::Symbol(number, symbol) => write!(formatter, "{number} {symbol}"),
            Self::Atomic(amount, asset) => write!(formatter, "{amount} atomic units of {asset}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn usdc(decimals: u8) -> Asset {
        Asset {
            network: "eip155:84532".parse().unwrap(),
            id: "0x036CbD53842c5426634e7929541eC2318f3dCF7e".parse().unwrap(),
            symbol: "USDC".to_owned(),
            decimals,
            usd: true,
        }
    }

    #[test]
    fn prices_are_exact_in_the_assets_decimals() {
        let cases = [
            ("$0.01", 6, 10_000),
            ("0.10 USDC", 6, 100_000),
            ("$ 1", 6, 1_000_000),
            ("0.000001", 6, 1),
            ("$1.50", 2, 150),
            ("4.02", 6, 4_020_000),
        ];
        for (text, decimals, units) in cases {
            assert_eq!(text.parse::<Price>().unwrap().in_asset(&usdc(decimals)), Ok(Amount::from(units)), "{text}");
        }
        assert_eq!("$1".parse::<Price>().unwrap().in_asset(&usdc(18)).unwrap().to_string(), "1000000000000000000");
    }

    #[test]
    fn a_price_finer_than_the_asset_is_an_error_and_never_free() {
        let error = "$0.0000001".parse::<Price>().unwrap().in_asset(&usdc(6)).unwrap_err();
        assert!(matches!(error, PriceError::NotRepresentable { .. }), "{error}");
        assert!(error.to_string().contains("0.000001"), "{error}");
    }

    #[test]
    fn what_is_no_price_is_refused() {
        for bad in [
            "", "$", "0", "$0", "$0.00", "-1", "$-1", "+1", "1e-7", "$1e3", "$.5", "5.", "1,000", "$1 2", "1 USDC x", "1 $",
            "free", "0x10", "NaN", "∞", "1 U$D",
        ] {
            assert!(bad.parse::<Price>().is_err(), "{bad:?} was taken for a price");
        }
        assert!(format!("${}", "9".repeat(100_000)).parse::<Price>().is_err());
    }

    #[test]
    fn a_price_in_one_asset_is_not_asked_in_another() {
        let euro = Asset { symbol: "EURC".to_owned(), usd: false, ..usdc(6) };
        assert!("$1".parse::<Price>().unwrap().in_asset(&euro).is_err());
        assert!("1 USDC".parse::<Price>().unwrap().in_asset(&euro).is_err());
        assert!("1 EURC".parse::<Price>().unwrap().in_asset(&euro).is_ok());
    }

    proptest! {
        #[test]
        fn a_price_written_from_atomic_units_gives_them_back(units in 1_u64.., decimals in 0_u8..=18) {
            let amount = Amount::from(units);
            let price: Price = format!("${}", amount.to_decimal_string(decimals)).parse().unwrap();
            prop_assert_eq!(price.in_asset(&usdc(decimals)), Ok(amount));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".*") {
            let _ = text.parse::<Price>();
        }
    }
}
