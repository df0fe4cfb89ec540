//! The story, act by act. Every figure is read back: from answers, or from the chain.

use std::time::Instant;

use anyhow::Context;
use farthing::client::terms::TermsOffer;
use farthing::client::{Client, Error};
use serde::Serialize;

use super::crowd::{self, Crowd};
use super::sample;
use super::stack::{Stack, dollars};
use crate::terminal::{ACCENT, BAD, FAINT, GOOD, PLAIN, STRONG, short};

/// What happened, for `--json` and for the exit code.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    network: String,
    price: String,
    purchase: Purchase,
    replay_refused_with: String,
    over_limit_refused_with: String,
    crowd: Crowd,
    checks: Vec<Check>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Purchase {
    milliseconds: u128,
    transaction: String,
    agent_before: String,
    agent_after: String,
    seller_before: String,
    seller_after: String,
}

#[derive(Serialize)]
struct Check {
    what: String,
    holds: bool,
}

impl Facts {
    /// Whether everything that the story claims came true.
    pub fn all_true(&self) -> bool {
        self.checks.iter().all(|check| check.holds)
    }
}

/// Who tells the story, or keeps silent.
pub struct Teller {
    /// Nothing is written but the facts.
    pub silent: bool,
}

impl Teller {
    /// A line of the story.
    pub fn say(&self, line: impl AsRef<str>) {
        if !self.silent {
            anstream::println!("{}", line.as_ref());
        }
    }

    fn act(&self, number: u8, title: &str) {
        self.say(format!("\n  {STRONG}{number} · {title}{PLAIN}"));
    }

    fn judge(&self, checks: &mut Vec<Check>, what: impl Into<String>, holds: bool) {
        let what = what.into();
        let mark = if holds { format!("{GOOD}✓{PLAIN}") } else { format!("{BAD}✗{PLAIN}") };
        self.say(format!("      {mark} {what}"));
        checks.push(Check { what, holds });
    }

    /// What to try next.
    pub fn invite(&self, stack: &Stack) {
        let (api, key) = (&stack.api_url, &stack.agent_key);
        self.say(format!("\n  {STRONG}Still running. Try it from another terminal:{PLAIN}\n"));
        self.say(format!("      curl -i {api}/report"));
        self.say(format!("      farthing inspect {api}/report"));
        self.say(format!("      EVM_PRIVATE_KEY={key} \\\n        farthing pay {api}/report"));
        self.say(format!("      EVM_PRIVATE_KEY={key} \\\n        farthing pay {api}/article"));
        self.say(format!("      curl -s {}/supported", stack.facilitator_url));
        self.say(format!("\n  {FAINT}The key is public knowledge and worth nothing outside. `farthing` is `cargo run --release --` in the repository.{PLAIN}"));
        self.say(format!("  {FAINT}Ctrl-C stops everything; nothing is kept.{PLAIN}"));
    }
}

/// Plays all acts.
pub async fn play(stack: &Stack, teller: &Teller, agents: usize) -> anyhow::Result<Facts> {
    let mut checks = Vec::new();
    introduce(stack, teller);
    let client = stack.agent()?;
    let report = format!("{}/report", stack.api_url);

    let offer = ask(teller, &client, &report).await?;
    decide(stack, teller, &mut checks, &offer);
    let purchase = buy(stack, teller, &mut checks, &client, &report).await?;
    let replay_refused_with = replay(stack, teller, &mut checks, &client, &report).await?;
    let over_limit_refused_with = overreach(stack, teller, &mut checks, &client).await?;

    teller.act(6, &format!("{agents} agents at once, each with a wallet of its own"));
    let crowd = crowd::pay(stack, teller, agents).await?;
    teller.judge(&mut checks, format!("all {agents} were served, and charged exactly once"), crowd.exact);

    Ok(Facts {
        network: offer.network.unwrap_or_default(),
        price: offer.price.unwrap_or_default(),
        purchase,
        replay_refused_with,
        over_limit_refused_with,
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
    teller.say(format!("      GET /report  →  {ACCENT}402 Payment Required{PLAIN}"));
    teller.say(format!("      {STRONG}{price}{PLAIN} on {network}, to {payee}"));
    Ok(offer)
}

fn decide(stack: &Stack, teller: &Teller, checks: &mut Vec<Check>, offer: &TermsOffer) {
    teller.act(2, "Its purse decides, before anything is signed");
    teller.judge(checks, "a known asset on a network that it has an account on", offer.is_payable);
    for limit in stack.agent_limits() {
        teller.judge(checks, format!("{} is within {limit}", offer.usd.as_deref().unwrap_or("?")), offer.is_payable);
    }
}

async fn buy(stack: &Stack, teller: &Teller, checks: &mut Vec<Check>, client: &Client, report: &str) -> anyhow::Result<Purchase> {
    teller.act(3, "It pays, and is served");
    let (agent_before, seller_before) = stack.balances();
    let started = Instant::now();
    let answer = client.get(report).send().await.context("the report could not be paid")?;
    let status = answer.status();
    let facts = answer.paid().context("the answer came without a payment")?.clone();
    let body = answer.text().await?;
    let milliseconds = started.elapsed().as_millis();
    let transaction = facts.transaction.map(|transaction| transaction.0).unwrap_or_default();
    let (agent_after, seller_after) = stack.balances();
    teller.say(format!("      GET /report + PAYMENT-SIGNATURE  →  {GOOD}{status}{PLAIN} in {milliseconds} ms"));
    teller.say(format!("      {FAINT}{body}{PLAIN}"));
    teller.say(format!("      receipt  {transaction}"));
    teller.say(format!("      agent    {} → {}", dollars(agent_before), dollars(agent_after)));
    teller.say(format!("      seller   {} → {}   {FAINT}both read from the chain{PLAIN}", dollars(seller_before), dollars(seller_after)));
    let paid = agent_before.checked_sub(agent_after);
    let received = seller_after.checked_sub(seller_before);
    let is_exact = status.is_success() && paid == Some(stack.report_units()) && received == paid;
    teller.judge(checks, "the agent has exactly the price less, the seller exactly the price more", is_exact);
    Ok(Purchase {
        milliseconds,
        transaction,
        agent_before: dollars(agent_before),
        agent_after: dollars(agent_after),
        seller_before: dollars(seller_before),
        seller_after: dollars(seller_after),
    })
}

async fn replay(stack: &Stack, teller: &Teller, checks: &mut Vec<Check>, client: &Client, report: &str) -> anyhow::Result<String> {
    teller.act(4, "It pays once more, and somebody sends a copy of that payment");
    let replay = stack.replay(client, report).await?;
    teller.say(format!("      GET /report + a copy of the PAYMENT-SIGNATURE  →  {ACCENT}{}{PLAIN}", replay.status));
    teller.say(format!("      {}", replay.reason));
    let refused_once_paid = replay.status == 402 && replay.gained == stack.report_units();
    teller.judge(checks, "a payment buys one answer, once", refused_once_paid);
    Ok(replay.reason)
}

async fn overreach(stack: &Stack, teller: &Teller, checks: &mut Vec<Check>, client: &Client) -> anyhow::Result<String> {
    teller.act(5, "A page asks for more than the agent may spend");
    let (agent_before, _) = stack.balances();
    let refusal = match client.get(format!("{}/archive", stack.api_url)).send().await {
        Err(Error::RefusedByPolicy(declined)) => declined.to_string(),
        Err(error) => anyhow::bail!("the archive was refused for another reason: {error}"),
        Ok(answer) => anyhow::bail!("the archive was answered with {}", answer.status()),
    };
    teller.say(format!("      GET /archive  →  {ACCENT}402 Payment Required{PLAIN}, {} asked", sample::ARCHIVE_PRICE));
    teller.say(format!("      {refusal}"));
    teller.judge(checks, "refused before anything was signed; the balance has not moved", stack.balances().0 == agent_before);
    Ok(refusal)
}

fn introduce(stack: &Stack, teller: &Teller) {
    teller.say(format!("\n  {STRONG}farthing demo{PLAIN}   a chain, a facilitator, a seller and agents, in one process; no network, no keys\n"));
    teller.say(format!("      chain        {ACCENT}{}{PLAIN}   Base Sepolia's chain id, USDC at {}", stack.rpc_url, short(&stack.usdc)));
    teller.say(format!("      facilitator  {ACCENT}{}{PLAIN}   settles from {}", stack.facilitator_url, short(&stack.facilitator_account)));
    let prices = format!("/report {} · /article {} · /archive {}", sample::REPORT_PRICE, sample::ARTICLE_PRICE, sample::ARCHIVE_PRICE);
    teller.say(format!("      sample API   {ACCENT}{}{PLAIN}   {prices}", stack.api_url));
}
