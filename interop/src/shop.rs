//! One chain, one facilitator, and every server and client: all goods are sold here, one after the other.

use std::sync::atomic::{AtomicU64, Ordering};

use alloy_primitives::{Address, U256};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::{
    chain::{Chain, ChainKind, NETWORK, PAYEE, PLAIN_TOKEN, TOKEN},
    farthing,
    goods::{End, Good, Sale},
    overheard::Overheard,
    payer::{Payer, PayerKind},
    peer::{Answer, Peer, Script},
    purchase::{Service, record, start_facilitator, start_server},
    roles::{Client, Facilitator, Server},
};

const FUNDS_ATOMIC: u64 = 1_000_000;
const ETHER_WEI: U256 = U256::from_limbs([1_000_000_000_000_000_000, 0, 0, 0]);
/// What a facilitator says of a payment that Permit2 may not carry out.
const ALLOWANCE_REQUIRED: &str = "permit2_allowance_required";

/// Where everything is sold.
pub struct Shop {
    kind: ChainKind,
    facilitator: Facilitator,
    chain: Chain,
    overheard: Overheard,
    farthing: Service,
    ts: Service,
    python: Service,
    ts_buyer: Peer,
    python_buyer: Peer,
    payers: AtomicU64,
}

impl Shop {
    /// Starts everybody.
    pub async fn open(kind: ChainKind, facilitator: Facilitator) -> Result<Self> {
        let chain = Chain::start(kind).await?;
        let service = start_facilitator(facilitator, &chain).await.context("starting the facilitator")?;
        let overheard = Overheard::start(service).await?;
        let node = [("RPC_URL", chain.rpc_url())];
        let (farthing, ts, python, ts_buyer, python_buyer) = tokio::try_join!(
            start_server(Server::Farthing, overheard.url()),
            start_server(Server::Ts, overheard.url()),
            start_server(Server::Python, overheard.url()),
            Peer::start(Script::Ts("buyer.mjs"), &node),
            Peer::start(Script::Python("buyer.py"), &node),
        )?;
        let payers = AtomicU64::new(0);
        Ok(Self { kind, facilitator, chain, overheard, farthing, ts, python, ts_buyer, python_buyer, payers })
    }

    /// Sells everything that there is for these sales, and fails with all that went wrong. What tells of Farthing and holds is
    /// recorded.
    pub async fn sells_all(&self, sales: impl Iterator<Item = Sale>) -> Result<()> {
        let mut failures = Vec::new();
        for sale in sales.filter(|sale| sale.by.facilitator == self.facilitator) {
            match self.sells(sale).await {
                Ok(()) if sale.by.has_farthing() => {
                    record(&json!({"chain": self.kind.to_string(), "combination": sale.to_string()}))?;
                }
                Ok(()) => (),
                Err(error) => failures.push(format!("{sale}: {error:#}")),
            }
        }
        ensure!(failures.is_empty(), "{} sales failed:\n{}", failures.len(), failures.join("\n"));
        Ok(())
    }

    /// Sells a good, and sees that exactly what should have moved has, and that everybody says the same of it.
    pub async fn sells(&self, sale: Sale) -> Result<()> {
        let good = sale.good;
        let token = token_of(good);
        let payer = self.payer(good).await.context("preparing the payer")?;
        let before = self.standing(token, payer.address()).await?;
        self.overheard.settlements();
        let answer = self.buy(sale, &payer).await?;
        let settlements = self.overheard.settlements();
        let checked = self.check(sale, &payer, &before, (&answer, &settlements)).await;
        checked.with_context(|| format!("{answer:?}, settled as {settlements:?}"))
    }

    /// Holds what everybody says of a sale against the chain.
    async fn check(&self, sale: Sale, payer: &Payer, before: &Standing, said: (&Answer, &[Value])) -> Result<()> {
        let (good, (answer, settlements)) = (sale.good, said);
        let token = token_of(good);
        let charged = U256::from(good.charged_atomic());
        let after = self.standing(token, payer.address()).await?;
        ensure!(after.payer + charged == before.payer, "the payer had {} and has {}", before.payer, after.payer);
        ensure!(after.payee == before.payee + charged, "the payee had {} and has {}", before.payee, after.payee);
        let expected = if charged.is_zero() { vec![] } else { vec![(token, PAYEE, charged)] };
        let transfers = self.chain.transfers_from(payer.address()).await?;
        ensure!(transfers == expected, "expected the transfers {expected:?}, got {transfers:?}");
        // A payer's own approval is all that it ever sends; a contract begins to count at one.
        let sent = after.transactions - before.transactions;
        let expected = u64::from(matches!(good, Good::SponsoredApproval | Good::Foretold));
        ensure!(sent == expected, "the payer has sent {sent} transactions");
        let is_created = good.payer() == PayerKind::Ordinary || self.chain.has_code(payer.address()).await?;
        ensure!(is_created, "the wallet does not exist afterwards");

        match good.end() {
            End::Refused => refused(sale, answer, settlements),
            End::Sold => {
                ensure!(answer.status == 200, "the report has status {}", answer.status);
                ensure!(answer.body == json!({"report": "a farthing's worth"}), "another body");
                self.settled(sale, payer, answer, settlements).await
            }
            End::Failed => {
                ensure!(answer.status == 500, "the failure has status {}", answer.status);
                self.settled(sale, payer, answer, settlements).await
            }
        }
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

    async fn buy(&self, sale: Sale, payer: &Payer) -> Result<Answer> {
        let server = match sale.by.server {
            Server::Farthing => &self.farthing,
            Server::Ts => &self.ts,
            Server::Python => &self.python,
            Server::V1 => anyhow::bail!("version 1 sells nothing but reports"),
        };
        let url = format!("{}{}", server.url(), sale.good.path());
        match sale.by.client {
            Client::Farthing => farthing::buy_as(payer, self.chain.rpc_url(), &url).await,
            Client::Ts => self.ts_buyer.buys(&payer.order(&url)).await,
            Client::PythonHttpx => self.python_buyer.buys(&payer.order(&url)).await,
            Client::PythonRequests | Client::V1 => anyhow::bail!("{} buys nothing but reports", sale.by.client),
        }
    }

    /// Whether the facilitator and the buyer tell of the same settlement, and the chain has it.
    async fn settled(&self, sale: Sale, payer: &Payer, answer: &Answer, settlements: &[Value]) -> Result<()> {
        let told = answer.settlement.as_ref().context("the buyer is told of no settlement")?;
        // For nothing used, nobody has to be asked.
        let at_least = usize::from(sale.good != Good::Unused);
        ensure!((at_least..=1).contains(&settlements.len()), "the facilitator was asked {} times", settlements.len());
        let transaction = text(told, "transaction");
        for settlement in settlements.iter().chain([told]) {
            ensure!(settlement.get("success") == Some(&Value::Bool(true)), "no success: {settlement}");
            ensure!(text(settlement, "network") == NETWORK, "another network: {settlement}");
            ensure!(text(settlement, "transaction") == transaction, "another transaction than {told}: {settlement}");
            let said: Option<Address> = text(settlement, "payer").parse().ok();
            ensure!(said == Some(payer.address()), "another payer than {}: {settlement}", payer.address());
            let amount = settlement.get("amount").and_then(Value::as_str);
            let is_right = amount.is_none_or(|amount| amount == sale.good.charged_atomic().to_string());
            ensure!(is_right && (amount.is_some() || !sale.good.is_metered()), "another amount: {settlement}");
        }
        if sale.good == Good::Unused {
            ensure!(transaction.is_empty(), "a transaction for nothing: {told}");
            return Ok(());
        }
        ensure!(self.chain.succeeded(transaction).await?, "the chain does not know the transaction: {told}");
        Ok(())
    }

    async fn standing(&self, token: Address, payer: Address) -> Result<Standing> {
        Ok(Standing {
            payer: self.chain.balance_of(token, payer).await?,
            payee: self.chain.balance_of(token, PAYEE).await?,
            transactions: self.chain.transactions_of(payer).await?,
        })
    }
}

/// What a good is paid in.
fn token_of(good: Good) -> Address {
    if good == Good::SponsoredApproval { PLAIN_TOKEN.address } else { TOKEN }
}

/// What the chain says before and after.
struct Standing {
    payer: U256,
    payee: U256,
    transactions: u64,
}

/// Whether buyer and facilitator tell of a refusal, and nothing was to be settled.
fn refused(sale: Sale, answer: &Answer, settlements: &[Value]) -> Result<()> {
    ensure!(settlements.is_empty(), "a refused payment was to be settled");
    // The Python server knows of no other status.
    let status = if sale.by.server == Server::Python { 402 } else { 412 };
    ensure!(answer.status == status, "the refusal has status {}", answer.status);
    ensure!(answer.refusal.as_deref() == Some(ALLOWANCE_REQUIRED), "another refusal");
    Ok(())
}

fn text<'a>(settlement: &'a Value, field: &str) -> &'a str {
    settlement.get(field).and_then(Value::as_str).unwrap_or_default()
}
