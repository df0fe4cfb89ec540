//! Offers and receipts signed as typed data (EIP-712): the extension `offer-receipt`.
//!
//! The domains have the chain id 1 wherever the payment is made, and no contract: what is signed is a statement, and moves
//! nothing on any chain.

use std::sync::Arc;

use alloy_primitives::{B256, U256};
use alloy_sol_types::{SolStruct, eip712_domain};
use farthing_core::extension::offer_receipt::{
    Offer, OfferSigner, OfferVerifier, Receipt, Signed, SignedBy, Statement, StatementError,
};
use farthing_core::{BoxFuture, Source};

use crate::signature::{SignatureError, WireSignature};
use crate::signer::{Signer, SignerError};
use crate::text::account_id;

mod typed {
    alloy_sol_types::sol! {
        struct Offer {
            uint256 version;
            string resourceUrl;
            string scheme;
            string network;
            string asset;
            string payTo;
            string amount;
            uint256 validUntil;
        }

        struct Receipt {
            uint256 version;
            string network;
            string resourceUrl;
            string payer;
            uint256 issuedAt;
            string transaction;
        }
    }
}

/// The hash that is signed of an offer.
pub fn offer_digest(offer: &Offer) -> B256 {
    let typed = typed::Offer {
        version: U256::from(offer.version),
        resourceUrl: offer.resource_url.clone(),
        scheme: offer.scheme.clone(),
        network: offer.network.to_string(),
        asset: offer.asset.to_string(),
        payTo: offer.pay_to.to_string(),
        amount: offer.amount.to_string(),
        validUntil: U256::from(offer.valid_until.0),
    };
    typed.eip712_signing_hash(&eip712_domain! { name: "x402 offer", version: "1", chain_id: 1, })
}

/// The hash that is signed of a receipt.
pub fn receipt_digest(receipt: &Receipt) -> B256 {
    let typed = typed::Receipt {
        version: U256::from(receipt.version),
        network: receipt.network.to_string(),
        resourceUrl: receipt.resource_url.clone(),
        payer: receipt.payer.to_string(),
        issuedAt: U256::from(receipt.issued_at.0),
        transaction: receipt.transaction.clone(),
    };
    typed.eip712_signing_hash(&eip712_domain! { name: "x402 receipt", version: "1", chain_id: 1, })
}

/// Signs statements with an account's key.
pub struct StatementSigner(Arc<dyn Signer>);

impl StatementSigner {
    /// With the key of that account. It need not be the one that is paid, and better is not: it signs for everybody who asks.
    pub fn new(signer: Arc<dyn Signer>) -> Self {
        Self(signer)
    }

    async fn sign<T>(&self, payload: T, digest: B256) -> Result<Signed<T>, SignerError> {
        let signature = self.0.sign_hash(digest).await?;
        Ok(Signed::Eip712 { payload, signature: alloy_primitives::hex::encode_prefixed(signature.to_bytes()) })
    }
}

impl OfferSigner for StatementSigner {
    fn sign_offer(&self, offer: Offer) -> BoxFuture<'_, Result<Signed<Offer>, Source>> {
        let digest = offer_digest(&offer);
        Box::pin(async move { Ok(self.sign(offer, digest).await?) })
    }

    fn sign_receipt(&self, receipt: Receipt) -> BoxFuture<'_, Result<Signed<Receipt>, Source>> {
        let digest = receipt_digest(&receipt);
        Box::pin(async move { Ok(self.sign(receipt, digest).await?) })
    }
}

/// Finds out which account signed a statement. It reads no JWS.
#[derive(Clone, Copy, Debug, Default)]
pub struct StatementChecker;

/// Why it cannot be said which account signed a statement.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// It is signed in another form.
    #[error("the statement is a JWS, whose key is found by its name; only EIP-712 signatures are checked here")]
    NotTypedData,
    /// It cannot be read.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// The signature is none.
    #[error("signature: {0}")]
    Signature(#[from] SignatureError),
}

impl StatementChecker {
    fn signer<T: Statement>(signed: &Signed<T>, digest: fn(&T) -> B256) -> Result<SignedBy, CheckError> {
        let Signed::Eip712 { signature, .. } = signed else { return Err(CheckError::NotTypedData) };
        let digest = digest(&signed.statement()?);
        let address = WireSignature::from(signature.as_str()).strict()?.signer(digest)?;
        Ok(SignedBy::Account(account_id(address)))
    }
}

impl OfferVerifier for StatementChecker {
    fn offer_signer<'a>(&'a self, signed: &'a Signed<Offer>) -> BoxFuture<'a, Result<SignedBy, Source>> {
        Box::pin(std::future::ready(Self::signer(signed, offer_digest).map_err(Source::from)))
    }

    fn receipt_signer<'a>(&'a self, signed: &'a Signed<Receipt>) -> BoxFuture<'a, Result<SignedBy, Source>> {
        Box::pin(std::future::ready(Self::signer(signed, receipt_digest).map_err(Source::from)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signer::LocalSigner;
    use farthing_core::amount::Amount;
    use farthing_core::time::UnixSeconds;
    use farthing_testkit::golden;
    use zeroize::Zeroizing;

    const URL: &str = "https://api.example.com/data";
    const OFFER_DIGEST: &str = "0x51323a85f622001896fc33676444f3bd09e76566c2099c11b687544290d5e6b8";
    const OFFER_SIGNATURE: &str = "0xcd278fd36ca2a5fe8ed0a43a22439d8caa6163af62c0107e516caab4a3985aaa67fa9e85fa303cdf41b6651334f094a8915b5e545fcd34bbf4b82a34557bfb671b";
    const RECEIPT_DIGEST: &str = "0xf42b7607231ebda48c4b18b2f1eeba428c9e34e3bf537c04502c2e686cbb77cb";
    const RECEIPT_SIGNATURE: &str = "0x258c5d78638f149dc382f93c823b169a0a1365b549d9f73ba477a23032a42eb2250f4bdbf2ac4d6f47e862a393484911fd74e1da2f482bbfc6741b7adc75537b1b";

    fn offer() -> Offer {
        Offer {
            version: 1,
            resource_url: URL.to_owned(),
            scheme: "exact".to_owned(),
            network: golden::NETWORK.parse().unwrap(),
            asset: golden::ASSET.parse().unwrap(),
            pay_to: golden::PAY_TO.parse().unwrap(),
            amount: Amount::from(golden::AMOUNT),
            valid_until: UnixSeconds(golden::VALID_BEFORE),
        }
    }

    fn receipt() -> Receipt {
        Receipt {
            version: 1,
            network: golden::NETWORK.parse().unwrap(),
            resource_url: URL.to_owned(),
            payer: golden::PAYER.parse().unwrap(),
            issued_at: UnixSeconds(golden::VALID_BEFORE),
            transaction: String::new(),
        }
    }

    fn signer() -> StatementSigner {
        StatementSigner::new(Arc::new(LocalSigner::from_hex(Zeroizing::new(golden::PAYER_KEY.to_owned())).unwrap()))
    }

    #[tokio::test]
    async fn digests_and_signatures_are_those_of_the_official_sdk() {
        assert_eq!(offer_digest(&offer()).to_string(), OFFER_DIGEST);
        assert_eq!(receipt_digest(&receipt()).to_string(), RECEIPT_DIGEST);
        let expected = Signed::Eip712 { payload: offer(), signature: OFFER_SIGNATURE.to_owned() };
        assert_eq!(signer().sign_offer(offer()).await.unwrap(), expected);
        let expected = Signed::Eip712 { payload: receipt(), signature: RECEIPT_SIGNATURE.to_owned() };
        assert_eq!(signer().sign_receipt(receipt()).await.unwrap(), expected);
    }

    #[tokio::test]
    async fn the_signer_is_found_and_is_another_for_whatever_was_changed() {
        let payer = SignedBy::Account(golden::PAYER.parse().unwrap());
        let of_offer = async |payload| {
            let signed = Signed::Eip712 { payload, signature: OFFER_SIGNATURE.to_owned() };
            StatementChecker.offer_signer(&signed).await.ok()
        };
        let of_receipt = async |payload| {
            let signed = Signed::Eip712 { payload, signature: RECEIPT_SIGNATURE.to_owned() };
            StatementChecker.receipt_signer(&signed).await.ok()
        };
        assert_eq!(of_offer(offer()).await, Some(payer.clone()));
        assert_eq!(of_receipt(receipt()).await, Some(payer.clone()));
        for changed in [
            Offer { amount: Amount::from(9_999), ..offer() },
            Offer { valid_until: UnixSeconds(golden::VALID_BEFORE + 1), ..offer() },
            Offer { pay_to: golden::SECOND.parse().unwrap(), ..offer() },
            Offer { version: 2, ..offer() },
        ] {
            assert_ne!(of_offer(changed).await, Some(payer.clone()));
        }
        for changed in [
            Receipt { transaction: "0x01".to_owned(), ..receipt() },
            Receipt { payer: golden::SECOND.parse().unwrap(), ..receipt() },
        ] {
            assert_ne!(of_receipt(changed).await, Some(payer.clone()));
        }
    }

    #[tokio::test]
    async fn what_is_no_typed_data_has_no_signer() {
        let jws = Signed::Jws("e30.e30.e30".to_owned());
        assert!(StatementChecker.offer_signer(&jws).await.unwrap_err().to_string().contains("JWS"));
        for bad in ["", "0x", "0x00", &OFFER_SIGNATURE[..130]] {
            let signed = Signed::Eip712 { payload: offer(), signature: bad.to_owned() };
            assert!(StatementChecker.offer_signer(&signed).await.is_err(), "{bad}");
        }
    }
}
