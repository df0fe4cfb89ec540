//! The `[gateway.tls]` table: by which certificate clients know the gateway.

use super::Reference;

/// A certificate and its key, by where they are kept. Whoever listens fetches them, and does so again when told to.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// PEM: the certificate of the gateway itself, then those that lead to an authority.
    pub certificate: Reference,
    /// PEM: the certificate's private key.
    pub key: Reference,
}
