//! What is on the chain before its first block: accounts, contracts and money.

use std::sync::LazyLock;

use alloy_primitives::{Address, U256, address, b256, keccak256};
use revm::context::{BlockEnv, TxEnv};
use revm::primitives::TxKind;

use crate::chain::Chain;
use crate::contracts::{self, Contract, Unusable};
use crate::error::DevnetError;
use crate::execute::{Rules, apply_call, header_template, seal};
use crate::map::Map;
use crate::state::{State, World};
use crate::token;

const INITIAL_BASE_FEE_WEI: u64 = 1_000_000_000;
const INITIAL_BALANCE_ETHER: u64 = 10_000;
const WEI_PER_ETHER: u64 = 1_000_000_000_000_000_000;
const INITIALIZE_GAS: u64 = 10_000_000;

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

/// The chain with its genesis block.
pub(crate) fn chain(rules: Rules, timestamp: u64) -> Result<Chain, DevnetError> {
    let usdc = token::find_usdc(rules.chain_id)?;
    let fiat_token = contracts::contract(contracts::FIAT_TOKEN, usdc.address, Some(usdc.initialize()))?;
    let state = place(common_state()?, &fiat_token, None)?;
    let mut header = header_template(0, rules.block_gas_limit);
    header.timestamp = timestamp;
    header.base_fee_per_gas = Some(INITIAL_BASE_FEE_WEI);
    // Chains of different networks must not share a block hash.
    header.mix_hash = keccak256(rules.chain_id.to_be_bytes());
    Ok(Chain::new(seal(header, Vec::new()), state))
}

/// The accounts, and the contracts that are the same on all chains. Many tests start many chains in one process, so it is
/// made once: a clone costs nothing.
fn common_state() -> Result<State, Unusable> {
    static COMMON: LazyLock<Result<State, Unusable>> = LazyLock::new(|| {
        let mut state = State::default();
        for account in ACCOUNTS {
            state.set_balance(account.address, U256::from(INITIAL_BALANCE_ETHER) * U256::from(WEI_PER_ETHER));
        }
        let mut before: Option<&Contract> = None;
        for contract in contracts::common()? {
            state = place(state, contract, before)?;
            before = Some(contract);
        }
        Ok(state)
    });
    COMMON.clone()
}

/// Puts a contract into a state, after another one that may be of the same kind.
fn place(mut state: State, contract: &Contract, before: Option<&Contract>) -> Result<State, Unusable> {
    let failed = |detail| Unusable { name: contract.name, detail };
    // A contract's nonce starts at one (EIP-161).
    state.set_nonce(contract.address, 1);
    match before.filter(|before| before.name == contract.name) {
        Some(before) => state.share_code(contract.address, before.address),
        None => state.set_code(contract.address, contract.code.clone()).map_err(failed)?,
    }
    let Some(data) = &contract.initialize else { return Ok(state) };
    let call = TxEnv {
        caller: TOKEN_OWNER,
        kind: TxKind::Call(contract.address),
        gas_limit: INITIALIZE_GAS,
        chain_id: None,
        data: data.clone(),
        ..TxEnv::default()
    };
    // What is initialised knows neither chain nor block.
    let rules = Rules { chain_id: 0, block_gas_limit: INITIALIZE_GAS, max_log_range_blocks: 0 };
    let (state, _) = apply_call(rules, World::new(state, Map::default()), BlockEnv::default(), call).map_err(failed)?;
    Ok(state)
}
