//! The `[gateway.discovery]` table: what the gateway tells machines about what it sells.

use std::str::FromStr;

use super::read::parsed;

/// The documents for machines: `/openapi.json`, `/.well-known/x402`, `/llms.txt`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Discovery {
    /// Whether there are any.
    pub enabled: bool,
    /// What the whole is called; the host of `public_url`, unless set.
    pub title: Option<String>,
    /// What is sold here, in a few sentences.
    pub description: Option<String>,
    /// Who answers questions: an address for mail, or a URL. Directories ask it who the owner is.
    pub contact: Option<String>,
    /// The version of what is sold.
    pub version: Option<String>,
    /// A description of the upstream's own, which is put into ours with prices.
    #[serde(deserialize_with = "source")]
    pub openapi: Option<OpenApi>,
}

/// Where the upstream's own `OpenAPI` is: `file:PATH`, or `upstream:/openapi.json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenApi {
    /// In a file, which this crate does not read by itself.
    File(String),
    /// At this path of the upstream.
    Upstream(String),
}

/// Why a text says nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("openapi: expected where the upstream's own OpenAPI is: \"upstream:/openapi.json\" or \"file:openapi.json\"")]
pub struct OpenApiError;

impl FromStr for OpenApi {
    type Err = OpenApiError;

    fn from_str(text: &str) -> Result<Self, OpenApiError> {
        match text.split_once(':') {
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.to_owned())),
            Some(("upstream", path)) if path.starts_with('/') => Ok(Self::Upstream(path.to_owned())),
            _ => Err(OpenApiError),
        }
    }
}

impl Default for Discovery {
    fn default() -> Self {
        Self { enabled: true, title: None, description: None, contact: None, version: None, openapi: None }
    }
}

fn source<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<OpenApi>, D::Error> {
    parsed(deserializer).map(Some)
}
