//! What is done once a payment has settled, before its answer goes: the payer may come back, and gets a receipt.
//!
//! The money has moved, so nothing here withholds the answer: what fails or takes too long is logged and left out.

use std::sync::Arc;
use std::time::Duration;

use farthing_core::Source;
use farthing_core::extension::offer_receipt::{self, Issuer};
use farthing_core::time::{Clock, UnixSeconds};
use farthing_core::wire::{SettleResponse, Version};
use serde_json::{Map, Value};

use super::sign_in::SignInRule;
use crate::resource::RequestFacts;

/// How long a paid answer waits for the grant to be written and for the receipt to be signed, both at once.
const PATIENCE: Duration = Duration::from_secs(5);

const TOO_LONG: &str = "it took too long";

/// What is to be done once the payment for one request has settled.
pub(crate) struct After {
    pub(super) issuer: Option<Issuer>,
    pub(super) grants: Option<Arc<SignInRule>>,
    pub(super) facts: RequestFacts,
    pub(super) clock: Arc<dyn Clock>,
}

impl After {
    /// Writes the payer's grant, and adds a receipt to what a buyer of version 2 is told.
    pub(crate) async fn attend(&self, settled: &mut SettleResponse, version: Version) {
        let now = self.clock.now();
        let granting = tokio::time::timeout(PATIENCE, self.grant(settled, now));
        let signing = tokio::time::timeout(PATIENCE, self.receipt(settled, version, now));
        let (granted, signed) = tokio::join!(granting, signing);
        if let Err(error) = granted.unwrap_or_else(|_| Err(TOO_LONG.into())) {
            let cause = error.as_ref() as &dyn std::error::Error;
            tracing::error!(
                cause,
                "a paid answer goes out, and its payer cannot come back without paying: no grant was written"
            );
        }
        match signed.unwrap_or_else(|_| Err(TOO_LONG.into())) {
            Ok(Some(receipt)) => add(settled, receipt),
            Ok(None) => {}
            Err(error) => {
                let cause = error.as_ref() as &dyn std::error::Error;
                tracing::error!(cause, "a paid answer goes out without a receipt: it was not signed");
            }
        }
    }

    async fn grant(&self, settled: &SettleResponse, now: UnixSeconds) -> Result<(), Source> {
        let Some(rule) = &self.grants else { return Ok(()) };
        match rule.grant(&self.facts, settled, now)? {
            Some(grant) => Ok(rule.book().grant(&grant).await?),
            None => Ok(()),
        }
    }

    async fn receipt(&self, settled: &SettleResponse, version: Version, now: UnixSeconds) -> Result<Option<Value>, Source> {
        match &self.issuer {
            Some(issuer) if version == Version::V2 => issuer.receipt(&self.facts.resource_url, settled, now).await,
            _ => Ok(None),
        }
    }
}

/// Adds the receipt to what the facilitator may have said of other extensions.
fn add(settled: &mut SettleResponse, receipt: Value) {
    let mut extensions = match settled.extensions.take() {
        Some(Value::Object(extensions)) => extensions,
        _ => Map::new(),
    };
    extensions.insert(offer_receipt::KEY.to_owned(), receipt);
    settled.extensions = Some(Value::Object(extensions));
}
