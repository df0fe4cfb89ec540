//! Payments by Permit2, as clients sign them. The typed data is worked out by alloy from the structs below, so that the
//! contracts' own hashing is not what judges it.

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_sol_types::{Eip712Domain, SolCall, SolStruct, sol};
use farthing_devnet::{DevAccount, Devnet, PERMIT2, X402_EXACT_PERMIT2_PROXY, X402_UPTO_PERMIT2_PROXY};

use super::sign;

sol! {
    #[derive(Debug)]
    struct TokenPermissions { address token; uint256 amount; }
    #[derive(Debug)]
    struct PermitTransferFrom { TokenPermissions permitted; uint256 nonce; uint256 deadline; }
    struct SignatureTransferDetails { address to; uint256 requestedAmount; }
    #[derive(Debug)]
    struct EIP2612Permit { uint256 value; uint256 deadline; bytes32 r; bytes32 s; uint8 v; }
    struct Permit { address owner; address spender; uint256 value; uint256 nonce; uint256 deadline; }

    interface SignatureTransfer {
        event UnorderedNonceInvalidation(address indexed owner, uint256 word, uint256 mask);
        error SignatureExpired(uint256 signatureDeadline);
        error InvalidNonce();
        error InvalidAmount(uint256 maxAmount);
        error InvalidSignatureLength();
        error InvalidSignature();
        error InvalidSigner();
        error InvalidContractSignature();
        function DOMAIN_SEPARATOR() external view returns (bytes32);
        function nonceBitmap(address owner, uint256 word) external view returns (uint256);
        function invalidateUnorderedNonces(uint256 wordPos, uint256 mask) external;
        function permitTransferFrom(PermitTransferFrom permit, SignatureTransferDetails transferDetails, address owner, bytes signature) external;
    }
    interface Exact {
        #[derive(Debug)]
        struct Witness { address to; uint256 validAfter; }
        struct PermitWitnessTransferFrom { TokenPermissions permitted; address spender; uint256 nonce; uint256 deadline; Witness witness; }
        function settle(PermitTransferFrom permit, address owner, Witness witness, bytes signature) external;
        function settleWithPermit(EIP2612Permit permit2612, PermitTransferFrom permit, address owner, Witness witness, bytes signature) external;
    }
    interface Upto {
        #[derive(Debug)]
        struct Witness { address to; address facilitator; uint256 validAfter; }
        struct PermitWitnessTransferFrom { TokenPermissions permitted; address spender; uint256 nonce; uint256 deadline; Witness witness; }
        function settle(PermitTransferFrom permit, uint256 amount, address owner, Witness witness, bytes signature) external;
        function settleWithPermit(EIP2612Permit permit2612, PermitTransferFrom permit, uint256 amount, address owner, Witness witness, bytes signature) external;
    }
    interface Proxy {
        event Settled();
        event SettledWithPermit();
        event EIP2612PermitFailedWithReason(address indexed token, address indexed owner, string reason);
        event EIP2612PermitFailedWithPanic(address indexed token, address indexed owner, uint256 errorCode);
        event EIP2612PermitFailedWithData(address indexed token, address indexed owner, bytes data);
        error InvalidAmount();
        error InvalidDestination();
        error InvalidOwner();
        error PaymentTooEarly();
        error Permit2612AmountMismatch();
        error ReentrancyGuardReentrantCall();
        error AmountExceedsPermitted();
        error UnauthorizedFacilitator();
        function PERMIT2() external view returns (address);
        function WITNESS_TYPEHASH() external view returns (bytes32);
        function WITNESS_TYPE_STRING() external view returns (string);
    }
}

/// The domain has no version.
pub fn permit2_domain(chain_id: u64) -> Eip712Domain {
    Eip712Domain::new(Some("Permit2".into()), None, Some(U256::from(chain_id)), Some(PERMIT2), None)
}

/// A payment of the scheme `exact` (`facilitator` is none) or `upto`.
#[derive(Debug, Clone)]
pub struct Payment {
    pub owner: Address,
    pub token: Address,
    pub amount: U256,
    pub nonce: U256,
    pub deadline: U256,
    pub to: Address,
    pub valid_after: U256,
    pub facilitator: Option<Address>,
    pub signature: Bytes,
}

impl Payment {
    /// Unsigned, valid for ten minutes.
    pub fn new(devnet: &Devnet, owner: Address, token: Address, to: Address, amount: u64) -> Self {
        Self {
            owner,
            token,
            amount: U256::from(amount),
            nonce: U256::from(7),
            deadline: U256::from(devnet.now() + 600),
            to,
            valid_after: U256::ZERO,
            facilitator: None,
            signature: Bytes::new(),
        }
    }

    pub fn signed(mut self, devnet: &Devnet, key: &DevAccount) -> Self {
        self.signature = sign(key, self.digest(devnet)).as_bytes().into();
        self
    }

    pub fn digest(&self, devnet: &Devnet) -> B256 {
        let domain = permit2_domain(devnet.chain_id());
        let Self { nonce, deadline, to, valid_after, .. } = self.clone();
        let permitted = self.permit().permitted;
        match self.facilitator {
            None => Exact::PermitWitnessTransferFrom {
                permitted,
                spender: self.proxy(),
                nonce,
                deadline,
                witness: Exact::Witness { to, validAfter: valid_after },
            }
            .eip712_signing_hash(&domain),
            Some(facilitator) => Upto::PermitWitnessTransferFrom {
                permitted,
                spender: self.proxy(),
                nonce,
                deadline,
                witness: Upto::Witness { to, facilitator, validAfter: valid_after },
            }
            .eip712_signing_hash(&domain),
        }
    }

    pub fn proxy(&self) -> Address {
        if self.facilitator.is_some() { X402_UPTO_PERMIT2_PROXY } else { X402_EXACT_PERMIT2_PROXY }
    }

    pub fn permit(&self) -> PermitTransferFrom {
        PermitTransferFrom {
            permitted: TokenPermissions { token: self.token, amount: self.amount },
            nonce: self.nonce,
            deadline: self.deadline,
        }
    }

    /// The call of `settle` for the whole amount.
    pub fn settle(&self) -> Vec<u8> {
        self.settle_part(self.amount)
    }

    /// The call of `settle`; only `upto` has an amount of its own.
    pub fn settle_part(&self, amount: U256) -> Vec<u8> {
        let Self { owner, to, valid_after, signature, .. } = self.clone();
        let permit = self.permit();
        match self.facilitator {
            None => {
                let witness = Exact::Witness { to, validAfter: valid_after };
                Exact::settleCall { permit, owner, witness, signature }.abi_encode()
            }
            Some(facilitator) => {
                let witness = Upto::Witness { to, facilitator, validAfter: valid_after };
                Upto::settleCall { permit, amount, owner, witness, signature }.abi_encode()
            }
        }
    }

    /// The call of `settleWithPermit` for the whole amount.
    pub fn settle_with(&self, permit2612: EIP2612Permit) -> Vec<u8> {
        let Self { owner, to, valid_after, signature, amount, .. } = self.clone();
        let permit = self.permit();
        match self.facilitator {
            None => {
                let witness = Exact::Witness { to, validAfter: valid_after };
                Exact::settleWithPermitCall { permit2612, permit, owner, witness, signature }.abi_encode()
            }
            Some(facilitator) => {
                let witness = Upto::Witness { to, facilitator, validAfter: valid_after };
                Upto::settleWithPermitCall { permit2612, permit, amount, owner, witness, signature }.abi_encode()
            }
        }
    }
}

/// An EIP-2612 permit for Permit2, of a token with this domain.
pub fn permit2612(key: &DevAccount, domain: &Eip712Domain, value: u64, nonce: u64, deadline: U256) -> EIP2612Permit {
    let value = U256::from(value);
    let message = Permit { owner: key.address, spender: PERMIT2, value, nonce: U256::from(nonce), deadline };
    let signature = sign(key, message.eip712_signing_hash(domain));
    let v = 27 + u8::from(signature.v());
    EIP2612Permit { value, deadline, r: signature.r().into(), s: signature.s().into(), v }
}

/// The domain of USDC on Base Sepolia, or of a token of the chain's own.
pub fn token_domain(devnet: &Devnet, token: Address, name: &'static str, version: &'static str) -> Eip712Domain {
    Eip712Domain::new(Some(name.into()), Some(version.into()), Some(U256::from(devnet.chain_id())), Some(token), None)
}
