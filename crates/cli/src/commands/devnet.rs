//! `farthing devnet`: the embedded EVM alone, until Ctrl-C.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use farthing::evm::U256;
use farthing_devnet::{DevAccount, Devnet, DevnetError, Mining};
use serde_json::json;

use crate::exit::Exit;
use crate::logging::{self, LogFormat};
use crate::open_files;
use crate::signals::Stop;
use crate::terminal::{ACCENT, FAINT, PLAIN, STRONG, say, say_json};

/// What every account gets, in atomic units of USDC: 10,000.
const USDC_EACH_ATOMIC: u64 = 10_000_000_000;
const SHORTEST_BLOCK_TIME: Duration = Duration::from_millis(1);
const LONGEST_BLOCK_TIME: Duration = Duration::from_hours(1);

/// What `farthing devnet` takes.
#[derive(Args)]
pub struct Arguments {
    /// Which chain to be; it decides where USDC is, and its EIP-712 name
    #[arg(long, value_name = "ID", default_value_t = 84532)]
    chain_id: u64,
    /// The port of the JSON-RPC server on 127.0.0.1; 0 takes a free one
    #[arg(long, default_value_t = 8545)]
    port: u16,
    /// Make a block at this interval, such as 2s or 500ms, instead of with each transaction
    #[arg(long, value_name = "INTERVAL", value_parser = interval)]
    block_time: Option<Duration>,
    /// Print the facts as one JSON object on stdout
    #[arg(long)]
    json: bool,
}

/// Runs the chain.
pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    logging::start(LogFormat::Text, "warn")?;
    open_files::raise();
    let mining = arguments.block_time.map_or(Mining::Instant, Mining::Interval);
    let listen = SocketAddr::from(([127, 0, 0, 1], arguments.port));
    let devnet = Devnet::builder().chain_id(arguments.chain_id).mining(mining).listen(listen).start().await;
    let devnet = devnet.map_err(|error| match error {
        DevnetError::Listen { .. } => anyhow::Error::new(error).context("the port may be taken; --port 0 takes a free one"),
        other => other.into(),
    })?;
    for account in devnet.accounts() {
        devnet.give_usdc(account.address, U256::from(USDC_EACH_ATOMIC))?;
    }
    let stop = Stop::listen()?;
    if arguments.json {
        say_json(&facts(&devnet))?;
    } else {
        tell(&devnet, arguments.block_time);
    }
    stop.wait().await;
    devnet.stop().await;
    Ok(Exit::Ok.into())
}

fn tell(devnet: &Devnet, block_time: Option<Duration>) {
    let blocks = block_time.map_or("a block with each transaction".to_owned(), |every| format!("a block every {every:?}"));
    say(format!("{STRONG}farthing devnet{PLAIN}  chain id {}, {blocks}", devnet.chain_id()));
    say("");
    say(format!("  JSON-RPC  {ACCENT}{}{PLAIN}", devnet.rpc_url()));
    say(format!("  USDC      {}", devnet.usdc()));
    say("");
    say(format!("  {STRONG}Accounts{PLAIN}, with 10,000 ETH and 10,000 USDC each"));
    for (number, account) in (0..).zip(devnet.accounts()) {
        say(format!("  ({number}) {}", account.address));
    }
    say("");
    say(format!("  {STRONG}Keys{PLAIN}  {FAINT}public knowledge: never send real money to these accounts{PLAIN}"));
    for (number, account) in (0..).zip(devnet.accounts()) {
        say(format!("  ({number}) {}", key_of(account)));
    }
    say("");
    say(format!("  {FAINT}Ctrl-C stops; nothing is kept.{PLAIN}"));
}

fn facts(devnet: &Devnet) -> serde_json::Value {
    let accounts = devnet.accounts().iter();
    let accounts =
        accounts.map(|account| json!({"address": account.address.to_string(), "key": key_of(account), "usdc": "10000"}));
    json!({
        "rpcUrl": devnet.rpc_url(),
        "chainId": devnet.chain_id(),
        "usdc": devnet.usdc().to_string(),
        "accounts": accounts.collect::<Vec<_>>(),
    })
}

/// The one kind of key that may be printed: everybody knows it.
fn key_of(account: &DevAccount) -> String {
    alloy_primitives::hex::encode_prefixed(account.secret)
}

/// Reads `2s`, `500ms` or plain seconds.
fn interval(text: &str) -> Result<Duration, String> {
    let (digits, milliseconds_each) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(digits), _) => (digits, 1),
        (None, Some(digits)) => (digits, 1_000),
        (None, None) => (text, 1_000),
    };
    let milliseconds = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(milliseconds_each));
    let interval = milliseconds.map(Duration::from_millis);
    let fits = interval.filter(|interval| (SHORTEST_BLOCK_TIME..=LONGEST_BLOCK_TIME).contains(interval));
    fits.ok_or_else(|| "expected an interval from 1ms to 3600s, such as 2s or 500ms".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_has_a_unit_or_is_in_seconds() {
        for (text, milliseconds) in [("2s", 2_000), ("500ms", 500), ("3", 3_000), ("3600s", 3_600_000)] {
            assert_eq!(interval(text), Ok(Duration::from_millis(milliseconds)));
        }
        for bad in ["", "0", "0ms", "-1s", "1.5s", "2m", "3601s", "99999999999999999999s", "18446744073709551615s"] {
            assert!(interval(bad).is_err(), "{bad}");
        }
    }
}
