//! Assets and accounts, named as their chain names them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::network::Network;

const MAX_NAME_BYTES: usize = 256;

/// A text that cannot name an asset or an account on any chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected 1 to {MAX_NAME_BYTES} printable ASCII characters without spaces, got {0:?}")]
pub struct NameError(String);

macro_rules! chain_name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text, exactly as it was given.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                let fits = (1..=MAX_NAME_BYTES).contains(&text.len());
                if fits && text.bytes().all(|byte| byte.is_ascii_graphic()) {
                    Ok(Self(text.into()))
                } else {
                    Err(NameError(text.chars().take(100).collect()))
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "{}({})", stringify!($name), self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

chain_name! {
    /// An asset on its chain: a token's address or mint. Only the chain's own crate knows when two texts mean the
    /// same asset; this type compares them letter by letter.
    AssetId
}

chain_name! {
    /// An account on its chain: who pays or is paid. Compared letter by letter, as [`AssetId`] is.
    AccountId
}

/// What a role must know of an asset to price in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asset {
    /// Where the asset lives.
    pub network: Network,
    /// Its name there.
    pub id: AssetId,
    /// What people call it, such as `USDC`.
    pub symbol: String,
    /// How many atomic units make one: 10^decimals.
    pub decimals: u8,
    /// Whether one unit stands for one US dollar, so that a price in dollars can be asked in it.
    pub usd: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_letters() {
        for name in ["0x036CbD53842c5426634e7929541eC2318f3dCF7e", "2wKupLR9q6wXYppw8Gr2NvWxKBUqm4PPJKkQfoxHDBg4", "!", "~"] {
            assert_eq!(name.parse::<AssetId>().unwrap().as_str(), name);
            assert_eq!(serde_json::to_string(&name.parse::<AccountId>().unwrap()).unwrap(), format!("\"{name}\""));
        }
        assert_ne!("0xA".parse::<AccountId>(), "0xa".parse::<AccountId>());
    }

    #[test]
    fn what_cannot_be_a_name_on_any_chain_is_refused() {
        for bad in ["", " ", "0x A", "0xA\n", "\u{0430}", "\u{0}", &"a".repeat(257)] {
            assert!(bad.parse::<AssetId>().is_err(), "{bad:?} was taken for an asset");
            assert!(bad.parse::<AccountId>().is_err(), "{bad:?} was taken for an account");
        }
        assert!("a".repeat(100_000).parse::<AssetId>().unwrap_err().to_string().len() < 250);
    }
}
