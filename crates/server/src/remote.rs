//! A facilitator behind HTTP (x402 v2 §7): `/supported`, `/verify`, `/settle`.
//!
//! What is not clearly an answer of the protocol is never taken for one, and what was sent to be settled and got no
//! clear answer may have been settled.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use farthing_core::facilitator::{Facilitator, FacilitatorError};
use farthing_core::json;
use farthing_core::reason::Reason;
use farthing_core::trace::{TRACEPARENT, TraceParent};
use farthing_core::wire::{PaymentRequest, SettleResponse, SupportedResponse, VerifyResponse};
use farthing_core::{BoxFuture, Source};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;
use url::{Host, Url};
use zeroize::Zeroizing;

/// How long a request to the facilitator may take, answer included, unless set otherwise; the official SDKs' number.
pub const DEFAULT_TIMEOUT_SECONDS: u64 = 90;
/// The longest answer that is read, in bytes.
pub const MAX_ANSWER_BYTES: usize = 1024 * 1024;
/// How often `/supported` is asked at most, when the facilitator is busy or still starting.
pub const MAX_SUPPORTED_ATTEMPTS: u32 = 4;
/// How long a connection is kept that nobody uses, in seconds: shorter than common servers keep theirs (5 s), because nobody
/// knows what became of a settlement that was sent as the other end hung up.
const IDLE_TIMEOUT_SECONDS: u64 = 4;
/// The pause before the second attempt, in milliseconds; it doubles with each further one.
const FIRST_PAUSE_MILLISECONDS: u64 = 1_000;
/// The longest pause that the facilitator can ask for.
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// How much of an answer that makes no sense is shown to the operator, in characters.
const MAX_SHOWN_CHARACTERS: usize = 200;
/// The longest answer about a payment that is passed on as it is, in bytes: it goes to the buyer in a header, and there
/// are proxies that drop an answer with a long one. Of a longer answer only what decides is passed on.
const MAX_TOLD_BYTES: usize = 4 * 1024;
/// Room for most payments with their terms, in bytes, so that what is sent need not grow while it is written.
const USUAL_REQUEST_BYTES: usize = 2 * 1024;
/// The longest name of a transaction, in bytes.
const MAX_TRANSACTION_BYTES: usize = 256;

/// Verifies and settles through somebody else's HTTP API.
#[derive(Clone)]
pub struct RemoteFacilitator {
    client: Client,
    base: Url,
    supported: Url,
    verify: Url,
    settle: Url,
    timeout: Duration,
    first_pause: Duration,
    authorization: Option<HeaderValue>,
}

/// Why a facilitator's address cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// Not a URL of the right kind. The text is not repeated: it may hold a password.
    #[error("expected a URL such as \"https://facilitator.example\", without user, query or fragment: {0}")]
    Url(&'static str),
    /// A key cannot stand in a header.
    #[error("the bearer key holds characters that cannot be sent in a header")]
    Key,
    /// A key of nothing, as from a variable that was set to nothing.
    #[error("the bearer key is empty")]
    NoKey,
    /// A key would be sent so that anybody on the way can read it.
    #[error("a bearer key is sent only over https, or to this machine itself")]
    KeyInTheClear,
    /// The HTTP client cannot be made.
    #[error("the HTTP client cannot be made")]
    Client(#[source] reqwest::Error),
}

impl RemoteFacilitator {
    /// The facilitator whose endpoints are below this URL. Nothing is sent yet.
    pub fn new(url: &str) -> Result<Self, RemoteError> {
        let mut base = Url::parse(url).map_err(|_| RemoteError::Url("it cannot be read"))?;
        if !matches!(base.scheme(), "http" | "https") || !base.has_host() {
            return Err(RemoteError::Url("its scheme is neither http nor https"));
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err(RemoteError::Url("it names a user; use a bearer key"));
        }
        if base.query().is_some() || base.fragment().is_some() {
            return Err(RemoteError::Url("it has a query or a fragment"));
        }
        let path = base.path().trim_end_matches('/').to_owned();
        base.set_path(&path);
        // A redirect would send payments, and the key, to somebody who was never named. The environment's proxy
        // settings are left alone, as all of the environment is.
        let client = Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy();
        let client = client.pool_idle_timeout(Duration::from_secs(IDLE_TIMEOUT_SECONDS)).build();
        let endpoint = |name| {
            let mut url = base.clone();
            url.set_path(&format!("{}/{name}", path.trim_end_matches('/')));
            url
        };
        Ok(Self {
            client: client.map_err(RemoteError::Client)?,
            supported: endpoint("supported"),
            verify: endpoint("verify"),
            settle: endpoint("settle"),
            base,
            timeout: Duration::from_secs(DEFAULT_TIMEOUT_SECONDS),
            first_pause: Duration::from_millis(FIRST_PAUSE_MILLISECONDS),
            authorization: None,
        })
    }

    /// Sends `Authorization: Bearer …` with every request, for facilitators that know their callers by a key. It goes to
    /// this origin alone, over https or to this machine itself, and is never logged or shown.
    pub fn bearer_key(mut self, key: &Zeroizing<String>) -> Result<Self, RemoteError> {
        let stays_here = match self.base.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        if self.base.scheme() != "https" && !stays_here {
            return Err(RemoteError::KeyInTheClear);
        }
        if key.trim().is_empty() {
            return Err(RemoteError::NoKey);
        }
        let bearer = Zeroizing::new(["Bearer ", key.as_str()].concat());
        let mut value = HeaderValue::from_str(&bearer).map_err(|_| RemoteError::Key)?;
        value.set_sensitive(true);
        self.authorization = Some(value);
        Ok(self)
    }

    /// How long a request may take, answer included. [`DEFAULT_TIMEOUT_SECONDS`] unless set.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The pause before `/supported` is asked a second time; it doubles with each further attempt.
    #[must_use]
    pub const fn first_pause(mut self, pause: Duration) -> Self {
        self.first_pause = pause;
        self
    }

    fn to(&self, method: Method, endpoint: &Url) -> RequestBuilder {
        let request = self.client.request(method, endpoint.clone()).timeout(self.timeout);
        match &self.authorization {
            Some(authorization) => request.header(AUTHORIZATION, authorization.clone()),
            None => request,
        }
    }

    /// Sends a payment. The same request is the same bytes each time, as a settlement that is asked for again must be.
    async fn post(&self, endpoint: &Url, body: Vec<u8>, trace: Option<TraceParent>) -> Result<Answer, reqwest::Error> {
        let mut request = self.to(Method::POST, endpoint).header(CONTENT_TYPE, "application/json").body(body);
        if let Some(trace) = trace {
            request = request.header(TRACEPARENT, trace.to_string());
        }
        Self::answered(request).await
    }

    /// The answer, or why there is none, without the address: its path may hold a key.
    async fn answered(request: RequestBuilder) -> Result<Answer, reqwest::Error> {
        let answer = async { Answer::read(request.send().await?).await };
        answer.await.map_err(reqwest::Error::without_url)
    }

    async fn ask_supported(&self) -> Result<Answer, reqwest::Error> {
        Self::answered(self.to(Method::GET, &self.supported)).await
    }

    async fn supported_once(&self) -> Result<SupportedResponse, Failure> {
        let answer = match self.ask_supported().await {
            Ok(answer) => answer,
            Err(error) => return Err(Failure::busy(FacilitatorError::Unavailable(Box::new(error)), None)),
        };
        let nonsense = |message| FacilitatorError::Malformed(format!("/supported: {message}"));
        if answer.is_busy() {
            let unavailable = FacilitatorError::Unavailable(answer.describe().into());
            return Err(Failure::busy(unavailable, answer.retry_after));
        }
        if !answer.status.is_success() {
            return Err(Failure::last(nonsense(answer.describe())));
        }
        answer.protocol().map_err(|message| Failure::last(nonsense(message)))
    }

    async fn supported_at_last(&self) -> Result<SupportedResponse, FacilitatorError> {
        let mut pause = self.first_pause;
        let mut attempt = 1;
        loop {
            match self.supported_once().await {
                Ok(supported) => return Ok(supported),
                Err(failure) if failure.may_pass && attempt < MAX_SUPPORTED_ATTEMPTS => {
                    let wait = failure.retry_after.unwrap_or(pause).min(MAX_PAUSE);
                    failure.log(attempt, wait);
                    tokio::time::sleep(wait).await;
                    pause = pause.saturating_mul(2);
                    attempt += 1;
                }
                Err(failure) => return Err(failure.error),
            }
        }
    }
}

impl Facilitator for RemoteFacilitator {
    fn supported(&self) -> BoxFuture<'_, Result<SupportedResponse, FacilitatorError>> {
        Box::pin(self.supported_at_last())
    }

    fn verify<'a>(&'a self, request: &'a PaymentRequest) -> BoxFuture<'a, Result<VerifyResponse, FacilitatorError>> {
        Box::pin(async move {
            let body = written(request)?;
            let answer = self.post(&self.verify, body, request.trace).await;
            let answer = answer.map_err(|error| FacilitatorError::Unavailable(Box::new(error)))?;
            let verdict = answer.protocol::<VerifyResponse>();
            answer.expect_a_welcome(verdict.as_ref().ok().and_then(|verdict| verdict.invalid_reason.as_ref()))?;
            // Facilitators refuse with 4xx and answer with 5xx; what counts is whether the body says `isValid`.
            let verdict = verdict.map_err(|message| {
                if answer.is_busy() {
                    FacilitatorError::Unavailable(message.into())
                } else {
                    FacilitatorError::Malformed(format!("/verify: {message}"))
                }
            })?;
            answer.judge_verdict(verdict)
        })
    }

    fn settle<'a>(&'a self, request: &'a PaymentRequest) -> BoxFuture<'a, Result<SettleResponse, FacilitatorError>> {
        Box::pin(async move {
            let body = written(request)?;
            let answer = match self.post(&self.settle, body, request.trace).await {
                Ok(answer) => answer,
                Err(error) if error.is_connect() => return Err(FacilitatorError::Unavailable(Box::new(error))),
                Err(error) => return Err(FacilitatorError::Indeterminate(Box::new(error))),
            };
            let settlement = answer.protocol::<SettleResponse>();
            let names_one = settlement.as_ref().is_ok_and(|settlement| !settlement.transaction.is_empty());
            if !names_one {
                let reason = settlement.as_ref().ok().and_then(|settlement| settlement.error_reason.as_ref());
                answer.expect_a_welcome(reason)?;
            }
            let unclear = |message| FacilitatorError::Indeterminate(format!("/settle: {message}").into());
            answer.judge_settlement(settlement.map_err(unclear)?)
        })
    }
}

impl std::fmt::Debug for RemoteFacilitator {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let host = self.base.host_str().unwrap_or_default();
        formatter.debug_struct("RemoteFacilitator").field("host", &host).finish_non_exhaustive()
    }
}

/// Why one attempt gave nothing, and whether another may.
struct Failure {
    error: FacilitatorError,
    may_pass: bool,
    retry_after: Option<Duration>,
}

impl Failure {
    const fn busy(error: FacilitatorError, retry_after: Option<Duration>) -> Self {
        Self { error, may_pass: true, retry_after }
    }

    const fn last(error: FacilitatorError) -> Self {
        Self { error, may_pass: false, retry_after: None }
    }

    fn log(&self, attempt: u32, wait: Duration) {
        let cause = &self.error as &dyn std::error::Error;
        let wait_seconds = wait.as_secs();
        tracing::warn!(attempt, wait_seconds, cause, "the facilitator did not say what it supports; asking again");
    }
}

/// A whole answer, whatever it is.
struct Answer {
    status: StatusCode,
    location: Option<String>,
    retry_after: Option<Duration>,
    /// Whether it says when to come back, in whatever form.
    names_a_time: bool,
    /// `None` if it was longer than [`MAX_ANSWER_BYTES`].
    body: Option<Bytes>,
}

impl Answer {
    async fn read(mut response: Response) -> Result<Self, reqwest::Error> {
        let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let location = text(LOCATION).map(|location| location.chars().take(MAX_SHOWN_CHARACTERS).collect());
        // The other form, an HTTP date, needs a clock; without it the usual pause is as good.
        let retry_after = text(RETRY_AFTER).and_then(|seconds| seconds.trim().parse().ok()).map(Duration::from_secs);
        let names_a_time = response.headers().contains_key(RETRY_AFTER);
        let status = response.status();
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await? {
            if body.len().saturating_add(chunk.len()) > MAX_ANSWER_BYTES {
                return Ok(Self { status, location, retry_after, names_a_time, body: None });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Self { status, location, retry_after, names_a_time, body: Some(body.freeze()) })
    }

    /// The protocol's message in the body, whatever the status, unless it points elsewhere.
    fn protocol<T: DeserializeOwned>(&self) -> Result<T, String> {
        if self.status.is_redirection() {
            return Err(self.describe());
        }
        let Some(body) = &self.body else { return Err(self.describe()) };
        json::read_bytes(body).map_err(|error| format!("{}: {error}", self.describe()))
    }

    /// The verdict, unless it is that there is none: a facilitator that could not look at the payment says nothing of it.
    fn judge_verdict(&self, verdict: VerifyResponse) -> Result<VerifyResponse, FacilitatorError> {
        let gave_up = self.is_busy() && verdict.invalid_reason == Some(Reason::UnexpectedVerifyError);
        let gave_up = gave_up || self.may_have_been_cut_short();
        if gave_up && !verdict.is_valid {
            return Err(FacilitatorError::Unavailable(self.describe().into()));
        }
        if !self.is_long() {
            return Ok(verdict);
        }
        let (invalid_reason, invalid_message) =
            (cut_reason(verdict.invalid_reason), verdict.invalid_message.as_deref().map(cut));
        Ok(VerifyResponse { invalid_reason, invalid_message, extra: None, extensions: None, ..verdict })
    }

    /// The settlement, unless it is that there is none. With 503 nothing was done, as that status says; after any other
    /// trouble of the facilitator's own a transaction may be on its way.
    fn judge_settlement(&self, settlement: SettleResponse) -> Result<SettleResponse, FacilitatorError> {
        let gave_up = self.is_busy() && settlement.error_reason == Some(Reason::UnexpectedSettleError);
        let gave_up = gave_up || self.may_have_been_cut_short();
        if gave_up && !settlement.success && settlement.transaction.is_empty() {
            let described = self.describe().into();
            return Err(if self.status == StatusCode::SERVICE_UNAVAILABLE {
                FacilitatorError::Unavailable(described)
            } else {
                FacilitatorError::Indeterminate(described)
            });
        }
        if settlement.transaction.len() > MAX_TRANSACTION_BYTES {
            return Err(FacilitatorError::Indeterminate(
                format!("/settle: the transaction's name: {}", self.describe()).into(),
            ));
        }
        if !self.is_long() {
            return Ok(settlement);
        }
        let (error_reason, error_message) = (cut_reason(settlement.error_reason), settlement.error_message.as_deref().map(cut));
        Ok(SettleResponse { error_reason, error_message, extra: None, extensions: None, ..settlement })
    }

    /// Whether the answer is too long to be passed on whole.
    fn is_long(&self) -> bool {
        self.body.as_ref().is_some_and(|body| body.len() > MAX_TOLD_BYTES)
    }

    /// Says so if the facilitator judged not the payment but this server: who it is, how much it asks, how large its
    /// requests are. Nothing was looked at then, and nothing sent; what it says is for the operator and not for buyers.
    fn expect_a_welcome(&self, reason: Option<&Reason>) -> Result<(), FacilitatorError> {
        let is_turned_away = match self.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::PAYLOAD_TOO_LARGE => true,
            // Whoever does not say when to come back may have been at work.
            StatusCode::TOO_MANY_REQUESTS => self.names_a_time,
            _ => false,
        };
        if !is_turned_away && !matches!(reason, Some(Reason::Unauthorized | Reason::QuotaExceeded)) {
            return Ok(());
        }
        let (status, answer) = (self.status.as_u16(), self.describe());
        tracing::error!(status, answer, "the facilitator turned this server away: see to its key there, and to its quota");
        Err(FacilitatorError::Unavailable(format!("it turned this server away: {answer}").into()))
    }

    /// Whether the request was ended for what it took: its time, or too many of its kind.
    fn may_have_been_cut_short(&self) -> bool {
        matches!(self.status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
    }

    /// Whether the same request may get an answer later.
    fn is_busy(&self) -> bool {
        self.status.is_server_error()
            || self.status == StatusCode::TOO_MANY_REQUESTS
            || self.status == StatusCode::REQUEST_TIMEOUT
    }

    /// What came, for the operator.
    fn describe(&self) -> String {
        let status = self.status.as_u16();
        if self.status.is_redirection() {
            let location = self.location.as_deref().unwrap_or("nowhere");
            return format!(
                "status {status}, a redirect to {location:?}, which is not followed; configure the facilitator's final URL"
            );
        }
        match &self.body {
            None => format!("status {status} with more than {MAX_ANSWER_BYTES} bytes"),
            Some(body) => {
                let shown = cut(&String::from_utf8_lossy(body));
                format!("status {status} with the body {shown:?}")
            }
        }
    }
}

fn cut_reason(reason: Option<Reason>) -> Option<Reason> {
    reason.map(|reason| Reason::from(&*cut(reason.as_str())))
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_SHOWN_CHARACTERS).collect()
}

fn written(request: &PaymentRequest) -> Result<Vec<u8>, FacilitatorError> {
    let mut body = Vec::with_capacity(USUAL_REQUEST_BYTES);
    // Nothing was sent, so this is the error that says so.
    serde_json::to_writer(&mut body, request).map_err(|error| FacilitatorError::Unavailable(Source::from(error)))?;
    Ok(body)
}
