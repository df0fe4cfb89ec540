//! This process as a node: its row, its beat, and what happens when it misses its time.
//!
//! Only the clock of the database counts. A node that is past its time never comes back to life: what it had stays dead,
//! and the process goes on under a new number. A beat that is not answered by the next one is given up and made again on
//! another connection, so that a silent network costs a node a beat and not its life.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::connect::Connection;
use super::failure;
use super::pool::Pool;
use crate::error::{Failure, StoreError};
use crate::options::Options;

/// How many beats a node's life has at least: one may fail, and be made again, in time.
const BEATS_PER_LIFE_MIN: u32 = 3;

/// How soon a beat that failed is tried again.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);

/// How long a row of a dead node is kept for people to see.
const KEEP_DEAD: &str = "interval '1 day'";

/// This process's number among the nodes.
#[derive(Debug)]
pub struct Membership {
    node: AtomicI64,
    ttl_milliseconds: i64,
    beat_interval: Duration,
}

impl Membership {
    /// Refuses a life that a few lost beats would end.
    pub fn check(options: &Options) -> Result<(), StoreError> {
        let Options { node_ttl, heartbeat_interval, .. } = options;
        if *node_ttl >= heartbeat_interval.saturating_mul(BEATS_PER_LIFE_MIN) && !heartbeat_interval.is_zero() {
            return Ok(());
        }
        Err(StoreError::Options(format!(
            "node_ttl: expected at least {BEATS_PER_LIFE_MIN} times heartbeat_interval ({heartbeat_interval:?}), got {node_ttl:?}: a \
             node would be taken for dead when a beat is late"
        )))
    }

    /// Becomes a node.
    pub async fn join(connection: &Connection, options: &Options) -> Result<Self, Failure> {
        let ttl_milliseconds = i64::try_from(options.node_ttl.as_millis()).unwrap_or(i64::MAX);
        let node = insert(connection, ttl_milliseconds).await?;
        Ok(Self { node: AtomicI64::new(node), ttl_milliseconds, beat_interval: options.heartbeat_interval })
    }

    /// The number now.
    pub fn node(&self) -> i64 {
        self.node.load(Ordering::Acquire)
    }

    /// Beats for as long as it is polled, on a connection of its own, so that no load delays it.
    pub async fn keep_alive(self: Arc<Self>, pool: Arc<Pool>) {
        let mut connection = None;
        let mut ticks = interval(self.beat_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick comes at once, and the row is new.
        ticks.tick().await;
        loop {
            ticks.tick().await;
            let beat = timeout(self.beat_interval, self.beat(&pool, &mut connection)).await;
            let silent = |_| Failure::lost(format!("no answer within {:?}", self.beat_interval));
            if let Err(failure) = beat.map_err(silent).and_then(|beat| beat) {
                tracing::warn!(node = self.node(), "this node's beat failed: {failure}");
                connection = None;
                if let Some(soon) = Instant::now().checked_add(RETRY_INTERVAL.min(self.beat_interval)) {
                    ticks.reset_at(soon);
                }
            }
        }
    }

    async fn beat(&self, pool: &Pool, connection: &mut Option<Connection>) -> Result<(), Failure> {
        let open = match connection.take() {
            Some(open) => open,
            None => pool.connect_to_beat().await?,
        };
        let update = "UPDATE nodes SET until = clock_timestamp() + $2::bigint * interval '1 millisecond' \
                      WHERE id = $1 AND until > clock_timestamp()";
        let node = self.node();
        let changed = open.client.execute(update, &[&node, &self.ttl_milliseconds]).await.map_err(|error| failure(&error))?;
        if changed == 0 {
            let fresh = insert(&open, self.ttl_milliseconds).await?;
            self.node.store(fresh, Ordering::Release);
            tracing::warn!(
                node,
                fresh,
                "this node missed its time: what it had is free for others, and it goes on as a new one"
            );
        }
        *connection = Some(open);
        Ok(())
    }

    /// Gives the node up, so that others need not wait for its time to pass.
    pub async fn leave(&self, pool: &Pool) -> Result<(), Failure> {
        let connection = pool.connect().await?;
        let deleted = connection.client.execute("DELETE FROM nodes WHERE id = $1", &[&self.node()]).await;
        deleted.map(|_| ()).map_err(|error| failure(&error))
    }
}

async fn insert(connection: &Connection, ttl_milliseconds: i64) -> Result<i64, Failure> {
    let clean = format!("DELETE FROM nodes WHERE until < clock_timestamp() - {KEEP_DEAD}");
    connection.client.batch_execute(&clean).await.map_err(|error| failure(&error))?;
    let insert = "INSERT INTO nodes (until) VALUES (clock_timestamp() + $1::bigint * interval '1 millisecond') RETURNING id";
    let row = connection.client.query_one(insert, &[&ttl_milliseconds]).await.map_err(|error| failure(&error))?;
    row.try_get(0).map_err(|error| failure(&error))
}
