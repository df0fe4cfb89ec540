//! What counts as the signature of an ordinary account, decided locally and strictly, for all schemes.
//!
//! A signature is 65 bytes `r ‖ s ‖ v`, with `r` and `s` not zero, `s` in the lower half of the curve's order, and `v`
//! 27 or 28 (0 and 1 are read as those, and written as 27 and 28 for the chain). Anything looser lets one signature be
//! written in several ways. Recovery is libsecp256k1's: five times as fast as the alternative, and the most expensive
//! step of every local check.

use std::fmt;
use std::sync::LazyLock;

use alloy_primitives::{Address, B256, b256, keccak256};
use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
use secp256k1::{All, Message, Secp256k1};
use serde::{Deserialize, Serialize};

use crate::text::any_hex;

/// The length of a signature.
pub const SIGNATURE_BYTES: usize = 65;
const V_OFFSET: u8 = 27;
/// Half of the curve's order: the largest `s` that is allowed (EIP-2).
const MAX_S: B256 = b256!("0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0");

static CURVE: LazyLock<Secp256k1<All>> = LazyLock::new(Secp256k1::new);

/// The curve's tables, made once for the whole process.
pub(crate) fn curve() -> &'static Secp256k1<All> {
    &CURVE
}

/// A well-formed signature. Whose it is, only [`Signature::signer`] says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature {
    r: B256,
    s: B256,
    odd_y: bool,
}

/// A signature as a peer wrote it, not looked at yet. Never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WireSignature(String);

/// Why a text is not the signature of an ordinary account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The text is not hexadecimal.
    #[error("expected 0x and hexadecimal digits")]
    NotHex,
    /// The signature is too short or too long.
    #[error("expected {SIGNATURE_BYTES} bytes (r, s, v), got {0}")]
    Length(usize),
    /// It ends like a wrapper of ERC-6492, and is none.
    #[error("expected factory, call and signature before the end of an ERC-6492 wrapper")]
    Wrapper,
    /// `v` is out of range.
    #[error("v: expected 27 or 28, got {0}")]
    V(u8),
    /// `r` or `s` is zero.
    #[error("r and s must not be zero")]
    Zero,
    /// `s` is in the upper half of the curve's order.
    #[error("s is in the upper half of the curve's order; sign again with a library that writes low s")]
    HighS,
    /// No key can have made this signature.
    #[error("no key can have made it")]
    NoKey,
}

impl Signature {
    /// Reads 65 bytes strictly.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SignatureError> {
        let bytes: &[u8; SIGNATURE_BYTES] = bytes.try_into().map_err(|_| SignatureError::Length(bytes.len()))?;
        let [scalars @ .., v] = bytes;
        let (r, s) = scalars.split_at(32);
        let (r, s) = (B256::from_slice(r), B256::from_slice(s));
        let odd_y = match *v {
            0 | V_OFFSET => false,
            1 | 28 => true,
            other => return Err(SignatureError::V(other)),
        };
        if r.is_zero() || s.is_zero() {
            return Err(SignatureError::Zero);
        }
        if s > MAX_S {
            return Err(SignatureError::HighS);
        }
        Ok(Self { r, s, odd_y })
    }

    /// The 65 bytes, with `v` 27 or 28.
    pub fn to_bytes(&self) -> [u8; SIGNATURE_BYTES] {
        let mut bytes = [0; SIGNATURE_BYTES];
        let [scalars @ .., v] = &mut bytes;
        let (r, s) = scalars.split_at_mut(32);
        r.copy_from_slice(self.r.as_slice());
        s.copy_from_slice(self.s.as_slice());
        *v = self.v();
        bytes
    }

    /// The account whose key signed the digest.
    pub fn signer(&self, digest: B256) -> Result<Address, SignatureError> {
        let mut compact = [0; 64];
        let (r, s) = compact.split_at_mut(32);
        r.copy_from_slice(self.r.as_slice());
        s.copy_from_slice(self.s.as_slice());
        let id = if self.odd_y { RecoveryId::One } else { RecoveryId::Zero };
        let signature = RecoverableSignature::from_compact(&compact, id).map_err(|_| SignatureError::NoKey)?;
        let key = curve().recover_ecdsa(Message::from_digest(digest.0), &signature).map_err(|_| SignatureError::NoKey)?;
        Ok(address_of(&key))
    }

    pub(crate) fn from_recoverable(signature: &RecoverableSignature) -> Result<Self, SignatureError> {
        let (id, compact) = signature.serialize_compact();
        let mut bytes = [0; SIGNATURE_BYTES];
        let [scalars @ .., v] = &mut bytes;
        scalars.copy_from_slice(&compact);
        *v = u8::try_from(i32::from(id)).map_err(|_| SignatureError::NoKey)?;
        Self::from_bytes(&bytes)
    }

    pub(crate) const fn r(&self) -> B256 {
        self.r
    }

    pub(crate) const fn s(&self) -> B256 {
        self.s
    }

    pub(crate) const fn v(&self) -> u8 {
        if self.odd_y { 28 } else { V_OFFSET }
    }

    pub(crate) fn to_alloy(self) -> alloy_primitives::Signature {
        alloy_primitives::Signature::new(self.r.into(), self.s.into(), self.odd_y)
    }
}

impl WireSignature {
    /// The signature, if it is one of an ordinary account.
    pub fn strict(&self) -> Result<Signature, SignatureError> {
        Signature::from_bytes(&self.bytes()?)
    }

    /// Writes bytes down, whatever they are.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(alloy_primitives::hex::encode_prefixed(bytes))
    }

    /// Its bytes, whatever they are.
    pub fn bytes(&self) -> Result<Vec<u8>, SignatureError> {
        any_hex(&self.0).ok_or(SignatureError::NotHex)
    }
}

impl From<&str> for WireSignature {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<Signature> for WireSignature {
    fn from(signature: Signature) -> Self {
        Self(alloy_primitives::hex::encode_prefixed(signature.to_bytes()))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Signature(…)")
    }
}

impl fmt::Debug for WireSignature {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("WireSignature(…)")
    }
}

/// The account that a public key controls.
pub(crate) fn address_of(key: &secp256k1::PublicKey) -> Address {
    let [_, point @ ..] = key.serialize_uncompressed();
    Address::from_word(keccak256(point))
}

#[cfg(test)]
mod tests {
    use super::*;
    use farthing_testkit::golden;

    fn golden_bytes() -> Vec<u8> {
        any_hex(golden::eip3009::SIGNATURE).unwrap()
    }

    fn golden_digest() -> B256 {
        golden::eip3009::DIGEST.parse().unwrap()
    }

    #[test]
    fn the_golden_signature_is_the_payers() {
        let signature = Signature::from_bytes(&golden_bytes()).unwrap();
        assert_eq!(signature.signer(golden_digest()).unwrap().to_string(), golden::PAYER);
        assert_eq!(signature.to_bytes().as_slice(), golden_bytes());
        assert_eq!(WireSignature::from(signature), WireSignature::from(golden::eip3009::SIGNATURE));
    }

    #[test]
    fn another_digest_has_another_signer() {
        let signature = Signature::from_bytes(&golden_bytes()).unwrap();
        assert_ne!(signature.signer(B256::repeat_byte(7)).unwrap().to_string(), golden::PAYER);
    }

    #[test]
    fn zero_and_one_mean_27_and_28() {
        let mut bytes = golden_bytes();
        bytes[64] -= 27;
        assert_eq!(Signature::from_bytes(&bytes).unwrap().to_bytes().as_slice(), golden_bytes());
    }

    #[test]
    fn every_other_form_is_refused() {
        let golden = golden_bytes();
        let with_v = |v: u8| [&golden[..64], &[v]].concat();
        for v in [2, 26, 29, 35, 255] {
            assert_eq!(Signature::from_bytes(&with_v(v)), Err(SignatureError::V(v)));
        }
        for length in [0, 64, 66, 130] {
            assert_eq!(Signature::from_bytes(&vec![1; length]), Err(SignatureError::Length(length)));
        }
        let zero_r = [&[0; 32], &golden[32..]].concat();
        let zero_s = [&golden[..32], &[0; 32], &golden[64..]].concat();
        assert_eq!(Signature::from_bytes(&zero_r), Err(SignatureError::Zero));
        assert_eq!(Signature::from_bytes(&zero_s), Err(SignatureError::Zero));
        // The mirrored signature: n - s and the other v. The curve accepts it, the chain's tokens do not.
        let order = alloy_primitives::uint!(0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141_U256);
        let s = alloy_primitives::U256::from_be_slice(&golden[32..64]);
        let mirrored = [&golden[..32], &(order - s).to_be_bytes::<32>(), &[28]].concat();
        assert_eq!(Signature::from_bytes(&mirrored), Err(SignatureError::HighS));
        let mut largest_s = golden.clone();
        largest_s[32..64].copy_from_slice(MAX_S.as_slice());
        assert!(Signature::from_bytes(&largest_s).is_ok());
        let beyond_the_field = Signature::from_bytes(&[&[0xff; 32], &golden[32..]].concat()).unwrap();
        assert_eq!(beyond_the_field.signer(golden_digest()), Err(SignatureError::NoKey));
    }

    #[test]
    fn a_text_that_is_not_hexadecimal_is_no_signature() {
        for bad in ["", "0xzz", "b94e", "0x1", "0X00"] {
            assert_eq!(WireSignature::from(bad).strict(), Err(SignatureError::NotHex), "{bad:?}");
        }
        assert_eq!(WireSignature::from("0x").strict(), Err(SignatureError::Length(0)));
    }

    #[test]
    fn no_signature_is_ever_shown() {
        let signature = Signature::from_bytes(&golden_bytes()).unwrap();
        assert!(!format!("{signature:?}{:?}", WireSignature::from(signature)).contains("b94e"));
    }
}
