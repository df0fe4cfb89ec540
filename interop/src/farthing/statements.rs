//! Offers and receipts as JWS. Farthing writes and reads the form; keys of this kind are brought by whoever uses it, as here.

use std::sync::Arc;

use alloy_primitives::{B256, hex};
use anyhow::Result;
use farthing::core::extension::offer_receipt::{
    Jws, JwsDraft, Offer, OfferSigner, OfferVerifier, Receipt, Signed, SignedBy, Statement,
};
use farthing::core::{BoxFuture, Source};
use farthing::evm::offer_receipt::StatementChecker;
use farthing::evm::signer::{LocalSigner, Signer};
use secp256k1::{Message, PublicKey, Secp256k1, SecretKey, ecdsa};
use sha2::{Digest, Sha256};

use super::signer;
use crate::service::{ISSUER, ISSUER_KEY, ISSUER_KEY_ID};

const CHECKER: &StatementChecker = &StatementChecker;
const ALGORITHM: &str = "ES256K";

/// Signs with the issuer's key.
pub(super) struct JwsSigner(Arc<LocalSigner>);

impl JwsSigner {
    pub(super) fn new() -> Result<Self> {
        Ok(Self(signer(ISSUER_KEY)?))
    }

    async fn sign<T: Statement>(&self, statement: T) -> Result<Signed<T>, Source> {
        let draft = JwsDraft::new(&statement, ALGORITHM, ISSUER_KEY_ID)?;
        let digest = Sha256::digest(draft.text_to_sign());
        let signature = self.0.sign_hash(B256::from_slice(&digest)).await?.to_bytes();
        Ok(draft.signed(signature.first_chunk::<64>().ok_or("a signature has 65 bytes")?))
    }
}

impl OfferSigner for JwsSigner {
    fn sign_offer(&self, offer: Offer) -> BoxFuture<'_, Result<Signed<Offer>, Source>> {
        Box::pin(self.sign(offer))
    }

    fn sign_receipt(&self, receipt: Receipt) -> BoxFuture<'_, Result<Signed<Receipt>, Source>> {
        Box::pin(self.sign(receipt))
    }
}

/// Knows the issuer's key, and reads both forms.
pub(super) struct Checker(PublicKey);

impl Checker {
    pub(super) fn new() -> Result<Self> {
        let key = SecretKey::from_byte_array(hex::decode_to_array(ISSUER_KEY)?)?;
        Ok(Self(PublicKey::from_secret_key(&Secp256k1::new(), &key)))
    }

    /// Whom a statement that was found good is by.
    pub(super) fn by<T>(&self, signed: &Signed<T>) -> Result<String> {
        Ok(match signed {
            Signed::Eip712 { .. } => ISSUER.to_string(),
            Signed::Jws(text) => self.jws(text).map_err(anyhow::Error::from_boxed)?,
        })
    }

    fn jws(&self, text: &str) -> Result<String, Source> {
        let jws = Jws::read(text)?;
        if jws.algorithm() != ALGORITHM || jws.key_id() != ISSUER_KEY_ID {
            return Err("another key".into());
        }
        let digest = Message::from_digest(Sha256::digest(jws.signed_text()).into());
        let mut signature = ecdsa::Signature::from_compact(jws.signature())?;
        // Issuers of others do not care which of the two signatures it is.
        signature.normalize_s();
        Secp256k1::verification_only().verify_ecdsa(digest, &signature, &self.0)?;
        Ok(jws.key_id().to_owned())
    }
}

impl OfferVerifier for Checker {
    fn offer_signer<'a>(&'a self, signed: &'a Signed<Offer>) -> BoxFuture<'a, Result<SignedBy, Source>> {
        match signed {
            Signed::Eip712 { .. } => CHECKER.offer_signer(signed),
            Signed::Jws(text) => Box::pin(async move { self.jws(text).map(SignedBy::Key) }),
        }
    }

    fn receipt_signer<'a>(&'a self, signed: &'a Signed<Receipt>) -> BoxFuture<'a, Result<SignedBy, Source>> {
        match signed {
            Signed::Eip712 { .. } => CHECKER.receipt_signer(signed),
            Signed::Jws(text) => Box::pin(async move { self.jws(text).map(SignedBy::Key) }),
        }
    }
}
