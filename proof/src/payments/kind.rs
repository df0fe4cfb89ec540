//! The kinds of payments: how a payer's money is moved, and how much of what it allows.

use anyhow::Result;
use farthing_core::wire::{Extensions, PaymentRequirements};
use farthing_evm::transfer::{approval, eip2612};
use farthing_interop::chain::{NETWORK, PAYEE, TOKEN};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::AMOUNT_ATOMIC;
use crate::chance::Chance;

/// How long a payment may be settled.
const WINDOW_SECONDS: u64 = 900;
/// What is charged where the work decides: some of what is allowed.
const PART_ATOMIC: u64 = 3_217;

/// How a payment moves money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// By the token's own signature, all of it.
    Eip3009,
    /// Through Permit2, which the payer has approved, all of it.
    Permit2,
    /// The same, with a permit (EIP-2612) that goes along.
    Permit,
    /// The same, with the payer's own approval, which is broadcast before, and whose gas the facilitator gives.
    Approval,
    /// Through Permit2, as much as the work says: some of it.
    Metered,
    /// The same, and the work says nothing.
    Unused,
    /// By the token's own signature, from a smart wallet (ERC-1271).
    Wallet,
}

/// How often each kind comes where chance decides.
const WEIGHTS: &[(Kind, u64)] = &[
    (Kind::Eip3009, 40),
    (Kind::Permit2, 12),
    (Kind::Permit, 10),
    (Kind::Approval, 10),
    (Kind::Metered, 12),
    (Kind::Unused, 6),
    (Kind::Wallet, 10),
];

impl Kind {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Eip3009, Self::Permit2, Self::Permit, Self::Approval, Self::Metered, Self::Unused, Self::Wallet];

    /// One of them, the usual one most often.
    pub fn draw(chance: &mut Chance) -> Self {
        chance.weighted(WEIGHTS).unwrap_or(Self::Eip3009)
    }

    /// So many of them: each one first, so that few payments are of every kind, then as chance decides.
    pub fn mix(seed: u64, count: usize) -> Vec<Self> {
        let mut chance = Chance::new(seed);
        Self::ALL.into_iter().chain(std::iter::repeat_with(|| Self::draw(&mut chance))).take(count).collect()
    }

    /// Its name in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Eip3009 => "EIP-3009",
            Self::Permit2 => "Permit2",
            Self::Permit => "Permit2 with a permit",
            Self::Approval => "Permit2 with an approval",
            Self::Metered => "upto",
            Self::Unused => "upto, nothing",
            Self::Wallet => "ERC-1271",
        }
    }

    /// Whether the server says how much of it is charged.
    pub const fn is_metered(self) -> bool {
        matches!(self, Self::Metered | Self::Unused)
    }

    /// What a server charges, in atomic units.
    pub const fn charge_atomic(self) -> u64 {
        match self {
            Self::Metered => PART_ATOMIC,
            Self::Unused => 0,
            _ => AMOUNT_ATOMIC,
        }
    }

    /// Whether a payer has approved Permit2 before it pays.
    pub(super) const fn has_approved(self) -> bool {
        matches!(self, Self::Permit2 | Self::Metered | Self::Unused)
    }

    /// Whether a payer can pay more than once: what goes along with a payment is numbered, one after the other.
    pub const fn repeats(self) -> bool {
        !matches!(self, Self::Permit | Self::Approval)
    }

    /// What a payer lets go along with its payment.
    pub(super) const fn sponsored(self) -> Option<&'static str> {
        match self {
            Self::Permit => Some(eip2612::EXTENSION),
            Self::Approval => Some(approval::EXTENSION),
            _ => None,
        }
    }

    /// The offer that a seller without a shop makes.
    pub(super) fn offer(self, facilitator: &str) -> Result<PaymentRequirements> {
        let (scheme, extra) = match self {
            Self::Eip3009 | Self::Wallet => ("exact", json!({"name": "USDC", "version": "2"})),
            Self::Permit2 | Self::Permit | Self::Approval => ("exact", json!({"assetTransferMethod": "permit2"})),
            Self::Metered | Self::Unused => {
                ("upto", json!({"assetTransferMethod": "permit2", "facilitatorAddress": facilitator}))
            }
        };
        Ok(serde_json::from_value(json!({
            "scheme": scheme, "network": NETWORK, "asset": TOKEN.to_string(), "payTo": PAYEE.to_string(),
            "amount": AMOUNT_ATOMIC.to_string(), "maxTimeoutSeconds": WINDOW_SECONDS, "extra": extra,
        }))?)
    }

    /// What that seller's terms say may go along.
    pub(super) fn offered(self) -> Result<Extensions> {
        let mut extensions = Extensions::default();
        if let Some(key) = self.sponsored() {
            extensions.set(key, &json!({"info": {"description": "gas is on us", "version": "1"}, "schema": {}}))?;
        }
        Ok(extensions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_payments_are_of_every_kind_and_many_of_the_usual_one() {
        assert_eq!(Kind::mix(1, 7), Kind::ALL);
        let many = Kind::mix(1, 1_000);
        let count = |kind| many.iter().filter(|other| **other == kind).count();
        assert!(Kind::ALL.iter().all(|kind| count(*kind) > 30 && count(*kind) <= count(Kind::Eip3009)));
        assert_eq!(many, Kind::mix(1, 1_000));
    }
}
