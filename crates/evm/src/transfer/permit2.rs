//! Permit2: a contract that moves any token by its owner's signature, once the owner has approved it for that token
//! (protocol reference §6.1.2, §6.4).
//!
//! The spender whom the payer names is one of x402's proxies, which hands the money to the recipient in the witness and to
//! nobody else. Anybody may call the one of `exact`; the one of `upto` takes calls of the facilitator in the witness only.

use std::fmt;

use alloy_primitives::{Address, B256, Bytes, U256, address, b256};
use alloy_sol_types::{SolCall, SolError};
use farthing_core::reason::Reason;
use serde::{Deserialize, Serialize};

use super::eip2612::ProxyPermit;
use super::{hash_words, typed_data_hash};
use crate::abi::{ExactProxy, Permit2, PermitTransferFrom, TokenPermissions, UptoProxy};
use crate::text;

/// Permit2, at the same address on every chain.
pub const PERMIT2: Address = address!("0x000000000022D473030F116dDEE9F6B43aC78BA3");
/// x402's proxy for `exact`, at the same address on every chain.
pub const EXACT_PROXY: Address = address!("0x402085c248EeA27D92E8b30b2C58ed07f9E20001");
/// x402's proxy for `upto`, at the same address on every chain.
pub const UPTO_PROXY: Address = address!("0x4020A4f3b7b90ccA423B9fabCc0CE57C6C240002");

/// keccak256("EIP712Domain(string name,uint256 chainId,address verifyingContract)")
const DOMAIN_TYPE_HASH: B256 = b256!("0x8cad95687ba82c2ce50e74f7b754645e5117c3a5bec8151c0726d5857980a866");
/// keccak256("Permit2")
const NAME_HASH: B256 = b256!("0x9ac997416e8ff9d2ff6bebeb7149f65cdae5e32e2b90440b566bb3044041d36a");
/// keccak256("TokenPermissions(address token,uint256 amount)")
const PERMISSIONS_TYPE_HASH: B256 = b256!("0x618358ac3db8dc274f0cd8829da7e234bd48cd73c4a740aede1adec9846d06a1");
/// keccak256("Witness(address to,uint256 validAfter)")
const EXACT_WITNESS_TYPE_HASH: B256 = b256!("0xd97b3239a7f32295517bd14cb074edfdd188dfe5eb42f802bb26d4fd1eb12c37");
/// keccak256("Witness(address to,address facilitator,uint256 validAfter)")
const UPTO_WITNESS_TYPE_HASH: B256 = b256!("0xd4171c445a74218b01d4fd8af34ff1106580ea1e36ff837e64484bfaa2253b75");
/// keccak256 of [`TRANSFER_TYPE`] and the types that it refers to, with the witness of `exact`.
const EXACT_TRANSFER_TYPE_HASH: B256 = b256!("0xebc156cd23678a74c94df13d772ef5478420637f0c94bd10d509e1dc98f521c7");
/// The same with the witness of `upto`.
const UPTO_TRANSFER_TYPE_HASH: B256 = b256!("0x51dff6974ad4388c499e7fcfe838d2bd767162553a144098ce20ea661d70c2ee");

/// What the payer signs: let `spender` move `permitted` from `from`, once, until the deadline, to whom the witness says.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Authorization {
    /// Who pays.
    #[serde(with = "text::address")]
    pub from: Address,
    /// What may be moved.
    pub permitted: Permitted,
    /// Who may ask Permit2 for it: one of the proxies.
    #[serde(with = "text::address")]
    pub spender: Address,
    /// A number that the payer uses once, in no order.
    #[serde(with = "text::decimal")]
    pub nonce: U256,
    /// Valid until this moment, which still counts, in seconds since 1970.
    #[serde(with = "text::decimal")]
    pub deadline: U256,
    /// What the proxy holds itself to.
    pub witness: Witness,
}

/// So much of this token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permitted {
    /// The token's contract.
    #[serde(with = "text::address")]
    pub token: Address,
    /// How much at most, in atomic units.
    #[serde(with = "text::decimal")]
    pub amount: U256,
}

/// What a proxy holds itself to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Witness {
    /// Who is paid.
    #[serde(with = "text::address")]
    pub to: Address,
    /// Who alone may call the proxy, and says how much is taken: only with `upto`.
    #[serde(default, with = "text::optional_address", skip_serializing_if = "Option::is_none")]
    pub facilitator: Option<Address>,
    /// Valid from this moment on, in seconds since 1970.
    #[serde(with = "text::decimal")]
    pub valid_after: U256,
}

impl Authorization {
    /// The hash that the payer signs; Permit2's domain has no version.
    pub fn digest(&self, chain_id: u64) -> B256 {
        let domain = hash_words([DOMAIN_TYPE_HASH, NAME_HASH, U256::from(chain_id).into(), PERMIT2.into_word()]);
        let permitted = hash_words([PERMISSIONS_TYPE_HASH, self.permitted.token.into_word(), self.permitted.amount.into()]);
        let (to, valid_after) = (self.witness.to.into_word(), self.witness.valid_after.into());
        let (type_hash, witness) = match self.witness.facilitator {
            None => (EXACT_TRANSFER_TYPE_HASH, hash_words([EXACT_WITNESS_TYPE_HASH, to, valid_after])),
            Some(facilitator) => {
                let witness = hash_words([UPTO_WITNESS_TYPE_HASH, to, facilitator.into_word(), valid_after]);
                (UPTO_TRANSFER_TYPE_HASH, witness)
            }
        };
        let words = [type_hash, permitted, self.spender.into_word(), self.nonce.into(), self.deadline.into(), witness];
        typed_data_hash(domain, hash_words(words))
    }

    /// The call of the proxy that moves the money: all of it with `exact`, so much with `upto`. With a permit, it lets
    /// Permit2 move the token before that.
    pub fn calldata(&self, amount: U256, signature: &[u8], permit: Option<&ProxyPermit>) -> Vec<u8> {
        let transfer = PermitTransferFrom {
            permitted: TokenPermissions { token: self.permitted.token, amount: self.permitted.amount },
            nonce: self.nonce,
            deadline: self.deadline,
        };
        let (owner, signature) = (self.from, Bytes::copy_from_slice(signature));
        let (to, valid_after) = (self.witness.to, self.witness.valid_after);
        match (self.witness.facilitator, permit) {
            (None, None) => {
                let witness = ExactProxy::Witness { to, validAfter: valid_after };
                ExactProxy::settleCall { permit: transfer, owner, witness, signature }.abi_encode()
            }
            (None, Some(permit)) => {
                let witness = ExactProxy::Witness { to, validAfter: valid_after };
                let permit2612 = permit.to_abi();
                ExactProxy::settleWithPermitCall { permit2612, permit: transfer, owner, witness, signature }.abi_encode()
            }
            (Some(facilitator), None) => {
                let witness = UptoProxy::Witness { to, facilitator, validAfter: valid_after };
                UptoProxy::settleCall { permit: transfer, amount, owner, witness, signature }.abi_encode()
            }
            (Some(facilitator), Some(permit)) => {
                let witness = UptoProxy::Witness { to, facilitator, validAfter: valid_after };
                let permit2612 = permit.to_abi();
                UptoProxy::settleWithPermitCall { permit2612, permit: transfer, amount, owner, witness, signature }.abi_encode()
            }
        }
    }
}

/// The word of Permit2's map that holds a nonce, and the nonce's bit in it.
pub fn nonce_place(nonce: U256) -> (U256, U256) {
    (nonce >> 8, U256::ONE << (nonce & U256::from(0xff)))
}

/// One payment that a call of a proxy carries out, if the call succeeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carried {
    /// The proxy.
    pub proxy: Address,
    /// Who pays.
    pub owner: Address,
    /// In what.
    pub token: Address,
    /// Who is paid.
    pub to: Address,
    /// How much.
    pub amount: U256,
    /// The payer's number for it.
    pub nonce: U256,
}

impl Carried {
    /// What a call of this contract carries out; none if it is no settlement by a proxy.
    pub fn by_call(to: Address, data: &[u8]) -> Option<Self> {
        let carried = |permit: &PermitTransferFrom, owner, recipient, amount| Self {
            proxy: to,
            owner,
            token: permit.permitted.token,
            to: recipient,
            amount,
            nonce: permit.nonce,
        };
        match to {
            EXACT_PROXY => {
                if let Ok(call) = ExactProxy::settleCall::abi_decode(data) {
                    return Some(carried(&call.permit, call.owner, call.witness.to, call.permit.permitted.amount));
                }
                let call = ExactProxy::settleWithPermitCall::abi_decode(data).ok()?;
                Some(carried(&call.permit, call.owner, call.witness.to, call.permit.permitted.amount))
            }
            UPTO_PROXY => {
                if let Ok(call) = UptoProxy::settleCall::abi_decode(data) {
                    return Some(carried(&call.permit, call.owner, call.witness.to, call.amount));
                }
                let call = UptoProxy::settleWithPermitCall::abi_decode(data).ok()?;
                Some(carried(&call.permit, call.owner, call.witness.to, call.amount))
            }
            _ => None,
        }
    }
}

/// What an error of a proxy or of Permit2 means, by its selector; none for errors of others.
pub fn reason_of(selector: [u8; 4]) -> Option<Reason> {
    Some(match selector {
        ExactProxy::Permit2612AmountMismatch::SELECTOR => Reason::Permit22612AmountMismatch,
        ExactProxy::InvalidAmount::SELECTOR | Permit2::InvalidAmount::SELECTOR => Reason::Permit2InvalidAmount,
        ExactProxy::InvalidDestination::SELECTOR => Reason::Permit2InvalidDestination,
        ExactProxy::InvalidOwner::SELECTOR => Reason::Permit2InvalidOwner,
        ExactProxy::PaymentTooEarly::SELECTOR => Reason::Permit2PaymentTooEarly,
        Permit2::InvalidSignature::SELECTOR
        | Permit2::InvalidSigner::SELECTOR
        | Permit2::InvalidSignatureLength::SELECTOR
        | Permit2::InvalidContractSignature::SELECTOR
        | Permit2::SignatureExpired::SELECTOR => Reason::InvalidPermit2Signature,
        Permit2::InvalidNonce::SELECTOR => Reason::Permit2InvalidNonce,
        UptoProxy::AmountExceedsPermitted::SELECTOR => Reason::UptoAmountExceedsPermitted,
        UptoProxy::UnauthorizedFacilitator::SELECTOR => Reason::UptoUnauthorizedFacilitator,
        _ => return None,
    })
}

impl fmt::Debug for Authorization {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, permitted, deadline, witness, .. } = self;
        write!(formatter, "Permit2Authorization({from} to {}: {} until {deadline})", witness.to, permitted.amount)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::keccak256;
    use farthing_testkit::golden;

    fn golden_authorization(facilitator: Option<Address>) -> Authorization {
        Authorization {
            from: golden::PAYER.parse().unwrap(),
            permitted: Permitted { token: golden::ASSET.parse().unwrap(), amount: U256::from(golden::AMOUNT) },
            spender: if facilitator.is_some() { UPTO_PROXY } else { EXACT_PROXY },
            nonce: U256::from(golden::permit2::NONCE),
            deadline: U256::from(golden::VALID_BEFORE),
            witness: Witness { to: golden::PAY_TO.parse().unwrap(), facilitator, valid_after: U256::ZERO },
        }
    }

    fn second() -> Address {
        golden::SECOND.parse().unwrap()
    }

    #[test]
    fn digests_are_those_of_the_official_sdk() {
        let digest = |facilitator| golden_authorization(facilitator).digest(golden::CHAIN_ID).to_string();
        assert_eq!(digest(None), golden::permit2::EXACT_DIGEST);
        assert_eq!(digest(Some(second())), golden::permit2::UPTO_DIGEST);
    }

    #[test]
    fn type_hashes_are_those_of_their_texts() {
        let transfer = |witness: &str| {
            let transfer = "PermitWitnessTransferFrom(TokenPermissions permitted,address spender,uint256 nonce,uint256 deadline,Witness witness)";
            keccak256(format!("{transfer}TokenPermissions(address token,uint256 amount){witness}"))
        };
        let (exact, upto) =
            ("Witness(address to,uint256 validAfter)", "Witness(address to,address facilitator,uint256 validAfter)");
        assert_eq!(transfer(exact), EXACT_TRANSFER_TYPE_HASH);
        assert_eq!(transfer(upto), UPTO_TRANSFER_TYPE_HASH);
        assert_eq!(keccak256(exact), EXACT_WITNESS_TYPE_HASH);
        assert_eq!(keccak256(upto), UPTO_WITNESS_TYPE_HASH);
        assert_eq!(keccak256("Permit2"), NAME_HASH);
        assert_eq!(keccak256("EIP712Domain(string name,uint256 chainId,address verifyingContract)"), DOMAIN_TYPE_HASH);
    }

    #[test]
    fn a_call_tells_what_it_carries() {
        let permit = ProxyPermit::for_tests();
        for (facilitator, amount) in [(None, golden::AMOUNT), (Some(second()), 7)] {
            let authorization = golden_authorization(facilitator);
            for permit in [None, Some(&permit)] {
                let data = authorization.calldata(U256::from(7), &[1, 2, 3], permit);
                let carried = Carried::by_call(authorization.spender, &data).unwrap();
                let expected = Carried {
                    proxy: authorization.spender,
                    owner: authorization.from,
                    token: authorization.permitted.token,
                    to: authorization.witness.to,
                    amount: U256::from(amount),
                    nonce: authorization.nonce,
                };
                assert_eq!(carried, expected);
                assert_eq!(Carried::by_call(PERMIT2, &data), None);
                assert_eq!(Carried::by_call(authorization.spender, &data[..data.len() - 32]), None);
            }
        }
    }

    #[test]
    fn a_nonce_has_a_bit_of_its_own() {
        assert_eq!(nonce_place(U256::ZERO), (U256::ZERO, U256::ONE));
        assert_eq!(nonce_place(U256::from(256 + 5)), (U256::ONE, U256::from(32)));
        assert_eq!(nonce_place(U256::MAX), (U256::MAX >> 8, U256::ONE << 255));
    }

    #[test]
    fn an_authorization_on_the_wire_is_that_of_the_official_sdk() {
        let exact = serde_json::to_value(golden_authorization(None)).unwrap();
        assert_eq!(
            exact,
            serde_json::json!({
                "from": golden::PAYER, "permitted": {"token": golden::ASSET, "amount": "10000"},
                "spender": "0x402085c248EeA27D92E8b30b2C58ed07f9E20001", "nonce": "7", "deadline": "1800000000",
                "witness": {"to": golden::PAY_TO, "validAfter": "0"},
            })
        );
        let upto = serde_json::to_value(golden_authorization(Some(second()))).unwrap();
        assert_eq!(upto["witness"]["facilitator"], golden::SECOND);
        for (json, facilitator) in [(exact, None), (upto, Some(second()))] {
            assert_eq!(serde_json::from_value::<Authorization>(json).unwrap(), golden_authorization(facilitator));
        }
    }

    #[test]
    fn errors_of_the_contracts_have_reasons() {
        let cases = [
            (ExactProxy::Permit2612AmountMismatch::SELECTOR, "permit2_2612_amount_mismatch"),
            (ExactProxy::InvalidAmount::SELECTOR, "permit2_invalid_amount"),
            (Permit2::InvalidAmount::SELECTOR, "permit2_invalid_amount"),
            (ExactProxy::InvalidDestination::SELECTOR, "permit2_invalid_destination"),
            (ExactProxy::InvalidOwner::SELECTOR, "permit2_invalid_owner"),
            (ExactProxy::PaymentTooEarly::SELECTOR, "permit2_payment_too_early"),
            (Permit2::InvalidSigner::SELECTOR, "invalid_permit2_signature"),
            (Permit2::SignatureExpired::SELECTOR, "invalid_permit2_signature"),
            (Permit2::InvalidNonce::SELECTOR, "permit2_invalid_nonce"),
            (UptoProxy::AmountExceedsPermitted::SELECTOR, "upto_amount_exceeds_permitted"),
            (UptoProxy::UnauthorizedFacilitator::SELECTOR, "upto_unauthorized_facilitator"),
        ];
        for (selector, reason) in cases {
            assert_eq!(reason_of(selector).unwrap().as_str(), reason);
        }
        assert_eq!(reason_of([0; 4]), None);
    }
}
