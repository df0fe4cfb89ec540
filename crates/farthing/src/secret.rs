//! Secrets by reference: `env:NAME` or `file:PATH`. A secret itself is never written into configuration or on a
//! command line, and never printed.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use zeroize::Zeroizing;

/// Where a secret is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretRef {
    /// In an environment variable.
    Env(String),
    /// In a file, whole; white space at both ends is ignored.
    File(PathBuf),
}

/// Why a secret could not be had. Never says what the secret is.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The text is no reference. It is not shown, since it may be the secret itself.
    #[error("expected where the secret is kept, such as \"env:NAME\" or \"file:PATH\"; a secret itself does not belong here")]
    NotAReference,
    /// The environment variable is not set, or is empty.
    #[error("the environment variable {0} is not set")]
    NoVariable(String),
    /// The file cannot be read.
    #[error("the file {} cannot be read", path.display())]
    NoFile {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl SecretRef {
    /// Fetches the secret.
    pub fn resolve(&self) -> Result<Zeroizing<String>, SecretError> {
        let text = match self {
            Self::Env(name) => {
                let value = std::env::var(name).ok().filter(|value| !value.is_empty());
                value.ok_or_else(|| SecretError::NoVariable(name.clone()))?
            }
            Self::File(path) => {
                std::fs::read_to_string(path).map_err(|source| SecretError::NoFile { path: path.clone(), source })?
            }
        };
        let text = Zeroizing::new(text);
        Ok(Zeroizing::new(text.trim().to_owned()))
    }
}

impl FromStr for SecretRef {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, SecretError> {
        match text.split_once(':') {
            Some(("env", name)) if !name.is_empty() => Ok(Self::Env(name.to_owned())),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            _ => Err(SecretError::NotAReference),
        }
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(formatter, "env:{name}"),
            Self::File(path) => write!(formatter, "file:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_in_place_of_a_reference_is_refused_and_not_repeated() {
        let secret = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
        let error = secret.parse::<SecretRef>().unwrap_err();
        assert!(!error.to_string().contains("ac0974"), "{error}");
        assert!("env:".parse::<SecretRef>().is_err());
        assert!("keystore:agent".parse::<SecretRef>().is_err());
    }

    #[test]
    fn a_file_is_read_without_its_line_end() {
        let path = std::env::temp_dir().join(format!("farthing-secret-{}", std::process::id()));
        std::fs::write(&path, "s3cret\n").unwrap();
        let secret = SecretRef::File(path.clone()).resolve().unwrap();
        std::fs::remove_file(path).unwrap();
        assert_eq!(&*secret, "s3cret");
    }

    #[test]
    fn a_missing_variable_is_named() {
        let error = "env:FARTHING_NOT_SET_ANYWHERE".parse::<SecretRef>().unwrap().resolve().unwrap_err();
        assert!(error.to_string().contains("FARTHING_NOT_SET_ANYWHERE"));
    }
}
