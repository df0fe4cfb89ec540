//! `sign-in-with-x`, the buyer's side: a wallet says who it is, so that what it paid for once opens again.
//!
//! It is a hook like any other ([`on_payment_required`](Hooks::on_payment_required)), and runs behind the caller's own. A
//! sign-in pays nothing, but it tells a server which account asks; so by default only those are told who know already.
//!
//! 1. The challenge must be for the very origin that asked, good now, and for a network that a signer has an account on.
//! 2. It is signed, and the request goes once more with the header `SIGN-IN-WITH-X`: to the same address, following no
//!    redirect. No other request ever has it, the paid one included.
//! 3. If payment is still asked, it is paid on the newest terms, under the same limits.
//!
//! A challenge that is not signed is no error: the terms that brought it can still be paid.

use std::sync::Arc;

use farthing_core::books::Ledger;
use farthing_core::extension::sign_in_with_x::{Challenge, Info, MAX_AGE_SECONDS, MessageSigner, Origin, SignIn, check_fields};
use farthing_core::header::{self, MAX_SIGN_IN_BYTES};
use farthing_core::network::Network;
use farthing_core::reason::Refusal;
use farthing_core::time::Clock;
use farthing_core::{BoxFuture, Source};
use http::{HeaderMap, HeaderName};

use crate::hooks::{Hooks, PaymentDemand};
use crate::offers::shown;
use crate::origin::{fit_to_show, origin_of};
use crate::paid::unlogged;

/// How far a server's clock may be from this one, in seconds: a clock that is wrong must not make anybody pay twice.
const CLOCK_TOLERANCE_SECONDS: u64 = MAX_AGE_SECONDS;
/// In which steps other clocks are tried, in seconds: no longer than what servers let clocks differ among themselves.
const CLOCK_STEP_SECONDS: usize = 5;

/// When a wallet signs in where it is asked to pay or to sign in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SignInPolicy {
    /// Never: whatever is asked is paid.
    Never,
    /// Where the ledger has a payment for the same address, query apart, that settled or may have settled. The server knows
    /// the account then, and may open without being paid again. It is the default.
    #[default]
    WhenPaidBefore,
    /// Wherever a server lets it. Every such server learns the account, paid or not.
    Always,
}

/// Signs in before paying.
pub(crate) struct SignInHook {
    pub(crate) policy: SignInPolicy,
    pub(crate) signers: Vec<Arc<dyn MessageSigner>>,
    pub(crate) preferred: Vec<Network>,
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Hooks for SignInHook {
    fn on_payment_required<'a>(&'a self, demand: &'a PaymentDemand<'a>) -> BoxFuture<'a, Result<Option<HeaderMap>, Source>> {
        Box::pin(async move {
            let headers = self.signed_in(demand).await;
            Ok(headers.unwrap_or_else(|why| {
                tracing::warn!(origin = origin_of(demand.url), "the server's challenge is not signed: {}", shown(&why));
                None
            }))
        })
    }
}

impl SignInHook {
    /// The header, or in words why there is none though one was asked for.
    async fn signed_in(&self, demand: &PaymentDemand<'_>) -> Result<Option<HeaderMap>, String> {
        let Some(challenge) = Challenge::of(&demand.required.extensions).map_err(|refusal| refusal.to_string())? else {
            return Ok(None);
        };
        if !self.may_sign_in(demand).await? {
            return Ok(None);
        }
        let origin = Origin::of(&origin_of(demand.url)).ok_or("the server's address is no origin to sign in to")?;
        self.check_now(&challenge.info, &origin).map_err(|refusal| refusal.to_string())?;
        for signer in &self.signers {
            let signed = challenge.sign(&origin, &self.preferred, &**signer).await;
            if let Some(sign_in) = signed.map_err(|error| error.to_string())? {
                tracing::info!(origin = origin.as_str(), account = %sign_in.address, "signing in before paying");
                return header_of(&sign_in).map(Some);
            }
        }
        Err("this wallet has no account on any of the networks that it is for".to_owned())
    }

    async fn may_sign_in(&self, demand: &PaymentDemand<'_>) -> Result<bool, String> {
        match self.policy {
            SignInPolicy::Never => Ok(false),
            SignInPolicy::Always => Ok(true),
            SignInPolicy::WhenPaidBefore => {
                self.ledger.has_paid(&fit_to_show(demand.url)).await.map_err(|error| error.to_string())
            }
        }
    }

    /// Whether the server would take the challenge back signed, by this clock or by one a little off.
    fn check_now(&self, info: &Info, origin: &Origin) -> Result<(), Refusal> {
        let now = self.clock.now();
        check_fields(info, origin, now).or_else(|refusal| {
            let mut nearby = (0..=CLOCK_TOLERANCE_SECONDS).step_by(CLOCK_STEP_SECONDS);
            let is_good = |then| check_fields(info, origin, then).is_ok();
            if nearby.any(|off| is_good(now.plus(off)) || is_good(now.minus(off))) { Ok(()) } else { Err(refusal) }
        })
    }
}

fn header_of(sign_in: &SignIn) -> Result<HeaderMap, String> {
    let text = header::encode(sign_in).map_err(|error| error.to_string())?;
    if text.len() > MAX_SIGN_IN_BYTES {
        return Err(format!("it makes a header of {} bytes; at most {MAX_SIGN_IN_BYTES} are sent", text.len()));
    }
    let value = unlogged(text).ok_or("it does not fit into a header")?;
    Ok(HeaderMap::from_iter([(HeaderName::from_static(header::SIGN_IN_WITH_X), value)]))
}
