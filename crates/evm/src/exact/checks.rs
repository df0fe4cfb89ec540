//! The facilitator's first step: everything that needs no node, in the order of the official facilitator.
//!
//! A payment that fails here costs no question to any node. The signature is the most expensive check, and comes where
//! the official facilitator has it, so that the same fault gets the same reason.

use std::sync::Arc;

use alloy_primitives::{Address, U256};
use farthing_core::reason::{Reason, Refusal};
use farthing_core::scheme::{Payment, PaymentFlow};
use farthing_core::time::UnixSeconds;

use super::facilitator::{CLOCK_SKEW_SECONDS, SETTLE_MARGIN_SECONDS};
use super::{Extra, NAME, Payload, terms};
use crate::asset::{AssetTable, KnownAsset};
use crate::network::slow_block_seconds;
use crate::signature::{Signature, SignatureError, WireSignature};
use crate::transfer::eip3009::Authorization;

/// A payment that is good as far as can be told without the chain.
#[derive(Clone, Debug)]
pub(super) struct Transfer {
    pub(super) asset: Arc<KnownAsset>,
    pub(super) authorization: Authorization,
    pub(super) signature: Signature,
}

/// Scheme, domain, network: what decides whether the rest can be looked at at all.
pub(super) fn check_kind(payment: &Payment<Payload, Extra>) -> Result<(), Refusal> {
    let Payment { accepted_scheme, accepted_network, requirements, extra, .. } = payment;
    for (field, scheme) in [("paymentPayload.accepted.scheme", accepted_scheme), ("scheme", &requirements.scheme)] {
        if scheme != NAME {
            let got = crate::text::quoted(scheme);
            return Err(Refusal::mismatch(Reason::InvalidExactEvmScheme, field, format!("{NAME:?}"), got));
        }
    }
    for (field, value) in [("extra.name", &extra.name), ("extra.version", &extra.version)] {
        if value.is_none() {
            let message = format!("{field}: missing; expected the asset's EIP-712 domain, such as \"USDC\" and \"2\"");
            return Err(Refusal::new(Reason::InvalidExactEvmMissingEip712Domain, message));
        }
    }
    if accepted_network != &requirements.network {
        let field = "paymentPayload.accepted.network";
        return Err(Refusal::mismatch(Reason::InvalidExactEvmNetworkMismatch, field, &requirements.network, accepted_network));
    }
    Ok(())
}

/// Asset, signature, recipient, window, amount.
pub(super) fn check_transfer(
    payment: &Payment<Payload, Extra>,
    assets: &AssetTable,
    now: UnixSeconds,
) -> Result<Transfer, Refusal> {
    let Payment { requirements, extra, payload, .. } = payment;
    let signed = payload.eip3009()?;
    let authorization = signed.authorization;
    let asset = terms::asset_of(requirements, extra, assets)?;
    terms::same_domain(extra, asset)?;
    terms::flow_of(requirements, &[PaymentFlow::Authorization, PaymentFlow::Upfront])?;
    let signature = check_signature(&signed.signature, &authorization, asset)?;
    check_recipient(&authorization, terms::recipient_of(requirements)?)?;
    check_expiry(&authorization, now, asset.chain_id)?;
    check_window(&authorization, now, requirements.max_timeout_seconds)?;
    check_value(&authorization, requirements.amount.units())?;
    terms::amount_of(requirements)?;
    Ok(Transfer { asset: asset.clone(), authorization, signature })
}

/// Whether the authorization can still be carried out: sending takes a moment, and an expired one only burns gas.
pub(super) fn check_expiry(authorization: &Authorization, now: UnixSeconds, chain_id: u64) -> Result<(), Refusal> {
    let margin_seconds = SETTLE_MARGIN_SECONDS.saturating_add(slow_block_seconds(chain_id).saturating_mul(2));
    let earliest = now.plus(margin_seconds);
    if authorization.valid_before >= U256::from(earliest.0) {
        return Ok(());
    }
    Err(Refusal::mismatch(
        Reason::InvalidExactEvmPayloadAuthorizationValidBefore,
        "authorization.validBefore",
        format!("at least {earliest} (now and {margin_seconds} seconds)"),
        format!("{}; sign a new payment", authorization.valid_before),
    ))
}

fn check_signature(signature: &WireSignature, authorization: &Authorization, asset: &KnownAsset) -> Result<Signature, Refusal> {
    let refused = |error: SignatureError| {
        let reason = match error {
            SignatureError::NotHex => Reason::InvalidExactEvmFailedToParseSignature,
            _ => Reason::InvalidExactEvmSignature,
        };
        Refusal::new(reason, format!("signature: {error}"))
    };
    let signature = signature.strict().map_err(refused)?;
    let signer = signature.signer(authorization.digest(asset.domain_separator)).map_err(refused)?;
    if signer == authorization.from {
        return Ok(signature);
    }
    Err(Refusal::new(
        Reason::InvalidExactEvmSignature,
        format!(
            "signature: it is not that of authorization.from ({}) over this authorization under the domain {:?} version {:?} on {}",
            authorization.from, asset.name, asset.version, asset.network,
        ),
    ))
}

fn check_recipient(authorization: &Authorization, pay_to: Address) -> Result<(), Refusal> {
    if authorization.to == pay_to {
        return Ok(());
    }
    let reason = Reason::InvalidExactEvmRecipientMismatch;
    Err(Refusal::mismatch(reason, "authorization.to", format!("payTo, {pay_to}"), authorization.to))
}

fn check_window(authorization: &Authorization, now: UnixSeconds, max_timeout_seconds: u64) -> Result<(), Refusal> {
    if authorization.valid_after > U256::from(now.0) {
        return Err(Refusal::mismatch(
            Reason::InvalidExactEvmPayloadAuthorizationValidAfter,
            "authorization.validAfter",
            format!("at most {now} (now)"),
            authorization.valid_after,
        ));
    }
    // An authorization that outlives the offer could be settled long after the buyer gave up on it.
    let latest = now.plus(max_timeout_seconds).plus(CLOCK_SKEW_SECONDS);
    if authorization.valid_before > U256::from(latest.0) {
        return Err(Refusal::mismatch(
            Reason::InvalidExactEvmPayloadAuthorizationValidBefore,
            "authorization.validBefore",
            format!("at most {latest} (now, maxTimeoutSeconds {max_timeout_seconds} and {CLOCK_SKEW_SECONDS} seconds)"),
            authorization.valid_before,
        ));
    }
    Ok(())
}

fn check_value(authorization: &Authorization, amount: U256) -> Result<(), Refusal> {
    if authorization.value == amount {
        return Ok(());
    }
    let reason = Reason::InvalidExactEvmPayloadAuthorizationValueMismatch;
    Err(Refusal::mismatch(reason, "authorization.value", format!("exactly {amount}"), authorization.value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::B256;

    #[test]
    fn an_authorization_must_outlive_a_slow_block() {
        let authorization = |valid_before| Authorization {
            from: Address::ZERO,
            to: Address::ZERO,
            value: U256::from(1),
            valid_after: U256::ZERO,
            valid_before: U256::from(valid_before),
            nonce: B256::ZERO,
        };
        let now = UnixSeconds(1_000);
        let cases = [(8_453, 1_006, true), (8_453, 1_005, false), (1, 1_030, true), (1, 1_029, false)];
        for (chain_id, valid_before, is_good) in cases {
            assert_eq!(check_expiry(&authorization(valid_before), now, chain_id).is_ok(), is_good, "{chain_id} {valid_before}");
        }
    }
}
