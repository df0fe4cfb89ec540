//! Log queries, and the filters a client polls.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, Bloom, BloomInput, Log};

use crate::chain::{Block, Chain, Mined};

/// Most blocks one log query may cover.
pub const MAX_LOG_RANGE_BLOCKS: u64 = 100_000;
/// Most logs one query may return.
pub const MAX_LOG_RESULTS: usize = 20_000;
/// Most addresses, and most alternatives per topic, in one query.
pub const MAX_LOG_ALTERNATIVES: usize = 1024;
/// Most filters installed at once; the oldest gives way.
pub const MAX_FILTERS: usize = 1024;

/// What a log must be to be found. Empty lists match everything.
#[derive(Debug, Clone, Default)]
pub(crate) struct LogQuery {
    pub addresses: Vec<Address>,
    pub topics: Vec<Vec<B256>>,
}

impl LogQuery {
    fn matches(&self, log: &Log) -> bool {
        if !self.addresses.is_empty() && !self.addresses.contains(&log.address) {
            return false;
        }
        let topics = log.data.topics();
        self.topics.len() <= topics.len()
            && self.topics.iter().zip(topics).all(|(wanted, topic)| wanted.is_empty() || wanted.contains(topic))
    }

    fn may_be_in(&self, bloom: &Bloom) -> bool {
        self.addresses.is_empty()
            || self.addresses.iter().any(|address| bloom.contains_input(BloomInput::Raw(address.as_slice())))
    }

    /// Visits the matching logs of a range of blocks, in order; `false` if there are too many.
    pub(crate) fn visit(
        &self,
        chain: &Chain,
        range: std::ops::RangeInclusive<u64>,
        mut found: impl FnMut(&Block, usize, &Mined, usize, &Log),
    ) -> bool {
        let mut count = 0;
        for block in range.filter_map(|number| chain.block(number)) {
            if !self.may_be_in(&block.header.logs_bloom) {
                continue;
            }
            for (index, mined) in block.transactions.iter().enumerate() {
                for (place, log) in mined.logs.iter().enumerate().filter(|(_, log)| self.matches(log)) {
                    count += 1;
                    if count > MAX_LOG_RESULTS {
                        return false;
                    }
                    found(block, index, mined, mined.first_log + place, log);
                }
            }
        }
        true
    }
}

/// What a filter reports.
#[derive(Debug, Clone)]
pub(crate) enum Subject {
    Blocks,
    Logs { query: LogQuery, from: u64, to: Option<u64> },
}

/// The installed filters. After the chain went back, the blocks that replaced others are reported anew; logs of the
/// removed ones are not announced as removed.
#[derive(Debug, Default)]
pub(crate) struct Filters {
    installed: BTreeMap<u64, (Subject, u64)>,
    next: u64,
}

impl Filters {
    /// Installs a filter that reports from block `from` on.
    pub(crate) fn install(&mut self, subject: Subject, from: u64) -> u64 {
        self.next += 1;
        self.installed.insert(self.next, (subject, from));
        if self.installed.len() > MAX_FILTERS {
            self.installed.pop_first();
        }
        self.next
    }

    pub(crate) fn uninstall(&mut self, id: u64) -> bool {
        self.installed.remove(&id).is_some()
    }

    pub(crate) fn subject(&self, id: u64) -> Option<Subject> {
        self.installed.get(&id).map(|(subject, _)| subject.clone())
    }

    /// What the filter is about and the blocks it has not yet reported.
    pub(crate) fn poll(&mut self, id: u64, head: u64) -> Option<(Subject, u64)> {
        let (subject, from) = self.installed.get_mut(&id)?;
        let result = (subject.clone(), *from);
        *from = (*from).max(head + 1);
        Some(result)
    }

    pub(crate) fn rewind(&mut self, fork: u64) {
        for (_, from) in self.installed.values_mut() {
            *from = (*from).min(fork + 1);
        }
    }
}
