//! One chain, one facilitator, and every server and client that is needed: all goods are sold here, one after the other.

mod afterwards;
mod checks;

use std::sync::atomic::{AtomicU64, Ordering};

use alloy_primitives::{Address, U256};
use anyhow::{Context, Result, bail, ensure};
use serde_json::json;

use crate::{
    chain::{Chain, ChainKind, NETWORK_V1, PLAIN_TOKEN, TOKEN},
    farthing,
    goods::Good,
    overheard::Overheard,
    payer::Payer,
    peer::{self, Answer, Peer, Script},
    roles::{Client, Facilitator, Server},
    sale::Sale,
    service::{BUYER_CODE, Service, record, start_facilitator, start_server},
};

const FUNDS_ATOMIC: u64 = 1_000_000;
const ETHER_WEI: U256 = U256::from_limbs([1_000_000_000_000_000_000, 0, 0, 0]);

/// Where everything is sold.
pub struct Shop {
    kind: ChainKind,
    sales: Vec<Sale>,
    chain: Chain,
    overheard: Overheard,
    servers: Vec<(Server, Service)>,
    buyers: Vec<(Client, Peer)>,
    payers: AtomicU64,
}

/// Who buys.
enum Buyer<'a> {
    Farthing(Box<farthing::Buyer>),
    Peer(&'a Peer),
    Script(Script),
}

impl Shop {
    /// Starts everybody who is needed for those of these sales that this facilitator settles.
    pub async fn open(kind: ChainKind, facilitator: Facilitator, sales: Vec<Sale>) -> Result<Self> {
        let sales: Vec<Sale> = sales.into_iter().filter(|sale| sale.by.facilitator == facilitator).collect();
        let chain = Chain::start(kind).await?;
        let service = start_facilitator(facilitator, &chain).await.context("starting the facilitator")?;
        let overheard = Overheard::start(service).await?;
        let mut servers = Vec::new();
        for server in Server::ALL.iter().filter(|server| sales.iter().any(|sale| sale.by.server == **server)) {
            let service = start_server(*server, overheard.url(), chain.rpc_url()).await;
            servers.push((*server, service.with_context(|| format!("starting the server {server}"))?));
        }
        let node = [("RPC_URL", chain.rpc_url())];
        let scripts = [(Client::Ts, Script::Ts("buyer.mjs")), (Client::PythonHttpx, Script::Python("buyer.py"))];
        let mut buyers = Vec::new();
        for (client, script) in scripts {
            if sales.iter().any(|sale| sale.by.client == client || (client == Client::Ts && sale.good == Good::Attributed)) {
                buyers.push((client, Peer::start(script, &node).await?));
            }
        }
        Ok(Self { kind, sales, chain, overheard, servers, buyers, payers: AtomicU64::new(0) })
    }

    /// Sells everything that it was opened for, and fails with all that went wrong. What tells of Farthing and holds is
    /// recorded.
    pub async fn sells_all(&self) -> Result<()> {
        let mut failures = Vec::new();
        for sale in &self.sales {
            match self.sells(*sale).await {
                Ok(()) if sale.by.has_farthing() => {
                    record(&json!({"chain": self.kind.to_string(), "combination": sale.to_string()}))?;
                }
                Ok(()) => (),
                Err(error) => failures.push(format!("{sale}: {error:#}")),
            }
        }
        ensure!(!self.sales.is_empty(), "there is nothing to sell");
        ensure!(failures.is_empty(), "{} sales failed:\n{}", failures.len(), failures.join("\n"));
        Ok(())
    }

    /// Sells a good, and sees that exactly what should have moved has, that everybody says the same of it, and that it opens
    /// afterwards what it should.
    pub async fn sells(&self, sale: Sale) -> Result<()> {
        let payer = self.payer(sale.good).await.context("preparing the payer")?;
        let before = self.standing(sale, &payer).await?;
        self.overheard.settlements();
        let buyer = self.buyer(sale, &payer)?;
        let id = (sale.good == Good::Named).then(|| format!("purchase-{}", payer.address()));
        let url = self.url(sale)?;
        let answer = self.buy(&buyer, &payer, &url, id.as_deref()).await?;
        let settlements = self.overheard.settlements();
        let checked = self.check(sale, &payer, &before, (&answer, &settlements)).await;
        checked.with_context(|| format!("{answer:?}, settled as {settlements:?}"))?;
        self.afterwards(sale, &payer, &buyer, &answer).await.with_context(|| format!("after {answer:?}"))
    }

    /// Where the facilitator is.
    pub fn facilitator_url(&self) -> &str {
        self.overheard.url()
    }

    /// Where a good is sold.
    pub fn url(&self, sale: Sale) -> Result<String> {
        let found = self.servers.iter().find(|(server, _)| *server == sale.by.server);
        let (_, service) = found.context("the shop was not opened for this server")?;
        Ok(format!("{}{}", service.url(), sale.good.path()))
    }

    /// A payer with money, and with whatever else the good needs.
    async fn payer(&self, good: Good) -> Result<Payer> {
        let token = token_of(good);
        let number = self.payers.fetch_add(1, Ordering::Relaxed);
        let payer = Payer::create(&self.chain, good.payer(), number).await?;
        self.chain.give(token, payer.address(), U256::from(FUNDS_ATOMIC)).await?;
        if good.is_approved() {
            self.chain.allow_permit2(token, payer.address()).await?;
        }
        let wei = if good == Good::SponsoredApproval { ETHER_WEI } else { U256::ZERO };
        self.chain.set_ether(payer.address(), wei).await?;
        Ok(payer)
    }

    fn buyer(&self, sale: Sale, payer: &Payer) -> Result<Buyer<'_>> {
        Ok(match sale.by.client {
            Client::Farthing => Buyer::Farthing(Box::new(farthing::Buyer::new(payer, self.chain.rpc_url(), &[BUYER_CODE])?)),
            Client::Ts | Client::PythonHttpx => Buyer::Peer(self.peer(sale.by.client)?),
            Client::PythonRequests => Buyer::Script(Script::Python("client_requests.py")),
            Client::V1 => Buyer::Script(Script::TsV1("client.mjs")),
        })
    }

    fn peer(&self, client: Client) -> Result<&Peer> {
        let found = self.buyers.iter().find(|(buyer, _)| *buyer == client);
        Ok(&found.context("the shop was not opened for this client")?.1)
    }

    async fn buy(&self, buyer: &Buyer<'_>, payer: &Payer, url: &str, id: Option<&str>) -> Result<Answer> {
        match buyer {
            Buyer::Farthing(buyer) => buyer.buys(url, id).await,
            Buyer::Peer(peer) => peer.buys(&payer.order(url, id, &[BUYER_CODE])).await,
            Buyer::Script(_) if id.is_some() => bail!("scripts know no names of purchases"),
            Buyer::Script(script) => {
                peer::buy(*script, &[("URL", url), ("PRIVATE_KEY", &payer.key()), ("NETWORK", NETWORK_V1)]).await
            }
        }
    }
}

/// What a good is paid in.
fn token_of(good: Good) -> Address {
    if good == Good::SponsoredApproval { PLAIN_TOKEN.address } else { TOKEN }
}
