//! Moments as sign-ins write them: `2027-01-15T08:00:00.000Z` (RFC 3339).

use crate::time::UnixSeconds;

const SECONDS_PER_DAY: u64 = 86_400;
const DAYS_PER_ERA: i64 = 146_097;
/// The days from the first of March of year 0 to 1970.
const DAYS_BEFORE_1970: i64 = 719_468;
/// The last second that four digits for the year can write: 9999-12-31T23:59:59Z.
const LAST: u64 = 253_402_300_799;

/// The moment as text, in UTC, with milliseconds, as JavaScript writes it.
pub(super) fn write(moment: UnixSeconds) -> String {
    let seconds = moment.0.min(LAST);
    let (days, of_day) = (seconds / SECONDS_PER_DAY, seconds % SECONDS_PER_DAY);
    let (year, month, day) = date_of(i64::try_from(days).unwrap_or(i64::MAX));
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.000Z")
}

/// The moment that a text names, without the fraction of its second; `None` if it names none since 1970.
pub(super) fn read(text: &str) -> Option<UnixSeconds> {
    let bytes = text.as_bytes();
    let (date_time, rest) = bytes.split_at_checked(19)?;
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b'T' | b't', h1, h2, b':', i1, i2, b':', s1, s2] = date_time else {
        return None;
    };
    let year = number(&[*y1, *y2, *y3, *y4])?;
    let (month, day) = (number(&[*m1, *m2])?, number(&[*d1, *d2])?);
    let (hour, minute, second) = (number(&[*h1, *h2])?, number(&[*i1, *i2])?, number(&[*s1, *s2])?);
    let days = days_of(year, month, day);
    if hour > 23 || minute > 59 || second > 59 || date_of(days) != (year, month, day) {
        return None;
    }
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second - offset_seconds(rest)?;
    u64::try_from(seconds).ok().map(UnixSeconds)
}

/// What stands behind the seconds: an optional fraction, then `Z` or how far local time is ahead.
fn offset_seconds(text: &[u8]) -> Option<i64> {
    let text = match text.strip_prefix(b".") {
        Some(fraction) => {
            let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
            fraction.get(digits..).filter(|_| digits > 0)?
        }
        None => text,
    };
    match text {
        b"Z" | b"z" => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (number(&[*h1, *h2])?, number(&[*m1, *m2])?);
            let ahead = (hours <= 23 && minutes <= 59).then_some(hours * 3600 + minutes * 60)?;
            Some(if *sign == b'-' { -ahead } else { ahead })
        }
        _ => None,
    }
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0')))
}

/// The days from 1970 to a date of the Gregorian calendar. Years are counted from March, so that the leap day is the last.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * DAYS_PER_ERA + of_era * 365 + of_era / 4 - of_era / 100 + of_year - DAYS_BEFORE_1970
}

/// The date so many days after 1970.
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days.saturating_add(DAYS_BEFORE_1970);
    let (era, of_era) = (days.div_euclid(DAYS_PER_ERA), days.rem_euclid(DAYS_PER_ERA));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year + era * 400 + i64::from(month <= 2), month, of_year - (153 * from_march + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn moments_are_those_of_other_calendars() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_800_000_000, "2027-01-15T08:00:00.000Z"),
            (4_107_542_399, "2100-02-28T23:59:59.000Z"),
            (LAST, "9999-12-31T23:59:59.000Z"),
        ] {
            assert_eq!(write(UnixSeconds(seconds)), text);
            assert_eq!(read(text), Some(UnixSeconds(seconds)), "{text}");
        }
        assert_eq!(write(UnixSeconds(u64::MAX)), "9999-12-31T23:59:59.000Z");
    }

    #[test]
    fn fractions_and_offsets_are_understood() {
        for text in [
            "2027-01-15T08:00:00Z",
            "2027-01-15t08:00:00z",
            "2027-01-15T08:00:00.999999999Z",
            "2027-01-15T09:30:00+01:30",
            "2027-01-15T00:00:00.5-08:00",
        ] {
            assert_eq!(read(text), Some(UnixSeconds(1_800_000_000)), "{text}");
        }
    }

    #[test]
    fn what_is_no_moment_is_not_taken_for_one() {
        for bad in [
            "",
            "2027-01-15",
            "2027-01-15T08:00:00",
            "2027-01-15 08:00:00Z",
            "2027-01-15T08:00:00.Z",
            "2027-01-15T08:00:00ZZ",
            "2027-01-15T08:00:00+1:00",
            "2027-01-15T08:00:00+24:00",
            "2027-13-15T08:00:00Z",
            "2027-00-15T08:00:00Z",
            "2027-02-30T08:00:00Z",
            "2027-01-00T08:00:00Z",
            "2100-02-29T00:00:00Z",
            "2027-01-15T24:00:00Z",
            "2027-01-15T08:60:00Z",
            "2027-01-15T08:00:60Z",
            "1969-12-31T23:59:59Z",
            "+027-01-15T08:00:00Z",
            "2027-01-15T08:00:00\u{0661}",
            "é2027-01-15T08:00:00Z",
        ] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn every_moment_survives_its_text(seconds in 0..=LAST) {
            prop_assert_eq!(read(&write(UnixSeconds(seconds))), Some(UnixSeconds(seconds)));
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "[0-9TtZz:+.é-]{0,40}") {
            let _ = read(&text);
        }
    }
}
