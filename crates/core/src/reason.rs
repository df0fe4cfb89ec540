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

    // The extension `sign-in-with-x`.
    /// The sign-in is for another host.
    InvalidSiwxDomainMismatch = "invalid_siwx_domain_mismatch",
    /// The sign-in is for another origin, or its `uri` is none.
    InvalidSiwxUriMismatch = "invalid_siwx_uri_mismatch",
    /// The sign-in does not say when it was issued.
    InvalidSiwxIssuedAt = "invalid_siwx_issued_at",
    /// The sign-in was issued too long ago.
    InvalidSiwxIssuedAtTooOld = "invalid_siwx_issued_at_too_old",
    /// The sign-in was issued in the future.
    InvalidSiwxIssuedAtInFuture = "invalid_siwx_issued_at_in_future",
    /// The sign-in's expiry is no moment.
    InvalidSiwxExpirationTime = "invalid_siwx_expiration_time",
    /// The sign-in has expired.
    InvalidSiwxExpired = "invalid_siwx_expired",
    /// The moment from which the sign-in is valid is none.
    InvalidSiwxNotBefore = "invalid_siwx_not_before",
    /// The sign-in is not valid yet.
    InvalidSiwxNotYetValid = "invalid_siwx_not_yet_valid",
    /// The sign-in's nonce was used before, or is none.
    InvalidSiwxNonce = "invalid_siwx_nonce",
    /// The signature is not the account's over this sign-in.
    InvalidSiwxSignature = "invalid_siwx_signature",
    /// The sign-in's chain is no network.
    InvalidSiwxChainId = "invalid_siwx_chain_id",
    /// Accounts of that chain can't sign in here.
    InvalidSiwxUnsupportedChain = "invalid_siwx_unsupported_chain",
    /// The signature, or the account, cannot be read.
    InvalidSiwxMalformedSignature = "invalid_siwx_malformed_signature",
    /// The signature could not be checked.
    InvalidSiwxVerifierError = "invalid_siwx_verifier_error",

    // Binding a payment to one request.
    /// The authorization has bought something already.
    PaymentAlreadyUsed = "payment_already_used",
    /// The authorization is being used by another request right now.
    PaymentInFlight = "payment_in_flight",
    /// The payment expired so long ago that nobody remembers what it bought.
    PaymentExpired = "payment_expired",
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
    /// The authorized value is not the amount asked for; an older name.
    InvalidExactEvmAuthorizationValue = "invalid_exact_evm_authorization_value",
    /// The authorization's nonce was used or cancelled on chain.
    InvalidExactEvmNonceAlreadyUsed = "invalid_exact_evm_nonce_already_used",
    /// The authorization is not valid yet.
    InvalidExactEvmPayloadAuthorizationValidAfter = "invalid_exact_evm_payload_authorization_valid_after",
    /// The authorization has expired, or would before it could settle.
    InvalidExactEvmPayloadAuthorizationValidBefore = "invalid_exact_evm_payload_authorization_valid_before",
    /// The authorized value is not the amount asked for.
    InvalidExactEvmPayloadAuthorizationValueMismatch = "invalid_exact_evm_payload_authorization_value_mismatch",
    /// The authorization pays somebody else; the specification's name.
    InvalidExactEvmPayloadRecipientMismatch = "invalid_exact_evm_payload_recipient_mismatch",
    /// The signature is not the payer's; the specification's name.
    InvalidExactEvmPayloadSignature = "invalid_exact_evm_payload_signature",
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
    /// The smart wallet of the payer could not be created.
    SmartWalletDeploymentFailed = "smart_wallet_deployment_failed",

    // Permit2 on EVM chains, for `exact` and `upto`.
    /// The payer lets somebody else than x402's proxy move the money.
    InvalidPermit2Spender = "invalid_permit2_spender",
    /// The payment is to somebody else.
    InvalidPermit2RecipientMismatch = "invalid_permit2_recipient_mismatch",
    /// The signature is not the payer's.
    InvalidPermit2Signature = "invalid_permit2_signature",
    /// The payment has expired, or would before it could settle.
    Permit2DeadlineExpired = "permit2_deadline_expired",
    /// The payment is not valid yet.
    Permit2NotYetValid = "permit2_not_yet_valid",
    /// The permitted amount is not the one asked for.
    Permit2AmountMismatch = "permit2_amount_mismatch",
    /// The permitted token is not the one asked for.
    Permit2TokenMismatch = "permit2_token_mismatch",
    /// x402's proxy is not on this network.
    Permit2ProxyNotDeployed = "permit2_proxy_not_deployed",
    /// The payer holds too little of the asset.
    Permit2InsufficientBalance = "permit2_insufficient_balance",
    /// The payer has to approve Permit2 for the asset first.
    Permit2AllowanceRequired = "permit2_allowance_required",
    /// The transfer reverts when simulated, or would pay too little.
    Permit2SimulationFailed = "permit2_simulation_failed",
    /// The EIP-2612 permit is for another amount than the payment.
    Permit22612AmountMismatch = "permit2_2612_amount_mismatch",
    /// The contract refused the amount.
    Permit2InvalidAmount = "permit2_invalid_amount",
    /// The contract refused the recipient.
    Permit2InvalidDestination = "permit2_invalid_destination",
    /// The contract refused the payer.
    Permit2InvalidOwner = "permit2_invalid_owner",
    /// The contract says that the payment is not valid yet.
    Permit2PaymentTooEarly = "permit2_payment_too_early",
    /// The payment's nonce was used or made void on chain.
    Permit2InvalidNonce = "permit2_invalid_nonce",

    // Gas sponsoring on EVM chains.
    /// The extension `eip2612GasSponsoring` cannot be read.
    InvalidEip2612ExtensionFormat = "invalid_eip2612_extension_format",
    /// The permit is somebody else's.
    Eip2612FromMismatch = "eip2612_from_mismatch",
    /// The permit is for another token.
    Eip2612AssetMismatch = "eip2612_asset_mismatch",
    /// The permit is not for Permit2.
    Eip2612SpenderNotPermit2 = "eip2612_spender_not_permit2",
    /// The permit has expired, or would before it could be used.
    Eip2612DeadlineExpired = "eip2612_deadline_expired",
    /// The extension `erc20ApprovalGasSponsoring` cannot be read.
    InvalidErc20ApprovalExtensionFormat = "invalid_erc20_approval_extension_format",
    /// The approval is somebody else's.
    Erc20ApprovalFromMismatch = "erc20_approval_from_mismatch",
    /// The approval is for another token.
    Erc20ApprovalAssetMismatch = "erc20_approval_asset_mismatch",
    /// The approval is not for Permit2.
    Erc20ApprovalSpenderNotPermit2 = "erc20_approval_spender_not_permit2",
    /// The approval's transaction cannot be read, or is not one that is broadcast here.
    Erc20ApprovalTxParseFailed = "erc20_approval_tx_parse_failed",
    /// The approval's transaction calls another contract than the token.
    Erc20ApprovalTxWrongTarget = "erc20_approval_tx_wrong_target",
    /// The approval's transaction calls something else than `approve`.
    Erc20ApprovalTxWrongSelector = "erc20_approval_tx_wrong_selector",
    /// The approval's transaction approves somebody else than Permit2.
    Erc20ApprovalTxWrongSpender = "erc20_approval_tx_wrong_spender",
    /// The approval's call cannot be read, or approves too little.
    Erc20ApprovalTxInvalidCalldata = "erc20_approval_tx_invalid_calldata",
    /// The approval's transaction is not the payer's.
    Erc20ApprovalTxSignerMismatch = "erc20_approval_tx_signer_mismatch",
    /// The approval's transaction has a signature that no key can have made.
    Erc20ApprovalTxInvalidSignature = "erc20_approval_tx_invalid_signature",
    /// The network did not take the approval's transaction.
    Erc20ApprovalBroadcastFailed = "erc20_approval_broadcast_failed",
    /// The approval's transaction was mined and failed.
    Erc20ApprovalTxFailed = "erc20_approval_tx_failed",

    // `upto` on EVM chains.
    /// The scheme is not `upto`.
    InvalidUptoEvmScheme = "invalid_upto_evm_scheme",
    /// The payment is for another network than the requirements.
    InvalidUptoEvmNetworkMismatch = "invalid_upto_evm_network_mismatch",
    /// The payer named another facilitator.
    UptoFacilitatorMismatch = "upto_facilitator_mismatch",
    /// More is charged than the payer permitted.
    InvalidUptoEvmPayloadSettlementExceedsAmount = "invalid_upto_evm_payload_settlement_exceeds_amount",
    /// The contract says that more is charged than the payer permitted.
    UptoAmountExceedsPermitted = "upto_amount_exceeds_permitted",
    /// The contract says that the sender is not the facilitator whom the payer named.
    UptoUnauthorizedFacilitator = "upto_unauthorized_facilitator",
    /// The transaction was refused or reverted.
    InvalidUptoEvmTransactionFailed = "invalid_upto_evm_transaction_failed",
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

    /// What the protocol lists for the schemes and extensions that are built here: specification §9, the official SDK's core,
    /// `exact` and `upto` on EVM chains with Permit2 and gas sponsoring, and `sign-in-with-x`.
    const LISTED: &str = "
        insufficient_funds invalid_exact_evm_payload_authorization_valid_after
        invalid_exact_evm_payload_authorization_valid_before invalid_exact_evm_payload_authorization_value_mismatch
        invalid_exact_evm_payload_signature invalid_exact_evm_payload_recipient_mismatch invalid_network invalid_payload
        invalid_payment_requirements invalid_scheme unsupported_scheme invalid_x402_version invalid_transaction_state
        unexpected_verify_error unexpected_settle_error

        extension_echo_mismatch settlement_pending unsupported_payment_flow unsupported_asset_transfer_method

        asset_not_deployed_contract eip2612_asset_mismatch eip2612_deadline_expired eip2612_from_mismatch
        eip2612_spender_not_permit2 eip6492_factory_not_allowed erc20_approval_asset_mismatch
        erc20_approval_broadcast_failed erc20_approval_from_mismatch erc20_approval_spender_not_permit2
        erc20_approval_tx_failed erc20_approval_tx_invalid_calldata erc20_approval_tx_invalid_signature
        erc20_approval_tx_parse_failed erc20_approval_tx_signer_mismatch erc20_approval_tx_wrong_selector
        erc20_approval_tx_wrong_spender erc20_approval_tx_wrong_target invalid_eip2612_extension_format
        invalid_erc20_approval_extension_format invalid_exact_evm_authorization_value
        invalid_exact_evm_eip3009_not_supported invalid_exact_evm_failed_to_parse_signature
        invalid_exact_evm_insufficient_balance invalid_exact_evm_missing_eip712_domain invalid_exact_evm_network_mismatch
        invalid_exact_evm_nonce_already_used invalid_exact_evm_payload_undeployed_smart_wallet
        invalid_exact_evm_recipient_mismatch invalid_exact_evm_scheme invalid_exact_evm_signature
        invalid_exact_evm_token_name_mismatch invalid_exact_evm_token_version_mismatch invalid_exact_evm_transaction_failed
        invalid_exact_evm_transaction_simulation_failed invalid_exact_evm_transfer_event_mismatch
        invalid_permit2_recipient_mismatch invalid_permit2_signature invalid_permit2_spender permit2_2612_amount_mismatch
        permit2_allowance_required permit2_amount_mismatch permit2_deadline_expired permit2_insufficient_balance
        permit2_invalid_amount permit2_invalid_destination permit2_invalid_nonce permit2_invalid_owner
        permit2_not_yet_valid permit2_payment_too_early permit2_proxy_not_deployed permit2_simulation_failed
        permit2_token_mismatch smart_wallet_deployment_failed unsupported_payload_type

        invalid_upto_evm_network_mismatch invalid_upto_evm_payload_settlement_exceeds_amount invalid_upto_evm_scheme
        invalid_upto_evm_transaction_failed upto_amount_exceeds_permitted upto_facilitator_mismatch
        upto_unauthorized_facilitator

        invalid_siwx_domain_mismatch invalid_siwx_uri_mismatch invalid_siwx_issued_at invalid_siwx_issued_at_too_old
        invalid_siwx_issued_at_in_future invalid_siwx_expiration_time invalid_siwx_expired invalid_siwx_not_before
        invalid_siwx_not_yet_valid invalid_siwx_nonce invalid_siwx_signature invalid_siwx_chain_id
        invalid_siwx_unsupported_chain invalid_siwx_malformed_signature invalid_siwx_verifier_error
    ";

    #[test]
    fn every_string_that_the_protocol_lists_is_a_reason_of_its_own() {
        let missing: Vec<_> =
            LISTED.split_whitespace().filter(|text| matches!(Reason::from(*text), Reason::Other(_))).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn no_two_reasons_share_a_string() {
        for (at, reason) in Reason::ALL.iter().enumerate() {
            assert!(!Reason::ALL[..at].iter().any(|other| other.as_str() == reason.as_str()), "{reason}");
        }
    }

    #[test]
    fn every_reason_survives_its_string() {
        for reason in Reason::ALL {
            assert_eq!(&Reason::from(reason.as_str()), reason);
        }
        assert_eq!(Reason::from("brand_new").as_str(), "brand_new");
    }
}
