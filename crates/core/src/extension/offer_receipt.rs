//! `offer-receipt`: the server's signature under what it offers, and under what was paid (protocol reference §7.3).
//!
//! On a 402 the server adds one signed [`Offer`] for each entry of `accepts`; on the answer to a settled payment a signed
//! [`Receipt`]. A client can show either to others: this server asked so much, this server was paid.
//!
//! There are two forms. As a JWS in its compact form the signed content is inside the signature's text, and the envelope
//! has no `payload`; as EIP-712 typed data the envelope carries the content beside a signature of 65 bytes. `acceptIndex`
//! stands outside of what is signed: it is a hint, and a client compares the offer itself.
//!
//! A receipt does not name the transaction unless the seller wants so: whoever is shown it could follow the payer's money.
//!
//! Core signs nothing: see [`OfferSigner`] and [`OfferVerifier`].

mod jws;
mod signed;
#[cfg(test)]
mod tests;

pub use jws::{Jws, JwsDraft, MAX_JWS_BYTES};
pub use signed::{Envelope, Signed, SignedOffer, SignedReceipt};

use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::amount::Amount;
use crate::asset::{AccountId, AssetId};
use crate::json::JsonError;
use crate::network::Network;
use crate::reason::{Reason, Refusal};
use crate::time::UnixSeconds;
use crate::wire::{Extensions, PaymentRequirements, SettleResponse};
use crate::{BoxFuture, Source};

/// The extension's key.
pub const KEY: &str = "offer-receipt";
/// The version of what is signed.
pub const VERSION: u64 = 1;
/// The longest that an offer may be good, in seconds.
pub const MAX_VALIDITY_SECONDS: u64 = 24 * 60 * 60;
/// The most offers that are signed, or looked at, in one set of terms.
pub const MAX_OFFERS: usize = 32;
/// How old a receipt may be for the purchase that it is taken for, where nothing else is said, in seconds.
pub const DEFAULT_MAX_AGE_SECONDS: u64 = 3600;

/// What a server offers, as it signs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Offer {
    /// The version of this form: [`VERSION`].
    pub version: u64,
    /// What is for sale.
    pub resource_url: String,
    /// How to pay.
    pub scheme: String,
    /// Where to pay.
    pub network: Network,
    /// In what; `native` for a chain's own coin.
    pub asset: AssetId,
    /// To whom.
    pub pay_to: AccountId,
    /// How much, in atomic units.
    pub amount: Amount,
    /// The last moment of the offer; 0 if it has none.
    #[serde(default = "never")]
    pub valid_until: UnixSeconds,
}

/// What was paid, as the server signs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Receipt {
    /// The version of this form: [`VERSION`].
    pub version: u64,
    /// Where it was paid.
    pub network: Network,
    /// What was bought.
    pub resource_url: String,
    /// Who paid.
    pub payer: AccountId,
    /// When the receipt was written.
    pub issued_at: UnixSeconds,
    /// The transaction; empty if the seller does not say.
    #[serde(default)]
    pub transaction: String,
}

const fn never() -> UnixSeconds {
    UnixSeconds(0)
}

/// Something that a server states and signs.
pub trait Statement: Serialize + DeserializeOwned + Clone + Send + Sync {
    /// Its fields as a JWS carries them: without those that say nothing.
    fn fields(&self) -> Result<Map<String, Value>, serde_json::Error>;

    /// The version of its form.
    fn version(&self) -> u64;
}

impl Statement for Offer {
    fn fields(&self) -> Result<Map<String, Value>, serde_json::Error> {
        object(self)
    }

    fn version(&self) -> u64 {
        self.version
    }
}

impl Statement for Receipt {
    fn fields(&self) -> Result<Map<String, Value>, serde_json::Error> {
        let mut fields = object(self)?;
        if self.transaction.is_empty() {
            fields.remove("transaction");
        }
        Ok(fields)
    }

    fn version(&self) -> u64 {
        self.version
    }
}

fn object(value: &impl Serialize) -> Result<Map<String, Value>, serde_json::Error> {
    match serde_json::to_value(value)? {
        Value::Object(fields) => Ok(fields),
        _ => Ok(Map::new()),
    }
}

/// Why a statement is not one to rely on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// It is no JWS.
    #[error("expected a JWS in its compact form (header.payload.signature, at most {MAX_JWS_BYTES} bytes), with alg and kid")]
    NotJws,
    /// Its content is not what it should be.
    #[error("the signed statement cannot be read: {0}")]
    Content(JsonError),
    /// It is of a version that is not known here.
    #[error("version: expected {VERSION}, got {0}")]
    Version(u64),
    /// A field is not what it was compared with.
    #[error("{field}: expected {expected}, got {got}")]
    Mismatch {
        /// The field.
        field: &'static str,
        /// What it should be.
        expected: String,
        /// What it is.
        got: String,
    },
    /// The offer is no longer good, or the receipt is not from now.
    #[error("{field}: {at} is too long ago; it is {now} now (seconds since 1970)")]
    TooOld {
        /// The field.
        field: &'static str,
        /// What it says.
        at: UnixSeconds,
        /// The present moment.
        now: UnixSeconds,
    },
}

/// Whose signature a statement has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignedBy {
    /// An account on a chain.
    Account(AccountId),
    /// A key with a name, such as `did:web:api.example.com#key-1`.
    Key(String),
}

/// Who signs a server's statements, in the form that it chooses.
pub trait OfferSigner: Send + Sync {
    /// Signs an offer.
    fn sign_offer(&self, offer: Offer) -> BoxFuture<'_, Result<Signed<Offer>, Source>>;

    /// Signs a receipt.
    fn sign_receipt(&self, receipt: Receipt) -> BoxFuture<'_, Result<Signed<Receipt>, Source>>;
}

/// Who finds out whose signature a statement has. Whether that one may speak for the seller is for the caller to decide.
pub trait OfferVerifier: Send + Sync {
    /// Whose signature the offer has; an error if it has nobody's, or if that could not be found out.
    fn offer_signer<'a>(&'a self, signed: &'a Signed<Offer>) -> BoxFuture<'a, Result<SignedBy, Source>>;

    /// Whose signature the receipt has.
    fn receipt_signer<'a>(&'a self, signed: &'a Signed<Receipt>) -> BoxFuture<'a, Result<SignedBy, Source>>;
}

/// A server's statements: who signs them, and how.
#[derive(Clone)]
pub struct Issuer {
    signer: Arc<dyn OfferSigner>,
    validity_seconds: Option<u64>,
    names_transaction: bool,
}

impl Issuer {
    /// Statements with that signer: offers are good as long as the payment may take, and receipts name no transaction.
    pub fn new(signer: Arc<dyn OfferSigner>) -> Self {
        Self { signer, validity_seconds: None, names_transaction: false }
    }

    /// Offers are good for so long, at most [`MAX_VALIDITY_SECONDS`].
    #[must_use]
    pub fn valid_for(self, seconds: u64) -> Self {
        Self { validity_seconds: Some(seconds), ..self }
    }

    /// Receipts name the transaction, so that whoever is shown one can follow the money.
    #[must_use]
    pub fn naming_transactions(self) -> Self {
        Self { names_transaction: true, ..self }
    }

    /// What the server puts into its terms: an offer for each of the first [`MAX_OFFERS`] entries of `accepts`.
    pub async fn declaration(
        &self,
        resource_url: &str,
        accepts: &[PaymentRequirements],
        now: UnixSeconds,
    ) -> Result<Value, Source> {
        let mut offers: Vec<SignedOffer> = Vec::new();
        for (index, requirements) in accepts.iter().take(MAX_OFFERS).enumerate() {
            let offer = self.offer(resource_url, requirements, now);
            let signed = self.signer.sign_offer(offer).await?;
            offers.push(Envelope { accept_index: Some(index), signed });
        }
        Ok(json!({"info": {"offers": serde_json::to_value(offers)?}, "schema": offer_schema()}))
    }

    /// What the server puts into the extensions of its answer to a settled payment; `None` if nothing was settled, or if it
    /// is not said where or by whom.
    pub async fn receipt(
        &self,
        resource_url: &str,
        settled: &SettleResponse,
        now: UnixSeconds,
    ) -> Result<Option<Value>, Source> {
        let SettleResponse { success: true, payer: Some(payer), network: Some(network), transaction, .. } = settled else {
            return Ok(None);
        };
        let receipt = Receipt {
            version: VERSION,
            network: network.clone(),
            resource_url: resource_url.to_owned(),
            payer: payer.clone(),
            issued_at: now,
            transaction: if self.names_transaction { transaction.clone() } else { String::new() },
        };
        let signed = self.signer.sign_receipt(receipt).await?;
        let envelope = SignedReceipt { accept_index: None, signed };
        Ok(Some(json!({"info": {"receipt": serde_json::to_value(envelope)?}, "schema": receipt_schema()})))
    }

    fn offer(&self, resource_url: &str, requirements: &PaymentRequirements, now: UnixSeconds) -> Offer {
        let validity_seconds = self.validity_seconds.unwrap_or(requirements.max_timeout_seconds).min(MAX_VALIDITY_SECONDS);
        Offer {
            version: VERSION,
            resource_url: resource_url.to_owned(),
            scheme: requirements.scheme.clone(),
            network: requirements.network.clone(),
            asset: requirements.asset.clone(),
            pay_to: requirements.pay_to.clone(),
            amount: requirements.amount,
            valid_until: now.plus(validity_seconds),
        }
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { validity_seconds, names_transaction, .. } = self;
        write!(formatter, "Issuer(valid for {validity_seconds:?} s, names transactions: {names_transaction})")
    }
}

#[derive(Deserialize)]
struct Declared {
    info: DeclaredInfo,
}

#[derive(Deserialize)]
struct DeclaredInfo {
    #[serde(default)]
    offers: Vec<Value>,
    #[serde(default)]
    receipt: Option<SignedReceipt>,
}

/// The signed offers of a server's terms, at most [`MAX_OFFERS`]. Those in a form that is not known are left out.
pub fn offers(extensions: &Extensions) -> Result<Vec<SignedOffer>, Refusal> {
    let declared: Option<Declared> = extensions.get(KEY, Reason::InvalidPayload)?;
    let offers = declared.map(|declared| declared.info.offers).unwrap_or_default().into_iter().take(MAX_OFFERS);
    Ok(offers.filter_map(|offer| serde_json::from_value(offer).ok()).collect())
}

/// The signed receipt of a settlement, if there is one that can be read.
pub fn receipt(response: &SettleResponse) -> Option<SignedReceipt> {
    let extension = response.extensions.as_ref()?.get(KEY)?;
    let declared: Declared = serde_json::from_value(extension.clone()).ok()?;
    declared.info.receipt
}

impl SignedOffer {
    /// Which entry of `accepts` the offer is about: the one that it hints at, or else the first that is the same; `None` if
    /// the server asks for something that it has not signed.
    pub fn find(&self, accepts: &[PaymentRequirements]) -> Result<Option<usize>, StatementError> {
        let offer = self.signed.statement()?;
        let is_same = |it: &PaymentRequirements| {
            it.scheme == offer.scheme
                && it.network == offer.network
                && it.asset == offer.asset
                && it.pay_to == offer.pay_to
                && it.amount == offer.amount
        };
        let hinted = self.accept_index.filter(|index| accepts.get(*index).is_some_and(is_same));
        Ok(hinted.or_else(|| accepts.iter().position(is_same)))
    }

    /// Whether the offer is for this resource and still good; gives it.
    pub fn check(&self, resource_url: &str, now: UnixSeconds) -> Result<Offer, StatementError> {
        let offer = self.signed.statement()?;
        same("resourceUrl", resource_url, &offer.resource_url)?;
        if offer.valid_until != never() && offer.valid_until < now {
            return Err(StatementError::TooOld { field: "validUntil", at: offer.valid_until, now });
        }
        Ok(offer)
    }
}

impl SignedReceipt {
    /// Whether the receipt is for what was offered, for one of these payers (in any letter case, as EVM addresses come),
    /// and from about now; gives it.
    pub fn check(
        &self,
        offer: &Offer,
        payers: &[AccountId],
        now: UnixSeconds,
        max_age_seconds: u64,
    ) -> Result<Receipt, StatementError> {
        let receipt = self.signed.statement()?;
        same("resourceUrl", &offer.resource_url, &receipt.resource_url)?;
        same("network", offer.network.as_str(), receipt.network.as_str())?;
        let got = receipt.payer.as_str();
        if !payers.iter().any(|payer| payer.as_str().eq_ignore_ascii_case(got)) {
            let names: Vec<&str> = payers.iter().map(AccountId::as_str).collect();
            return Err(mismatch("payer", &names.join(" or "), got));
        }
        if receipt.issued_at.plus(max_age_seconds) <= now {
            return Err(StatementError::TooOld { field: "issuedAt", at: receipt.issued_at, now });
        }
        Ok(receipt)
    }
}

fn same(field: &'static str, expected: &str, got: &str) -> Result<(), StatementError> {
    if expected == got { Ok(()) } else { Err(mismatch(field, expected, got)) }
}

fn mismatch(field: &'static str, expected: &str, got: &str) -> StatementError {
    let short = |text: &str| text.chars().take(200).collect();
    StatementError::Mismatch { field, expected: short(expected), got: short(got) }
}

fn offer_schema() -> Value {
    let text = || json!({"type": "string"});
    let number = || json!({"type": "integer"});
    let payload = json!({
        "type": "object",
        "properties": {
            "version": number(), "resourceUrl": text(), "scheme": text(), "network": text(), "asset": text(),
            "payTo": text(), "amount": text(), "validUntil": number(),
        },
        "required": ["version", "resourceUrl", "scheme", "network", "asset", "payTo", "amount"],
    });
    let envelope = json!({
        "type": "object",
        "properties": {"format": text(), "acceptIndex": number(), "payload": payload, "signature": text()},
        "required": ["format", "signature"],
    });
    schema("offers", &json!({"type": "array", "items": envelope}))
}

fn receipt_schema() -> Value {
    let text = || json!({"type": "string"});
    let number = || json!({"type": "integer"});
    let payload = json!({
        "type": "object",
        "properties": {
            "version": number(), "network": text(), "resourceUrl": text(), "payer": text(), "issuedAt": number(),
            "transaction": text(),
        },
        "required": ["version", "network", "resourceUrl", "payer", "issuedAt"],
    });
    let envelope = json!({
        "type": "object",
        "properties": {"format": text(), "payload": payload, "signature": text()},
        "required": ["format", "signature"],
    });
    schema("receipt", &envelope)
}

fn schema(field: &str, of: &Value) -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {field: of},
        "required": [field],
    })
}
