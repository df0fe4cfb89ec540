//! A store, and how it is opened and closed.

use std::sync::Arc;

use farthing_core::books::{Debts, Deliveries, Ledger, Outbox, Passes, Quotas, Refunds, Sales, Settlements, SignIns};

use crate::books::Books;
use crate::database::Database;
use crate::error::StoreError;
use crate::options::Options;
use crate::postgres::Postgres;
use crate::sqlite::Sqlite;
use crate::url::StoreUrl;

/// What a store is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everything. The process becomes a node of the book; a SQLite book can have only one.
    Own,
    /// The client's ledger, which several processes can keep in one file.
    Shared,
    /// Looking at a book, also while its owner runs. Nothing is written.
    Read,
}

/// Core's books in one database. Clones are the same store.
#[derive(Clone, Debug)]
pub struct Store(Arc<Books>);

impl Store {
    /// Opens a store, and creates or updates its tables where the access allows it.
    pub async fn open(url: &StoreUrl, access: Access) -> Result<Self, StoreError> {
        Self::open_with(url, access, &Options::default()).await
    }

    /// Opens a store with settings.
    pub async fn open_with(url: &StoreUrl, access: Access, options: &Options) -> Result<Self, StoreError> {
        let database = match url {
            StoreUrl::Sqlite(path) => Database::Sqlite(Sqlite::open(path, access, options).await?),
            StoreUrl::Postgres(url) => Database::Postgres(Postgres::open(url, access, options).await?),
        };
        tracing::debug!(store = %url, ?access, "the store is open");
        Ok(Self(Arc::new(Books { database })))
    }

    /// What was sent to the chain, and what became of it.
    pub fn settlements(&self) -> Arc<dyn Settlements> {
        Arc::clone(&self.0) as Arc<dyn Settlements>
    }

    /// The relayer's side of the same book.
    pub fn outbox(&self) -> Arc<dyn Outbox> {
        Arc::clone(&self.0) as Arc<dyn Outbox>
    }

    /// Which payment bought which request.
    pub fn deliveries(&self) -> Arc<dyn Deliveries> {
        Arc::clone(&self.0) as Arc<dyn Deliveries>
    }

    /// What was sold.
    pub fn sales(&self) -> Arc<dyn Sales> {
        Arc::clone(&self.0) as Arc<dyn Sales>
    }

    /// What is paid back of it.
    pub fn refunds(&self) -> Arc<dyn Refunds> {
        Arc::clone(&self.0) as Arc<dyn Refunds>
    }

    /// What was promised and spent.
    pub fn ledger(&self) -> Arc<dyn Ledger> {
        Arc::clone(&self.0) as Arc<dyn Ledger>
    }

    /// Who may come back without paying.
    pub fn sign_ins(&self) -> Arc<dyn SignIns> {
        Arc::clone(&self.0) as Arc<dyn SignIns>
    }

    /// What may be had so many times in a period.
    pub fn quotas(&self) -> Arc<dyn Quotas> {
        Arc::clone(&self.0) as Arc<dyn Quotas>
    }

    /// What was bought for later.
    pub fn passes(&self) -> Arc<dyn Passes> {
        Arc::clone(&self.0) as Arc<dyn Passes>
    }

    /// Who owes what.
    pub fn debts(&self) -> Arc<dyn Debts> {
        Arc::clone(&self.0) as Arc<dyn Debts>
    }

    /// Waits for the writes under way and gives up the node, so that others take over without waiting. What is called
    /// afterwards, on whichever clone, fails.
    pub async fn close(self) {
        self.0.database.close().await;
    }
}
