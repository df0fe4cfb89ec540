//! How many of something there are: a number that is never a float.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

/// The most digits after the point.
const MAX_FRACTION_DIGITS: usize = 9;
/// The most digits before the point.
const MAX_WHOLE_DIGITS: usize = 9;

/// A number of 0 or above, with at most nine digits on each side of its point; whole numbers may be larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quantity {
    /// The number times 10^scale.
    pub(super) mantissa: u64,
    pub(super) scale: u8,
}

impl Quantity {
    /// A whole number.
    pub(crate) const fn whole(count: u64) -> Self {
        Self { mantissa: count, scale: 0 }
    }

    /// A length, as the machine counts it.
    pub(crate) fn length(count: usize) -> Self {
        Self::whole(u64::try_from(count).unwrap_or(u64::MAX))
    }

    /// So many millionths.
    pub(crate) const fn millionths(count: u64) -> Self {
        Self { mantissa: count, scale: 6 }
    }

    pub(crate) const fn is_none(self) -> bool {
        self.mantissa == 0
    }

    /// A number of JSON. One that was written with an exponent, or with more digits than are kept, is none.
    pub(crate) fn of_json(value: &Value) -> Option<Self> {
        // A number is written as the shortest text that reads as the same number, which is what its writer wrote.
        value.as_u64().map(Self::whole).or_else(|| value.as_number()?.to_string().parse().ok())
    }
}

impl FromStr for Quantity {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || text.ends_with('.') || !is_digits(whole) || !is_digits(fraction) {
            return Err(());
        }
        let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
        if !fraction.is_empty() && (whole.len() > MAX_WHOLE_DIGITS || fraction.len() > MAX_FRACTION_DIGITS) {
            return Err(());
        }
        let mantissa = ["0", whole, fraction].concat().parse().map_err(|_| ())?;
        Ok(Self { mantissa, scale: u8::try_from(fraction.len()).map_err(|_| ())? })
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&farthing_core::amount::Amount::from(self.mantissa).to_decimal_string(self.scale))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_exactly_or_not_at_all() {
        for (text, mantissa, scale) in
            [("0", 0, 0), ("007", 7, 0), ("12.50", 125, 1), ("0.000000001", 1, 9), ("18446744073709551615", u64::MAX, 0)]
        {
            assert_eq!(text.parse(), Ok(Quantity { mantissa, scale }), "{text}");
        }
        for bad in
            ["", ".", "1.", ".5", "-1", "+1", "1e3", "1,000", " 1", "0x1", "0.0000000001", "18446744073709551616", "٣", "NaN"]
        {
            assert_eq!(bad.parse::<Quantity>(), Err(()), "{bad}");
        }
    }

    #[test]
    fn numbers_of_json_are_what_was_written() {
        let read = |text: &str| Quantity::of_json(&serde_json::from_str(text).unwrap()).map(|quantity| quantity.to_string());
        assert_eq!(read("12.5"), Some("12.5".to_owned()));
        assert_eq!(read("0.1"), Some("0.1".to_owned()));
        assert_eq!(read("18446744073709551615"), Some(u64::MAX.to_string()));
        for bad in ["-1", "-0.5", "1e300", "1e-20", "\"5\"", "null", "true"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
