//! Many agents at once, each with a wallet of its own: how fast it settles, and whether every atom adds up.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::Context;
use farthing::evm::U256;
use serde::Serialize;
use tokio::task::JoinSet;

use super::stack::Stack;
use super::story::Teller;
use crate::terminal::{ACCENT, FAINT, PLAIN, Progress};

/// What the crowd did.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Crowd {
    agents: usize,
    served: usize,
    failed: usize,
    milliseconds: u128,
    settlements_per_second: u128,
    blocks: u64,
    /// Whether each agent was charged exactly once, and the seller has exactly the sum.
    pub exact: bool,
    first_failure: Option<String>,
}

/// Lets `agents` agents pay for the report at the same moment.
pub async fn pay(stack: &Stack, teller: &Teller, agents: usize) -> anyhow::Result<Crowd> {
    let wallets = stack.fund_agents(agents)?;
    let url: Arc<str> = format!("{}/report", stack.api_url).into();
    let seller_before = stack.seller_balance();
    let block_before = stack.block_number();
    let served = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for wallet in &wallets {
        let (client, url, served) = (wallet.client.clone(), Arc::clone(&url), Arc::clone(&served));
        tasks.spawn(async move {
            let answer = client.get(&*url).send().await?;
            if answer.status().is_success() && answer.paid().is_some() {
                served.fetch_add(1, Ordering::Relaxed);
            }
            anyhow::Ok(())
        });
    }
    let progress = (!teller.silent).then(Progress::on_stdout);
    let mut first_failure = None;
    while let Some(result) = tasks.join_next().await {
        if let Err(error) = result.context("an agent's task ended early")? {
            first_failure.get_or_insert_with(|| format!("{error:#}"));
        }
        let done = served.load(Ordering::Relaxed);
        if let Some(progress) = &progress {
            let rate = per_second(done, started.elapsed().as_millis());
            progress.draw(done, agents, &format!("{done}/{agents} served · {rate} settlements/s"));
        }
    }
    let milliseconds = started.elapsed().as_millis();
    let served = served.load(Ordering::Relaxed);
    let rate = per_second(served, milliseconds);
    let charged_once = wallets.iter().all(|wallet| stack.spent(wallet) == stack.report_units());
    let received = stack.seller_balance().checked_sub(seller_before);
    let owed = stack.report_units().checked_mul(U256::from(agents));
    let crowd = Crowd {
        agents,
        served,
        failed: agents.saturating_sub(served),
        milliseconds,
        settlements_per_second: rate,
        blocks: stack.block_number().saturating_sub(block_before),
        exact: served == agents && charged_once && received == owed,
        first_failure,
    };
    if let Some(progress) = &progress {
        progress.finish(&format!("{served}/{agents} served in {milliseconds} ms · {ACCENT}{rate} settlements/s{PLAIN}"));
    }
    teller.say(format!("      {FAINT}{} transfers in {} blocks; each agent's and the seller's balance read from the chain{PLAIN}", crowd.served, crowd.blocks));
    if let Some(failure) = &crowd.first_failure {
        teller.say(format!("      first failure: {failure}"));
    }
    Ok(crowd)
}

fn per_second(count: usize, milliseconds: u128) -> u128 {
    u128::try_from(count).unwrap_or(u128::MAX).saturating_mul(1000).checked_div(milliseconds).unwrap_or(0)
}
