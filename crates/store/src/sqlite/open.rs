//! Opening a SQLite book: its lock, its settings, its tables.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::session::failure;
use super::sum;
use crate::error::StoreError;
use crate::store::Access;

/// Marks the file as a book of ours (`PRAGMA application_id`): "FRTH".
const APPLICATION_ID: i64 = 0x4652_5448;

/// Every version of the tables, oldest first; `PRAGMA user_version` counts those that were applied.
const MIGRATIONS: &[&str] = &[
    include_str!("../../migrations/sqlite/0001.sql"),
    include_str!("../../migrations/sqlite/0002.sql"),
    include_str!("../../migrations/sqlite/0003.sql"),
    include_str!("../../migrations/sqlite/0004.sql"),
    include_str!("../../migrations/sqlite/0005.sql"),
    include_str!("../../migrations/sqlite/0006.sql"),
    include_str!("../../migrations/sqlite/0007.sql"),
    include_str!("../../migrations/sqlite/0008.sql"),
    include_str!("../../migrations/sqlite/0009.sql"),
    include_str!("../../migrations/sqlite/0010.sql"),
];

/// How long a write waits for another process that is writing (the client's ledger).
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// How large the write-ahead log's file stays after a burst.
const LOG_SIZE_MAX_BYTES: u32 = 67_108_864;

/// How many prepared statements a connection keeps.
const STATEMENTS_MAX: usize = 64;

/// What the writer holds until it ends.
pub struct Owned {
    /// Its connection.
    pub connection: Connection,
    /// The node that it is, where it owns the book.
    pub node: Option<i64>,
    /// Held for as long as the book is owned; the system releases it when the process dies.
    _lock: Option<File>,
}

/// Opens the connection that writes.
pub fn writer(path: &Path, access: Access, pages_max: u32) -> Result<Owned, StoreError> {
    check_folder(path)?;
    create_private(path)?;
    let lock = if access == Access::Own { Some(lock(path)?) } else { None };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = connect(path, flags)?;
    // Nothing is changed in a file that holds something else.
    check_contents(path, &connection)?;
    write_ahead(path, &connection)?;
    let settings = format!(
        "PRAGMA synchronous = FULL; PRAGMA fullfsync = ON; PRAGMA checkpoint_fullfsync = ON; \
         PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY; PRAGMA journal_size_limit = {LOG_SIZE_MAX_BYTES};"
    );
    connection.execute_batch(&settings).map_err(|error| unavailable(path, &error))?;
    if pages_max > 0 {
        let limit = format!("PRAGMA max_page_count = {pages_max}");
        connection.query_row(&limit, [], |_| Ok(())).map_err(|error| unavailable(path, &error))?;
    }
    migrate(path, &mut connection)?;
    let node =
        if access == Access::Own { Some(join(&mut connection).map_err(|error| unavailable(path, &error))?) } else { None };
    Ok(Owned { connection, node, _lock: lock })
}

/// Opens a connection that only reads.
pub fn reader(path: &Path) -> Result<Connection, StoreError> {
    if !path.exists() {
        let cause = "there is no such file; the program that keeps the book creates it".to_owned();
        return Err(StoreError::Unavailable { what: format!("opening the book {}", path.display()), cause });
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = connect(path, flags)?;
    let version = check_contents(path, &connection)?;
    if version < MIGRATIONS.len() {
        return Err(StoreError::Unsuitable(format!(
            "{} has tables of version {version}, and version {} is needed: start the program that owns the book once, which \
             updates them",
            path.display(),
            MIGRATIONS.len()
        )));
    }
    Ok(connection)
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, StoreError> {
    let connection = Connection::open_with_flags(path, flags).map_err(|error| unavailable(path, &error))?;
    set_up(&connection).map_err(|error| unavailable(path, &error))?;
    Ok(connection)
}

fn set_up(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    sum::define(connection)?;
    // Else SQLite, as it is built here, prepares a statement anew for each set of values, to see whether they suggest another
    // plan. None of ours is planned by its values.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

fn check_folder(path: &Path) -> Result<(), StoreError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let cause = if path.is_dir() {
        "it is a folder: name a file in it".to_owned()
    } else if folder.is_dir() {
        return Ok(());
    } else {
        format!("there is no folder {}: create it first", folder.display())
    };
    Err(StoreError::Unavailable { what: format!("opening the book {}", path.display()), cause })
}

/// Creates the file, readable by its owner alone: it holds signed transactions and who paid whom.
fn create_private(path: &Path) -> Result<(), StoreError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => {
            let cause = format!("{error}: the process must be allowed to write the file and its folder");
            Err(StoreError::Unavailable { what: format!("creating the book {}", path.display()), cause })
        }
    }
}

fn lock(path: &Path) -> Result<File, StoreError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    let failed = |cause: String| StoreError::Unavailable { what: format!("locking {}", name.display()), cause };
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let file = options.open(&name).map_err(|error| failed(error.to_string()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path: path.display().to_string() }),
        Err(TryLockError::Error(error)) => Err(failed(error.to_string())),
    }
}

/// Checks that the file is a book of ours and no newer than this program; returns the version of its tables.
fn check_contents(path: &Path, connection: &Connection) -> Result<usize, StoreError> {
    let number =
        |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map_err(|error| unavailable(path, &error));
    let application = number("PRAGMA application_id")?;
    let version = number("PRAGMA user_version")?;
    let tables = number("SELECT count(*) FROM sqlite_schema")?;
    let is_new = tables == 0 && application == 0;
    if application != APPLICATION_ID && !is_new {
        return Err(StoreError::Unsuitable(format!(
            "{} is a SQLite file of another program: name a file of its own for the book",
            path.display()
        )));
    }
    match usize::try_from(version) {
        Ok(version) if version <= MIGRATIONS.len() => Ok(version),
        _ => Err(StoreError::newer(&path.display().to_string(), version, MIGRATIONS.len())),
    }
}

/// Switches the write-ahead log on, which network file systems can't do.
fn write_ahead(path: &Path, connection: &Connection) -> Result<(), StoreError> {
    let mode = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get::<_, String>(0));
    match mode.map_err(|error| unavailable(path, &error))?.as_str() {
        "wal" => Ok(()),
        mode => Err(StoreError::Unsuitable(format!(
            "{}: the file system allows no write-ahead log (journal mode {mode}): keep the book on a local disk",
            path.display()
        ))),
    }
}

fn migrate(path: &Path, connection: &mut Connection) -> Result<(), StoreError> {
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate);
    let transaction = transaction.map_err(|error| unavailable(path, &error))?;
    // Read under the lock, for two processes may start at once.
    let applied = check_contents(path, &transaction)?;
    for migration in MIGRATIONS.iter().skip(applied) {
        transaction.execute_batch(migration).map_err(|error| unavailable(path, &error))?;
    }
    if applied < MIGRATIONS.len() {
        let mark = format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {}", MIGRATIONS.len());
        transaction.execute_batch(&mark).map_err(|error| unavailable(path, &error))?;
    }
    transaction.commit().map_err(|error| unavailable(path, &error))
}

/// Becomes the one node of the book. Whoever was it before is dead, for the file's lock is ours.
fn join(connection: &mut Connection) -> rusqlite::Result<i64> {
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    transaction.execute("DELETE FROM nodes", [])?;
    transaction.execute("INSERT INTO nodes DEFAULT VALUES", [])?;
    let node = transaction.last_insert_rowid();
    transaction.commit()?;
    Ok(node)
}

fn unavailable(path: &Path, error: &rusqlite::Error) -> StoreError {
    StoreError::Unavailable { what: format!("opening the book {}", path.display()), cause: failure(error).message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::StatementStatus;

    #[test]
    fn a_statement_is_prepared_once_whatever_values_it_gets() {
        let connection = Connection::open_in_memory().unwrap();
        set_up(&connection).unwrap();
        connection.execute_batch(MIGRATIONS[0]).unwrap();
        // One that SQLite would plan by its value: there is an index of payments that are being sent.
        let mut statement = connection.prepare("SELECT key FROM payments WHERE state = ?1").unwrap();
        for state in ["sending", "settled", "dead"] {
            assert!(!statement.exists([state]).unwrap());
        }
        assert_eq!(statement.get_status(StatementStatus::RePrepare), 0);
    }
}
