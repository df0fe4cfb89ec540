//! `farthing ledger show`: one payment's life, explained.

use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use farthing::core::books::{Landing, SettlementEntry, SettlementQuery, SettlementState};
use farthing::core::scheme::{PaymentKey, TransactionId};
use farthing::evm::asset::AssetTable;
use farthing::store::Store;
use serde::Serialize;

use super::row::{Row, colour, payments};
use super::{Book, in_book_case};
use crate::exit::{Exit, Usage};
use crate::terminal::{FAINT, PLAIN, STRONG, plain, say, say_json};

/// A transaction carries no more payments than this.
const MAX_CARRIED: usize = 1_000;
/// The fewest digits by which something is looked for.
const MIN_DIGITS: usize = 4;
const ENTRIES_PER_PAGE: usize = 1_000;
/// How much of the book is looked through for a shortened name, the newest first.
const MAX_PAGES: usize = 100;

/// What `farthing ledger show` takes.
#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    book: Book,
    /// The payment's id, or a transaction's hash; the first digits are enough, and so is what list shows
    id: String,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

/// A payment, and where it landed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Life {
    #[serde(flatten)]
    row: Row,
    #[serde(skip_serializing_if = "Option::is_none")]
    block_height: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    block: Option<String>,
    /// What the whole transaction cost, also where it carried several payments.
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction_fee_gwei: Option<u64>,
    story: Vec<String>,
}

/// Shows.
pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let (store, assets) = arguments.book.open().await?;
    let entries = find(&store, &arguments.id).await?;
    if entries.is_empty() {
        bail!("the book knows no payment and no transaction named so; a payment that was never sent is not in it");
    }
    for (place, entry) in entries.iter().enumerate() {
        let landing = store.outbox().landing(entry.record.key).await?;
        let life = Life::of(entry, landing, &assets);
        if arguments.json {
            say_json(&life)?;
        } else {
            if place > 0 {
                say("");
            }
            tell(&life);
        }
    }
    store.close().await;
    Ok(Exit::Ok.into())
}

async fn find(store: &Store, id: &str) -> anyhow::Result<Vec<SettlementEntry>> {
    if let Ok(key) = id.parse::<PaymentKey>() {
        return Ok(store.settlements().find(key).await?.into_iter().collect());
    }
    let transaction = Some(TransactionId(in_book_case(id)));
    let query = SettlementQuery { transaction, limit: MAX_CARRIED, ..SettlementQuery::default() };
    let carried = store.settlements().list(&query).await?;
    if carried.is_empty() { find_shortened(store, &in_book_case(id)).await } else { Ok(carried) }
}

/// What `list` shows of a transaction, `0x1234…abcd`, or the first digits of either name.
async fn find_shortened(store: &Store, text: &str) -> anyhow::Result<Vec<SettlementEntry>> {
    let (head, tail) = text.split_once('…').unwrap_or((text, ""));
    if head.trim_start_matches("0x").len() < MIN_DIGITS {
        let why = format!("expected a payment's id, a transaction's hash, or at least the first {MIN_DIGITS} digits of either");
        return Err(Usage::new("ID", why).into());
    }
    let is_named_so = |name: &str| name.starts_with(head) && name.ends_with(tail);
    let mut found: Vec<SettlementEntry> = Vec::new();
    let mut query = SettlementQuery { limit: ENTRIES_PER_PAGE, ..SettlementQuery::default() };
    for _ in 0..MAX_PAGES {
        let page = store.settlements().list(&query).await?;
        let Some(last) = page.last() else { break };
        query.after = Some((last.sent_at, last.record.key));
        found.extend(
            page.into_iter().filter(|entry| is_named_so(&entry.transaction.0) || is_named_so(&entry.record.key.to_string())),
        );
    }
    let is_one = found.windows(2).all(|pair| matches!(pair, [one, other] if one.transaction == other.transaction));
    if !is_one {
        return Err(Usage::new("ID", format!("{} begin so; give more digits", payments(found.len()))).into());
    }
    Ok(found)
}

impl Life {
    fn of(entry: &SettlementEntry, landing: Option<Landing>, assets: &AssetTable) -> Self {
        let row = Row::of(entry, assets);
        let is_foreign = landing.as_ref().is_some_and(|landing| landing.transaction != entry.transaction);
        // Without a landing of ours it may have been carried out by somebody else before it was sent from here.
        let is_sent = landing.is_some() || matches!(entry.state, SettlementState::Sending(_));
        let checked =
            row.purpose.as_ref().map_or_else(|| "verified".to_owned(), |purpose| format!("no payment, but {purpose}"));
        let mut story = vec![format!("{}  {checked}, written down{}", row.sent_at, if is_sent { ", then sent" } else { "" })];
        if let Some(Landing { transaction, height, fee_gwei, succeeded, .. }) = &landing {
            let name = if is_foreign { transaction.to_string() } else { "the transaction".to_owned() };
            let end = if *succeeded { "" } else { ", where it reverted" };
            story.push(format!("block {height}: {name} was mined{end}; it cost {fee_gwei} gwei of gas"));
        }
        let at = &row.changed_at;
        story.push(match &entry.state {
            SettlementState::Sending(_) => format!("{at}  under way; its outcome is not known yet"),
            SettlementState::Settled(_) if is_foreign => format!("{at}  settled by a transaction that was not sent from here"),
            SettlementState::Settled(_) if row.purpose.is_some() => format!("{at}  settled: the payer has the coin"),
            SettlementState::Settled(_) => format!("{at}  settled: the transfer is on the chain, in the transaction's log"),
            SettlementState::Dead(refusal) => format!("{at}  nothing moved: {}", plain(&refusal.to_string())),
        });
        let (block_height, block, transaction_fee_gwei) = match landing {
            Some(landing) => (Some(landing.height), Some(landing.block), Some(landing.fee_gwei)),
            None => (None, None, None),
        };
        Self { row, block_height, block, transaction_fee_gwei, story }
    }
}

fn tell(life: &Life) {
    let row = &life.row;
    say(format!("{STRONG}{}{PLAIN}  {}{}{PLAIN}", row.money, colour(row.state), row.state));
    let facts = [
        ("id", Some(&row.id)),
        ("transaction", Some(&row.transaction)),
        ("network", Some(&row.network)),
        ("from", Some(&row.payer)),
        ("to", Some(&row.pay_to)),
        ("asset", Some(&row.asset)),
        ("scheme", Some(&row.scheme)),
        ("nonce", Some(&row.reference).filter(|_| row.purpose.is_none())),
        ("for", row.purpose.as_ref()),
        ("expires", Some(&row.expires_at)),
        ("caller", row.caller.as_ref()),
    ];
    for (name, value) in facts {
        if let Some(value) = value {
            say(format!("  {FAINT}{name:<13}{PLAIN}{}", plain(value)));
        }
    }
    for line in &life.story {
        say(format!("  {line}"));
    }
}
