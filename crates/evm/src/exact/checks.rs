//! The facilitator's first step: everything that needs no node, in the order of the official facilitator.
//!
//! A payment that fails here costs no question to any node. The signature is the most expensive check, and comes where
//! the official facilitator has it, so that the same fault gets the same reason.

use std::sync::Arc;

use alloy_primitives::{Address, U256};
use farthing_core::amount::Amount;
use farthing_core::books::Usd;
use farthing_core::reason::{Reason, Refusal};
use farthing_core::scheme::{Payment, PaymentFlow};
use farthing_core::time::UnixSeconds;

use super::facilitator::{CLOCK_SKEW_SECONDS, SETTLE_MARGIN_SECONDS};
use super::{Extra, NAME, Payload, terms};
use crate::asset::{AssetTable, KnownAsset};
use crate::config::GasConfig;
use crate::network::slow_block_seconds;
use crate::signature::{Signature, SignatureError, WireSignature};
use crate::transfer::eip3009::Authorization;

/// The network's own coin is counted in wei.
const WEI_PER_COIN: u64 = 1_000_000_000_000_000_000;

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

/// How long an authorization must still be valid when it is sent.
pub(super) fn margin_seconds(chain_id: u64) -> u64 {
    SETTLE_MARGIN_SECONDS.saturating_add(slow_block_seconds(chain_id).saturating_mul(2))
}

/// Whether the authorization can still be carried out: sending takes a moment, and an expired one only burns gas.
pub(super) fn check_expiry(authorization: &Authorization, now: UnixSeconds, chain_id: u64) -> Result<(), Refusal> {
    let margin_seconds = margin_seconds(chain_id);
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

/// Whether the payment is as large as the operator asks.
pub(super) fn check_minimum(transfer: &Transfer, gas: &GasConfig) -> Result<(), Refusal> {
    let Some(least) = gas.minimum_amount else { return Ok(()) };
    let value = dollars(transfer, "gas.minimum_amount")?;
    if value >= least {
        return Ok(());
    }
    let field = "authorization.value";
    let expected = format!("at least {least}, the least that this facilitator settles on {}", transfer.asset.network);
    Err(Refusal::mismatch(Reason::InvalidPaymentRequirements, field, expected, value))
}

/// Whether the payment is worth its gas, as the operator counts it.
pub(super) fn check_worth(transfer: &Transfer, gas: &GasConfig, cost_wei: u128) -> Result<(), Refusal> {
    let (Some(share_percent), Some(price)) = (gas.max_share_percent, gas.native_price_usd) else { return Ok(()) };
    let value = dollars(transfer, "gas.max_share_percent")?;
    // Both sides in units of 10⁻¹⁸ dollars × 10¹⁸ wei × 100; what does not fit is beyond any payment.
    let cost = price.units().units().checked_mul(U256::from(cost_wei)).and_then(|cost| cost.checked_mul(U256::from(100)));
    let allowed = value.units().units().checked_mul(U256::from(share_percent));
    let allowed = allowed.and_then(|allowed| allowed.checked_mul(U256::from(WEI_PER_COIN)));
    if cost.is_some_and(|cost| allowed.is_none_or(|allowed| cost <= allowed)) {
        return Ok(());
    }
    let field = "authorization.value";
    let expected = format!(
        "a payment of which gas takes at most {share_percent} %: it costs about {cost_wei} wei on {} now; pay more at once, or \
         elsewhere",
        transfer.asset.network,
    );
    Err(Refusal::mismatch(Reason::InvalidPaymentRequirements, field, expected, value))
}

/// What the payment is worth. What has no price in dollars can't be compared, so it is not settled under such a limit.
fn dollars(transfer: &Transfer, limit: &str) -> Result<Usd, Refusal> {
    Usd::of(Amount::from_units(transfer.authorization.value), &transfer.asset.to_asset()).ok_or_else(|| {
        let expected = format!("an asset that stands for a dollar, because this facilitator limits gas by {limit}");
        Refusal::mismatch(Reason::InvalidPaymentRequirements, "asset", expected, transfer.asset.address)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::B256;

    fn transfer(value: u64) -> Transfer {
        let authorization = Authorization {
            from: Address::ZERO,
            to: Address::ZERO,
            value: U256::from(value),
            valid_after: U256::ZERO,
            valid_before: U256::MAX,
            nonce: B256::ZERO,
        };
        let asset = AssetTable::known().get(84_532, farthing_testkit::golden::ASSET.parse().unwrap()).unwrap().clone();
        let signature = WireSignature::from(farthing_testkit::golden::eip3009::SIGNATURE).strict().unwrap();
        Transfer { asset, authorization, signature }
    }

    #[test]
    fn a_payment_must_be_worth_its_gas() {
        let gas = GasConfig {
            max_share_percent: Some(10),
            native_price_usd: Some("3000".parse().unwrap()),
            minimum_amount: Some("$0.001".parse().unwrap()),
            ..GasConfig::default()
        };
        // A cent, of which a tenth is 0.001 dollars, which buys 333,333,333,333 wei at 3,000 dollars.
        assert!(check_worth(&transfer(10_000), &gas, 333_333_333_333).is_ok());
        let refusal = check_worth(&transfer(10_000), &gas, 333_333_333_334).unwrap_err();
        assert_eq!(refusal.reason, Reason::InvalidPaymentRequirements);
        assert!(refusal.message.contains("at most 10 %") && refusal.message.contains("$0.01"), "{}", refusal.message);
        assert!(check_worth(&transfer(u64::MAX), &gas, u128::MAX).is_err());
        assert!(check_worth(&transfer(1), &GasConfig::default(), u128::MAX).is_ok());
        assert!(check_minimum(&transfer(1_000), &gas).is_ok());
        assert!(check_minimum(&transfer(999), &gas).unwrap_err().message.contains("at least $0.001"));
    }

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
