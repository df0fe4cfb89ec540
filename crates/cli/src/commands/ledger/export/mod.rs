//! `farthing ledger export`: sales and refunds for accounts, the oldest first, with exact decimals.

mod beancount;
mod csv;

use std::collections::HashMap;
use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use farthing::core::amount::Amount;
use farthing::core::books::{Bill, RefundQuery, RefundState, RefundStateName, Sale, SaleFilter, SaleQuery};
use farthing::core::scheme::{PaymentKey, TransactionId};
use farthing::core::time::{Clock, UnixSeconds};
use farthing::store::Store;
use farthing::system::SystemClock;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::Book;
use super::sales::Row;
use crate::exit::{Exit, Usage};

/// The most sales of one export: they are held until the oldest is known.
const SALES_MAX: usize = 1_000_000;
const SALES_PER_PAGE: usize = 1_000;
/// A network's coin has 18 decimals, and fees are counted in 10⁹ of its units.
const GWEI_DECIMALS: u8 = 9;

/// What `farthing ledger export` takes.
#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    book: Book,
    /// As what: csv for spreadsheets, json (an array), beancount for books kept as text
    #[arg(long)]
    format: Format,
    /// Sold on this day or later, such as 2026-01-01 (UTC), or at this moment, such as 2026-01-01T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = moment)]
    from: Option<UnixSeconds>,
    /// Sold before this day (UTC) or moment; all that is sold so far, unless set
    #[arg(long, value_name = "TIME", value_parser = moment)]
    to: Option<UnixSeconds>,
    /// Leave the accounts unopened: they are in the file that this is included from (beancount)
    #[arg(long)]
    without_open: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Csv,
    Json,
    Beancount,
}

/// One line of an export: a sale, or a refund, of which amounts, moment, id and transaction are its own.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    kind: Kind,
    /// The sale that a refund is of.
    #[serde(skip_serializing_if = "Option::is_none")]
    sale: Option<String>,
    #[serde(flatten)]
    row: Row,
    /// What the transaction cost, in the network's coin, where it was sent from here. A transaction that paid for several sales is
    /// counted with one of them, so that a sum over all lines is what was spent.
    #[serde(skip_serializing_if = "Option::is_none")]
    network_fee: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Sale,
    Refund,
}

/// Exports.
pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    if arguments.without_open && arguments.format != Format::Beancount {
        return Err(Usage::new("--without-open", "only beancount has accounts to open").into());
    }
    let store = arguments.book.open_sales().await?;
    let lines = lines(&store, arguments.from, arguments.to).await?;
    store.close().await;
    let text = match arguments.format {
        Format::Csv => csv::write(&lines),
        Format::Json => json(&lines)?,
        Format::Beancount => beancount::write(&lines, !arguments.without_open),
    };
    let mut stdout = std::io::stdout();
    // Whoever keeps books with it must have all of it.
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())?;
    Ok(Exit::Ok.into())
}

async fn lines(store: &Store, from: Option<UnixSeconds>, to: Option<UnixSeconds>) -> anyhow::Result<Vec<Line>> {
    // What is sold in this very second may not be in the book yet, and would be missing here for good.
    let now = SystemClock.now();
    let before = Some(to.map_or(now, |to| to.min(now)));
    let filter = SaleFilter { since: from, before, ..SaleFilter::default() };
    let mut query = SaleQuery { filter, limit: SALES_PER_PAGE, after: None };
    let (mut fees, mut lines) = (Fees::default(), Vec::new());
    loop {
        let page = store.sales().list(&query).await?;
        let Some(last) = page.last() else { break };
        query.after = Some((last.bill.at, last.payment));
        for sale in &page {
            let fee = fees.of(store, sale).await?;
            let network_fee = fee.map(|gwei| Amount::from(gwei).to_decimal_string(GWEI_DECIMALS));
            lines.push(Line { kind: Kind::Sale, sale: None, row: Row::of(sale), network_fee });
        }
        if lines.len() > SALES_MAX {
            bail!("there are more than {SALES_MAX} sales; export them in parts, with --from and --to");
        }
    }
    lines.extend(refunds(store, from, before).await?);
    // RFC 3339 in UTC is in the order of time.
    lines.sort_by(|one, other| one.row.at.cmp(&other.row.at));
    Ok(lines)
}

/// The refunds that were settled in that time, whenever they were booked.
async fn refunds(store: &Store, from: Option<UnixSeconds>, before: Option<UnixSeconds>) -> anyhow::Result<Vec<Line>> {
    let mut lines = Vec::new();
    let state = Some(RefundStateName::Settled);
    let mut query = RefundQuery { state, limit: SALES_PER_PAGE, ..RefundQuery::default() };
    loop {
        let page = store.refunds().list(&query).await?;
        let Some(last) = page.last() else { return Ok(lines) };
        query.after = Some((last.at, last.id));
        for refund in &page {
            let is_in_time =
                from.is_none_or(|from| refund.changed_at >= from) && before.is_none_or(|to| refund.changed_at < to);
            let RefundState::Settled(transaction) = &refund.state else { continue };
            if !is_in_time {
                continue;
            }
            let sale = store.sales().find(refund.sale).await?.context("the book does not know a refund's sale")?;
            let bill = Bill { at: refund.changed_at, amount: refund.amount, ..sale.bill };
            let paid_back = Sale { payment: refund.id, bill, transaction: transaction.clone(), ..sale };
            // Who settles for others pays for their gas: what a refund cost is in the book of settlements.
            let landing = store.outbox().landing(refund.id).await?;
            let network_fee = landing
                .filter(|landing| landing.transaction == *transaction)
                .map(|landing| Amount::from(landing.fee_gwei).to_decimal_string(GWEI_DECIMALS));
            lines.push(Line { kind: Kind::Refund, sale: Some(refund.sale.to_string()), row: Row::of(&paid_back), network_fee });
        }
    }
}

/// Which sale a transaction's fee is counted with.
#[derive(Default)]
struct Fees(HashMap<TransactionId, Option<PaymentKey>>);

impl Fees {
    /// What is counted with this sale, in gwei.
    async fn of(&mut self, store: &Store, sale: &Sale) -> anyhow::Result<Option<u64>> {
        if sale.transaction.0.is_empty() {
            return Ok(None);
        }
        let bearer = if let Some(known) = self.0.get(&sale.transaction) {
            *known
        } else {
            let found = bearer(store, &sale.transaction).await?;
            self.0.insert(sale.transaction.clone(), found);
            found
        };
        if bearer != Some(sale.payment) {
            return Ok(None);
        }
        let landing = store.outbox().landing(sale.payment).await?;
        Ok(landing.filter(|landing| landing.transaction == sale.transaction).map(|landing| landing.fee_gwei))
    }
}

/// The same sale of a transaction in every export, whatever stretch of time that is of: the one whose payment comes first.
async fn bearer(store: &Store, transaction: &TransactionId) -> anyhow::Result<Option<PaymentKey>> {
    let filter = SaleFilter { transaction: Some(transaction.clone()), ..SaleFilter::default() };
    let carried = store.sales().list(&SaleQuery { filter, limit: SALES_PER_PAGE, after: None }).await?;
    Ok(carried.into_iter().map(|sale| sale.payment).min())
}

/// An array, one sale a line.
fn json(lines: &[Line]) -> serde_json::Result<String> {
    let lines = lines.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?;
    Ok(if lines.is_empty() { "[]\n".to_owned() } else { format!("[\n{}\n]\n", lines.join(",\n")) })
}

/// Reads a day, or a moment.
fn moment(text: &str) -> Result<UnixSeconds, String> {
    let expected = || format!("expected a day such as 2026-01-01 or a moment such as 2026-01-01T12:00:00Z, got {text:?}");
    // A moment without its offset could be anywhere.
    let is_day = text.len() == "2026-01-01".len();
    let moment = if is_day {
        let day = text.parse::<Date>().map_err(|_| expected())?;
        day.to_zoned(TimeZone::UTC).map_err(|_| expected())?.timestamp()
    } else {
        text.parse::<Timestamp>().map_err(|_| expected())?
    };
    u64::try_from(moment.as_second()).map(UnixSeconds).map_err(|_| expected())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_in_utc() {
        assert_eq!(moment("2026-11-21"), Ok(UnixSeconds(1_795_219_200)));
        assert_eq!(moment("2026-11-21T17:02:21Z"), Ok(UnixSeconds(1_795_280_541)));
        assert_eq!(moment("2026-11-21T18:02:21+01:00"), Ok(UnixSeconds(1_795_280_541)));
        for bad in ["", "yesterday", "2026-13-01", "2026-11-21T17:02:21", "1969-12-31"] {
            assert!(moment(bad).is_err(), "{bad:?} was taken for a moment");
        }
    }
}
