//! EVM values as the protocol writes them: text that is read strictly and written in one way.

use alloy_primitives::{Address, B256, U256, hex};
use farthing_core::amount::Amount;
use farthing_core::asset::{AccountId, AssetId};
use serde::{Deserialize, Deserializer, Serializer};

const MAX_QUOTED_CHARS: usize = 100;

/// Reads an address: `0x` and 40 hexadecimal digits, in any letter case.
pub fn parse_address(text: &str) -> Option<Address> {
    fixed_hex(text).map(Address::new)
}

/// The account's name on the wire, with the mixed-case checksum of EIP-55.
pub fn account_id(address: Address) -> AccountId {
    name(address)
}

/// The token's name on the wire, with the mixed-case checksum of EIP-55.
pub fn asset_id(address: Address) -> AssetId {
    name(address)
}

/// `0x` and exactly `N` bytes in hexadecimal.
pub(crate) fn fixed_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.strip_prefix("0x").filter(|digits| digits.len() == N.saturating_mul(2))?;
    let mut bytes = [0; N];
    hex::decode_to_slice(digits, &mut bytes).ok()?;
    Some(bytes)
}

/// `0x` and any whole number of bytes in hexadecimal.
pub(crate) fn any_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("0x").filter(|digits| !digits.starts_with("0x"))?;
    hex::decode(digits).ok()
}

/// A peer's text, cut short enough to be quoted.
pub(crate) fn quoted(text: &str) -> String {
    format!("{:?}", text.chars().take(MAX_QUOTED_CHARS).collect::<String>())
}

#[expect(clippy::expect_used, reason = "the text of an address is always 42 printable ASCII characters")]
fn name<T: std::str::FromStr<Err: std::fmt::Debug>>(address: Address) -> T {
    address.to_checksum_buffer(None).as_str().parse().expect("an address is a valid name")
}

/// Serde form of an address.
pub(crate) mod address {
    use super::{Address, Deserialize, Deserializer, Serializer, parse_address, quoted};

    pub(crate) fn serialize<S: Serializer>(address: &Address, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(address.to_checksum_buffer(None).as_str())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Address, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        parse_address(&text).ok_or_else(|| {
            serde::de::Error::custom(format!("expected an address (0x and 40 hexadecimal digits), got {}", quoted(&text)))
        })
    }
}

/// Serde form of an address that need not be there.
pub(crate) mod optional_address {
    use super::{Address, Deserialize, Deserializer, Serializer, address};

    #[derive(Deserialize)]
    struct Wire(#[serde(with = "address")] Address);

    #[expect(clippy::ref_option, reason = "serde hands the field over like this")]
    pub(crate) fn serialize<S: Serializer>(value: &Option<Address>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => address::serialize(value, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Address>, D::Error> {
        Ok(Option::<Wire>::deserialize(deserializer)?.map(|Wire(address)| address))
    }
}

/// Serde form of 32 bytes.
pub(crate) mod word {
    use super::{B256, Deserialize, Deserializer, Serializer, fixed_hex, quoted};

    pub(crate) fn serialize<S: Serializer>(word: &B256, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(word)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<B256, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        fixed_hex(&text).map(B256::new).ok_or_else(|| {
            serde::de::Error::custom(format!("expected 32 bytes (0x and 64 hexadecimal digits), got {}", quoted(&text)))
        })
    }
}

/// Serde form of an unsigned number: a decimal string and nothing else.
pub(crate) mod decimal {
    use super::{Amount, Deserialize, Deserializer, Serializer, U256};

    pub(crate) fn serialize<S: Serializer>(number: &U256, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(number)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<U256, D::Error> {
        Amount::deserialize(deserializer).map(Amount::units)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_forty_digits_in_any_case() {
        let text = "0x036CbD53842c5426634e7929541eC2318f3dCF7e";
        let address = parse_address(text).unwrap();
        assert_eq!(parse_address(&text.to_lowercase()), Some(address));
        assert_eq!(parse_address(&format!("0x{}", text[2..].to_uppercase())), Some(address));
        assert_eq!(account_id(address).as_str(), text);
        for bad in [
            "",
            "0x",
            "036CbD53842c5426634e7929541eC2318f3dCF7e",
            "0X036CbD53842c5426634e7929541eC2318f3dCF7e",
            "0x036CbD53842c5426634e7929541eC2318f3dCF7",
            "0x036CbD53842c5426634e7929541eC2318f3dCF7e0",
            "0x0x6CbD53842c5426634e7929541eC2318f3dCF7e",
            " 0x036CbD53842c5426634e7929541eC2318f3dCF7e",
            "0x036CbD53842c5426634e7929541eC2318f3dCF7g",
            "0x036CbD53842c5426634e7929541eC2318f3dCF7\u{0661}",
        ] {
            assert_eq!(parse_address(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn bytes_are_whole() {
        assert_eq!(any_hex("0x"), Some(vec![]));
        assert_eq!(any_hex("0xAb"), Some(vec![0xab]));
        for bad in ["", "ab", "0xa", "0x0xab", "0xzz", "0x a"] {
            assert_eq!(any_hex(bad), None, "{bad:?}");
        }
    }
}
