//! EIP-3009: the token itself carries out a transfer that its owner signed (protocol reference §6.1.1).
//!
//! The typed-data hash is made from a domain separator that the asset table computed once and from a constant type
//! hash, on the stack: it is on the path of every payment, before anything is asked of a node.

use std::fmt;

use alloy_primitives::{Address, B256, U256, b256};
use alloy_sol_types::{SolCall, SolEvent};
use serde::{Deserialize, Serialize};

pub use super::domain_separator;
use super::{hash_words, typed_data_hash};
use crate::abi::Token;
use crate::rpc::Log;
use crate::signature::Signature;
use crate::text;

/// keccak256("TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)")
const TRANSFER_TYPE_HASH: B256 = b256!("0x7c7c6cdb67a18743f49ec6fa9b35f50d52ed05cbed4cc592e13b44501c1a2267");

/// What the payer signs: move `value` from `from` to `to`, once, within a window of time.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Authorization {
    /// Who pays.
    #[serde(with = "text::address")]
    pub from: Address,
    /// Who is paid.
    #[serde(with = "text::address")]
    pub to: Address,
    /// How much, in atomic units.
    #[serde(with = "text::decimal")]
    pub value: U256,
    /// Valid after this moment, in seconds since 1970.
    #[serde(with = "text::decimal")]
    pub valid_after: U256,
    /// Valid before this moment, in seconds since 1970.
    #[serde(with = "text::decimal")]
    pub valid_before: U256,
    /// 32 bytes that the payer uses once.
    #[serde(with = "text::word")]
    pub nonce: B256,
}

impl Authorization {
    /// The hash that the payer signs, under the token's domain.
    pub fn digest(&self, domain_separator: B256) -> B256 {
        let message = hash_words([
            TRANSFER_TYPE_HASH,
            self.from.into_word(),
            self.to.into_word(),
            self.value.into(),
            self.valid_after.into(),
            self.valid_before.into(),
            self.nonce,
        ]);
        typed_data_hash(domain_separator, message)
    }

    /// The call that carries the transfer out, for the signature of an ordinary account: the overload with `v, r, s`.
    pub fn calldata(&self, signature: &Signature) -> Vec<u8> {
        Token::transferWithAuthorization_0Call {
            from: self.from,
            to: self.to,
            value: self.value,
            validAfter: self.valid_after,
            validBefore: self.valid_before,
            nonce: self.nonce,
            v: signature.v(),
            r: signature.r(),
            s: signature.s(),
        }
        .abi_encode()
    }

    /// The call that carries the transfer out, for signatures that only the payer's own contract can read: the overload
    /// with bytes. An ordinary account's signature must not go this way.
    pub fn calldata_with_bytes(&self, signature: &[u8]) -> Vec<u8> {
        Token::transferWithAuthorization_1Call {
            from: self.from,
            to: self.to,
            value: self.value,
            validAfter: self.valid_after,
            validBefore: self.valid_before,
            nonce: self.nonce,
            signature: signature.to_vec().into(),
        }
        .abi_encode()
    }

    /// Whether the logs of a transaction show that the token moved exactly this money. A receipt's status alone proves
    /// nothing: some tokens do not revert on a used nonce.
    pub fn moved(&self, asset: Address, logs: &[Log]) -> bool {
        logs.iter().any(|log| {
            log.address == asset
                && log.topics == [Token::Transfer::SIGNATURE_HASH, self.from.into_word(), self.to.into_word()]
                && log.data.as_ref() == self.value.to_be_bytes::<32>()
        })
    }
}

impl fmt::Debug for Authorization {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Authorization({} to {}: {} before {})", self.from, self.to, self.value, self.valid_before)
    }
}

/// What an `AuthorizationUsed` log of the asset says: whose authorization, and its nonce.
pub fn authorization_used(asset: Address, log: &Log) -> Option<(Address, B256)> {
    match log.topics.as_slice() {
        [event, authorizer, nonce] if log.address == asset && *event == Token::AuthorizationUsed::SIGNATURE_HASH => {
            Some((Address::from_word(*authorizer), *nonce))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::WireSignature;
    use crate::transfer::domain_separator;
    use alloy_primitives::keccak256;
    use farthing_testkit::golden;

    fn golden_authorization() -> Authorization {
        Authorization {
            from: golden::PAYER.parse().unwrap(),
            to: golden::PAY_TO.parse().unwrap(),
            value: U256::from(golden::AMOUNT),
            valid_after: U256::ZERO,
            valid_before: U256::from(golden::VALID_BEFORE),
            nonce: B256::repeat_byte(0x11),
        }
    }

    fn golden_domain() -> B256 {
        domain_separator("USDC", "2", golden::CHAIN_ID, golden::ASSET.parse().unwrap())
    }

    #[test]
    fn the_type_hash_is_that_of_its_text() {
        let transfer = "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)";
        assert_eq!(keccak256(transfer), TRANSFER_TYPE_HASH);
    }

    #[test]
    fn the_digest_is_that_of_the_official_sdk() {
        assert_eq!(golden_authorization().digest(golden_domain()).to_string(), golden::eip3009::DIGEST);
    }

    #[test]
    fn calldata_is_the_overload_for_the_kind_of_signature() {
        let signature = WireSignature::from(golden::eip3009::SIGNATURE).strict().unwrap();
        let authorization = golden_authorization();
        let call = Token::transferWithAuthorization_0Call::abi_decode(&authorization.calldata(&signature)).unwrap();
        assert_eq!((call.from, call.v, call.nonce), (authorization.from, 27, authorization.nonce));
        let call = authorization.calldata_with_bytes(&[1, 2, 3]);
        let call = Token::transferWithAuthorization_1Call::abi_decode(&call).unwrap();
        assert_eq!((call.value, call.signature.as_ref()), (authorization.value, [1, 2, 3].as_slice()));
    }

    #[test]
    fn only_the_exact_transfer_of_the_asset_counts() {
        let asset: Address = golden::ASSET.parse().unwrap();
        let authorization = golden_authorization();
        let good = Log {
            address: asset,
            topics: vec![Token::Transfer::SIGNATURE_HASH, authorization.from.into_word(), authorization.to.into_word()],
            data: authorization.value.to_be_bytes_vec().into(),
        };
        assert!(authorization.moved(asset, std::slice::from_ref(&good)));
        let other_asset = Log { address: Address::ZERO, ..good.clone() };
        let less = Log { data: U256::from(9_999).to_be_bytes_vec().into(), ..good.clone() };
        let mut to_another = good.clone();
        to_another.topics[2] = B256::ZERO;
        let mut not_indexed = good;
        not_indexed.topics.truncate(2);
        assert!(!authorization.moved(asset, &[other_asset, less, to_another, not_indexed]));
    }

    #[test]
    fn a_used_authorization_is_read_from_its_log() {
        let asset: Address = golden::ASSET.parse().unwrap();
        let authorization = golden_authorization();
        let topics = vec![Token::AuthorizationUsed::SIGNATURE_HASH, authorization.from.into_word(), authorization.nonce];
        let log = Log { address: asset, topics, data: alloy_primitives::Bytes::new() };
        assert_eq!(authorization_used(asset, &log), Some((authorization.from, authorization.nonce)));
        assert_eq!(authorization_used(Address::ZERO, &log), None);
    }

    #[test]
    fn an_authorization_on_the_wire_is_strings_and_nothing_else() {
        let good = serde_json::to_value(golden_authorization()).unwrap();
        assert_eq!(good["value"], "10000");
        assert_eq!(good["validBefore"], "1800000000");
        assert_eq!(good["from"], golden::PAYER);
        assert_eq!(serde_json::from_value::<Authorization>(good.clone()).unwrap(), golden_authorization());
        let bad: [(&str, serde_json::Value); 12] = [
            ("value", 10_000.into()),
            ("value", "0x2710".into()),
            ("value", "1e4".into()),
            ("value", "-1".into()),
            ("value", " 1".into()),
            ("value", "1.0".into()),
            ("value", "9".repeat(79).into()),
            ("validBefore", 1_800_000_000.into()),
            ("nonce", "0x11".into()),
            ("nonce", "11".repeat(32).into()),
            ("to", "0x1234".into()),
            ("from", serde_json::Value::Null),
        ];
        for (field, value) in bad {
            let mut json = good.clone();
            json[field] = value.clone();
            assert!(serde_json::from_value::<Authorization>(json).is_err(), "{field} = {value} was taken");
        }
    }
}
