//! Atomic units: the integer in which an asset is counted on its chain.

use std::fmt;
use std::str::FromStr;

use ruint::aliases::U256;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The most decimal digits that a 256-bit integer can have.
const MAX_DIGITS: usize = 78;

/// A whole number of atomic units of some asset, 0 ..= 2²⁵⁶ − 1.
///
/// On the wire it is a decimal string and nothing else (x402 v2 §5.1: `amount`): no sign, space, leading zero,
/// fraction, exponent or hexadecimal, and never a JSON number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(U256);

/// Why a text is not an amount of atomic units.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected atomic units as a decimal string such as \"10000\", got {got:?}: {why}")]
pub struct AmountError {
    got: String,
    why: &'static str,
}

impl Amount {
    /// No units.
    pub const ZERO: Self = Self(U256::ZERO);
    /// The largest amount that the protocol can carry.
    pub const MAX: Self = Self(U256::MAX);

    /// Wraps a 256-bit integer of atomic units.
    pub const fn from_units(units: U256) -> Self {
        Self(units)
    }

    /// The number of atomic units.
    pub const fn units(self) -> U256 {
        self.0
    }

    /// True for no units at all.
    pub fn is_zero(self) -> bool {
        self.0.is_zero()
    }

    /// The sum, or `None` if it would not fit in 256 bits.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The difference, or `None` if `other` is larger.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// The product with a plain count, or `None` if it would not fit in 256 bits.
    pub fn checked_mul(self, count: u64) -> Option<Self> {
        self.0.checked_mul(U256::from(count)).map(Self)
    }

    /// This amount in whole units of an asset with that many decimals, exactly: 10000 at 6 decimals is `0.01`.
    pub fn to_decimal_string(self, decimals: u8) -> String {
        let digits = self.0.to_string();
        let decimals = usize::from(decimals);
        let padded = format!("{digits:0>width$}", width = decimals.saturating_add(1));
        let (whole, fraction) = padded.split_at(padded.len().saturating_sub(decimals));
        let fraction = fraction.trim_end_matches('0');
        if fraction.is_empty() { whole.to_owned() } else { format!("{whole}.{fraction}") }
    }
}

impl From<u64> for Amount {
    fn from(units: u64) -> Self {
        Self(U256::from(units))
    }
}

impl FromStr for Amount {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, AmountError> {
        let fail = |why| Err(AmountError { got: text.chars().take(100).collect(), why });
        if text.is_empty() {
            return fail("it is empty");
        }
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return fail("only the digits 0 to 9 may appear");
        }
        if text.len() > 1 && text.starts_with('0') {
            return fail("leading zeros are not allowed");
        }
        if text.len() > MAX_DIGITS {
            return fail("it is larger than 2^256 - 1");
        }
        match U256::from_str_radix(text, 10) {
            Ok(units) => Ok(Self(units)),
            Err(_) => fail("it is larger than 2^256 - 1"),
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn decimal_digits_and_nothing_else_are_an_amount() {
        assert_eq!("10000".parse(), Ok(Amount::from(10_000)));
        assert_eq!("0".parse(), Ok(Amount::ZERO));
        let too_large = format!("{}", U256::MAX).replace("115792", "215792");
        let very_long = "1".repeat(100_000);
        for bad in
            ["", " 1", "1 ", "+1", "-1", "0x10", "1e3", "1.0", "1_000", "1,000", "01", "١", "NaN", &too_large, &very_long]
        {
            assert!(bad.parse::<Amount>().is_err(), "{bad:?} was taken for an amount");
        }
        assert_eq!(U256::MAX.to_string().parse(), Ok(Amount::MAX));
    }

    #[test]
    fn a_json_number_is_not_an_amount() {
        assert!(serde_json::from_str::<Amount>("10000").is_err());
        assert_eq!(serde_json::from_str::<Amount>("\"10000\"").unwrap(), Amount::from(10_000));
    }

    #[test]
    fn arithmetic_refuses_to_wrap() {
        assert_eq!(Amount::MAX.checked_add(Amount::from(1)), None);
        assert_eq!(Amount::ZERO.checked_sub(Amount::from(1)), None);
        assert_eq!(Amount::MAX.checked_mul(2), None);
    }

    #[test]
    fn atomic_units_read_as_whole_units() {
        let cases =
            [(10_000, 6, "0.01"), (1, 6, "0.000001"), (1_000_000, 6, "1"), (1_500_000, 6, "1.5"), (7, 0, "7"), (0, 6, "0")];
        for (units, decimals, expected) in cases {
            assert_eq!(Amount::from(units).to_decimal_string(decimals), expected);
        }
    }

    proptest! {
        #[test]
        fn every_amount_survives_its_text(limbs in any::<[u64; 4]>()) {
            let amount = Amount::from_units(U256::from_limbs(limbs));
            prop_assert_eq!(amount.to_string().parse::<Amount>(), Ok(amount));
        }
    }
}
