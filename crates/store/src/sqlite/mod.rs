//! A book in one file.
//!
//! One thread writes, so that writes that arrive together share one commit and one sync of the disk (`writer`). Reads have
//! connections of their own, which the write-ahead log lets work meanwhile. The file is opened, locked, checked and
//! migrated in `open`.

mod open;
mod session;
mod sum;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::error::{Failure, StoreError};
use crate::options::Options;
use crate::sql::{Operation, Verdict};
use crate::store::Access;
use session::{Session, failure};
use writer::{Message, Task};

/// How many reads run at once; each has a connection of its own.
const READERS_MAX: usize = 4;

/// How many writes wait for the writer; more wait for a place.
const WRITE_QUEUE_MAX: usize = 4_096;

/// A SQLite book.
#[derive(Debug)]
pub struct Sqlite {
    path: PathBuf,
    node: Option<i64>,
    /// Nothing, where the book is only read.
    writer: Option<mpsc::Sender<Message>>,
    readers: Arc<Readers>,
}

#[derive(Debug)]
struct Readers {
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Connection>>,
}

impl Sqlite {
    /// Opens the file, and starts the thread that writes.
    pub async fn open(path: &Path, access: Access, options: &Options) -> Result<Self, StoreError> {
        let path = path.to_path_buf();
        let pages_max = options.pages_max;
        let opening = tokio::task::spawn_blocking(move || Self::open_now(path, access, pages_max));
        opening
            .await
            .map_err(|error| StoreError::Unavailable { what: "opening the book".to_owned(), cause: error.to_string() })?
    }

    fn open_now(path: PathBuf, access: Access, pages_max: u32) -> Result<Self, StoreError> {
        let readers = Arc::new(Readers { permits: Arc::new(Semaphore::new(READERS_MAX)), idle: Mutex::default() });
        if access == Access::Read {
            readers.put_back(open::reader(&path)?);
            return Ok(Self { path, node: None, writer: None, readers });
        }
        let owned = open::writer(&path, access, pages_max)?;
        let node = owned.node;
        let (sender, receiver) = mpsc::channel(WRITE_QUEUE_MAX);
        let thread = std::thread::Builder::new().name("book writer".to_owned());
        let spawned = thread.spawn(move || writer::run(owned, receiver));
        spawned
            .map_err(|error| StoreError::Unavailable { what: "starting the writer".to_owned(), cause: error.to_string() })?;
        Ok(Self { path, node, writer: Some(sender), readers })
    }

    /// The node that this process is.
    pub const fn node(&self) -> Option<i64> {
        self.node
    }

    /// Gives the operation to the writer, and waits for the commit that it was part of.
    pub async fn write<O: Operation>(&self, operation: O) -> Result<O::Answer, Failure> {
        let Some(writer) = &self.writer else {
            return Err(Failure::new(format!("{} was opened for reading only", self.path.display())));
        };
        let closed = || Failure::new(format!("the book {} was closed", self.path.display()));
        let (reply, answer) = oneshot::channel();
        let message = Message::Write(Box::new(Task::new(operation, reply)));
        writer.send(message).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// Carries out an operation on a connection of its own.
    pub async fn read<O: Operation>(&self, operation: O) -> Result<O::Answer, Failure> {
        let closed = || Failure::new(format!("the book {} was closed", self.path.display()));
        let permit = Arc::clone(&self.readers.permits).acquire_owned().await.map_err(|_| closed())?;
        if O::IS_LOOK_UP {
            // A look-up by key takes a few microseconds from the cache, far less than handing it to another thread, and every
            // payment needs some.
            return self.readers.read(&self.path, &operation);
        }
        let (path, readers) = (self.path.clone(), Arc::clone(&self.readers));
        let reading = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            readers.read(&path, &operation)
        });
        reading.await.map_err(|error| Failure::new(format!("the read did not end: {error}")))?
    }

    /// Waits for the writes under way, and gives the file up.
    pub async fn close(&self) {
        self.readers.permits.close();
        self.readers.clear();
        if let Some(writer) = &self.writer {
            let (done, wait) = oneshot::channel();
            if writer.send(Message::Close(done)).await.is_ok() {
                // The writer may be gone already, with everything that it had to do done.
                let _ = wait.await;
            }
        }
    }
}

fn read_on<O: Operation>(connection: &mut Connection, operation: &O) -> Result<O::Answer, Failure> {
    if O::IS_ONE_STATEMENT {
        let (Verdict::Keep(answer) | Verdict::Undo(answer)) = session::carry_out(operation, &mut Session(connection))?;
        return Ok(answer);
    }
    connection.execute_batch("BEGIN DEFERRED").map_err(|error| failure(&error))?;
    let verdict = session::carry_out(operation, &mut Session(connection))?;
    connection.execute_batch("ROLLBACK").map_err(|error| failure(&error))?;
    let (Verdict::Keep(answer) | Verdict::Undo(answer)) = verdict;
    Ok(answer)
}

impl Readers {
    fn read<O: Operation>(&self, path: &Path, operation: &O) -> Result<O::Answer, Failure> {
        let mut connection = match self.take() {
            Some(connection) => connection,
            None => open::reader(path).map_err(|error| Failure::new(error.to_string()))?,
        };
        // A connection whose read failed is not used again.
        let answer = read_on(&mut connection, operation)?;
        self.put_back(connection);
        Ok(answer)
    }

    fn take(&self) -> Option<Connection> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn put_back(&self, connection: Connection) {
        if !self.permits.is_closed() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
    }

    fn clear(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
