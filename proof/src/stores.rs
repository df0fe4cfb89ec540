//! Databases for the tests, each run its own.

use std::path::Path;

use anyhow::{Result, anyhow};
use farthing_testkit::postgres::Database;
use tokio::task::spawn_blocking;

/// Where books can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stores {
    /// A file.
    Sqlite,
    /// The PostgreSQL server that all tests share.
    Postgres,
}

/// A new and empty database.
#[derive(Debug)]
pub struct Fresh {
    url: String,
    /// Dropped in the server when dropped here; a file goes with its folder.
    database: Option<Database>,
}

impl Stores {
    /// A new and empty database; one that is a file lies in that folder.
    pub async fn fresh(self, folder: &Path) -> Result<Fresh> {
        match self {
            Self::Sqlite => Ok(Fresh { url: format!("sqlite:{}", folder.join("book.db").display()), database: None }),
            Self::Postgres => {
                // It waits for programs.
                let database = spawn_blocking(Database::new).await?.map_err(|error| anyhow!(error))?;
                Ok(Fresh { url: database.url(), database: Some(database) })
            }
        }
    }
}

impl Fresh {
    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Removes it.
    pub async fn remove(self) -> Result<()> {
        Ok(spawn_blocking(move || drop(self.database)).await?)
    }
}
