//! The one thread that writes: whatever has gathered goes into one transaction, and is answered after its commit.
//!
//! 1. Each write has a savepoint, so that one that fails or is taken back leaves its neighbours alone.
//! 2. Nobody is answered before `COMMIT` has returned, not even those who wrote nothing: what they read may have been
//!    written by a neighbour.
//! 3. A commit that fails fails everybody in it. SQLite never shows such a transaction to anybody while the process
//!    lives; after a crash it may turn up, as a write whose answer was lost.

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::open::Owned;
use super::session::{Session, carry_out, failure};
use crate::error::Failure;
use crate::sql::{Operation, Verdict};

/// How many writes share one commit at most.
const BATCH_WRITES_MAX: usize = 256;

/// What the writer is told.
pub enum Message {
    /// Write this.
    Write(Box<dyn Write>),
    /// Give the file up, and say so.
    Close(oneshot::Sender<()>),
}

/// A write that waits for its commit.
pub trait Write: Send {
    /// Carries it out; what came of it is to be kept, or taken back, or failed.
    fn carry_out(&mut self, session: &mut Session<'_>) -> Result<Keep, Failure>;

    /// Answers: what came of it, or why the commit failed.
    fn answer(self: Box<Self>, committed: Result<(), Failure>);
}

/// Whether what a write did is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    Yes,
    No,
}

/// An operation whose answer somebody waits for.
pub struct Task<O: Operation> {
    operation: O,
    reply: oneshot::Sender<Result<O::Answer, Failure>>,
    answer: Option<Result<O::Answer, Failure>>,
}

impl<O: Operation> Task<O> {
    /// An operation, and where to answer.
    pub const fn new(operation: O, reply: oneshot::Sender<Result<O::Answer, Failure>>) -> Self {
        Self { operation, reply, answer: None }
    }
}

impl<O: Operation> Write for Task<O> {
    fn carry_out(&mut self, session: &mut Session<'_>) -> Result<Keep, Failure> {
        let (answer, keep) = match carry_out(&self.operation, session) {
            Ok(Verdict::Keep(answer)) => (Ok(answer), Ok(Keep::Yes)),
            Ok(Verdict::Undo(answer)) => (Ok(answer), Ok(Keep::No)),
            Err(failure) => (Err(failure.clone()), Err(failure)),
        };
        self.answer = Some(answer);
        keep
    }

    fn answer(self: Box<Self>, committed: Result<(), Failure>) {
        let Self { reply, answer, .. } = *self;
        let not_reached = || Err(Failure::new("the transaction ended before this write"));
        // Whoever asked may have gone; what was committed stays.
        let _ = reply.send(committed.and_then(|()| answer.unwrap_or_else(not_reached)));
    }
}

/// Writes until the store is closed or dropped.
pub fn run(mut owned: Owned, mut messages: mpsc::Receiver<Message>) {
    while let Some(message) = messages.blocking_recv() {
        let mut batch = Vec::new();
        let mut close = None;
        let mut next = Some(message);
        while let Some(message) = next {
            match message {
                Message::Write(write) => batch.push(write),
                Message::Close(done) => {
                    close = Some(done);
                    break;
                }
            }
            next = if batch.len() < BATCH_WRITES_MAX { messages.try_recv().ok() } else { None };
        }
        if !batch.is_empty() {
            let committed = commit_together(&mut owned.connection, &mut batch);
            if let Err(failure) = &committed {
                tracing::error!(writes = batch.len(), "the book could not be written: {failure}");
            }
            for write in batch {
                write.answer(committed.clone());
            }
        }
        if let Some(done) = close {
            messages.close();
            drop(owned);
            // Whoever closed it may have gone.
            let _ = done.send(());
            return;
        }
    }
}

fn commit_together(connection: &mut Connection, batch: &mut [Box<dyn Write>]) -> Result<(), Failure> {
    let written = write_all(connection, batch);
    if written.is_err() && !connection.is_autocommit() {
        // The first error is the one that matters.
        let _ = connection.execute_batch("ROLLBACK");
    }
    written
}

fn write_all(connection: &mut Connection, batch: &mut [Box<dyn Write>]) -> Result<(), Failure> {
    let run = |connection: &Connection, sql: &str| {
        connection.prepare_cached(sql).and_then(|mut statement| statement.execute([])).map_err(|error| failure(&error))
    };
    run(connection, "BEGIN IMMEDIATE")?;
    for write in batch {
        run(connection, "SAVEPOINT one")?;
        let kept = write.carry_out(&mut Session(connection));
        if connection.is_autocommit() {
            // A full or failing disk ends the whole transaction, and with it everybody's writes.
            let unknown = || Err(Failure::new("the transaction ended by itself: nothing was written"));
            return kept.map_or_else(Err, |_| unknown());
        }
        if kept.ok() != Some(Keep::Yes) {
            run(connection, "ROLLBACK TO one")?;
        }
        run(connection, "RELEASE one")?;
    }
    run(connection, "COMMIT").map(|_| ())
}
