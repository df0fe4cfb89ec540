//! One request, from the gateway's door to the upstream and back.

use std::error::Error;
use std::sync::Arc;

use axum::body::Body;
use http::header::{CONNECTION, HOST, HeaderMap, HeaderValue, TE, UPGRADE};
use http::uri::PathAndQuery;
use http::{HeaderName, Request, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::client::legacy::{Client, Error as ClientError};

use crate::body::{Download, Fault, Progress, Upload};
use crate::config::UpstreamConfig;
use crate::connector::Connector;
use crate::forwarded::{self, Peer};
use crate::health::Health;
use crate::inspect::inspect;
use crate::problem::Problem;
use crate::slots::{Slot, Slots};
use crate::upstream::AddedHeaders;
use crate::{hygiene, tunnel};

/// When a client whose request met a limit or a failure should come back, in seconds.
const RETRY_AFTER_SECONDS: u64 = 2;

/// How many headers the gateway adds to a request, so that they are given room once.
const ADDED_HEADERS: usize = 7;

/// Everything that one request needs on its way.
pub(crate) struct Forward {
    pub(crate) config: UpstreamConfig,
    pub(crate) client: Client<Connector, Upload>,
    pub(crate) upgrading_client: Client<Connector, Upload>,
    pub(crate) added: Vec<(HeaderName, HeaderValue)>,
    /// Whether the upstream is told a host in a header; in the clear HTTP/2 takes it from the URL.
    pub(crate) sends_host: bool,
    pub(crate) requests: Slots,
    pub(crate) upgrades: Slots,
    pub(crate) health: Health,
}

/// A connection that its client wants to go on in another protocol.
struct Asked<'a> {
    protocol: &'a str,
    client: OnUpgrade,
    place: Slot,
}

/// Why there is no head of an answer.
enum NoHead {
    Failed(ClientError),
    TooLate,
}

impl Forward {
    /// The upstream's answer, or why there is none.
    pub(crate) async fn forward(&self, mut request: Request<Body>) -> Result<Response<Body>, Problem> {
        inspect(&request, &self.config.limits)?;
        self.check_length(&request)?;
        self.health.check()?;
        let place = self.requests.take().ok_or_else(|| busy("requests"))?;
        let asked = self.asked_upgrade(&mut request)?;
        let (outgoing, progress) = self.outgoing(request, asked.as_ref().map(|asked| asked.protocol))?;
        let client = if asked.is_some() { &self.upgrading_client } else { &self.client };
        match self.head(client, outgoing, progress.as_deref()).await {
            Ok(answer) => {
                self.health.reached();
                self.incoming(answer, asked, place)
            }
            Err(reason) => Err(self.problem(&reason, progress.as_deref())),
        }
    }

    /// Asks the health path once.
    pub(crate) async fn ask_health(&self) {
        let Some(path) = &self.config.health else { return };
        let mut request = Request::new(Upload::empty());
        let Ok(target) = path.parse().and_then(|path: PathAndQuery| self.upstream_uri(&path)) else { return };
        *request.uri_mut() = target;
        if self.sends_host {
            self.set_host(request.headers_mut(), None);
        }
        for (name, value) in &self.added {
            request.headers_mut().append(name, value.clone());
        }
        let patience = self.config.limits.connect_timeout.saturating_mul(2);
        let answer = tokio::time::timeout(patience, self.client.request(request)).await;
        self.health.answered(matches!(answer, Ok(Ok(answer)) if answer.status().is_success()));
    }

    /// Refuses a body that says itself that it is too large, before anything of it is sent.
    fn check_length(&self, request: &Request<Body>) -> Result<(), Problem> {
        let length = http_body::Body::size_hint(request.body()).lower();
        if length > self.config.limits.max_body_bytes { Err(self.too_large()) } else { Ok(()) }
    }

    fn asked_upgrade(&self, request: &mut Request<Body>) -> Result<Option<Asked<'_>>, Problem> {
        let asked = hygiene::asked_upgrade(request.headers(), request.version(), &self.config.upgrades);
        let Some(protocol) = asked else { return Ok(None) };
        let place = self.upgrades.take().ok_or_else(|| busy("upgraded connections"))?;
        Ok(Some(Asked { protocol, client: hyper::upgrade::on(request), place }))
    }

    /// The request as the upstream gets it.
    fn outgoing(
        &self,
        request: Request<Body>,
        upgrade: Option<&str>,
    ) -> Result<(Request<Upload>, Option<Arc<Progress>>), Problem> {
        let (mut parts, body) = request.into_parts();
        let peer = parts.extensions.get::<Peer>();
        let named = parts.uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
        let host = parts.headers.remove(HOST).or(named);
        let is_trusted = peer.is_some_and(|peer| self.config.trusted_proxies.contain(peer.address()));
        let reads_trailers = hygiene::reads_trailers(&parts.headers);
        hygiene::cleanse_request(&mut parts.headers, is_trusted);
        parts.headers.reserve(ADDED_HEADERS.saturating_add(self.added.len()));
        hygiene::add_via(&mut parts.headers, parts.version);
        if self.sends_host || upgrade.is_some() {
            self.set_host(&mut parts.headers, host.as_ref());
        }
        forwarded::tell(&mut parts.headers, peer, host);
        set_connection(&mut parts.headers, upgrade, reads_trailers && self.sends_host);
        if reads_trailers {
            parts.headers.insert(TE, HeaderValue::from_static("trailers"));
        }
        self.add(&mut parts.headers, parts.extensions.get::<AddedHeaders>());

        let target = parts.uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
        let unsendable = |_| Problem::bad_request("invalid_target", "the target: expected a path and perhaps a query");
        let limits = &self.config.limits;
        let (upload, progress) = Upload::new(body, limits.max_body_bytes, limits.body_timeout);
        let mut outgoing = Request::new(upload);
        *outgoing.method_mut() = parts.method;
        *outgoing.uri_mut() = self.upstream_uri(&target).map_err(unsendable)?;
        *outgoing.headers_mut() = parts.headers;
        Ok((outgoing, progress))
    }

    /// The path as it came, behind the upstream's own prefix.
    fn upstream_uri(&self, target: &PathAndQuery) -> Result<Uri, http::uri::InvalidUri> {
        let url = &self.config.url;
        let target = if url.prefix.is_empty() {
            target.clone()
        } else {
            PathAndQuery::from_maybe_shared([url.prefix.as_str(), target.as_str()].concat())?
        };
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(url.scheme.clone());
        parts.authority = Some(url.authority.clone());
        parts.path_and_query = Some(target);
        // All three parts are there, so that they are a URI.
        Ok(Uri::from_parts(parts).unwrap_or_default())
    }

    fn set_host(&self, headers: &mut HeaderMap, asked: Option<&HeaderValue>) {
        let preserved = asked.filter(|_| self.config.preserve_host);
        headers.insert(HOST, preserved.unwrap_or(&self.config.url.host).clone());
    }

    /// Adds what the seller and what is in front of this have to say.
    fn add(&self, headers: &mut HeaderMap, more: Option<&AddedHeaders>) {
        if !self.added.is_empty() {
            hygiene::remove_lookalikes(headers, || self.added.iter().map(|(name, _)| name));
            for (name, value) in &self.added {
                headers.append(name, value.clone());
            }
        }
        if let Some(AddedHeaders(more)) = more {
            hygiene::remove_lookalikes(headers, || more.keys());
            headers.extend(more.clone());
        }
    }

    /// The head of the answer. The time-out runs while it is the upstream for whom everybody waits: neither while a body is
    /// on its way, nor while the client is slow to send it, for which there is another one.
    async fn head(
        &self,
        client: &Client<Connector, Upload>,
        request: Request<Upload>,
        progress: Option<&Progress>,
    ) -> Result<Response<Incoming>, NoHead> {
        let limit = self.config.limits.head_timeout;
        let answer = client.request(request);
        let Some(progress) = progress else {
            return tokio::time::timeout(limit, answer).await.map_err(|_| NoHead::TooLate)?.map_err(NoHead::Failed);
        };
        tokio::select! {
            answer = answer => answer.map_err(NoHead::Failed),
            () = progress.idle_upstream(limit, self.config.limits.body_timeout) => Err(NoHead::TooLate),
        }
    }

    /// The answer as the client gets it.
    fn incoming(
        &self,
        mut answer: Response<Incoming>,
        asked: Option<Asked<'_>>,
        place: Slot,
    ) -> Result<Response<Body>, Problem> {
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            return self.switch(answer, asked);
        }
        let version = answer.version();
        *answer.version_mut() = Version::HTTP_11;
        let headers = answer.headers_mut();
        hygiene::cleanse_answer(headers);
        hygiene::redirect_here(headers, &self.config.url);
        hygiene::add_via(headers, version);
        let timeout = self.config.limits.body_timeout;
        Ok(answer.map(|body| {
            if http_body::Body::is_end_stream(&body) {
                return Body::empty();
            }
            Body::new(Download::new(body, timeout, place))
        }))
    }

    /// Lets both sides go on in the protocol that was asked for, if it is that one.
    fn switch(&self, mut answer: Response<Incoming>, asked: Option<Asked<'_>>) -> Result<Response<Body>, Problem> {
        let agreed = answer.headers().get(UPGRADE).map(HeaderValue::as_bytes);
        let asked = asked.filter(|asked| agreed.is_some_and(|agreed| agreed.eq_ignore_ascii_case(asked.protocol.as_bytes())));
        let Some(asked) = asked else {
            tracing::warn!("the upstream switched to a protocol that nobody asked for");
            return Err(bad_answer());
        };
        let upstream = hyper::upgrade::on(&mut answer);
        tokio::spawn(tunnel::carry(asked.client, upstream, self.config.limits.upgrade_timeout, asked.place));
        let headers = answer.headers_mut();
        hygiene::cleanse_answer(headers);
        hygiene::add_via(headers, Version::HTTP_11);
        set_connection(headers, Some(asked.protocol), false);
        Ok(answer.map(|_| Body::empty()))
    }

    fn problem(&self, reason: &NoHead, progress: Option<&Progress>) -> Problem {
        match (progress.and_then(Progress::fault), reason) {
            (Some(Fault::TooLarge), _) => self.too_large(),
            (Some(Fault::Stalled), _) => {
                let seconds = self.config.limits.body_timeout.as_secs();
                let message = format!("the body: expected more of it within {seconds} s; send it without such pauses");
                Problem::new(StatusCode::REQUEST_TIMEOUT, "body_timed_out", message)
            }
            (Some(Fault::Broken), _) => Problem::bad_request("body_broke_off", "the body: expected all of it, got only a part"),
            (None, NoHead::TooLate) => {
                tracing::warn!(
                    timeout_seconds = self.config.limits.head_timeout.as_secs(),
                    "the upstream did not answer in time"
                );
                let message = "the server behind this gateway did not answer in time; it may still be at work";
                retriable(StatusCode::GATEWAY_TIMEOUT, "upstream_timed_out", message)
            }
            (None, NoHead::Failed(error)) if error.is_connect() => {
                self.health.unreachable(innermost(error));
                let message = "the server behind this gateway could not be reached; nothing was sent to it, try again";
                retriable(StatusCode::SERVICE_UNAVAILABLE, "upstream_unreachable", message)
            }
            (None, NoHead::Failed(error)) => broken(error),
        }
    }

    fn too_large(&self) -> Problem {
        let max = self.config.limits.max_body_bytes;
        let message = format!("the body: expected at most {max} bytes, got more; send less at once");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
    }
}

fn set_connection(headers: &mut HeaderMap, upgrade: Option<&str>, asks_trailers: bool) {
    let protocol = upgrade.and_then(|protocol| HeaderValue::from_str(protocol).ok());
    if let Some(protocol) = protocol {
        headers.insert(UPGRADE, protocol);
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    } else if asks_trailers {
        headers.insert(CONNECTION, HeaderValue::from_static("te"));
    }
}

fn broken(error: &ClientError) -> Problem {
    let cause = innermost(error);
    tracing::warn!(error = cause, "the upstream gave no answer that can be passed on");
    let hyper = error.source().and_then(|source| source.downcast_ref::<hyper::Error>());
    if hyper.is_some_and(hyper::Error::is_parse) {
        return bad_answer();
    }
    let message = "the server behind this gateway broke off before it answered; it may have done its work";
    retriable(StatusCode::BAD_GATEWAY, "upstream_broke_off", message)
}

fn bad_answer() -> Problem {
    let message = "the server behind this gateway gave an answer that is not HTTP as it was asked for, or too large a head";
    retriable(StatusCode::BAD_GATEWAY, "upstream_bad_answer", message)
}

fn busy(what: &'static str) -> Problem {
    let message = format!("this gateway has as many {what} under way as it may; nothing was sent on, try again");
    retriable(StatusCode::SERVICE_UNAVAILABLE, "gateway_busy", message)
}

fn retriable(status: StatusCode, error: &'static str, message: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::new(status, error, message).retry_after(RETRY_AFTER_SECONDS)
}

/// The error at the bottom, which names the cause.
fn innermost(error: &ClientError) -> &(dyn Error + 'static) {
    let mut innermost: &(dyn Error + 'static) = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost
}
