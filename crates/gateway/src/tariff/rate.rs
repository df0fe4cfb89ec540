//! So much for each so many: the arithmetic of prices that are counted.

use std::fmt;

use farthing_core::amount::Amount;
use ruint::aliases::{U256, U512};

use super::money::{DIGITS, Money};
use super::quantity::Quantity;
use super::source::Source;
use super::unit::{Per, Unit};

/// A price for each so many of something that is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rate {
    pub(super) each: Money,
    pub(super) per: Per,
    pub(super) of: Source,
    pub(super) at_least: Option<Money>,
    pub(super) at_most: Option<Money>,
    /// What an answer costs in which there is nothing to count; without it, such an answer is not given.
    pub(super) uncounted: Option<Money>,
}

/// Why a rate makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RateError {
    /// Buyers must know what they sign.
    #[error("at_most: expected the most that an answer may cost, because buyers sign for it before it is counted")]
    NoCeiling,
    /// Two coins in one price.
    #[error("{0}: expected the coin that `each` is in")]
    OtherCoin(&'static str),
    /// The least is more than the most.
    #[error("at_least: expected no more than at_most, got more")]
    LeastAboveMost,
    /// The price without a count is more than buyers sign for.
    #[error("uncounted: expected no more than at_most, got more")]
    UncountedAboveMost,
    /// A request without a count has no price.
    #[error("uncounted: it is for what is counted in the answer; a request in which nothing can be counted is refused")]
    UncountedRequest,
    /// Only an answer as a whole takes time.
    #[error("per: time is counted of \"response\", or where a number is given; a request's body has neither")]
    NoTime,
    /// Parts of a JSON document have no other measure than their own.
    #[error(
        "per: of \"response\" as a whole, bytes, words, characters, lines and time are counted; name a number with a pointer"
    )]
    NoMeasure,
}

impl Rate {
    /// A rate, with both its ends.
    pub fn new(each: Money, per: Per, of: Source, at_least: Option<Money>, at_most: Option<Money>) -> Result<Self, RateError> {
        for (name, sum) in [("at_least", &at_least), ("at_most", &at_most)] {
            if sum.as_ref().is_some_and(|sum| !sum.is_same_coin(&each)) {
                return Err(RateError::OtherCoin(name));
            }
        }
        if at_least.as_ref().zip(at_most.as_ref()).is_some_and(|(least, most)| least.scaled() > most.scaled()) {
            return Err(RateError::LeastAboveMost);
        }
        match &of {
            Source::Response(_) if at_most.is_none() => return Err(RateError::NoCeiling),
            Source::Request(pointer) if pointer.is_whole() && per.unit == Unit::Seconds => return Err(RateError::NoTime),
            Source::Response(pointer) if pointer.is_whole() && per.unit == Unit::Things => return Err(RateError::NoMeasure),
            _ => {}
        }
        let is_timed = matches!(&of, Source::Response(pointer) if pointer.is_whole());
        let per = if per.unit == Unit::Seconds && !is_timed { per.given() } else { per };
        Ok(Self { each, per, of, at_least, at_most, uncounted: None })
    }

    /// The same, where an answer in which there is nothing to count costs this.
    pub fn with_uncounted(self, price: Money) -> Result<Self, RateError> {
        if !self.is_metered() {
            return Err(RateError::UncountedRequest);
        }
        if !price.is_same_coin(&self.each) {
            return Err(RateError::OtherCoin("uncounted"));
        }
        if self.at_most.as_ref().is_some_and(|most| price.scaled() > most.scaled()) {
            return Err(RateError::UncountedAboveMost);
        }
        Ok(Self { uncounted: Some(price), ..self })
    }

    /// Whether nobody knows what an answer costs that ends before its count.
    pub(crate) fn lacks_uncounted(&self) -> bool {
        matches!(&self.of, Source::Response(pointer) if !pointer.is_whole()) && self.uncounted.is_none()
    }

    /// Whether it is counted in the answer.
    pub(crate) const fn is_metered(&self) -> bool {
        self.of.is_of_response()
    }

    /// The most that it can cost, if there is a most.
    pub(crate) const fn at_most(&self) -> Option<&Money> {
        self.at_most.as_ref()
    }

    /// The least that it can cost, if there is a least.
    pub(crate) const fn at_least(&self) -> Option<&Money> {
        self.at_least.as_ref()
    }

    pub(crate) const fn of(&self) -> &Source {
        &self.of
    }

    pub(crate) const fn each(&self) -> &Money {
        &self.each
    }

    /// The least and the most, and the price without a count, as far as there are.
    pub(crate) fn ends(&self) -> impl Iterator<Item = &Money> {
        self.at_least.iter().chain(&self.at_most).chain(&self.uncounted)
    }

    /// What so many cost in an asset with that many decimals: rounded up to a whole atomic unit, then held between both ends.
    pub(super) fn cost(&self, count: Quantity, decimals: u8) -> Amount {
        let end = |sum: &Option<Money>| sum.as_ref().and_then(|sum| round_up(sum.scaled(), Quantity::whole(1), 1, decimals));
        let cost = round_up(self.each.scaled(), count, self.per.count, decimals);
        // What no amount can hold is more than any ceiling; without one, nobody could pay it either.
        let cost = cost.unwrap_or(Amount::MAX);
        let cost = end(&self.at_least).map_or(cost, |least| cost.max(least));
        end(&self.at_most).map_or(cost, |most| cost.min(most))
    }
}

/// `scaled` × `count` ÷ `per`, in atomic units, rounded up. `None` if no amount can hold it.
fn round_up(scaled: U256, count: Quantity, per: u64, decimals: u8) -> Option<Amount> {
    let power = |exponent: u8| U512::from(10_u8).checked_pow(U512::from(exponent));
    // At most 256 and 64 bits, and 64, 30 and 120 bits below: neither product can overflow.
    let money = U512::from(scaled).checked_mul(U512::from(count.mantissa))?;
    let whole = U512::from(per).checked_mul(power(count.scale)?)?.checked_mul(power(DIGITS.checked_sub(decimals)?)?)?;
    let (quotient, rest) = (money.checked_div(whole)?, money.checked_rem(whole)?);
    let rounded = if rest.is_zero() { quotient } else { quotient.checked_add(U512::ONE)? };
    U256::checked_from_limbs_slice(rounded.as_limbs()).map(Amount::from_units)
}

impl fmt::Display for Rate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} per {} of {}", self.each, self.per, self.of)?;
        if let Some(least) = &self.at_least {
            write!(formatter, ", at least {least}")?;
        }
        if let Some(most) = &self.at_most {
            write!(formatter, ", at most {most}")?;
        }
        if let Some(price) = &self.uncounted {
            write!(formatter, ", {price} if there is no count")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rate(each: &str, per: &str, least: Option<&str>, most: Option<&str>) -> Result<Rate, RateError> {
        let money = |text: &str| text.parse().unwrap();
        Rate::new(money(each), per.parse().unwrap(), "request:/a".parse().unwrap(), least.map(money), most.map(money))
    }

    fn cost(each: &str, per: &str, count: &str, decimals: u8) -> String {
        rate(each, per, None, None).unwrap().cost(count.parse().unwrap(), decimals).to_string()
    }

    #[test]
    fn costs_are_exact_and_rounded_up_once() {
        assert_eq!(cost("$0.002", "1000 words", "1000", 6), "2000");
        assert_eq!(cost("$0.002", "1000 words", "1", 6), "2");
        assert_eq!(cost("$0.0001", "1000 words", "1", 6), "1", "a tenth of an atomic unit");
        assert_eq!(cost("$0.0001", "1000 words", "11", 6), "2");
        assert_eq!(cost("$0.005", "1000 rows", "1234", 6), "6170");
        assert_eq!(cost("$0.000000001", "token", "1000", 6), "1");
        assert_eq!(cost("$0.01", "2 minutes", "90.5", 6), "452500", "minutes that are given are minutes");
        assert_eq!(cost("$0.002", "1000 words", "1", 18), "2000000000000");
        assert_eq!(cost("$1", "3 files", "1", 2), "34");
    }

    #[test]
    fn time_is_counted_in_parts_of_a_second() {
        let money = |text: &str| text.parse().unwrap();
        let of = "response".parse().unwrap();
        let rate = Rate::new(money("$0.01"), "minute".parse().unwrap(), of, None, Some(money("$1"))).unwrap();
        assert_eq!(rate.cost(Quantity::millionths(90_500_000), 6), Amount::from(15_084));
        assert_eq!(rate.cost(Quantity::millionths(1), 6), Amount::from(1));
    }

    #[test]
    fn a_cost_stays_between_its_ends_however_much_is_counted() {
        let rate = rate("$0.01", "page", Some("$0.05"), Some("$1")).unwrap();
        for (count, cost) in
            [("0", 50_000), ("5", 50_000), ("6", 60_000), ("100", 1_000_000), ("18446744073709551615", 1_000_000)]
        {
            assert_eq!(rate.cost(count.parse().unwrap(), 6), Amount::from(cost), "{count}");
        }
    }

    #[test]
    fn what_no_amount_can_hold_is_the_most() {
        let number = "9".repeat(30);
        let rate = rate(&number, "page", None, Some(&number)).unwrap();
        let most: Amount = [&*number, &"0".repeat(36)].concat().parse().unwrap();
        assert_eq!(rate.cost(Quantity::whole(u64::MAX), 36), most);
    }

    #[test]
    fn contradictions_are_found_when_the_file_is_read() {
        assert_eq!(rate("$1", "page", None, Some("1 EURC")), Err(RateError::OtherCoin("at_most")));
        assert_eq!(rate("$1", "page", Some("$2"), Some("$1")), Err(RateError::LeastAboveMost));
        let of = |per: &str, of: &str| Rate::new("$1".parse().unwrap(), per.parse().unwrap(), of.parse().unwrap(), None, None);
        assert_eq!(of("token", "response:/usage"), Err(RateError::NoCeiling));
        assert_eq!(of("second", "request"), Err(RateError::NoTime));
        assert_eq!(of("2 minutes", "query:minutes").map(|rate| rate.cost(Quantity::whole(3), 0)), Ok(Amount::from(2)));
    }

    proptest! {
        /// Rounded up, and by less than one atomic unit: the smallest whole number that is no less than what was counted.
        #[test]
        fn a_cost_is_the_smallest_amount_that_covers_it(millionths in 1_u64..1_000_000, count in 0_u64..1_000_000, per in 1_u64..5_000) {
            let each = format!("${}", Amount::from(millionths).to_decimal_string(6));
            let cost = rate(&each, &format!("{per} words"), None, None).unwrap().cost(Quantity::whole(count), 6).units();
            let exact = U256::from(millionths) * U256::from(count);
            prop_assert!(cost * U256::from(per) >= exact);
            prop_assert!(cost.is_zero() || (cost - U256::ONE) * U256::from(per) < exact);
        }
    }
}
