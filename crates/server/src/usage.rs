//! How much of what a payment allows a request has used: the word of the handler, bounded by the offer.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use farthing_core::amount::{Amount, AmountError};
use farthing_core::asset::Asset;
use farthing_core::price::{Price, PriceError};

/// Hundredths of a percent in a whole.
const WHOLE_BASIS_POINTS: u64 = 10_000;
/// The most digits before the point of a percentage.
const MAX_PERCENT_DIGITS: usize = 3;
/// The most characters of a handler's text that an error repeats.
const MAX_SHOWN_CHARS: usize = 100;

/// What a request is going to be charged. Handlers get it from [`Paid::usage`](crate::Paid::usage).
///
/// On a route that is priced with [`Server::price_up_to`](crate::Server::price_up_to), the offer is a ceiling, and the handler
/// says how much of it is charged: at once, or bit by bit, from any task. Without a word from it the whole ceiling is charged;
/// 0 charges nothing. A charge above the ceiling is an error and changes nothing.
///
/// On any other route the whole offer is charged, and a handler that says otherwise fails: nobody is charged then.
///
/// Clones are one handle. Once the answer is whole, it is settled, and nothing can be changed any more.
///
/// ```
/// use axum::{Extension, Router, routing::get};
/// use farthing_server::{Paid, RouteError, Server};
///
/// async fn poem(Extension(paid): Extension<Paid>) -> Result<String, String> {
///     let mut poem = String::new();
///     for word in ["the", "sea"] {
///         paid.usage().add(150).map_err(|error| error.to_string())?; // atomic units
///         poem.push_str(word);
///     }
///     Ok(poem)
/// }
///
/// fn app(toll: &Server) -> Result<Router, RouteError> {
///     Ok(Router::new().route("/poem", get(poem).layer(toll.price_up_to("$0.01")?)))
/// }
/// ```
#[derive(Clone)]
pub struct Usage(Arc<Meter>);

/// Why a charge cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsageError {
    /// The scheme charges the whole offer, always.
    #[error("this route charges a fixed price, and its handler said otherwise; price it with Server::price_up_to instead")]
    NotMetered,
    /// More than the payer allowed.
    #[error("usage: expected at most {ceiling}, which the payer allowed, got {got}; nothing was changed")]
    AboveCeiling {
        /// What was to be charged.
        got: String,
        /// The offer.
        ceiling: Amount,
    },
    /// The request has been settled already.
    #[error("the request has been settled already; say what it used before its answer ends")]
    Late,
    /// The text is no percentage.
    #[error("expected a percentage from 0 to 100 with at most two decimals, such as \"33.33%\", got {0:?}")]
    Percent(String),
    /// The text is no amount of atomic units.
    #[error(transparent)]
    Amount(#[from] AmountError),
    /// The text is no price, or not one that the asset can hold exactly.
    #[error(transparent)]
    Price(#[from] PriceError),
}

struct Meter {
    ceiling: Amount,
    asset: Arc<Asset>,
    is_metered: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What the handler has said so far.
    said: Option<Amount>,
    /// What was charged before the work, whatever the handler says.
    charged: Option<Amount>,
    is_settled: bool,
    /// Whether the handler spoke where there is nothing to say.
    is_misused: bool,
}

impl Usage {
    pub(crate) fn new(ceiling: Amount, asset: Arc<Asset>, is_metered: bool) -> Self {
        Self(Arc::new(Meter { ceiling, asset, is_metered, state: Mutex::default() }))
    }

    /// The same where the offer was another, and nobody has said anything yet.
    pub(crate) fn up_to(&self, ceiling: Amount) -> Self {
        Self::new(ceiling, Arc::clone(&self.0.asset), self.0.is_metered)
    }

    /// The most that can be charged, in atomic units: the offer.
    pub fn ceiling(&self) -> Amount {
        self.0.ceiling
    }

    /// In what it is charged.
    pub(crate) fn asset(&self) -> &Asset {
        &self.0.asset
    }

    /// Whether less than the offer can be charged here.
    pub fn is_metered(&self) -> bool {
        self.0.is_metered
    }

    /// What would be charged if the work ended now, in atomic units. If the payment was charged before the work, that.
    pub fn charge(&self) -> Amount {
        let state = self.state();
        state.charged.or(state.said).unwrap_or(self.0.ceiling)
    }

    /// Charges so many atomic units, whatever was said before.
    pub fn set(&self, amount: impl Into<Amount>) -> Result<(), UsageError> {
        let amount = amount.into();
        self.change(|_| Some(amount), &amount)
    }

    /// Charges so many atomic units more; the first ones are added to nothing.
    pub fn add(&self, amount: impl Into<Amount>) -> Result<(), UsageError> {
        let amount = amount.into();
        self.change(|so_far| so_far.checked_add(amount), &format_args!("{amount} more"))
    }

    /// Charges a part of the ceiling such as `"33.33%"`, with or without the sign, rounded down to a whole atomic unit.
    pub fn set_percent(&self, percent: &str) -> Result<(), UsageError> {
        let points = basis_points(percent).ok_or_else(|| UsageError::Percent(shown(percent)))?;
        self.change(|_| share_of(self.0.ceiling, points), &shown(percent))
    }

    /// Charges a price such as `"$0.05"` or `"0.05 USDC"`, which the asset must be able to hold exactly.
    pub fn set_price(&self, price: &str) -> Result<(), UsageError> {
        let amount = if is_nothing(price) { Amount::ZERO } else { price.parse::<Price>()?.in_asset(&self.0.asset)? };
        self.change(|_| Some(amount), &shown(price))
    }

    /// Charges what a text says in any of these forms: `"1000"` atomic units, `"33.33%"`, `"$0.05"`.
    pub fn set_text(&self, amount: &str) -> Result<(), UsageError> {
        if amount.ends_with('%') {
            self.set_percent(amount)
        } else if amount.starts_with('$') {
            self.set_price(amount)
        } else {
            self.set(amount.parse::<Amount>()?)
        }
    }

    /// The handler has said something.
    pub(crate) fn is_said(&self) -> bool {
        self.state().said.is_some()
    }

    /// The handler has spoken where there is nothing to say.
    pub(crate) fn is_misused(&self) -> bool {
        self.state().is_misused
    }

    /// The payment was charged before the work.
    pub(crate) fn fix(&self, charged: Amount) {
        self.state().charged = Some(charged);
    }

    /// What is charged, now that nothing can be said any more.
    pub(crate) fn end(&self) -> Amount {
        self.state().is_settled = true;
        self.charge()
    }

    /// Sets the charge to what becomes of the one so far.
    fn change(&self, new: impl FnOnce(Amount) -> Option<Amount>, got: &dyn fmt::Display) -> Result<(), UsageError> {
        let mut state = self.state();
        if !self.0.is_metered {
            state.is_misused = true;
            return Err(UsageError::NotMetered);
        }
        if state.is_settled {
            return Err(UsageError::Late);
        }
        let ceiling = self.0.ceiling;
        let amount = new(state.said.unwrap_or(Amount::ZERO)).filter(|amount| *amount <= ceiling);
        state.said = Some(amount.ok_or_else(|| UsageError::AboveCeiling { got: got.to_string(), ceiling })?);
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is one assignment, so a panic leaves nothing half done.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PartialEq for Usage {
    /// Whether both are of one request.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Usage {}

impl fmt::Debug for Usage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Usage({} of {})", self.charge(), self.0.ceiling)
    }
}

/// Reads `33.33%`, with or without the sign, as hundredths of a percent.
fn basis_points(percent: &str) -> Option<u64> {
    let number = percent.strip_suffix('%').unwrap_or(percent);
    let (whole, fraction) = number.split_once('.').map_or((number, None), |(whole, fraction)| (whole, Some(fraction)));
    let fraction = match fraction {
        None => "00".to_owned(),
        Some(digits) if (1..=2).contains(&digits.len()) => format!("{digits:0<2}"),
        Some(_) => return None,
    };
    let is_whole = (1..=MAX_PERCENT_DIGITS).contains(&whole.len());
    let digits = [whole, &fraction].concat();
    if !is_whole || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

/// So many hundredths of a percent of an amount, rounded down; `None` above the whole.
fn share_of(amount: Amount, basis_points: u64) -> Option<Amount> {
    let (points, whole) = (Amount::from(basis_points).units(), Amount::from(WHOLE_BASIS_POINTS).units());
    if points > whole {
        return None;
    }
    // Divided first, so that no product is larger than the amount itself, or than the whole squared.
    let (quotient, rest) = (amount.units().checked_div(whole)?, amount.units().checked_rem(whole)?);
    let of_rest = rest.checked_mul(points)?.checked_div(whole)?;
    quotient.checked_mul(points)?.checked_add(of_rest).map(Amount::from_units)
}

/// Whether a price in dollars is zero, which no route may cost but a charge may be.
fn is_nothing(price: &str) -> bool {
    let Some(number) = price.strip_prefix('$') else { return false };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    [whole, fraction].iter().all(|part| !part.is_empty() && part.bytes().all(|digit| digit == b'0'))
}

fn shown(text: &str) -> String {
    text.chars().take(MAX_SHOWN_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn usage(ceiling: impl Into<Amount>, usd: bool) -> Usage {
        let asset = Asset {
            network: "eip155:84532".parse().unwrap(),
            id: "0xUsdc".parse().unwrap(),
            symbol: "USDC".to_owned(),
            decimals: 6,
            usd,
        };
        Usage::new(ceiling.into(), Arc::new(asset), true)
    }

    #[test]
    fn the_forms_of_a_charge_mean_atomic_units() {
        for (text, charge) in [
            ("1000", 1_000),
            ("0", 0),
            ("100%", 99_999),
            ("33.33%", 33_329),
            ("0.01%", 9),
            ("7.5%", 7_499),
            ("0%", 0),
            ("$0.05", 50_000),
            ("$0", 0),
            ("$0.00", 0),
        ] {
            let usage = usage(99_999, true);
            usage.set_text(text).unwrap();
            assert_eq!(usage.charge(), Amount::from(charge), "{text}");
        }
    }

    #[test]
    fn what_is_no_charge_is_refused_and_changes_nothing() {
        for text in [
            "",
            "%",
            "$",
            "-1",
            "1e3",
            "1.5",
            "01",
            "100.01%",
            "101%",
            "1000%",
            "33.333%",
            "33.%",
            ".5%",
            "+5%",
            "-5%",
            "5 %",
            "$0.0000001",
            "$0.10",
            "$-1",
            "$.",
            "$0.",
            "99999999999999999999%",
            "100001",
        ] {
            let usage = usage(99_999, true);
            usage.set(7).unwrap();
            assert!(usage.set_text(text).is_err(), "{text:?} was taken for a charge");
            assert_eq!(usage.charge(), Amount::from(7), "{text}");
        }
        assert!(matches!(usage(99_999, false).set_text("$0.05"), Err(UsageError::Price(_))));
    }

    #[test]
    fn without_a_word_it_is_the_ceiling_and_the_first_addition_starts_from_nothing() {
        let usage = usage(100, true);
        assert_eq!((usage.charge(), usage.is_said()), (Amount::from(100), false));
        for _ in 0..4 {
            usage.clone().add(25).unwrap();
        }
        let error = usage.add(1).unwrap_err();
        assert!(error.to_string().contains("at most 100") && error.to_string().contains("1 more"), "{error}");
        assert!(usage.add(Amount::MAX).is_err());
        assert_eq!(usage.end(), Amount::from(100));
        assert_eq!(usage.set(1), Err(UsageError::Late));
    }

    proptest! {
        #[test]
        fn a_share_is_never_more_than_the_whole(digits in "[1-9][0-9]{0,76}", points in 0_u64..=10_000) {
            let whole: Amount = digits.parse().unwrap();
            prop_assert!(share_of(whole, points).is_some_and(|share| share <= whole));
            prop_assert_eq!(share_of(whole, 10_000), Some(whole));
        }
    }
}
