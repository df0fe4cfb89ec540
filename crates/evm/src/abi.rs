//! The contract interfaces that payments use, and how a revert is read.

use alloy_primitives::{Address, address};
use alloy_sol_types::{Panic, Revert, SolError};

pub use contracts::{
    ContractAccount, Eip2612Permit, ExactProxy, Multicall3, Permit2, PermitTransferFrom, ProbeContract, Token,
    TokenPermissions, UptoProxy,
};

/// Multicall3, at the same address on nearly every chain.
pub const MULTICALL3: Address = address!("0xcA11bde05977b3631167028862bE2a173976CA11");

/// The most gas that a byte of a transaction's data costs.
pub const MAX_DATA_BYTE_GAS_UNITS: u64 = 16;

const MAX_REVERT_CHARS: usize = 200;
const SELECTOR_BYTES: usize = 4;

mod contracts {
    alloy_sol_types::sol! {
        /// A dollar token with EIP-3009.
        #[derive(Debug)]
        interface Token {
            event Transfer(address indexed from, address indexed to, uint256 value);
            event AuthorizationUsed(address indexed authorizer, bytes32 indexed nonce);
            event AuthorizationCanceled(address indexed authorizer, bytes32 indexed nonce);

            function name() external view returns (string);
            function version() external view returns (string);
            function balanceOf(address account) external view returns (uint256);
            function allowance(address owner, address spender) external view returns (uint256);
            function approve(address spender, uint256 value) external returns (bool);
            function nonces(address owner) external view returns (uint256);
            function authorizationState(address authorizer, bytes32 nonce) external view returns (bool);
            function transferWithAuthorization(
                address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce,
                uint8 v, bytes32 r, bytes32 s
            ) external;
            function transferWithAuthorization(
                address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce,
                bytes signature
            ) external;
        }

        /// What the payer allows Permit2 to move.
        #[derive(Debug)]
        struct TokenPermissions { address token; uint256 amount; }

        /// Such a permission, once and until a moment.
        #[derive(Debug)]
        struct PermitTransferFrom { TokenPermissions permitted; uint256 nonce; uint256 deadline; }

        /// An EIP-2612 permit for Permit2, as the proxies take it.
        #[derive(Debug)]
        struct Eip2612Permit { uint256 value; uint256 deadline; bytes32 r; bytes32 s; uint8 v; }

        /// The part of Permit2 that payments use.
        #[derive(Debug)]
        interface Permit2 {
            event UnorderedNonceInvalidation(address indexed owner, uint256 word, uint256 mask);

            error SignatureExpired(uint256 signatureDeadline);
            error InvalidAmount(uint256 maxAmount);
            error InvalidNonce();
            error InvalidSignatureLength();
            error InvalidSignature();
            error InvalidSigner();
            error InvalidContractSignature();

            function nonceBitmap(address owner, uint256 word) external view returns (uint256);
        }

        /// x402's proxy for the scheme `exact`: the whole permitted amount, by whoever calls it.
        #[derive(Debug)]
        interface ExactProxy {
            struct Witness { address to; uint256 validAfter; }

            event Settled();
            event SettledWithPermit();

            error InvalidPermit2Address();
            error InvalidDestination();
            error PaymentTooEarly();
            error InvalidOwner();
            error InvalidAmount();
            error Permit2612AmountMismatch();

            function PERMIT2() external view returns (address);
            function settle(PermitTransferFrom calldata permit, address owner, Witness calldata witness, bytes calldata signature)
                external;
            function settleWithPermit(
                Eip2612Permit calldata permit2612, PermitTransferFrom calldata permit, address owner, Witness calldata witness,
                bytes calldata signature
            ) external;
        }

        /// x402's proxy for the scheme `upto`: as much of the permitted amount as the named facilitator says.
        #[derive(Debug)]
        interface UptoProxy {
            struct Witness { address to; address facilitator; uint256 validAfter; }

            error AmountExceedsPermitted();
            error UnauthorizedFacilitator();

            function settle(
                PermitTransferFrom calldata permit, uint256 amount, address owner, Witness calldata witness,
                bytes calldata signature
            ) external;
            function settleWithPermit(
                Eip2612Permit calldata permit2612, PermitTransferFrom calldata permit, uint256 amount, address owner,
                Witness calldata witness, bytes calldata signature
            ) external;
        }

        /// An account that is a contract (ERC-1271).
        #[derive(Debug)]
        interface ContractAccount {
            function isValidSignature(bytes32 hash, bytes calldata signature) external view returns (bytes4);
        }

        /// Many calls in one.
        #[derive(Debug)]
        interface Multicall3 {
            struct Call3 { address target; bool allowFailure; bytes callData; }
            struct Result { bool success; bytes returnData; }
            function aggregate3(Call3[] calldata calls) external payable returns (Result[] memory returnData);
        }

        /// `contracts/Probe.sol`: many questions in one call, none of which disturbs another.
        #[derive(Debug)]
        interface ProbeContract {
            struct Call { address to; bytes data; }
            struct Group { address account; bool ordinaryOnly; Call[] calls; }
            struct Result { uint8 outcome; bytes data; }
            struct Report { uint256 codeSize; bytes results; }
            function observe(Group[] calldata groups, uint256 gasPerCall, uint256 maxBytes)
                external returns (uint256 height, uint256 timestamp, Report[] memory reports);
        }
    }
}

/// A revert in words, from the bytes that a contract reverted with: `Error(string)`, a panic, or the selector of an
/// error that is not known here. Whatever the contract says is cut short and stripped of control characters.
pub fn revert_reason(data: &[u8]) -> String {
    if data.is_empty() {
        return "it reverted without a reason".to_owned();
    }
    if let Ok(revert) = Revert::abi_decode(data) {
        return plain(&revert.reason);
    }
    if let Ok(panic) = Panic::abi_decode(data) {
        return format!("it panicked with code {}", panic.code);
    }
    match data.first_chunk::<SELECTOR_BYTES>() {
        Some(selector) => format!("it reverted with the error {}", alloy_primitives::hex::encode_prefixed(selector)),
        None => "it reverted without a reason".to_owned(),
    }
}

/// A contract's or node's words, safe to show.
pub(crate) fn plain(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(MAX_REVERT_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_sol_types::SolCall;

    #[test]
    fn selectors_are_those_of_usdc() {
        assert_eq!(Token::transferWithAuthorization_0Call::SELECTOR, [0xe3, 0xee, 0x16, 0x0e]);
        assert_eq!(Token::transferWithAuthorization_1Call::SELECTOR, [0xcf, 0x09, 0x29, 0x95]);
        assert_eq!(Multicall3::aggregate3Call::SELECTOR, [0x82, 0xad, 0x56, 0xcb]);
    }

    #[test]
    fn a_revert_is_read_in_words() {
        let error = Revert::from("FiatTokenV2: invalid signature".to_owned()).abi_encode();
        assert_eq!(revert_reason(&error), "FiatTokenV2: invalid signature");
        assert_eq!(revert_reason(&[]), "it reverted without a reason");
        assert_eq!(revert_reason(&[1, 2, 3, 4, 5]), "it reverted with the error 0x01020304");
        let hostile = Revert::from(format!("a\u{1b}[31m\n{}", "x".repeat(10_000))).abi_encode();
        let words = revert_reason(&hostile);
        assert!(words.starts_with("a[31mx") && words.len() <= MAX_REVERT_CHARS);
        assert_eq!(revert_reason(&hostile[..60]), "it reverted with the error 0x08c379a0");
    }
}
