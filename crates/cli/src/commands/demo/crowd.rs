//! Many agents at once, each with a wallet of its own: how fast it settles, and whether every atom adds up.

use std::time::{Duration, Instant};

use anyhow::Context;
use farthing::evm::U256;
use serde::Serialize;
use tokio::task::JoinSet;

use super::stack::{REPORT_UNITS, Stack, Wallet};
use super::teller::Teller;
use crate::terminal::{ACCENT, PLAIN};

/// How often the progress line is drawn while nobody is served.
const REDRAW: Duration = Duration::from_millis(100);

/// What the crowd did.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Crowd {
    agents: usize,
    /// How many were served for their payment.
    pub served: usize,
    milliseconds: u128,
    settlements_per_second: u128,
    /// In how many blocks the transfers are.
    pub blocks: u64,
    /// Whether each agent was charged exactly once, and the seller has exactly the sum.
    #[serde(rename = "exact")]
    pub is_exact: bool,
    /// Why the first of those who were not served was not.
    pub first_failure: Option<String>,
}

/// Lets `agents` agents pay for the report at the same moment.
pub async fn pay(stack: &Stack, teller: &Teller, agents: usize) -> anyhow::Result<Crowd> {
    let wallets = stack.fund_agents(agents)?;
    let (seller_before, block_before) = (stack.seller_balance(), stack.block_number());
    let started = Instant::now();
    let (served, first_failure) = serve_all(&wallets, &format!("{}/report", stack.api_url), teller, started).await?;
    let milliseconds = started.elapsed().as_millis();
    let settlements_per_second = per_second(served, milliseconds);
    if let Some(progress) = teller.progress() {
        let rate = format!("{ACCENT}{settlements_per_second} settlements/s{PLAIN}");
        progress.finish(&format!("{served}/{agents} served in {milliseconds} ms · {rate}"));
    }
    let is_charged_once = wallets.iter().all(|wallet| stack.spent(wallet) == REPORT_UNITS);
    let received = stack.seller_balance().checked_sub(seller_before);
    let is_exact = served == agents && is_charged_once && received == REPORT_UNITS.checked_mul(U256::from(agents));
    let blocks = stack.block_number().saturating_sub(block_before);
    Ok(Crowd { agents, served, milliseconds, settlements_per_second, blocks, is_exact, first_failure })
}

/// How many were served, and why the first of the others was not.
async fn serve_all(
    wallets: &[Wallet],
    url: &str,
    teller: &Teller,
    started: Instant,
) -> anyhow::Result<(usize, Option<String>)> {
    let mut tasks = JoinSet::new();
    for wallet in wallets {
        let (client, url) = (wallet.client.clone(), url.to_owned());
        tasks.spawn(async move {
            let answer = client.get(url).send().await.map_err(|error| error.to_string())?;
            let is_served = answer.status().is_success() && answer.paid().is_some();
            if is_served { Ok(()) } else { Err(format!("answered with {}", answer.status())) }
        });
    }
    let progress = teller.progress();
    let mut ticks = tokio::time::interval(REDRAW);
    let (mut served, mut first_failure) = (0_usize, None);
    loop {
        tokio::select! {
            result = tasks.join_next() => match result {
                None => return Ok((served, first_failure)),
                Some(result) => match result.context("an agent's task ended early")? {
                    Ok(()) => served = served.saturating_add(1),
                    Err(why) => first_failure = first_failure.or(Some(why)),
                },
            },
            _ = ticks.tick() => {}
        }
        if let Some(progress) = &progress {
            let rate = per_second(served, started.elapsed().as_millis());
            progress.draw(served, wallets.len(), &format!("{served}/{} served · {rate} settlements/s", wallets.len()));
        }
    }
}

fn per_second(count: usize, milliseconds: u128) -> u128 {
    u128::try_from(count).unwrap_or(u128::MAX).saturating_mul(1000).checked_div(milliseconds).unwrap_or(0)
}
