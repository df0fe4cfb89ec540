//! `farthing ledger list`: payments, the newest first.

use std::process::ExitCode;

use clap::Args;
use farthing::core::asset::AccountId;
use farthing::core::books::{SettlementQuery, SettlementStateName};
use farthing::core::scheme::TransactionId;
use farthing::core::time::{Clock, UnixSeconds};
use farthing::evm::asset::AssetTable;
use farthing::system::SystemClock;

use super::Book;
use super::row::Row;
use crate::config;
use crate::exit::{Exit, Usage};
use crate::terminal::{ACCENT, BAD, FAINT, GOOD, PLAIN, note, say, say_json, short};

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
    payer: Option<AccountId>,
    /// To this account
    #[arg(long, value_name = "ACCOUNT")]
    pay_to: Option<AccountId>,
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
    let store = arguments.book.open().await?;
    let found = store.settlements().list(&query(&arguments)?).await?;
    let assets = AssetTable::known();
    let is_cut = found.len() == usize::from(arguments.limit);
    for entry in &found {
        let row = Row::of(entry, &assets);
        if arguments.json {
            say_json(&row)?;
        } else {
            tell(&row);
        }
    }
    if !arguments.json {
        note(format!(
            "{FAINT}{} payments{}{PLAIN}",
            found.len(),
            if is_cut { "; there may be more: raise --limit" } else { "" },
        ));
    }
    store.close().await;
    Ok(Exit::Ok.into())
}

fn query(arguments: &Arguments) -> anyhow::Result<SettlementQuery> {
    let network = arguments.network.as_deref().map(config::network).transpose();
    Ok(SettlementQuery {
        network: network.map_err(|error| Usage::new("--network", format!("{error:#}")))?,
        payer: arguments.payer.clone(),
        pay_to: arguments.pay_to.clone(),
        transaction: arguments.transaction.clone().map(TransactionId),
        state: arguments.state,
        since: arguments.since.map(ago),
        limit: arguments.limit.into(),
        ..SettlementQuery::default()
    })
}

/// The moment that long ago.
pub fn ago(seconds: u64) -> UnixSeconds {
    SystemClock.now().minus(seconds)
}

fn tell(row: &Row) {
    let colour = match row.state {
        "settled" => GOOD,
        "dead" => BAD,
        _ => ACCENT,
    };
    let Row { sent_at, state, payer, pay_to, network, transaction, id, .. } = row;
    say(format!(
        "{sent_at}  {colour}{state:<7}{PLAIN}  {:>16}  {} → {}  {network}  {}  {FAINT}{}{PLAIN}",
        row.money(),
        short(payer),
        short(pay_to),
        short(transaction),
        short(id),
    ));
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
