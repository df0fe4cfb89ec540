//! The facilitator's book in memory: for tests, demos and single processes that may forget.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use super::outbox::{Landing, LaneClaim, LaneId, LaneLease, Outbox, Outgoing, SponsorBudget, UnderWay, Unsendable, Written};
use super::settlements::{Finding, SettlementEntry, SettlementQuery, SettlementState, Settlements};
use super::{BookError, locked};
use crate::BoxFuture;
use crate::network::Network;
use crate::reason::Refusal;
use crate::scheme::{PaymentKey, Settlement, TransactionId};
use crate::time::UnixSeconds;

const SECONDS_PER_DAY: u64 = 86_400;

/// A facilitator's book that dies with the process. Every clone is the same node; [`Self::join`] makes another one on
/// the same book, as a replica would be.
#[derive(Clone, Debug, Default)]
pub struct MemorySettlements {
    node: u64,
    book: Arc<Mutex<Book>>,
}

#[derive(Debug, Default)]
struct Book {
    entries: HashMap<PaymentKey, SettlementEntry>,
    /// From when on the chain is to be asked whether an end is for good.
    checks: HashMap<PaymentKey, UnixSeconds>,
    lanes: BTreeMap<LaneId, Lane>,
    sponsored: HashMap<Account, u64>,
    nodes: u64,
    dead_nodes: BTreeSet<u64>,
    /// Which node serves which network.
    serving: BTreeSet<(Network, u64)>,
}

/// A UTC day and whom something was spent for on it.
type Account = (u64, String);

#[derive(Debug, Default)]
struct Lane {
    node: Option<u64>,
    token: u64,
    open: BTreeMap<u64, UnderWay>,
    /// What was booked for what is open, in gwei.
    charged: BTreeMap<u64, HashMap<Account, u64>>,
    /// What need not be followed any more, for explanations.
    closed: Vec<UnderWay>,
}

impl MemorySettlements {
    /// Another node on the same book.
    #[must_use]
    pub fn join(&self) -> Self {
        let mut book = self.book();
        book.nodes = book.nodes.saturating_add(1);
        Self { node: book.nodes, book: Arc::clone(&self.book) }
    }

    /// This node is dead for the others, which may take what it had. It can't write under its leases once they did.
    pub fn die(&self) {
        self.book().dead_nodes.insert(self.node);
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        locked(&self.book)
    }
}

/// A book in memory never waits.
fn ready<'a, T: Send + 'a>(value: T) -> BoxFuture<'a, Result<T, BookError>> {
    Box::pin(std::future::ready(Ok(value)))
}

impl Settlements for MemorySettlements {
    fn find(&self, key: PaymentKey) -> BoxFuture<'_, Result<Option<SettlementEntry>, BookError>> {
        ready(self.book().entries.get(&key).cloned())
    }

    fn settled<'a>(
        &'a self,
        key: PaymentKey,
        settlement: &'a Settlement,
        now: UnixSeconds,
    ) -> BoxFuture<'a, Result<(), BookError>> {
        let mut book = self.book();
        let is_followed = book.is_followed(key, &settlement.transaction);
        let is_known = |entry: &SettlementEntry| is_settled(entry) && entry.transaction == settlement.transaction;
        if let Some(entry) = book.entries.get_mut(&key).filter(|entry| !is_known(entry)) {
            entry.transaction = settlement.transaction.clone();
            entry.state = SettlementState::Settled(settlement.clone());
            entry.changed_at = now;
            book.check(key, if is_followed { None } else { Some(now) });
        }
        ready(())
    }

    fn found<'a>(&'a self, finding: &'a Finding<'a>) -> BoxFuture<'a, Result<Option<SettlementEntry>, BookError>> {
        let mut book = self.book();
        let key = finding.record.key;
        let existing = book.entries.get(&key).filter(|entry| !matches!(entry.state, SettlementState::Dead(_)));
        if let Some(existing) = existing {
            return ready(Some(existing.clone()));
        }
        let entry = SettlementEntry {
            record: finding.record.clone(),
            request: finding.request.clone(),
            caller: finding.caller.map(str::to_owned),
            state: SettlementState::Settled(finding.settlement.clone()),
            transaction: finding.settlement.transaction.clone(),
            height: finding.height,
            sent_at: finding.now,
            changed_at: finding.now,
        };
        book.entries.insert(key, entry);
        book.check(key, Some(finding.now));
        ready(None)
    }

    fn dead<'a>(
        &'a self,
        key: PaymentKey,
        judged: &'a TransactionId,
        refusal: &'a Refusal,
        now: UnixSeconds,
    ) -> BoxFuture<'a, Result<bool, BookError>> {
        let mut book = self.book();
        let is_judged = |entry: &SettlementEntry| entry.transaction == *judged;
        if book.entries.get(&key).is_some_and(is_judged) {
            book.die(key, refusal, now);
        }
        let is_dead = |entry: &SettlementEntry| is_judged(entry) && matches!(entry.state, SettlementState::Dead(_));
        ready(book.entries.get(&key).is_some_and(is_dead))
    }

    fn finished<'a>(&'a self, judged: &'a SettlementEntry) -> BoxFuture<'a, Result<(), BookError>> {
        let mut book = self.book();
        if book.is_still(judged) {
            book.check(judged.record.key, None);
        }
        ready(())
    }

    fn undone<'a>(&'a self, judged: &'a SettlementEntry, now: UnixSeconds) -> BoxFuture<'a, Result<(), BookError>> {
        let mut book = self.book();
        let key = judged.record.key;
        if is_settled(judged) && book.is_still(judged) && book.checks.contains_key(&key) {
            book.check(key, None);
            if let Some(entry) = book.entries.get_mut(&key) {
                entry.state = SettlementState::Sending(entry.transaction.clone());
                entry.changed_at = now;
            }
        }
        ready(())
    }

    fn list<'a>(&'a self, query: &'a SettlementQuery) -> BoxFuture<'a, Result<Vec<SettlementEntry>, BookError>> {
        let book = self.book();
        let mut found: Vec<SettlementEntry> =
            book.entries.values().filter(|entry| book.matches(query, entry)).cloned().collect();
        found.sort_by_key(|entry| (std::cmp::Reverse(entry.sent_at), entry.record.key));
        found.truncate(query.limit);
        ready(found)
    }
}

impl Outbox for MemorySettlements {
    fn take<'a>(&'a self, lane: &'a LaneId) -> BoxFuture<'a, Result<LaneClaim, BookError>> {
        let mut book = self.book();
        let is_alive = |node: u64| !book.dead_nodes.contains(&node);
        let taken = book.lanes.get(lane).and_then(|lane| lane.node).is_some_and(|node| node != self.node && is_alive(node));
        if taken {
            return ready(LaneClaim::Theirs);
        }
        let state = book.lanes.entry(lane.clone()).or_default();
        state.node = Some(self.node);
        state.token = state.token.saturating_add(1);
        ready(LaneClaim::Ours(LaneLease { lane: lane.clone(), token: state.token }))
    }

    fn give_back<'a>(&'a self, lease: &'a LaneLease) -> BoxFuture<'a, Result<(), BookError>> {
        if let Some(lane) = self.book().lane(lease) {
            lane.node = None;
            lane.token = lane.token.saturating_add(1);
        }
        ready(())
    }

    fn nodes<'a>(&'a self, network: &'a Network) -> BoxFuture<'a, Result<usize, BookError>> {
        let mut book = self.book();
        book.serving.insert((network.clone(), self.node));
        let serving = book.serving.iter().filter(|(it, node)| it == network && !book.dead_nodes.contains(node));
        ready(serving.count())
    }

    fn sending<'a>(&'a self, outgoing: &'a Outgoing<'a>) -> BoxFuture<'a, Result<Written, BookError>> {
        Box::pin(std::future::ready(self.book().send(outgoing)))
    }

    fn replacing<'a>(&'a self, outgoing: &'a Outgoing<'a>) -> BoxFuture<'a, Result<Written, BookError>> {
        let mut book = self.book();
        let Some(lane) = book.lane(outgoing.lease) else { return ready(Written::LeaseLost) };
        let Some(under_way) = lane.open.get_mut(&outgoing.sequence) else { return ready(Written::LeaseLost) };
        if names(under_way, outgoing.transaction) {
            return ready(Written::Yes);
        }
        let carried = under_way.clone();
        under_way.transactions.push((outgoing.transaction.clone(), outgoing.signed.to_vec()));
        for key in &carried.payments {
            let ours = |entry: &&mut SettlementEntry| {
                carried.landing.is_none() && is_sending(entry) && names(&carried, &entry.transaction)
            };
            if let Some(entry) = book.entries.get_mut(key).filter(ours) {
                entry.transaction = outgoing.transaction.clone();
                entry.state = SettlementState::Sending(outgoing.transaction.clone());
                entry.changed_at = outgoing.now;
            }
        }
        ready(Written::Yes)
    }

    fn refused<'a>(
        &'a self,
        lease: &'a LaneLease,
        sequence: u64,
        refusal: &'a Refusal,
        now: UnixSeconds,
    ) -> BoxFuture<'a, Result<(), BookError>> {
        let mut book = self.book();
        let removed = book.lane(lease).and_then(|lane| {
            let only = lane.open.get(&sequence).is_some_and(|it| it.transactions.len() == 1 && it.landing.is_none());
            only.then(|| Some((lane.open.remove(&sequence)?, lane.charged.remove(&sequence).unwrap_or_default()))).flatten()
        });
        if let Some((under_way, charged)) = removed {
            for (account, gwei) in charged {
                let spent = book.sponsored.entry(account).or_default();
                *spent = spent.saturating_sub(gwei);
            }
            for key in &under_way.payments {
                // A payment that died and was sent again belongs to another transaction.
                if book.entries.get(key).is_some_and(|entry| names(&under_way, &entry.transaction)) {
                    book.die(*key, refusal, now);
                }
            }
        }
        ready(())
    }

    fn landed<'a>(&'a self, lease: &'a LaneLease, sequence: u64, landing: &'a Landing) -> BoxFuture<'a, Result<(), BookError>> {
        let mut book = self.book();
        let Some(under_way) = book.lane(lease).and_then(|lane| lane.open.get_mut(&sequence)) else { return ready(()) };
        under_way.landing = Some(landing.clone());
        let under_way = under_way.clone();
        for key in &under_way.payments {
            let ours = |entry: &&mut SettlementEntry| is_sending(entry) && names(&under_way, &entry.transaction);
            if let Some(entry) = book.entries.get_mut(key).filter(ours) {
                entry.transaction = landing.transaction.clone();
                entry.state = SettlementState::Sending(landing.transaction.clone());
            }
        }
        ready(())
    }

    fn reopened<'a>(&'a self, lease: &'a LaneLease, sequence: u64, now: UnixSeconds) -> BoxFuture<'a, Result<(), BookError>> {
        let mut book = self.book();
        let Some(under_way) = book.lane(lease).and_then(|lane| lane.open.get_mut(&sequence)) else { return ready(()) };
        under_way.landing = None;
        let under_way = under_way.clone();
        let Some((newest, _)) = under_way.transactions.last() else { return ready(()) };
        for key in &under_way.payments {
            let ours = |entry: &&mut SettlementEntry| names(&under_way, &entry.transaction);
            if let Some(entry) = book.entries.get_mut(key).filter(ours) {
                entry.transaction = newest.clone();
                entry.state = SettlementState::Sending(newest.clone());
                entry.changed_at = now;
                book.check(*key, None);
            }
        }
        ready(())
    }

    fn closed<'a>(&'a self, lease: &'a LaneLease, sequence: u64) -> BoxFuture<'a, Result<(), BookError>> {
        let mut book = self.book();
        let Some(lane) = book.lane(lease) else { return ready(()) };
        let Some(under_way) = lane.open.remove(&sequence) else { return ready(()) };
        lane.charged.remove(&sequence);
        lane.closed.push(under_way.clone());
        let landed = under_way.landing.as_ref().filter(|landing| landing.succeeded).map(|landing| &landing.transaction);
        for key in &under_way.payments {
            let Some(entry) = book.entries.get(key) else { continue };
            if is_settled(entry) && names(&under_way, &entry.transaction) && landed != Some(&entry.transaction) {
                let at = entry.changed_at;
                book.check(*key, Some(at));
            }
        }
        ready(())
    }

    fn under_way<'a>(
        &'a self,
        lease: &'a LaneLease,
        from: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Option<Vec<UnderWay>>, BookError>> {
        let mut book = self.book();
        let open = book.lane(lease).map(|lane| lane.open.range(from..).take(limit).map(|(_, open)| open.clone()).collect());
        ready(open)
    }

    fn last_closed<'a>(&'a self, lane: &'a LaneId) -> BoxFuture<'a, Result<Option<u64>, BookError>> {
        let book = self.book();
        ready(book.lanes.get(lane).and_then(|lane| lane.closed.iter().map(|closed| closed.sequence).max()))
    }

    fn carrier(&self, key: PaymentKey) -> BoxFuture<'_, Result<Option<(LaneId, u64)>, BookError>> {
        let book = self.book();
        let Some(entry) = book.entries.get(&key) else { return ready(None) };
        let mut all =
            book.lanes.iter().flat_map(|(id, lane)| lane.closed.iter().chain(lane.open.values()).map(move |it| (id, it)));
        let found = all.rfind(|(_, it)| it.payments.contains(&key) && names(it, &entry.transaction));
        ready(found.map(|(id, under_way)| (id.clone(), under_way.sequence)))
    }

    fn landing(&self, key: PaymentKey) -> BoxFuture<'_, Result<Option<Landing>, BookError>> {
        let book = self.book();
        let Some(entry) = book.entries.get(&key) else { return ready(None) };
        let landings = book.outgoing().filter_map(|under_way| under_way.landing.as_ref());
        let found = landings.filter(|landing| landing.transaction == entry.transaction).last().cloned();
        ready(found)
    }
}

/// Whether a transaction is one of those with this sequence number.
fn names(under_way: &UnderWay, transaction: &TransactionId) -> bool {
    under_way.transactions.iter().any(|(id, _)| id == transaction)
}

fn is_sending(entry: &SettlementEntry) -> bool {
    matches!(entry.state, SettlementState::Sending(_))
}

fn is_settled(entry: &SettlementEntry) -> bool {
    matches!(entry.state, SettlementState::Settled(_))
}

impl Book {
    /// The lane, if the lease still holds.
    fn lane(&mut self, lease: &LaneLease) -> Option<&mut Lane> {
        self.lanes.get_mut(&lease.lane).filter(|lane| lane.token == lease.token)
    }

    /// Everything that was ever written and not refused.
    fn outgoing(&self) -> impl Iterator<Item = &UnderWay> {
        self.lanes.values().flat_map(|lane| lane.closed.iter().chain(lane.open.values()))
    }

    /// Whether a transaction that carries the payment is under way.
    fn is_followed(&self, key: PaymentKey, transaction: &TransactionId) -> bool {
        let mut open = self.lanes.values().flat_map(|lane| lane.open.values());
        open.any(|under_way| names(under_way, transaction) && under_way.payments.contains(&key))
    }

    /// Whether the book still says what somebody has judged.
    fn is_still(&self, judged: &SettlementEntry) -> bool {
        let now = self.entries.get(&judged.record.key);
        now.is_some_and(|now| now.transaction == judged.transaction && now.state.name() == judged.state.name())
    }

    fn check(&mut self, key: PaymentKey, at: Option<UnixSeconds>) {
        match at {
            Some(at) => self.checks.insert(key, at),
            None => self.checks.remove(&key),
        };
    }

    fn die(&mut self, key: PaymentKey, refusal: &Refusal, now: UnixSeconds) {
        if let Some(entry) = self.entries.get_mut(&key).filter(|entry| is_sending(entry)) {
            entry.state = SettlementState::Dead(refusal.clone());
            entry.changed_at = now;
            let expires_at = entry.record.expires_at;
            self.check(key, Some(expires_at));
        }
    }

    fn send(&mut self, outgoing: &Outgoing<'_>) -> Result<Written, BookError> {
        let Some(lane) = self.lane(outgoing.lease) else { return Ok(Written::LeaseLost) };
        match lane.open.get(&outgoing.sequence) {
            // The same write again: its first answer was lost.
            Some(under_way) if names(under_way, outgoing.transaction) => return Ok(Written::Yes),
            Some(_) => return Err(outgoing.sequence_in_use()),
            None => outgoing.check_payments()?,
        }
        let day = outgoing.now.0 / SECONDS_PER_DAY;
        let mut sponsored: HashMap<Account, u64> = HashMap::new();
        let mut without = Vec::new();
        for payment in outgoing.payments {
            let key = payment.record.key;
            let state = self.entries.get(&key).map(|entry| &entry.state);
            if let Some(state) = state.filter(|state| !matches!(state, SettlementState::Dead(_))) {
                without.push((key, Unsendable::Taken(state.clone())));
                continue;
            }
            let spent = |budget: &SponsorBudget| {
                let account = (day, budget.account.clone());
                let spent = sponsored.get(&account).or_else(|| self.sponsored.get(&account)).copied().unwrap_or_default();
                (account, spent.saturating_add(payment.fee_gwei))
            };
            if let Some(budget) = payment.budgets.iter().find(|budget| spent(budget).1 > budget.limit_gwei) {
                without.push((key, Unsendable::OverBudget(budget.clone())));
                continue;
            }
            let new: Vec<_> = payment.budgets.iter().map(spent).collect();
            sponsored.extend(new);
        }
        if !without.is_empty() {
            return Ok(Written::Without(without));
        }
        let before = |account: &Account| self.sponsored.get(account).copied().unwrap_or_default();
        let charged =
            sponsored.iter().map(|(account, spent)| (account.clone(), spent.saturating_sub(before(account)))).collect();
        self.sponsored.extend(sponsored);
        for payment in outgoing.payments {
            let entry = SettlementEntry {
                record: payment.record.clone(),
                request: payment.request.clone(),
                caller: payment.caller.clone(),
                state: SettlementState::Sending(outgoing.transaction.clone()),
                transaction: outgoing.transaction.clone(),
                height: outgoing.height,
                sent_at: outgoing.now,
                changed_at: outgoing.now,
            };
            self.entries.insert(payment.record.key, entry);
            self.check(payment.record.key, None);
        }
        let under_way = UnderWay {
            sequence: outgoing.sequence,
            transactions: vec![(outgoing.transaction.clone(), outgoing.signed.to_vec())],
            height: outgoing.height,
            payments: outgoing.payments.iter().map(|payment| payment.record.key).collect(),
            expires_at: outgoing.payments.iter().map(|payment| payment.record.expires_at).max(),
            landing: None,
        };
        if let Some(lane) = self.lane(outgoing.lease) {
            lane.charged.insert(outgoing.sequence, charged);
            lane.open.insert(outgoing.sequence, under_way);
        }
        Ok(Written::Yes)
    }

    fn matches(&self, query: &SettlementQuery, entry: &SettlementEntry) -> bool {
        let record = &entry.record;
        query.network.as_ref().is_none_or(|network| *network == record.network)
            && query.payer.as_ref().is_none_or(|payer| *payer == record.payer)
            && query.pay_to.as_ref().is_none_or(|pay_to| *pay_to == record.pay_to)
            && query.transaction.as_ref().is_none_or(|transaction| self.carried(transaction, entry))
            && query.state.is_none_or(|state| state == entry.state.name())
            && query.check_by.is_none_or(|by| self.checks.get(&record.key).is_some_and(|at| *at <= by))
            && query.since.is_none_or(|since| entry.sent_at >= since)
            && query.before.is_none_or(|before| entry.sent_at < before)
            && query.after.is_none_or(|(at, key)| entry.sent_at < at || (entry.sent_at == at && record.key > key))
    }

    fn carried(&self, transaction: &TransactionId, entry: &SettlementEntry) -> bool {
        let carries = |under_way: &UnderWay| under_way.payments.contains(&entry.record.key) && names(under_way, transaction);
        entry.transaction == *transaction || self.outgoing().any(carries)
    }
}
