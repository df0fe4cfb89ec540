//! Networks by their CAIP-2 name, such as `eip155:8453`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

const MAX_NAMESPACE_BYTES: usize = 32;
const MAX_REFERENCE_BYTES: usize = 64;

/// One payment network: `namespace:reference` (x402 v2 §11.1, CAIP-2).
///
/// The namespace names the chain family (`eip155`, `solana`). The form is used by networks that are no chain, too
/// (`ach:us`), and some references are longer than CAIP-2 allows, so reading is a little wider than CAIP-2.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    name: Arc<str>,
    colon: usize,
}

/// A text that names no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a CAIP-2 network such as \"eip155:8453\", got {0:?}")]
pub struct NetworkError(String);

impl Network {
    /// The chain family, such as `eip155`.
    pub fn namespace(&self) -> &str {
        self.name.get(..self.colon).unwrap_or_default()
    }

    /// The chain within its family, such as `8453`.
    pub fn reference(&self) -> &str {
        self.name.get(self.colon.saturating_add(1)..).unwrap_or_default()
    }

    /// The whole name, such as `eip155:8453`.
    pub fn as_str(&self) -> &str {
        &self.name
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let fail = || NetworkError(text.chars().take(100).collect());
        let (namespace, reference) = text.split_once(':').ok_or_else(fail)?;
        let namespace_ok = (1..=MAX_NAMESPACE_BYTES).contains(&namespace.len())
            && namespace.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        let reference_ok = (1..=MAX_REFERENCE_BYTES).contains(&reference.len())
            && reference.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_+/=.".contains(&byte));
        if !(namespace_ok && reference_ok) {
            return Err(fail());
        }
        Ok(Self { name: text.into(), colon: namespace.len() })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Network({})", self.name)
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_namespace_and_reference() {
        let base: Network = "eip155:8453".parse().unwrap();
        assert_eq!((base.namespace(), base.reference()), ("eip155", "8453"));
        for name in [
            "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp",
            "ach:us",
            "tvm:-239",
            "algorand:wGHE2Pwdvd7S12BL5FaOP20EGYesN73ktiC1qzkkit8=",
        ] {
            assert_eq!(name.parse::<Network>().unwrap().as_str(), name);
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in
            ["", ":", "eip155", "base-sepolia", "eip155:", ":1", "EIP155:1", "eip155:1 ", "eip155:1:2", "eip155:\u{0661}"]
        {
            assert!(bad.parse::<Network>().is_err(), "{bad:?} was taken for a network");
        }
    }
}
