//! Buys through a combination of roles, and checks what moved on the chain.

use std::{env, fs::OpenOptions, io::Write};

use alloy_primitives::U256;
use anyhow::{Context, Result, ensure};
use farthing_devnet::SMART_WALLET_FACTORY;
use serde_json::{Value, json};

use crate::{
    chain::{CHAIN_ID, Chain, ChainKind, FACILITATOR_KEY, NETWORK, NETWORK_V1, PAYEE, PAYER, PAYER_KEY, PLAIN_TOKEN},
    farthing,
    peer::{self, Answer, Peer, Script},
    roles::{Client, Combination, Facilitator, Server},
};

/// What one request costs.
pub const PRICE: &str = "$0.01";
/// The same in atomic units.
pub const PRICE_ATOMIC: u64 = 10_000;
const FUNDS_ATOMIC: u64 = 1_000_000;

/// Somebody who serves HTTP until dropped.
pub struct Service {
    url: String,
    _running: Box<dyn Send>,
}

impl Service {
    /// Keeps `running` alive as long as the service is.
    pub fn new(url: String, running: impl Send + 'static) -> Self {
        Self { url, _running: Box::new(running) }
    }

    /// Where it listens, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl From<Peer> for Service {
    fn from(peer: Peer) -> Self {
        Self::new(peer.url().to_owned(), peer)
    }
}

/// A chain with a payer who has money, a facilitator and a server.
pub struct Market {
    chain: Chain,
    facilitator: Service,
    server: Service,
}

impl Market {
    /// Starts everybody but the client.
    pub async fn open(kind: ChainKind, server: Server, facilitator: Facilitator) -> Result<Self> {
        let chain = Chain::start(kind).await?;
        chain.fund(PAYER, FUNDS_ATOMIC).await?;
        let facilitator = start_facilitator(facilitator, &chain).await.context("starting the facilitator")?;
        let server = start_server(server, facilitator.url()).await.context("starting the server")?;
        Ok(Self { chain, facilitator, server })
    }

    /// The facilitator.
    pub fn facilitator(&self) -> &Service {
        &self.facilitator
    }

    /// The server.
    pub fn server(&self) -> &Service {
        &self.server
    }

    /// Buys the report: it is delivered, and the price moved from the payer to the payee.
    pub async fn sells_a_report(&self, client: Client) -> Result<()> {
        let before = self.balances().await?;
        let answer = self.buy(client, "/report").await.context("buying /report")?;
        ensure!(answer.status == 200, "the report has status {}: {answer:?}", answer.status);
        ensure!(answer.body == json!({"report": "a farthing's worth"}), "another body: {answer:?}");
        let settlement = answer.settlement.as_ref().context("no settlement is reported")?;
        ensure!(settlement.get("success") == Some(&Value::Bool(true)), "no success: {settlement}");
        let network = settlement.get("network").and_then(Value::as_str).unwrap_or_default();
        ensure!([NETWORK, NETWORK_V1].contains(&network), "another network: {settlement}");
        let transaction = settlement.get("transaction").and_then(Value::as_str).unwrap_or_default();
        ensure!(self.chain.succeeded(transaction).await?, "the chain does not know the transaction: {settlement}");
        let price = U256::from(PRICE_ATOMIC);
        let after = self.balances().await?;
        ensure!(after.0 + price == before.0, "the payer had {} and has {}", before.0, after.0);
        ensure!(after.1 == before.1 + price, "the payee had {} and has {}", before.1, after.1);
        Ok(())
    }

    /// Asks for what always fails: the failure is delivered, and nothing is charged.
    pub async fn charges_nothing_for_a_failure(&self, client: Client) -> Result<()> {
        let before = self.balances().await?;
        let answer = self.buy(client, "/fails").await.context("buying /fails")?;
        ensure!(answer.status == 500, "the failure has status {}: {answer:?}", answer.status);
        let settled = answer.settlement.as_ref().and_then(|settlement| settlement.get("success"));
        ensure!(settled != Some(&Value::Bool(true)), "a failure was settled: {answer:?}");
        ensure!(self.balances().await? == before, "a failure was charged");
        Ok(())
    }

    async fn buy(&self, client: Client, path: &str) -> Result<Answer> {
        let url = format!("{}{path}", self.server.url);
        let settings = [("URL", url.as_str()), ("PRIVATE_KEY", PAYER_KEY), ("NETWORK", NETWORK_V1)];
        let script = match client {
            Client::Farthing => return farthing::buy(&url).await,
            Client::Ts => Script::Ts("client.mjs"),
            Client::PythonHttpx => Script::Python("client_httpx.py"),
            Client::PythonRequests => Script::Python("client_requests.py"),
            Client::V1 => Script::TsV1("client.mjs"),
        };
        peer::buy(script, &settings).await
    }

    async fn balances(&self) -> Result<(U256, U256)> {
        Ok((self.chain.balance(PAYER).await?, self.chain.balance(PAYEE).await?))
    }
}

/// Makes a test of every combination, on every chain: `anvil::client_ts_server_ts_facilitator_ts` and so on. `COMBINATIONS`
/// is the list of their names.
#[macro_export]
macro_rules! combinations {
    ($($combination:ident)+) => {
        /// The names of the combinations above.
        pub const COMBINATIONS: &[&str] = &[$(stringify!($combination)),+];
        $crate::combinations!(@on anvil Anvil $($combination)+);
        $crate::combinations!(@on devnet Devnet $($combination)+);
    };
    (@on $chain:ident $kind:ident $($combination:ident)+) => {
        mod $chain {
            $(
                #[tokio::test]
                async fn $combination() -> anyhow::Result<()> {
                    $crate::purchase::check($crate::chain::ChainKind::$kind, stringify!($combination)).await
                }
            )+
        }
    };
}

/// Buys once with success and once in vain through a combination, and records that it holds on this chain.
pub async fn check(kind: ChainKind, combination: &str) -> Result<()> {
    let roles = Combination::named(combination).with_context(|| format!("there is no combination {combination}"))?;
    let market = Market::open(kind, roles.server, roles.facilitator).await?;
    market.sells_a_report(roles.client).await?;
    market.charges_nothing_for_a_failure(roles.client).await?;
    if roles.has_farthing() {
        record(&json!({"chain": kind.to_string(), "combination": combination}))?;
    }
    Ok(())
}

/// Appends a line to the results that `cargo xtask test` counts; without that task it does nothing.
pub fn record(result: &Value) -> Result<()> {
    let Some(file) = env::var_os("FARTHING_INTEROP_RESULTS") else { return Ok(()) };
    // One write of one line: the tests of a run append at the same time.
    let mut file = OpenOptions::new().create(true).append(true).open(file)?;
    Ok(file.write_all(format!("{result}\n").as_bytes())?)
}

pub(crate) async fn start_facilitator(facilitator: Facilitator, chain: &Chain) -> Result<Service> {
    let (chain_id, factory) = (CHAIN_ID.to_string(), SMART_WALLET_FACTORY.to_string());
    let settings =
        [("RPC_URL", chain.rpc_url()), ("PRIVATE_KEY", FACILITATOR_KEY), ("CHAIN_ID", &chain_id), ("WALLET_FACTORY", &factory)];
    match facilitator {
        Facilitator::Farthing => farthing::facilitator(chain.rpc_url()).await,
        Facilitator::Ts => Ok(Peer::start(Script::Ts("facilitator.mjs"), &settings).await?.into()),
        Facilitator::Python => Ok(Peer::start(Script::Python("facilitator.py"), &settings).await?.into()),
    }
}

pub(crate) async fn start_server(server: Server, facilitator_url: &str) -> Result<Service> {
    let (payee, plain_token, plain_amount) = (PAYEE.to_string(), PLAIN_TOKEN.address.to_string(), PRICE_ATOMIC.to_string());
    let (script, network) = match server {
        Server::Farthing => return farthing::server(facilitator_url).await,
        Server::Ts => (Script::Ts("server.mjs"), NETWORK),
        Server::Python => (Script::Python("server.py"), NETWORK),
        Server::V1 => (Script::TsV1("server.mjs"), NETWORK_V1),
    };
    let settings = [
        ("FACILITATOR_URL", facilitator_url),
        ("PAY_TO", payee.as_str()),
        ("NETWORK", network),
        ("PRICE", PRICE),
        ("PLAIN_TOKEN", plain_token.as_str()),
        ("PLAIN_AMOUNT", plain_amount.as_str()),
    ];
    Ok(Peer::start(script, &settings).await?.into())
}
