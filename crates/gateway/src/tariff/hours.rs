//! A price for each part of the week.
//!
//! A part is written as days, hours or both, such as `mon-fri 09:00-17:00`, in one zone: an offset from UTC, which knows no summer
//! time. Hours that end before they begin go on into the next day. No moment has two prices, and none has no price: both are
//! found when the file is read.
//!
//! The clock is the server's. A price that was quoted holds for as long as every quote does, although its hours are over.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use farthing_core::BoxFuture;
use farthing_core::time::{Clock, UnixSeconds};
use farthing_server::quotes::{NoQuote, PriceRequest, Pricer, Quote};

use super::money::Money;

const MINUTES_PER_DAY: u32 = 24 * 60;
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const MINUTES_PER_WEEK: u32 = 7 * MINUTES_PER_DAY;
/// 1970 began on a Thursday: so many minutes after a Monday.
const EPOCH_MINUTE: u64 = 3 * 24 * 60;
/// The farthest that a zone is from UTC, in minutes.
const MAX_OFFSET_MINUTES: u32 = 14 * 60;

/// Prices by the time of the week.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hours {
    zone: Zone,
    windows: Vec<(Window, Money)>,
    otherwise: Option<Money>,
}

/// How far local time is from UTC: `UTC`, `+01:00`, `-03:30`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// How many minutes local time is ahead of UTC, counted within one week.
    ahead_minutes: u32,
    text: String,
}

/// A part of each week, such as `mon-fri 09:00-17:00`, `sat,sun` or `22:00-06:00`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Minutes of the week, from Monday's first on: from which to before which. None goes beyond the week.
    spans: Vec<(u32, u32)>,
    text: String,
}

/// Why prices by time make no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HoursError {
    /// Not the form of a window.
    #[error("expected days and hours, such as \"mon-fri 09:00-17:00\", \"sat,sun\" or \"22:00-06:00\", got {0:?}")]
    Window(String),
    /// Not the form of a zone.
    #[error("zone: expected UTC or how far it is from that, such as \"+01:00\"; names of zones are not known here")]
    Zone,
    /// One moment has two prices.
    #[error("{0} and {1} are both for {2}; expected one price for each moment")]
    Overlap(String, String, String),
    /// Some moment has none.
    #[error("expected a price for each moment, got none for {0}; add `otherwise`")]
    Gap(String),
    /// There is nothing but `otherwise`.
    #[error("expected a price for at least one part of the week, such as \"mon-fri 09:00-17:00\"")]
    Nothing,
}

impl Hours {
    /// These prices in their windows, and another for all other moments.
    pub fn new(zone: Zone, windows: Vec<(Window, Money)>, otherwise: Option<Money>) -> Result<Self, HoursError> {
        if windows.is_empty() {
            return Err(HoursError::Nothing);
        }
        let spans = windows.iter().flat_map(|(window, _)| window.spans.iter().map(move |span| (*span, window)));
        let mut spans: Vec<((u32, u32), &Window)> = spans.collect();
        spans.sort_by_key(|(span, _)| *span);
        let mut end = 0;
        let mut gap = None;
        let mut last: Option<&Window> = None;
        for ((from, to), window) in spans {
            if let Some(last) = last.filter(|_| from < end) {
                return Err(HoursError::Overlap(last.text.clone(), window.text.clone(), moment(from)));
            }
            if from > end {
                gap = gap.or(Some(end));
            }
            (end, last) = (to, Some(window));
        }
        if end < MINUTES_PER_WEEK {
            gap = gap.or(Some(end));
        }
        match (gap, &otherwise) {
            (Some(gap), None) => Err(HoursError::Gap(moment(gap))),
            _ => Ok(Self { zone, windows, otherwise }),
        }
    }

    /// Every price that there is.
    pub(crate) fn prices(&self) -> impl Iterator<Item = &Money> {
        self.windows.iter().map(|(_, price)| price).chain(&self.otherwise)
    }

    /// The price at that moment.
    fn price_at(&self, now: UnixSeconds) -> Option<&Money> {
        let minute = (now.0 / 60).checked_add(EPOCH_MINUTE)?.checked_add(u64::from(self.zone.ahead_minutes))?;
        let minute = u32::try_from(minute % u64::from(MINUTES_PER_WEEK)).ok()?;
        let is_in = |window: &Window| window.spans.iter().any(|(from, to)| (*from..*to).contains(&minute));
        let window = self.windows.iter().find(|(window, _)| is_in(window)).map(|(_, price)| price);
        window.or(self.otherwise.as_ref())
    }
}

/// [`Hours`], as the server asks it.
pub(crate) struct Timing {
    hours: Hours,
    clock: Arc<dyn Clock>,
}

impl Timing {
    pub(crate) fn new(hours: Hours, clock: Arc<dyn Clock>) -> Self {
        Self { hours, clock }
    }
}

impl Pricer for Timing {
    fn price(&self, _request: PriceRequest) -> BoxFuture<'_, Result<Quote, NoQuote>> {
        let price = self.hours.price_at(self.clock.now());
        let quote = price.map(|price| Quote::new(price.price().clone()));
        Box::pin(std::future::ready(quote.ok_or_else(|| NoQuote::Failed("the clock is at no moment of a week".into()))))
    }
}

impl FromStr for Zone {
    type Err = HoursError;

    fn from_str(text: &str) -> Result<Self, HoursError> {
        let ahead_minutes = if text == "UTC" || text == "Z" {
            Some(0)
        } else if let Some(ahead) = text.strip_prefix('+') {
            clock_time(ahead)
        } else {
            // So many behind is the rest of a week ahead.
            text.strip_prefix('-').and_then(clock_time).map(|behind| MINUTES_PER_WEEK.saturating_sub(behind) % MINUTES_PER_WEEK)
        };
        let is_near =
            |ahead: &u32| *ahead <= MAX_OFFSET_MINUTES || *ahead >= MINUTES_PER_WEEK.saturating_sub(MAX_OFFSET_MINUTES);
        let ahead_minutes = ahead_minutes.filter(is_near).ok_or(HoursError::Zone)?;
        Ok(Self { ahead_minutes, text: text.to_owned() })
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self { ahead_minutes: 0, text: "UTC".to_owned() }
    }
}

impl FromStr for Window {
    type Err = HoursError;

    fn from_str(text: &str) -> Result<Self, HoursError> {
        let bad = || HoursError::Window(text.to_owned());
        let parts: Vec<&str> = text.split_ascii_whitespace().collect();
        let (days, hours) = match parts.as_slice() {
            [days, hours] => (days_of(days), hours_of(hours)),
            [one] if one.contains(':') => (Some((0..7).collect()), hours_of(one)),
            [one] => (days_of(one), Some((0, MINUTES_PER_DAY))),
            _ => (None, None),
        };
        let (days, (from, to)) = days.zip(hours).ok_or_else(bad)?;
        let mut spans = Vec::new();
        for day in days {
            let begin = day.saturating_mul(MINUTES_PER_DAY).saturating_add(from);
            let end = begin.saturating_add(to.saturating_sub(from));
            spans.push((begin, end.min(MINUTES_PER_WEEK)));
            // What goes beyond Sunday goes on on Monday.
            if end > MINUTES_PER_WEEK {
                spans.push((0, end.saturating_sub(MINUTES_PER_WEEK)));
            }
        }
        Ok(Self { spans, text: text.to_owned() })
    }
}

/// The days of `mon-fri`, `sat` or `mon,wed-thu`, each once; counted from Monday.
fn days_of(text: &str) -> Option<Vec<u32>> {
    let day = |name: &str| DAYS.iter().position(|known| *known == name).and_then(|day| u32::try_from(day).ok());
    let mut days = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (mut next, last) = (day(first)?, day(last)?);
        loop {
            if days.contains(&next) {
                return None;
            }
            days.push(next);
            if next == last {
                break;
            }
            next = next.saturating_add(1) % 7;
        }
    }
    Some(days)
}

/// The minutes of a day that `09:00-17:00` is; of hours that go on into the next day, the end is beyond the day.
fn hours_of(text: &str) -> Option<(u32, u32)> {
    let (from, to) = text.split_once('-')?;
    let from = clock_time(from).filter(|from| *from < MINUTES_PER_DAY)?;
    let to = clock_time(to)?;
    match to {
        _ if from == to => None,
        to if to < from => Some((from, to.checked_add(MINUTES_PER_DAY)?)),
        to => Some((from, to)),
    }
}

/// The minute of a day, from `00:00` to `24:00`.
fn clock_time(text: &str) -> Option<u32> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse::<u32>().ok()).flatten();
    let (2, 2) = (hours.len(), minutes.len()) else { return None };
    let (hours, minutes) = (number(hours)?, number(minutes).filter(|minutes| *minutes < 60)?);
    let minute = hours.checked_mul(60)?.checked_add(minutes)?;
    (minute <= MINUTES_PER_DAY).then_some(minute)
}

/// A minute of the week in words, such as `sat 00:00`.
fn moment(minute: u32) -> String {
    let (day, of_day) = (minute / MINUTES_PER_DAY, minute % MINUTES_PER_DAY);
    let day = usize::try_from(day).ok().and_then(|day| DAYS.get(day)).unwrap_or(&"mon");
    format!("{day} {:02}:{:02}", of_day / 60, of_day % 60)
}

impl fmt::Display for Hours {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "by the time in {}: ", self.zone.text)?;
        let windows: Vec<String> = self.windows.iter().map(|(window, price)| format!("{} {price}", window.text)).collect();
        formatter.write_str(&windows.join(", "))?;
        self.otherwise.iter().try_for_each(|price| write!(formatter, ", otherwise {price}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(zone: &str, windows: &[(&str, &str)], otherwise: Option<&str>) -> Result<Hours, HoursError> {
        let windows: Result<Vec<_>, _> =
            windows.iter().map(|(text, price)| Ok((text.parse()?, price.parse().unwrap()))).collect();
        Hours::new(zone.parse()?, windows?, otherwise.map(|price| price.parse().unwrap()))
    }

    /// The price so many minutes after Monday, 2024-01-01 00:00 UTC.
    fn at(hours: &Hours, day: u64, time: (u64, u64)) -> String {
        let minutes = day * 1_440 + time.0 * 60 + time.1;
        hours.price_at(UnixSeconds(1_704_067_200 + minutes * 60 + 59)).unwrap().to_string()
    }

    #[test]
    fn each_moment_has_the_price_of_its_part_of_the_week() {
        let hours = hours("UTC", &[("mon-fri 09:00-17:00", "$0.02"), ("sat,sun", "$0.005")], Some("$0.01")).unwrap();
        assert_eq!((at(&hours, 0, (8, 59)), at(&hours, 0, (9, 0))), ("$0.01".to_owned(), "$0.02".to_owned()));
        assert_eq!((at(&hours, 4, (16, 59)), at(&hours, 4, (17, 0))), ("$0.02".to_owned(), "$0.01".to_owned()));
        assert_eq!((at(&hours, 5, (0, 0)), at(&hours, 6, (23, 59))), ("$0.005".to_owned(), "$0.005".to_owned()));
        assert_eq!(at(&hours, 7, (0, 0)), "$0.01", "the next week begins as every week");
        assert_eq!(hours.to_string(), "by the time in UTC: mon-fri 09:00-17:00 $0.02, sat,sun $0.005, otherwise $0.01");
    }

    #[test]
    fn nights_go_on_into_the_next_day_and_weeks_into_the_next_week() {
        let hours = hours("UTC", &[("fri-sun 22:00-06:00", "$3")], Some("$1")).unwrap();
        let prices =
            [(4, 21), (4, 22), (5, 5), (5, 6), (6, 23), (0, 5), (0, 6), (1, 5)].map(|(day, hour)| at(&hours, day, (hour, 0)));
        assert_eq!(prices, ["$1", "$3", "$3", "$1", "$3", "$3", "$1", "$1"]);
    }

    #[test]
    fn a_zone_moves_the_week() {
        let at_one = |zone: &str| {
            let hours = hours(zone, &[("mon", "$2")], Some("$1")).unwrap();
            (at(&hours, 0, (0, 30)), at(&hours, 6, (23, 30)), at(&hours, 7, (2, 0)))
        };
        let said = |prices: [&str; 3]| (prices[0].to_owned(), prices[1].to_owned(), prices[2].to_owned());
        assert_eq!(at_one("UTC"), said(["$2", "$1", "$2"]));
        assert_eq!(at_one("+01:00"), said(["$2", "$2", "$2"]));
        assert_eq!(at_one("-03:30"), said(["$1", "$1", "$1"]));
    }

    #[test]
    fn a_moment_has_one_price_and_not_two_or_none() {
        let overlap = hours("UTC", &[("mon-fri", "$1"), ("fri 20:00-22:00", "$2")], Some("$3")).unwrap_err();
        assert_eq!(
            overlap.to_string(),
            "mon-fri and fri 20:00-22:00 are both for fri 20:00; expected one price for each moment"
        );
        let gap = hours("UTC", &[("mon-fri", "$1"), ("sun", "$2")], None).unwrap_err();
        assert_eq!(gap.to_string(), "expected a price for each moment, got none for sat 00:00; add `otherwise`");
        assert!(hours("UTC", &[("mon-fri", "$1"), ("sat-sun", "$2")], None).is_ok(), "all of the week has a price");
        assert!(hours("UTC", &[("22:00-06:00", "$1"), ("06:00-22:00", "$2")], None).is_ok());
        assert_eq!(hours("UTC", &[], Some("$1")), Err(HoursError::Nothing));
    }

    #[test]
    fn what_is_no_part_of_a_week_is_refused() {
        for bad in [
            "",
            "monday",
            "mon-",
            "mon,mon",
            "mon-fri,wed",
            "9:00-17:00",
            "09:00",
            "09:00-09:00",
            "24:00-25:00",
            "09:60-10:00",
            "mon 1",
            "mon 09:00-10:00 x",
            "+1:00-02:00",
        ] {
            assert!(bad.parse::<Window>().is_err(), "{bad}");
        }
        for bad in ["", "CET", "Europe/Berlin", "1:00", "+1", "+15:00", "-14:01", "+01:60"] {
            assert_eq!(bad.parse::<Zone>(), Err(HoursError::Zone), "{bad}");
        }
    }
}
