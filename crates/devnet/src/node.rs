//! The node: one writer, any number of readers.
//!
//! Whoever changes the chain holds the writer's lock, works on a clone and publishes it when it is done. Readers take the
//! published chain and keep it: they see one consistent chain for the whole of their request, and never wait for the EVM.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use alloy_primitives::{Address, B256, Bytes};
use revm::context::TxEnv;
use revm::primitives::TxKind;

use crate::chain::{Chain, MAX_HISTORY_BLOCKS};
use crate::clock::{Clock, ClockSetting};
use crate::execute::{Rules, apply_call, build_block, environment};
use crate::filter::Filters;
use crate::pool::Pool;
use crate::state::State;
use crate::transaction::Signed;

/// Most blocks one request may mine.
pub const MAX_MINE_BLOCKS: u64 = 100_000;
/// Most snapshots kept; the oldest gives way.
pub const MAX_SNAPSHOTS: usize = 256;

/// When blocks are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mining {
    /// A block for every transaction, before `eth_sendRawTransaction` answers. Empty blocks only on demand.
    Instant,
    /// A block at every tick, empty or not, as on a real chain.
    Interval(Duration),
    /// Only when told: [`Devnet::mine`](crate::Devnet::mine) or `evm_mine`.
    Manual,
}

/// What becomes of transactions that a reorganisation takes out of the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Orphans {
    Forgotten,
    Pooled,
}

/// What the node does with an accepted transaction; the last two are injected faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reception {
    Normal,
    /// Stays in the pool and is never mined.
    Held,
    /// Is answered with its hash and forgotten.
    Lost,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub rules: Rules,
    pub mining: Mining,
    pub clock: Clock,
    pub filters: Mutex<Filters>,
    published: RwLock<Arc<Chain>>,
    writer: Mutex<Writer>,
}

#[derive(Debug)]
struct Writer {
    pool: Pool,
    snapshots: BTreeMap<u64, Snapshot>,
    next_snapshot: u64,
    /// Raised whenever the chain goes back, so that a block made again has another hash.
    branch: u64,
}

#[derive(Debug)]
struct Snapshot {
    chain: Arc<Chain>,
    pool: Pool,
    clock: ClockSetting,
}

impl Node {
    pub(crate) fn new(rules: Rules, mining: Mining, clock: Clock, chain: Chain) -> Self {
        let writer = Writer { pool: Pool::default(), snapshots: BTreeMap::new(), next_snapshot: 1, branch: 0 };
        Self {
            rules,
            mining,
            clock,
            filters: Mutex::default(),
            published: RwLock::new(Arc::new(chain)),
            writer: Mutex::new(writer),
        }
    }

    /// The chain as it is now. It does not change under the caller.
    pub(crate) fn chain(&self) -> Arc<Chain> {
        Arc::clone(&self.published.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The nonce after what the chain has, as far as `seen` tells, and what waits.
    pub(crate) fn pending_nonce(&self, address: Address, seen: impl FnOnce() -> Arc<Chain>) -> u64 {
        // Nothing is mined between the two looks.
        let writer = self.writer();
        writer.pool.next_nonce(address, seen().state())
    }

    pub(crate) fn pooled(&self, hash: B256) -> Option<Arc<Signed>> {
        self.writer().pool.get(hash)
    }

    pub(crate) fn drop_pooled(&self, hash: B256) -> Option<Arc<Signed>> {
        self.writer().pool.remove(hash)
    }

    pub(crate) fn submit(&self, raw: &[u8], reception: Reception) -> Result<B256, String> {
        // Recovering the sender is the expensive part and needs no lock.
        let signed = Arc::new(Signed::decode(raw, self.rules.chain_id)?);
        signed.check(self.rules.block_gas_limit)?;
        let hash = signed.hash;
        let mut writer = self.writer();
        let chain = self.chain();
        writer.pool.insert(&signed, chain.state(), reception == Reception::Held)?;
        if reception == Reception::Lost {
            writer.pool.remove(hash);
        }
        if self.mining == Mining::Instant && reception == Reception::Normal {
            self.mine_waiting(&mut writer);
        }
        Ok(hash)
    }

    /// Makes `blocks` blocks; the first ones carry what waits.
    pub(crate) fn mine(&self, blocks: u64) -> Result<(), String> {
        if blocks > MAX_MINE_BLOCKS {
            return Err(format!("cannot mine {blocks} blocks at once, the limit is {MAX_MINE_BLOCKS}"));
        }
        let mut writer = self.writer();
        for _ in 0..blocks {
            self.mine_one(&mut writer, true);
        }
        Ok(())
    }

    pub(crate) fn set_next_timestamp(&self, seconds: u64) -> Result<(), String> {
        let head = self.chain().head().header.timestamp;
        if seconds < head {
            return Err(format!("timestamp {seconds} is before the newest block's, {head}"));
        }
        self.clock.fix_next(seconds);
        Ok(())
    }

    pub(crate) fn edit_state<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let _writer = self.writer();
        let mut chain = Chain::clone(&self.chain());
        let result = chain.edit_state(change);
        self.publish(chain);
        result
    }

    /// Runs a call of nobody's: a direct edit whose new state a contract works out. Returns what the call answered.
    pub(crate) fn edit_by_call(&self, to: Address, data: Bytes) -> Result<Bytes, String> {
        let _writer = self.writer();
        let mut chain = Chain::clone(&self.chain());
        let call =
            TxEnv { kind: TxKind::Call(to), gas_limit: self.rules.block_gas_limit, chain_id: None, data, ..TxEnv::default() };
        let world = chain.world(chain.state().clone());
        let (state, answer) = apply_call(self.rules, world, environment(&chain.head().header), call)?;
        chain.edit_state(|newest| *newest = state);
        self.publish(chain);
        Ok(answer)
    }

    pub(crate) fn snapshot(&self) -> u64 {
        let mut writer = self.writer();
        let id = writer.next_snapshot;
        writer.next_snapshot += 1;
        let snapshot = Snapshot { chain: self.chain(), pool: writer.pool.clone(), clock: self.clock.setting() };
        writer.snapshots.insert(id, snapshot);
        if writer.snapshots.len() > MAX_SNAPSHOTS {
            writer.snapshots.pop_first();
        }
        id
    }

    /// Goes back to a snapshot, which is used up, as are later ones.
    pub(crate) fn revert(&self, id: u64) -> bool {
        let mut writer = self.writer();
        if !writer.snapshots.contains_key(&id) {
            return false;
        }
        let mut later = writer.snapshots.split_off(&id);
        let Some((_, snapshot)) = later.pop_first() else { return false };
        writer.pool = snapshot.pool;
        writer.branch += 1;
        self.clock.restore(snapshot.clock);
        self.filters().rewind(snapshot.chain.number());
        self.publish_shared(snapshot.chain);
        true
    }

    /// Replaces the newest `depth` blocks by as many empty ones.
    pub(crate) fn reorganise(&self, depth: u64, orphans: Orphans) -> Result<(), String> {
        let mut writer = self.writer();
        let mut chain = Chain::clone(&self.chain());
        let fork = chain
            .number()
            .checked_sub(depth)
            .filter(|_| depth > 0)
            .ok_or_else(|| format!("cannot reorganise {depth} blocks of a chain that has {}", chain.number()))?;
        let removed = chain
            .rewind(fork)
            .ok_or_else(|| format!("cannot reorganise {depth} blocks, state is kept for {MAX_HISTORY_BLOCKS}"))?;
        writer.branch += 1;
        for _ in 0..depth {
            let timestamp = self.clock.take_next_block(chain.head().header.timestamp);
            let built = build_block(self.rules, &chain, None, timestamp, writer.branch);
            chain.add(Arc::new(built.block), built.state);
        }
        if orphans == Orphans::Pooled {
            for signed in removed {
                if let Err(reason) = writer.pool.insert(&signed, chain.state(), false) {
                    tracing::debug!(%reason, "an orphaned transaction does not fit the pool");
                }
            }
        }
        self.filters().rewind(fork);
        self.publish(chain);
        if self.mining == Mining::Instant {
            self.mine_waiting(&mut writer);
        }
        Ok(())
    }

    pub(crate) fn filters(&self) -> MutexGuard<'_, Filters> {
        self.filters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, chain: Chain) {
        self.publish_shared(Arc::new(chain));
    }

    fn publish_shared(&self, chain: Arc<Chain>) {
        *self.published.write().unwrap_or_else(PoisonError::into_inner) = chain;
    }

    fn mine_waiting(&self, writer: &mut Writer) {
        while self.mine_one(writer, false) {}
    }

    /// Returns whether the block carries transactions; one that would not is only made if `empty` is allowed.
    fn mine_one(&self, writer: &mut Writer, empty: bool) -> bool {
        let mut chain = Chain::clone(&self.chain());
        let parent = chain.head().header.timestamp;
        let built = build_block(self.rules, &chain, Some(&writer.pool), self.clock.next_block(parent), writer.branch);
        for hash in &built.impossible {
            writer.pool.remove(*hash);
        }
        let filled = !built.block.transactions.is_empty();
        if filled || empty {
            self.clock.take_next_block(parent);
            let senders: Vec<Address> = built.block.transactions.iter().map(|mined| mined.signed.sender).collect();
            writer.pool.remove_stale(&built.state, senders);
            chain.add(Arc::new(built.block), built.state);
            self.publish(chain);
        }
        filled
    }
}
