//! The client's book: what was promised, and what was spent.

use std::fmt;
use std::str::FromStr;
use std::sync::Mutex;

use super::{BookError, locked};
use crate::BoxFuture;
use crate::amount::Amount;
use crate::asset::Asset;
use crate::price::Price;
use crate::scheme::TransactionId;
use crate::time::UnixSeconds;

/// Dollars are counted in units of 10⁻¹⁸, so that every stablecoin in use converts exactly.
const USD_DECIMALS: u8 = 18;

/// An amount of US dollars, exact to 10⁻¹⁸.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Usd(Amount);

/// How long a limit looks back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SpendWindow {
    /// Each payment by itself.
    Payment,
    /// Everything in the last so many seconds.
    Seconds(u64),
    /// Everything, ever.
    Total,
}

/// A cap on spending, such as `"$5 per day"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpendLimit {
    /// The most that may be spent.
    pub max: Usd,
    /// In what stretch of time.
    pub window: SpendWindow,
}

/// What a payment may take at most, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spend {
    /// The most that it can take.
    pub usd: Usd,
    /// For which resource, for reports.
    pub resource: String,
}

/// A promise in the ledger: it counts as spent until it is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use = "a reservation left alone counts as spent for good"]
pub struct Reservation(pub u64);

/// How a reservation stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReservationState {
    /// Promised; counts as spent.
    Open,
    /// Spent.
    Committed(Option<TransactionId>),
}

/// Why nothing was reserved.
#[derive(Debug, thiserror::Error)]
pub enum ReserveError {
    /// A limit would be passed.
    #[error("{asked} would pass the limit of {limit}: {spent} of it is spent or promised already")]
    OverLimit {
        /// The limit.
        limit: SpendLimit,
        /// What the payment may take.
        asked: Usd,
        /// What counts against the limit already.
        spent: Usd,
    },
    /// The ledger could not be read or written.
    #[error(transparent)]
    Book(#[from] BookError),
}

/// What was promised and spent. Each call is durable when it returns.
pub trait Ledger: Send + Sync {
    /// What [`Ledger::reserve`] would answer just now, promising nothing; for dry runs and explanations.
    fn allows<'a>(
        &'a self,
        spend: &'a Spend,
        limits: &'a [SpendLimit],
        now: UnixSeconds,
    ) -> BoxFuture<'a, Result<(), ReserveError>>;

    /// Promises a spend if every limit allows it; atomic among concurrent callers.
    fn reserve<'a>(
        &'a self,
        spend: &'a Spend,
        limits: &'a [SpendLimit],
        now: UnixSeconds,
    ) -> BoxFuture<'a, Result<Reservation, ReserveError>>;

    /// Whether anything was spent on that resource, or is promised for it. A book that cannot look it up says no.
    fn has_paid<'a>(&'a self, resource: &'a str) -> BoxFuture<'a, Result<bool, BookError>> {
        let _ = resource;
        Box::pin(std::future::ready(Ok(false)))
    }

    /// The promise was kept: the money is spent, and counts, also where the promise had been released.
    fn commit(&self, reservation: Reservation, transaction: Option<TransactionId>) -> BoxFuture<'_, Result<(), BookError>>;

    /// The promise is provably void: nothing was or can be taken. Fails once it is committed.
    fn release(&self, reservation: Reservation) -> BoxFuture<'_, Result<(), BookError>>;
}

/// A ledger that dies with the process.
#[derive(Debug, Default)]
pub struct MemoryLedger(Mutex<Vec<Entry>>);

#[derive(Debug)]
struct Entry {
    at: UnixSeconds,
    spend: Spend,
    /// `None` once it is released.
    state: Option<ReservationState>,
}

impl Usd {
    /// No dollars.
    pub const ZERO: Self = Self(Amount::ZERO);

    /// What atomic units of a dollar asset are worth; `None` if the asset stands for no dollar, or is finer than
    /// dollars are counted here.
    pub fn of(amount: Amount, asset: &Asset) -> Option<Self> {
        let shift = USD_DECIMALS.checked_sub(asset.decimals).filter(|_| asset.usd)?;
        amount.checked_mul(10_u64.checked_pow(u32::from(shift))?).map(Self)
    }

    /// So many units of 10⁻¹⁸ dollars, as [`Self::units`] gives them.
    pub const fn from_units(units: Amount) -> Self {
        Self(units)
    }

    /// The amount in units of 10⁻¹⁸ dollars, for books that store it.
    pub const fn units(self) -> Amount {
        self.0
    }

    /// The sum; stops at the largest amount, which passes every limit.
    #[must_use]
    pub fn saturating_add(self, other: Self) -> Self {
        Self(self.0.checked_add(other.0).unwrap_or(Amount::MAX))
    }
}

impl fmt::Display for Usd {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "${}", self.0.to_decimal_string(USD_DECIMALS))
    }
}

impl FromStr for Usd {
    type Err = String;

    /// Reads a dollar price such as `"$0.25"`.
    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<Price>().map_err(|error| error.to_string())? {
            Price::Usd(number) => {
                number.to_atomic(USD_DECIMALS).map(Self).ok_or_else(|| format!("{text} is too fine or too large"))
            }
            Price::Symbol(..) | Price::Atomic(..) => Err(format!("expected dollars such as \"$5\", got {text:?}")),
        }
    }
}

const WINDOWS: &[(&str, SpendWindow)] = &[
    ("payment", SpendWindow::Payment),
    ("minute", SpendWindow::Seconds(60)),
    ("hour", SpendWindow::Seconds(3_600)),
    ("day", SpendWindow::Seconds(86_400)),
    ("week", SpendWindow::Seconds(604_800)),
    ("30 days", SpendWindow::Seconds(2_592_000)),
];

impl FromStr for SpendLimit {
    type Err = String;

    /// Reads `"$1 per payment"`, `"$5 per day"` (minute, hour, week, 30 days) and `"$20 in total"`.
    fn from_str(text: &str) -> Result<Self, String> {
        let expected =
            || format!("expected a limit such as \"$1 per payment\", \"$5 per day\" or \"$20 in total\", got {text:?}");
        if let Some(max) = text.trim().strip_suffix(" in total") {
            return Ok(Self { max: max.trim().parse()?, window: SpendWindow::Total });
        }
        let (max, window) = text.split_once(" per ").ok_or_else(expected)?;
        let (_, window) = WINDOWS.iter().find(|(name, _)| *name == window.trim()).ok_or_else(expected)?;
        Ok(Self { max: max.trim().parse()?, window: *window })
    }
}

impl fmt::Display for SpendLimit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = WINDOWS.iter().find(|(_, window)| *window == self.window).map(|(name, _)| *name);
        match (self.window, name) {
            (SpendWindow::Total, _) => write!(formatter, "{} in total", self.max),
            (SpendWindow::Seconds(seconds), None) => write!(formatter, "{} per {seconds} seconds", self.max),
            (_, name) => write!(formatter, "{} per {}", self.max, name.unwrap_or("payment")),
        }
    }
}

impl SpendWindow {
    fn covers(self, at: UnixSeconds, now: UnixSeconds) -> bool {
        match self {
            Self::Payment => false,
            Self::Seconds(seconds) => at > now.minus(seconds),
            Self::Total => true,
        }
    }
}

/// The first limit that the spend would pass, given what the ledger holds.
fn check(entries: &[Entry], spend: &Spend, limits: &[SpendLimit], now: UnixSeconds) -> Result<(), ReserveError> {
    for limit in limits {
        let counted = entries.iter().filter(|entry| entry.state.is_some() && limit.window.covers(entry.at, now));
        let used = counted.fold(Usd::ZERO, |sum, entry| sum.saturating_add(entry.spend.usd));
        if used.saturating_add(spend.usd) > limit.max {
            return Err(ReserveError::OverLimit { limit: *limit, asked: spend.usd, spent: used });
        }
    }
    Ok(())
}

impl Ledger for MemoryLedger {
    fn allows<'a>(
        &'a self,
        spend: &'a Spend,
        limits: &'a [SpendLimit],
        now: UnixSeconds,
    ) -> BoxFuture<'a, Result<(), ReserveError>> {
        Box::pin(async move { check(&locked(&self.0), spend, limits, now) })
    }

    fn reserve<'a>(
        &'a self,
        spend: &'a Spend,
        limits: &'a [SpendLimit],
        now: UnixSeconds,
    ) -> BoxFuture<'a, Result<Reservation, ReserveError>> {
        Box::pin(async move {
            let mut entries = locked(&self.0);
            check(&entries, spend, limits, now)?;
            entries.push(Entry { at: now, spend: spend.clone(), state: Some(ReservationState::Open) });
            let number = u64::try_from(entries.len()).map_err(|error| BookError(Box::new(error)))?;
            Ok(Reservation(number.saturating_sub(1)))
        })
    }

    fn has_paid<'a>(&'a self, resource: &'a str) -> BoxFuture<'a, Result<bool, BookError>> {
        Box::pin(async move {
            let entries = locked(&self.0);
            Ok(entries.iter().any(|entry| entry.state.is_some() && entry.spend.resource == resource))
        })
    }

    fn commit(&self, reservation: Reservation, transaction: Option<TransactionId>) -> BoxFuture<'_, Result<(), BookError>> {
        Box::pin(async move {
            self.change(reservation, |entry| {
                entry.state = Some(ReservationState::Committed(transaction));
                Ok(())
            })
        })
    }

    fn release(&self, reservation: Reservation) -> BoxFuture<'_, Result<(), BookError>> {
        Box::pin(async move {
            self.change(reservation, |entry| match entry.state {
                Some(ReservationState::Committed(_)) => {
                    Err(BookError(format!("reservation {} is spent: it can't be released", reservation.0).into()))
                }
                Some(ReservationState::Open) | None => {
                    entry.state = None;
                    Ok(())
                }
            })
        })
    }
}

impl MemoryLedger {
    /// How a reservation stands; `None` once it is released.
    pub fn state(&self, reservation: Reservation) -> Option<ReservationState> {
        let index = usize::try_from(reservation.0).ok()?;
        let entries = locked(&self.0);
        entries.get(index)?.state.clone()
    }

    fn change(
        &self,
        reservation: Reservation,
        change: impl FnOnce(&mut Entry) -> Result<(), BookError>,
    ) -> Result<(), BookError> {
        let index = usize::try_from(reservation.0).map_err(|error| BookError(Box::new(error)))?;
        match locked(&self.0).get_mut(index) {
            Some(entry) => change(entry),
            None => Err(BookError(format!("there is no reservation {}", reservation.0).into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_read_as_they_are_written() {
        for text in ["$1 per payment", "$5 per day", "$0.25 per hour", "$20 in total", "$3 per 30 days"] {
            assert_eq!(text.parse::<SpendLimit>().unwrap().to_string(), text);
        }
        for bad in ["$5", "5 USDC per day", "$5 per fortnight", "$0 per day", "-$1 per day", "$5 per", "per day"] {
            assert!(bad.parse::<SpendLimit>().is_err(), "{bad:?} was taken for a limit");
        }
    }

    #[test]
    fn dollars_are_exact_across_decimals() {
        let asset = |decimals, usd| Asset {
            network: "eip155:1".parse().unwrap(),
            id: "0x1".parse().unwrap(),
            symbol: "X".to_owned(),
            decimals,
            usd,
        };
        assert_eq!(Usd::of(Amount::from(10_000), &asset(6, true)).unwrap().to_string(), "$0.01");
        assert_eq!(Usd::of(Amount::from(1), &asset(18, true)).unwrap().to_string(), "$0.000000000000000001");
        assert_eq!(Usd::of(Amount::from(1), &asset(6, false)), None);
        assert_eq!(Usd::of(Amount::MAX, &asset(6, true)), None);
    }

    #[test]
    fn asking_what_is_allowed_promises_nothing() {
        let ledger = MemoryLedger::default();
        let spend = Spend { usd: "$0.60".parse().unwrap(), resource: "https://api.example.com/report".to_owned() };
        let limits = ["$1 per day".parse().unwrap()];
        let now = UnixSeconds(1_000_000);
        let ready = |future: BoxFuture<'_, Result<(), ReserveError>>| {
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            match std::pin::pin!(future).as_mut().poll(&mut context) {
                std::task::Poll::Ready(answer) => answer,
                std::task::Poll::Pending => panic!("a ledger in memory never waits"),
            }
        };
        assert!(ready(ledger.allows(&spend, &limits, now)).is_ok());
        assert!(ready(ledger.allows(&spend, &limits, now)).is_ok());
        ready(Box::pin(async { ledger.reserve(&spend, &limits, now).await.map(|_| ()) })).unwrap();
        assert!(matches!(ready(ledger.allows(&spend, &limits, now)), Err(ReserveError::OverLimit { .. })));
        assert!(ready(ledger.allows(&spend, &limits, now.plus(86_400))).is_ok());
    }
}
