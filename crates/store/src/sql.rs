//! What the books need of a database: statements within one transaction.
//!
//! The books' rules are written once, as [`Operation`]s over [`Sql`]; SQLite and PostgreSQL are two ways to carry one out.
//! The two dialects agree on all that is used here, but for the few words that [`Sql`] names.

use std::future::Future;

use crate::error::Failure;

/// A value in a column or for a placeholder.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// None.
    Null,
    /// A number.
    Integer(i64),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// One row of an answer; its columns are taken in the order in which they were asked for.
#[derive(Debug)]
pub struct Row(std::vec::IntoIter<Value>);

/// A transaction in which statements run. Placeholders are `$1`, `$2` and so on, and `$` means nothing else.
pub trait Sql: Send {
    /// What makes a `SELECT` hold the rows until the transaction ends, where one is needed.
    const LOCK: &'static str;
    /// The condition under which a row of `nodes` stands for a node that is alive.
    const ALIVE: &'static str;

    /// The expression that adds up a column of amounts, to the unit, as text.
    fn exact_sum(column: &str) -> String;

    /// Runs a statement that answers with rows.
    fn query(&mut self, sql: &str, values: &[Value]) -> impl Future<Output = Result<Vec<Row>, Failure>> + Send;

    /// Runs a statement for each set of values, without waiting in between, and says how many rows each one changed.
    fn execute_each(&mut self, sql: &str, sets: &[Vec<Value>]) -> impl Future<Output = Result<Vec<u64>, Failure>> + Send;

    /// Runs a statement, and says how many rows it changed.
    fn execute(&mut self, sql: &str, values: Vec<Value>) -> impl Future<Output = Result<u64, Failure>> + Send {
        async move { Ok(self.execute_each(sql, &[values]).await?.into_iter().sum()) }
    }

    /// Runs a statement that answers with at most one row.
    fn query_one(&mut self, sql: &str, values: &[Value]) -> impl Future<Output = Result<Option<Row>, Failure>> + Send {
        async move { Ok(self.query(sql, values).await?.into_iter().next()) }
    }
}

/// What an operation came to.
pub enum Verdict<T> {
    /// Commit, then answer.
    Keep(T),
    /// Take everything back, then answer.
    Undo(T),
}

/// One call of a book: a transaction that is committed as a whole or not at all. It may be applied more than once, until
/// it is committed.
pub trait Operation: Send + Sync + 'static {
    /// Whether it is one statement, which needs no transaction around it to be consistent, and changes nothing.
    const IS_ONE_STATEMENT: bool = false;
    /// Whether it finds at most a row or two by their key, so that it takes no longer than a hand-over to another thread.
    const IS_LOOK_UP: bool = false;
    /// What it answers.
    type Answer: Send + 'static;

    /// Carries it out.
    fn apply<S: Sql>(&self, sql: &mut S) -> impl Future<Output = Result<Verdict<Self::Answer>, Failure>> + Send;
}

impl Row {
    /// A row of these columns.
    pub fn new(columns: Vec<Value>) -> Self {
        Self(columns.into_iter())
    }

    fn next(&mut self) -> Result<Value, Failure> {
        self.0.next().ok_or_else(|| Failure::damaged("a row has fewer columns than were asked for"))
    }

    /// The next column, a number or nothing.
    pub fn maybe_integer(&mut self) -> Result<Option<i64>, Failure> {
        match self.next()? {
            Value::Integer(number) => Ok(Some(number)),
            Value::Null => Ok(None),
            other => Err(Failure::damaged(format!("expected a number, got {}", other.kind()))),
        }
    }

    /// The next column, a number.
    pub fn integer(&mut self) -> Result<i64, Failure> {
        self.maybe_integer()?.ok_or_else(|| Failure::damaged("expected a number, got nothing"))
    }

    /// The next column, a number that is never negative.
    pub fn count(&mut self) -> Result<u64, Failure> {
        let number = self.integer()?;
        u64::try_from(number).map_err(|_| Failure::damaged(format!("expected a number from 0 on, got {number}")))
    }

    /// The next column, text or nothing.
    pub fn maybe_text(&mut self) -> Result<Option<String>, Failure> {
        match self.next()? {
            Value::Text(text) => Ok(Some(text)),
            Value::Null => Ok(None),
            other => Err(Failure::damaged(format!("expected text, got {}", other.kind()))),
        }
    }

    /// The next column, text.
    pub fn text(&mut self) -> Result<String, Failure> {
        self.maybe_text()?.ok_or_else(|| Failure::damaged("expected text, got nothing"))
    }

    /// The next column, text that means something.
    pub fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(&mut self) -> Result<T, Failure> {
        self.text()?.parse().map_err(|error: T::Err| Failure::damaged(error.to_string()))
    }

    /// The next column, bytes or nothing.
    pub fn maybe_bytes(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        match self.next()? {
            Value::Bytes(bytes) => Ok(Some(bytes)),
            Value::Null => Ok(None),
            other => Err(Failure::damaged(format!("expected bytes, got {}", other.kind()))),
        }
    }

    /// The next column, bytes.
    pub fn bytes(&mut self) -> Result<Vec<u8>, Failure> {
        self.maybe_bytes()?.ok_or_else(|| Failure::damaged("expected bytes, got nothing"))
    }
}

impl Value {
    /// What it is, for messages: values themselves never stand in one.
    const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Integer(_) => "a number",
            Self::Text(_) => "text",
            Self::Bytes(_) => "bytes",
        }
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}
