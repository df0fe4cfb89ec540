//! `farthing ledger reconcile`: every payment of the book against the chain, to the atom.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use farthing::core::amount::Amount;
use farthing::core::asset::{AccountId, AssetId};
use farthing::core::books::{SettlementEntry, SettlementQuery, SettlementState};
use farthing::core::network::Network;
use farthing::core::scheme::Outcome;
use farthing::evm::asset::AssetTable;
use farthing::evm::signer::Signer;
use farthing::facilitator::Local;
use futures_util::{StreamExt, stream};
use serde::Serialize;

use super::list::{ago, seconds};
use super::row::{Row, money, payments};
use crate::commands::purse::throw_away_signer;
use crate::config::{self, BookConfig};
use crate::exit::Exit;
use crate::settling;
use crate::terminal::{ACCENT, BAD, FAINT, GOOD, PLAIN, STRONG, plain, say, say_json, short};

const ENTRIES_PER_PAGE: usize = 500;
/// How many payments the chain is asked for at once.
const CONCURRENT_QUESTIONS: usize = 16;

/// What `farthing ledger reconcile` takes.
#[derive(Args)]
pub struct Arguments {
    /// The TOML file of the facilitator or gateway: where its book is, and its nodes
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Only what was first sent within this time, such as 24h or 7d
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    since: Option<u64>,
    /// Print the differences as JSON objects, one a line, and then the totals
    #[arg(long)]
    json: bool,
}

/// What one payment is, held against the chain.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Agrees,
    /// The book does not know the end yet; the chain may.
    Open,
    Differs,
    /// The chain could not be asked.
    Unasked,
}

/// A payment that is not what the book says, or not known to be.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Difference {
    #[serde(flatten)]
    row: Row,
    chain_says: String,
    is_wrong: bool,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Totals {
    payments: usize,
    agreeing: usize,
    open: usize,
    different: usize,
    not_asked: usize,
    sums: Vec<Sum>,
}

/// What one payee got in one asset.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Sum {
    network: Network,
    asset: AssetId,
    pay_to: AccountId,
    book_atomic: Amount,
    chain_atomic: Amount,
}

type Sums = BTreeMap<(Network, AssetId, AccountId), (Amount, Amount)>;

/// Compares.
pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let config = BookConfig::load(&arguments.config)?;
    let store = super::open(&config.store).await?;
    let assets = super::all_assets(&config)?;
    // No secret of an account is fetched, and nothing that this says can be sent.
    let nobody = |_: &config::Network| Ok(vec![Arc::new(throw_away_signer()?) as Arc<dyn Signer>]);
    let chains = settling::setup(&config.network, &config.asset, nobody).and_then(|setup| Ok(setup.store(&store).build()?));
    let chains = chains.with_context(|| arguments.config.display().to_string())?;
    let (mut totals, mut sums) = (Totals::default(), Sums::new());
    let mut query = SettlementQuery { since: arguments.since.map(ago), limit: ENTRIES_PER_PAGE, ..SettlementQuery::default() };
    loop {
        let page = store.settlements().list(&query).await?;
        let Some(last) = page.last() else { break };
        query.after = Some((last.sent_at, last.record.key));
        // In the book's order, so that two runs can be compared line by line.
        let mut asked = stream::iter(page).map(|entry| ask(&chains, entry)).buffered(CONCURRENT_QUESTIONS);
        while let Some((entry, outcome)) = asked.next().await {
            let (verdict, chain_says) = judge(&entry, &outcome);
            totals.count(verdict);
            add(&mut sums, &entry, &outcome);
            if verdict != Verdict::Agrees {
                let is_wrong = verdict == Verdict::Differs;
                report(Difference { row: Row::of(&entry, &assets), chain_says, is_wrong }, arguments.json)?;
            }
        }
    }
    store.close().await;
    totals.sums = sums
        .into_iter()
        .map(|((network, asset, pay_to), (book_atomic, chain_atomic))| Sum {
            network,
            asset,
            pay_to,
            book_atomic,
            chain_atomic,
        })
        .collect();
    let is_exact = totals.different == 0 && totals.not_asked == 0 && totals.sums.iter().all(Sum::is_exact);
    if arguments.json {
        say_json(&totals)?;
    } else {
        tell(&totals, &assets, is_exact);
    }
    Ok(if is_exact { Exit::Ok } else { Exit::Failed }.into())
}

async fn ask(chains: &Local, entry: SettlementEntry) -> (SettlementEntry, Result<Outcome, String>) {
    let outcome = chains.outcome(&entry).await.map_err(|error| format!("it could not be asked: {error}"));
    (entry, outcome)
}

fn judge(entry: &SettlementEntry, outcome: &Result<Outcome, String>) -> (Verdict, String) {
    match (&entry.state, outcome) {
        (_, Err(why)) => (Verdict::Unasked, why.clone()),
        (SettlementState::Settled(ours), Ok(Outcome::Settled(theirs))) => {
            let says = format!("{} moved in transaction {}", theirs.amount, theirs.transaction);
            (if ours == theirs { Verdict::Agrees } else { Verdict::Differs }, says)
        }
        (SettlementState::Dead(_), Ok(Outcome::Failed(_))) => (Verdict::Agrees, "nothing moved".to_owned()),
        (SettlementState::Sending(_), Ok(outcome)) => (Verdict::Open, says(outcome)),
        // A payment that died in one transaction may still be carried by a later one until it expires.
        (SettlementState::Dead(_), Ok(outcome @ Outcome::Unknown)) => (Verdict::Agrees, says(outcome)),
        (_, Ok(outcome)) => (Verdict::Differs, says(outcome)),
    }
}

fn says(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Settled(settlement) => format!("{} moved in transaction {}", settlement.amount, settlement.transaction),
        Outcome::Failed(refusal) => format!("nothing moved: {}", refusal.message),
        Outcome::Unknown => "nothing moved yet".to_owned(),
    }
}

fn add(sums: &mut Sums, entry: &SettlementEntry, outcome: &Result<Outcome, String>) {
    let record = &entry.record;
    let place = (record.network.clone(), record.asset.clone(), record.pay_to.clone());
    let (book, chain) = sums.entry(place).or_insert((Amount::ZERO, Amount::ZERO));
    if let SettlementState::Settled(settlement) = &entry.state {
        *book = book.checked_add(settlement.amount).unwrap_or(Amount::MAX);
    }
    // What the book still has open is reported by itself, and counts for neither side.
    let is_open = matches!(entry.state, SettlementState::Sending(_));
    if let (Ok(Outcome::Settled(settlement)), false) = (outcome, is_open) {
        *chain = chain.checked_add(settlement.amount).unwrap_or(Amount::MAX);
    }
}

fn report(difference: Difference, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return say_json(&difference);
    }
    let Difference { row, chain_says, is_wrong } = difference;
    let colour = if is_wrong { BAD } else { ACCENT };
    say(format!(
        "{colour}{}{PLAIN} {}  {} → {}",
        if is_wrong { "✗" } else { "?" },
        row.money,
        short(&row.payer),
        short(&row.pay_to)
    ));
    say(format!("  {FAINT}id{PLAIN}     {}", row.id));
    say(format!("  {FAINT}book{PLAIN}   {} by {}", row.state, row.transaction));
    say(format!("  {FAINT}chain{PLAIN}  {}", plain(&chain_says)));
    Ok(())
}

fn tell(totals: &Totals, assets: &AssetTable, is_exact: bool) {
    for sum in &totals.sums {
        let Sum { network, asset, pay_to, book_atomic, chain_atomic } = sum;
        let [book, chain] = [book_atomic, chain_atomic].map(|amount| money(assets, network, asset, *amount));
        let sign = if sum.is_exact() { "=" } else { "≠" };
        say(format!("{network}  → {pay_to}  book {book} {sign} chain {chain}"));
    }
    let Totals { payments: count, agreeing, open, different, not_asked, .. } = totals;
    let parts = [("agree", agreeing), ("open", open), ("different", different), ("not asked", not_asked)];
    let parts: Vec<String> =
        parts.iter().filter(|(_, count)| **count > 0).map(|(name, count)| format!("{count} {name}")).collect();
    say(format!("{STRONG}{}{PLAIN}{}{}", payments(*count), if parts.is_empty() { "" } else { ": " }, parts.join(", ")));
    say(if is_exact { format!("{GOOD}book = chain{PLAIN}") } else { format!("{BAD}book ≠ chain{PLAIN}") });
}

impl Totals {
    fn count(&mut self, verdict: Verdict) {
        let counter = match verdict {
            Verdict::Agrees => &mut self.agreeing,
            Verdict::Open => &mut self.open,
            Verdict::Differs => &mut self.different,
            Verdict::Unasked => &mut self.not_asked,
        };
        *counter = counter.saturating_add(1);
        self.payments = self.payments.saturating_add(1);
    }
}

impl Sum {
    fn is_exact(&self) -> bool {
        self.book_atomic == self.chain_atomic
    }
}
