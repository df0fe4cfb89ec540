//! Hooks: the buyer's own code at the turns of a payment's life, by the names of the official SDKs.
//!
//! | hook | when | may |
//! |---|---|---|
//! | [`on_payment_required`](Hooks::on_payment_required) | a server asks for payment | try headers once, without paying |
//! | [`before_payment_creation`](Hooks::before_payment_creation) | an offer is chosen; nothing is reserved | abort |
//! | [`after_payment_creation`](Hooks::after_payment_creation) | a payment is signed; nothing is sent | stop it by failing |
//! | [`on_payment_creation_failure`](Hooks::on_payment_creation_failure) | the wallet did not sign | sign in its stead |
//! | [`on_payment_response`](Hooks::on_payment_response) | the paid request was answered, or its answer lost | ask for one more try |
//!
//! Several hooks run in the order in which they were added. The first one that aborts, supplies headers, signs or asks for
//! another try decides, and those behind it are not asked.
//!
//! A hook that fails or panics never makes a payment happen: before anything is sent nothing is paid, a failed recovery is
//! none, and what was answered stays answered.
//!
//! A hook sees the signed payment and must not send it anywhere: what leaves by another way is not counted.
//!
//! Two things are stricter here than in the official SDKs. Whoever recovers from a failure gives the scheme's part of the
//! payment alone, so that it is for the offer that was reserved. And another try presents the same payment again, never a
//! new one: the first may still settle.
//!
//! ```
//! use std::sync::Arc;
//!
//! use farthing_client::hooks::{Approval, Hooks, PaymentCreation};
//! use farthing_core::books::Usd;
//! use farthing_core::{BoxFuture, Source};
//!
//! /// Asks a person about everything above a limit.
//! struct Ask {
//!     above: Usd,
//! }
//!
//! impl Hooks for Ask {
//!     fn before_payment_creation<'a>(&'a self, creation: &'a PaymentCreation<'a>) -> BoxFuture<'a, Result<Approval, Source>> {
//!         Box::pin(async move {
//!             if creation.selected.usd <= self.above || agrees(&creation.selected.price(), creation.resource).await {
//!                 return Ok(Approval::Go);
//!             }
//!             Ok(Approval::Abort { reason: "nobody agreed".to_owned() })
//!         })
//!     }
//! }
//! # async fn agrees(price: &str, resource: &str) -> bool { !price.is_empty() && resource.is_empty() }
//! # struct Noon;
//! # impl farthing_core::time::Clock for Noon {
//! #     fn now(&self) -> farthing_core::time::UnixSeconds { farthing_core::time::UnixSeconds(1_795_000_000) }
//! # }
//!
//! let ask = Ask { above: "$0.10".parse()? };
//! let client = farthing_client::Client::builder().clock(Arc::new(Noon)).hooks(Arc::new(ask)).build()?;
//! # drop(client);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod run;

use std::future::ready;

use farthing_core::scheme::PayError;
use farthing_core::wire::{Extensions, Payload, PaymentPayload, PaymentRequired, SettleResponse};
use farthing_core::{BoxFuture, Source};
use http::HeaderMap;
use url::Url;

use crate::settlement::PaymentFacts;

pub(crate) use run::HookList;

/// The buyer's own code at the turns of a payment's life. Each method does nothing unless it is written.
pub trait Hooks: Send + Sync {
    /// A server asks for payment. Headers that are returned go with the request once more, to the same address and without
    /// following redirects; if it is still to be paid for, it is paid for without them. On an error nothing is paid.
    fn on_payment_required<'a>(&'a self, demand: &'a PaymentDemand<'a>) -> BoxFuture<'a, Result<Option<HeaderMap>, Source>> {
        let _ = demand;
        Box::pin(ready(Ok(None)))
    }

    /// An offer is chosen that the limits per payment allow. Nothing is reserved yet, so this may take its time, such as a
    /// person's to decide.
    fn before_payment_creation<'a>(&'a self, creation: &'a PaymentCreation<'a>) -> BoxFuture<'a, Result<Approval, Source>> {
        let _ = creation;
        Box::pin(ready(Ok(Approval::Go)))
    }

    /// A payment is reserved and signed, and not sent yet. On an error it is never sent, and does not count as spent.
    fn after_payment_creation<'a>(&'a self, created: &'a PaymentCreated<'a>) -> BoxFuture<'a, Result<(), Source>> {
        let _ = created;
        Box::pin(ready(Ok(())))
    }

    /// The wallet did not sign. What is returned is sent in its stead, under the same reservation: it must take no more than
    /// the offer asks for.
    fn on_payment_creation_failure<'a>(
        &'a self,
        failure: &'a PaymentCreationFailure<'a>,
    ) -> BoxFuture<'a, Result<Option<Recovered>, Source>> {
        let _ = failure;
        Box::pin(ready(Ok(None)))
    }

    /// A paid request was answered, or its answer was lost. Asked for after each try.
    fn on_payment_response<'a>(&'a self, answer: &'a PaymentAnswer<'a>) -> BoxFuture<'a, Result<AfterAnswer, Source>> {
        let _ = answer;
        Box::pin(ready(Ok(AfterAnswer::Accept)))
    }
}

/// A server that asks for payment.
#[derive(Debug)]
#[non_exhaustive]
pub struct PaymentDemand<'a> {
    /// Its terms.
    pub required: &'a PaymentRequired,
    /// The address that asked, after redirects.
    pub url: &'a Url,
}

/// A payment that is about to be made.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct PaymentCreation<'a> {
    /// The terms.
    pub required: &'a PaymentRequired,
    /// The offer that was chosen, who pays, and the most that it can take.
    pub selected: &'a PaymentFacts,
    /// What is bought, fit to be shown.
    pub resource: &'a str,
}

/// A payment that is signed and not sent.
#[derive(Debug)]
#[non_exhaustive]
pub struct PaymentCreated<'a> {
    /// How it came about.
    pub creation: PaymentCreation<'a>,
    /// The payment. Whoever has it can have it settled.
    pub payment: &'a PaymentPayload,
}

/// A payment that the wallet did not sign.
#[derive(Debug)]
#[non_exhaustive]
pub struct PaymentCreationFailure<'a> {
    /// How it came about.
    pub creation: PaymentCreation<'a>,
    /// Why not.
    pub error: &'a PayError,
}

/// What came of presenting a payment once.
///
/// With a `settlement` the server says what became of it; with `required` and no settlement it was refused; with an `error`
/// no answer came.
#[derive(Debug)]
#[non_exhaustive]
pub struct PaymentAnswer<'a> {
    /// The payment that was presented.
    pub payment: &'a PaymentPayload,
    /// What is known of it now.
    pub facts: &'a PaymentFacts,
    /// The status of the answer, if one came.
    pub status: Option<u16>,
    /// The settlement that the server reports.
    pub settlement: Option<&'a SettleResponse>,
    /// The terms, if the server asks again.
    pub required: Option<&'a PaymentRequired>,
    /// Why no answer came.
    pub error: Option<&'a str>,
}

/// Whether a payment may be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Approval {
    /// It may, as far as this hook goes.
    Go,
    /// It must not.
    Abort {
        /// Why, for the caller.
        reason: String,
    },
}

/// A payment that a hook has signed where the wallet did not.
#[derive(Clone, Debug)]
pub struct Recovered {
    /// The scheme's part.
    pub payload: Payload,
    /// What has to go along with it; empty as a rule.
    pub extensions: Extensions,
}

/// What is to be done after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterAnswer {
    /// Take it as it is.
    Accept,
    /// Present the same payment once more, if it was not settled, not served, and not presented twice already.
    Recover,
}
