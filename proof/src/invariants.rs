//! What must hold whatever happened: the book against the chain, to the atom.
//!
//! The chain is read as anybody would read it, from its own logs and transactions, and believed; the book must agree:
//!
//! 1. Everything that moved by an authorization is settled in the book, in the transaction that moved it.
//! 2. Everything that the book calls settled moved exactly so: token, payer, payee, amount, once.
//! 3. What the book calls dead moved nothing. Nothing is left between the two.
//! 4. No authorization was carried by two transactions that were mined: the second could only burn gas.
//! 5. The facilitator's accounts have no gap in their nonces: nothing waits in the pool for a number that never comes.
//! 6. A seller's book: everything that settled is used up, in the transaction that moved it. Nothing is left in use.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use alloy_primitives::{Address, B256, U256};
use anyhow::{Context, Result, bail, ensure};
use farthing_core::books::{
    Deliveries, Delivery, DeliveryClaim, Fingerprint, Presented, SettlementEntry, SettlementQuery, SettlementState, Settlements,
};
use serde_json::json;

use crate::chain::{Ledger, read};
use crate::rpc::Rpc;

/// How many entries of the book are read at a time.
const PAGE: usize = 1_000;

/// One authorization of EIP-3009, as the chain names it.
pub type Authorization = (Address, B256);

/// What was looked at, and what does not hold.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// Entries in the book.
    pub entries: usize,
    /// Entries that are settled.
    pub settled: usize,
    /// Entries that are dead.
    pub dead: usize,
    /// Authorizations that were used on the chain.
    pub used: usize,
    /// What all of them moved, in atomic units.
    pub moved_atomic: U256,
    /// Transactions of the facilitator that were mined.
    pub transactions: usize,
    /// Every violation, in words.
    pub violations: Vec<String>,
}

impl Findings {
    /// An error with every violation, if there is one.
    pub fn hold(self) -> Result<Self> {
        if self.violations.is_empty() {
            return Ok(self);
        }
        bail!("{} violations:\n  {}", self.violations.len(), self.violations.join("\n  "))
    }

    fn violated(&mut self, what: String) {
        self.violations.push(what);
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { settled, dead, used, moved_atomic, transactions, violations, .. } = self;
        let bad = violations.len();
        write!(
            formatter,
            "{settled} settled and {dead} dead in the book; {used} moved {moved_atomic} on chain in {transactions} \
             transactions; {bad} violations"
        )
    }
}

/// Holds the whole book against the whole chain, once nothing is under way any more.
pub async fn reconcile(book: &dyn Settlements, rpc: &Rpc, token: Address, senders: &[Address]) -> Result<Findings> {
    let entries = all_entries(book).await?;
    let chain = read(rpc, token, senders).await?;
    let mut findings = compare(&entries, &chain, token);
    for sender in senders {
        check_nonces(rpc, *sender, &mut findings).await?;
    }
    Ok(findings)
}

/// Every entry of the book.
pub async fn all_entries(book: &dyn Settlements) -> Result<Vec<SettlementEntry>> {
    let mut entries: Vec<SettlementEntry> = Vec::new();
    loop {
        let after = entries.last().map(|entry| (entry.sent_at, entry.record.key));
        let page = book.list(&SettlementQuery { after, limit: PAGE, ..SettlementQuery::default() }).await?;
        if page.is_empty() {
            return Ok(entries);
        }
        entries.extend(page);
    }
}

/// Holds a seller's book against the book of what was settled, once nobody buys any more. It is asked as a buyer with
/// another request would ask it.
pub async fn check_deliveries(book: &dyn Deliveries, entries: &[SettlementEntry]) -> Result<()> {
    let request = Fingerprint("a request that nobody has paid for".to_owned());
    for entry in entries {
        let (key, now) = (entry.record.key, entry.changed_at);
        let found = book.claim(&Presented { key, request: request.clone(), expires_at: None, now }).await?;
        let is_right = match &entry.state {
            SettlementState::Settled(settlement) => {
                found == DeliveryClaim::Taken(Delivery::Served(settlement.transaction.clone()))
            }
            SettlementState::Sending(_) | SettlementState::Dead(_) => matches!(found, DeliveryClaim::New(_)),
        };
        ensure!(is_right, "{key} is {:?}, and for the seller {found:?}", entry.state);
    }
    Ok(())
}

/// Holds a book's entries against what the chain shows.
pub fn compare(entries: &[SettlementEntry], chain: &Ledger, token: Address) -> Findings {
    let mut findings = Findings {
        entries: entries.len(),
        used: chain.used.len(),
        moved_atomic: chain.used.values().fold(U256::ZERO, |sum, moved| sum.saturating_add(moved.amount)),
        transactions: chain.mined,
        ..Findings::default()
    };
    let mut known = BTreeSet::new();
    for entry in entries {
        match authorization(entry, token) {
            Ok(authorization) => {
                if !known.insert(authorization) {
                    findings.violated(format!("{} is in the book twice", entry.record.key));
                }
                check_entry(entry, authorization, chain, &mut findings);
            }
            Err(error) => findings.violated(format!("{}: {error:#}", entry.record.key)),
        }
    }
    for ((payer, nonce), moved) in chain.used.iter().filter(|(used, _)| !known.contains(used)) {
        let transaction = moved.transaction;
        findings.violated(format!("{payer} paid by {nonce} in {transaction}, of which the book knows nothing"));
    }
    for ((payer, nonce), transactions) in chain.carried.iter().filter(|(_, transactions)| transactions.len() > 1) {
        findings.violated(format!("authorization {nonce} of {payer} was carried by several transactions: {transactions:?}"));
    }
    for stray in &chain.strays {
        findings.violated(stray.clone());
    }
    findings
}

fn check_entry(entry: &SettlementEntry, authorization: Authorization, chain: &Ledger, findings: &mut Findings) {
    let key = entry.record.key;
    let moved = chain.used.get(&authorization);
    match (&entry.state, moved) {
        (SettlementState::Settled(settlement), Some(moved)) => {
            findings.settled = findings.settled.saturating_add(1);
            let in_book = (settlement.transaction.0.as_str(), settlement.amount.to_string());
            let on_chain = (moved.transaction.to_string(), moved.amount.to_string());
            if in_book.0 != on_chain.0 || in_book.1 != on_chain.1 {
                findings.violated(format!("{key}: the book has {in_book:?}, the chain {on_chain:?}"));
            }
            let payee = entry.record.pay_to.as_str().parse::<Address>().ok();
            if payee != Some(moved.to) || entry.record.amount.to_string() != on_chain.1 {
                findings.violated(format!("{key}: what moved is not what was agreed: {moved:?}"));
            }
        }
        (SettlementState::Settled(settlement), None) => {
            findings.violated(format!("{key} is settled in {} in the book and moved nothing", settlement.transaction));
        }
        (SettlementState::Dead(_), None) => findings.dead = findings.dead.saturating_add(1),
        (SettlementState::Dead(refusal), Some(moved)) => {
            findings.violated(format!("{key} is dead in the book ({refusal}) and moved in {}", moved.transaction));
        }
        (SettlementState::Sending(transaction), _) => {
            findings.violated(format!("{key} is left unresolved, sent by {transaction}; on chain: {moved:?}"));
        }
    }
}

fn authorization(entry: &SettlementEntry, token: Address) -> Result<Authorization> {
    let asset: Address = entry.record.asset.as_str().parse().context("the asset is an address")?;
    if asset != token {
        bail!("the asset is {asset}, which this test does not use");
    }
    let payer = entry.record.payer.as_str().parse().context("the payer is an address")?;
    Ok((payer, entry.record.reference.parse().context("the reference is a nonce")?))
}

/// Nothing may wait in the pool, neither for its turn nor for a number that never comes.
async fn check_nonces(rpc: &Rpc, sender: Address, findings: &mut Findings) -> Result<()> {
    let mut counts = BTreeMap::new();
    for tag in ["latest", "pending"] {
        counts.insert(tag, rpc.number("eth_getTransactionCount", json!([sender.to_string(), tag])).await?);
    }
    if counts.get("latest") != counts.get("pending") {
        findings.violated(format!("{sender} has transactions in the pool: {counts:?}"));
    }
    Ok(())
}
