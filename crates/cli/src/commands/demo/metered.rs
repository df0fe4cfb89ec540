//! Work whose price nobody knows beforehand: the agent signs a ceiling, and pays for what it got.

use anyhow::Context;
use farthing::client::Client;
use farthing::evm::U256;
use serde::Serialize;

use super::sample::{SUMMARY_CEILING, WORD_UNITS};
use super::stack::{Stack, dollars};

/// What the metered work came to.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Metered {
    /// What was signed, at most.
    pub ceiling: &'static str,
    /// What was charged.
    pub charged: String,
    /// For how many words.
    pub words: usize,
    /// The transaction that paid.
    pub transaction: String,
    /// Whether the words' price moved, and nothing else.
    #[serde(rename = "exact")]
    pub is_exact: bool,
}

/// Buys a summary, which is charged by the word.
pub async fn play(stack: &Stack, client: &Client) -> anyhow::Result<Metered> {
    let (agent_before, seller_before) = stack.balances();
    let answer = client.get(format!("{}/summary", stack.api_url)).send().await.context("the summary could not be paid")?;
    let is_served = answer.status().is_success();
    let transaction = answer.paid().and_then(|paid| paid.transaction.clone()).context("the summary was not charged")?.0;
    let words = answer.text().await?.split_whitespace().count();
    let (agent_after, seller_after) = stack.balances();
    let paid = agent_before.checked_sub(agent_after).context("the agent has more than before")?;
    let price = U256::from(words).checked_mul(U256::from(WORD_UNITS));
    let is_exact = is_served && Some(paid) == price && seller_after.checked_sub(seller_before) == price;
    Ok(Metered { ceiling: SUMMARY_CEILING, charged: dollars(paid), words, transaction, is_exact })
}
