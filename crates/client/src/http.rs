//! The HTTP client: reqwest, and a payer.

use std::sync::Arc;
use std::time::Duration;

use farthing_core::time::Entropy;
use http::Method;

use crate::builder::ClientBuilder;
use crate::error::Error;
use crate::payer::Payer;
use crate::request::RequestBuilder;
use crate::terms::Terms;

/// An HTTP client that pays when it is asked to. Cheap to clone; clones share connections and ledger.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) http: reqwest::Client,
    pub(crate) payer: Payer,
    /// For the names of traces; without it none is begun here.
    pub(crate) entropy: Option<Arc<dyn Entropy>>,
    pub(crate) probe_timeout: Duration,
    pub(crate) paid_timeout: Duration,
}

impl Client {
    /// Starts building a client.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::new()
    }

    pub(crate) fn of(inner: Inner) -> Self {
        Self { inner: Arc::new(inner) }
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }

    /// A `GET` request.
    pub fn get(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::GET, url)
    }

    /// A `HEAD` request.
    pub fn head(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::HEAD, url)
    }

    /// A `POST` request.
    pub fn post(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::POST, url)
    }

    /// A `PUT` request.
    pub fn put(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::PUT, url)
    }

    /// A `PATCH` request.
    pub fn patch(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::PATCH, url)
    }

    /// A `DELETE` request.
    pub fn delete(&self, url: impl AsRef<str>) -> RequestBuilder {
        self.request(Method::DELETE, url)
    }

    /// A request by any method. What is wrong with the URL is said when it is sent.
    pub fn request(&self, method: Method, url: impl AsRef<str>) -> RequestBuilder {
        RequestBuilder::new(self.clone(), method, url.as_ref())
    }

    /// What a `GET` of that URL costs, and what this client makes of it. Pays nothing.
    pub async fn inspect(&self, url: impl AsRef<str>) -> Result<Terms, Error> {
        self.get(url).dry_run().await
    }

    /// The engine below, for other transports under the same limits.
    pub fn payer(&self) -> &Payer {
        &self.inner.payer
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Client").field("payer", &self.inner.payer).finish_non_exhaustive()
    }
}
