//! How values are read whose form in the file is not the form of their type.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use http::HeaderValue;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::Origins;
use crate::config::UpstreamConfig;

/// A text as what it means.
pub(super) fn parsed<'de, T: FromStr<Err: fmt::Display>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}

/// A table in the order of the file.
pub(super) fn pairs<'de, K, V, D>(deserializer: D) -> Result<Vec<(K, V)>, D::Error>
where
    K: Deserialize<'de>,
    V: Deserialize<'de>,
    D: Deserializer<'de>,
{
    struct Pairs<K, V>(PhantomData<(K, V)>);

    impl<'de, K: Deserialize<'de>, V: Deserialize<'de>> Visitor<'de> for Pairs<K, V> {
        type Value = Vec<(K, V)>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a table")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut pairs = Vec::new();
            while let Some(pair) = map.next_entry()? {
                pairs.push(pair);
            }
            Ok(pairs)
        }
    }

    deserializer.deserialize_map(Pairs(PhantomData))
}

/// An upstream by its URL alone, or as a table.
pub(super) fn upstream<'de, D: Deserializer<'de>>(deserializer: D) -> Result<UpstreamConfig, D::Error> {
    struct Upstream;

    impl<'de> Visitor<'de> for Upstream {
        type Value = UpstreamConfig;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a URL such as \"http://127.0.0.1:3000\", or a table with url")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<UpstreamConfig, E> {
            text.parse().map(UpstreamConfig::new).map_err(|error| E::custom(format!("upstream: {error}")))
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<UpstreamConfig, A::Error> {
            UpstreamConfig::deserialize(MapAccessDeserializer::new(map))
        }
    }

    deserializer.deserialize_any(Upstream)
}

/// `"*"`, or a list of origins.
pub(super) fn origins<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Origins, D::Error> {
    struct List;

    impl<'de> Visitor<'de> for List {
        type Value = Origins;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("\"*\", or a list of origins such as [\"https://app.example.com\"]")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Origins, E> {
            if text == "*" { Ok(Origins::Any) } else { Err(E::custom("origins: expected \"*\" or a list")) }
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Origins, A::Error> {
            let mut origins = Vec::new();
            while let Some(text) = list.next_element::<String>()? {
                let is_origin = text.split_once("://").is_some_and(|(scheme, host)| {
                    matches!(scheme, "http" | "https") && !host.is_empty() && !host.contains(['/', '?', '#', '@', '*'])
                });
                let value = HeaderValue::from_str(&text).ok().filter(|_| is_origin);
                let expected = || A::Error::custom("origins: expected such as \"https://app.example.com\", without a path");
                origins.push(value.ok_or_else(expected)?);
            }
            Ok(Origins::These(origins))
        }
    }

    deserializer.deserialize_any(List)
}
