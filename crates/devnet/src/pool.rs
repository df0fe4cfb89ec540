//! Transactions that wait for a block.
//!
//! One queue per sender, ordered by nonce. What has a gap before it waits for the gap to close; a second transaction with
//! the same nonce replaces the first if it pays at least a tenth more, as with geth.

use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::sync::Arc;

use alloy_consensus::Transaction as _;
use alloy_primitives::{Address, B256, U256};

use crate::state::State;
use crate::transaction::Signed;

/// Most transactions that wait at once; the next one is answered `txpool is full`.
pub const MAX_POOL_TRANSACTIONS: usize = 16_384;
/// A replacement must raise both fee caps by this much, in percent.
const REPLACEMENT_BUMP_PERCENT: u128 = 10;

#[derive(Debug, Clone)]
struct Waiting {
    signed: Arc<Signed>,
    arrival: u64,
    /// Visible and replaceable, but no block takes it: an injected fault.
    held: bool,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Pool {
    senders: HashMap<Address, BTreeMap<u64, Waiting>>,
    by_hash: HashMap<B256, (Address, u64)>,
    arrivals: u64,
}

impl Pool {
    pub(crate) fn insert(&mut self, signed: &Arc<Signed>, state: &State, held: bool) -> Result<(), String> {
        if self.by_hash.contains_key(&signed.hash) {
            return Err("already known".to_owned());
        }
        let account = state.account(signed.sender);
        let nonce = signed.nonce();
        if nonce < account.nonce {
            return Err(format!("nonce too low: next nonce {}, tx nonce {nonce}", account.nonce));
        }
        let cost = signed.cost();
        if cost > account.balance {
            return Err(format!(
                "insufficient funds for gas * price + value: balance {}, tx cost {cost}, overshot {}",
                account.balance,
                cost.saturating_sub(account.balance)
            ));
        }
        let queue = self.senders.get(&signed.sender);
        let replaced = queue.and_then(|queue| queue.get(&nonce)).map(|old| Arc::clone(&old.signed));
        if let Some(old) = &replaced {
            let bumped = |old: u128, new: u128| new >= old.saturating_add(old * REPLACEMENT_BUMP_PERCENT / 100) && new > old;
            let tip = |signed: &Signed| signed.envelope.max_priority_fee_per_gas().unwrap_or(signed.envelope.max_fee_per_gas());
            if !bumped(old.envelope.max_fee_per_gas(), signed.envelope.max_fee_per_gas()) || !bumped(tip(old), tip(signed)) {
                return Err("replacement transaction underpriced".to_owned());
            }
        } else {
            let queued_cost = queue
                .into_iter()
                .flat_map(BTreeMap::values)
                .fold(U256::ZERO, |sum, waiting| sum.saturating_add(waiting.signed.cost()));
            if queued_cost.saturating_add(cost) > account.balance {
                return Err(format!(
                    "insufficient funds for gas * price + value: balance {}, queued cost {queued_cost}, tx cost {cost}, overshot {}",
                    account.balance,
                    queued_cost.saturating_add(cost).saturating_sub(account.balance)
                ));
            }
            if self.by_hash.len() >= MAX_POOL_TRANSACTIONS {
                return Err("txpool is full".to_owned());
            }
        }
        if let Some(old) = replaced {
            self.by_hash.remove(&old.hash);
        }
        self.by_hash.insert(signed.hash, (signed.sender, nonce));
        self.arrivals += 1;
        let waiting = Waiting { arrival: self.arrivals, held, signed: Arc::clone(signed) };
        self.senders.entry(signed.sender).or_default().insert(nonce, waiting);
        Ok(())
    }

    pub(crate) fn get(&self, hash: B256) -> Option<Arc<Signed>> {
        let (sender, nonce) = self.by_hash.get(&hash)?;
        self.senders.get(sender)?.get(nonce).map(|waiting| Arc::clone(&waiting.signed))
    }

    pub(crate) fn remove(&mut self, hash: B256) -> Option<Arc<Signed>> {
        let (sender, nonce) = self.by_hash.remove(&hash)?;
        let queue = self.senders.get_mut(&sender)?;
        let removed = queue.remove(&nonce);
        if queue.is_empty() {
            self.senders.remove(&sender);
        }
        removed.map(|waiting| waiting.signed)
    }

    /// Forgets what the chain has made impossible.
    pub(crate) fn remove_stale(&mut self, state: &State, senders: impl IntoIterator<Item = Address>) {
        for sender in senders {
            let Some(queue) = self.senders.get_mut(&sender) else { continue };
            let keep = queue.split_off(&state.account(sender).nonce);
            for stale in std::mem::replace(queue, keep).into_values() {
                self.by_hash.remove(&stale.signed.hash);
            }
            if queue.is_empty() {
                self.senders.remove(&sender);
            }
        }
    }

    /// The nonce after the last transaction that could be mined without a gap.
    pub(crate) fn next_nonce(&self, sender: Address, state: &State) -> u64 {
        let mut nonce = state.account(sender).nonce;
        let Some(queue) = self.senders.get(&sender) else { return nonce };
        while queue.contains_key(&nonce) {
            nonce += 1;
        }
        nonce
    }

    /// What a block built now would take, best tip first and then by arrival; each sender's in order of nonce.
    pub(crate) fn candidates<'pool>(&'pool self, state: &State, base_fee: u64) -> Candidates<'pool> {
        let mut candidates = Candidates { queues: &self.senders, heads: BinaryHeap::new(), base_fee };
        for sender in self.senders.keys() {
            candidates.push(*sender, state.account(*sender).nonce);
        }
        candidates
    }
}

/// Iterates over executable transactions; a sender's next one is offered once the caller says the last was taken.
pub(crate) struct Candidates<'pool> {
    queues: &'pool HashMap<Address, BTreeMap<u64, Waiting>>,
    heads: BinaryHeap<(u128, std::cmp::Reverse<u64>, Address, u64)>,
    base_fee: u64,
}

impl Candidates<'_> {
    fn push(&mut self, sender: Address, nonce: u64) {
        let Some(waiting) = self.queues.get(&sender).and_then(|queue| queue.get(&nonce)) else { return };
        if waiting.held {
            return;
        }
        if let Some(tip) = waiting.signed.tip(self.base_fee) {
            self.heads.push((tip, std::cmp::Reverse(waiting.arrival), sender, nonce));
        }
    }

    pub(crate) fn next(&mut self) -> Option<Arc<Signed>> {
        let (_, _, sender, nonce) = self.heads.pop()?;
        self.queues.get(&sender)?.get(&nonce).map(|waiting| Arc::clone(&waiting.signed))
    }

    /// The transaction is in the block: its sender's next one may follow.
    pub(crate) fn taken(&mut self, signed: &Signed) {
        self.push(signed.sender, signed.nonce() + 1);
    }
}
