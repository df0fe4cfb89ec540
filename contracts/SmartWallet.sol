// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.30;

import {IERC1271} from "./IERC1271.sol";

/// @title A contract account with one key
/// @notice What it signs is said by ERC-1271: it agrees with 65 bytes of ECDSA by its owner over the digest as it is,
/// without a wrapper of its own.
contract SmartWallet is IERC1271 {
    error AlreadyInitialized();
    error InvalidOwner();
    error NotOwner();

    address public owner; // 0

    receive() external payable {}

    /// @notice Gives the wallet its owner, once. The factory does it in the transaction that creates the wallet.
    function initialize(address newOwner) external {
        require(owner == address(0), AlreadyInitialized());
        require(newOwner != address(0), InvalidOwner());
        owner = newOwner;
    }

    function isValidSignature(bytes32 digest, bytes calldata signature) external view returns (bytes4) {
        if (signature.length != 65) {
            return 0xffffffff;
        }
        (bytes32 r, bytes32 s) = abi.decode(signature, (bytes32, bytes32));
        address signer = ecrecover(digest, uint8(signature[64]), r, s);
        return signer != address(0) && signer == owner ? IERC1271.isValidSignature.selector : bytes4(0xffffffff);
    }

    /// @notice Does anything in the wallet's name, such as approving Permit2. A failure is passed on as it is.
    function execute(address target, uint256 value, bytes calldata data) external returns (bytes memory answer) {
        require(msg.sender == owner, NotOwner());
        bool success;
        (success, answer) = target.call{value: value}(data);
        if (!success) {
            assembly ("memory-safe") {
                revert(add(answer, 0x20), mload(answer))
            }
        }
    }
}
