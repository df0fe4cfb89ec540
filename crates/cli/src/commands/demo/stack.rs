//! The parts of the demo, wired as a user would wire them: a chain, a facilitator, a seller, and funded agents.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use axum::Router;
use farthing::client::{Client, Error, Purchase};
use farthing::core::amount::Amount;
use farthing::core::header::{self, PAYMENT_REQUIRED, PAYMENT_SIGNATURE};
use farthing::evm::signer::{LocalSigner, Signer};
use farthing::evm::wallet::OwnedWallet;
use farthing::evm::{Address, U256};
use farthing_devnet::{Devnet, DevnetError};
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use super::operator::Operator;
use super::sample;
use crate::commands::purse::throw_away_signer;
use crate::serve;

pub const NETWORK: &str = "eip155:84532";
const SELLER: &str = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C";
const DECIMALS: u8 = 6;
/// Where chain, facilitator and sample API listen if the port is free.
const PREFERRED_PORTS: [u16; 3] = [8545, 4021, 4020];
/// What the agent has: 100 USDC.
const AGENT_USDC_ATOMIC: u64 = 100_000_000;
/// What each other wallet has: 1 USDC.
const WALLET_USDC_ATOMIC: u64 = 1_000_000;
/// What the report costs, in atomic units: one cent.
pub const REPORT_UNITS: U256 = U256::from_limbs([10_000, 0, 0, 0]);
/// The limits that the agent lives by: the one that always holds, and its own.
pub const AGENT_LIMITS: [&str; 2] = ["$1 per payment", "$5 per day"];

/// Everything that runs.
pub struct Stack {
    /// When all of this began.
    pub started: Instant,
    /// Where the chain answers JSON-RPC.
    pub rpc_url: String,
    /// The facilitator.
    pub operator: Operator,
    /// Where the seller listens.
    pub api_url: String,
    /// The agent's key: a publicly known development key.
    pub agent_key: String,
    /// The facilitator's sending account.
    pub facilitator_account: String,
    /// The chain.
    pub devnet: Devnet,
    agent: Address,
    seller: Address,
    servers: Vec<JoinHandle<()>>,
}

/// A wallet with a dollar.
pub struct Wallet {
    /// Pays from it.
    pub client: Client,
    /// The account, or the contract.
    pub address: Address,
}

/// What came of a payment that was presented twice.
pub struct Replay {
    /// The second answer's status.
    pub status: u16,
    /// The second answer's reason.
    pub reason: String,
    /// What the seller has gained by both.
    pub gained: U256,
}

impl Stack {
    /// Starts everything.
    pub async fn start() -> anyhow::Result<Self> {
        let started = Instant::now();
        let [chain_port, facilitator_port, api_port] = PREFERRED_PORTS;
        let devnet = start_chain(chain_port).await.context("the chain did not start")?;
        let [operator, agent, ..] = devnet.accounts() else { bail!("the chain has too few accounts") };
        let mut servers = Vec::new();

        let facilitator_account = operator.address.to_string();
        let key = alloy_primitives::hex::encode_prefixed(operator.secret);
        let operator = Operator::start(facilitator_port, &devnet.rpc_url(), key).await?;

        let toll = farthing::Server::builder().facilitator(&*operator.url)?.pay_to(NETWORK, SELLER)?.build().await?;
        let api_url = start_server(&mut servers, api_port, sample::router(&toll)?)?;

        devnet.give_usdc(agent.address, U256::from(AGENT_USDC_ATOMIC))?;
        Ok(Self {
            started,
            rpc_url: devnet.rpc_url(),
            operator,
            api_url,
            agent_key: alloy_primitives::hex::encode_prefixed(agent.secret),
            facilitator_account,
            agent: agent.address,
            seller: SELLER.parse()?,
            devnet,
            servers,
        })
    }

    /// The agent's client, under its limits.
    pub fn agent(&self) -> anyhow::Result<Client> {
        let signer = LocalSigner::from_hex(Zeroizing::new(self.agent_key.clone()))?;
        let mut builder = farthing::Client::builder().signer(Arc::new(signer));
        for limit in AGENT_LIMITS {
            builder = builder.limit(limit)?;
        }
        Ok(builder.node(NETWORK, &self.rpc_url)?.build()?)
    }

    /// Wallets with fresh keys and a dollar each.
    pub fn fund_agents(&self, count: usize) -> anyhow::Result<Vec<Wallet>> {
        (0..count).map(|_| self.fund_agent()).collect()
    }

    fn fund_agent(&self) -> anyhow::Result<Wallet> {
        let signer = throw_away_signer()?;
        let address = signer.address();
        self.devnet.give_usdc(address, U256::from(WALLET_USDC_ATOMIC))?;
        Ok(Wallet { client: farthing::Client::builder().signer(Arc::new(signer)).build()?, address })
    }

    /// A contract with a dollar, and its owner, a fresh key that has nothing.
    pub fn fund_smart_wallet(&self) -> anyhow::Result<(Wallet, Address)> {
        let signer = throw_away_signer()?;
        let owner = signer.address();
        let address = self.devnet.create_smart_wallet(owner, U256::ZERO)?;
        self.devnet.give_usdc(address, U256::from(WALLET_USDC_ATOMIC))?;
        let wallet = OwnedWallet::new(address, Arc::new(signer));
        let client = farthing::Client::builder().smart_wallet(Arc::new(wallet)).build()?;
        Ok((Wallet { client, address }, owner))
    }

    /// What the agent and the seller have on chain.
    pub fn balances(&self) -> (U256, U256) {
        (self.devnet.usdc_balance(self.agent), self.seller_balance())
    }

    /// What the seller has on chain.
    pub fn seller_balance(&self) -> U256 {
        self.devnet.usdc_balance(self.seller)
    }

    /// What a wallet has paid, by the chain.
    pub fn spent(&self, wallet: &Wallet) -> U256 {
        U256::from(WALLET_USDC_ATOMIC).saturating_sub(self.devnet.usdc_balance(wallet.address))
    }

    /// The newest block's number.
    pub fn block_number(&self) -> u64 {
        self.devnet.block_number()
    }

    /// Signs one payment for the URL, as the header that carries it.
    pub async fn sign(&self, client: &Client, url: &str) -> anyhow::Result<String> {
        let challenge = reqwest::get(url).await?;
        let terms = challenge.headers().get(PAYMENT_REQUIRED).context("the answer asks for no payment")?;
        let terms = header::decode_required(terms.as_bytes())?;
        let purchase = Purchase { resource: url.to_owned(), ..Purchase::default() };
        let promised = client.payer().pay(&terms, &purchase).await.map_err(Error::from)?;
        Ok(header::encode(&promised.payment)?)
    }

    /// Signs one payment for the URL and presents it twice, as somebody would who copied it from the wire.
    pub async fn replay(&self, client: &Client, url: &str) -> anyhow::Result<Replay> {
        let before = self.seller_balance();
        let http = reqwest::Client::new();
        let payment = self.sign(client, url).await?;
        let first = http.get(url).header(PAYMENT_SIGNATURE, &payment).send().await?;
        ensure!(first.status().is_success(), "the first presentation was answered with {}", first.status());
        let second = http.get(url).header(PAYMENT_SIGNATURE, &payment).send().await?;
        let status = second.status().as_u16();
        let terms = second.headers().get(PAYMENT_REQUIRED).context("the second answer has no terms")?;
        let reason = header::decode_required(terms.as_bytes())?.error.unwrap_or_default();
        Ok(Replay { status, reason, gained: self.seller_balance().saturating_sub(before) })
    }

    /// Stops everything.
    pub async fn stop(self) {
        for server in &self.servers {
            server.abort();
        }
        self.devnet.stop().await;
    }
}

/// Atomic units of the token as people write them: `$0.01`.
pub fn dollars(units: U256) -> String {
    format!("${}", Amount::from_units(units).to_decimal_string(DECIMALS))
}

/// On the port if nobody has it, otherwise on any.
async fn start_chain(port: u16) -> Result<Devnet, DevnetError> {
    match Devnet::builder().listen(loopback(port)).start().await {
        Err(DevnetError::Listen { .. }) => Devnet::builder().listen(loopback(0)).start().await,
        started => started,
    }
}

/// On the port if nobody has it, otherwise on any.
fn start_server(servers: &mut Vec<JoinHandle<()>>, port: u16, router: Router) -> io::Result<String> {
    let listener = serve::listen(loopback(port)).or_else(|_taken| serve::listen(loopback(0)))?;
    let url = format!("http://{}", listener.local_addr()?);
    servers.push(tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "a server stopped");
        }
    }));
    Ok(url)
}

/// An address of this machine that nobody else reaches.
pub fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}
