//! A book in a PostgreSQL database, shared by any number of processes.
//!
//! Every write is a transaction of its own on one of a few connections (`pool`); the server makes one sync of the disk do
//! for those that commit together. Rows are locked before they are judged, so plain `READ COMMITTED` is enough: what a
//! statement reads after it has the lock is newer than the lock. A process is a node for as long as it beats (`nodes`).

mod connect;
mod nodes;
mod open;
mod pool;
mod session;

use std::error::Error;
use std::sync::Arc;

use tokio::task::AbortHandle;
use tokio_postgres::error::SqlState;
use tracing::Instrument;

use crate::error::{Failure, FailureKind, StoreError};
use crate::options::Options;
use crate::sql::Operation;
use crate::store::Access;
use crate::url::PostgresUrl;
use connect::Connector;
use nodes::Membership;
use pool::{Mode, Pool};

/// A PostgreSQL book.
pub struct Postgres {
    pool: Arc<Pool>,
    access: Access,
    membership: Option<Arc<Membership>>,
    heartbeat: Option<AbortHandle>,
}

impl Postgres {
    /// Connects, checks the server and the tables, and becomes a node where the book is owned.
    pub async fn open(url: &PostgresUrl, access: Access, options: &Options) -> Result<Self, StoreError> {
        let unavailable =
            |failure: Failure| StoreError::Unavailable { what: format!("opening the book {url}"), cause: failure.message };
        if access == Access::Own {
            Membership::check(options)?;
        }
        let pool = Arc::new(Pool::new(Connector::new(url, access)?, options));
        let connection = pool.connect().await.map_err(unavailable)?;
        open::prepare(&connection, url, access, options).await?;
        if access != Access::Own {
            return Ok(Self { pool, access, membership: None, heartbeat: None });
        }
        let membership = Arc::new(Membership::join(&connection, options).await.map_err(unavailable)?);
        let beating = Arc::clone(&membership).keep_alive(Arc::clone(&pool));
        let heartbeat = tokio::spawn(beating).abort_handle();
        Ok(Self { pool, access, membership: Some(membership), heartbeat: Some(heartbeat) })
    }

    /// The node that this process is now.
    pub fn node(&self) -> Option<i64> {
        self.membership.as_ref().map(|membership| membership.node())
    }

    /// Carries an operation out in a transaction, and waits for its commit.
    pub async fn write<O: Operation>(&self, operation: O) -> Result<O::Answer, Failure> {
        if self.access == Access::Read {
            return Err(Failure::new("the store was opened for reading only"));
        }
        // In a task of its own, so that a caller that goes away leaves no transaction half done.
        let pool = Arc::clone(&self.pool);
        let task = tokio::spawn(async move { pool.carry_out(&operation, Mode::Write).await }.in_current_span());
        task.await.map_err(|error| Failure::new(format!("the transaction did not end: {error}")))?
    }

    /// Carries an operation out that changes nothing, for as long as the caller waits for it.
    pub async fn read<O: Operation>(&self, operation: O) -> Result<O::Answer, Failure> {
        self.pool.carry_out(&operation, Mode::Read).await
    }

    /// Waits for what is under way, and gives the node up.
    pub async fn close(&self) {
        self.pool.close().await;
        if let Some(heartbeat) = &self.heartbeat {
            heartbeat.abort();
        }
        if let Some(membership) = &self.membership
            && let Err(failure) = membership.leave(&self.pool).await
        {
            tracing::warn!("this node could not be given up, so others wait until its time is past: {failure}");
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(heartbeat) = &self.heartbeat {
            heartbeat.abort();
        }
    }
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Postgres").field("node", &self.node()).finish_non_exhaustive()
    }
}

/// What an error of the server or the connection means.
fn failure(error: &tokio_postgres::Error) -> Failure {
    let kind = match error.code() {
        // Everything that is not the server's word is about the connection.
        None => FailureKind::Lost,
        Some(code) if *code == SqlState::T_R_SERIALIZATION_FAILURE || *code == SqlState::T_R_DEADLOCK_DETECTED => {
            FailureKind::Again
        }
        Some(code) if is_about_the_connection(code) => FailureKind::Lost,
        Some(_) => FailureKind::Final,
    };
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        message = format!("{message}: {cause}");
        source = cause.source();
    }
    Failure { kind, message }
}

fn is_about_the_connection(code: &SqlState) -> bool {
    let ended = [
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::TOO_MANY_CONNECTIONS,
        SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
        // After a fail-over, the old connection may lead to what is a replica now.
        SqlState::READ_ONLY_SQL_TRANSACTION,
    ];
    code.code().starts_with("08") || ended.contains(code)
}
