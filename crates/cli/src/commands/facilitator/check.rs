//! `farthing facilitator check`: the configuration as it is understood, and whether the world is as it says.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use farthing::evm::asset::AssetTable;
use farthing::evm::config::ChainConfig;
use farthing::evm::network::chain_id;
use farthing::evm::rpc::{self, Call, HttpNode, Node};
use farthing::evm::signer::Signer;
use farthing::evm::{Address, U256};
use farthing::store::{Access, Store, StoreUrl};
use serde::Serialize;

use super::wiring;
use crate::config::Config;
use crate::exit::Exit;
use crate::logging;
use crate::terminal::{BAD, FAINT, GOOD, PLAIN, STRONG, say, say_json};

/// What `farthing facilitator check` takes.
#[derive(Args)]
pub struct Arguments {
    /// The TOML file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Everything that was looked at.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    is_good: bool,
    listen: String,
    store: Finding,
    callers: usize,
    networks: Vec<NetworkReport>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NetworkReport {
    network: String,
    endpoints: Vec<Finding>,
    signers: Vec<Finding>,
    confirmations: u64,
    /// The most that one payment's gas may cost, in gwei.
    max_fee_gwei: String,
    assets: Vec<String>,
}

/// One thing, and whether it is as it must be.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Finding {
    what: String,
    is_good: bool,
    found: String,
}

/// Looks, and tells. Exits with 1 if anything is not as it must be.
pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    logging::start_plain(arguments.json)?;
    let config = Config::load(&arguments.config)?;
    let report = look(&config, arguments.config.parent().unwrap_or(Path::new(""))).await?;
    if arguments.json {
        say_json(&report)?;
    } else {
        tell(&report);
    }
    Ok(if report.is_good { Exit::Ok } else { Exit::Failed }.into())
}

async fn look(config: &Config, folder: &Path) -> anyhow::Result<Report> {
    let store = store(config, folder).await?;
    let mut networks = Vec::new();
    for (name, network) in &config.network {
        let (chain, signers) = wiring::chain(name, network)?;
        networks.push(look_at(&chain, &signers, &network.assets).await?);
    }
    let all_good = |findings: &[Finding]| findings.iter().all(|finding| finding.is_good);
    let is_good = store.is_good && networks.iter().all(|network| all_good(&network.endpoints) && all_good(&network.signers));
    Ok(Report { is_good, listen: config.facilitator.listen.to_string(), store, callers: config.caller.len(), networks })
}

/// Whether the book can be read. Writing is not tried: the facilitator may be running.
async fn store(config: &Config, folder: &Path) -> anyhow::Result<Finding> {
    let url = config.facilitator.store.resolve(folder)?;
    let what = url.to_string();
    if let StoreUrl::Sqlite(path) = &url
        && !path.exists()
    {
        return Ok(Finding { what, is_good: true, found: "not there yet; the first start makes it".to_owned() });
    }
    Ok(match Store::open(&url, Access::Read).await {
        Ok(store) => {
            store.close().await;
            Finding { what, is_good: true, found: "it can be read".to_owned() }
        }
        Err(error) => Finding { what, is_good: false, found: format!("{:#}", anyhow::Error::from(error)) },
    })
}

async fn look_at(chain: &ChainConfig, signers: &[Arc<dyn Signer>], only: &[String]) -> anyhow::Result<NetworkReport> {
    let mut endpoints = Vec::new();
    let mut balances = None;
    let accounts: Vec<Address> = signers.iter().map(|signer| signer.address()).collect();
    for (index, config) in chain.nodes.iter().enumerate() {
        let node = HttpNode::new(&chain.network, config)?;
        let (finding, found) = ask(&node, index, chain, &accounts).await;
        endpoints.push(finding);
        balances = balances.or(found);
    }
    let signers = accounts.iter().enumerate().map(|(index, account)| {
        let balance = balances.as_ref().and_then(|balances| balances.get(index));
        judge(*account, balance.copied(), chain)
    });
    let max_fee_gwei = U256::from(chain.gas.max_units) * U256::from(chain.gas.max_fee_per_unit_wei) / WEI_PER_GWEI;
    let assets = AssetTable::known();
    let known = assets.on(&chain.network).map(|asset| format!("{} {}", asset.symbol, asset.address));
    Ok(NetworkReport {
        network: chain.network.to_string(),
        endpoints,
        signers: signers.collect(),
        confirmations: chain.confirm.blocks,
        max_fee_gwei: max_fee_gwei.to_string(),
        assets: if only.is_empty() { known.collect() } else { only.to_vec() },
    })
}

const WEI_PER_GWEI: U256 = U256::from_limbs([1_000_000_000, 0, 0, 0]);

/// One endpoint. Its URL is not shown: it may carry a key.
async fn ask(node: &HttpNode, index: usize, chain: &ChainConfig, accounts: &[Address]) -> (Finding, Option<Vec<U256>>) {
    let what = format!("endpoint {}", index.saturating_add(1));
    let mut calls = vec![Call::chain_id(), Call::block_number()];
    calls.extend(accounts.iter().map(|account| Call::balance(*account)));
    let read = async {
        let answers = node.ask(&calls).await?;
        let [id, height, rest @ ..] = answers.as_slice() else { return Err(rpc::NodeError::Malformed("eth_chainId")) };
        let balances = rest.iter().map(|answer| rpc::wei(answer, "eth_getBalance")).collect::<Result<Vec<_>, _>>()?;
        Ok((rpc::quantity(id, "eth_chainId")?, rpc::quantity(height, "eth_blockNumber")?, balances))
    };
    match read.await {
        Ok((id, height, balances)) if Some(id) == chain_id(&chain.network) => {
            (Finding { what, is_good: true, found: format!("chain {id}, height {height}") }, Some(balances))
        }
        Ok((id, ..)) => {
            let found = format!("it is of chain {id}, expected {}; correct rpc or the network's name", chain.network);
            (Finding { what, is_good: false, found }, None)
        }
        Err(error) => (Finding { what, is_good: false, found: error.to_string() }, None),
    }
}

fn judge(account: Address, balance: Option<U256>, chain: &ChainConfig) -> Finding {
    let what = account.to_string();
    let Some(balance) = balance else {
        return Finding { what, is_good: false, found: "its balance cannot be read".to_owned() };
    };
    let gwei = balance / WEI_PER_GWEI;
    let least = chain.gas.low_balance_gwei.unwrap_or_default();
    let is_good = gwei > U256::from(least);
    let found = if is_good {
        format!("{gwei} gwei")
    } else {
        format!("{gwei} gwei, which is not above gas.low_balance_gwei ({least}); fund it")
    };
    Finding { what, is_good, found }
}

fn tell(report: &Report) {
    let line = |finding: &Finding| {
        let (colour, sign) = if finding.is_good { (GOOD, "✓") } else { (BAD, "✗") };
        say(format!("  {colour}{sign}{PLAIN} {}  {FAINT}{}{PLAIN}", finding.what, finding.found));
    };
    say(format!("{STRONG}listens on{PLAIN} {}   {} callers have keys", report.listen, report.callers));
    say(format!("{STRONG}book{PLAIN}"));
    line(&report.store);
    for network in &report.networks {
        say(format!("{STRONG}{}{PLAIN}  {} confirmations", network.network, network.confirmations));
        network.endpoints.iter().for_each(line);
        network.signers.iter().for_each(line);
        say(format!("    {FAINT}a payment's gas costs at most {} gwei{PLAIN}", network.max_fee_gwei));
        say(format!("    {FAINT}assets: {}{PLAIN}", network.assets.join(", ")));
    }
    say(if report.is_good { format!("{GOOD}good{PLAIN}") } else { format!("{BAD}not good{PLAIN}") });
}
