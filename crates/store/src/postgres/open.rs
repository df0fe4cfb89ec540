//! Opening a PostgreSQL book: what the server must promise, and its tables.

use super::connect::{Connection, SCHEMA};
use super::failure;
use crate::error::{Failure, StoreError};
use crate::options::Options;
use crate::store::Access;
use crate::url::PostgresUrl;

/// Every version of the tables, oldest first.
const MIGRATIONS: &[&str] = &[
    include_str!("../../migrations/postgres/0001.sql"),
    include_str!("../../migrations/postgres/0002.sql"),
    include_str!("../../migrations/postgres/0003.sql"),
    include_str!("../../migrations/postgres/0004.sql"),
    include_str!("../../migrations/postgres/0005.sql"),
    include_str!("../../migrations/postgres/0006.sql"),
    include_str!("../../migrations/postgres/0007.sql"),
    include_str!("../../migrations/postgres/0008.sql"),
    include_str!("../../migrations/postgres/0009.sql"),
    include_str!("../../migrations/postgres/0010.sql"),
];

/// The oldest server that can name a connection (`gen_random_uuid`).
const SERVER_VERSION_MIN: i64 = 130_000;

/// The advisory lock under which tables are made: "FRTH".
const MIGRATION_LOCK: i64 = 0x4652_5448;

/// How long the last commit of a connection that ended is kept.
const KEEP_COMMITS: &str = "interval '1 day'";

/// Settings without which a commit may be forgotten.
const DURABILITY: &[&str] = &["fsync", "full_page_writes", "synchronous_commit"];

/// Checks the server, and creates or updates the tables where the access allows it.
pub async fn prepare(connection: &Connection, url: &PostgresUrl, access: Access, options: &Options) -> Result<(), StoreError> {
    check_server(connection, url, options).await?;
    if access == Access::Read {
        return check_tables(connection, url).await;
    }
    connection.client.batch_execute("BEGIN").await.map_err(|error| unavailable(url, failure(&error)))?;
    let migrated = migrate(connection, url).await;
    let migrated = match migrated {
        Ok(()) => forget_commits(connection).await.map_err(|failure| unavailable(url, failure)),
        Err(error) => Err(error),
    };
    let end = if migrated.is_ok() { "COMMIT" } else { "ROLLBACK" };
    let ended = connection.client.batch_execute(end).await.map_err(|error| unavailable(url, failure(&error)));
    migrated.and(ended)
}

fn unavailable(url: &PostgresUrl, failure: Failure) -> StoreError {
    StoreError::Unavailable { what: format!("opening the book {url}"), cause: failure.message }
}

async fn check_server(connection: &Connection, url: &PostgresUrl, options: &Options) -> Result<(), StoreError> {
    let setting = async |name: &str| setting(connection, name).await.map_err(|failure| unavailable(url, failure));
    let version = setting("server_version_num").await?;
    if version.parse::<i64>().unwrap_or_default() < SERVER_VERSION_MIN {
        return Err(StoreError::Unsuitable(format!(
            "{url}: expected PostgreSQL 13 or newer, got server_version_num {version}"
        )));
    }
    for name in DURABILITY {
        if setting(name).await? == "off" && !options.accept_lost_commits {
            return Err(StoreError::Unsuitable(format!(
                "{url}: {name} is off, so the server may forget a payment that it said it had committed; set {name} = on"
            )));
        }
    }
    Ok(())
}

/// Checks that the tables are those that this program reads.
async fn check_tables(connection: &Connection, url: &PostgresUrl) -> Result<(), StoreError> {
    let applied = applied(connection).await.map_err(|failure| unavailable(url, failure))?;
    let applied = check_version(url, applied)?;
    if applied == MIGRATIONS.len() {
        return Ok(());
    }
    Err(StoreError::Unsuitable(format!(
        "{url} has tables of version {applied}, and version {} is needed: start a program that writes to the book once, which \
         creates or updates them",
        MIGRATIONS.len()
    )))
}

async fn setting(connection: &Connection, name: &str) -> Result<String, Failure> {
    let row = connection.client.query_one("SELECT current_setting($1)", &[&name]).await.map_err(|error| failure(&error))?;
    row.try_get(0).map_err(|error| failure(&error))
}

/// How many migrations were applied.
async fn applied(connection: &Connection) -> Result<i64, Failure> {
    let query = "SELECT to_regclass($1) IS NOT NULL";
    let row = connection.client.query_one(query, &[&format!("{SCHEMA}.version")]).await.map_err(|error| failure(&error))?;
    if !row.try_get::<_, bool>(0).map_err(|error| failure(&error))? {
        return Ok(0);
    }
    let row = connection.client.query_one("SELECT number FROM version", &[]).await.map_err(|error| failure(&error))?;
    row.try_get(0).map_err(|error| failure(&error))
}

fn check_version(url: &PostgresUrl, applied: i64) -> Result<usize, StoreError> {
    match usize::try_from(applied) {
        Ok(applied) if applied <= MIGRATIONS.len() => Ok(applied),
        _ => Err(StoreError::newer(&url.to_string(), applied, MIGRATIONS.len())),
    }
}

/// Whoever lost a commit's answer has long asked for it.
async fn forget_commits(connection: &Connection) -> Result<(), Failure> {
    let delete = format!("DELETE FROM commits WHERE at < clock_timestamp() - {KEEP_COMMITS}");
    connection.client.batch_execute(&delete).await.map_err(|error| failure(&error))
}

async fn migrate(connection: &Connection, url: &PostgresUrl) -> Result<(), StoreError> {
    let run = async |sql: &str| {
        let ran = connection.client.batch_execute(sql).await;
        ran.map_err(|error| unavailable(url, failure(&error)))
    };
    // Two replicas may start at once.
    run(&format!("SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")).await?;
    let applied = applied(connection).await.map_err(|failure| unavailable(url, failure))?;
    let applied = check_version(url, applied)?;
    if applied == 0 {
        // Asked first, for creating a schema needs the right to do so even where it is there.
        let there = connection.client.query_opt("SELECT 1 FROM pg_namespace WHERE nspname = $1", &[&SCHEMA]).await;
        if there.map_err(|error| unavailable(url, failure(&error)))?.is_none() {
            run(&format!("CREATE SCHEMA {SCHEMA}")).await?;
        }
        run("CREATE TABLE version (number BIGINT NOT NULL); INSERT INTO version VALUES (0)").await?;
    }
    for migration in MIGRATIONS.iter().skip(applied) {
        run(migration).await?;
    }
    if applied < MIGRATIONS.len() {
        run(&format!("UPDATE version SET number = {}", MIGRATIONS.len())).await?;
    }
    Ok(())
}
