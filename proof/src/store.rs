//! Stores for the tests: each run has its own, and leaves nothing behind.

use std::time::Duration;

use anyhow::{Context, Result};
use farthing_store::{Access, Options, Store, StoreUrl};

/// A node counts as dead after so long: much shorter than for operators, so that a test need not wait for it.
const NODE_TTL: Duration = Duration::from_millis(800);
const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(150);

/// Opens a store as a facilitator does.
pub async fn open(url: &str) -> Result<Store> {
    let options = Options { node_ttl: NODE_TTL, heartbeat_interval: HEARTBEAT_INTERVAL, ..Options::default() };
    open_with(url, Access::Own, options).await
}

/// Opens a store to hold it against the chain, which nobody takes over: a machine that is busy may be late with its beats.
pub async fn open_to_check(url: &str) -> Result<Store> {
    open_with(url, Access::Own, Options::default()).await
}

/// Opens a store to look at it.
pub async fn look(url: &str) -> Result<Store> {
    open_with(url, Access::Read, Options::default()).await
}

async fn open_with(url: &str, access: Access, options: Options) -> Result<Store> {
    let options = Options {
        // What dies here is the process, not the machine.
        accept_lost_commits: true,
        ..options
    };
    let url: StoreUrl = url.parse()?;
    Store::open_with(&url, access, &options).await.with_context(|| format!("{url} cannot be opened"))
}
