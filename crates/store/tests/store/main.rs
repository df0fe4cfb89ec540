//! Core's contract for books, on memory, SQLite and PostgreSQL; and what is true of one of them alone.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that finds nothing there has failed")]

mod contract;
mod forgotten_sign_ins;
mod harness;
mod postgres_server;
mod proxy;
mod sqlite_file;
mod state_machine;

mod memory {
    crate::contract::contract!(crate::harness::memory::Memory);
}

mod sqlite {
    crate::contract::contract!(crate::harness::sqlite::Sqlite);
}

mod postgres {
    crate::contract::contract!(crate::harness::postgres::Postgres);
}
