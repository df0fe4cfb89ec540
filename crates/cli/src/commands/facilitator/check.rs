//! `farthing facilitator check`: the configuration as it is understood, and whether the world is as it says.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use farthing::core::amount::Amount;
use farthing::evm::asset::AssetTable;
use farthing::evm::config::ChainConfig;
use farthing::evm::network::chain_id;
use farthing::evm::rpc::{self, Call, HttpNode, Node, NodeError};
use farthing::evm::{Address, U256};
use farthing::store::{Access, Store, StoreUrl};
use futures_util::future::join_all;
use serde::Serialize;

use super::wiring;
use crate::config::{Config, Network};
use crate::exit::Exit;
use crate::logging;
use crate::settling;
use crate::terminal::{BAD, FAINT, GOOD, PLAIN, STRONG, say, say_json};

const WEI_PER_GWEI: U256 = U256::from_limbs([1_000_000_000, 0, 0, 0]);
/// A network's own coin has 18 decimals, and a gwei is 10⁹ of its units.
const GWEI_DECIMALS: u8 = 9;

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
    /// How many callers have keys; with none, everybody is served.
    callers: usize,
    store: Finding,
    networks: Vec<NetworkReport>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NetworkReport {
    network: String,
    endpoints: Vec<Finding>,
    signers: Vec<Finding>,
    confirmations: u64,
    /// The most that one payment's gas may cost.
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
    #[serde(skip_serializing_if = "Option::is_none")]
    balance_gwei: Option<String>,
}

/// Looks, and tells. Exits with 1 if anything is not as it must be.
pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    logging::start_plain(arguments.json)?;
    let config = Config::load(&arguments.config)?;
    let report = look(&config, &arguments.config).await?;
    if arguments.json {
        say_json(&report)?;
    } else {
        tell(&report);
    }
    Ok(if report.is_good { Exit::Ok } else { Exit::Failed }.into())
}

async fn look(config: &Config, path: &Path) -> anyhow::Result<Report> {
    let place = || path.display().to_string();
    // All that start-up would refuse is refused here in the same words; built without the book, and never started.
    drop(wiring::setup(config).and_then(|setup| Ok(setup.build()?)).with_context(place)?);
    let assets = settling::assets(&config.network, &config.asset).with_context(place)?;
    let store = look_at_store(&config.store(path)?).await;
    let networks = config.network.iter().map(|(name, network)| look_at(name, network, &assets));
    let networks = join_all(networks).await.into_iter().collect::<anyhow::Result<Vec<_>>>().with_context(place)?;
    let all_good = |findings: &[Finding]| findings.iter().all(|finding| finding.is_good);
    let is_good = store.is_good && networks.iter().all(|network| all_good(&network.endpoints) && all_good(&network.signers));
    Ok(Report { is_good, listen: config.facilitator.listen.to_string(), callers: config.caller.len(), store, networks })
}

/// Whether the book can be read. Writing is not tried: the facilitator may be running.
async fn look_at_store(url: &StoreUrl) -> Finding {
    let what = url.to_string();
    if let StoreUrl::Sqlite(path) = url
        && !path.exists()
    {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        return if folder.is_dir() {
            Finding::good(what, "not there yet; the first start makes it")
        } else {
            Finding::bad(what, "its folder is not there; make it, or correct facilitator.store")
        };
    }
    match Store::open(url, Access::Read).await {
        Ok(store) => {
            store.close().await;
            Finding::good(what, "can be read")
        }
        Err(error) => Finding::bad(what, error.to_string()),
    }
}

async fn look_at(name: &str, network: &Network, assets: &AssetTable) -> anyhow::Result<NetworkReport> {
    let chain = settling::chain(name, network)?;
    let accounts: Vec<Address> = settling::signers(network)?.iter().map(|signer| signer.address()).collect();
    let mut nodes = Vec::new();
    for config in &chain.nodes {
        nodes.push(HttpNode::new(&chain.network, config)?);
    }
    let asked = nodes.iter().enumerate().map(|(place, node)| ask(node, place, &chain, &accounts));
    let (endpoints, balances): (Vec<Finding>, Vec<_>) = join_all(asked).await.into_iter().unzip();
    let balances: Vec<U256> = balances.into_iter().flatten().next().unwrap_or_default();
    let signers = accounts.iter().enumerate().map(|(place, account)| judge(*account, balances.get(place), &chain));
    let max_fee_wei = U256::from(chain.gas.max_units) * U256::from(chain.gas.max_fee_per_unit_wei);
    Ok(NetworkReport {
        network: chain.network.to_string(),
        endpoints,
        signers: signers.collect(),
        confirmations: chain.confirm.blocks,
        max_fee_gwei: (max_fee_wei / WEI_PER_GWEI).to_string(),
        assets: assets.on(&chain.network).map(|asset| format!("{} {}", asset.symbol, asset.address)).collect(),
    })
}

/// One endpoint, under the name that it has in logs and metrics, and what the accounts hold. Its URL is not shown: it may
/// carry a key.
async fn ask(node: &HttpNode, place: usize, chain: &ChainConfig, accounts: &[Address]) -> (Finding, Option<Vec<U256>>) {
    let what = format!("endpoint {place}");
    match read(node, accounts).await {
        Ok((id, height, balances)) if Some(id) == chain_id(&chain.network) => {
            (Finding::good(what, format!("chain {id}, height {height}")), Some(balances))
        }
        Ok((id, ..)) => {
            let found = format!("it is of chain {id}, expected {}; correct rpc or the network's name", chain.network);
            (Finding::bad(what, found), None)
        }
        Err(error) => (Finding::bad(what, error.to_string()), None),
    }
}

/// Chain id, height, and the accounts' balances in wei.
async fn read(node: &HttpNode, accounts: &[Address]) -> Result<(u64, u64, Vec<U256>), NodeError> {
    let mut calls = vec![Call::chain_id(), Call::block_number()];
    calls.extend(accounts.iter().map(|account| Call::balance(*account)));
    let answers = node.ask(&calls).await?;
    let [id, height, balances @ ..] = answers.as_slice() else { return Err(NodeError::Malformed("eth_chainId")) };
    let balances = balances.iter().map(|answer| rpc::wei(answer, "eth_getBalance")).collect::<Result<_, _>>()?;
    Ok((rpc::quantity(id, "eth_chainId")?, rpc::quantity(height, "eth_blockNumber")?, balances))
}

fn judge(account: Address, balance_wei: Option<&U256>, chain: &ChainConfig) -> Finding {
    let what = account.to_string();
    let Some(balance_wei) = balance_wei else { return Finding::bad(what, "its balance cannot be read") };
    let gwei = *balance_wei / WEI_PER_GWEI;
    let holds = format!("holds {} of the network's coin", coins(gwei));
    let finding = match chain.gas.low_balance_gwei {
        _ if gwei.is_zero() => Finding::bad(what, format!("{holds}; fund it, it pays for gas")),
        Some(low) if gwei < U256::from(low) => {
            Finding::bad(what, format!("{holds}, below gas.low_balance_gwei = {low}; fund it"))
        }
        _ => Finding::good(what, holds),
    };
    Finding { balance_gwei: Some(gwei.to_string()), ..finding }
}

fn coins(gwei: U256) -> String {
    Amount::from_units(gwei).to_decimal_string(GWEI_DECIMALS)
}

fn tell(report: &Report) {
    let Report { listen, callers, store, networks, .. } = report;
    let served = match callers {
        0 => "everybody who reaches it".to_owned(),
        1 => "1 caller, by key".to_owned(),
        callers => format!("{callers} callers, by key"),
    };
    say(format!("{STRONG}facilitator{PLAIN}  {listen}, serves {served}"));
    tell_findings([store]);
    for network in networks {
        say(format!("{STRONG}{}{PLAIN}", network.network));
        tell_findings(network.endpoints.iter().chain(&network.signers));
        let fee = network.max_fee_gwei.parse().map_or_else(|_| network.max_fee_gwei.clone(), coins);
        let confirmations =
            format!("{} confirmation{}", network.confirmations, if network.confirmations == 1 { "" } else { "s" });
        say(format!("    {FAINT}{confirmations}; the gas of one payment costs at most {fee} of the network's coin{PLAIN}"));
        for asset in &network.assets {
            say(format!("    {FAINT}takes {asset}{PLAIN}"));
        }
    }
    say(if report.is_good { format!("{GOOD}all is as it must be{PLAIN}") } else { format!("{BAD}not ready{PLAIN}") });
}

/// Findings, a line each, with what was found in one column.
fn tell_findings<'a>(findings: impl IntoIterator<Item = &'a Finding>) {
    let findings: Vec<&Finding> = findings.into_iter().collect();
    let width = findings.iter().map(|finding| finding.what.chars().count()).max().unwrap_or_default();
    for Finding { what, is_good, found, .. } in findings {
        let (colour, sign) = if *is_good { (GOOD, "✓") } else { (BAD, "✗") };
        say(format!("  {colour}{sign}{PLAIN} {what:<width$}  {found}"));
    }
}

impl Finding {
    fn good(what: String, found: impl Into<String>) -> Self {
        Self { what, is_good: true, found: found.into(), balance_gwei: None }
    }

    fn bad(what: String, found: impl Into<String>) -> Self {
        Self { what, is_good: false, found: found.into(), balance_gwei: None }
    }
}
