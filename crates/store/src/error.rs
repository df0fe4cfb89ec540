//! What can go wrong with a store, and what to do about it.

use farthing_core::books::BookError;

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL names no store.
    #[error("{0}")]
    Url(String),
    /// Another process has the book.
    #[error(
        "{path} is open in another process. One process at a time can own a SQLite book: stop the other one, or keep the \
         book in PostgreSQL (postgres://…), which several can share"
    )]
    InUse {
        /// The book's file.
        path: String,
    },
    /// The file or database holds something else, or was written by a newer program.
    #[error("{0}")]
    Unsuitable(String),
    /// The settings do not go together.
    #[error("{0}")]
    Options(String),
    /// It could not be reached, read or written.
    #[error("{what}: {cause}")]
    Unavailable {
        /// What was tried.
        what: String,
        /// What came of it.
        cause: String,
    },
}

/// Why an operation was not carried out.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What it means for the operation.
    pub kind: FailureKind,
    /// For people.
    pub message: String,
}

/// What a failure means for the operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// It was not carried out, and won't be.
    Final,
    /// It was not carried out, and may be if it is tried again at once.
    Again,
    /// The connection is lost.
    Lost,
}

impl StoreError {
    /// The book was written by a newer program.
    pub(crate) fn newer(book: &str, version: i64, known: usize) -> Self {
        Self::Unsuitable(format!(
            "{book} was written by a newer program: its tables have version {version}, and this program knows version \
             {known}. Update this program; going back needs a backup from before the update"
        ))
    }
}

impl Failure {
    /// A failure that another try won't mend.
    pub fn new(message: impl Into<String>) -> Self {
        Self { kind: FailureKind::Final, message: message.into() }
    }

    /// The connection does not answer any more.
    pub fn lost(message: impl Into<String>) -> Self {
        Self { kind: FailureKind::Lost, message: message.into() }
    }

    /// The book holds what no version of this program writes.
    pub fn damaged(what: impl std::fmt::Display) -> Self {
        Self::new(format!("the book is damaged: {what}"))
    }
}

impl From<Failure> for BookError {
    fn from(failure: Failure) -> Self {
        Self(Box::new(failure))
    }
}

impl From<BookError> for Failure {
    /// What core's own types say about an operation is final.
    fn from(error: BookError) -> Self {
        Self::new(error.0.to_string())
    }
}
