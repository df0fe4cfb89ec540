//! The server behind the gateway, as a tower service.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use axum::body::Body;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use tower_service::Service;

use crate::body::Upload;
use crate::config::{Protocol, UpstreamConfig};
use crate::connector::{self, Connector};
use crate::forward::Forward;
use crate::health::Health;
use crate::hygiene;
use crate::path::{CanonicalPath, PathError};
use crate::slots::Slots;

/// hyper reads no heads into less.
const MIN_ANSWER_HEAD_BYTES: usize = 8 * 1024;

/// What the configuration refers to, resolved by whoever may read files and the environment.
#[derive(Default)]
pub struct Materials {
    /// Headers that are added to every request, such as the upstream's API key. They replace what a client sends under these
    /// names, and are marked sensitive: none is ever printed.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Certification authorities besides the public ones, for an upstream with a certificate of its own.
    pub roots: Vec<CertificateDer<'static>>,
}

/// Headers that one request takes to the upstream, put into its extensions by what is in front of it: who has paid, say.
/// They replace what a client sends under these names; this is the only way to send `farthing-*`.
#[derive(Clone, Debug, Default)]
pub struct AddedHeaders(pub HeaderMap);

/// Why an upstream cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// A header that is the connection's or the protocol's own.
    #[error("headers: {0} cannot be added: it belongs to the connection or to the payment protocol; choose another name")]
    Header(HeaderName),
    /// A health path with two readings.
    #[error("health: expected a path such as /healthz: {0}")]
    Health(#[from] PathError),
    /// Contradiction.
    #[error(
        "preserve_host: HTTP/2 in the clear tells the upstream its own name; use protocol = \"auto\" or drop preserve_host"
    )]
    PreserveHost,
    /// A limit that leaves no room.
    #[error("limits: {name}: expected at least {min}, got {got}")]
    Limit {
        /// The limit's name.
        name: &'static str,
        /// The least that makes sense.
        min: usize,
        /// What is configured.
        got: usize,
    },
    /// TLS, such as a root that is no certificate.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// A server behind the gateway. Cloning it is cheap; clones share connections, limits and health.
///
/// Every request is [inspected](crate::inspect()) first, whoever has done so before. A connection that upgrades needs
/// `serve_connection_with_upgrades` on our own side.
///
/// ```
/// use axum::Router;
/// use farthing_gateway::{Materials, Upstream, UpstreamConfig};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let config = UpstreamConfig::new("http://127.0.0.1:3000".parse()?);
/// let app: Router = Router::new().fallback_service(Upstream::new(config, Materials::default())?);
/// # drop(app);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Upstream(Arc<Forward>);

impl Upstream {
    /// Sets the connections up; none is made yet.
    pub fn new(config: UpstreamConfig, materials: Materials) -> Result<Self, UpstreamError> {
        check(&config)?;
        let roots = connector::roots(materials.roots)?;
        let is_h2c = config.protocol == Protocol::H2c && !config.url.is_https();
        // A name other than the URL's can be told in HTTP/1.1 only.
        let offers_http2 = config.protocol != Protocol::Http1 && !config.preserve_host;
        let client = client(&config, &roots, offers_http2, is_h2c)?;
        let upgrading_client = client_for_upgrades(&config, &roots)?;
        Ok(Self(Arc::new(Forward {
            client,
            upgrading_client,
            added: sensitive(materials.headers)?,
            sends_host: !is_h2c,
            requests: Slots::new(config.limits.max_requests),
            upgrades: Slots::new(config.limits.max_upgrades),
            health: Health::new(config.limits.down),
            config,
        })))
    }

    /// What it was set up with.
    #[must_use]
    pub fn config(&self) -> &UpstreamConfig {
        &self.0.config
    }

    /// How many requests are under way, bodies and upgraded connections included.
    #[must_use]
    pub fn requests_under_way(&self) -> usize {
        self.0.requests.taken().saturating_add(self.0.upgrades.taken())
    }

    /// Whether requests are let through to it: it could be reached, and its health path does not say otherwise.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.0.health.check().is_ok()
    }

    /// Asks the health path, again and again, until the upstream is dropped. Spawn it once; without a health path it ends at
    /// once.
    pub fn watch(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        let interval = self.0.config.limits.health_interval;
        let upstream = if self.0.config.health.is_some() { Arc::downgrade(&self.0) } else { Weak::new() };
        async move {
            while let Some(upstream) = Weak::upgrade(&upstream) {
                upstream.ask_health().await;
                drop(upstream);
                tokio::time::sleep(interval).await;
            }
        }
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Upstream").field("origin", &self.0.config.url.origin()).finish_non_exhaustive()
    }
}

impl Service<Request<Body>> for Upstream {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let upstream = Arc::clone(&self.0);
        let version = request.version();
        Box::pin(async move { Ok(upstream.forward(request).await.unwrap_or_else(|problem| problem.answer(version))) })
    }
}

fn check(config: &UpstreamConfig) -> Result<(), UpstreamError> {
    if let Some(path) = &config.health {
        CanonicalPath::parse(path)?;
    }
    if config.preserve_host && config.protocol == Protocol::H2c {
        return Err(UpstreamError::PreserveHost);
    }
    let limits = &config.limits;
    for (name, min, got) in [
        ("max_answer_head_bytes", MIN_ANSWER_HEAD_BYTES, limits.max_answer_head_bytes),
        ("max_requests", 1, limits.max_requests),
        ("max_header_bytes", 1, limits.max_header_bytes),
    ] {
        if got < min {
            return Err(UpstreamError::Limit { name, min, got });
        }
    }
    Ok(())
}

fn sensitive(headers: Vec<(HeaderName, HeaderValue)>) -> Result<Vec<(HeaderName, HeaderValue)>, UpstreamError> {
    let mark = |(name, mut value): (HeaderName, HeaderValue)| {
        if hygiene::is_reserved(&name) {
            return Err(UpstreamError::Header(name));
        }
        value.set_sensitive(true);
        Ok((name, value))
    };
    headers.into_iter().map(mark).collect()
}

fn client(
    config: &UpstreamConfig,
    roots: &Arc<RootCertStore>,
    offers_http2: bool,
    is_h2c: bool,
) -> Result<Client<Connector, Upload>, rustls::Error> {
    let limits = &config.limits;
    let connector = Connector::new(Arc::clone(roots), offers_http2, limits.connect_timeout)?;
    Ok(Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(limits.idle_connection_timeout)
        .pool_max_idle_per_host(limits.max_idle_connections)
        .http1_max_buf_size(limits.max_answer_head_bytes)
        .http2_max_header_list_size(u32::try_from(limits.max_answer_head_bytes).unwrap_or(u32::MAX))
        .http2_keep_alive_interval(limits.body_timeout / 2)
        .http2_only(is_h2c)
        .set_host(false)
        .build(connector))
}

/// Upgrades are of HTTP/1.1 alone, and none of their connections is used again.
fn client_for_upgrades(
    config: &UpstreamConfig,
    roots: &Arc<RootCertStore>,
) -> Result<Client<Connector, Upload>, rustls::Error> {
    let connector = Connector::new(Arc::clone(roots), false, config.limits.connect_timeout)?;
    Ok(Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(0)
        .http1_max_buf_size(config.limits.max_answer_head_bytes)
        .set_host(false)
        .build(connector))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_seller_adds_is_never_printed() {
        let key = (HeaderName::from_static("x-api-key"), HeaderValue::from_static("the-sellers-own-key"));
        assert!(!format!("{:?}", sensitive(vec![key]).unwrap()).contains("the-sellers-own-key"));
    }
}
