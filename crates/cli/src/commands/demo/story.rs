//! The story, act by act. Every figure is read back: from answers, or from the chain.

use std::time::Instant;

use anyhow::{Context, ensure};
use farthing::client::{Client, PayError};
use serde::Serialize;

use super::crowd::{self, Crowd};
use super::sample;
use super::stack::Stack;
use crate::terminal::{ACCENT, BAD, FAINT, GOOD, PLAIN, STRONG, short};

/// What happened, for `--json` and for the exit code.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    network: String,
    price: String,
    first_paid_answer_after_milliseconds: u128,
    transaction: String,
    agent_before: String,
    agent_after: String,
    seller_before: String,
    seller_after: String,
    replay_refused_with: String,
    over_limit_refused_with: String,
    crowd: Crowd,
    checks: Vec<Check>,
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
    let report = format!("{}/report", stack.api_url);

    teller.act(1, "An agent asks for a report");
    let client = stack.agent()?;
    let terms = client.inspect(&report).await.context("the report's terms could not be read")?;
    let offer = terms.offers.first().context("the report is offered at no price")?;
    teller.say(format!("      GET /report  →  {ACCENT}402 Payment Required{PLAIN}"));
    teller.say(format!("      {} on {}, to {}", offer.price, offer.network, short(&offer.pay_to)));

    teller.act(2, "Its purse decides, before anything is signed");
    teller.judge(&mut checks, format!("{} is an asset that it knows", offer.symbol), offer.payable);
    for limit in client.limits() {
        teller.say(format!("      {GOOD}✓{PLAIN} within {limit}"));
    }

    teller.act(3, "It pays, and is served");
    let (agent_before, seller_before) = stack.balances().await?;
    let started = Instant::now();
    let answer = client.get(&report).send().await.context("the report could not be paid")?;
    let milliseconds = started.elapsed().as_millis();
    let status = answer.status();
    let facts = answer.paid().context("the answer came without a payment")?.clone();
    let body = answer.text().await?;
    ensure!(status.is_success(), "the paid answer has status {status}");
    teller.say(format!("      GET /report + PAYMENT-SIGNATURE  →  {GOOD}{status}{PLAIN}  in {milliseconds} ms"));
    teller.say(format!("      {FAINT}{body}{PLAIN}"));
    let transaction = facts.transaction.clone().unwrap_or_default();
    teller.say(format!("      receipt {}", short(&transaction)));
    let (agent_after, seller_after) = stack.balances().await?;
    teller.say(format!("      agent   {agent_before} → {agent_after} USDC"));
    teller.say(format!("      seller  {seller_before} → {seller_after} USDC   {FAINT}read from the chain{PLAIN}"));
    teller.judge(&mut checks, "the seller has exactly the price more", seller_after.checked_sub(&seller_before) == Some(stack.report_price()));

    teller.act(4, "Somebody copies the payment and sends it again");
    let replay = stack.replay(&report).await?;
    teller.say(format!("      GET /report + the same PAYMENT-SIGNATURE  →  {ACCENT}{}{PLAIN} {}", replay.status, replay.reason));
    teller.judge(&mut checks, "a payment buys one answer, once", replay.refused && stack.balances().await?.1 == replay.seller_expected);

    teller.act(5, "A page asks for more than the agent may spend");
    let refusal = match client.get(&format!("{}/archive", stack.api_url)).send().await {
        Err(error @ PayError::RefusedByPolicy { .. }) => error.to_string(),
        Err(error) => anyhow::bail!("the archive was refused for another reason: {error}"),
        Ok(answer) => anyhow::bail!("the archive was answered with {}", answer.status()),
    };
    teller.say(format!("      GET /archive  →  402, {} asked", sample::ARCHIVE_PRICE));
    teller.say(format!("      {refusal}"));
    teller.judge(&mut checks, "nothing was signed", true);

    teller.act(6, &format!("{agents} agents at once, each with a wallet of its own"));
    let crowd = crowd::pay(stack, teller, agents).await?;
    teller.judge(&mut checks, format!("all {agents} were served and charged exactly once"), crowd.exact);

    Ok(Facts {
        network: offer.network.clone(),
        price: offer.price.clone(),
        first_paid_answer_after_milliseconds: milliseconds,
        transaction,
        agent_before: agent_before.to_string(),
        agent_after: agent_after.to_string(),
        seller_before: seller_before.to_string(),
        seller_after: seller_after.to_string(),
        replay_refused_with: replay.reason,
        over_limit_refused_with: refusal,
        crowd,
        checks,
    })
}

fn introduce(stack: &Stack, teller: &Teller) {
    teller.say(format!("\n  {STRONG}farthing demo{PLAIN}   a chain, a facilitator, a seller and agents, in one process; no network, no keys\n"));
    teller.say(format!("      chain        {ACCENT}{}{PLAIN}   Base Sepolia's chain id, USDC at {}", stack.rpc_url, short(&stack.usdc)));
    teller.say(format!("      facilitator  {ACCENT}{}{PLAIN}   settles from {}", stack.facilitator_url, short(&stack.facilitator_account)));
    let prices = format!("/report {} · /article {} · /archive {}", sample::REPORT_PRICE, sample::ARTICLE_PRICE, sample::ARCHIVE_PRICE);
    teller.say(format!("      sample API   {ACCENT}{}{PLAIN}   {prices}", stack.api_url));
}
