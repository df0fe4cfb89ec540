//! An answer, and what was paid for it.

use std::fmt;
use std::ops::{Deref, DerefMut};

use bytes::Bytes;
use farthing_core::extension::offer_receipt::{Offer, OfferVerifier, Receipt, SignedBy, SignedOffer, SignedReceipt};
use farthing_core::wire::SettleResponse;
use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::heard::Said;
use crate::origin::fit_to_show;
use crate::settlement::PaymentFacts;
use crate::statements::{StatementFault, Statements};

/// A [`reqwest::Response`], and what was paid for it. It reads as one: status, headers and chunks are there.
pub struct Response {
    inner: reqwest::Response,
    payment: Option<Box<PaymentFacts>>,
    settlement: Option<Box<SettleResponse>>,
    note: Option<String>,
    statements: Option<Box<Statements>>,
}

impl Response {
    /// An answer that nothing was paid for.
    pub(crate) fn free(inner: reqwest::Response, note: Option<String>) -> Self {
        Self { inner, payment: None, settlement: None, note, statements: None }
    }

    /// An answer to a paid request.
    pub(crate) fn paid_for(inner: reqwest::Response, payment: PaymentFacts, said: Said, statements: Statements) -> Self {
        let Said { settlement, note, .. } = said;
        let (payment, settlement) = (Some(Box::new(payment)), settlement.map(Box::new));
        Self { inner, payment, settlement, note, statements: Some(Box::new(statements)) }
    }

    /// The payment that was sent for this answer; `None` if none was asked. Its `outcome` says whether it settled.
    pub fn paid(&self) -> Option<&PaymentFacts> {
        self.payment.as_deref()
    }

    /// The settlement as the server reported it; `None` if nothing was paid or nothing reported.
    pub fn settlement(&self) -> Option<&SettleResponse> {
        self.settlement.as_deref()
    }

    /// The offers that the server signed, of the terms that were paid. Nobody has checked them: see [`Self::verify_offer`].
    pub fn offers(&self) -> &[SignedOffer] {
        self.statements.as_ref().map_or(&[], |statements| &statements.offers)
    }

    /// The receipt that the server signed, if it sent one that can be read. Nobody has checked it: see
    /// [`Self::verify_receipt`].
    pub fn receipt(&self) -> Option<&SignedReceipt> {
        self.statements.as_ref()?.receipt.as_ref()
    }

    /// What the server's receipt says, if it proves this purchase: the address that was asked for, the network that was paid
    /// on, this payer, from within an hour before the answer, and the transaction if it names one. It must be signed by the
    /// account that was paid or by one of `trusted`.
    pub async fn verify_receipt(&self, verifier: &dyn OfferVerifier, trusted: &[SignedBy]) -> Result<Receipt, StatementFault> {
        match &self.statements {
            Some(statements) => statements.verify_receipt(verifier, trusted).await,
            None => Err(StatementFault::Missing("receipt")),
        }
    }

    /// What the server signed of the offer that was paid, if it is for the address that was asked for, was good when the
    /// answer came, and is signed by the account that was paid or by one of `trusted`.
    pub async fn verify_offer(&self, verifier: &dyn OfferVerifier, trusted: &[SignedBy]) -> Result<Offer, StatementFault> {
        match &self.statements {
            Some(statements) => statements.verify_offer(verifier, trusted).await,
            None => Err(StatementFault::Missing("offer")),
        }
    }

    /// What a person should know of the exchange, such as that a 402 came without terms.
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// The body as text.
    pub async fn text(self) -> Result<String, Error> {
        let is_paid = self.payment.is_some();
        self.inner.text().await.map_err(|error| broken(is_paid, error))
    }

    /// The body as bytes.
    pub async fn bytes(self) -> Result<Bytes, Error> {
        let is_paid = self.payment.is_some();
        self.inner.bytes().await.map_err(|error| broken(is_paid, error))
    }

    /// The body read as JSON.
    pub async fn json<T: DeserializeOwned>(self) -> Result<T, Error> {
        let is_paid = self.payment.is_some();
        self.inner.json().await.map_err(|error| broken(is_paid, error))
    }

    /// The answer without what was paid for it.
    pub fn into_inner(self) -> reqwest::Response {
        self.inner
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The settlement may hold the server's receipt, and so a signature; among the headers it is there once more.
        let Self { inner, payment, note, .. } = self;
        let mut shown = formatter.debug_struct("Response");
        shown.field("status", &inner.status()).field("url", &fit_to_show(inner.url()));
        shown.field("payment", payment).field("note", note).finish_non_exhaustive()
    }
}

fn broken(is_paid: bool, error: reqwest::Error) -> Error {
    Error::Body { is_paid, source: Box::new(error.without_url()) }
}

impl Deref for Response {
    type Target = reqwest::Response;

    fn deref(&self) -> &reqwest::Response {
        &self.inner
    }
}

impl DerefMut for Response {
    fn deref_mut(&mut self) -> &mut reqwest::Response {
        &mut self.inner
    }
}
