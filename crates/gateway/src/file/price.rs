//! A price in a file: a text, or a table that says how it is counted or looked up.

use std::fmt;
use std::str::FromStr;

use farthing_core::network::Network;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::network;
use crate::tariff::{Choice, Hours, Money, Part, Rate, Several, Tariff, Window};

/// What a rate is made of.
const RATE: &[&str] = &["each", "per", "of", "at_least", "at_most", "uncounted"];

impl<'de> Deserialize<'de> for Tariff {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Raw::deserialize(deserializer)?.tariff()
    }
}

/// What stands in the place of a price, before it is known what it means.
enum Raw {
    Text(String),
    List(Vec<Raw>),
    Table(Vec<(String, Raw)>),
}

struct Reader;

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

impl<'de> Visitor<'de> for Reader {
    type Value = Raw;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a price such as \"$0.01\", a table with each, per and of, or with by, or a list of such prices")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Raw, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = list.next_element()? {
            elements.push(element);
        }
        Ok(Raw::List(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(Raw::Table(pairs))
    }
}

impl Raw {
    fn tariff<E: Error>(self) -> Result<Tariff, E> {
        match self {
            Self::Text(text) => text.parse().map(Tariff::Fixed).map_err(E::custom),
            Self::List(elements) => {
                let parts = elements.into_iter().map(Self::part).collect::<Result<_, E>>()?;
                Several::new(parts).map(Tariff::Several).map_err(|error| E::custom(format!("price: {error}")))
            }
            Self::Table(pairs) => {
                let table = Table(
                    pairs.into_iter().map(|(key, value)| Ok((key.clone(), value.text(&key)?))).collect::<Result<_, E>>()?,
                );
                if table.has("by") { table.by() } else { table.rate() }
            }
        }
    }

    /// One of several prices: a price, or a table with a price and the networks that it is for.
    fn part<E: Error>(self) -> Result<Part, E> {
        let is_part = matches!(&self, Self::Table(pairs) if pairs.iter().any(|(key, _)| key == "price"));
        let pairs = match self {
            Self::Table(pairs) if is_part => pairs,
            other => return Ok(Part { price: other.tariff()?, accepts: Vec::new() }),
        };
        let (mut price, mut accepts) = (None, Vec::new());
        for (key, value) in pairs {
            match key.as_str() {
                "price" => price = Some(value.tariff()?),
                "accepts" => accepts = value.networks()?,
                other => return Err(E::unknown_field(other, &["price", "accepts"])),
            }
        }
        let price = price.ok_or_else(|| E::missing_field("price"))?;
        Ok(Part { price, accepts })
    }

    fn text<E: Error>(self, key: &str) -> Result<String, E> {
        match self {
            Self::Text(text) => Ok(text),
            _ => Err(E::custom(format!("price.{key}: expected a text"))),
        }
    }

    fn networks<E: Error>(self) -> Result<Vec<Network>, E> {
        let expected = || E::custom("price.accepts: expected a list of networks, with at least one");
        let Self::List(names) = self else { return Err(expected()) };
        if names.is_empty() {
            return Err(expected());
        }
        let read = |name: Self| network(&name.text("accepts")?).map_err(E::custom);
        names.into_iter().map(read).collect()
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

    fn by<E: Error>(self) -> Result<Tariff, E> {
        if self.0.iter().any(|(key, value)| key == "by" && value == "time") { self.hours() } else { self.choice() }
    }

    fn hours<E: Error>(mut self) -> Result<Tariff, E> {
        let _time = self.take("by");
        let (zone, otherwise) = (self.maybe("zone")?.unwrap_or_default(), self.maybe("otherwise")?);
        let windows = self.0.into_iter().map(|(name, text)| {
            let window: Window = name.parse().map_err(|error| E::custom(format!("price: {error}")))?;
            let price: Money = text.parse().map_err(|error| E::custom(format!("price.{name:?}: {error}")))?;
            Ok((window, price))
        });
        let hours = Hours::new(zone, windows.collect::<Result<_, E>>()?, otherwise);
        hours.map(Tariff::Hours).map_err(|error| E::custom(format!("price: {error}")))
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
