//! `farthing ledger show`: one payment's life, explained.

use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use farthing::core::books::{Landing, SettlementEntry, SettlementQuery, SettlementState};
use farthing::core::scheme::{PaymentKey, TransactionId};
use farthing::evm::asset::AssetTable;
use farthing::store::Store;
use serde::Serialize;

use super::Book;
use super::row::Row;
use crate::exit::{Exit, Usage};
use crate::terminal::{ACCENT, FAINT, PLAIN, STRONG, say, say_json};

/// A transaction carries no more payments than this.
const MAX_SHOWN: usize = 1_000;

/// What `farthing ledger show` takes.
#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    book: Book,
    /// The payment's id (64 hexadecimal digits), or the hash of a transaction
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
    let store = arguments.book.open().await?;
    let entries = find(&store, &arguments.id).await?;
    if entries.is_empty() {
        bail!("the book knows no payment and no transaction named so; a payment that was never sent is not in it");
    }
    let assets = AssetTable::known();
    for entry in &entries {
        let landing = store.outbox().landing(entry.record.key).await?;
        let life = Life::of(entry, landing, &assets);
        if arguments.json {
            say_json(&life)?;
        } else {
            tell(&life);
        }
    }
    store.close().await;
    Ok(Exit::Ok.into())
}

async fn find(store: &Store, id: &str) -> anyhow::Result<Vec<SettlementEntry>> {
    if id.starts_with("0x") {
        let transaction = Some(TransactionId(id.to_ascii_lowercase()));
        let query = SettlementQuery { transaction, limit: MAX_SHOWN, ..SettlementQuery::default() };
        return Ok(store.settlements().list(&query).await?);
    }
    let key: PaymentKey = id.parse().map_err(|why: String| Usage::new("ID", why))?;
    Ok(store.settlements().find(key).await?.into_iter().collect())
}

impl Life {
    fn of(entry: &SettlementEntry, landing: Option<Landing>, assets: &AssetTable) -> Self {
        let row = Row::of(entry, assets);
        let mut story = vec![format!("{}  verified, written down, then sent on {}", row.sent_at, row.network)];
        if let Some(landing) = &landing {
            let Landing { transaction, height, fee_gwei, succeeded, .. } = landing;
            let end = if *succeeded { "carried out" } else { "reverted as a whole" };
            story.push(format!("transaction {transaction} was mined in block {height} and {end}; it cost {fee_gwei} gwei"));
        }
        story.push(match &entry.state {
            SettlementState::Sending(transaction) => {
                format!("{}  transaction {transaction} is under way; its outcome is not known yet", row.changed_at)
            }
            SettlementState::Settled(settlement) if landing.is_none() => format!(
                "{}  settled by transaction {}, which the facilitator found on chain",
                row.changed_at, settlement.transaction,
            ),
            SettlementState::Settled(_) => format!("{}  settled: the transfer is in its log", row.changed_at),
            SettlementState::Dead(refusal) => format!("{}  nothing moved: {refusal}", row.changed_at),
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
    say(format!("{STRONG}{}{PLAIN}  {ACCENT}{}{PLAIN}  {}", row.money(), row.state, row.id));
    let facts = [
        ("network", &row.network),
        ("scheme", &row.scheme),
        ("payer", &row.payer),
        ("paid to", &row.pay_to),
        ("asset", &row.asset),
        ("nonce", &row.reference),
        ("expires", &row.expires_at),
        ("transaction", &row.transaction),
    ];
    for (name, value) in facts {
        say(format!("  {FAINT}{name:<12}{PLAIN}{value}"));
    }
    for line in &life.story {
        say(format!("  {line}"));
    }
}
