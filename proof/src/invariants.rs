//! What must hold whatever happened: the book against the chain, to the atom.
//!
//! The chain is read as anybody would read it, from its own logs and transactions, and believed; the book must agree:
//!
//! 1. Everything that moved by an authorization is settled in the book, in the transaction that moved it.
//! 2. Everything that the book calls settled moved exactly so: token, payer, payee, amount, once.
//! 3. What the book calls dead moved nothing. Nothing is left between the two.
//! 4. No authorization was carried by two transactions that were mined: the second could only burn gas.
//! 5. Each payment moved what its server said: of what the work decides not a unit more or less, and for nothing nothing was
//!    sent, and nothing is in the book. What Permit2 calls used is what moved.
//! 6. A payer is given coin for its approval once at most, as much as the book says; its approval was mined once.
//! 7. The facilitator's accounts have no gap in their nonces: nothing waits in the pool for a number that never comes.
//! 8. A seller's book: everything that settled is used up, in the transaction that moved it. Nothing is left in use.
//! 9. Its book of sales: everything that settled is in it, once, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use alloy_primitives::{Address, U256};
use anyhow::{Context, Result, bail, ensure};
use farthing_core::asset::AccountId;
use farthing_core::books::{
    Deliveries, Delivery, DeliveryClaim, Fingerprint, Presented, SaleQuery, Sales, SettlementEntry, SettlementQuery,
    SettlementState, Settlements,
};
use serde_json::json;

use crate::chain::{self, Ledger, Moved};
use crate::payments::{Authorization, Bill, By, Kind};
use crate::rpc::Rpc;

/// How many entries of the book are read at a time.
const PAGE: usize = 1_000;
/// More entries than any run makes.
const ALL: usize = 1_000_000;
/// How a nonce of Permit2, and an approval for which coin was given, begin in the book.
const PERMIT2_REFERENCE: &str = "permit2:";
const FUNDING_REFERENCE: &str = "funding:";

/// What a payment is said to be that was carried more than once.
pub const CARRIED_TWICE: &str = "was carried by several transactions";

/// What was looked at, and what does not hold.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// Payments in the book that are settled.
    pub settled: usize,
    /// Entries that are dead.
    pub dead: usize,
    /// Payments that moved on the chain.
    pub used: usize,
    /// What all of them moved, in atomic units.
    pub moved_atomic: U256,
    /// Payers that were given coin for their approvals.
    pub funded: usize,
    /// Those among them of whom the book does not say yet that they were: nobody waits for that, so that it is found out
    /// seconds later.
    pub fundings_open: usize,
    /// Approvals that payers had mined.
    pub approvals: usize,
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
        let Self { settled, dead, used, moved_atomic, funded, approvals, transactions, violations, .. } = self;
        let bad = violations.len();
        write!(
            formatter,
            "{settled} settled and {dead} dead in the book; {used} moved {moved_atomic} on chain in {transactions} \
             transactions; {funded} payers were given coin, {approvals} approved; {bad} violations"
        )
    }
}

/// Holds the whole book against the whole chain and what servers said, once nothing is under way any more.
pub async fn reconcile(
    book: &dyn Settlements,
    rpc: &Rpc,
    token: Address,
    senders: &[Address],
    bills: &[Bill],
) -> Result<Findings> {
    let mut findings = compare_with(rpc, &all_entries(book).await?, token, senders, bills).await?;
    for sender in senders {
        check_nonces(rpc, *sender, &mut findings).await?;
    }
    Ok(findings)
}

/// The same for entries that were read already, whatever waits in the pool.
pub async fn compare_with(
    rpc: &Rpc,
    entries: &[SettlementEntry],
    token: Address,
    senders: &[Address],
    bills: &[Bill],
) -> Result<Findings> {
    let ledger = chain::read(rpc, token, senders).await?;
    let mut findings = compare(entries, &ledger, token, bills);
    for bill in bills {
        let Authorization { payer, by: By::Permit2(nonce) } = bill.authorization else { continue };
        if chain::is_used(rpc, payer, nonce).await? != ledger.used.contains_key(&bill.authorization) {
            findings.violated(format!("{}: Permit2 does not say what the logs say", bill.authorization));
        }
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
    for entry in entries.iter().filter(|entry| !is_funding(entry)) {
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

/// Holds a seller's book of sales against the book of what was settled, once nobody buys any more: everything that moved was
/// sold once, in the transaction that moved it and for just that much, nothing else was, and nothing is left open.
pub async fn check_sales(book: &dyn Sales, entries: &[SettlementEntry]) -> Result<()> {
    let query = SaleQuery { limit: ALL, ..SaleQuery::default() };
    let mut sold: BTreeMap<_, _> = book.list(&query).await?.into_iter().map(|sale| (sale.payment.to_string(), sale)).collect();
    for entry in entries.iter().filter(|entry| !is_funding(entry)) {
        let sale = sold.remove(&entry.record.key.to_string());
        let is_right = match (&entry.state, &sale) {
            (SettlementState::Settled(settled), Some(sale)) => {
                let bill = &sale.bill;
                let from = |payer: &AccountId| payer.as_str().eq_ignore_ascii_case(settled.payer.as_str());
                (&sale.transaction, &bill.amount) == (&settled.transaction, &settled.amount)
                    && bill.asset.network == settled.network
                    && bill.payer.as_ref().is_some_and(from)
                    && bill.pay_to.as_str().eq_ignore_ascii_case(entry.record.pay_to.as_str())
            }
            (SettlementState::Sending(_) | SettlementState::Dead(_), None) => true,
            _ => false,
        };
        ensure!(is_right, "{} is {:?}, and was sold as {sale:?}", entry.record.key, entry.state);
    }
    // Of what was charged nothing, no book of settlements knows.
    let stray = sold.values().find(|sale| !sale.bill.amount.is_zero());
    ensure!(stray.is_none(), "{stray:?} was sold, and nothing moved");
    let open = book.open(&query).await?;
    ensure!(open.is_empty(), "nobody knows whether these were charged: {open:?}");
    Ok(())
}

/// Whether an entry is coin that was given for an approval.
pub fn is_funding(entry: &SettlementEntry) -> bool {
    entry.record.reference.starts_with(FUNDING_REFERENCE)
}

/// Holds a book's entries against what the chain shows, and that against what servers said.
pub fn compare(entries: &[SettlementEntry], chain: &Ledger, token: Address, bills: &[Bill]) -> Findings {
    let mut findings = Findings {
        used: chain.payments().count(),
        moved_atomic: chain.payments().fold(U256::ZERO, |sum, (_, moved)| sum.saturating_add(moved.amount)),
        funded: chain.used.len().saturating_sub(chain.payments().count()),
        approvals: chain.approvals.values().sum(),
        transactions: chain.mined,
        ..Findings::default()
    };
    let mut known = BTreeSet::new();
    for entry in entries {
        match authorization(entry, token) {
            Ok(authorization) => {
                if !known.insert(authorization) {
                    findings.violated(format!("{authorization} is in the book twice"));
                }
                check_entry(entry, authorization, chain, &mut findings);
            }
            Err(error) => findings.violated(format!("{}: {error:#}", entry.record.key)),
        }
    }
    for (used, moved) in chain.used.iter().filter(|(used, _)| !known.contains(used)) {
        findings.violated(format!("{used} moved in {}, of which the book knows nothing", moved.transaction));
    }
    for (carried, transactions) in chain.carried.iter().filter(|(_, transactions)| transactions.len() > 1) {
        findings.violated(format!("{carried} {CARRIED_TWICE}: {transactions:?}"));
    }
    for stray in &chain.strays {
        findings.violated(stray.clone());
    }
    check_bills(bills, chain, &known, &mut findings);
    findings
}

/// What moved is what servers said.
fn check_bills(bills: &[Bill], chain: &Ledger, known: &BTreeSet<Authorization>, findings: &mut Findings) {
    let by_authorization: BTreeMap<_, _> = bills.iter().map(|bill| (bill.authorization, bill)).collect();
    for bill in bills {
        let Bill { authorization, kind, charge_atomic } = bill;
        let moved = chain.used.get(authorization);
        if *charge_atomic == 0 && (moved.is_some() || known.contains(authorization)) {
            findings.violated(format!("{authorization} was to be charged nothing, and is in the book or moved {moved:?}"));
        }
        if moved.is_some_and(|moved| moved.amount != U256::from(*charge_atomic)) {
            findings.violated(format!("{authorization} was to be charged {charge_atomic} and moved {moved:?}"));
        }
        let approvals = chain.approvals.get(&authorization.payer).copied().unwrap_or_default();
        if *kind == Kind::Approval && approvals > 1 {
            findings.violated(format!("{} had {approvals} approvals mined", authorization.payer));
        }
    }
    for (used, moved) in chain.payments().filter(|(used, _)| !by_authorization.contains_key(used)) {
        findings.violated(format!("{used} moved in {}, which no server has asked for", moved.transaction));
    }
    let sponsored: BTreeSet<_> =
        bills.iter().filter(|bill| bill.kind == Kind::Approval).map(|bill| bill.authorization.payer).collect();
    for (funded, _) in chain.used.iter().filter(|(used, _)| used.by == By::Funding && !sponsored.contains(&used.payer)) {
        findings.violated(format!("{funded}, who has sent no approval"));
    }
}

fn check_entry(entry: &SettlementEntry, authorization: Authorization, chain: &Ledger, findings: &mut Findings) {
    let moved = chain.used.get(&authorization);
    match (&entry.state, moved) {
        (SettlementState::Settled(settlement), Some(moved)) => {
            findings.settled = findings.settled.saturating_add(usize::from(!is_funding(entry)));
            let in_book = (settlement.transaction.0.as_str(), settlement.amount.to_string());
            let on_chain = (moved.transaction.to_string(), moved.amount.to_string());
            if in_book.0 != on_chain.0 || in_book.1 != on_chain.1 {
                findings.violated(format!("{authorization}: the book has {in_book:?}, the chain {on_chain:?}"));
            }
            if !is_agreed(entry, moved) {
                findings.violated(format!("{authorization}: what moved is not what was agreed: {moved:?}"));
            }
        }
        (SettlementState::Settled(settlement), None) => {
            let transaction = &settlement.transaction;
            findings.violated(format!("{authorization} is settled in {transaction} in the book and moved nothing"));
        }
        (SettlementState::Dead(_), None) => findings.dead = findings.dead.saturating_add(1),
        (SettlementState::Dead(refusal), Some(moved)) => {
            findings.violated(format!("{authorization} is dead in the book ({refusal}) and moved in {}", moved.transaction));
        }
        (SettlementState::Sending(_), Some(moved)) if is_funding(entry) && is_agreed(entry, moved) => {
            findings.fundings_open = findings.fundings_open.saturating_add(1);
        }
        (SettlementState::Sending(transaction), _) => {
            findings.violated(format!("{authorization} is left unresolved, sent by {transaction}; on chain: {moved:?}"));
        }
    }
}

/// Whether it went to whom it was for, and as much as was allowed: all of it, but where the work decides.
fn is_agreed(entry: &SettlementEntry, moved: &Moved) -> bool {
    let record = &entry.record;
    let amount = record.amount.units();
    let is_metered = record.scheme == "upto" && !is_funding(entry);
    let is_right = if is_metered { moved.amount <= amount } else { moved.amount == amount };
    is_right && record.pay_to.as_str().parse::<Address>().ok() == Some(moved.to)
}

/// What an entry stands for.
pub fn authorization(entry: &SettlementEntry, token: Address) -> Result<Authorization> {
    let record = &entry.record;
    let payer = record.payer.as_str().parse().context("the payer is an address")?;
    let asset: Address = record.asset.as_str().parse().context("the asset is an address")?;
    if is_funding(entry) {
        ensure!(asset == Address::ZERO, "coin has no contract, and the book says {asset}");
        return Ok(Authorization { payer, by: By::Funding });
    }
    if asset != token {
        bail!("the asset is {asset}, which this test does not use");
    }
    let by = match record.reference.strip_prefix(PERMIT2_REFERENCE) {
        Some(nonce) => By::Permit2(U256::from_str_radix(nonce, 10).context("the reference is a nonce of Permit2")?),
        None => By::Eip3009(record.reference.parse().context("the reference is a nonce")?),
    };
    Ok(Authorization { payer, by })
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
