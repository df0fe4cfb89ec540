//! A few connections, and transactions on them that end well or not at all.
//!
//! 1. A write runs in a task of its own: a caller that goes away leaves none half done. A read ends with its caller.
//! 2. What was rolled back for the sake of another transaction, or lost before its commit, is tried again.
//! 3. A connection lost during `COMMIT` says nothing. So every transaction that writes leaves its mark, the name of its
//!    connection and its number there, and whoever lost the answer waits until the transaction has ended and reads the mark,
//!    for as long as the time allows; only then is the answer an error, and it says that nothing is known. The database's own
//!    transaction numbers would not do: after a crash it may give one to another transaction.
//! 4. Nothing waits without a limit: not for a connection, not for an answer. Reads leave some connections to the writes.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{AcquireError, Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::connect::{Connection, Connector};
use super::failure;
use super::session::Session;
use crate::error::{Failure, FailureKind};
use crate::options::Options;
use crate::sql::{Operation, Verdict};

/// How often a transaction is tried again that was rolled back for another one's sake.
const TRIES_MAX: u32 = 10;

/// How long to wait before the server is tried again.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// One part in so many of the connections is left to writes.
const WRITES_PART: u32 = 4;

/// Connections that are made when they are needed.
pub struct Pool {
    connector: Connector,
    idle: Mutex<Vec<Connection>>,
    permits: Semaphore,
    /// What reads need beside a permit.
    reads: Semaphore,
    connections_max: u32,
    patience: Duration,
    answer_timeout: Duration,
}

/// What a transaction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Something may change.
    Write,
    /// Nothing does.
    Read,
}

/// The right to one connection.
struct Permits<'a> {
    _any: SemaphorePermit<'a>,
    _read: Option<SemaphorePermit<'a>>,
}

impl Pool {
    /// No connection yet.
    pub fn new(connector: Connector, options: &Options) -> Self {
        let Options { connections_max, patience, answer_timeout, .. } = *options;
        let connections_max = u32::try_from(connections_max.clamp(1, Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX);
        let places = |count: u32| Semaphore::new(usize::try_from(count).unwrap_or(1));
        let (permits, reads) = (places(connections_max), places(connections_max.saturating_sub(connections_max / WRITES_PART)));
        Self { connector, idle: Mutex::default(), permits, reads, connections_max, patience, answer_timeout }
    }

    /// A new connection that does not count.
    pub async fn connect(&self) -> Result<Connection, Failure> {
        self.connector.connect().await
    }

    /// A new connection that does not count, for a node's beat.
    pub async fn connect_to_beat(&self) -> Result<Connection, Failure> {
        self.connector.connect_to_beat().await
    }

    /// Waits for what is under way, and refuses everything else from now on.
    pub async fn close(&self) {
        // Fails only where it is closed already.
        if let Ok(all) = self.permits.acquire_many(self.connections_max).await {
            self.permits.close();
            drop(all);
        }
        self.idle().clear();
    }

    /// Carries an operation out. Where it writes, it is committed before this returns.
    pub async fn carry_out<O: Operation>(&self, operation: &O, mode: Mode) -> Result<O::Answer, Failure> {
        let began = Instant::now();
        let mut tries = 0_u32;
        loop {
            let answer = match mode {
                Mode::Write => self.write_once(operation).await,
                Mode::Read => self.read_once(operation).await,
            };
            match answer {
                Err(failure) if failure.kind == FailureKind::Again && tries < TRIES_MAX => {
                    tries = tries.saturating_add(1);
                    sleep(Duration::from_millis(tries.into())).await;
                }
                Err(failure) if failure.kind == FailureKind::Lost && began.elapsed() < self.patience => {
                    // The idle ones went the same way, most likely.
                    self.idle().clear();
                    sleep(RETRY_INTERVAL).await;
                }
                answer => return answer,
            }
        }
    }

    async fn write_once<O: Operation>(&self, operation: &O) -> Result<O::Answer, Failure> {
        let (mut connection, _permits) = self.take(Mode::Write).await?;
        let applied = async {
            begin(&mut connection).await?;
            operation.apply(&mut Session(&mut connection)).await
        };
        match within(self.answer_timeout, applied).await {
            Ok(Verdict::Keep(answer)) => {
                self.commit(connection).await?;
                Ok(answer)
            }
            Ok(Verdict::Undo(answer)) => {
                self.roll_back(connection).await;
                Ok(answer)
            }
            Err(failure) => {
                if failure.kind != FailureKind::Lost {
                    self.roll_back(connection).await;
                }
                Err(failure)
            }
        }
    }

    async fn read_once<O: Operation>(&self, operation: &O) -> Result<O::Answer, Failure> {
        let (mut connection, _permits) = self.take(Mode::Read).await?;
        let applied = async {
            if !O::IS_ONE_STATEMENT {
                let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY";
                connection.client.batch_execute(begin).await.map_err(|error| failure(&error))?;
            }
            operation.apply(&mut Session(&mut connection)).await
        };
        let verdict = within(self.answer_timeout, applied).await;
        match &verdict {
            // Whatever is still under way on it ends with it.
            Err(failure) if failure.kind == FailureKind::Lost => drop(connection),
            _ if O::IS_ONE_STATEMENT => self.put_back(connection),
            _ => self.roll_back(connection).await,
        }
        verdict.map(|(Verdict::Keep(answer) | Verdict::Undo(answer))| answer)
    }

    async fn commit(&self, connection: Connection) -> Result<(), Failure> {
        let commit = async { connection.client.batch_execute("COMMIT").await.map_err(|error| failure(&error)) };
        let Err(failure) = within(self.answer_timeout, commit).await else {
            self.put_back(connection);
            return Ok(());
        };
        if failure.kind != FailureKind::Lost {
            self.roll_back(connection).await;
            return Err(failure);
        }
        let (name, writes) = (connection.name.clone(), connection.writes);
        // The server learns from it that nobody waits on that connection any more.
        drop(connection);
        tracing::warn!("the connection was lost during a commit; asking the database what became of it");
        match self.is_committed(&name, writes).await {
            Some(true) => Ok(()),
            // Nothing was written: it is safe to try again.
            Some(false) => Err(failure),
            None => Err(Failure::new(format!(
                "the connection was lost during a commit, and the database does not say what became of it ({failure}): \
                 read the book before you act again"
            ))),
        }
    }

    /// Whether a transaction was committed, if the server says so in time.
    async fn is_committed(&self, connection: &str, number: u64) -> Option<bool> {
        let deadline = Instant::now() + self.patience;
        while Instant::now() < deadline {
            match timeout_at(deadline, self.last_commit(connection)).await {
                Ok(Ok(last)) => return Some(u64::try_from(last).ok() == Some(number)),
                // The server is starting.
                Ok(Err(failure)) if failure.kind == FailureKind::Lost => sleep(RETRY_INTERVAL).await,
                // Its server process has not noticed yet.
                Ok(Err(_)) | Err(_) => return None,
            }
        }
        None
    }

    /// The number of the last transaction that was committed on a connection. Waits until one that is still under way on it
    /// has ended, for that one has touched the same row.
    async fn last_commit(&self, connection: &str) -> Result<i64, Failure> {
        let asking = self.connect().await?;
        let upsert = "INSERT INTO commits (connection, number) VALUES ($1::text::uuid, 0) \
                      ON CONFLICT (connection) DO UPDATE SET at = excluded.at RETURNING number";
        let row = asking.client.query_one(upsert, &[&connection]).await.map_err(|error| failure(&error))?;
        row.try_get(0).map_err(|error| failure(&error))
    }

    async fn take(&self, mode: Mode) -> Result<(Connection, Permits<'_>), Failure> {
        let permits = async {
            let read = match mode {
                Mode::Read => Some(self.reads.acquire().await?),
                Mode::Write => None,
            };
            Ok(Permits { _any: self.permits.acquire().await?, _read: read })
        };
        let permits = match timeout(self.patience, permits).await {
            Ok(permits) => permits.map_err(|_: AcquireError| Failure::new("the store was closed"))?,
            Err(_elapsed) => {
                return Err(Failure::new(format!(
                    "the book is busy: none of {} connections became free within {:?}; try again, or allow more",
                    self.connections_max, self.patience
                )));
            }
        };
        let idle = self.idle().pop();
        let connection = match idle {
            Some(connection) if !connection.client.is_closed() => connection,
            _ => self.connect().await?,
        };
        Ok((connection, permits))
    }

    async fn roll_back(&self, connection: Connection) {
        // A connection that can't even do that is dropped, and the server rolls back.
        if let Ok(Ok(())) = timeout(self.answer_timeout, connection.client.batch_execute("ROLLBACK")).await {
            self.put_back(connection);
        }
    }

    fn put_back(&self, connection: Connection) {
        if !connection.client.is_closed() && !self.permits.is_closed() {
            self.idle().push(connection);
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Begins a transaction that leaves its mark if it is committed.
async fn begin(connection: &mut Connection) -> Result<(), Failure> {
    connection.writes = connection.writes.saturating_add(1);
    let Connection { client, name, writes, .. } = connection;
    let begin = format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE; INSERT INTO commits (connection, number) VALUES ('{name}', {writes}) \
         ON CONFLICT (connection) DO UPDATE SET number = excluded.number, at = excluded.at"
    );
    client.batch_execute(&begin).await.map_err(|error| failure(&error))
}

/// The answer, unless the server takes too long: then the connection is of no more use.
async fn within<T>(limit: Duration, answer: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let silent = |_| Failure::lost(format!("the database did not answer within {limit:?}"));
    timeout(limit, answer).await.map_err(silent)?
}
