//! Accounts that can sign: a payer's wallet, or a facilitator's sending account.
//!
//! Only hashes are signed here; what they mean is decided by the scheme or the relayer that made them. Keys kept
//! elsewhere (a key service, hardware) implement [`Signer`] too.

use std::fmt;

use alloy_primitives::{Address, B256};
use farthing_core::{BoxFuture, Source};
use secp256k1::{Message, SecretKey};
use zeroize::Zeroizing;

use crate::signature::{Signature, address_of, curve};
use crate::text::fixed_hex;

/// An account with its key.
pub trait Signer: Send + Sync {
    /// The account.
    fn address(&self) -> Address;

    /// Signs a 32-byte hash.
    fn sign_hash(&self, hash: B256) -> BoxFuture<'_, Result<Signature, SignerError>>;
}

/// Why an account did not sign, or is none.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// The text or bytes are no private key. They are not repeated here.
    #[error("expected a private key: 0x and 64 hexadecimal digits, not zero, below the curve's order")]
    NotAKey,
    /// The key is kept elsewhere, and that place did not sign.
    #[error("the key's keeper did not sign")]
    Keeper(#[source] Source),
}

/// An account whose key is in this process's memory, and is wiped from it when dropped.
pub struct LocalSigner {
    key: Zeroizing<[u8; 32]>,
    address: Address,
}

impl LocalSigner {
    /// Takes a private key of 32 bytes. The caller's own copy is wiped.
    pub fn from_bytes(key: Zeroizing<[u8; 32]>) -> Result<Self, SignerError> {
        let mut secret = SecretKey::from_byte_array(*key).map_err(|_| SignerError::NotAKey)?;
        let address = address_of(&secret.public_key(curve()));
        secret.non_secure_erase();
        Ok(Self { key, address })
    }

    /// Takes a private key in hexadecimal, with or without `0x`. The caller's own copy is wiped.
    pub fn from_hex(text: Zeroizing<String>) -> Result<Self, SignerError> {
        let digits = text.trim();
        let prefixed = Zeroizing::new(format!("0x{}", digits.strip_prefix("0x").unwrap_or(digits)));
        drop(text);
        Self::from_bytes(Zeroizing::new(fixed_hex(&prefixed).ok_or(SignerError::NotAKey)?))
    }
}

impl LocalSigner {
    fn sign(&self, hash: B256) -> Result<Signature, SignerError> {
        let mut secret = SecretKey::from_byte_array(*self.key).map_err(|_| SignerError::NotAKey)?;
        // Deterministic nonces (RFC 6979) and low s are what libsecp256k1 does by itself.
        let signature = curve().sign_ecdsa_recoverable(Message::from_digest(hash.0), &secret);
        secret.non_secure_erase();
        Signature::from_recoverable(&signature).map_err(|error| SignerError::Keeper(error.into()))
    }
}

impl Signer for LocalSigner {
    fn address(&self) -> Address {
        self.address
    }

    fn sign_hash(&self, hash: B256) -> BoxFuture<'_, Result<Signature, SignerError>> {
        Box::pin(std::future::ready(self.sign(hash)))
    }
}

impl fmt::Debug for LocalSigner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "LocalSigner({})", self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::WireSignature;
    use farthing_testkit::golden;

    fn golden_signer() -> LocalSigner {
        LocalSigner::from_hex(Zeroizing::new(golden::PAYER_KEY.to_owned())).unwrap()
    }

    #[tokio::test]
    async fn signatures_are_those_of_the_official_sdk() {
        let signer = golden_signer();
        assert_eq!(signer.address().to_string(), golden::PAYER);
        let signature = signer.sign_hash(golden::eip3009::DIGEST.parse().unwrap()).await.unwrap();
        assert_eq!(WireSignature::from(signature), WireSignature::from(golden::eip3009::SIGNATURE));
    }

    #[test]
    fn what_is_no_key_is_refused_without_being_repeated() {
        let too_large = format!("0x{}", "f".repeat(64));
        let zero = format!("0x{}", "0".repeat(64));
        for bad in ["", "0x", "0x12", "not a key", &too_large, &zero] {
            let error = LocalSigner::from_hex(Zeroizing::new(bad.to_owned())).unwrap_err();
            assert!(bad.len() < 4 || !error.to_string().contains(bad));
        }
    }

    #[test]
    fn a_key_may_be_written_without_its_prefix_and_is_never_shown() {
        let bare = Zeroizing::new(golden::PAYER_KEY[2..].to_owned());
        let signer = LocalSigner::from_hex(bare).unwrap();
        assert_eq!(format!("{signer:?}"), format!("LocalSigner({})", golden::PAYER));
    }
}
