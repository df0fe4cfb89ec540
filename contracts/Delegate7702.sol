// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.30;

import {IERC1271} from "./IERC1271.sol";

/// @title Code for ordinary accounts (EIP-7702)
/// @notice It agrees with the account's own key, but only if a byte of its own stands before the 65 bytes of ECDSA. So
/// whoever asks such an account by ERC-1271, as is right, is told apart from whoever recovers the key by itself: the one
/// accepts what the other refuses.
contract Delegate7702 is IERC1271 {
    error NotSelf();

    /// @notice The first byte of a signature.
    bytes1 public constant PREFIX = 0x77;

    receive() external payable {}

    function isValidSignature(bytes32 digest, bytes calldata signature) external view returns (bytes4) {
        if (signature.length != 66 || signature[0] != PREFIX) {
            return 0xffffffff;
        }
        (bytes32 r, bytes32 s) = abi.decode(signature[1:65], (bytes32, bytes32));
        address signer = ecrecover(digest, uint8(signature[65]), r, s);
        return signer == address(this) ? IERC1271.isValidSignature.selector : bytes4(0xffffffff);
    }

    /// @notice Does anything in the account's name, if the account says so. A failure is passed on as it is.
    function execute(address target, uint256 value, bytes calldata data) external returns (bytes memory answer) {
        require(msg.sender == address(this), NotSelf());
        bool success;
        (success, answer) = target.call{value: value}(data);
        if (!success) {
            assembly ("memory-safe") {
                revert(add(answer, 0x20), mload(answer))
            }
        }
    }
}
