//! A facilitator whose answers get lost, or who is never asked: what stands between it and the gateway sees to that.

use std::future::pending;
use std::sync::{Arc, Mutex, OnceLock};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;

const MAX_BODY_BYTES: usize = 1 << 20;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    ClosesBeforeVerifying,
    HangsBeforeVerifying,
    ClosesBeforeSettling,
    ClosesAfterSettling,
    HangsAfterSettling,
    SaysNonsenseAfterSettling,
}

#[derive(Clone)]
pub struct Between {
    facilitator_url: Arc<OnceLock<String>>,
    fault: Arc<Mutex<Option<Fault>>>,
    http: reqwest::Client,
}

impl Between {
    pub fn new(facilitator_url: &str, fault: Option<Fault>) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = OnceLock::from(facilitator_url.to_owned());
        Self { facilitator_url: Arc::new(url), fault: Arc::new(Mutex::new(fault)), http }
    }

    pub fn router(&self) -> Router {
        Router::new().fallback(pass).with_state(self.clone())
    }

    /// From now on nothing goes wrong.
    pub fn is_well(&self) {
        *self.fault.lock().unwrap() = None;
    }

    async fn ask(&self, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let body = to_bytes(body, MAX_BODY_BYTES).await.unwrap();
        let url = format!("{}{}", self.facilitator_url.get().unwrap(), parts.uri.path());
        let asked = self.http.request(parts.method, url).header("content-type", "application/json").body(body);
        let answer = asked.send().await.unwrap();
        let status = answer.status();
        (status, [("content-type", "application/json")], answer.bytes().await.unwrap()).into_response()
    }
}

async fn pass(State(between): State<Between>, request: Request) -> Response {
    let fault = *between.fault.lock().unwrap();
    let path = request.uri().path().to_owned();
    match (path.as_str(), fault) {
        ("/verify", Some(Fault::ClosesBeforeVerifying)) | ("/settle", Some(Fault::ClosesBeforeSettling)) => closes(),
        ("/verify", Some(Fault::HangsBeforeVerifying)) => pending().await,
        ("/settle", Some(fault)) => {
            let _told_to_nobody = between.ask(request).await;
            match fault {
                Fault::HangsAfterSettling => pending().await,
                Fault::SaysNonsenseAfterSettling => (StatusCode::BAD_GATEWAY, "<h1>Bad gateway</h1>").into_response(),
                _ => closes(),
            }
        }
        _ => between.ask(request).await,
    }
}

/// An answer of which the body never comes: the connection is closed in its place.
fn closes() -> Response {
    let broken = futures_util::stream::once(async { Err::<&str, _>(std::io::Error::other("closed")) });
    Response::builder().header("content-type", "application/json").body(Body::from_stream(broken)).unwrap()
}
