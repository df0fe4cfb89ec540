//! Statements on a SQLite connection.

use std::future::{Future, ready};
use std::task::{Context, Poll, Waker};

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, ToSql, params_from_iter};

use super::sum;
use crate::error::Failure;
use crate::sql::{Operation, Row, Sql, Value, Verdict};

/// A connection within a transaction.
pub struct Session<'a>(pub &'a mut Connection);

impl Sql for Session<'_> {
    // There is only one writer.
    const LOCK: &'static str = "";
    // The rows of earlier owners are deleted when the file is opened.
    const ALIVE: &'static str = "1 = 1";

    fn exact_sum(column: &str) -> String {
        format!("{}({column})", sum::NAME)
    }

    fn query(&mut self, sql: &str, values: &[Value]) -> impl Future<Output = Result<Vec<Row>, Failure>> + Send {
        ready(self.query_now(sql, values).map_err(|error| failure(&error)))
    }

    fn execute_each(&mut self, sql: &str, sets: &[Vec<Value>]) -> impl Future<Output = Result<Vec<u64>, Failure>> + Send {
        ready(self.execute_each_now(sql, sets).map_err(|error| failure(&error)))
    }
}

impl Session<'_> {
    fn query_now(&mut self, sql: &str, values: &[Value]) -> rusqlite::Result<Vec<Row>> {
        let mut statement = self.0.prepare_cached(&dialect(sql))?;
        let columns = statement.column_count();
        let rows = statement.query_map(params_from_iter(values), |row| {
            (0..columns).map(|column| row.get_ref(column).and_then(value_of)).collect::<rusqlite::Result<_>>().map(Row::new)
        })?;
        rows.collect()
    }

    fn execute_each_now(&mut self, sql: &str, sets: &[Vec<Value>]) -> rusqlite::Result<Vec<u64>> {
        let mut statement = self.0.prepare_cached(&dialect(sql))?;
        let count = |changed| u64::try_from(changed).unwrap_or(u64::MAX);
        sets.iter().map(|values| statement.execute(params_from_iter(values)).map(count)).collect()
    }
}

/// Carries out an operation on a connection, which never waits.
pub fn carry_out<O: Operation>(operation: &O, session: &mut Session<'_>) -> Result<Verdict<O::Answer>, Failure> {
    let future = std::pin::pin!(operation.apply(session));
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(verdict) => verdict,
        Poll::Pending => Err(Failure::new("an operation on a SQLite book waits for something else")),
    }
}

/// SQLite's numbered placeholders begin with another sign.
fn dialect(sql: &str) -> String {
    sql.replace('$', "?")
}

fn value_of(value: ValueRef<'_>) -> rusqlite::Result<Value> {
    Ok(match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Integer(number),
        ValueRef::Text(text) => Value::Text(String::from_utf8(text.to_vec()).map_err(|error| error.utf8_error())?),
        ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
        // Strict tables of ours hold none.
        ValueRef::Real(_) => return Err(rusqlite::Error::InvalidQuery),
    })
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

/// What an error of SQLite means, and what to do about it.
pub fn failure(error: &rusqlite::Error) -> Failure {
    let advice = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => ": nothing was written; free some space, the book goes on by itself",
        Some(ErrorCode::SystemIoFailure) => ": nothing is believed written; check the disk",
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            ": the process must be allowed to write the book's file and its folder"
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            ": another process has been writing for too long; look for a program that holds the book open"
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            ": the file is damaged; restore it from a backup, and compare it with the chain before serving again"
        }
        _ => "",
    };
    Failure::new(format!("{error}{advice}"))
}
