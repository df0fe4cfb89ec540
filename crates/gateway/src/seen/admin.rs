//! The listener for whoever runs the gateway: `/metrics`, `/healthz`, `/readyz`, the page and what feeds it.
//!
//! It only tells, and takes nothing but GET. Who may look:
//!
//! 1. Without a key, whoever is on this machine. The listener is on loopback then, and a request must name a host that is an IP
//!    address or `localhost`: a site elsewhere, whose name was made to lead here, is turned away with its scripts.
//! 2. With a key, whoever shows it: `Authorization: Bearer KEY`, or the password of HTTP's basic login, as browsers ask for it.
//! 3. `/healthz` and `/readyz` say nothing but whether all is well, to everybody who gets there.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use farthing_core::BoxFuture;
use farthing_core::books::{SaleQuery, Sales};
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, HOST, HeaderMap, HeaderName, HeaderValue, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{StatusCode, Version};
use serde::Serialize;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{Seen, api, page};
use crate::problem::Problem;

const REALM: HeaderValue = HeaderValue::from_static("Basic realm=\"farthing gateway\", charset=\"UTF-8\"");
/// The longest login that is looked at, in bytes.
const MAX_LOGIN_BYTES: usize = 4_096;

/// What only whoever put the gateway together knows.
pub trait Surroundings: Send + Sync {
    /// Where the upstream is, and whether requests are let through to it.
    fn upstream(&self) -> UpstreamState;

    /// What keeps the gateway from selling right now, a line each, besides its book and its upstream.
    fn not_ready(&self) -> BoxFuture<'_, Vec<String>> {
        Box::pin(std::future::ready(Vec::new()))
    }

    /// The accounts that pay for gas, where this process settles for itself; none otherwise.
    fn sponsors(&self) -> BoxFuture<'_, Vec<Sponsor>> {
        Box::pin(std::future::ready(Vec::new()))
    }
}

/// The server behind the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UpstreamState {
    /// Its origin, without what may be secret.
    pub origin: String,
    /// Whether requests are let through to it.
    pub is_up: bool,
}

/// An account that pays for gas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sponsor {
    /// Where.
    pub network: String,
    /// Which.
    pub account: String,
    /// What it holds of the network's coin, in whole coins; none if that could not be asked.
    pub balance: Option<String>,
    /// Below how much it is low, in whole coins; none if nobody has said.
    pub low_mark: Option<String>,
    /// Whether it is low, or holds nothing.
    pub is_low: bool,
}

/// All that the listener tells of.
pub struct Admin {
    /// What the gateway has seen.
    pub seen: Seen,
    /// What it has sold.
    pub sales: Arc<dyn Sales>,
    /// What is around it.
    pub surroundings: Arc<dyn Surroundings>,
    /// What whoever looks must show; nothing, on loopback.
    pub key: Option<Zeroizing<String>>,
}

impl Admin {
    /// The app, with these endpoints besides, such as `/metrics`, under the same lock.
    pub fn router(self, more: Router) -> Router {
        let key = Arc::new(self.key.clone());
        let shared = Arc::new(self);
        let open = Router::new()
            .route("/healthz", get(|| std::future::ready("alive\n")))
            .route("/readyz", get(ready))
            .with_state(Arc::clone(&shared));
        let locked = Router::new().route("/", get(page::page)).merge(api::router(shared)).merge(more);
        let locked = locked.fallback(nothing).layer(from_fn_with_state(key, guard));
        open.merge(locked).layer(axum::middleware::from_fn(mark))
    }

    async fn not_ready(&self) -> Vec<String> {
        let mut missing = Vec::new();
        if self.sales.list(&SaleQuery { limit: 1, ..SaleQuery::default() }).await.is_err() {
            missing.push("the book cannot be read".to_owned());
        }
        if !self.surroundings.upstream().is_up {
            missing.push("the upstream is down".to_owned());
        }
        missing.extend(self.surroundings.not_ready().await);
        missing
    }
}

async fn ready(State(admin): State<Arc<Admin>>) -> Response {
    let missing = admin.not_ready().await;
    if missing.is_empty() {
        return "ready\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {}\n", missing.join("; "))).into_response()
}

async fn nothing() -> Response {
    let message = "there are /, /metrics, /healthz, /readyz, and under /api/: status, revenue, requests, sales, open";
    Problem::new(StatusCode::NOT_FOUND, "not_found", message).answer(Version::HTTP_2)
}

/// Lets in who may look.
async fn guard(State(key): State<Arc<Option<Zeroizing<String>>>>, request: Request, next: Next) -> Response {
    match may_look(key.as_ref().as_ref(), request.headers(), request.uri().host()) {
        Ok(()) => next.run(request).await,
        Err(problem) => {
            let is_locked = problem.status() == StatusCode::UNAUTHORIZED;
            let mut answer = problem.answer(request.version());
            if is_locked {
                answer.headers_mut().insert(WWW_AUTHENTICATE, REALM);
            }
            answer
        }
    }
}

fn may_look(key: Option<&Zeroizing<String>>, headers: &HeaderMap, authority: Option<&str>) -> Result<(), Problem> {
    let Some(key) = key else {
        let host = headers.get(HOST).and_then(|host| host.to_str().ok()).map(without_port).or(authority).unwrap_or_default();
        let message = "Host: expected an IP address or localhost, as this listener is for this machine alone; set gateway.admin.key to \
                       reach it by a name";
        return if is_own(host) { Ok(()) } else { Err(Problem::new(StatusCode::FORBIDDEN, "foreign_host", message)) };
    };
    let is_shown = shown(headers).is_some_and(|shown| bool::from(shown.as_bytes().ct_eq(key.as_bytes())));
    let message = "Authorization: expected the key of [gateway.admin], as a bearer token or as the password of a basic login";
    if is_shown { Ok(()) } else { Err(Problem::new(StatusCode::UNAUTHORIZED, "key_needed", message)) }
}

/// The key that is shown.
fn shown(headers: &HeaderMap) -> Option<Zeroizing<String>> {
    let line = headers.get(AUTHORIZATION)?.to_str().ok().filter(|line| line.len() <= MAX_LOGIN_BYTES)?;
    let (kind, rest) = line.split_once(' ')?;
    if kind.eq_ignore_ascii_case("bearer") {
        return Some(Zeroizing::new(rest.trim().to_owned()));
    }
    let login = kind.eq_ignore_ascii_case("basic").then(|| STANDARD.decode(rest.trim()).ok())??;
    let login = Zeroizing::new(String::from_utf8(login).ok()?);
    login.split_once(':').map(|(_, password)| Zeroizing::new(password.to_owned()))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Whether a host is one that no other site can have.
fn is_own(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare.parse::<IpAddr>().is_ok() || bare.eq_ignore_ascii_case("localhost")
}

/// What every answer says: nobody keeps it, and no other site reads it.
async fn mark(request: Request, next: Next) -> Response<Body> {
    let mut answer = next.run(request).await;
    let headers = answer.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(key: Option<&str>, headers: &[(&'static str, &str)]) -> u16 {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        let key = key.map(|key| Zeroizing::new(key.to_owned()));
        may_look(key.as_ref(), &map, None).map_or_else(|problem| problem.status().as_u16(), |()| 200)
    }

    #[test]
    fn without_a_key_only_this_machine_is_named() {
        for (host, status) in [
            ("127.0.0.1:4021", 200),
            ("localhost:4021", 200),
            ("LOCALHOST", 200),
            ("[::1]:4021", 200),
            ("[::1]", 200),
            ("evil.example", 403),
            ("evil.example:4021", 403),
            ("127.0.0.1.evil.example", 403),
            ("", 403),
        ] {
            assert_eq!(looks(None, &[("host", host)]), status, "{host}");
        }
        assert_eq!(looks(None, &[]), 403);
    }

    #[test]
    fn a_key_is_shown_as_a_token_or_as_a_password() {
        let basic = |login: &str| format!("Basic {}", STANDARD.encode(login));
        for (line, status) in [
            ("Bearer s3cret".to_owned(), 200),
            ("bearer s3cret".to_owned(), 200),
            (basic("me:s3cret"), 200),
            (basic(":s3cret"), 200),
            (basic("s3cret"), 401),
            (basic("me:s3cret "), 401),
            ("Bearer s3cre".to_owned(), 401),
            ("Basic ???".to_owned(), 401),
            ("s3cret".to_owned(), 401),
        ] {
            assert_eq!(looks(Some("s3cret"), &[("host", "evil.example"), ("authorization", &line)]), status, "{line}");
        }
        assert_eq!(looks(Some("s3cret"), &[("host", "127.0.0.1")]), 401);
    }
}
