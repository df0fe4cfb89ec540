// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.30;

/// @title A token that is not USDC
/// @notice Plain ERC-20 by default; the flags given at `initialize` add what other tokens have, and what they do that they
/// should not. What a flag did not add reverts without data, as in a token that lacks the function.
contract Erc20 {
    event Transfer(address indexed from, address indexed to, uint256 value);
    event Approval(address indexed owner, address indexed spender, uint256 value);
    event AuthorizationUsed(address indexed authorizer, bytes32 indexed nonce);
    event AuthorizationAlreadyUsed(address indexed authorizer, bytes32 indexed nonce);
    event Blacklisted(address indexed account);
    event UnBlacklisted(address indexed account);

    error AlreadyInitialized();
    error NotOwner();
    error AccountBlacklisted(address account);
    error ERC20InsufficientBalance(address sender, uint256 balance, uint256 needed);
    error ERC20InsufficientAllowance(address spender, uint256 allowance, uint256 needed);
    error ERC20InvalidReceiver(address receiver);
    error ERC2612ExpiredSignature(uint256 deadline);
    error ERC2612InvalidSigner(address signer, address owner);
    error AuthorizationNotYetValid(uint256 validAfter);
    error AuthorizationExpired(uint256 validBefore);
    error AuthorizationUsedAlready(address authorizer, bytes32 nonce);
    error InvalidSigner(address signer, address authorizer);

    /// @notice EIP-2612.
    uint256 public constant PERMIT = 1;
    /// @notice EIP-3009, with `v`, `r` and `s` apart and for accounts without code only.
    uint256 public constant AUTHORIZATION = 2;
    /// @notice With EIP-3009: a nonce that was used is no error. There is an event, and no transfer.
    uint256 public constant SILENT_REPLAY = 4;
    /// @notice A hundredth of every transfer goes to the owner of the token instead of the recipient.
    uint256 public constant FEE_ON_TRANSFER = 8;
    /// @notice A transfer that cannot be done answers false and does not revert.
    uint256 public constant RETURNS_FALSE = 16;
    /// @notice `transfer`, `transferFrom` and `approve` answer nothing at all.
    uint256 public constant RETURNS_NOTHING = 32;
    /// @notice The owner can exclude accounts.
    uint256 public constant BLACKLIST = 64;

    bytes32 private constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 private constant PERMIT_TYPEHASH =
        keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
    bytes32 private constant TRANSFER_WITH_AUTHORIZATION_TYPEHASH = keccak256(
        "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
    );
    uint256 private constant FEE_DIVISOR = 100;

    // The first five are where OpenZeppelin's ERC20 has them.
    mapping(address => uint256) public balanceOf; // 0
    mapping(address => mapping(address => uint256)) public allowance; // 1
    uint256 public totalSupply; // 2
    string public name; // 3
    string public symbol; // 4
    uint8 public decimals; // 5
    address public owner; // 5
    uint256 public flags; // 6
    string private domainVersion; // 7
    mapping(address => uint256) private permitNonces; // 8
    mapping(address => mapping(bytes32 => bool)) private authorizationStates; // 9
    mapping(address => bool) private excluded; // 10

    modifier having(uint256 wanted) {
        if (flags & wanted == 0) {
            assembly {
                revert(0, 0)
            }
        }
        _;
    }

    modifier onlyOwner() {
        require(msg.sender == owner, NotOwner());
        _;
    }

    /// @notice Gives the token its identity and its ways, once.
    function initialize(
        string calldata tokenName,
        string calldata tokenSymbol,
        uint8 tokenDecimals,
        string calldata tokenVersion,
        uint256 tokenFlags,
        address newOwner
    ) external {
        require(owner == address(0), AlreadyInitialized());
        name = tokenName;
        symbol = tokenSymbol;
        decimals = tokenDecimals;
        domainVersion = tokenVersion;
        flags = tokenFlags;
        owner = newOwner;
    }

    function mint(address to, uint256 amount) external onlyOwner {
        totalSupply += amount;
        unchecked {
            balanceOf[to] += amount;
        }
        emit Transfer(address(0), to, amount);
    }

    // ---- ERC-20 ----

    function transfer(address to, uint256 value) external returns (bool) {
        if (_mustDecline(msg.sender, msg.sender, to, value)) {
            return false;
        }
        _transfer(msg.sender, to, value);
        return _agree();
    }

    function transferFrom(address from, address to, uint256 value) external returns (bool) {
        uint256 available = allowance[from][msg.sender];
        if (flags & RETURNS_FALSE != 0 && available < value || _mustDecline(msg.sender, from, to, value)) {
            return false;
        }
        require(available >= value, ERC20InsufficientAllowance(msg.sender, available, value));
        if (available != type(uint256).max) {
            unchecked {
                allowance[from][msg.sender] = available - value;
            }
        }
        _transfer(from, to, value);
        return _agree();
    }

    function approve(address spender, uint256 value) external returns (bool) {
        allowance[msg.sender][spender] = value;
        emit Approval(msg.sender, spender, value);
        return _agree();
    }

    // ---- EIP-2612 ----

    function nonces(address holder) external view having(PERMIT) returns (uint256) {
        return permitNonces[holder];
    }

    function permit(address holder, address spender, uint256 value, uint256 deadline, uint8 v, bytes32 r, bytes32 s)
        external
        having(PERMIT)
    {
        require(block.timestamp <= deadline, ERC2612ExpiredSignature(deadline));
        bytes32 structHash =
            keccak256(abi.encode(PERMIT_TYPEHASH, holder, spender, value, permitNonces[holder]++, deadline));
        address signer = ecrecover(_digest(structHash), v, r, s);
        require(signer != address(0) && signer == holder, ERC2612InvalidSigner(signer, holder));
        allowance[holder][spender] = value;
        emit Approval(holder, spender, value);
    }

    // ---- EIP-3009 ----

    function authorizationState(address authorizer, bytes32 nonce) external view having(AUTHORIZATION) returns (bool) {
        return authorizationStates[authorizer][nonce];
    }

    function transferWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external having(AUTHORIZATION) {
        require(block.timestamp > validAfter, AuthorizationNotYetValid(validAfter));
        require(block.timestamp < validBefore, AuthorizationExpired(validBefore));
        if (authorizationStates[from][nonce]) {
            require(flags & SILENT_REPLAY != 0, AuthorizationUsedAlready(from, nonce));
            emit AuthorizationAlreadyUsed(from, nonce);
            return;
        }
        bytes32 structHash = keccak256(
            abi.encode(TRANSFER_WITH_AUTHORIZATION_TYPEHASH, from, to, value, validAfter, validBefore, nonce)
        );
        address signer = ecrecover(_digest(structHash), v, r, s);
        require(signer != address(0) && signer == from, InvalidSigner(signer, from));
        authorizationStates[from][nonce] = true;
        emit AuthorizationUsed(from, nonce);
        _transfer(from, to, value);
    }

    // ---- EIP-712, for both of the above ----

    function version() external view having(PERMIT | AUTHORIZATION) returns (string memory) {
        return domainVersion;
    }

    function DOMAIN_SEPARATOR() external view having(PERMIT | AUTHORIZATION) returns (bytes32) {
        return _domain();
    }

    // ---- Blacklist ----

    function isBlacklisted(address account) external view having(BLACKLIST) returns (bool) {
        return excluded[account];
    }

    function blacklist(address account) external having(BLACKLIST) onlyOwner {
        excluded[account] = true;
        emit Blacklisted(account);
    }

    function unBlacklist(address account) external having(BLACKLIST) onlyOwner {
        excluded[account] = false;
        emit UnBlacklisted(account);
    }

    // ---- Internals ----

    function _mustDecline(address caller, address from, address to, uint256 value) private view returns (bool) {
        if (flags & RETURNS_FALSE == 0) {
            return false;
        }
        return balanceOf[from] < value || to == address(0) || excluded[caller] || excluded[from] || excluded[to];
    }

    function _transfer(address from, address to, uint256 value) private {
        require(!excluded[msg.sender], AccountBlacklisted(msg.sender));
        require(!excluded[from], AccountBlacklisted(from));
        require(!excluded[to], AccountBlacklisted(to));
        require(to != address(0), ERC20InvalidReceiver(to));
        uint256 balance = balanceOf[from];
        require(balance >= value, ERC20InsufficientBalance(from, balance, value));
        unchecked {
            balanceOf[from] = balance - value;
        }
        uint256 fee = flags & FEE_ON_TRANSFER == 0 ? 0 : value / FEE_DIVISOR;
        _credit(from, to, value - fee);
        if (fee != 0) {
            _credit(from, owner, fee);
        }
    }

    function _credit(address from, address to, uint256 value) private {
        unchecked {
            balanceOf[to] += value;
        }
        emit Transfer(from, to, value);
    }

    /// @dev The answer of what succeeded: true, or no answer.
    function _agree() private view returns (bool) {
        if (flags & RETURNS_NOTHING != 0) {
            assembly {
                return(0, 0)
            }
        }
        return true;
    }

    function _domain() private view returns (bytes32) {
        return keccak256(
            abi.encode(
                DOMAIN_TYPEHASH, keccak256(bytes(name)), keccak256(bytes(domainVersion)), block.chainid, address(this)
            )
        );
    }

    function _digest(bytes32 structHash) private view returns (bytes32) {
        return keccak256(abi.encodePacked(hex"1901", _domain(), structHash));
    }
}
