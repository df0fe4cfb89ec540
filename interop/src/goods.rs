//! What is bought, beyond a report for a cent by EIP-3009 from an ordinary account: every way to pay that the peers know, and
//! who of them can play which role in it.

use std::fmt;

use crate::{
    payer::PayerKind,
    purchase::PRICE_ATOMIC,
    roles::{Client, Combination, Facilitator, Server},
};

macro_rules! goods {
    ($($(#[$doc:meta])* $good:ident = $name:literal at $path:literal,)+) => {
        /// What is bought.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Good { $($(#[$doc])* $good,)+ }

        impl Good {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$good),+];

            /// Where servers sell it.
            pub const fn path(self) -> &'static str {
                match self { $(Self::$good => $path),+ }
            }
        }

        impl fmt::Display for Good {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(match self { $(Self::$good => $name),+ })
            }
        }
    };
}

goods! {
    /// `exact` by Permit2, which the payer has approved.
    Permit2 = "permit2" at "/permit2",
    /// The same without the approval, and nobody offers to sponsor it.
    Unapproved = "permit2_unapproved" at "/permit2",
    /// The approval is the payer's permit (EIP-2612), sent in the same transaction.
    SponsoredPermit = "sponsored_permit" at "/sponsored-permit",
    /// The approval is the payer's own signed transaction, broadcast by the facilitator, for a token without permits.
    SponsoredApproval = "sponsored_approval" at "/sponsored-approval",
    /// `upto`: a ceiling is signed, less is charged.
    Metered = "upto_metered" at "/metered",
    /// The same without the approval, and nobody offers to sponsor it.
    UnapprovedMetered = "upto_unapproved" at "/metered",
    /// `upto`, and the approval is the payer's permit (EIP-2612) of the ceiling.
    SponsoredMetered = "sponsored_upto" at "/sponsored-metered",
    /// `upto`: a ceiling is signed, nothing is charged.
    Unused = "upto_unused" at "/unused",
    /// Settled before the work, by EIP-3009.
    Upfront = "upfront" at "/upfront",
    /// Settled before work that then fails.
    UpfrontFailing = "upfront_failing" at "/upfront-fails",
    /// The payer is a contract (ERC-1271), by EIP-3009.
    Contract = "contract" at "/report",
    /// The payer is a contract (ERC-1271), by Permit2.
    ContractPermit2 = "contract_permit2" at "/permit2",
    /// The payer is a contract, and `upto`.
    ContractMetered = "contract_upto" at "/metered",
    /// The payer is a contract that its first payment creates (ERC-6492), by EIP-3009.
    Foretold = "foretold" at "/report",
    /// The payer is an account that delegates to a contract (EIP-7702), by EIP-3009.
    Delegated = "delegated" at "/report",
    /// The same, by Permit2.
    DelegatedPermit2 = "delegated_permit2" at "/permit2",
}

/// How a purchase ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With the report.
    Sold,
    /// With a failure of the handler, which was paid before.
    Failed,
    /// With a refusal, for Permit2 has no allowance.
    Refused,
}

impl Good {
    /// How it ends.
    pub const fn end(self) -> End {
        match self {
            Self::Unapproved | Self::UnapprovedMetered => End::Refused,
            Self::UpfrontFailing => End::Failed,
            _ => End::Sold,
        }
    }

    /// What moves, in atomic units of the token.
    pub const fn charged_atomic(self) -> u64 {
        match self {
            Self::Unapproved | Self::UnapprovedMetered | Self::Unused => 0,
            // 30 %, as servers say.
            Self::Metered | Self::SponsoredMetered | Self::ContractMetered => PRICE_ATOMIC / 10 * 3,
            _ => PRICE_ATOMIC,
        }
    }

    /// Who pays.
    pub const fn payer(self) -> PayerKind {
        match self {
            Self::Contract | Self::ContractPermit2 | Self::ContractMetered => PayerKind::Contract,
            Self::Foretold => PayerKind::Foretold,
            Self::Delegated | Self::DelegatedPermit2 => PayerKind::Delegated,
            _ => PayerKind::Ordinary,
        }
    }

    /// Whether the payer has approved Permit2 before.
    pub const fn is_approved(self) -> bool {
        matches!(
            self,
            Self::Permit2
                | Self::Metered
                | Self::Unused
                | Self::ContractPermit2
                | Self::ContractMetered
                | Self::DelegatedPermit2
        )
    }

    /// Whether it is `upto`.
    pub const fn is_metered(self) -> bool {
        matches!(self, Self::Metered | Self::SponsoredMetered | Self::Unused | Self::ContractMetered)
    }
}

/// A good that is bought through a combination of roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sale {
    /// What is bought.
    pub good: Good,
    /// Who buys it where.
    pub by: Combination,
}

impl Sale {
    /// Every good through every combination that the goods are sold by, possible or not. Those of version 1 sell only
    /// reports; Python over requests differs from Python over httpx in nothing but its HTTP, which reports are bought with.
    pub fn all() -> impl Iterator<Item = Self> {
        let clients = [Client::Farthing, Client::Ts, Client::PythonHttpx];
        let servers = [Server::Farthing, Server::Ts, Server::Python];
        let pairs = clients.into_iter().flat_map(move |client| servers.map(|server| (client, server)));
        let combinations = pairs.flat_map(|(client, server)| {
            Facilitator::ALL.iter().map(move |facilitator| Combination { client, server, facilitator: *facilitator })
        });
        combinations.flat_map(|by| Good::ALL.iter().map(move |good| Self { good: *good, by }))
    }

    /// Those that can be and that tell something of Farthing.
    pub fn ours() -> impl Iterator<Item = Self> {
        Self::all().filter(|sale| sale.by.has_farthing() && sale.obstacle().is_none())
    }

    /// Those that can be, of the peers among themselves.
    pub fn theirs() -> impl Iterator<Item = Self> {
        Self::all().filter(|sale| !sale.by.has_farthing() && sale.obstacle().is_none())
    }

    /// Why it cannot be, if so. Whatever is not here is tested.
    pub fn obstacle(self) -> Option<&'static str> {
        match (self.good, self.by) {
            (
                Good::SponsoredApproval,
                Combination { client: Client::Ts | Client::PythonHttpx, server: Server::Farthing, .. },
            ) => {
                Some("farthing-server names the token's EIP-712 domain, which tells the official clients that it has EIP-2612")
            }
            (Good::Foretold, Combination { facilitator: Facilitator::Python, .. }) => {
                Some("the Python facilitator calls the factory in a transaction without a chain id, which nodes refuse")
            }
            _ => None,
        }
    }
}

impl fmt::Display for Sale {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}_{}", self.good, self.by)
    }
}
