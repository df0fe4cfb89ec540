//! `farthing ledger list`: payments, the newest first.

use std::process::ExitCode;

use clap::Args;
use farthing::core::asset::{AccountId, NameError};
use farthing::core::books::{SettlementQuery, SettlementStateName};
use farthing::core::scheme::TransactionId;
use farthing::core::time::{Clock, UnixSeconds};
use farthing::system::SystemClock;

use super::row::{Row, colour, payments};
use super::{Book, in_book_case};
use crate::config;
use crate::exit::{Exit, Usage};
use crate::terminal::{FAINT, PLAIN, note, say, say_json, short};

const UNITS_SECONDS: [(&str, u64); 4] = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400)];

/// What `farthing ledger list` takes.
#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    book: Book,
    /// On this network, such as eip155:8453 or base
    #[arg(long)]
    network: Option<String>,
    /// From this account
    #[arg(long, value_name = "ACCOUNT")]
    payer: Option<String>,
    /// To this account
    #[arg(long, value_name = "ACCOUNT")]
    pay_to: Option<String>,
    /// Carried by this transaction
    #[arg(long, value_name = "HASH")]
    transaction: Option<String>,
    /// In this state: sending, settled or dead
    #[arg(long)]
    state: Option<SettlementStateName>,
    /// First sent within this time, such as 90s, 30m, 24h or 7d
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    since: Option<u64>,
    /// At most so many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    limit: u16,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

/// Lists.
pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let wanted = query(&arguments)?;
    let (store, assets) = arguments.book.open().await?;
    let found = store.settlements().list(&wanted).await?;
    store.close().await;
    let rows: Vec<Row> = found.iter().map(|entry| Row::of(entry, &assets)).collect();
    if arguments.json {
        rows.iter().try_for_each(say_json)?;
        return Ok(Exit::Ok.into());
    }
    table(&rows);
    let is_cut = rows.len() == usize::from(arguments.limit);
    let more = if is_cut { "; there may be more, --limit shows them" } else { "" };
    note(format!("{FAINT}{}{more}{PLAIN}", payments(rows.len())));
    Ok(Exit::Ok.into())
}

fn query(arguments: &Arguments) -> anyhow::Result<SettlementQuery> {
    let network = arguments.network.as_deref().map(config::network).transpose();
    Ok(SettlementQuery {
        network: network.map_err(|error| Usage::new("--network", format!("{error:#}")))?,
        payer: account("--payer", arguments.payer.as_deref())?,
        pay_to: account("--pay-to", arguments.pay_to.as_deref())?,
        transaction: arguments.transaction.as_deref().map(|hash| TransactionId(in_book_case(hash))),
        state: arguments.state,
        since: arguments.since.map(ago),
        limit: arguments.limit.into(),
        ..SettlementQuery::default()
    })
}

/// Reads an account in the letter case of the book.
pub fn account(option: &'static str, text: Option<&str>) -> Result<Option<AccountId>, Usage> {
    let read = text.map(|text| in_book_case(text).parse()).transpose();
    read.map_err(|error: NameError| Usage::new(option, error.to_string()))
}

/// The moment that long ago.
pub fn ago(seconds: u64) -> UnixSeconds {
    SystemClock.now().minus(seconds)
}

/// The rows in columns as wide as they must be: below 100 characters on known networks.
fn table(rows: &[Row]) {
    const TITLES: [&str; 7] = ["SENT", "STATE", "AMOUNT", "FROM", "TO", "NETWORK", "TRANSACTION"];
    let cells = |row: &Row| {
        let Row { sent_at, state, payer, pay_to, network, transaction, .. } = row;
        [
            sent_at.clone(),
            (*state).to_owned(),
            row.money.clone(),
            short(payer),
            short(pay_to),
            network.clone(),
            short(transaction),
        ]
    };
    let lines: Vec<[String; 7]> = rows.iter().map(cells).collect();
    let mut widths = TITLES.map(str::len);
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let [sent, state, amount, from, to, network, _] = widths;
    if rows.is_empty() {
        return;
    }
    let [t1, t2, t3, t4, t5, t6, t7] = TITLES;
    say(format!("{FAINT}{t1:<sent$}  {t2:<state$}  {t3:>amount$}  {t4:<from$}  {t5:<to$}  {t6:<network$}  {t7}{PLAIN}"));
    for [at, name, money, payer, pay_to, chain, transaction] in &lines {
        let colour = colour(name);
        say(format!(
            "{at:<sent$}  {colour}{name:<state$}{PLAIN}  {money:>amount$}  {payer:<from$}  {pay_to:<to$}  {chain:<network$}  {transaction}"
        ));
    }
}

/// Reads a stretch of time.
pub fn seconds(text: &str) -> Result<u64, String> {
    let expected = || format!("expected a time such as 90s, 30m, 24h or 7d, got {text:?}");
    let (unit, factor) = UNITS_SECONDS.iter().find(|(unit, _)| text.ends_with(unit)).ok_or_else(expected)?;
    let count: u64 = text.strip_suffix(unit).and_then(|count| count.parse().ok()).ok_or_else(expected)?;
    count.checked_mul(*factor).ok_or_else(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_of_time_are_read() {
        assert_eq!(
            [seconds("90s"), seconds("30m"), seconds("24h"), seconds("7d")],
            [Ok(90), Ok(1_800), Ok(86_400), Ok(604_800)]
        );
        for bad in ["", "h", "-1h", "1.5h", "10", "99999999999999999999d"] {
            assert!(seconds(bad).is_err(), "{bad:?} was taken for a time");
        }
    }
}
