//! The protocol's error strings (x402 v2 §9 and the official SDKs' own), as an enum.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// Why a payment was refused, or did not settle.
        ///
        /// Strings that a peer sends and that are not listed here are kept as [`Reason::Other`], so that they can be
        /// shown and passed on.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[$doc])* $variant,)*
            /// A string of a peer's own.
            Other(Box<str>),
        }

        impl Reason {
            /// Every reason that Farthing itself knows.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The string on the wire.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)*
                    Self::Other(text) => text,
                }
            }
        }

        impl From<&str> for Reason {
            fn from(text: &str) -> Self {
                match text {
                    $($text => Self::$variant,)*
                    other => Self::Other(other.into()),
                }
            }
        }
    };
}

reasons! {
    // Core specification, section 9.
    /// The payer holds too little of the asset.
    InsufficientFunds = "insufficient_funds",
    /// The network is not one that this role serves, or is no network.
    InvalidNetwork = "invalid_network",
    /// The payment cannot be read.
    InvalidPayload = "invalid_payload",
    /// The requirements cannot be read, or cannot be met by any payment.
    InvalidPaymentRequirements = "invalid_payment_requirements",
    /// The scheme of the payment is not the scheme of the requirements.
    InvalidScheme = "invalid_scheme",
    /// No such scheme on this network here.
    UnsupportedScheme = "unsupported_scheme",
    /// The protocol version is neither 1 nor 2.
    InvalidX402Version = "invalid_x402_version",
    /// The transaction was mined and failed.
    InvalidTransactionState = "invalid_transaction_state",
    /// Verification could not be completed.
    UnexpectedVerifyError = "unexpected_verify_error",
    /// Settlement could not be completed.
    UnexpectedSettleError = "unexpected_settle_error",

    // The official SDKs' core.
    /// The payment left out or changed something that the server's extensions asked to be echoed.
    ExtensionEchoMismatch = "extension_echo_mismatch",
    /// The transaction was sent and its outcome is not known yet; ask again with the same payment.
    SettlementPending = "settlement_pending",
    /// The requirements ask for a payment flow that is not supported.
    UnsupportedPaymentFlow = "unsupported_payment_flow",
    /// The requirements ask for an asset transfer method that is not supported.
    UnsupportedAssetTransferMethod = "unsupported_asset_transfer_method",

    // Binding a payment to one request.
    /// The authorization has bought something already.
    PaymentAlreadyUsed = "payment_already_used",
    /// The authorization is being used by another request right now.
    PaymentInFlight = "payment_in_flight",
    /// The payment names another resource than the one asked for.
    ResourceMismatch = "resource_mismatch",
    /// The payment takes an offer that this resource does not make.
    NoMatchingRequirements = "No matching payment requirements",

    // What a facilitator asks of its callers.
    /// The caller showed no key, or one that is not known.
    Unauthorized = "unauthorized",
    /// The caller has used up what it is allowed for now.
    QuotaExceeded = "quota_exceeded",

    // `exact` on EVM chains.
    /// The asset's address holds no contract.
    AssetNotDeployedContract = "asset_not_deployed_contract",
    /// The smart wallet's factory is not on the allow-list.
    Eip6492FactoryNotAllowed = "eip6492_factory_not_allowed",
    /// The token has no EIP-3009.
    InvalidExactEvmEip3009NotSupported = "invalid_exact_evm_eip3009_not_supported",
    /// The signature cannot be read.
    InvalidExactEvmFailedToParseSignature = "invalid_exact_evm_failed_to_parse_signature",
    /// The payer holds too little of the asset.
    InvalidExactEvmInsufficientBalance = "invalid_exact_evm_insufficient_balance",
    /// `extra.name` or `extra.version` is missing.
    InvalidExactEvmMissingEip712Domain = "invalid_exact_evm_missing_eip712_domain",
    /// The payment is for another network than the requirements.
    InvalidExactEvmNetworkMismatch = "invalid_exact_evm_network_mismatch",
    /// The authorization's nonce was used or cancelled on chain.
    InvalidExactEvmNonceAlreadyUsed = "invalid_exact_evm_nonce_already_used",
    /// The authorization is not valid yet.
    InvalidExactEvmPayloadAuthorizationValidAfter = "invalid_exact_evm_payload_authorization_valid_after",
    /// The authorization has expired, or would before it could settle.
    InvalidExactEvmPayloadAuthorizationValidBefore = "invalid_exact_evm_payload_authorization_valid_before",
    /// The authorized value is not the amount asked for.
    InvalidExactEvmPayloadAuthorizationValueMismatch = "invalid_exact_evm_payload_authorization_value_mismatch",
    /// The payer is a contract, or is to become one, and this facilitator cannot check its signature.
    InvalidExactEvmPayloadUndeployedSmartWallet = "invalid_exact_evm_payload_undeployed_smart_wallet",
    /// The authorization pays somebody else.
    InvalidExactEvmRecipientMismatch = "invalid_exact_evm_recipient_mismatch",
    /// The scheme is not `exact`.
    InvalidExactEvmScheme = "invalid_exact_evm_scheme",
    /// The signature is not the payer's.
    InvalidExactEvmSignature = "invalid_exact_evm_signature",
    /// `extra.name` is not the token's name.
    InvalidExactEvmTokenNameMismatch = "invalid_exact_evm_token_name_mismatch",
    /// `extra.version` is not the token's version.
    InvalidExactEvmTokenVersionMismatch = "invalid_exact_evm_token_version_mismatch",
    /// The transaction was refused or reverted.
    InvalidExactEvmTransactionFailed = "invalid_exact_evm_transaction_failed",
    /// The transfer reverts when simulated.
    InvalidExactEvmTransactionSimulationFailed = "invalid_exact_evm_transaction_simulation_failed",
    /// The transaction succeeded without the transfer that it should have made.
    InvalidExactEvmTransferEventMismatch = "invalid_exact_evm_transfer_event_mismatch",
    /// The scheme does not know this kind of payload.
    UnsupportedPayloadType = "unsupported_payload_type",
}

impl FromStr for Reason {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::from(text))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<'de, str>::deserialize(deserializer).map(|text| Self::from(&*text))
    }
}

/// A [`Reason`] with the sentence that explains it to a person: field, expected, got, what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct Refusal {
    /// The protocol's string.
    pub reason: Reason,
    /// The human explanation. It never carries keys, signatures, payment headers or node addresses.
    pub message: String,
}

impl Refusal {
    /// A reason with its explanation.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    /// A field that is not what was expected.
    pub fn mismatch(reason: Reason, field: &str, expected: impl fmt::Display, got: impl fmt::Display) -> Self {
        Self { reason, message: format!("{field}: expected {expected}, got {got}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_survives_its_string() {
        for reason in Reason::ALL {
            assert_eq!(&Reason::from(reason.as_str()), reason);
        }
        assert_eq!(Reason::from("brand_new").as_str(), "brand_new");
    }
}
