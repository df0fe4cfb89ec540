//! How a token moves by signature, and what else a payer signs for that. One file for each; schemes share them.

pub mod approval;
pub mod eip2612;
pub mod eip3009;
pub mod permit2;
pub(crate) mod sponsoring;

use alloy_primitives::{Address, B256, FixedBytesSliceExt as _, U256, b256, keccak256};

/// keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
const DOMAIN_TYPE_HASH: B256 = b256!("0x8b73c3c69bb8fe3d512ecc4cf759cc79239f7b179b0ffacaa9a75d522b39400f");

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

/// The hash of words one behind another.
fn hash_words<const N: usize>(words: [B256; N]) -> B256 {
    keccak256(words.as_slice().as_flattened())
}

/// What is signed of a message under a domain (EIP-712).
fn typed_data_hash(domain_separator: B256, message: B256) -> B256 {
    let mut bytes = [0_u8; 66];
    let (prefix, hashes) = bytes.split_at_mut(2);
    prefix.copy_from_slice(&[0x19, 0x01]);
    let (domain, rest) = hashes.split_at_mut(32);
    domain.copy_from_slice(domain_separator.as_slice());
    rest.copy_from_slice(message.as_slice());
    keccak256(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_domains_type_hash_is_that_of_its_text() {
        let domain = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)";
        assert_eq!(keccak256(domain), DOMAIN_TYPE_HASH);
    }
}
