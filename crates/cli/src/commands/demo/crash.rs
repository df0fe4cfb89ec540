//! The facilitator is killed between broadcast and confirmation, starts again, and finishes what it had begun.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use farthing::client::Client;
use farthing::core::header::{self, PAYMENT_RESPONSE, PAYMENT_SIGNATURE};
use farthing_devnet::{Fault, Times};
use serde::Serialize;
use tokio::time::sleep;

use super::stack::{REPORT_UNITS, Stack};

const BROADCAST: &str = "eth_sendRawTransaction";
/// How often it is looked whether the broadcast has happened.
const LOOK: Duration = Duration::from_millis(2);
/// How long things may take that happen within milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// What happened around the crash.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Crash {
    /// What the buyer was answered when the facilitator died.
    pub first_status: u16,
    /// What it was answered for the same payment afterwards.
    pub second_status: u16,
    /// How long the facilitator was away.
    pub down_milliseconds: u128,
    /// The transaction that paid.
    pub transaction: String,
    /// Whether the buyer paid once and the seller was paid once.
    #[serde(rename = "exact")]
    pub is_exact: bool,
}

/// Pays; the node takes the transaction and loses it, the facilitator is killed, and starts again on its book. The same
/// payment is presented once more.
pub async fn play(stack: &mut Stack, client: &Client, url: &str) -> anyhow::Result<Crash> {
    let (agent_before, seller_before) = stack.balances();
    let payment = stack.sign(client, url).await?;
    let faults = stack.devnet.faults();
    let fired = faults.fired();
    let _only_once = faults.inject(BROADCAST, Fault::LoseTransaction, Times::Exactly(1));
    let http = reqwest::Client::new();
    let request = http.get(url).header(PAYMENT_SIGNATURE, &payment);
    let first = tokio::spawn(request.send());
    let begun = Instant::now();
    while faults.fired() == fired {
        ensure!(begun.elapsed() < PATIENCE, "nothing was broadcast");
        sleep(LOOK).await;
    }
    stack.operator.kill().await?;
    let killed = Instant::now();
    let first = first.await?.context("the seller did not answer")?;
    let (_, seller_between) = stack.balances();
    ensure!(seller_between == seller_before, "the transaction that the node lost was mined");
    stack.operator.restart().await?;
    let down_milliseconds = killed.elapsed().as_millis();
    let second = http.get(url).header(PAYMENT_SIGNATURE, &payment).send().await?;
    let second_status = second.status().as_u16();
    let settlement = second.headers().get(PAYMENT_RESPONSE).context("the second answer names no settlement")?;
    let transaction = header::decode_settlement(settlement.as_bytes())?.transaction;
    let (agent_after, seller_after) = stack.balances();
    let paid = agent_before.checked_sub(agent_after);
    let received = seller_after.checked_sub(seller_before);
    Ok(Crash {
        first_status: first.status().as_u16(),
        second_status,
        down_milliseconds,
        transaction,
        is_exact: !first.status().is_success() && second_status == 200 && paid == Some(REPORT_UNITS) && received == paid,
    })
}
