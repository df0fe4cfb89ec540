//! Races: replicas on one book, and very many copies of one payment of each kind.

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
use crate::payments::{self, Bill, Kind, MachineClock, Payer};
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
    /// Of which kinds, one payment each.
    pub kinds: Vec<Kind>,
    /// How many copies of each payment each of them is presented, all at once.
    pub copies: usize,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Payments.
    pub payments: usize,
    /// Copies in all.
    pub copies: usize,
    /// How long until all had their answer, in milliseconds.
    pub milliseconds: u128,
    /// Different transactions that were named in the answers.
    pub transactions_named: usize,
    /// Transactions that were mined.
    pub transactions: usize,
}

/// Presents each payment to all replicas, many times at once.
pub async fn copies(config: &Config) -> Result<Summary> {
    let folder = super::folder()?;
    let chain = Chain::start(config.chain).await?;
    let rpc = Rpc::new(chain.rpc_url())?;
    // A sending account for each replica, so that nothing but the book keeps them from sending twice.
    let keys: Vec<_> = (0..u64::try_from(config.replicas)?).map(|number| payments::key_of("racer", 0, number)).collect();
    for sender in replica::accounts(&keys)? {
        rpc.call("anvil_setBalance", json!([sender.to_string(), SENDER_WEI])).await?;
    }
    let market = replica::market(replica::node(&replica::config(chain.rpc_url())?)?, &keys, Arc::new(MachineClock))?;
    let (mut requests, mut bills) = (Vec::new(), Vec::new());
    for (number, kind) in (0..).zip(&config.kinds) {
        let request = Payer::furnished(&chain, &market, (0, number), *kind, 1).await?.pay().await?;
        bills.push(Bill::of(&request, *kind)?);
        requests.push(request);
    }
    let fresh = config.stores.fresh(&folder).await?;
    let mut stores = Vec::new();
    let mut replicas = Vec::new();
    for _ in 0..config.replicas {
        let store = store::open(fresh.url()).await?;
        replicas.push(Parts::new(&store, chain.rpc_url(), &keys)?.start()?);
        stores.push(store);
    }
    let begun = Instant::now();
    let asked = requests.iter().map(|request| {
        let asked = replicas.iter().flat_map(|replica| std::iter::repeat_n(replica, config.copies));
        try_join_all(asked.map(move |replica| replica.settle(request, PATIENCE)))
    });
    let answers = try_join_all(asked).await?;
    let elapsed = begun.elapsed();
    let mut named = BTreeSet::new();
    for (answers, bill) in answers.iter().zip(&bills) {
        let refused = answers.iter().find(|answer| !answer.success);
        ensure!(refused.is_none(), "a copy of {bill:?} was not answered as settled: {refused:?}");
        let of_one: BTreeSet<_> = answers.iter().map(|answer| answer.transaction.clone()).collect();
        ensure!(of_one.len() == 1, "copies of {bill:?} were answered with different transactions: {of_one:?}");
        named.extend(of_one.into_iter().filter(|transaction| !transaction.is_empty()));
    }
    for replica in replicas {
        replica.stop().await;
    }
    let book = stores.first().context("there is a replica")?.settlements();
    let findings = invariants::reconcile(book.as_ref(), &rpc, TOKEN, &replica::accounts(&keys)?, &bills).await?.hold()?;
    let charged = bills.iter().filter(|bill| bill.charge_atomic > 0).count();
    ensure!(findings.used == charged, "{} of {charged} payments moved", findings.used);
    // Nothing was sent but what the answers name, and coin for approvals.
    let sent = named.len().saturating_add(findings.funded);
    ensure!(findings.transactions == sent, "{} transactions for {sent}", findings.transactions);
    for store in stores {
        store.close().await;
    }
    fresh.remove().await?;
    std::fs::remove_dir_all(&folder)?;
    Ok(Summary {
        payments: requests.len(),
        copies: answers.iter().map(Vec::len).sum(),
        milliseconds: elapsed.as_millis(),
        transactions_named: named.len(),
        transactions: findings.transactions,
    })
}

impl fmt::Display for Summary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { payments, copies, milliseconds, transactions, .. } = self;
        write!(
            formatter,
            "{copies} copies of {payments} payments: all answered the same in {milliseconds} ms, {transactions} transactions"
        )
    }
}
