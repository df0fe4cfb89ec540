//! What every scheme checks of a payment by Permit2 without a node, each fault with its reason.

use alloy_primitives::{Address, U256};
use farthing_core::reason::{Reason, Refusal};
use farthing_core::time::UnixSeconds;

use super::transfer::{Authorized, check_expiry, check_window};
use crate::transfer::permit2::Authorization;

/// Who has to be named in a payment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) proxy: Address,
    pub(crate) pay_to: Address,
}

/// Through whom, and to whom.
pub(crate) fn check_places(authorization: &Authorization, wanted: &Wanted) -> Result<(), Refusal> {
    let Wanted { proxy, pay_to } = wanted;
    if authorization.spender != *proxy {
        let (reason, field) = (Reason::InvalidPermit2Spender, "permit2Authorization.spender");
        return Err(Refusal::mismatch(reason, field, format!("x402's proxy, {proxy}"), authorization.spender));
    }
    if authorization.witness.to != *pay_to {
        let (reason, field) = (Reason::InvalidPermit2RecipientMismatch, "permit2Authorization.witness.to");
        return Err(Refusal::mismatch(reason, field, format!("payTo, {pay_to}"), authorization.witness.to));
    }
    Ok(())
}

/// From when, and until when.
pub(crate) fn check_times(
    authorization: &Authorization,
    now: UnixSeconds,
    chain_id: u64,
    max_timeout_seconds: u64,
) -> Result<(), Refusal> {
    let authorized = Authorized::Permit2(*authorization);
    check_expiry(&authorized, now, chain_id)?;
    let valid_after = authorization.witness.valid_after;
    if valid_after > U256::from(now.0) {
        let (reason, field) = (Reason::Permit2NotYetValid, "permit2Authorization.witness.validAfter");
        return Err(Refusal::mismatch(reason, field, format!("at most {now} (now)"), valid_after));
    }
    check_window(&authorized, now, max_timeout_seconds)
}

/// How much.
pub(crate) fn check_amount(authorization: &Authorization, amount: U256) -> Result<(), Refusal> {
    if authorization.permitted.amount == amount {
        return Ok(());
    }
    let (reason, field) = (Reason::Permit2AmountMismatch, "permit2Authorization.permitted.amount");
    Err(Refusal::mismatch(reason, field, format!("exactly {amount}"), authorization.permitted.amount))
}

/// Of what.
pub(crate) fn check_token(authorization: &Authorization, asset: Address) -> Result<(), Refusal> {
    if authorization.permitted.token == asset {
        return Ok(());
    }
    let (reason, field) = (Reason::Permit2TokenMismatch, "permit2Authorization.permitted.token");
    Err(Refusal::mismatch(reason, field, format!("the asset, {asset}"), authorization.permitted.token))
}
