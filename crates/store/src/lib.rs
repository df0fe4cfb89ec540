//! Core's books on disk, all of [`books`](farthing_core::books), on SQLite and PostgreSQL.
//!
//! 1. What a call answers `Ok` to is durable: SQLite has synced it, PostgreSQL has committed it.
//! 2. The books' rules are written once (`books/`), as operations over the few statements both databases share; a
//!    contract suite holds both, and core's doubles in memory, against the same tests.
//! 3. A SQLite book has one owner. A PostgreSQL book has any number of nodes; what belongs to a node is free once the
//!    node's row is past its time on the database's own clock, and each write checks that it is not.
//! 4. An answer that was lost is not guessed: where the connection breaks during a commit, the database is asked what
//!    became of that very transaction.

mod books;
mod database;
mod error;
mod options;
mod postgres;
mod sql;
mod sqlite;
mod store;
mod url;

pub use error::StoreError;
pub use options::Options;
pub use store::{Access, Store};
pub use url::{PostgresUrl, StoreUrl};
