//! A connection to the server: where it is, TLS, and what every session is set to.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{Client, Config, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::failure;
use crate::error::{Failure, StoreError};
use crate::store::Access;
use crate::url::PostgresUrl;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the network may be silent before a connection counts as lost.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// How long one statement may take, in milliseconds; a wait for a lock included.
const STATEMENT_TIMEOUT_MILLISECONDS: u32 = 15_000;

/// The schema that holds our tables.
pub const SCHEMA: &str = "farthing";

/// How to connect.
pub struct Connector {
    config: Config,
    tls: MakeRustlsConnect,
    session: String,
}

/// A connection, with the statements that were prepared on it.
pub struct Connection {
    /// The client.
    pub client: Client,
    /// By their text.
    pub statements: HashMap<String, Statement>,
}

impl Connector {
    /// Reads the URL. Beside what libpq and tokio-postgres know, `sslrootcert` names a file with the authorities that
    /// the server's certificate may come from.
    pub fn new(url: &PostgresUrl, access: Access) -> Result<Self, StoreError> {
        let (url_text, authorities, asks_for_tls) = split(url)?;
        // The parser's errors may quote the URL, and so the password.
        let parsed = url_text.parse::<Config>();
        let mut config = parsed.map_err(|_| StoreError::Url(format!("{url:?}: an option or a part of it can't be read")))?;
        if !asks_for_tls && config.get_hosts().iter().all(is_this_machine) {
            config.ssl_mode(SslMode::Disable);
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        config.tcp_user_timeout(SILENCE_MAX).keepalives_idle(SILENCE_MAX).application_name("farthing");
        let read_only = if access == Access::Read { "on" } else { "off" };
        let session = format!(
            "SET search_path TO {SCHEMA}; SET statement_timeout = {STATEMENT_TIMEOUT_MILLISECONDS}; \
             SET idle_in_transaction_session_timeout = {STATEMENT_TIMEOUT_MILLISECONDS}; \
             SET default_transaction_read_only = {read_only}"
        );
        Ok(Self { config, tls: tls(authorities.as_deref())?, session })
    }

    /// Connects.
    pub async fn connect(&self) -> Result<Connection, Failure> {
        let (client, connection) = self.config.connect(self.tls.clone()).await.map_err(|error| failure(&error))?;
        // It ends with the client, whose next statement learns why.
        tokio::spawn(
            async move { connection.await.inspect_err(|error| tracing::debug!("a database connection ended: {error}")) },
        );
        client.batch_execute(&self.session).await.map_err(|error| failure(&error))?;
        Ok(Connection { client, statements: HashMap::new() })
    }
}

/// Takes our own options out: what is left of the URL, the authorities' file, and whether anything was said about TLS.
fn split(url: &PostgresUrl) -> Result<(String, Option<String>, bool), StoreError> {
    let mut parsed = url::Url::parse(&url.text).map_err(|_| StoreError::Url(format!("{url:?} can't be read")))?;
    let mut authorities = None;
    let mut asks_for_tls = false;
    let mut rest = Vec::new();
    for (name, value) in parsed.query_pairs() {
        match (&*name, &*value) {
            ("sslrootcert", file) => authorities = Some(file.to_owned()),
            // The certificate is always verified.
            ("sslmode", "verify-full" | "verify-ca") => rest.push(("sslmode".to_owned(), "require".to_owned())),
            _ => rest.push((name.into_owned(), value.into_owned())),
        }
    }
    asks_for_tls |= authorities.is_some() || rest.iter().any(|(name, _)| name == "sslmode");
    parsed.set_query(None);
    if !rest.is_empty() {
        parsed.query_pairs_mut().extend_pairs(rest);
    }
    Ok((parsed.into(), authorities, asks_for_tls))
}

fn is_this_machine(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()),
        #[cfg(unix)]
        Host::Unix(_) => true,
    }
}

fn tls(authorities: Option<&str>) -> Result<MakeRustlsConnect, StoreError> {
    let mut roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(file) = authorities {
        let bad = |cause: String| StoreError::Unavailable { what: format!("reading sslrootcert {file}"), cause };
        for certificate in CertificateDer::pem_file_iter(file).map_err(|error| bad(error.to_string()))? {
            let certificate = certificate.map_err(|error| bad(error.to_string()))?;
            roots.add(certificate).map_err(|error| bad(error.to_string()))?;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config =
        config.map_err(|error| StoreError::Unavailable { what: "setting up TLS".to_owned(), cause: error.to_string() })?;
    Ok(MakeRustlsConnect::new(config.with_root_certificates(roots).with_no_client_auth()))
}
