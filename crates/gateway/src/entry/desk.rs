//! What all routes need to know who comes: keys, tokens, the book of quotas, the screening.

use std::fmt;
use std::sync::Arc;

use farthing_core::books::{Passes, Quotas};
use farthing_core::time::Clock;
use http::{HeaderName, HeaderValue};
use zeroize::Zeroizing;

use super::keys::Keys;
use super::passes::PassBook;
use super::screening::Screening;
use super::tokens::{MIN_SECRET_BYTES, Tokens};
use crate::file;

/// What the configuration refers to, resolved by whoever may read files and the environment.
#[derive(Default)]
pub struct DeskMaterials {
    /// The time.
    pub clock: Option<Arc<dyn Clock>>,
    /// Where free requests, and shared rate limits, are counted.
    pub quotas: Option<Arc<dyn Quotas>>,
    /// What was bought for later.
    pub passes: Option<Arc<dyn Passes>>,
    /// The text of `[gateway.keys]`' file.
    pub key_file: Option<String>,
    /// The secret of `[gateway.tokens]`.
    pub token_secret: Option<Zeroizing<String>>,
    /// The text of `[gateway.tokens]`' key set.
    pub key_set: Option<String>,
    /// The text of `[gateway.screening]`'s list.
    pub screening_list: Option<String>,
    /// Where `[gateway.screening]` asks.
    pub screening_url: Option<String>,
    /// What it asks with in `Authorization`.
    pub screening_authorization: Option<HeaderValue>,
}

/// What all routes need to know who comes. Made anew whenever the files that it is made of are read anew.
#[derive(Default)]
pub struct Desk {
    pub(crate) clock: Option<Arc<dyn Clock>>,
    pub(crate) quotas: Option<Arc<dyn Quotas>>,
    pub(crate) passes: Option<Arc<dyn Passes>>,
    pub(crate) keys: Option<Keys>,
    pub(crate) tokens: Option<Tokens>,
    pub(crate) screening: Option<Screening>,
}

/// Why nobody can be told apart as the configuration says.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// A key's digest is none. The text is not repeated: it may be the key itself.
    #[error("keys: {place}: {why}")]
    Key {
        /// Whose.
        place: String,
        /// What was expected.
        why: &'static str,
    },
    /// Nobody has a key.
    #[error("keys: expected subscribers or a file, got none, so that no key would open anything")]
    NoKeys,
    /// A secret that could be guessed.
    #[error("tokens.secret: expected at least {MIN_SECRET_BYTES} bytes for HS256; make one with `openssl rand -hex 32`")]
    ShortSecret,
    /// Tokens could not be believed.
    #[error("tokens: {0}")]
    TokenKey(&'static str),
    /// Nobody could tell a key from a token.
    #[error("keys and tokens both stand in {0}; set header of one of them to another name")]
    SameHeader(HeaderName),
    /// Nobody would be found.
    #[error("screening: {0}")]
    Screening(&'static str),
}

impl Desk {
    /// A desk for these settings.
    pub fn new(settings: &file::Gateway, materials: &DeskMaterials) -> Result<Self, DeskError> {
        let DeskMaterials { clock, quotas, passes, key_file, token_secret, key_set, .. } = materials;
        let keys = settings.keys.as_ref().map(|table| Keys::new(table, key_file.as_deref())).transpose()?;
        let secret = token_secret.as_ref().map(|secret| secret.as_bytes());
        let tokens = settings.tokens.as_ref().map(|table| Tokens::new(table, secret, key_set.as_deref())).transpose()?;
        if let (Some(keys), Some(tokens)) = (&keys, &tokens)
            && keys.header == tokens.header
        {
            return Err(DeskError::SameHeader(keys.header.clone()));
        }
        let screening = settings.screening.as_ref().map(|table| Screening::new(table, materials)).transpose()?;
        Ok(Self { clock: clock.clone(), quotas: quotas.clone(), passes: passes.clone(), keys, tokens, screening })
    }
}

impl Desk {
    pub(crate) fn pass_book(&self) -> Option<PassBook> {
        let (passes, clock) = self.passes.as_ref().zip(self.clock.as_ref())?;
        Some(PassBook { passes: Arc::clone(passes), clock: Arc::clone(clock) })
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Desk").finish_non_exhaustive()
    }
}
