//! EIP-3009: the token itself carries out a transfer that its owner signed (protocol reference §6.1.1).
//!
//! The typed-data hash is made from a domain separator that the asset table computed once and from a constant type
//! hash, on the stack: it is on the path of every payment, before anything is asked of a node.

use std::fmt;

use alloy_primitives::{Address, B256, U256, b256, keccak256};
use alloy_sol_types::{SolCall, SolEvent};
use serde::{Deserialize, Serialize};

use crate::abi::Token;
use crate::rpc::Log;
use crate::signature::Signature;
use crate::text;

/// keccak256("TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)")
const TRANSFER_TYPE_HASH: B256 = b256!("0x7c7c6cdb67a18743f49ec6fa9b35f50d52ed05cbed4cc592e13b44501c1a2267");
/// keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
const DOMAIN_TYPE_HASH: B256 = b256!("0x8b73c3c69bb8fe3d512ecc4cf759cc79239f7b179b0ffacaa9a75d522b39400f");

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

/// The hash of a token's EIP-712 domain.
pub fn domain_separator(name: &str, version: &str, chain_id: u64, contract: Address) -> B256 {
    hash_words([
        DOMAIN_TYPE_HASH,
        keccak256(name.as_bytes()),
        keccak256(version.as_bytes()),
        U256::from(chain_id).into(),
        contract.into_word(),
    ])
}

fn hash_words<const N: usize>(words: [B256; N]) -> B256 {
    keccak256(words.as_slice().as_flattened_bytes())
}

fn typed_data_hash(domain_separator: B256, message: B256) -> B256 {
    let mut bytes = [0_u8; 66];
    let (prefix, hashes) = bytes.split_at_mut(2);
    prefix.copy_from_slice(&[0x19, 0x01]);
    let (domain, rest) = hashes.split_at_mut(32);
    domain.copy_from_slice(domain_separator.as_slice());
    rest.copy_from_slice(message.as_slice());
    keccak256(bytes)
}
