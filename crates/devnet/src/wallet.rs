//! Smart wallets without a transaction. The factory itself is asked, so that there is one place that knows addresses.

use alloy_primitives::{Address, U256};
use alloy_sol_types::{SolCall, sol};

use crate::contracts::SMART_WALLET_FACTORY;
use crate::error::DevnetError;
use crate::node::Node;

sol! {
    function createAccount(address owner, uint256 salt) external returns (address account);
    function getAddress(address owner, uint256 salt) external view returns (address account);
}

pub(crate) fn create(node: &Node, owner: Address, salt: U256) -> Result<Address, DevnetError> {
    ask(node, &createAccountCall { owner, salt })
}

pub(crate) fn address(node: &Node, owner: Address, salt: U256) -> Result<Address, DevnetError> {
    ask(node, &getAddressCall { owner, salt })
}

fn ask<C: SolCall<Return = Address>>(node: &Node, call: &C) -> Result<Address, DevnetError> {
    let failed = |detail| DevnetError::Call { what: C::SIGNATURE, detail };
    let answer = node.edit_by_call(SMART_WALLET_FACTORY, call.abi_encode().into()).map_err(failed)?;
    C::abi_decode_returns(&answer).map_err(|error| failed(error.to_string()))
}
