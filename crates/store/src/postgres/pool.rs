//! A few connections, and transactions on them that end well or not at all.
//!
//! 1. A transaction runs in a task of its own: a caller that goes away leaves none half done.
//! 2. What was rolled back for the sake of another transaction, or lost before its commit, is tried again.
//! 3. A connection lost during `COMMIT` says nothing. The server is asked what became of that transaction, by its number,
//!    until it answers or the time is up; only then is the answer an error, and it says that nothing is known.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep};
use tokio_postgres::SimpleQueryMessage;

use super::connect::{Connection, Connector};
use super::failure;
use super::session::Session;
use crate::error::{Failure, FailureKind};
use crate::sql::{Operation, Verdict};

/// How often a transaction is tried again that was rolled back for another one's sake.
const TRIES_MAX: u32 = 10;

/// How long to wait before the server is tried again.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// Connections that are made when they are needed.
pub struct Pool {
    connector: Connector,
    idle: Mutex<Vec<Connection>>,
    permits: Semaphore,
    connections_max: u32,
    patience: Duration,
}

/// What a transaction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Something may change.
    Write,
    /// Nothing does.
    Read,
}

/// What became of a transaction whose commit was not answered.
enum Fate {
    Committed,
    Aborted,
}

impl Pool {
    /// No connection yet.
    pub fn new(connector: Connector, connections_max: usize, patience: Duration) -> Self {
        let connections_max = u32::try_from(connections_max.clamp(1, Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX);
        let permits = Semaphore::new(usize::try_from(connections_max).unwrap_or(1));
        Self { connector, idle: Mutex::default(), permits, connections_max, patience }
    }

    /// A new connection that does not count.
    pub async fn connect(&self) -> Result<Connection, Failure> {
        self.connector.connect().await
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
    pub async fn carry_out<O: Operation>(self: Arc<Self>, operation: O, mode: Mode) -> Result<O::Answer, Failure> {
        let began = Instant::now();
        let mut tries = 0_u32;
        loop {
            let answer = match mode {
                Mode::Write => self.write_once(&operation).await,
                Mode::Read => self.read_once(&operation).await,
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
        let (mut connection, _permit) = self.take().await?;
        let transaction = begin(&connection).await?;
        match operation.apply(&mut Session(&mut connection)).await {
            Ok(Verdict::Keep(answer)) => {
                self.commit(connection, &transaction).await?;
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
        let (mut connection, _permit) = self.take().await?;
        if !O::IS_ONE_STATEMENT {
            let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY";
            connection.client.batch_execute(begin).await.map_err(|error| failure(&error))?;
        }
        let verdict = operation.apply(&mut Session(&mut connection)).await;
        if O::IS_ONE_STATEMENT {
            self.put_back(connection);
        } else {
            self.roll_back(connection).await;
        }
        verdict.map(|(Verdict::Keep(answer) | Verdict::Undo(answer))| answer)
    }

    async fn commit(&self, connection: Connection, transaction: &str) -> Result<(), Failure> {
        let Err(error) = connection.client.batch_execute("COMMIT").await else {
            self.put_back(connection);
            return Ok(());
        };
        let failure = failure(&error);
        if failure.kind != FailureKind::Lost {
            self.roll_back(connection).await;
            return Err(failure);
        }
        drop(connection);
        tracing::warn!(transaction, "the connection was lost during a commit; asking the database what became of it");
        match self.fate(transaction).await {
            Some(Fate::Committed) => Ok(()),
            // Nothing was written: it is safe to try again.
            Some(Fate::Aborted) => Err(failure),
            None => Err(Failure::new(format!(
                "the connection was lost during a commit, and the database does not say what became of it ({failure}): \
                 read the book before you act again"
            ))),
        }
    }

    /// What became of a transaction, if the server says so in time.
    async fn fate(&self, transaction: &str) -> Option<Fate> {
        let began = Instant::now();
        loop {
            match self.ask(transaction).await.as_ref().map(|status| status.as_deref()) {
                Ok(Some("committed")) => return Some(Fate::Committed),
                Ok(Some("aborted")) => return Some(Fate::Aborted),
                // Its server process has not noticed yet, or the server is starting.
                Ok(Some("in progress")) => {}
                Err(failure) if failure.kind == FailureKind::Lost => {}
                _ => return None,
            }
            if began.elapsed() > self.patience {
                return None;
            }
            sleep(RETRY_INTERVAL).await;
        }
    }

    async fn ask(&self, transaction: &str) -> Result<Option<String>, Failure> {
        let connection = self.connect().await?;
        let query = "SELECT pg_xact_status($1::text::xid8)";
        let row = connection.client.query_one(query, &[&transaction]).await.map_err(|error| failure(&error))?;
        row.try_get(0).map_err(|error| failure(&error))
    }

    async fn take(&self) -> Result<(Connection, SemaphorePermit<'_>), Failure> {
        let permit = self.permits.acquire().await.map_err(|_| Failure::new("the store was closed"))?;
        let idle = self.idle().pop();
        let connection = match idle {
            Some(connection) if !connection.client.is_closed() => connection,
            _ => self.connect().await?,
        };
        Ok((connection, permit))
    }

    async fn roll_back(&self, connection: Connection) {
        // A connection that can't even do that is dropped, and the server rolls back.
        if connection.client.batch_execute("ROLLBACK").await.is_ok() {
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

/// Begins a transaction, and returns its number.
async fn begin(connection: &Connection) -> Result<String, Failure> {
    let begin = "BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE; SELECT pg_current_xact_id()::text";
    let messages = connection.client.simple_query(begin).await.map_err(|error| failure(&error))?;
    let number = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    number.ok_or_else(|| Failure::new("the database gives its transactions no numbers"))
}
