//! What is on the chain before its first block: accounts, contracts and money.

use alloy_primitives::{Address, Bytes, U256, address, b256, keccak256};
use alloy_sol_types::{SolCall, SolValue, sol};
use revm::context::{BlockEnv, TxEnv};
use revm::primitives::TxKind;

use crate::chain::Chain;
use crate::error::DevnetError;
use crate::execute::{Rules, apply_call, header_template, seal};
use crate::state::State;

/// Where Multicall3 is on every network.
pub const MULTICALL3: Address = address!("0xcA11bde05977b3631167028862bE2a173976CA11");

const INITIAL_BASE_FEE_WEI: u64 = 1_000_000_000;
const INITIAL_BALANCE_ETHER: u64 = 10_000;
const WEI_PER_ETHER: u64 = 1_000_000_000_000_000_000;
const USDC_DECIMALS: u8 = 6;
/// The token's storage slots, those of the deployed USDC: see `contracts/FiatToken.sol`.
const BALANCES_SLOT: u64 = 9;
const TOTAL_SUPPLY_SLOT: u64 = 11;

sol! {
    function initialize(string name, string symbol, string currency, uint8 decimals, string version, address owner);
}

/// The USDC of a network: where it is, and the name its EIP-712 domain has. The version is "2" on all of them.
struct Token {
    chain_id: u64,
    address: Address,
    name: &'static str,
}

const fn token(chain_id: u64, address: Address, name: &'static str) -> Token {
    Token { chain_id, address, name }
}

const TOKENS: &[Token] = &[
    token(84532, address!("0x036CbD53842c5426634e7929541eC2318f3dCF7e"), "USDC"),
    token(8453, address!("0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"), "USD Coin"),
    token(1, address!("0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48"), "USD Coin"),
    token(43114, address!("0xB97EF9Ef8734C71904D8002F8b6Bc66Dd9c48a6E"), "USD Coin"),
    token(137, address!("0x3c499c542cEF5E3811e1192ce70d8cC03d5c3359"), "USD Coin"),
    token(42161, address!("0xaf88d065e77c8cC2239327C5EDb3A432268e5831"), "USD Coin"),
    token(421_614, address!("0x75faf114eafb1BDbe2F0316DF893fd58CE46AA4d"), "USD Coin"),
    token(143, address!("0x754704Bc059F8C67012fEd69BC8A327a5aafb603"), "USDC"),
    token(1329, address!("0xe15fC38F6D8c56aF07bbCBe3BAf5708A2Bf42392"), "USDC"),
    token(1328, address!("0x4fCF1784B31630811181f670Aea7A7bEF803eaED"), "USDC"),
    token(42220, address!("0xcebA9300f2b948710d2653dD7B07f33A8B32118C"), "USDC"),
    token(11_142_220, address!("0x01C5C0122039549AD1493B8220cABEdD739BC44E"), "USDC"),
];

/// A contract of ours, and where it is on every chain. Another one is another row.
const CONTRACTS: &[(&str, Address, &str)] =
    &[("Multicall3", MULTICALL3, include_str!("../../../contracts/artifacts/Multicall3.json"))];
const FIAT_TOKEN: &str = include_str!("../../../contracts/artifacts/FiatToken.json");

/// One of the ten accounts that development chains have in common: mnemonic "test test test test test test test test
/// test test test junk", path m/44'/60'/0'/0/0 to 9. Their keys are public: never send them anything of value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct DevAccount {
    /// The account's address.
    pub address: Address,
    /// Its secp256k1 key.
    pub secret: [u8; 32],
}

impl std::fmt::Debug for DevAccount {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("DevAccount").field("address", &self.address).finish_non_exhaustive()
    }
}

const fn account(address: Address, secret: alloy_primitives::B256) -> DevAccount {
    DevAccount { address, secret: secret.0 }
}

#[rustfmt::skip]
pub(crate) const ACCOUNTS: &[DevAccount] = &[
    account(address!("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"), b256!("0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")),
    account(address!("0x70997970C51812dc3A010C7d01b50e0d17dc79C8"), b256!("0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d")),
    account(address!("0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"), b256!("0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a")),
    account(address!("0x90F79bf6EB2c4f870365E785982E1f101E93b906"), b256!("0x7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6")),
    account(address!("0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65"), b256!("0x47e179ec197488593b187f80a00eb0da91f1b9d0b13f8733639f19c30a34926a")),
    account(address!("0x9965507D1a55bcC2695C58ba16FB37d819B0A4dc"), b256!("0x8b3a350cf5c34c9194ca85829a2df0ec3153be0318b5e2d3348e872092edffba")),
    account(address!("0x976EA74026E726554dB657fA54763abd0C3a0aa9"), b256!("0x92db14e403b83dfe3df233f83dfa3a0d7096f21ca9b0d6d6b8d88b2b4ec1564e")),
    account(address!("0x14dC79964da2C08b23698B3D3cc7Ca32193d9955"), b256!("0x4bbbf85ce3377467afe5d46f804f221813b2bb87f24d81f60f1fcdbf7cbf4356")),
    account(address!("0x23618e81E3f5cdF7f54C3d65f7FBc0aBf5B21E8f"), b256!("0xdbda1821b80551c9d65939329250298aa3472ba22feea921c0cf5d620ea67b97")),
    account(TOKEN_OWNER, b256!("0x2a871d0798f97d79848a013d4936a73bf4cc922c825d33c1cf7073dff6d409c6")),
];

/// Owner, minter, pauser and blacklister of USDC: the last of the accounts.
pub(crate) const TOKEN_OWNER: Address = address!("0xa0Ee7A142d267C1f36714E4a8F75612F20a79720");

pub(crate) fn usdc(chain_id: u64) -> Result<Address, DevnetError> {
    Ok(find(chain_id)?.address)
}

fn find(chain_id: u64) -> Result<&'static Token, DevnetError> {
    TOKENS.iter().find(|token| token.chain_id == chain_id).ok_or_else(|| DevnetError::UnsupportedChain {
        chain_id,
        supported: TOKENS.iter().map(|token| token.chain_id.to_string()).collect::<Vec<_>>().join(", "),
    })
}

/// The chain with its genesis block.
pub(crate) fn chain(rules: Rules, timestamp: u64) -> Result<Chain, DevnetError> {
    let token = find(rules.chain_id)?;
    let mut state = State::default();
    for account in ACCOUNTS {
        state.set_balance(account.address, U256::from(INITIAL_BALANCE_ETHER) * U256::from(WEI_PER_ETHER));
    }
    for (name, address, artifact) in CONTRACTS {
        place(&mut state, name, *address, artifact)?;
    }
    place(&mut state, "FiatToken", token.address, FIAT_TOKEN)?;

    let mut header = header_template(0, rules.block_gas_limit);
    header.timestamp = timestamp;
    header.base_fee_per_gas = Some(INITIAL_BASE_FEE_WEI);
    // Chains of different networks must not share a block hash.
    header.mix_hash = keccak256(rules.chain_id.to_be_bytes());
    let genesis = Chain::new(seal(header.clone(), Vec::new()), state.clone());
    let call = TxEnv {
        caller: TOKEN_OWNER,
        kind: TxKind::Call(token.address),
        gas_limit: rules.block_gas_limit,
        chain_id: None,
        data: initializeCall {
            name: token.name.to_owned(),
            symbol: "USDC".to_owned(),
            currency: "USD".to_owned(),
            decimals: USDC_DECIMALS,
            version: "2".to_owned(),
            owner: TOKEN_OWNER,
        }
        .abi_encode()
        .into(),
        ..TxEnv::default()
    };
    let block = BlockEnv { timestamp: U256::from(timestamp), ..BlockEnv::default() };
    let state = apply_call(rules, genesis.world(state), block, call, token.address)
        .map_err(|detail| DevnetError::Contract { name: "FiatToken", detail })?;
    Ok(Chain::new(seal(header, Vec::new()), state))
}

fn place(state: &mut State, name: &'static str, address: Address, artifact: &str) -> Result<(), DevnetError> {
    let code = runtime(artifact).map_err(|detail| DevnetError::Contract { name, detail })?;
    // A contract's nonce starts at one (EIP-161).
    state.set_nonce(address, 1);
    state.set_code(address, code).map_err(|detail| DevnetError::Contract { name, detail })
}

fn runtime(artifact: &str) -> Result<Bytes, String> {
    let artifact: serde_json::Value = serde_json::from_str(artifact).map_err(|error| error.to_string())?;
    let runtime = artifact.get("runtime").and_then(serde_json::Value::as_str).ok_or("the artifact has no runtime")?;
    runtime.parse().map_err(|error| format!("runtime is not hexadecimal: {error}"))
}

fn balance_slot(holder: Address) -> U256 {
    keccak256((holder, U256::from(BALANCES_SLOT)).abi_encode()).into()
}

/// The highest bit of a balance word says that the account is blacklisted.
const BLACKLISTED: U256 = U256::from_limbs([0, 0, 0, 1 << 63]);

pub(crate) fn token_balance(state: &State, token: Address, holder: Address) -> U256 {
    state.storage(token, balance_slot(holder)) & !BLACKLISTED
}

/// Raises a balance and the total supply by writing storage: it works while the token is paused and leaves no log.
pub(crate) fn give_tokens(state: &mut State, token: Address, holder: Address, amount: U256) -> Result<(), DevnetError> {
    let slot = balance_slot(holder);
    let word = state.storage(token, slot);
    let balance = (word & !BLACKLISTED).checked_add(amount).filter(|balance| *balance < BLACKLISTED);
    let supply = state.storage(token, U256::from(TOTAL_SUPPLY_SLOT)).checked_add(amount);
    let (Some(balance), Some(supply)) = (balance, supply) else { return Err(DevnetError::Overflow) };
    state.set_storage(token, slot, (word & BLACKLISTED) | balance);
    state.set_storage(token, U256::from(TOTAL_SUPPLY_SLOT), supply);
    Ok(())
}
