//! `farthing ledger receipt`: one sale, whole.

use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use farthing::core::books::{Landing, Refund, Sale, SaleFilter, SaleQuery};
use farthing::core::scheme::{PaymentKey, TransactionId};
use farthing::store::Store;
use serde::Serialize;

use super::refund::RefundRow;
use super::sales::{Row, refunds_of};
use super::{Book, in_book_case};
use crate::exit::{Exit, Usage};
use crate::terminal::{FAINT, GOOD, PLAIN, STRONG, plain, say, say_json};

/// The fewest digits by which a sale is looked for.
const MIN_DIGITS: usize = 8;
const SALES_PER_PAGE: usize = 1_000;
/// How much of the book is looked through for a shortened id, the newest first.
const MAX_PAGES: usize = 1_000;

/// What `farthing ledger receipt` takes.
#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    book: Book,
    /// The sale's id, or its first digits as sales shows them, or the whole hash of its transaction
    id: String,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

/// A sale, and where it landed, if it was settled from here.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Receipt {
    #[serde(flatten)]
    row: Row,
    #[serde(skip_serializing_if = "Option::is_none")]
    block_height: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    block: Option<String>,
    /// What the whole transaction cost, also where it carried several payments.
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction_fee_gwei: Option<u64>,
    /// What was paid back of it, the newest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    refunds: Vec<RefundRow>,
}

/// Shows.
pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let store = arguments.book.open_sales().await?;
    let sales = find(&store, &arguments.id).await?;
    if sales.is_empty() {
        bail!(
            "the book knows no sale and no transaction named so; `farthing ledger sales --open` lists what is not known to be paid"
        );
    }
    for (place, sale) in sales.iter().enumerate() {
        let landing = store.outbox().landing(sale.payment).await?;
        let receipt = Receipt::of(sale, landing, &refunds_of(&store, sale.payment).await?);
        if arguments.json {
            say_json(&receipt)?;
        } else {
            if place > 0 {
                say("");
            }
            tell(&receipt);
        }
    }
    store.close().await;
    Ok(Exit::Ok.into())
}

/// The sale of that id, or those that a transaction paid for.
pub async fn find(store: &Store, id: &str) -> anyhow::Result<Vec<Sale>> {
    if let Ok(payment) = id.parse::<PaymentKey>() {
        return Ok(store.sales().find(payment).await?.into_iter().collect());
    }
    if id.starts_with("0x") || id.starts_with("0X") {
        let filter = SaleFilter { transaction: Some(TransactionId(in_book_case(id))), ..SaleFilter::default() };
        return Ok(store.sales().list(&SaleQuery { filter, limit: SALES_PER_PAGE, after: None }).await?);
    }
    if id.len() < MIN_DIGITS || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let why = format!("expected a sale's id or at least its first {MIN_DIGITS} digits, or a transaction's hash");
        return Err(Usage::new("ID", why).into());
    }
    let (head, mut found) = (id.to_ascii_lowercase(), Vec::new());
    let mut query = SaleQuery { limit: SALES_PER_PAGE, ..SaleQuery::default() };
    for _ in 0..MAX_PAGES {
        let page = store.sales().list(&query).await?;
        let Some(last) = page.last() else { break };
        query.after = Some((last.bill.at, last.payment));
        found.extend(page.into_iter().filter(|sale| sale.payment.to_string().starts_with(&head)));
    }
    if found.len() > 1 {
        return Err(Usage::new("ID", format!("{} sales begin so; give more digits", found.len())).into());
    }
    Ok(found)
}

impl Receipt {
    fn of(sale: &Sale, landing: Option<Landing>, refunds: &[Refund]) -> Self {
        let (block_height, block, transaction_fee_gwei) = match landing {
            Some(landing) => (Some(landing.height), Some(landing.block), Some(landing.fee_gwei)),
            None => (None, None, None),
        };
        let row = Row::of(sale).with_refunds(sale, refunds);
        let refunds = refunds.iter().map(|refund| RefundRow::of(sale, refund)).collect();
        Self { row, block_height, block, transaction_fee_gwei, refunds }
    }
}

fn tell(receipt: &Receipt) {
    let row = &receipt.row;
    let usd = row.usd.as_ref().map(|usd| format!("${usd}"));
    let block = receipt.block_height.zip(receipt.block.as_ref()).map(|(height, block)| format!("{height}  {block}"));
    let fee = receipt.transaction_fee_gwei.map(|fee| format!("{fee} gwei, for all that the transaction carried"));
    say(format!("{STRONG}{} {}{PLAIN}  {GOOD}{}{PLAIN}", row.amount, plain(&row.symbol), row.state));
    let facts = [
        ("id", Some(row.id.clone())),
        ("sold at", Some(row.at.clone())),
        ("route", Some(row.route.clone())),
        ("resource", Some(row.resource.clone())),
        ("from", row.payer.as_ref().map(ToString::to_string)),
        ("to", Some(row.pay_to.to_string())),
        ("worth", usd),
        ("asset", Some(row.asset.clone())),
        ("network", Some(row.network.to_string())),
        ("scheme", Some(row.scheme.clone())),
        ("transaction", row.transaction.clone()),
        ("settled by", row.settled_by.map(str::to_owned)),
        ("block", block),
        ("fee", fee),
    ];
    for (name, value) in facts {
        if let Some(value) = value {
            say(format!("  {FAINT}{name:<13}{PLAIN}{}", plain(&value)));
        }
    }
    for refund in &receipt.refunds {
        let RefundRow { at, state, amount, symbol, reason, id, .. } = refund;
        let by = refund.transaction.as_ref().map(|transaction| format!(" by {transaction}")).unwrap_or_default();
        let why = if reason.is_empty() { String::new() } else { format!(": {}", plain(reason)) };
        say(format!("  {at}  refund {state}, {amount} {}{by}{why}  {FAINT}{id}{PLAIN}", plain(symbol)));
    }
}
