//! A payer that is a contract: its code says what its signature is.

use anyhow::Context;
use serde::Serialize;

use super::stack::{REPORT_UNITS, Stack};

/// What the smart wallet paid.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SmartWallet {
    /// The contract.
    pub wallet: String,
    /// The account that owns it, which has neither coin nor tokens.
    pub owner: String,
    /// The transaction that paid.
    pub transaction: String,
    /// Whether the contract paid the price, once.
    #[serde(rename = "exact")]
    pub is_exact: bool,
}

/// Buys the report from a wallet that is a contract.
pub async fn play(stack: &Stack, report: &str) -> anyhow::Result<SmartWallet> {
    let (wallet, owner) = stack.fund_smart_wallet()?;
    let seller_before = stack.seller_balance();
    let answer = wallet.client.get(report).send().await.context("the smart wallet could not pay")?;
    let is_served = answer.status().is_success();
    let transaction = answer.paid().and_then(|paid| paid.transaction.clone()).context("the smart wallet paid nothing")?.0;
    let received = stack.seller_balance().checked_sub(seller_before);
    let is_exact = is_served && stack.spent(&wallet) == REPORT_UNITS && received == Some(REPORT_UNITS);
    Ok(SmartWallet { wallet: wallet.address.to_string(), owner: owner.to_string(), transaction, is_exact })
}
