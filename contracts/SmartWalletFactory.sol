// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.30;

import {SmartWallet} from "./SmartWallet.sol";

/// @title Creates wallets where everybody knows beforehand that they will be
/// @notice The address depends on this factory, the owner and a salt, so that money can be sent to a wallet, and payments
/// signed for it (ERC-6492), before it exists.
contract SmartWalletFactory {
    event AccountCreated(address indexed account, address indexed owner, uint256 salt);

    /// @notice Creates the wallet; if it exists already, nothing happens.
    function createAccount(address owner, uint256 salt) external returns (SmartWallet account) {
        account = SmartWallet(payable(getAddress(owner, salt)));
        if (address(account).code.length == 0) {
            new SmartWallet{salt: _salt(owner, salt)}().initialize(owner);
            emit AccountCreated(address(account), owner, salt);
        }
    }

    /// @notice Where the wallet is, or will be.
    function getAddress(address owner, uint256 salt) public view returns (address) {
        bytes32 codeHash = keccak256(type(SmartWallet).creationCode);
        bytes memory preimage = abi.encodePacked(hex"ff", address(this), _salt(owner, salt), codeHash);
        return address(uint160(uint256(keccak256(preimage))));
    }

    function _salt(address owner, uint256 salt) private pure returns (bytes32) {
        return keccak256(abi.encode(owner, salt));
    }
}
