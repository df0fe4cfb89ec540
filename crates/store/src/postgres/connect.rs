//! A connection to the server: where it is, TLS, and what every session is set to.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{Client, Config, SimpleQueryMessage, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::failure;
use crate::error::{Failure, StoreError};
use crate::store::Access;
use crate::url::PostgresUrl;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the server may take to greet, on top of that.
const GREETING_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the network may be silent before a connection counts as lost.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// The same for the connection that keeps the node alive: well below the time for which it stays so.
const BEAT_SILENCE_MAX: Duration = Duration::from_secs(4);

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
    /// What no other connection is called, ever.
    pub name: String,
    /// How many transactions it has begun that write.
    pub writes: u64,
    task: AbortHandle,
}

impl Drop for Connection {
    /// Closes it at once, also where an answer is still due: by itself it would wait for that, and the server with it.
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Connector {
    /// Reads the URL. Beside what libpq and tokio-postgres know, `sslrootcert` names a file with the authorities that
    /// the server's certificate may come from.
    pub fn new(url: &PostgresUrl, access: Access) -> Result<Self, StoreError> {
        let (url_text, authorities, says_mode) = split(url)?;
        // The parser's errors may quote the URL, and so the password.
        let parsed = url_text.parse::<Config>();
        let mut config = parsed.map_err(|_| StoreError::Url(format!("{url:?}: an option or a part of it can't be read")))?;
        let mode = match (config.get_ssl_mode(), is_on_this_machine(&config)) {
            // In the clear only where nobody can listen, or where somebody has said so.
            (SslMode::Disable, _) => SslMode::Disable,
            (_, true) if !says_mode => SslMode::Disable,
            (SslMode::Prefer, true) if authorities.is_none() => SslMode::Prefer,
            _ => SslMode::Require,
        };
        config.ssl_mode(mode);
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        config.application_name("farthing");
        let read_only = if access == Access::Read { "on" } else { "off" };
        let session = format!(
            "SET search_path TO {SCHEMA}; SET statement_timeout = {STATEMENT_TIMEOUT_MILLISECONDS}; \
             SET idle_in_transaction_session_timeout = {STATEMENT_TIMEOUT_MILLISECONDS}; \
             SET default_transaction_read_only = {read_only}; SELECT gen_random_uuid()::text"
        );
        Ok(Self { config, tls: tls(authorities.as_deref())?, session })
    }

    /// Connects.
    pub async fn connect(&self) -> Result<Connection, Failure> {
        self.connect_within(SILENCE_MAX).await
    }

    /// Connects for a node's beat.
    pub async fn connect_to_beat(&self) -> Result<Connection, Failure> {
        self.connect_within(BEAT_SILENCE_MAX).await
    }

    async fn connect_within(&self, silence_max: Duration) -> Result<Connection, Failure> {
        let limit = self.config.get_connect_timeout().copied().unwrap_or(CONNECT_TIMEOUT).saturating_add(GREETING_TIMEOUT);
        let too_slow = |_| Failure::lost(format!("the database did not take a connection within {} s", limit.as_secs()));
        timeout(limit, self.greet(silence_max)).await.map_err(too_slow)?
    }

    async fn greet(&self, silence_max: Duration) -> Result<Connection, Failure> {
        let mut config = self.config.clone();
        config.tcp_user_timeout(silence_max).keepalives_idle(silence_max);
        let (client, connection) = config.connect(self.tls.clone()).await.map_err(|error| failure(&error))?;
        // It ends with the client, whose next statement learns why.
        let task = tokio::spawn(async move {
            connection.await.inspect_err(|error| tracing::debug!("a database connection ended: {error}"))
        });
        let task = task.abort_handle();
        let messages = client.simple_query(&self.session).await.map_err(|error| failure(&error))?;
        let name = messages.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        });
        let name = name.ok_or_else(|| Failure::new("the database gives its connections no names"))?;
        Ok(Connection { client, statements: HashMap::new(), name, writes: 0, task })
    }
}

/// Takes our own options out: what is left of the URL, the authorities' file, and whether anything was said about TLS.
/// Authorities alone ask for it.
fn split(url: &PostgresUrl) -> Result<(String, Option<String>, bool), StoreError> {
    let mut parsed = url::Url::parse(&url.text).map_err(|_| StoreError::Url(format!("{url:?} can't be read")))?;
    let mut authorities = None;
    let mut rest = Vec::new();
    for (name, value) in parsed.query_pairs() {
        match (&*name, &*value) {
            ("sslrootcert", file) => authorities = Some(file.to_owned()),
            // The certificate is always verified.
            ("sslmode", "verify-full" | "verify-ca") => rest.push(("sslmode".to_owned(), "require".to_owned())),
            _ => rest.push((name.into_owned(), value.into_owned())),
        }
    }
    let says_mode = authorities.is_some() || rest.iter().any(|(name, _)| name == "sslmode");
    parsed.set_query(None);
    if !rest.is_empty() {
        parsed.query_pairs_mut().extend_pairs(rest);
    }
    Ok((parsed.into(), authorities, says_mode))
}

/// Whether nothing leaves this machine on the way to the server.
fn is_on_this_machine(config: &Config) -> bool {
    config.get_hosts().iter().all(is_this_machine) && config.get_hostaddrs().iter().all(IpAddr::is_loopback)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::url::StoreUrl;

    fn mode(url: &str) -> SslMode {
        let Ok(StoreUrl::Postgres(url)) = url.parse() else { panic!("{url} is a store") };
        Connector::new(&url, Access::Own).ok().unwrap().config.get_ssl_mode()
    }

    #[test]
    fn nothing_leaves_this_machine_in_the_clear_unless_somebody_says_so() {
        for (url, expected) in [
            ("postgres://db.example/books", SslMode::Require),
            ("postgres://192.0.2.1/books", SslMode::Require),
            ("postgres://localhost,db.example/books", SslMode::Require),
            ("postgres://localhost/books?hostaddr=192.0.2.1", SslMode::Require),
            ("postgres://db.example/books?sslmode=prefer", SslMode::Require),
            ("postgres://db.example/books?sslmode=verify-full", SslMode::Require),
            ("postgres://db.example/books?sslmode=disable", SslMode::Disable),
            ("postgres://localhost/books", SslMode::Disable),
            ("postgres://127.0.0.1/books", SslMode::Disable),
            ("postgres://[::1]/books", SslMode::Disable),
            ("postgres://%2Fvar%2Frun%2Fpostgresql/books", SslMode::Disable),
            ("postgres://localhost/books?sslmode=require", SslMode::Require),
            ("postgres://localhost/books?sslmode=prefer", SslMode::Prefer),
        ] {
            assert_eq!(mode(url), expected, "{url}");
        }
    }
}
