//! URLs that may carry a secret: given in the file, or kept elsewhere. They are never shown.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use anyhow::anyhow;
use farthing::secret::{SecretError, SecretRef};
use farthing::store::StoreUrl;
use zeroize::Zeroizing;

/// A URL, or where it is kept.
enum Place {
    Given(Zeroizing<String>),
    Kept(SecretRef),
}

/// A node's URL.
pub struct NodeUrl(Place);

/// The book: `sqlite:PATH` or a `postgres://…` URL.
pub struct StoreLocation(Place);

impl Place {
    /// `None` if the text is neither a URL of these schemes nor a reference.
    fn read(text: &str, schemes: &[&str]) -> Option<Self> {
        if schemes.iter().any(|scheme| text.starts_with(scheme)) {
            return Some(Self::Given(Zeroizing::new(text.to_owned())));
        }
        text.parse().ok().map(Self::Kept)
    }

    fn resolve(&self) -> Result<Zeroizing<String>, SecretError> {
        match self {
            Self::Given(url) => Ok(url.clone()),
            Self::Kept(reference) => reference.resolve(),
        }
    }
}

impl NodeUrl {
    /// Fetches the URL.
    pub fn resolve(&self) -> Result<Zeroizing<String>, SecretError> {
        self.0.resolve()
    }
}

impl StoreLocation {
    /// The file of that name.
    pub fn sqlite(name: &str) -> Self {
        Self(Place::Given(Zeroizing::new(format!("sqlite:{name}"))))
    }

    /// The URL, with a relative path of SQLite taken from this folder.
    pub fn resolve(&self, folder: &Path) -> anyhow::Result<StoreUrl> {
        // The error of the URL's parser repeats paths, but never what stands for a password.
        Ok(match self.0.resolve()?.parse().map_err(|error| anyhow!("{error}"))? {
            StoreUrl::Sqlite(path) => StoreUrl::Sqlite(folder.join(path)),
            postgres @ StoreUrl::Postgres(_) => postgres,
        })
    }
}

impl FromStr for NodeUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let place = Place::read(text, &["http://", "https://"]);
        place.map(Self).ok_or("expected a node's URL, http://… or https://…, or where it is kept, env:NAME or file:PATH")
    }
}

impl FromStr for StoreLocation {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let place = Place::read(text, &["sqlite:", "postgres://", "postgresql://"]);
        place.map(Self).ok_or("expected a book, sqlite:PATH or postgres://…, or where its URL is kept, env:NAME or file:PATH")
    }
}

impl fmt::Debug for NodeUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("NodeUrl(…)")
    }
}

impl fmt::Debug for StoreLocation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("StoreLocation(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(location: &str) -> String {
        let location: StoreLocation = location.parse().unwrap();
        location.resolve(Path::new("/etc/farthing")).map_or_else(|error| format!("{error:#}"), |url| url.to_string())
    }

    #[test]
    fn a_relative_book_is_beside_the_configuration_however_it_is_written() {
        assert_eq!(shown("sqlite:book.db"), "sqlite:/etc/farthing/book.db");
        assert_eq!(shown("sqlite://book.db"), "sqlite:/etc/farthing/book.db");
        assert_eq!(shown("sqlite:///var/book.db"), "sqlite:/var/book.db");
        assert_eq!(shown("postgres://farthing:hunter2@db/books"), "postgres://farthing@db/books");
    }

    #[test]
    fn what_is_no_book_is_refused_before_a_folder_is_put_before_it() {
        assert!(shown("sqlite:").contains("the path is missing"));
        assert!(shown("sqlite::memory:").contains("name a file"));
        assert!(shown("env:NO_SUCH_BOOK").contains("NO_SUCH_BOOK is not set"));
        assert!("mysql://db/books".parse::<StoreLocation>().is_err());
    }

    #[test]
    fn neither_is_ever_shown() {
        let node = NodeUrl::from_str("https://node.example/secret").unwrap();
        let book = StoreLocation::from_str("postgres://farthing:secret@db/books").unwrap();
        assert!(!format!("{node:?}{book:?}").contains("secret"));
    }
}
