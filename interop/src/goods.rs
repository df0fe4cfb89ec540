//! What is bought: every way to pay that the peers know, and everything that the extensions add to it.

use std::fmt;

use crate::{payer::PayerKind, service::PRICE_ATOMIC};

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
    /// A report for a cent, by `exact` and EIP-3009.
    Report = "report" at "/report",
    /// The same, and the handler fails.
    Failing = "failing" at "/fails",
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
    /// Paid once, and opened again by a signature (`sign-in-with-x`).
    SignIn = "sign_in" at "/sign-in",
    /// The same, by a contract (ERC-1271).
    ContractSignIn = "contract_sign_in" at "/sign-in",
    /// A purchase with a name (`payment-identifier`).
    Named = "payment_identifier" at "/named",
    /// The offer and the receipt are signed (`offer-receipt`) as typed data (EIP-712).
    Signed = "offer_receipt" at "/signed",
    /// The same, as JWS.
    SignedJws = "offer_receipt_jws" at "/signed-jws",
    /// Whose software it went through is written behind the transaction's data (`builder-code`).
    Attributed = "builder_code" at "/attributed",
}

/// How a purchase ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With the report.
    Sold,
    /// With a failure of the handler, which was paid before.
    Failed,
    /// With a failure of the handler, for which nothing is paid.
    Unpaid,
    /// With a refusal, for Permit2 has no allowance.
    Refused,
}

impl Good {
    /// How it ends.
    pub const fn end(self) -> End {
        match self {
            Self::Unapproved | Self::UnapprovedMetered => End::Refused,
            Self::UpfrontFailing => End::Failed,
            Self::Failing => End::Unpaid,
            _ => End::Sold,
        }
    }

    /// What moves, in atomic units of the token.
    pub const fn charged_atomic(self) -> u64 {
        match self {
            Self::Unapproved | Self::UnapprovedMetered | Self::Unused | Self::Failing => 0,
            // 30 %, as servers say.
            Self::Metered | Self::SponsoredMetered | Self::ContractMetered => PRICE_ATOMIC / 10 * 3,
            _ => PRICE_ATOMIC,
        }
    }

    /// Who pays.
    pub const fn payer(self) -> PayerKind {
        match self {
            Self::Contract | Self::ContractPermit2 | Self::ContractMetered | Self::ContractSignIn => PayerKind::Contract,
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

    /// Whether those of version 1 sell it and buy it, and Python over requests: they know nothing else.
    pub const fn is_plain(self) -> bool {
        matches!(self, Self::Report | Self::Failing)
    }

    /// Whether a gateway's file can describe it.
    pub const fn is_for_gateways(self) -> bool {
        !matches!(self, Self::Signed | Self::SignedJws | Self::Attributed)
    }

    /// Whether the server signs what it asks and what it was paid.
    pub const fn is_signed(self) -> bool {
        matches!(self, Self::Signed | Self::SignedJws)
    }

    /// Whether it is `upto`.
    pub const fn is_metered(self) -> bool {
        matches!(self, Self::Metered | Self::SponsoredMetered | Self::Unused | Self::ContractMetered)
    }
}
