//! Blocks, and everything that can be looked up in them.
//!
//! A [`Chain`] is a value: cloning it costs a few reference counts, so a reader takes one and works without locks, and a
//! snapshot is one that was kept.

use std::sync::Arc;

use alloy_consensus::Header;
use alloy_primitives::{Address, B256, Bloom, Log};

use crate::map::Map;
use crate::state::{State, World};
use crate::transaction::Signed;

/// How many blocks back state can be read, and how deep a reorganisation can go.
pub const MAX_HISTORY_BLOCKS: u64 = 128;

#[derive(Debug)]
pub(crate) struct Block {
    pub header: Header,
    pub hash: B256,
    pub transactions: Vec<Mined>,
    pub size_bytes: usize,
}

/// A transaction in a block, with what its receipt says.
#[derive(Debug)]
pub(crate) struct Mined {
    pub signed: Arc<Signed>,
    pub success: bool,
    pub gas_used: u64,
    pub cumulative_gas_used: u64,
    pub effective_gas_price: u128,
    pub contract: Option<Address>,
    pub logs: Vec<Log>,
    pub bloom: Bloom,
    /// The place of the first log among the block's.
    pub first_log: usize,
}

/// The canonical chain up to its newest block.
///
/// The indexes may still know blocks that a reorganisation removed; every look-up checks against the canonical block.
#[derive(Debug, Clone)]
pub(crate) struct Chain {
    number: u64,
    blocks: Map<u64, Arc<Block>>,
    hashes: Map<u64, B256>,
    numbers: Map<B256, u64>,
    locations: Map<B256, (u64, usize)>,
    states: Map<u64, Option<State>>,
    head: Arc<Block>,
    state: State,
}

impl Chain {
    pub(crate) fn new(genesis: Block, state: State) -> Self {
        let head = Arc::new(genesis);
        let mut chain = Self {
            number: head.header.number,
            blocks: Map::default(),
            hashes: Map::default(),
            numbers: Map::default(),
            locations: Map::default(),
            states: Map::default(),
            head: Arc::clone(&head),
            state: state.clone(),
        };
        chain.add(head, state);
        chain
    }

    pub(crate) fn add(&mut self, block: Arc<Block>, state: State) {
        let number = block.header.number;
        for (index, mined) in block.transactions.iter().enumerate() {
            self.locations.insert(mined.signed.hash, (number, index));
        }
        self.numbers.insert(block.hash, number);
        self.hashes.insert(number, block.hash);
        self.blocks.insert(number, Arc::clone(&block));
        self.states.insert(number, Some(state.clone()));
        if let Some(old) = number.checked_sub(MAX_HISTORY_BLOCKS + 1) {
            self.states.insert(old, None);
        }
        self.number = number;
        self.head = block;
        self.state = state;
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn head(&self) -> &Arc<Block> {
        &self.head
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// Changes the newest state without a block: what `anvil_setBalance` and its like do.
    pub(crate) fn edit_state<T>(&mut self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state);
        self.states.insert(self.number, Some(self.state.clone()));
        result
    }

    /// The state after a block, if it is not too far back.
    pub(crate) fn state_at(&self, number: u64) -> Option<&State> {
        if number == self.number {
            return Some(&self.state);
        }
        if number > self.number { None } else { self.states.get(&number)?.as_ref() }
    }

    pub(crate) fn world(&self, state: State) -> World {
        World::new(state, self.hashes.clone())
    }

    pub(crate) fn block(&self, number: u64) -> Option<&Arc<Block>> {
        if number > self.number { None } else { self.blocks.get(&number) }
    }

    pub(crate) fn block_by_hash(&self, hash: B256) -> Option<&Arc<Block>> {
        self.block(*self.numbers.get(&hash)?).filter(|block| block.hash == hash)
    }

    pub(crate) fn transaction(&self, hash: B256) -> Option<(&Arc<Block>, usize)> {
        let (number, index) = *self.locations.get(&hash)?;
        let block = self.block(number)?;
        (block.transactions.get(index)?.signed.hash == hash).then_some((block, index))
    }

    /// Goes back to an earlier block and returns the transactions that are no longer in the chain, oldest first.
    pub(crate) fn rewind(&mut self, number: u64) -> Option<Vec<Arc<Signed>>> {
        let state = self.state_at(number)?.clone();
        let head = Arc::clone(self.block(number)?);
        let removed = (number + 1..=self.number)
            .filter_map(|orphan| self.block(orphan))
            .flat_map(|block| block.transactions.iter().map(|mined| Arc::clone(&mined.signed)))
            .collect();
        self.number = number;
        self.head = head;
        self.state = state;
        Some(removed)
    }
}
