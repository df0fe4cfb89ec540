//! `farthing devnet`: the embedded EVM alone, until Ctrl-C.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use farthing_devnet::{Devnet, Mining};
use serde_json::json;

use crate::exit::Exit;
use crate::logging::{self, LogFormat};
use crate::terminal::{ACCENT, FAINT, PLAIN, STRONG};

/// What `farthing devnet` takes.
#[derive(Args)]
pub struct Arguments {
    /// Which chain to be: its id, and with it the address and EIP-712 name of USDC.
    #[arg(long, default_value_t = 84532)]
    chain_id: u64,
    /// The port of the JSON-RPC server on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 8545)]
    port: u16,
    /// Make a block at this interval, such as 2s or 500ms, instead of with each transaction.
    #[arg(long, value_parser = interval)]
    block_time: Option<Duration>,
    /// Print the facts as one JSON object on stdout.
    #[arg(long)]
    json: bool,
}

/// What every account gets, in atomic units of USDC: 10,000.
const USDC_EACH_ATOMIC: u64 = 10_000_000_000;

/// Runs the chain.
pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    logging::start(LogFormat::Text, "warn");
    let mining = arguments.block_time.map_or(Mining::Instant, Mining::Interval);
    let listen = SocketAddr::from(([127, 0, 0, 1], arguments.port));
    let devnet = Devnet::builder().chain_id(arguments.chain_id).mining(mining).listen(listen).start().await?;
    for account in devnet.accounts() {
        devnet.give_usdc(account.address, alloy_primitives::U256::from(USDC_EACH_ATOMIC))?;
    }
    if arguments.json { print_json(&devnet)? } else { print_text(&devnet, arguments.block_time) }
    tokio::signal::ctrl_c().await?;
    devnet.stop().await;
    Ok(Exit::Ok.into())
}

fn print_text(devnet: &Devnet, block_time: Option<Duration>) {
    let blocks = block_time.map_or("a block with each transaction".to_owned(), |every| format!("a block every {every:?}"));
    anstream::println!("{STRONG}farthing devnet{PLAIN}  chain id {}, {blocks}", devnet.chain_id());
    anstream::println!();
    anstream::println!("  JSON-RPC  {ACCENT}{}{PLAIN}", devnet.rpc_url());
    anstream::println!("  USDC      {}", devnet.usdc());
    anstream::println!();
    anstream::println!("  {FAINT}These keys are public knowledge. Never send real money to them.{PLAIN}");
    anstream::println!("  {:<42}  {:<66}  balance", "account", "key");
    for account in devnet.accounts() {
        let key = alloy_primitives::hex::encode_prefixed(account.secret);
        anstream::println!("  {}  {key}  10000 ETH, 10000 USDC", account.address);
    }
    anstream::println!();
    anstream::println!("  Ctrl-C stops; nothing is kept.");
}

fn print_json(devnet: &Devnet) -> anyhow::Result<()> {
    let accounts = devnet.accounts().iter().map(|account| {
        json!({"address": account.address.to_string(), "key": alloy_primitives::hex::encode_prefixed(account.secret), "usdc": "10000"})
    });
    let facts = json!({
        "rpcUrl": devnet.rpc_url(), "chainId": devnet.chain_id(), "usdc": devnet.usdc().to_string(), "accounts": accounts.collect::<Vec<_>>(),
    });
    println!("{}", serde_json::to_string_pretty(&facts)?);
    Ok(())
}

/// Reads `2s`, `500ms` or plain seconds.
fn interval(text: &str) -> Result<Duration, String> {
    let parse = |number: &str| number.parse::<u64>().ok().filter(|number| *number > 0);
    let milliseconds = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(number), _) => parse(number),
        (None, Some(number)) => parse(number).and_then(|seconds| seconds.checked_mul(1000)),
        (None, None) => parse(text).and_then(|seconds| seconds.checked_mul(1000)),
    };
    milliseconds.map(Duration::from_millis).ok_or_else(|| format!("expected an interval such as 2s or 500ms, got {text:?}"))
}
