//! A gateway as the seller of a test: the same routes and prices as the shop's, said in a file, in front of an upstream that
//! knows nothing of payments, outlives every gateway, and counts how often it worked for whom.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as TaskContext, Poll};

use anyhow::Result;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router};
use farthing::server::Server;
use farthing_gateway::file::{self, Route};
use farthing_gateway::{Gateway, Materials, Upstream};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tower_service::Service;

use crate::payments::AMOUNT_ATOMIC;
use crate::seller::{report, used};
use crate::watched::Watch;

/// The shop's routes. A unit of what was used is the smallest unit of the token.
const ROUTES: &str = r#"
    route = [
      { match = "GET /reports/*", price = "$0.01" },
      { match = "GET /words/**", price = { each = "$0.000001", per = "atom", of = "response:/used", at_most = "$0.01" } },
    ]
"#;
/// What tells the upstream in which of its lives the gateway asks: its work says something else in each of them.
const LIFE: HeaderName = HeaderName::from_static("x-life");

/// The part of a gateway's file that is read here.
#[derive(Deserialize)]
struct File {
    gateway: file::Gateway,
    route: Vec<Route>,
}

/// Who does the work.
pub struct Origin {
    url: String,
    works: Works,
    serving: JoinHandle<()>,
}

/// How often it worked for each name.
type Works = Arc<Mutex<BTreeMap<String, u64>>>;

impl Origin {
    /// Opens it on a port of its own.
    pub async fn open() -> Result<Self> {
        let works = Works::default();
        let app = Router::new()
            .route("/reports/{name}", get(tell))
            .route("/words/{how_many}/{name}", get(count))
            .with_state(Arc::clone(&works));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let serving = tokio::spawn(async move {
            // One that stops early shows in the test that needs it.
            drop(axum::serve(listener, app).await);
        });
        Ok(Self { url, works, serving })
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// How often it has worked for that name.
    pub fn worked_for(&self, name: &str) -> u64 {
        self.works.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied().unwrap_or_default()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn work(works: &Works, name: &str) {
    let mut works = works.lock().unwrap_or_else(PoisonError::into_inner);
    let times = works.entry(name.to_owned()).or_default();
    *times = times.saturating_add(1);
}

async fn tell(State(works): State<Works>, Path(name): Path<String>) -> String {
    work(&works, &name);
    report(&name)
}

async fn count(State(works): State<Works>, Path((how_many, name)): Path<(String, String)>, headers: HeaderMap) -> Json<Value> {
    work(&works, &name);
    let life = headers.get(LIFE).and_then(|life| life.to_str().ok()?.parse().ok()).unwrap_or_default();
    Json(json!({"report": report(&name), "used": used(&how_many, &name, life).unwrap_or(AMOUNT_ATOMIC)}))
}

/// The routes, in that life of the gateway, with somebody who looks on before and after it asks the upstream.
pub fn routes(server: &Server, origin_url: &str, life: u64, watch: &Arc<dyn Watch>) -> Result<Router> {
    let File { gateway: settings, route } = toml::from_str(&format!("{ROUTES}\n[gateway]\nupstream = {origin_url:?}"))?;
    let materials = Materials { headers: vec![(LIFE, HeaderValue::from(life))], ..Materials::default() };
    let upstream = Upstream::new(settings.upstream.clone(), materials)?;
    let asked = Asked { upstream, watch: Arc::clone(watch) };
    Ok(Gateway::new(server.clone(), asked, settings, &route)?.router())
}

/// An upstream with somebody who looks on.
#[derive(Clone)]
struct Asked {
    upstream: Upstream,
    watch: Arc<dyn Watch>,
}

impl Service<Request> for Asked {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _context: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let (mut upstream, watch) = (self.upstream.clone(), Arc::clone(&self.watch));
        Box::pin(async move {
            watch.before("work");
            let answer = upstream.call(request).await;
            watch.after("work");
            answer
        })
    }
}
