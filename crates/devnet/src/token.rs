//! The tokens of a chain: USDC of the network, and tokens with other ways. What they have can be read and written without a
//! transaction, because it is known where they keep it.

use alloy_primitives::{Address, Bytes, U256, address, keccak256};
use alloy_sol_types::{SolCall, SolValue, sol};

use crate::error::DevnetError;
use crate::genesis::TOKEN_OWNER;
use crate::state::State;

const USDC_DECIMALS: u8 = 6;
/// The highest bit of a USDC balance says that the account is blacklisted. No token has more than the rest.
const BLACKLISTED: U256 = U256::from_limbs([0, 0, 0, 1 << 63]);

sol! {
    interface FiatToken {
        function initialize(string name, string symbol, string currency, uint8 decimals, string version, address owner);
    }
    interface Erc20 {
        function initialize(string name, string symbol, uint8 decimals, string version, uint256 flags, address owner);
    }
}

/// The USDC of a network: where it is, and the name its EIP-712 domain has. The version is "2" on all of them.
pub(crate) struct Usdc {
    chain_id: u64,
    pub address: Address,
    name: &'static str,
}

const fn usdc(chain_id: u64, address: Address, name: &'static str) -> Usdc {
    Usdc { chain_id, address, name }
}

const USDC: &[Usdc] = &[
    usdc(84532, address!("0x036CbD53842c5426634e7929541eC2318f3dCF7e"), "USDC"),
    usdc(8453, address!("0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"), "USD Coin"),
    usdc(1, address!("0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48"), "USD Coin"),
    usdc(43114, address!("0xB97EF9Ef8734C71904D8002F8b6Bc66Dd9c48a6E"), "USD Coin"),
    usdc(137, address!("0x3c499c542cEF5E3811e1192ce70d8cC03d5c3359"), "USD Coin"),
    usdc(42161, address!("0xaf88d065e77c8cC2239327C5EDb3A432268e5831"), "USD Coin"),
    usdc(421_614, address!("0x75faf114eafb1BDbe2F0316DF893fd58CE46AA4d"), "USD Coin"),
    usdc(143, address!("0x754704Bc059F8C67012fEd69BC8A327a5aafb603"), "USDC"),
    usdc(1329, address!("0xe15fC38F6D8c56aF07bbCBe3BAf5708A2Bf42392"), "USDC"),
    usdc(1328, address!("0x4fCF1784B31630811181f670Aea7A7bEF803eaED"), "USDC"),
    usdc(42220, address!("0xcebA9300f2b948710d2653dD7B07f33A8B32118C"), "USDC"),
    usdc(11_142_220, address!("0x01C5C0122039549AD1493B8220cABEdD739BC44E"), "USDC"),
];

pub(crate) fn find_usdc(chain_id: u64) -> Result<&'static Usdc, DevnetError> {
    USDC.iter().find(|usdc| usdc.chain_id == chain_id).ok_or_else(|| DevnetError::UnsupportedChain {
        chain_id,
        supported: USDC.iter().map(|usdc| usdc.chain_id.to_string()).collect::<Vec<_>>().join(", "),
    })
}

impl Usdc {
    /// The call that makes a `FiatToken` this one.
    pub(crate) fn initialize(&self) -> Bytes {
        let call = FiatToken::initializeCall {
            name: self.name.to_owned(),
            symbol: "USDC".to_owned(),
            currency: "USD".to_owned(),
            decimals: USDC_DECIMALS,
            version: "2".to_owned(),
            owner: TOKEN_OWNER,
        };
        call.abi_encode().into()
    }
}

/// A token that is not USDC, at the same address on every development chain. All are `contracts/Erc20.sol`, which says
/// what its reverts are. Nobody has any until [`Devnet::give_tokens`](crate::Devnet::give_tokens).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DevToken {
    /// Where it is.
    pub address: Address,
    /// Its name, also in its EIP-712 domain.
    pub name: &'static str,
    /// Its symbol.
    pub symbol: &'static str,
    /// Digits after the point.
    pub decimals: u8,
    flags: u64,
}

/// The flags of `contracts/Erc20.sol`.
const PERMIT: u64 = 1;
const AUTHORIZATION: u64 = 2;
const SILENT_REPLAY: u64 = 4;
const FEE_ON_TRANSFER: u64 = 8;
const RETURNS_FALSE: u64 = 16;
const RETURNS_NOTHING: u64 = 32;
const BLACKLIST: u64 = 64;

const fn token(address: Address, name: &'static str, symbol: &'static str, decimals: u8, flags: u64) -> DevToken {
    DevToken { address, name, symbol, decimals, flags }
}

#[rustfmt::skip]
impl DevToken {
    /// The version in the EIP-712 domain of those that have one.
    pub const DOMAIN_VERSION: &'static str = "1";

    /// ERC-20 and nothing else: neither EIP-2612 nor EIP-3009, and so no `version` either.
    pub const PLAIN: Self = token(address!("0xfA00000000000000000000000000000000000010"), "Plain Token", "PLAIN", 18, 0);
    /// With EIP-2612.
    pub const PERMIT: Self = token(address!("0xFA00000000000000000000000000000000000011"), "Permit Token", "PERMIT", 18, PERMIT);
    /// A hundredth of each transfer goes to the owner of the token. With EIP-2612 and EIP-3009.
    pub const FEE_ON_TRANSFER: Self = token(address!("0xFA00000000000000000000000000000000000012"), "Fee Token", "FEE", 18, PERMIT | AUTHORIZATION | FEE_ON_TRANSFER);
    /// A transfer that cannot be done answers false instead of reverting. With EIP-2612.
    pub const RETURNS_FALSE: Self = token(address!("0xFA00000000000000000000000000000000000013"), "False Token", "FALSE", 18, PERMIT | RETURNS_FALSE);
    /// Transfers and approvals answer nothing, as those of Tether do on Ethereum. Six decimals.
    pub const RETURNS_NOTHING: Self = token(address!("0xFA00000000000000000000000000000000000014"), "Silent Token", "SILENT", 6, RETURNS_NOTHING);
    /// With EIP-3009 where a used nonce is no error, as with PYUSD: an event, no transfer. With EIP-2612; six decimals.
    pub const SILENT_REPLAY: Self = token(address!("0xfA00000000000000000000000000000000000015"), "Replay Token", "REPLAY", 6, PERMIT | AUTHORIZATION | SILENT_REPLAY);
    /// Its owner can exclude accounts. With EIP-2612 and EIP-3009.
    pub const BLACKLIST: Self = token(address!("0xfA00000000000000000000000000000000000016"), "Blacklist Token", "BLACK", 18, PERMIT | AUTHORIZATION | BLACKLIST);

    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::PLAIN, Self::PERMIT, Self::FEE_ON_TRANSFER, Self::RETURNS_FALSE, Self::RETURNS_NOTHING, Self::SILENT_REPLAY, Self::BLACKLIST,
    ];
}

impl DevToken {
    /// The call that makes an `Erc20` this one.
    pub(crate) fn initialize(&self) -> Bytes {
        let call = Erc20::initializeCall {
            name: self.name.to_owned(),
            symbol: self.symbol.to_owned(),
            decimals: self.decimals,
            version: Self::DOMAIN_VERSION.to_owned(),
            flags: U256::from(self.flags),
            owner: TOKEN_OWNER,
        };
        call.abi_encode().into()
    }
}

/// Where a token keeps what, and which bit of a balance is something else.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ledger {
    token: Address,
    balances_slot: u64,
    allowances_slot: u64,
    total_supply_slot: u64,
    balance_flag: U256,
}

/// The ledger of USDC or of a [`DevToken`].
pub(crate) fn ledger(chain_id: u64, token: Address) -> Result<Ledger, DevnetError> {
    if find_usdc(chain_id)?.address == token {
        return Ok(Ledger { token, balances_slot: 9, allowances_slot: 10, total_supply_slot: 11, balance_flag: BLACKLISTED });
    }
    if DevToken::ALL.iter().any(|known| known.address == token) {
        return Ok(Ledger { token, balances_slot: 0, allowances_slot: 1, total_supply_slot: 2, balance_flag: U256::ZERO });
    }
    Err(DevnetError::UnknownToken { token })
}

impl Ledger {
    pub(crate) fn balance(&self, state: &State, holder: Address) -> U256 {
        state.storage(self.token, self.balance_slot(holder)) & !self.balance_flag
    }

    pub(crate) fn allowance(&self, state: &State, holder: Address, spender: Address) -> U256 {
        state.storage(self.token, self.allowance_slot(holder, spender))
    }

    /// Raises a balance and the total supply by writing storage: it works while the token is paused and leaves no log.
    pub(crate) fn give(&self, state: &mut State, holder: Address, amount: U256) -> Result<(), DevnetError> {
        let (slot, supply_slot) = (self.balance_slot(holder), U256::from(self.total_supply_slot));
        let word = state.storage(self.token, slot);
        let balance = (word & !self.balance_flag).checked_add(amount).filter(|balance| *balance < BLACKLISTED);
        let supply = state.storage(self.token, supply_slot).checked_add(amount);
        let (Some(balance), Some(supply)) = (balance, supply) else { return Err(DevnetError::Overflow) };
        state.set_storage(self.token, slot, (word & self.balance_flag) | balance);
        state.set_storage(self.token, supply_slot, supply);
        Ok(())
    }

    pub(crate) fn set_allowance(&self, state: &mut State, holder: Address, spender: Address, amount: U256) {
        state.set_storage(self.token, self.allowance_slot(holder, spender), amount);
    }

    fn balance_slot(&self, holder: Address) -> U256 {
        keccak256((holder, U256::from(self.balances_slot)).abi_encode()).into()
    }

    fn allowance_slot(&self, holder: Address, spender: Address) -> U256 {
        let of_holder = keccak256((holder, U256::from(self.allowances_slot)).abi_encode());
        keccak256((spender, of_holder).abi_encode()).into()
    }
}
