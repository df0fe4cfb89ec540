//! Listens between servers and their facilitator, and passes everything on as it is.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, ensure};
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use serde_json::Value;

use crate::service::Service;

/// Somebody who stands between.
pub struct Overheard {
    service: Service,
    listener: Listener,
    /// It must not end before those who ask it.
    _facilitator: Service,
}

#[derive(Clone)]
struct Listener {
    http: reqwest::Client,
    facilitator_url: Arc<str>,
    settlements: Arc<Mutex<Vec<Value>>>,
}

impl Overheard {
    /// Stands before a facilitator.
    pub async fn start(facilitator: Service) -> Result<Self> {
        let listener = Listener {
            // A connection that was idle may be closed by the other side just when it is used again.
            http: reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build()?,
            facilitator_url: facilitator.url().into(),
            settlements: Arc::default(),
        };
        let app = Router::new().fallback(pass_on).with_state(listener.clone());
        Ok(Self { service: crate::farthing::serve(app).await?, listener, _facilitator: facilitator })
    }

    /// Where the facilitator is reached through it.
    pub fn url(&self) -> &str {
        self.service.url()
    }

    /// What the facilitator has answered to `/settle` since the last time.
    pub fn settlements(&self) -> Vec<Value> {
        std::mem::take(&mut *self.listener.settlements.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn pass_on(State(listener): State<Listener>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    match listener.ask(method, &uri, &headers, body).await {
        Ok(response) => response,
        Err(error) => (StatusCode::BAD_GATEWAY, format!("{error:#}")).into_response(),
    }
}

impl Listener {
    async fn ask(&self, method: Method, uri: &Uri, headers: &HeaderMap, body: Bytes) -> Result<Response> {
        let mut request = self.http.request(method, format!("{}{uri}", self.facilitator_url)).body(body);
        if let Some(kind) = headers.get(CONTENT_TYPE) {
            request = request.header(CONTENT_TYPE, kind);
        }
        let answer = request.send().await?;
        let (status, kind) = (answer.status(), answer.headers().get(CONTENT_TYPE).cloned());
        let body = answer.bytes().await?;
        if uri.path() == "/settle" {
            let settlement = serde_json::from_slice(&body)?;
            self.settlements.lock().unwrap_or_else(PoisonError::into_inner).push(settlement);
        }
        ensure!(kind.is_some(), "the facilitator does not say what it answers");
        let mut response = (status, body).into_response();
        response.headers_mut().extend(kind.map(|kind| (CONTENT_TYPE, kind)));
        Ok(response)
    }
}
