//! TLS on this side: the certificate that clients know a server by, and the handshake with each of them.
//!
//! The files are read at the start and again when told to. Connections keep what they began with; a pair that cannot be used
//! leaves the one before it in force.

mod certificate;
mod handshake;

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::{Context, anyhow, bail};
use farthing::core::time::UnixSeconds;
use farthing::secret::SecretRef;
use farthing_gateway::file::{Reference, Tls};
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;

pub use self::certificate::Facts;
pub use self::handshake::handshake;

/// What clients may speak over TLS, the better first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// A certificate with its key, as it is now.
pub struct Certificates {
    files: Tls,
    current: Arc<Current>,
}

/// What each new connection gets.
struct Current(RwLock<Arc<CertifiedKey>>);

impl Certificates {
    /// Fetches both, and finds whatever makes them unusable together.
    pub fn load(files: &Tls) -> anyhow::Result<(Self, Facts)> {
        let (pair, facts) = fetch(files)?;
        let current = Arc::new(Current(RwLock::new(Arc::new(pair))));
        Ok((Self { files: files.clone(), current }, facts))
    }

    /// Fetches both anew, for the connections that come from now on. An error changes nothing; a certificate that has expired
    /// is one.
    pub fn reload(&self, now: UnixSeconds) -> anyhow::Result<Facts> {
        let (pair, facts) = fetch(&self.files)?;
        if facts.is_expired(now) {
            bail!("gateway.tls.certificate: expected one that is still good, got one that expired on {}", facts.last_day());
        }
        // Every change is one assignment, so a panic leaves nothing half done.
        *self.current.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(pair);
        Ok(facts)
    }

    /// Who shakes hands in its name: TLS 1.2 and 1.3, with HTTP/2 or HTTP/1.1 inside.
    pub fn acceptor(&self) -> anyhow::Result<TlsAcceptor> {
        let versions = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        let mut config = versions.with_no_client_auth().with_cert_resolver(Arc::<Current>::clone(&self.current));
        config.alpn_protocols = PROTOCOLS.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn fetch(files: &Tls) -> anyhow::Result<(CertifiedKey, Facts)> {
    let chain = read(&files.certificate, |pem| CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>());
    let chain: Vec<CertificateDer<'static>> = chain.context("gateway.tls.certificate")?;
    let Some(first) = chain.first() else {
        bail!("gateway.tls.certificate: expected PEM with a certificate (-----BEGIN CERTIFICATE-----), got none")
    };
    let facts = Facts::of(first).context("gateway.tls.certificate")?;
    // What is wrong with a key is not repeated: it might be the key.
    let key = read(&files.key, |pem| PrivateKeyDer::from_pem_slice(pem).map_err(|_| NotAKey)).context("gateway.tls.key")?;
    let pair = CertifiedKey::from_der(chain, key, &provider());
    let pair = pair.map_err(|error| anyhow!("gateway.tls: the certificate and the key cannot be used together: {error}"))?;
    Ok((pair, facts))
}

#[derive(Debug, thiserror::Error)]
#[error("expected PEM with a private key that has no password (-----BEGIN PRIVATE KEY-----), got something else")]
struct NotAKey;

fn read<T, E>(place: &Reference, parse: impl FnOnce(&[u8]) -> Result<T, E>) -> anyhow::Result<T>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let text = place.as_str().parse::<SecretRef>()?.resolve()?;
    Ok(parse(text.as_bytes())?)
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Current(…)")
    }
}

#[cfg(test)]
mod tests;
