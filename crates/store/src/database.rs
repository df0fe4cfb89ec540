//! The two databases, behind one door.

use crate::error::Failure;
use crate::postgres::Postgres;
use crate::sql::Operation;
use crate::sqlite::Sqlite;

/// Where books are kept.
#[derive(Debug)]
pub enum Database {
    /// One file.
    Sqlite(Sqlite),
    /// A server.
    Postgres(Postgres),
}

impl Database {
    /// The node that this process is now.
    pub fn node(&self) -> Result<i64, Failure> {
        let node = match self {
            Self::Sqlite(sqlite) => sqlite.node(),
            Self::Postgres(postgres) => postgres.node(),
        };
        node.ok_or_else(|| {
            Failure::new("the store was not opened as its owner: open it with Access::Own to take lanes and claim payments")
        })
    }

    /// Carries out an operation that may change something. Once the answer is here, it is durable.
    pub async fn write<O: Operation>(&self, operation: O) -> Result<O::Answer, Failure> {
        match self {
            Self::Sqlite(sqlite) => sqlite.write(operation).await,
            Self::Postgres(postgres) => postgres.write(operation).await,
        }
    }

    /// Carries out an operation that changes nothing, on one consistent state of the database.
    pub async fn read<O: Operation>(&self, operation: O) -> Result<O::Answer, Failure> {
        match self {
            Self::Sqlite(sqlite) => sqlite.read(operation).await,
            Self::Postgres(postgres) => postgres.read(operation).await,
        }
    }

    /// Ends the connections, after what is under way.
    pub async fn close(&self) {
        match self {
            Self::Sqlite(sqlite) => sqlite.close().await,
            Self::Postgres(postgres) => postgres.close().await,
        }
    }
}
