//! Limits of sending: when a transaction counts, what it may cost, and how many go out at once.

use std::time::Duration;

use farthing_core::books::Usd;
use serde::{Deserialize, Deserializer};

use super::{ChainConfig, ConfigError};

/// When a transaction counts, and how often the node is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConfirmConfig {
    /// How many blocks must hold the transaction: 1 is the block it is in.
    pub blocks: u64,
    /// How many blocks must hold it until no other history is expected any more: so long it is watched.
    pub final_blocks: u64,
    /// How long a settlement waits for that. Afterwards its outcome is unknown, which is not failure.
    pub timeout_milliseconds: u64,
    /// The longest pause between two questions to the node, however many payments wait.
    pub poll_milliseconds: u64,
    /// How long a transaction may wait unmined before it is broadcast again.
    pub rebroadcast_milliseconds: u64,
}

impl Default for ConfirmConfig {
    fn default() -> Self {
        Self {
            blocks: 1,
            final_blocks: 64,
            timeout_milliseconds: 60_000,
            poll_milliseconds: 200,
            rebroadcast_milliseconds: 5_000,
        }
    }
}

impl ConfirmConfig {
    /// How long a settlement waits.
    pub const fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_milliseconds)
    }

    /// The longest pause between two questions to the node.
    pub const fn poll(&self) -> Duration {
        Duration::from_millis(self.poll_milliseconds)
    }

    /// How long a transaction may wait unmined before it is broadcast again.
    pub const fn rebroadcast(&self) -> Duration {
        Duration::from_millis(self.rebroadcast_milliseconds)
    }
}

/// Caps on what one payment may cost the facilitator. Units of gas × fee per unit bound it absolutely, the share of the
/// payment's value relatively, the daily budgets for each payer and caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GasConfig {
    /// The most units of gas for one payment.
    pub max_units: u64,
    /// The most that one unit may cost, in wei.
    pub max_fee_per_unit_wei: u64,
    /// The least tip for one unit, in wei, where the network itself suggests less.
    pub min_tip_per_unit_wei: u64,
    /// The most that a payment's gas may cost, in per cent of what is paid; needs `native_price_usd`.
    pub max_share_percent: Option<u64>,
    /// What one of the network's own coin costs, such as `"3000"`.
    #[serde(deserialize_with = "dollars")]
    pub native_price_usd: Option<Usd>,
    /// The least that is settled, such as `"$0.001"`.
    #[serde(deserialize_with = "dollars")]
    pub minimum_amount: Option<Usd>,
    /// The most that is spent for one payer within a UTC day, in 10⁻⁹ of the network's coin.
    pub daily_budget_per_payer_gwei: Option<u64>,
    /// The most that is spent for one caller within a UTC day, in 10⁻⁹ of the network's coin.
    pub daily_budget_per_caller_gwei: Option<u64>,
    /// A sending account that holds less is reported, in 10⁻⁹ of the network's coin.
    pub low_balance_gwei: Option<u64>,
}

impl Default for GasConfig {
    fn default() -> Self {
        Self {
            max_units: 500_000,
            max_fee_per_unit_wei: 500_000_000_000,
            min_tip_per_unit_wei: 1_000_000,
            max_share_percent: None,
            native_price_usd: None,
            minimum_amount: None,
            daily_budget_per_payer_gwei: None,
            daily_budget_per_caller_gwei: None,
            low_balance_gwei: None,
        }
    }
}

/// How many payments go out at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RelayConfig {
    /// The most transactions of one sending account that are not mined yet.
    pub max_in_flight: usize,
    /// The most gas that the payments of one transaction may use together.
    pub max_batch_gas_units: u64,
    /// How long a transaction may wait unmined before one with higher fees takes its place.
    pub replace_after_milliseconds: u64,
}

impl Default for RelayConfig {
    fn default() -> Self {
        Self { max_in_flight: 16, max_batch_gas_units: 8_000_000, replace_after_milliseconds: 15_000 }
    }
}

impl RelayConfig {
    /// How long a transaction may wait unmined before one with higher fees takes its place.
    pub const fn replace_after(&self) -> Duration {
        Duration::from_millis(self.replace_after_milliseconds)
    }
}

impl ChainConfig {
    /// Limits that make no sense are refused at start-up.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let Self { confirm, gas, relay, .. } = self;
        let limits = [
            ("confirm.blocks", confirm.blocks),
            ("confirm.final_blocks", confirm.final_blocks),
            ("confirm.timeout_milliseconds", confirm.timeout_milliseconds),
            ("confirm.poll_milliseconds", confirm.poll_milliseconds),
            ("confirm.rebroadcast_milliseconds", confirm.rebroadcast_milliseconds),
            ("gas.max_units", gas.max_units),
            ("gas.max_share_percent", gas.max_share_percent.unwrap_or(1)),
            ("relay.max_in_flight", u64::try_from(relay.max_in_flight).unwrap_or(u64::MAX)),
            ("relay.max_batch_gas_units", relay.max_batch_gas_units),
            ("relay.replace_after_milliseconds", relay.replace_after_milliseconds),
        ];
        if let Some((field, _)) = limits.into_iter().find(|(_, limit)| *limit == 0) {
            return Err(ConfigError::Limit { field, expected: "at least 1", got: "0".to_owned() });
        }
        if confirm.final_blocks < confirm.blocks {
            let got = confirm.final_blocks.to_string();
            return Err(ConfigError::Limit { field: "confirm.final_blocks", expected: "at least confirm.blocks", got });
        }
        if gas.max_share_percent.is_some() && gas.native_price_usd.is_none() {
            let expected = "the price of the network's coin in dollars, such as \"3000\", which gas.max_share_percent needs";
            return Err(ConfigError::Limit { field: "gas.native_price_usd", expected, got: "nothing".to_owned() });
        }
        Ok(())
    }
}

fn dollars<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Usd>, D::Error> {
    let text = Option::<std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
    text.map(|text| text.parse().map_err(serde::de::Error::custom)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RpcUrl;

    fn checked(change: impl FnOnce(&mut ChainConfig)) -> String {
        let mut config = ChainConfig::new("eip155:8453".parse().unwrap(), RpcUrl::new("http://127.0.0.1:1"));
        change(&mut config);
        config.check().map_or_else(|error| error.to_string(), |()| "good".to_owned())
    }

    #[test]
    fn limits_that_make_no_sense_are_refused() {
        assert_eq!(checked(|_| {}), "good");
        assert!(checked(|config| config.relay.max_in_flight = 0).starts_with("relay.max_in_flight: expected at least 1"));
        assert!(checked(|config| config.confirm.blocks = 65).contains("at least confirm.blocks"));
        assert!(checked(|config| config.gas.max_share_percent = Some(10)).contains("gas.native_price_usd"));
    }

    #[test]
    fn dollars_are_read_exactly() {
        let json = r#"{"max_share_percent": 10, "native_price_usd": "3000.5", "minimum_amount": "$0.001"}"#;
        let config: GasConfig = serde_json::from_str(json).unwrap();
        assert_eq!(config.native_price_usd.unwrap().to_string(), "$3000.5");
        assert_eq!(config.minimum_amount.unwrap().to_string(), "$0.001");
        assert!(serde_json::from_str::<GasConfig>(r#"{"native_price_usd": "3000 EUR"}"#).is_err());
        assert!(serde_json::from_str::<GasConfig>(r#"{"native_price_usd": 3000.5}"#).is_err(), "no float comes near money");
    }
}
