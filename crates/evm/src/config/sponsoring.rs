//! What a facilitator does for payers beside their payments: wallets that it creates, approvals that it sends.

use alloy_primitives::Address;
use serde::Deserialize;

use super::ConfigError;
use crate::text::parse_address;

/// Payers that are contracts. Those that exist need no configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WalletConfig {
    /// The contracts that may create a payer's wallet together with its first payment (ERC-6492), at this facilitator's
    /// expense. Whatever a payer has them called with is sent from the facilitator's account, so the list is empty unless
    /// the operator names contracts whose code is known.
    pub factories: Vec<String>,
}

/// Approvals of Permit2 that payers have not made yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SponsorConfig {
    /// Whether permits by EIP-2612 are sent along with payments (`eip2612GasSponsoring`): one transaction, a little more gas.
    pub permits: bool,
    /// Whether payers' own signed approvals are broadcast before their payments (`erc20ApprovalGasSponsoring`).
    pub approvals: bool,
    /// The most of the network's coin, in units of 10⁻⁹, that a payer is given who can't pay for the gas of its approval; 0
    /// gives nothing. It is gone, whether or not the payer uses it for that: what a stranger can take is bounded by this for
    /// each payment and by `gas.daily_budget_per_payer_gwei` and `gas.daily_budget_per_caller_gwei` for each day.
    pub max_funding_gwei: u64,
}

impl Default for SponsorConfig {
    fn default() -> Self {
        Self { permits: true, approvals: false, max_funding_gwei: 0 }
    }
}

impl WalletConfig {
    /// The contracts, each of which must be one.
    pub(crate) fn factories(&self) -> Result<Vec<Address>, ConfigError> {
        let address = |text: &String| {
            let factory = parse_address(text).filter(|factory| !factory.is_zero());
            factory.ok_or_else(|| ConfigError::Address { field: "wallets.factories", got: text.clone() })
        };
        self.factories.iter().map(address).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_creates_wallets_or_sends_approvals_unless_told() {
        assert_eq!(WalletConfig::default().factories().unwrap(), Vec::<Address>::new());
        assert_eq!(SponsorConfig::default(), SponsorConfig { permits: true, approvals: false, max_funding_gwei: 0 });
    }

    #[test]
    fn a_factory_that_is_no_address_is_refused() {
        for bad in ["", "0x12", "0x0000000000000000000000000000000000000000"] {
            let error = WalletConfig { factories: vec![bad.to_owned()] }.factories().unwrap_err();
            assert!(error.to_string().starts_with("wallets.factories"), "{error}");
        }
    }
}
