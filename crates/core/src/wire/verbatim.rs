//! A message part together with the exact text it came as.

use std::ops::Deref;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::json;

/// A value and its JSON text, which is written again exactly as it was read: unknown keys, number or string, letter
/// case of addresses and all.
///
/// Servers compare `accepted` with what they offered field by field, so a client that re-serialises it loses the
/// payment. The value cannot be changed, so that text and value never disagree.
#[derive(Clone, Debug)]
pub struct Verbatim<T> {
    raw: Arc<RawValue>,
    value: T,
}

impl<T> Verbatim<T> {
    /// The JSON text.
    pub fn raw(&self) -> &str {
        self.raw.get()
    }

    /// The value without its text.
    pub fn into_value(self) -> T {
        self.value
    }
}

impl<T: Serialize> Verbatim<T> {
    /// A value of our own, with the text that we write for it.
    pub fn new(value: T) -> Result<Self, serde_json::Error> {
        let raw = serde_json::value::to_raw_value(&value)?.into();
        Ok(Self { raw, value })
    }
}

impl<T: DeserializeOwned> Verbatim<T> {
    /// A value read from its text.
    pub fn from_raw(raw: Box<RawValue>) -> Result<Self, serde_json::Error> {
        Self::read(raw).map_err(|(_, error)| error)
    }

    /// A value read from its text, or the text again and what is wrong with it.
    pub(crate) fn read(raw: Box<RawValue>) -> Result<Self, (Box<RawValue>, serde_json::Error)> {
        match json::parse(raw.get()) {
            Ok(value) => Ok(Self { raw: raw.into(), value }),
            Err(error) => Err((raw, error)),
        }
    }
}

impl<T> Deref for Verbatim<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: PartialEq> PartialEq for Verbatim<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T> Serialize for Verbatim<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.raw.serialize(serializer)
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Verbatim<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Self::from_raw(raw).map_err(serde::de::Error::custom)
    }
}
