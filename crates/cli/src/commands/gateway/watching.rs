//! The listener for whoever runs the gateway: what it tells of, and how it is served.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use axum::Router;
use farthing::core::BoxFuture;
use farthing::core::amount::Amount;
use farthing::evm::rpc::{self, Call, HttpNode, Node};
use farthing::evm::{Address, U256};
use farthing::facilitator::Local;
use farthing::secret::SecretRef;
use farthing::store::Store;
use farthing_gateway::Upstream;
use farthing_gateway::file::Reference;
use farthing_gateway::seen::{Admin, Sponsor, Surroundings, UpstreamState, upstream_up};
use futures_util::future::join_all;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use super::wiring::Wired;
use crate::config::gateway::Config;
use crate::metrics::Metrics;
use crate::serve;
use crate::settling;

/// The decimals of a coin in gwei.
const GWEI_DECIMALS: u8 = 9;
/// How many wei a gwei is.
const WEI_PER_GWEI: u64 = 1_000_000_000;
/// For how long a balance is shown before it is asked for again.
const BALANCE_FRESH: Duration = Duration::from_secs(30);
/// How long a node may take to say it.
const BALANCE_TIMEOUT: Duration = Duration::from_secs(3);
/// The shortest key, in bytes.
const MIN_KEY_BYTES: usize = 16;

/// What is needed before anything is opened.
pub struct Watching {
    listener: TcpListener,
    key: Option<Zeroizing<String>>,
    metrics: Metrics,
    purses: Vec<Purse>,
}

/// The accounts that pay for gas on one network.
struct Purse {
    network: String,
    nodes: Vec<HttpNode>,
    accounts: Vec<Address>,
    low_balance_gwei: Option<u64>,
}

/// What is around the gateway.
struct House {
    upstream: Upstream,
    local: Option<Arc<Local>>,
    purses: Vec<Purse>,
    asked: Mutex<Option<(Instant, Vec<Sponsor>)>>,
}

impl Watching {
    /// Takes the address, and begins to count; nothing, if nobody is to watch.
    pub fn prepare(config: &Config) -> anyhow::Result<Option<Self>> {
        let Some(admin) = &config.gateway.admin else { return Ok(None) };
        let key = admin.key.as_ref().map(key).transpose().context("gateway.admin.key")?;
        let listen = admin.listen;
        let listener = serve::listen(listen).with_context(|| format!("gateway.admin: {listen} cannot be listened on"))?;
        let mut purses = Vec::new();
        for (name, network) in &config.network {
            let chain = settling::chain(name, network)?;
            let nodes = chain.nodes.iter().map(|node| Ok(HttpNode::new(&chain.network, node)?));
            purses.push(Purse {
                network: chain.network.to_string(),
                nodes: nodes.collect::<anyhow::Result<_>>()?,
                accounts: settling::signers(network)?.iter().map(|signer| signer.address()).collect(),
                low_balance_gwei: chain.gas.low_balance_gwei,
            });
        }
        Ok(Some(Self { listener, key, metrics: Metrics::start()?, purses }))
    }

    /// Where it listens.
    pub fn url(&self) -> anyhow::Result<String> {
        Ok(format!("http://{}", self.listener.local_addr()?))
    }

    /// Serves until it is aborted.
    pub fn start(self, wired: &Wired, store: &Store) -> JoinHandle<()> {
        let Self { listener, key, metrics, purses } = self;
        let (upstream, local) = (wired.upstream.clone(), wired.local.clone());
        let looked = upstream.clone();
        let page = metrics.router().layer(axum::middleware::map_request(move |request: axum::extract::Request| {
            upstream_up(looked.is_up());
            std::future::ready(request)
        }));
        let surroundings = Arc::new(House { upstream, local, purses, asked: Mutex::default() });
        let app: Router = Admin { seen: wired.gateway.seen(), sales: store.sales(), surroundings, key }.router(page);
        tokio::spawn(async move { serve::until(std::future::pending(), listener, app).await })
    }
}

fn key(place: &Reference) -> anyhow::Result<Zeroizing<String>> {
    let key = place.as_str().parse::<SecretRef>()?.resolve()?;
    if key.len() < MIN_KEY_BYTES {
        bail!("expected at least {MIN_KEY_BYTES} bytes, got {}; make one with `openssl rand -hex 32`", key.len());
    }
    Ok(Zeroizing::new(key.to_string()))
}

impl Surroundings for House {
    fn upstream(&self) -> UpstreamState {
        UpstreamState { origin: self.upstream.config().url.origin(), is_up: self.upstream.is_up() }
    }

    fn not_ready(&self) -> BoxFuture<'_, Vec<String>> {
        Box::pin(async move {
            let Some(local) = &self.local else { return Vec::new() };
            local.ready().await.err().unwrap_or_default().iter().map(ToString::to_string).collect()
        })
    }

    fn sponsors(&self) -> BoxFuture<'_, Vec<Sponsor>> {
        Box::pin(async move {
            // Whoever asks meanwhile waits for the same answer.
            let mut asked = self.asked.lock().await;
            if let Some((at, sponsors)) = asked.as_ref()
                && at.elapsed() < BALANCE_FRESH
            {
                return sponsors.clone();
            }
            let sponsors: Vec<Sponsor> = join_all(self.purses.iter().map(Purse::look)).await.into_iter().flatten().collect();
            *asked = Some((Instant::now(), sponsors.clone()));
            sponsors
        })
    }
}

impl Purse {
    async fn look(&self) -> Vec<Sponsor> {
        let balances = tokio::time::timeout(BALANCE_TIMEOUT, self.balances()).await.ok().flatten().unwrap_or_default();
        let place = |(number, account): (usize, &Address)| {
            let gwei = balances.get(number).map(|wei| *wei / U256::from(WEI_PER_GWEI));
            let low = self.low_balance_gwei.map(U256::from);
            Sponsor {
                network: self.network.clone(),
                account: account.to_string(),
                balance: gwei.map(coins),
                low_mark: low.map(coins),
                is_low: gwei.is_some_and(|gwei| gwei.is_zero() || low.is_some_and(|low| gwei < low)),
            }
        };
        self.accounts.iter().enumerate().map(place).collect()
    }

    /// What the accounts hold in wei, by the first node that says it.
    async fn balances(&self) -> Option<Vec<U256>> {
        let calls: Vec<Call> = self.accounts.iter().map(|account| Call::balance(*account)).collect();
        for node in &self.nodes {
            let Ok(answers) = node.ask(&calls).await else { continue };
            let balances: Result<Vec<U256>, _> = answers.iter().map(|answer| rpc::wei(answer, "eth_getBalance")).collect();
            if let Ok(balances) = balances {
                return Some(balances);
            }
        }
        None
    }
}

fn coins(gwei: U256) -> String {
    Amount::from_units(gwei).to_decimal_string(GWEI_DECIMALS)
}
