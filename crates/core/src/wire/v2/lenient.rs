//! Readers for what honest peers write in more than one way.

use std::fmt::Display;
use std::str::FromStr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

/// The JSON text, unless it is null, which means absent.
pub(super) fn present(raw: Option<Box<RawValue>>) -> Option<Box<RawValue>> {
    raw.filter(|raw| raw.get() != "null")
}

/// A value, or its default for null.
pub(super) fn null_as_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// A value, or its default for anything that is none: for what only describes, and is not worth losing a payment over.
pub(super) fn soft<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(deserializer: D) -> Result<T, D::Error> {
    Value::deserialize(deserializer).map(|value| serde_json::from_value(value).unwrap_or_default())
}

/// A value, or nothing for null and for the empty string, which some peers write for what they do not know.
pub(super) fn unless_empty<'de, D: Deserializer<'de>, T: FromStr<Err: Display>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
    if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(serde::de::Error::custom) }
}

/// Whole seconds, more than 0: a number, or leniently a decimal string or an integral fraction such as `60.0`.
pub(in crate::wire) fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let text = match &value {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        _ => String::new(),
    };
    let whole = text.strip_suffix(".0").unwrap_or(&text);
    match whole.parse() {
        Ok(seconds) if seconds > 0 && !whole.starts_with('+') => Ok(seconds),
        _ => Err(serde::de::Error::custom(format!("expected seconds as a whole number more than 0, got {value}"))),
    }
}
