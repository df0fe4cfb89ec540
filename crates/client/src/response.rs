//! An answer, and what was paid for it.

use std::ops::{Deref, DerefMut};

use bytes::Bytes;
use farthing_core::wire::SettleResponse;
use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::settlement::PaymentFacts;

/// A [`reqwest::Response`], and what was paid for it. It reads as one: status, headers and chunks are there.
#[derive(Debug)]
pub struct Response {
    inner: reqwest::Response,
    payment: Option<Box<PaymentFacts>>,
    settlement: Option<Box<SettleResponse>>,
    note: Option<String>,
}

impl Response {
    /// An answer that nothing was paid for.
    pub(crate) fn free(inner: reqwest::Response, note: Option<String>) -> Self {
        Self { inner, payment: None, settlement: None, note }
    }

    /// An answer to a paid request.
    pub(crate) fn paid_for(
        inner: reqwest::Response,
        payment: PaymentFacts,
        settlement: Option<SettleResponse>,
        note: Option<String>,
    ) -> Self {
        Self { inner, payment: Some(Box::new(payment)), settlement: settlement.map(Box::new), note }
    }

    /// The payment that was sent for this answer; `None` if none was asked. Its `outcome` says whether it settled.
    pub fn paid(&self) -> Option<&PaymentFacts> {
        self.payment.as_deref()
    }

    /// The settlement as the server reported it; `None` if nothing was paid or nothing reported.
    pub fn settlement(&self) -> Option<&SettleResponse> {
        self.settlement.as_deref()
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
