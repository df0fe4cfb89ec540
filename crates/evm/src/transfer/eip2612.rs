//! EIP-2612: the owner of a token approves a spender by signature, so that Permit2 can move a token that its owner never
//! approved it for, at the facilitator's expense (protocol reference §7.4, `eip2612GasSponsoring`).
//!
//! The proxies take a permit of exactly the amount that the payment permits, never more, and go on where it fails: the
//! allowance may be there already.

use std::fmt;

use alloy_primitives::{Address, B256, U256, b256};
use serde::{Deserialize, Serialize};

use super::{hash_words, typed_data_hash};
use crate::abi::Eip2612Permit;
use crate::signature::{Signature, WireSignature};
use crate::text;

/// The extension's key.
pub const EXTENSION: &str = "eip2612GasSponsoring";
/// The version of the extension that is written here.
pub const EXTENSION_VERSION: &str = "1";

/// keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)")
const PERMIT_TYPE_HASH: B256 = b256!("0x6e71edae12b1b97f4d1f60370fef10105fa2faae0126114a169c64845d6126c9");

/// What the owner signs: `spender` may move `value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permit {
    /// Whose money.
    pub owner: Address,
    /// Who may move it.
    pub spender: Address,
    /// How much, in atomic units.
    pub value: U256,
    /// How many permits of this owner the token has seen.
    pub nonce: U256,
    /// Valid until this moment, in seconds since 1970.
    pub deadline: U256,
}

/// A permit as the proxies take it: the rest they know from the payment, the number from the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyPermit {
    /// How much, in atomic units.
    pub value: U256,
    /// Valid until this moment, in seconds since 1970.
    pub deadline: U256,
    /// The owner's signature.
    pub signature: Signature,
}

/// What a payer puts into the extension.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// Whose money.
    #[serde(with = "text::address")]
    pub from: Address,
    /// The token.
    #[serde(with = "text::address")]
    pub asset: Address,
    /// Who may move it: Permit2.
    #[serde(with = "text::address")]
    pub spender: Address,
    /// How much, in atomic units.
    #[serde(with = "text::decimal")]
    pub amount: U256,
    /// How many permits of this owner the token has seen.
    #[serde(with = "text::decimal")]
    pub nonce: U256,
    /// Valid until this moment, in seconds since 1970.
    #[serde(with = "text::decimal")]
    pub deadline: U256,
    /// The owner's signature.
    pub signature: WireSignature,
    /// The version of the extension.
    pub version: String,
}

impl Info {
    /// The fields that only a payer writes: an extension without them is an advertisement.
    pub const FIELDS: &[&str] = &["from", "asset", "spender", "amount", "nonce", "deadline", "signature", "version"];
}

impl Permit {
    /// The hash that the owner signs, under the token's domain.
    pub fn digest(&self, domain_separator: B256) -> B256 {
        let message = hash_words([
            PERMIT_TYPE_HASH,
            self.owner.into_word(),
            self.spender.into_word(),
            self.value.into(),
            self.nonce.into(),
            self.deadline.into(),
        ]);
        typed_data_hash(domain_separator, message)
    }
}

impl ProxyPermit {
    pub(super) fn to_abi(&self) -> Eip2612Permit {
        let Self { value, deadline, signature } = self;
        Eip2612Permit { value: *value, deadline: *deadline, r: signature.r(), s: signature.s(), v: signature.v() }
    }
}

impl fmt::Display for Permit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { owner, spender, value, deadline, .. } = self;
        write!(formatter, "{owner} lets {spender} move {value} until {deadline}")
    }
}

#[cfg(test)]
impl ProxyPermit {
    pub(super) fn for_tests() -> Self {
        let signature = WireSignature::from(farthing_testkit::golden::eip2612::SIGNATURE).strict().unwrap();
        Self { value: U256::from(1), deadline: U256::from(2), signature }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transfer::domain_separator;
    use crate::transfer::permit2::PERMIT2;
    use alloy_primitives::keccak256;
    use farthing_testkit::golden;

    #[test]
    fn the_digest_and_its_signer_are_those_of_the_official_sdk() {
        let permit = Permit {
            owner: golden::PAYER.parse().unwrap(),
            spender: PERMIT2,
            value: U256::from(golden::AMOUNT),
            nonce: U256::ZERO,
            deadline: U256::from(golden::VALID_BEFORE),
        };
        let digest = permit.digest(domain_separator("USDC", "2", golden::CHAIN_ID, golden::ASSET.parse().unwrap()));
        assert_eq!(digest.to_string(), golden::eip2612::DIGEST);
        let signature = WireSignature::from(golden::eip2612::SIGNATURE).strict().unwrap();
        assert_eq!(signature.signer(digest).unwrap(), permit.owner);
    }

    #[test]
    fn the_type_hash_is_that_of_its_text() {
        let text = "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)";
        assert_eq!(keccak256(text), PERMIT_TYPE_HASH);
    }
}
