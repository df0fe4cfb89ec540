//! Payers that are contracts, or are to become one: ERC-1271, ERC-6492, EIP-7702.
//!
//! What an account is, its code decides and nothing else. Without code it is an ordinary account, and only 65 bytes by its
//! own key are its signature. With code, which includes EIP-7702 delegations, only the code can say what its signature is,
//! also where the bytes would be good for its key: Permit2 and tokens ask it the same way. A wrapper by ERC-6492 counts only
//! while there is no code, and only with a factory that the operator has named.

use std::fmt;
use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes, b256};
use alloy_sol_types::{SolCall, SolValue};
use farthing_core::BoxFuture;

use crate::abi::ContractAccount;
use crate::signature::{Signature, SignatureError, WireSignature};
use crate::signer::{Signer, SignerError};

/// The end of a signature that is wrapped by ERC-6492.
const WRAPPER_END: B256 = b256!("0x6492649264926492649264926492649264926492649264926492649264926492");
/// What an account answers that agrees (ERC-1271), as a whole word.
const AGREED: B256 = b256!("0x1626ba7e00000000000000000000000000000000000000000000000000000000");
/// The longest signature of a smart wallet that is looked at, in bytes.
pub const MAX_SIGNATURE_BYTES: usize = 8 * 1024;

/// What a payer gave as its signature, as far as can be told without the chain. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub enum Claim {
    /// The payer's own key made it: good if the payer has no code.
    Ordinary(Signature),
    /// Only the payer's code can say, if there is any.
    Contract(Bytes, NotOrdinary),
    /// Only the code can say that the payer will have once its wallet is created (ERC-6492).
    Undeployed(Creation),
}

/// Why a signature is not that of an ordinary account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotOrdinary {
    /// It is not well-formed.
    #[error(transparent)]
    Malformed(#[from] SignatureError),
    /// It is somebody else's, or over something else.
    #[error("it is not that of the payer over this payment, and the payer is no smart wallet that could say so")]
    Stranger,
}

/// How a wallet that does not exist yet comes to be, and its signature.
#[derive(Clone, PartialEq, Eq)]
pub struct Creation {
    /// The contract that creates it.
    pub factory: Address,
    /// The call that makes it do so.
    pub call: Bytes,
    /// The wallet's signature, to be judged by the wallet.
    pub signature: Bytes,
}

impl Claim {
    /// Looks at what a payer gave as its signature of this digest.
    pub fn read(signature: &WireSignature, digest: B256, payer: Address) -> Result<Self, SignatureError> {
        let bytes = signature.bytes()?;
        if bytes.len() > MAX_SIGNATURE_BYTES {
            return Err(SignatureError::Length(bytes.len()));
        }
        if bytes.ends_with(WRAPPER_END.as_slice()) {
            let wrapped = bytes.get(..bytes.len().saturating_sub(WRAPPER_END.len())).unwrap_or_default();
            let parts = <(Address, Bytes, Bytes)>::abi_decode_params_validate(wrapped);
            let (factory, call, signature) = parts.map_err(|_| SignatureError::Wrapper)?;
            return Ok(Self::Undeployed(Creation { factory, call, signature }));
        }
        let signer = Signature::from_bytes(&bytes).and_then(|strict| Ok((strict, strict.signer(digest)?)));
        Ok(match signer {
            Ok((strict, signer)) if signer == payer => Self::Ordinary(strict),
            Ok(_) => Self::Contract(bytes.into(), NotOrdinary::Stranger),
            Err(error) => Self::Contract(bytes.into(), error.into()),
        })
    }

    /// The same signature for a payer that has code: its code judges it, whatever it looked like.
    #[must_use]
    pub fn of_contract(&self) -> Self {
        match self {
            Self::Ordinary(signature) => Self::Contract(Bytes::from(signature.to_bytes()), NotOrdinary::Stranger),
            Self::Undeployed(creation) => Self::Contract(creation.signature.clone(), NotOrdinary::Stranger),
            Self::Contract(..) => self.clone(),
        }
    }

    /// The bytes that contracts are given.
    pub fn bytes(&self) -> Bytes {
        match self {
            Self::Ordinary(signature) => Bytes::from(signature.to_bytes()),
            Self::Contract(bytes, _) => bytes.clone(),
            Self::Undeployed(creation) => creation.signature.clone(),
        }
    }
}

/// A payer's own smart wallet: what the contract at that address takes as its signature.
pub trait ContractSigner: Send + Sync {
    /// The contract, which need not be there yet.
    fn address(&self) -> Address;

    /// Signs a 32-byte hash, as the contract wants it (ERC-1271), wrapped if it is not there yet (ERC-6492).
    fn sign_hash(&self, hash: B256) -> BoxFuture<'_, Result<Vec<u8>, SignerError>>;
}

/// A smart wallet that takes a plain signature by the key of its owner.
pub struct OwnedWallet {
    address: Address,
    owner: Arc<dyn Signer>,
    creation: Option<(Address, Bytes)>,
}

impl OwnedWallet {
    /// A wallet that is there.
    pub const fn new(address: Address, owner: Arc<dyn Signer>) -> Self {
        Self { address, owner, creation: None }
    }

    /// A wallet that is created with its first payment, by this call of this factory.
    #[must_use]
    pub fn created_by(mut self, factory: Address, call: Bytes) -> Self {
        self.creation = Some((factory, call));
        self
    }
}

impl ContractSigner for OwnedWallet {
    fn address(&self) -> Address {
        self.address
    }

    fn sign_hash(&self, hash: B256) -> BoxFuture<'_, Result<Vec<u8>, SignerError>> {
        Box::pin(async move {
            let signature = self.owner.sign_hash(hash).await?.to_bytes().to_vec();
            Ok(match &self.creation {
                None => signature,
                Some((factory, call)) => wrapped(*factory, call, signature),
            })
        })
    }
}

/// A signature of a wallet that is not there yet.
fn wrapped(factory: Address, call: &Bytes, signature: Vec<u8>) -> Vec<u8> {
    let mut wrapped = (factory, call.clone(), Bytes::from(signature)).abi_encode_params();
    wrapped.extend_from_slice(WRAPPER_END.as_slice());
    wrapped
}

/// The question whether an account agrees that a signature is its own.
pub fn question(hash: B256, signature: &Bytes) -> Vec<u8> {
    ContractAccount::isValidSignatureCall { hash, signature: signature.clone() }.abi_encode()
}

/// Whether an account's answer to [`question`] is that it agrees.
pub fn agrees(answer: &[u8]) -> bool {
    answer == AGREED.as_slice()
}

impl fmt::Debug for OwnedWallet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "OwnedWallet({} of {})", self.address, self.owner.address())
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Ordinary(_) => "Claim(of an ordinary account)",
            Self::Contract(..) => "Claim(of a contract)",
            Self::Undeployed(_) => "Claim(of a contract that is not there)",
        })
    }
}

impl fmt::Debug for Creation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Creation(by {})", self.factory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use farthing_testkit::golden;

    fn claim(signature: &[u8]) -> Result<Claim, SignatureError> {
        let text = alloy_primitives::hex::encode_prefixed(signature);
        let digest = golden::eip3009::DIGEST.parse().unwrap();
        Claim::read(&WireSignature::from(text.as_str()), digest, golden::PAYER.parse().unwrap())
    }

    fn golden_bytes() -> Vec<u8> {
        alloy_primitives::hex::decode(golden::eip3009::SIGNATURE).unwrap()
    }

    #[test]
    fn only_the_payers_own_strict_signature_is_an_ordinary_accounts() {
        let golden = golden_bytes();
        assert!(matches!(claim(&golden), Ok(Claim::Ordinary(_))));
        let mut changed = golden.clone();
        changed[5] ^= 1;
        let longer = [&golden[..], &[0]].concat();
        for bytes in [changed, longer, golden[..64].to_vec(), Vec::new()] {
            assert!(matches!(claim(&bytes), Ok(Claim::Contract(kept, _)) if kept == bytes));
        }
        assert_eq!(claim(&vec![1; MAX_SIGNATURE_BYTES + 1]), Err(SignatureError::Length(MAX_SIGNATURE_BYTES + 1)));
    }

    #[test]
    fn a_wrapper_is_read_strictly() {
        let factory = Address::repeat_byte(7);
        let parts = (factory, Bytes::from_static(&[1, 2]), Bytes::from_static(&[3]));
        let wrapped = wrapped(factory, &parts.1, vec![3]);
        let Ok(Claim::Undeployed(creation)) = claim(&wrapped) else { panic!("not wrapped") };
        assert_eq!((creation.factory, creation.call, creation.signature), parts);
        let broken = [&wrapped[..40], WRAPPER_END.as_slice()].concat();
        assert_eq!(claim(&broken), Err(SignatureError::Wrapper));
        assert_eq!(claim(WRAPPER_END.as_slice()), Err(SignatureError::Wrapper));
    }

    #[test]
    fn an_account_with_code_is_never_judged_by_its_key() {
        let claim = claim(&golden_bytes()).unwrap().of_contract();
        assert!(matches!(&claim, Claim::Contract(bytes, _) if bytes.as_ref() == golden_bytes()));
        assert!(!format!("{claim:?}").contains("b94e"));
    }

    #[test]
    fn only_the_magic_word_is_agreement() {
        assert!(agrees(AGREED.as_slice()));
        let mut dirty = AGREED;
        dirty[31] = 1;
        for answer in [&[][..], &AGREED[..4], dirty.as_slice(), &[0xff; 32], &[&AGREED[..], &[0; 32]].concat()] {
            assert!(!agrees(answer));
        }
        assert_eq!(ContractAccount::isValidSignatureCall::SELECTOR, AGREED[..4]);
    }
}
