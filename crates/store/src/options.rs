//! What can be set about a store, with the defaults that operators get.

use std::time::Duration;

/// How long a node counts as alive after its last beat.
pub const NODE_TTL: Duration = Duration::from_secs(10);

/// How often a node says that it is alive.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(2_500);

/// How long an operation waits for a database that can't be reached before it fails.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// How long the database may take over one operation: longer than the server lets one statement run.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// How many connections one process holds to PostgreSQL at most.
pub const CONNECTIONS_MAX: usize = 8;

/// Settings of a store. The defaults are right for nearly everybody.
#[derive(Clone, Debug)]
pub struct Options {
    /// PostgreSQL: how long a node counts as alive after its last beat, and so how long what a dead node had stays out of
    /// reach. The nodes of one database should agree on it.
    pub node_ttl: Duration,
    /// PostgreSQL: how often a node says that it is alive; a third of `node_ttl` at most.
    pub heartbeat_interval: Duration,
    /// PostgreSQL: how long an operation waits for a server that can't be reached, as while it restarts, and for a free
    /// connection.
    pub patience: Duration,
    /// PostgreSQL: how long the statements of one operation may take, and its commit; then the connection counts as lost.
    pub answer_timeout: Duration,
    /// PostgreSQL: the most connections of this process.
    pub connections_max: usize,
    /// PostgreSQL: accept a server that may lose commits when its machine crashes (`fsync`, `full_page_writes` or
    /// `synchronous_commit` off). For tests only.
    pub accept_lost_commits: bool,
    /// SQLite: the largest size of the book in pages of 4096 bytes; 0 for no limit. Writes beyond it fail as on a full disk.
    pub pages_max: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            node_ttl: NODE_TTL,
            heartbeat_interval: HEARTBEAT_INTERVAL,
            patience: PATIENCE,
            answer_timeout: ANSWER_TIMEOUT,
            connections_max: CONNECTIONS_MAX,
            accept_lost_commits: false,
            pages_max: 0,
        }
    }
}
