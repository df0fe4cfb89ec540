//! A price in a file: a text, or a table that says how it is counted or looked up.

use std::fmt;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use crate::tariff::{Choice, Money, Rate, Tariff};

/// What a rate is made of.
const RATE: &[&str] = &["each", "per", "of", "at_least", "at_most", "uncounted"];

impl<'de> Deserialize<'de> for Tariff {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Tariff;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a price such as \"$0.01\", or a table with each, per and of, or with by")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Tariff, E> {
        text.parse().map(Tariff::Fixed).map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tariff, A::Error> {
        let mut texts = Vec::new();
        while let Some(pair) = map.next_entry::<String, String>()? {
            texts.push(pair);
        }
        let table = Table(texts);
        if table.has("by") { table.choice() } else { table.rate() }
    }
}

/// The texts of a table, from which they are taken one by one.
struct Table(Vec<(String, String)>);

impl Table {
    fn has(&self, key: &str) -> bool {
        self.0.iter().any(|(name, _)| name == key)
    }

    fn take(&mut self, key: &str) -> Option<String> {
        let at = self.0.iter().position(|(name, _)| name == key)?;
        Some(self.0.remove(at).1)
    }

    fn maybe<T: FromStr<Err: fmt::Display>, E: Error>(&mut self, key: &'static str) -> Result<Option<T>, E> {
        let told = |error| E::custom(format!("price.{key}: {error}"));
        self.take(key).map(|text| text.parse().map_err(told)).transpose()
    }

    fn must<T: FromStr<Err: fmt::Display>, E: Error>(&mut self, key: &'static str) -> Result<T, E> {
        self.maybe(key)?.ok_or_else(|| {
            E::custom(format!(
                "price: expected {key}, as in {{ each = \"$0.002\", per = \"1000 words\", of = \"request:/text\" }}"
            ))
        })
    }

    fn rate<E: Error>(mut self) -> Result<Tariff, E> {
        if let Some((unknown, _)) = self.0.iter().find(|(name, _)| !RATE.contains(&name.as_str())) {
            return Err(E::unknown_field(unknown, RATE));
        }
        let (each, per, of) = (self.must("each")?, self.must("per")?, self.must("of")?);
        let rate = Rate::new(each, per, of, self.maybe("at_least")?, self.maybe("at_most")?);
        let rate = match self.maybe("uncounted")? {
            Some(price) => rate.and_then(|rate| rate.with_uncounted(price)),
            None => rate,
        };
        rate.map(|rate| Tariff::Rate(Box::new(rate))).map_err(|error| E::custom(format!("price.{error}")))
    }

    fn choice<E: Error>(mut self) -> Result<Tariff, E> {
        let by: crate::tariff::Source = self.must("by")?;
        if by.is_of_response() {
            return Err(E::custom("price.by: expected something that the request says, got a part of its answer"));
        }
        let otherwise = self.maybe("otherwise")?;
        let named = self.0.into_iter().map(|(name, text)| {
            let price: Money = text.parse().map_err(|error| E::custom(format!("price.{name}: {error}")))?;
            Ok((name, price))
        });
        let prices: Vec<(String, Money)> = named.collect::<Result<_, E>>()?;
        if prices.is_empty() {
            return Err(E::custom("price: expected a price for at least one value of `by`"));
        }
        Ok(Tariff::Choice(Choice::new(by, prices, otherwise)))
    }
}
