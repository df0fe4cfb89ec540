//! Where a book is kept, as operators write it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::error::StoreError;

/// Where a book is kept: `sqlite:PATH`, or `postgres://USER:PASSWORD@HOST/DATABASE`.
///
/// Neither `Display` nor `Debug` shows a password.
#[derive(Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// A file, for one process.
    Sqlite(PathBuf),
    /// A PostgreSQL database, for several.
    Postgres(PostgresUrl),
}

/// The URL of a PostgreSQL database.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl {
    pub(crate) text: String,
    shown: String,
}

const EXPECTED: &str = "expected sqlite:PATH or postgres://USER@HOST/DATABASE";

impl FromStr for StoreUrl {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        let (scheme, rest) = text.split_once(':').ok_or_else(|| StoreError::Url(format!("{EXPECTED}, got no scheme")))?;
        match scheme {
            "sqlite" => sqlite(rest.strip_prefix("//").unwrap_or(rest)),
            "postgres" | "postgresql" => postgres(text).map(Self::Postgres),
            _ => Err(StoreError::Url(format!("{EXPECTED}, got the scheme {scheme:?}"))),
        }
    }
}

fn sqlite(path: &str) -> Result<StoreUrl, StoreError> {
    let refuse = |why: &str| Err(StoreError::Url(format!("sqlite:{path}: {why}")));
    match path {
        "" => refuse("the path is missing: expected sqlite:PATH, such as sqlite:farthing.db"),
        ":memory:" => refuse("a book in memory forgets what was sent when the process ends: name a file"),
        _ if path.starts_with("file:") || path.contains('?') => {
            refuse("expected a plain path without parameters, such as sqlite:/var/lib/farthing/book.db")
        }
        _ => Ok(StoreUrl::Sqlite(PathBuf::from(path))),
    }
}

fn postgres(text: &str) -> Result<PostgresUrl, StoreError> {
    // The parser's own errors may quote what it was given.
    let url =
        url::Url::parse(text).map_err(|_| StoreError::Url(format!("{EXPECTED}, got a postgres URL that can't be read")))?;
    let user = if url.username().is_empty() { String::new() } else { format!("{}@", url.username()) };
    let host = url.host_str().unwrap_or_default();
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    Ok(PostgresUrl { text: text.to_owned(), shown: format!("postgres://{user}{host}{port}{}", url.path()) })
}

impl StoreUrl {
    /// The SQLite book in that file.
    pub fn sqlite(path: impl AsRef<Path>) -> Self {
        Self::Sqlite(path.as_ref().to_path_buf())
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(formatter, "sqlite:{}", path.display()),
            Self::Postgres(url) => formatter.write_str(&url.shown),
        }
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "StoreUrl({self})")
    }
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.shown)
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PostgresUrl({})", self.shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_a_file_or_a_postgres_database() {
        let url: StoreUrl = "sqlite:book.db".parse().unwrap();
        assert_eq!(url, StoreUrl::sqlite("book.db"));
        assert_eq!("sqlite:///var/book.db".parse::<StoreUrl>().unwrap(), StoreUrl::sqlite("/var/book.db"));
        assert!(matches!("postgresql://host/farthing".parse(), Ok(StoreUrl::Postgres(_))));
        for bad in
            ["", "book.db", "mysql://host/x", "sqlite:", "sqlite:file:x.db", "sqlite:x.db?mode=rwc", "postgres://[", "redis:x"]
        {
            assert!(matches!(bad.parse::<StoreUrl>(), Err(StoreError::Url(_))), "{bad:?} was taken for a store");
        }
    }

    #[test]
    fn a_book_in_memory_is_refused_with_the_reason() {
        let error = "sqlite::memory:".parse::<StoreUrl>().unwrap_err();
        assert!(error.to_string().contains("name a file"), "{error}");
    }

    #[test]
    fn a_password_is_never_shown() {
        let url: StoreUrl = "postgres://farthing:hunter2@db.example:5433/books?password=hunter2".parse().unwrap();
        assert_eq!(url.to_string(), "postgres://farthing@db.example:5433/books");
        assert!(!format!("{url:?}").contains("hunter2"));
        let error = "postgres://farthing:hunter2@[db/books".parse::<StoreUrl>().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
}
