//! Whether a payment is worth its gas, as the operator counts it.

use alloy_primitives::U256;
use farthing_core::amount::Amount;
use farthing_core::books::Usd;
use farthing_core::reason::{Reason, Refusal};

use super::transfer::Transfer;
use crate::config::GasConfig;

/// The network's own coin is counted in wei.
const WEI_PER_COIN: u64 = 1_000_000_000_000_000_000;

/// Whether the payment is as large as the operator asks.
pub(super) fn check_minimum(transfer: &Transfer, gas: &GasConfig) -> Result<(), Refusal> {
    let Some(least) = gas.minimum_amount else { return Ok(()) };
    let value = dollars(transfer, "gas.minimum_amount")?;
    if value >= least {
        return Ok(());
    }
    let field = "amount";
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
    let field = "amount";
    let expected = format!(
        "a payment of which gas takes at most {share_percent} %: it costs about {cost_wei} wei on {} now; pay more at once, or \
         elsewhere",
        transfer.asset.network,
    );
    Err(Refusal::mismatch(Reason::InvalidPaymentRequirements, field, expected, value))
}

/// What the payment is worth. What has no price in dollars can't be compared, so it is not settled under such a limit.
fn dollars(transfer: &Transfer, limit: &str) -> Result<Usd, Refusal> {
    Usd::of(Amount::from_units(transfer.value), &transfer.asset.to_asset()).ok_or_else(|| {
        let expected = format!("an asset that stands for a dollar, because this facilitator limits gas by {limit}");
        Refusal::mismatch(Reason::InvalidPaymentRequirements, "asset", expected, transfer.asset.address)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asset::AssetTable;
    use crate::facilitator::transfer::Authorized;
    use crate::signature::WireSignature;
    use crate::transfer::eip3009::Authorization;
    use crate::wallet::Claim;
    use alloy_primitives::{Address, B256};
    use farthing_core::extension::builder_code::Attribution;

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
        let (value, claim) = (authorization.value, Claim::Ordinary(signature));
        Transfer {
            asset,
            authorized: Authorized::Eip3009(authorization),
            value,
            claim,
            permit: None,
            approval: None,
            attribution: Attribution::default(),
        }
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
}
