//! Extensions: objects by key that ride along with terms and payments (x402 v2 §5.1.2, §5.2.2).

use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::json;
use crate::reason::{Reason, Refusal};

/// The extensions of terms or of a payment, each kept to the byte. They may hold signatures, so `Debug` shows their keys only.
#[derive(Clone, Default)]
pub struct Extensions {
    /// In the order in which they came.
    entries: Vec<(String, Arc<RawValue>)>,
}

impl Extensions {
    /// Those of a JSON object's text; none where it is missing or `null`, and what is `null` in it is not there.
    pub(super) fn read(raw: Option<Box<RawValue>>) -> Result<Self, serde_json::Error> {
        let Some(raw) = raw else { return Ok(Self::default()) };
        // Whatever stands in the place of an object is not repeated: it may be a signature.
        let texts: Option<Texts> = json::parse(raw.get())?;
        let entries = texts.unwrap_or_default().0.into_iter();
        Ok(Self { entries: entries.filter_map(|(key, raw)| Some((key, raw?.into()))).collect() })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Their keys.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|(key, _)| key.as_str())
    }

    /// The JSON text of one.
    pub fn raw(&self, key: &str) -> Option<&str> {
        self.entries.iter().find(|(name, _)| name == key).map(|(_, raw)| raw.get())
    }

    /// One of them as a `T`; `None` if it is not there. What cannot be read is told with this reason.
    pub fn get<T: DeserializeOwned>(&self, key: &str, reason: Reason) -> Result<Option<T>, Refusal> {
        let Some(raw) = self.raw(key) else { return Ok(None) };
        json::parse(raw).map(Some).map_err(|error| Refusal::new(reason, format!("extensions.{key}: {error}")))
    }

    /// Adds one, or puts it in the place of the one with that key.
    pub fn set(&mut self, key: &str, value: &impl Serialize) -> Result<(), serde_json::Error> {
        self.put(key.to_owned(), serde_json::value::to_raw_value(value)?.into());
        Ok(())
    }

    /// Adds the other's, which win where both have a key.
    pub fn extend(&mut self, other: Self) {
        other.entries.into_iter().for_each(|(key, raw)| self.put(key, raw));
    }

    fn put(&mut self, key: String, raw: Arc<RawValue>) {
        match self.entries.iter_mut().find(|(name, _)| *name == key) {
            Some((_, old)) => *old = raw,
            None => self.entries.push((key, raw)),
        }
    }
}

/// The entries of an object in their order.
#[derive(Default)]
struct Texts(Vec<(String, Option<Box<RawValue>>)>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Texts;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object with one entry for each extension")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Texts, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Texts(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

impl Serialize for Extensions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.entries.iter().map(|(key, raw)| (key, raw.as_ref())))
    }
}

impl fmt::Debug for Extensions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.keys()).finish()
    }
}
