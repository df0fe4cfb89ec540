//! Races: replicas on one book, and very many copies of one payment.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use farthing_interop::chain::{Chain, ChainKind, TOKEN};
use futures_util::future::try_join_all;
use serde::Serialize;
use serde_json::json;

use super::{PATIENCE, SENDER_WEI};
use crate::invariants;
use crate::payments::{self, AMOUNT_ATOMIC, MachineClock, Payer};
use crate::replica::{self, Parts};
use crate::rpc::Rpc;
use crate::store;
use crate::stores::Stores;

/// What is raced.
pub struct Config {
    /// Where the books are; several replicas need PostgreSQL.
    pub stores: Stores,
    /// On which chain.
    pub chain: ChainKind,
    /// How many replicas.
    pub replicas: usize,
    /// How many copies of the payment each of them is presented, all at once.
    pub copies: usize,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Copies in all.
    pub copies: usize,
    /// How long until all had their answer, in milliseconds.
    pub milliseconds: u128,
    /// Different transactions that were named in the answers.
    pub transactions_named: usize,
    /// Transactions that were mined.
    pub transactions: usize,
}

/// Presents one payment to all replicas, many times at once.
pub async fn copies(config: &Config) -> Result<Summary> {
    let folder = super::folder()?;
    let chain = Chain::start(config.chain).await?;
    let rpc = Rpc::new(chain.rpc_url())?;
    // A sending account for each replica, so that nothing but the book keeps them from sending twice.
    let keys: Vec<_> = (0..u64::try_from(config.replicas)?).map(|number| payments::key_of("racer", 0, number)).collect();
    for sender in replica::accounts(&keys)? {
        rpc.call("anvil_setBalance", json!([sender.to_string(), SENDER_WEI])).await?;
    }
    let payer = Payer::new(0, 0, Arc::new(MachineClock))?;
    chain.fund(payer.address(), AMOUNT_ATOMIC).await?;
    let request = payer.pay().await?;
    let fresh = config.stores.fresh(&folder).await?;
    let mut stores = Vec::new();
    let mut replicas = Vec::new();
    for _ in 0..config.replicas {
        let store = store::open(fresh.url()).await?;
        replicas.push(Parts::new(&store, chain.rpc_url(), &keys)?.start()?);
        stores.push(store);
    }
    let begun = Instant::now();
    let asked = replicas.iter().flat_map(|replica| std::iter::repeat_n(replica, config.copies));
    let answers = try_join_all(asked.map(|replica| replica.settle(&request, PATIENCE))).await?;
    let elapsed = begun.elapsed();
    let refused = answers.iter().find(|answer| !answer.success);
    ensure!(refused.is_none(), "a copy was not answered as settled: {refused:?}");
    let named: BTreeSet<_> = answers.iter().map(|answer| answer.transaction.clone()).collect();
    ensure!(named.len() == 1, "copies were answered with different transactions: {named:?}");
    for replica in replicas {
        replica.stop().await;
    }
    let book = stores.first().context("there is a replica")?.settlements();
    let findings = invariants::reconcile(book.as_ref(), &rpc, TOKEN, &replica::accounts(&keys)?).await?.hold()?;
    ensure!(findings.transactions == 1, "{} transactions for one payment", findings.transactions);
    for store in stores {
        store.close().await;
    }
    fresh.remove().await?;
    std::fs::remove_dir_all(&folder)?;
    Ok(Summary {
        copies: answers.len(),
        milliseconds: elapsed.as_millis(),
        transactions_named: named.len(),
        transactions: findings.transactions,
    })
}

impl fmt::Display for Summary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { copies, milliseconds, transactions, .. } = self;
        write!(
            formatter,
            "{copies} copies of one payment: all answered the same in {milliseconds} ms, {transactions} transaction"
        )
    }
}
