//! Accounts, storage and code, and how revm reads and writes them.

use std::collections::HashSet;
use std::convert::Infallible;

use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U256, keccak256};
use revm::primitives::AddressMap;
use revm::state::{Account, AccountInfo, Bytecode};
use revm::{Database, DatabaseCommit};

use crate::map::Map;

#[derive(Debug, Clone, Copy)]
pub(crate) struct AccountRecord {
    pub balance: U256,
    pub nonce: u64,
    pub code_hash: B256,
}

impl Default for AccountRecord {
    fn default() -> Self {
        Self { balance: U256::ZERO, nonce: 0, code_hash: KECCAK256_EMPTY }
    }
}

/// The world at one moment. A clone is a snapshot and costs three reference counts.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    accounts: Map<Address, AccountRecord>,
    storage: Map<(Address, U256), U256>,
    code: Map<B256, Bytecode>,
}

impl State {
    pub(crate) fn account(&self, address: Address) -> AccountRecord {
        self.accounts.get(&address).copied().unwrap_or_default()
    }

    pub(crate) fn storage(&self, address: Address, slot: U256) -> U256 {
        self.storage.get(&(address, slot)).copied().unwrap_or_default()
    }

    pub(crate) fn code(&self, address: Address) -> Bytes {
        self.code.get(&self.account(address).code_hash).map(Bytecode::original_bytes).unwrap_or_default()
    }

    pub(crate) fn set_balance(&mut self, address: Address, balance: U256) {
        self.update(address, |account| account.balance = balance);
    }

    pub(crate) fn set_nonce(&mut self, address: Address, nonce: u64) {
        self.update(address, |account| account.nonce = nonce);
    }

    pub(crate) fn set_storage(&mut self, address: Address, slot: U256, value: U256) {
        self.storage.insert((address, slot), value);
    }

    /// Fails if the bytes start as a delegation (0xef01) and are not one.
    pub(crate) fn set_code(&mut self, address: Address, code: Bytes) -> Result<(), String> {
        if code.is_empty() {
            self.update(address, |account| account.code_hash = KECCAK256_EMPTY);
            return Ok(());
        }
        let code_hash = keccak256(&code);
        let bytecode = Bytecode::new_raw_checked(code).map_err(|error| format!("invalid code: {error}"))?;
        self.code.insert(code_hash, bytecode);
        self.update(address, |account| account.code_hash = code_hash);
        Ok(())
    }

    /// Gives an account the code that another one has. Hashing the code again would take longer than all the rest.
    pub(crate) fn share_code(&mut self, address: Address, like: Address) {
        let code_hash = self.account(like).code_hash;
        self.update(address, |account| account.code_hash = code_hash);
    }

    fn update(&mut self, address: Address, change: impl FnOnce(&mut AccountRecord)) {
        let mut account = self.account(address);
        change(&mut account);
        self.accounts.insert(address, account);
    }

    /// Takes over what a transaction changed. Since Cancun an account can only be destroyed by the transaction that
    /// created it, so stored slots never have to be cleared.
    pub(crate) fn apply(&mut self, changes: AddressMap<Account>) {
        for (address, account) in changes {
            if !account.is_touched() {
                continue;
            }
            if account.is_selfdestructed() {
                self.accounts.insert(address, AccountRecord::default());
                continue;
            }
            let AccountInfo { balance, nonce, code_hash, code, .. } = account.info;
            if let Some(code) = code
                && code_hash != KECCAK256_EMPTY
                && self.code.get(&code_hash).is_none()
            {
                self.code.insert(code_hash, code);
            }
            self.accounts.insert(address, AccountRecord { balance, nonce, code_hash });
            for (slot, value) in account.storage {
                if value.is_changed() {
                    self.storage.insert((address, slot), value.present_value);
                }
            }
        }
    }
}

/// A state with what else the EVM asks a node for: the hashes of earlier blocks.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub state: State,
    pub hashes: Map<u64, B256>,
    /// Accounts whose storage a state override replaced: what is not overridden reads as zero.
    pub emptied: HashSet<Address>,
    pub overridden: Map<(Address, U256), U256>,
}

impl World {
    pub(crate) fn new(state: State, hashes: Map<u64, B256>) -> Self {
        Self { state, hashes, emptied: HashSet::new(), overridden: Map::default() }
    }
}

impl Database for World {
    type Error = Infallible;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, Infallible> {
        Ok(self.state.accounts.get(&address).map(|account| AccountInfo {
            balance: account.balance,
            nonce: account.nonce,
            code_hash: account.code_hash,
            account_id: None,
            code: None,
        }))
    }

    fn code_by_hash(&mut self, code_hash: B256) -> Result<Bytecode, Infallible> {
        Ok(self.state.code.get(&code_hash).cloned().unwrap_or_default())
    }

    fn storage(&mut self, address: Address, slot: U256) -> Result<U256, Infallible> {
        if let Some(value) = self.overridden.get(&(address, slot)) {
            return Ok(*value);
        }
        Ok(if self.emptied.contains(&address) { U256::ZERO } else { self.state.storage(address, slot) })
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, Infallible> {
        Ok(self.hashes.get(&number).copied().unwrap_or_default())
    }
}

impl DatabaseCommit for World {
    fn commit(&mut self, changes: AddressMap<Account>) {
        self.state.apply(changes);
    }
}
