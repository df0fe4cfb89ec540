// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.30;

/// @title Many questions in one read-only call, none of which can disturb another
/// @notice It is never deployed: its runtime code is put in place for one `eth_call` by a state override. It has neither a
/// constructor nor immutables nor storage.
contract Probe {
    struct Call {
        address to;
        bytes data;
    }

    struct Group {
        address account;
        bool ordinaryOnly;
        Call[] calls;
    }

    struct Result {
        uint8 outcome;
        bytes data;
    }

    struct Report {
        uint256 codeSize;
        bytes results;
    }

    /// @dev The call reverted, or used up its gas.
    uint8 private constant FAILED = 0;
    /// @dev The call returned.
    uint8 private constant RETURNED = 1;
    /// @dev Too little gas was left to tell: ask again with fewer groups.
    uint8 private constant STARVED = 2;
    /// @dev What the rest of `run` needs after its last call.
    uint256 private constant RESERVE_GAS = 100_000;

    /// @notice Carries out the groups one after another, each on the same state: what one did is undone before the next.
    /// @param gasPerCall What each call may use, so that no call starves another.
    /// @param maxBytes What is kept of each answer, so that no answer is too expensive to copy.
    /// @return height The block's number.
    /// @return timestamp The block's time.
    /// @return reports One for each group. `results` is an encoded `Result[]`, or empty if the group could not be carried
    /// out with the gas that was left, or its account has code and was to have none.
    function observe(Group[] calldata groups, uint256 gasPerCall, uint256 maxBytes)
        external
        returns (uint256 height, uint256 timestamp, Report[] memory reports)
    {
        reports = new Report[](groups.length);
        for (uint256 i = 0; i < groups.length; ++i) {
            Group calldata group = groups[i];
            uint256 codeSize = group.account.code.length;
            bytes memory results;
            if (codeSize == 0 || !group.ordinaryOnly) {
                // It always reverts, with its results: that is what undoes the group.
                (, results) = address(this).call(abi.encodeCall(this.run, (group.calls, gasPerCall, maxBytes)));
            }
            reports[i] = Report(codeSize, results);
        }
        return (block.number, block.timestamp, reports);
    }

    /// @notice Carries out the calls one after another, later ones seeing what earlier ones did, and reverts with an encoded
    /// `Result[]`.
    function run(Call[] calldata calls, uint256 gasPerCall, uint256 maxBytes) external {
        Result[] memory results = new Result[](calls.length);
        for (uint256 i = 0; i < calls.length; ++i) {
            // A call gets at most 63 of 64 parts of the gas that is left.
            bool enough = gasleft() > gasPerCall + gasPerCall / 32 + RESERVE_GAS;
            results[i] = enough ? _call(calls[i], gasPerCall, maxBytes) : Result(STARVED, "");
        }
        bytes memory encoded = abi.encode(results);
        assembly ("memory-safe") {
            revert(add(encoded, 0x20), mload(encoded))
        }
    }

    function _call(Call calldata item, uint256 gasPerCall, uint256 maxBytes) private returns (Result memory) {
        bytes memory data = item.data;
        address to = item.to;
        bool success;
        bytes memory answer;
        assembly ("memory-safe") {
            success := call(gasPerCall, to, 0, add(data, 0x20), mload(data), 0, 0)
            let size := returndatasize()
            if gt(size, maxBytes) { size := maxBytes }
            answer := mload(0x40)
            mstore(answer, size)
            returndatacopy(add(answer, 0x20), 0, size)
            mstore(0x40, and(add(add(answer, size), 0x3f), not(0x1f)))
        }
        return Result(success ? RETURNED : FAILED, answer);
    }
}
