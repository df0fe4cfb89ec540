//! What is counted, and how.
//!
//! | unit | of a text | of a list | of a number |
//! |---|---|---|---|
//! | `word` | what white space divides | in all its texts | as given, in answers only |
//! | `character` | Unicode scalar values | in all its texts | as given, in answers only |
//! | `byte`, `KB`, `MB`, `GB` | its UTF-8, or the body as it is | in all its texts | as given, in answers only |
//! | `line`, `row` | lines that are not empty | its length | as given |
//! | `second`, `minute`, `hour` | of an answer as a whole: how long it took | its length | as given, in this unit |
//! | any other, such as `token`, `page`, `file`, `item` | | its length | as given |

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use super::quantity::Quantity;

/// The longest name of a unit, in bytes.
const MAX_NAME_BYTES: usize = 32;

/// How many of which unit a price is for, such as `"1000 words"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Per {
    /// How many of `unit`, with multiples such as `MB` taken apart. At least 1.
    pub(super) count: u64,
    /// How many, as it was written.
    number: u64,
    pub(super) unit: Unit,
    /// As it was written.
    text: String,
    /// The unit's name, in the plural.
    name: String,
}

/// How something is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Words,
    Characters,
    Bytes,
    Lines,
    Seconds,
    /// As it is given: a number, or the length of a list.
    Things,
}

/// Why a text is no unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Not a number and a word.
    #[error("per: expected a unit such as \"1000 words\", \"page\" or \"MB\"")]
    Malformed,
    /// A price for none of something.
    #[error("per: expected at least 1")]
    Nothing,
}

impl Per {
    /// The unit's name, in the plural.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The same where somebody says how many there are: minutes are then minutes, and not so many seconds.
    pub(super) fn given(self) -> Self {
        Self { count: self.number, unit: Unit::Things, name: format!("units of {:?}", self.text), ..self }
    }
}

impl FromStr for Per {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let text = text.trim();
        let (number, word) = text.split_once(' ').map_or((None, text), |(number, word)| (Some(number), word.trim_start()));
        let number: u64 = number.map_or(Ok(1), str::parse).map_err(|_| UnitError::Malformed)?;
        let is_word = word.starts_with(|first: char| first.is_ascii_alphabetic())
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
        if !is_word || word.len() > MAX_NAME_BYTES {
            return Err(UnitError::Malformed);
        }
        let singular = word.strip_suffix('s').unwrap_or(word);
        let (unit, multiple) = match singular {
            "word" => (Unit::Words, 1),
            "character" => (Unit::Characters, 1),
            "byte" => (Unit::Bytes, 1),
            "KB" => (Unit::Bytes, 1_000),
            "MB" => (Unit::Bytes, 1_000_000),
            "GB" => (Unit::Bytes, 1_000_000_000),
            "line" | "row" => (Unit::Lines, 1),
            "second" => (Unit::Seconds, 1),
            "minute" => (Unit::Seconds, 60),
            "hour" => (Unit::Seconds, 3_600),
            _ => (Unit::Things, 1),
        };
        let count = number.checked_mul(multiple).ok_or(UnitError::Malformed)?;
        if count == 0 {
            return Err(UnitError::Nothing);
        }
        let name = match unit {
            Unit::Bytes => "bytes".to_owned(),
            Unit::Seconds => "seconds".to_owned(),
            _ => format!("{singular}s"),
        };
        Ok(Self { count, number, unit, text: text.to_owned(), name })
    }
}

impl fmt::Display for Per {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl Unit {
    /// Whether it is counted in a text, so that a number says nothing about it unless somebody trusted gives it.
    const fn is_of_text(self) -> bool {
        matches!(self, Self::Words | Self::Characters | Self::Bytes)
    }

    /// How many there are in a text; `None` if they cannot be counted in one.
    pub(crate) fn in_text(self, text: &str) -> Option<Quantity> {
        Some(Quantity::length(match self {
            Self::Words => text.split_whitespace().count(),
            Self::Characters => text.chars().count(),
            Self::Bytes => text.len(),
            Self::Lines => text.lines().filter(|line| !line.trim().is_empty()).count(),
            Self::Seconds | Self::Things => return None,
        }))
    }

    /// How many there are in a value of JSON. What a buyer says counts as a number only where it is no text's measure.
    pub(crate) fn in_json(self, value: &Value, is_trusted: bool) -> Option<Quantity> {
        match value {
            Value::Number(_) if is_trusted || !self.is_of_text() => Quantity::of_json(value),
            Value::String(text) => self.in_text(text),
            Value::Array(list) if self.is_of_text() => {
                let counts = list.iter().map(|text| self.in_text(text.as_str()?));
                counts.sum::<Option<Quantity>>()
            }
            Value::Array(list) => Some(Quantity::length(list.len())),
            _ => None,
        }
    }

    /// How many a parameter or header says; those of a text are counted in it.
    pub(crate) fn in_parameter(self, text: &str) -> Option<Quantity> {
        if self.is_of_text() { self.in_text(text) } else { text.parse().ok() }
    }

    /// What `in_json` and `in_parameter` expect, for who brought something else.
    pub(crate) const fn expected(self) -> &'static str {
        match self {
            Self::Words | Self::Characters | Self::Bytes => "a text, or a list of texts",
            Self::Lines => "a text, a list or a number of 0 or above",
            Self::Seconds | Self::Things => "a number of 0 or above, or a list",
        }
    }
}

impl std::iter::Sum for Quantity {
    /// Of whole numbers.
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        Self::whole(counts.fold(0, |sum, count| sum.saturating_add(count.mantissa)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn per(text: &str) -> Per {
        text.parse().unwrap()
    }

    #[test]
    fn units_are_read_in_singular_and_plural() {
        for (text, count, unit, name) in [
            ("word", 1, Unit::Words, "words"),
            ("1000 words", 1_000, Unit::Words, "words"),
            ("2 MB", 2_000_000, Unit::Bytes, "bytes"),
            ("minute", 60, Unit::Seconds, "seconds"),
            ("1000 tokens", 1_000, Unit::Things, "tokens"),
            ("row", 1, Unit::Lines, "rows"),
        ] {
            let per = per(text);
            assert_eq!((per.count, per.unit, per.name()), (count, unit, name), "{text}");
        }
        for bad in
            ["", "1000", "words 1000", "0 words", "-1 words", "1.5 words", "a b c", "1,000 words", "18446744073709551615 GB"]
        {
            assert!(bad.parse::<Per>().is_err(), "{bad}");
        }
    }

    #[test]
    fn things_are_counted_as_the_table_says() {
        let counted = |unit: Unit, value: Value| unit.in_json(&value, false).map(|quantity| quantity.to_string());
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(counted(Unit::Words, json!(" the  sea\nat night ")), some("4"));
        assert_eq!(counted(Unit::Words, json!(["the sea", "night"])), some("3"));
        assert_eq!(counted(Unit::Characters, json!("été")), some("3"));
        assert_eq!(counted(Unit::Bytes, json!("été")), some("5"));
        assert_eq!(counted(Unit::Lines, json!("a\n\nb\n")), some("2"));
        assert_eq!(counted(Unit::Lines, json!([1, 2, 3])), some("3"));
        assert_eq!(counted(Unit::Things, json!([1, 2])), some("2"));
        assert_eq!(counted(Unit::Things, json!(2.5)), some("2.5"));
        for (unit, value) in [
            (Unit::Words, json!(7)),
            (Unit::Words, json!(["a", 7])),
            (Unit::Words, json!({"a": "b"})),
            (Unit::Things, json!("7")),
            (Unit::Things, json!(-7)),
            (Unit::Bytes, json!(null)),
        ] {
            assert_eq!(counted(unit, value.clone()), None, "{unit:?} {value}");
        }
        assert_eq!(Unit::Words.in_json(&json!(7), true), Some(Quantity::whole(7)), "an upstream's word counts");
        assert_eq!(Unit::Things.in_parameter("7"), Some(Quantity::whole(7)));
        assert_eq!(Unit::Words.in_parameter("the 7 seas"), Some(Quantity::whole(3)));
        assert_eq!(Unit::Things.in_parameter("seven"), None);
    }
}
