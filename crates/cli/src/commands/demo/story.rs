//! The story, act by act. Every figure is read back: from answers, or from the chain.

use std::time::Instant;

use anyhow::Context;
use farthing::client::terms::TermsOffer;
use farthing::client::{Client, Error};
use farthing::core::reason::Reason;
use serde::Serialize;

use super::crash::{self, Crash};
use super::crowd::{self, Crowd};
use super::metered::{self, Metered};
use super::smart_wallet::{self, SmartWallet};
use super::stack::{AGENT_LIMITS, REPORT_UNITS, Stack, dollars};
use super::teller::{Check, Teller};
use crate::terminal::{ACCENT, FAINT, GOOD, PLAIN, STRONG, short};

/// What happened, for `--json` and for the exit code.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    chain: String,
    facilitator: String,
    api: String,
    network: String,
    price: String,
    purchase: Purchase,
    metered: Metered,
    smart_wallet: SmartWallet,
    replay_refused_with: String,
    over_limit_refused_with: String,
    crash: Crash,
    crowd: Crowd,
    checks: Vec<Check>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Purchase {
    milliseconds: u128,
    milliseconds_after_start: u128,
    transaction: String,
    agent_before: String,
    agent_after: String,
    seller_before: String,
    seller_after: String,
}

impl Facts {
    /// Whether everything that the story claims came true.
    pub fn all_true(&self) -> bool {
        self.checks.iter().all(|check| check.holds)
    }
}

/// Plays all acts.
pub async fn play(stack: &mut Stack, teller: &Teller, agents: usize) -> anyhow::Result<Facts> {
    let mut checks = Vec::new();
    let client = stack.agent()?;
    let report = format!("{}/report", stack.api_url);

    teller.introduce(stack);
    let offer = ask(teller, &client, &report).await?;
    decide(teller, &mut checks, &offer);
    let purchase = buy(stack, teller, &mut checks, &client, &report).await?;
    let metered = meter(stack, teller, &mut checks, &client).await?;
    let smart_wallet = pay_by_contract(stack, teller, &mut checks, &report).await?;
    let replay_refused_with = replay(stack, teller, &mut checks, &client, &report).await?;
    let over_limit_refused_with = overreach(stack, teller, &mut checks, &client).await?;
    let crash = interrupt(stack, teller, &mut checks, &client, &report).await?;
    let crowd = gather(stack, teller, &mut checks, agents).await?;

    Ok(Facts {
        chain: stack.rpc_url.clone(),
        facilitator: stack.operator.url.clone(),
        api: stack.api_url.clone(),
        network: offer.network.unwrap_or_default(),
        price: offer.price.unwrap_or_default(),
        purchase,
        metered,
        smart_wallet,
        replay_refused_with,
        over_limit_refused_with,
        crash,
        crowd,
        checks,
    })
}

async fn ask(teller: &Teller, client: &Client, report: &str) -> anyhow::Result<TermsOffer> {
    teller.act(1, "An agent asks for a report");
    let terms = client.inspect(report).await.context("the report's terms could not be read")?;
    let offer = terms.offers.into_iter().next().context("the report is offered at no price")?;
    let (price, network) = (offer.price.as_deref().unwrap_or("?"), offer.network.as_deref().unwrap_or("?"));
    let payee = short(offer.pay_to.as_deref().unwrap_or("?"));
    teller.say(format!("GET /report  →  {ACCENT}402 Payment Required{PLAIN}"));
    teller.say(format!("{STRONG}{price}{PLAIN} on {network}, to {payee}"));
    Ok(offer)
}

fn decide(teller: &Teller, checks: &mut Vec<Check>, offer: &TermsOffer) {
    teller.act(2, "Its purse decides, before anything is signed");
    let [per_payment, per_day] = AGENT_LIMITS;
    let price = offer.usd.as_deref().unwrap_or("?");
    teller.judge(checks, "a known asset, on a network where it has an account", offer.asset.is_some() && offer.is_payable);
    teller.judge(checks, format!("{price} is within {per_payment}, and within {per_day}"), offer.is_payable);
}

async fn buy(
    stack: &Stack,
    teller: &Teller,
    checks: &mut Vec<Check>,
    client: &Client,
    report: &str,
) -> anyhow::Result<Purchase> {
    teller.act(3, "It pays, and is served");
    let (agent_before, seller_before) = stack.balances();
    let started = Instant::now();
    let answer = client.get(report).send().await.context("the report could not be paid")?;
    let status = answer.status();
    let facts = answer.paid().context("the answer came without a payment")?.clone();
    let body = answer.text().await?;
    let milliseconds = started.elapsed().as_millis();
    let milliseconds_after_start = stack.started.elapsed().as_millis();
    let transaction = facts.transaction.map(|transaction| transaction.0).unwrap_or_default();
    let (agent_after, seller_after) = stack.balances();
    let paid = agent_before.checked_sub(agent_after);
    let received = seller_after.checked_sub(seller_before);
    let is_exact = status.is_success() && paid == Some(REPORT_UNITS) && received == paid;
    let [agent_before, agent_after, seller_before, seller_after] =
        [agent_before, agent_after, seller_before, seller_after].map(dollars);
    teller.say(format!("GET /report + PAYMENT-SIGNATURE  →  {GOOD}{status}{PLAIN} in {milliseconds} ms, {milliseconds_after_start} ms after the start"));
    teller.say(format!("{FAINT}{body}{PLAIN}"));
    teller.say(format!("receipt  {transaction}"));
    teller.say(format!(
        "agent {agent_before} → {agent_after}   seller {seller_before} → {seller_after}   {FAINT}read from the chain{PLAIN}"
    ));
    teller.judge(checks, "the agent has exactly the price less, the seller exactly the price more", is_exact);
    Ok(Purchase { milliseconds, milliseconds_after_start, transaction, agent_before, agent_after, seller_before, seller_after })
}

async fn meter(stack: &Stack, teller: &Teller, checks: &mut Vec<Check>, client: &Client) -> anyhow::Result<Metered> {
    teller.act(4, "It buys words, and nobody knows how many");
    let metered = metered::play(stack, client).await?;
    let (ceiling, charged, words) = (metered.ceiling, &metered.charged, metered.words);
    teller.say(format!("GET /summary  →  {ACCENT}402{PLAIN}, up to {ceiling}: that is what the agent signs"));
    teller.say(format!("{words} words later  →  {GOOD}200{PLAIN}, and {STRONG}{charged}{PLAIN} is what moves"));
    teller.say(format!("receipt  {}", metered.transaction));
    teller.judge(checks, "only the words' price moved; gas, the permit's too, is the facilitator's", metered.is_exact);
    Ok(metered)
}

async fn pay_by_contract(stack: &Stack, teller: &Teller, checks: &mut Vec<Check>, report: &str) -> anyhow::Result<SmartWallet> {
    teller.act(5, "Another agent's wallet is a contract");
    let paid = smart_wallet::play(stack, report).await?;
    let (wallet, owner) = (short(&paid.wallet), short(&paid.owner));
    teller.say(format!("{owner} signs, and the code of {wallet} says that it may (ERC-1271)"));
    teller.judge(checks, "the contract paid the price, once; its owner has never had a coin", paid.is_exact);
    Ok(paid)
}

async fn replay(
    stack: &Stack,
    teller: &Teller,
    checks: &mut Vec<Check>,
    client: &Client,
    report: &str,
) -> anyhow::Result<String> {
    teller.act(6, "It pays once more, and somebody sends a copy of that payment");
    let replay = stack.replay(client, report).await?;
    let is_recognised = Reason::from(&*replay.reason) == Reason::PaymentAlreadyUsed;
    let words = if is_recognised { "this payment has bought its answer already" } else { "refused" };
    teller.say(format!("GET /report + a copy  →  {ACCENT}{}{PLAIN}, {words}", replay.status));
    let is_refused_and_paid_once = replay.status == 402 && is_recognised && replay.gained == REPORT_UNITS;
    teller.judge(checks, "a payment buys one answer, once", is_refused_and_paid_once);
    Ok(replay.reason)
}

async fn overreach(stack: &Stack, teller: &Teller, checks: &mut Vec<Check>, client: &Client) -> anyhow::Result<String> {
    teller.act(7, "A page asks for more than the agent may spend");
    let (agent_before, _) = stack.balances();
    let declined = match client.get(format!("{}/archive", stack.api_url)).send().await {
        Err(Error::RefusedByPolicy(declined)) => declined,
        Err(error) => anyhow::bail!("the archive was refused for another reason: {error}"),
        Ok(answer) => anyhow::bail!("the archive was answered with {}", answer.status()),
    };
    let offer = declined.offers.first().context("the archive is offered at no price")?;
    let price = offer.price().unwrap_or_default();
    let why = offer.why().unwrap_or_default();
    teller.say(format!("GET /archive  →  {ACCENT}402{PLAIN}, {STRONG}{price}{PLAIN}: {why}"));
    let (agent_after, _) = stack.balances();
    teller.judge(checks, "refused before anything was signed; the balance has not moved", agent_after == agent_before);
    Ok(declined.to_string())
}

async fn interrupt(
    stack: &mut Stack,
    teller: &Teller,
    checks: &mut Vec<Check>,
    client: &Client,
    report: &str,
) -> anyhow::Result<Crash> {
    teller.act(8, "The facilitator is killed between broadcast and confirmation");
    let crash = crash::play(stack, client, report).await?;
    teller
        .say(format!("kill -9 with a transaction under way  →  {ACCENT}{}{PLAIN}, nothing is given away", crash.first_status));
    teller.say(format!(
        "started again after {} ms; the same payment once more  →  {GOOD}{}{PLAIN}",
        crash.down_milliseconds, crash.second_status
    ));
    teller.say(format!("receipt  {}", crash.transaction));
    teller.judge(checks, "one transfer on chain, one answer: nothing lost, nothing doubled", crash.is_exact);
    Ok(crash)
}

async fn gather(stack: &Stack, teller: &Teller, checks: &mut Vec<Check>, agents: usize) -> anyhow::Result<Crowd> {
    teller.act(9, &format!("{agents} agents at once, each with a wallet of its own"));
    let crowd = crowd::pay(stack, teller, agents).await?;
    if let Some(failure) = &crowd.first_failure {
        teller.say(format!("first failure: {failure}"));
    }
    let what = format!("{} transfers in {} blocks; on chain, each agent paid exactly once", crowd.served, crowd.blocks);
    teller.judge(checks, what, crowd.is_exact);
    Ok(crowd)
}
