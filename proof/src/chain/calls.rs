//! The calls that a facilitator signs, read from their bytes. The product's own reading is under test, so this is another.

use alloy_primitives::{Address, U256};
use alloy_sol_types::{SolCall, sol};
use farthing_devnet::{X402_EXACT_PERMIT2_PROXY, X402_UPTO_PERMIT2_PROXY};

use crate::payments::{Authorization, By};

sol! {
    struct Call3 { address target; bool allowFailure; bytes callData; }
    function aggregate3(Call3[] calls);
    function transferWithAuthorization(
        address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce, bytes signature);
}

/// `transferWithAuthorization` in its older form, with the signature in three parts.
mod split {
    use alloy_sol_types::sol;

    sol! {
        function transferWithAuthorization(
            address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce,
            uint8 v, bytes32 r, bytes32 s);
    }
}

mod exact {
    use alloy_sol_types::sol;

    sol! {
        struct TokenPermissions { address token; uint256 amount; }
        struct PermitTransferFrom { TokenPermissions permitted; uint256 nonce; uint256 deadline; }
        struct EIP2612Permit { uint256 value; uint256 deadline; bytes32 r; bytes32 s; uint8 v; }
        struct Witness { address to; uint256 validAfter; }
        function settle(PermitTransferFrom permit, address owner, Witness witness, bytes signature);
        function settleWithPermit(
            EIP2612Permit permit2612, PermitTransferFrom permit, address owner, Witness witness, bytes signature);
    }
}

mod upto {
    use alloy_sol_types::sol;

    sol! {
        struct TokenPermissions { address token; uint256 amount; }
        struct PermitTransferFrom { TokenPermissions permitted; uint256 nonce; uint256 deadline; }
        struct EIP2612Permit { uint256 value; uint256 deadline; bytes32 r; bytes32 s; uint8 v; }
        struct Witness { address to; address facilitator; uint256 validAfter; }
        function settle(PermitTransferFrom permit, uint256 amount, address owner, Witness witness, bytes signature);
        function settleWithPermit(
            EIP2612Permit permit2612, PermitTransferFrom permit, uint256 amount, address owner, Witness witness, bytes signature);
    }
}

/// A payment in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Carried {
    pub(super) authorization: Authorization,
    /// What a proxy is told to move: through which one, from whom, to whom, how much. None where the token moves it.
    pub(super) through: Option<Through>,
}

/// What a proxy moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Through {
    pub(super) proxy: Address,
    pub(super) from: Address,
    pub(super) to: Address,
    pub(super) amount: U256,
}

/// The payments in a call, also in a call of several, in their order.
pub(super) fn carried_by(target: Address, input: &[u8]) -> Vec<Carried> {
    if let Some(carried) = by_token(input).or_else(|| by_proxy(target, input)) {
        return vec![carried];
    }
    match aggregate3Call::abi_decode(input) {
        Ok(several) => several.calls.iter().flat_map(|call| carried_by(call.target, &call.callData)).collect(),
        Err(_) => Vec::new(),
    }
}

fn by_token(input: &[u8]) -> Option<Carried> {
    let of = |payer, nonce| Carried { authorization: Authorization { payer, by: By::Eip3009(nonce) }, through: None };
    if let Ok(call) = transferWithAuthorizationCall::abi_decode(input) {
        return Some(of(call.from, call.nonce));
    }
    split::transferWithAuthorizationCall::abi_decode(input).ok().map(|call| of(call.from, call.nonce))
}

fn by_proxy(proxy: Address, input: &[u8]) -> Option<Carried> {
    let of = |nonce, from, to, amount| Carried {
        authorization: Authorization { payer: from, by: By::Permit2(nonce) },
        through: Some(Through { proxy, from, to, amount }),
    };
    match proxy {
        X402_EXACT_PERMIT2_PROXY => {
            if let Ok(call) = exact::settleCall::abi_decode(input) {
                return Some(of(call.permit.nonce, call.owner, call.witness.to, call.permit.permitted.amount));
            }
            let call = exact::settleWithPermitCall::abi_decode(input).ok()?;
            Some(of(call.permit.nonce, call.owner, call.witness.to, call.permit.permitted.amount))
        }
        X402_UPTO_PERMIT2_PROXY => {
            if let Ok(call) = upto::settleCall::abi_decode(input) {
                return Some(of(call.permit.nonce, call.owner, call.witness.to, call.amount));
            }
            let call = upto::settleWithPermitCall::abi_decode(input).ok()?;
            Some(of(call.permit.nonce, call.owner, call.witness.to, call.amount))
        }
        _ => None,
    }
}
