//! What is held against the chain after a purchase, and what everybody says of it.

use alloy_primitives::{Address, U256};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Shop, token_of};
use crate::{
    chain::{NETWORK, NETWORK_V1, PAYEE},
    goods::{End, Good},
    payer::{Payer, PayerKind},
    peer::Answer,
    roles::Server,
    sale::Sale,
};

/// What a facilitator says of a payment that Permit2 may not carry out.
const ALLOWANCE_REQUIRED: &str = "permit2_allowance_required";

/// What the chain says before and after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Standing {
    payer: U256,
    payee: U256,
    transactions: u64,
}

impl Shop {
    /// Holds what everybody says of a sale against the chain.
    pub(super) async fn check(&self, sale: Sale, payer: &Payer, before: &Standing, said: (&Answer, &[Value])) -> Result<()> {
        let (good, (answer, settlements)) = (sale.good, said);
        let charged = U256::from(good.charged_atomic());
        let after = self.standing(sale, payer).await?;
        ensure!(after.payer + charged == before.payer, "the payer had {} and has {}", before.payer, after.payer);
        ensure!(after.payee == before.payee + charged, "the payee had {} and has {}", before.payee, after.payee);
        let expected = if charged.is_zero() { vec![] } else { vec![(token_of(good), PAYEE, charged)] };
        let transfers = self.chain.transfers_from(payer.address()).await?;
        ensure!(transfers == expected, "expected the transfers {expected:?}, got {transfers:?}");
        // A payer's own approval is all that it ever sends; a contract begins to count at one.
        let sent = after.transactions - before.transactions;
        let expected = u64::from(matches!(good, Good::SponsoredApproval | Good::Foretold));
        ensure!(sent == expected, "the payer has sent {sent} transactions");
        let is_created = good.payer() == PayerKind::Ordinary || self.chain.has_code(payer.address()).await?;
        ensure!(is_created, "the wallet does not exist afterwards");

        ensure!(answer.status == status_of(sale), "the answer has status {}", answer.status);
        match good.end() {
            End::Refused => refused(answer, settlements),
            End::Sold => {
                ensure!(answer.body.get("report") == Some(&json!("a farthing's worth")), "another body");
                self.settled(sale, payer, answer, settlements).await
            }
            End::Failed => self.settled(sale, payer, answer, settlements).await,
            End::Unpaid => {
                ensure!(settlements.is_empty(), "a failure was to be settled");
                let told = answer.settlement.as_ref().and_then(|settlement| settlement.get("success"));
                ensure!(told != Some(&Value::Bool(true)), "a failure was settled");
                Ok(())
            }
        }
    }

    /// Whether the facilitator and the buyer tell of the same settlement, and the chain has it.
    async fn settled(&self, sale: Sale, payer: &Payer, answer: &Answer, settlements: &[Value]) -> Result<()> {
        let told = answer.settlement.as_ref().context("the buyer is told of no settlement")?;
        // For nothing used, nobody has to be asked.
        let at_least = usize::from(sale.good != Good::Unused);
        ensure!((at_least..=1).contains(&settlements.len()), "the facilitator was asked {} times", settlements.len());
        let transaction = text(told, "transaction");
        let networks = if sale.by.is_v1() { &[NETWORK, NETWORK_V1][..] } else { &[NETWORK] };
        for settlement in settlements.iter().chain([told]) {
            ensure!(settlement.get("success") == Some(&Value::Bool(true)), "no success: {settlement}");
            ensure!(networks.contains(&text(settlement, "network")), "another network: {settlement}");
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

    /// What payer and payee have.
    pub(super) async fn standing(&self, sale: Sale, payer: &Payer) -> Result<Standing> {
        let token = token_of(sale.good);
        Ok(Standing {
            payer: self.chain.balance_of(token, payer.address()).await?,
            payee: self.chain.balance_of(token, PAYEE).await?,
            transactions: self.chain.transactions_of(payer.address()).await?,
        })
    }
}

const fn status_of(sale: Sale) -> u16 {
    match sale.good.end() {
        End::Sold => 200,
        End::Failed | End::Unpaid => 500,
        // The Python server knows of no other status.
        End::Refused if matches!(sale.by.server, Server::Python) => 402,
        End::Refused => 412,
    }
}

/// Whether buyer and facilitator tell of a refusal, and nothing was to be settled.
fn refused(answer: &Answer, settlements: &[Value]) -> Result<()> {
    ensure!(settlements.is_empty(), "a refused payment was to be settled");
    ensure!(answer.refusal.as_deref() == Some(ALLOWANCE_REQUIRED), "another refusal");
    Ok(())
}

pub(super) fn text<'a>(settlement: &'a Value, field: &str) -> &'a str {
    settlement.get(field).and_then(Value::as_str).unwrap_or_default()
}
