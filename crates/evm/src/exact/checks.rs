//! The facilitator's first step: everything that needs no node, in the order of the official facilitator.
//!
//! A payment that fails here costs no question to any node. Whose signature it is can be said here only of an ordinary
//! account's: what any other is worth, the payer's code decides, if there is any.

use std::sync::Arc;

use alloy_primitives::U256;
use farthing_core::extension::builder_code::Attribution;
use farthing_core::reason::{Reason, Refusal};
use farthing_core::scheme::{Payment, PaymentFlow};
use farthing_core::time::UnixSeconds;

use super::{Extra, NAME, Payload, SignedAuthorization, SignedPermit2, terms};
use crate::asset::{AssetTable, KnownAsset, TransferMethod};
use crate::chain::Chain;
use crate::facilitator::permit2::{self, Wanted};
use crate::facilitator::sponsor;
use crate::facilitator::transfer::{Authorized, Transfer, check_expiry, check_window, read_claim};
use crate::transfer::eip3009::Authorization;
use crate::transfer::permit2::EXACT_PROXY;

/// Scheme, domain, network: what decides whether the rest can be looked at at all.
pub(super) fn check_kind(payment: &Payment<Payload, Extra>) -> Result<(), Refusal> {
    let Payment { accepted_scheme, accepted_network, requirements, extra, payload, .. } = payment;
    let is_by_token = matches!(payload, Payload::Eip3009(_));
    for (field, scheme) in [("paymentPayload.accepted.scheme", accepted_scheme), ("scheme", &requirements.scheme)] {
        if scheme != NAME {
            let reason = if is_by_token { Reason::InvalidExactEvmScheme } else { Reason::UnsupportedPayloadType };
            return Err(Refusal::mismatch(reason, field, format!("{NAME:?}"), crate::text::quoted(scheme)));
        }
    }
    for (field, value) in [("extra.name", &extra.name), ("extra.version", &extra.version)] {
        if value.is_none() && is_by_token {
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

/// Asset, recipient, window, amount, and what can be said of the signature.
pub(super) fn check_transfer(
    payment: &Payment<Payload, Extra>,
    chain: &Chain,
    assets: &AssetTable,
    now: UnixSeconds,
) -> Result<Transfer, Refusal> {
    let Payment { requirements, extra, payload, .. } = payment;
    let (asset, method) = terms::asset_of(requirements, extra, assets)?;
    payload.check_method(method)?;
    terms::same_domain(extra, asset)?;
    terms::flow_of(requirements, &[PaymentFlow::Authorization, PaymentFlow::Upfront])?;
    match payload {
        Payload::Eip3009(signed) => by_token(payment, signed, asset, now),
        Payload::Permit2(signed) => by_permit2(payment, signed, asset, chain, now),
    }
}

fn by_token(
    payment: &Payment<Payload, Extra>,
    signed: &SignedAuthorization,
    asset: &Arc<KnownAsset>,
    now: UnixSeconds,
) -> Result<Transfer, Refusal> {
    let requirements = &payment.requirements;
    let authorized = Authorized::Eip3009(signed.authorization);
    let claim = read_claim(&signed.signature, &authorized, asset)?;
    let Authorization { to, value, valid_after, .. } = signed.authorization;
    let pay_to = terms::recipient_of(requirements)?;
    if to != pay_to {
        let reason = Reason::InvalidExactEvmRecipientMismatch;
        return Err(Refusal::mismatch(reason, "authorization.to", format!("payTo, {pay_to}"), to));
    }
    check_expiry(&authorized, now, asset.chain_id)?;
    if valid_after > U256::from(now.0) {
        let reason = Reason::InvalidExactEvmPayloadAuthorizationValidAfter;
        return Err(Refusal::mismatch(reason, "authorization.validAfter", format!("at most {now} (now)"), valid_after));
    }
    check_window(&authorized, now, requirements.max_timeout_seconds)?;
    let amount = requirements.amount.units();
    if value != amount {
        let reason = Reason::InvalidExactEvmPayloadAuthorizationValueMismatch;
        return Err(Refusal::mismatch(reason, "authorization.value", format!("exactly {amount}"), value));
    }
    terms::amount_of(requirements)?;
    let attribution = Attribution::default();
    Ok(Transfer { asset: asset.clone(), authorized, value, claim, permit: None, approval: None, attribution })
}

fn by_permit2(
    payment: &Payment<Payload, Extra>,
    signed: &SignedPermit2,
    asset: &Arc<KnownAsset>,
    chain: &Chain,
    now: UnixSeconds,
) -> Result<Transfer, Refusal> {
    let requirements = &payment.requirements;
    let authorization = signed.permit2_authorization;
    permit2::check_places(&authorization, &Wanted { proxy: EXACT_PROXY, pay_to: terms::recipient_of(requirements)? })?;
    permit2::check_times(&authorization, now, asset.chain_id, requirements.max_timeout_seconds)?;
    permit2::check_amount(&authorization, requirements.amount.units())?;
    permit2::check_token(&authorization, asset.address)?;
    let value = terms::amount_of(requirements)?;
    let authorized = Authorized::Permit2(authorization);
    let claim = read_claim(&signed.signature, &authorized, asset)?;
    let (permit, approval) = sponsor::read(chain, &payment.extensions, &authorization, now)?;
    let attribution = Attribution::default();
    Ok(Transfer { asset: asset.clone(), authorized, value, claim, permit, approval, attribution })
}

impl Payload {
    /// Whether the payment is by the method that the offer asks for.
    fn check_method(&self, method: TransferMethod) -> Result<(), Refusal> {
        let (expected, got) = match (self, method) {
            (Self::Eip3009(_), TransferMethod::Eip3009) | (Self::Permit2(_), TransferMethod::Permit2) => return Ok(()),
            (Self::Permit2(_), TransferMethod::Eip3009) => {
                ("a transfer by EIP-3009 (authorization)", "one by Permit2 (permit2Authorization)")
            }
            (Self::Eip3009(_), TransferMethod::Permit2) => {
                ("a transfer by Permit2 (permit2Authorization)", "one by EIP-3009 (authorization)")
            }
        };
        Err(Refusal::mismatch(Reason::UnsupportedPayloadType, "payload", expected, got))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::{Address, B256};

    #[test]
    fn an_authorization_must_outlive_a_slow_block() {
        let authorized = |valid_before| {
            Authorized::Eip3009(Authorization {
                from: Address::ZERO,
                to: Address::ZERO,
                value: U256::from(1),
                valid_after: U256::ZERO,
                valid_before: U256::from(valid_before),
                nonce: B256::ZERO,
            })
        };
        let now = UnixSeconds(1_000);
        let cases = [(8_453, 1_006, true), (8_453, 1_005, false), (1, 1_030, true), (1, 1_029, false)];
        for (chain_id, valid_before, is_good) in cases {
            assert_eq!(check_expiry(&authorized(valid_before), now, chain_id).is_ok(), is_good, "{chain_id} {valid_before}");
        }
    }
}
