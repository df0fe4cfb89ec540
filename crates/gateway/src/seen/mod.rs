//! What is seen of the gateway: metrics, the access log, traces, and the page for whoever runs it.
//!
//! Each request takes a `Trip` along, on which the gateway and the upstream's side note what they learn. When it has an
//! answer, `outcome` says in one word how it ended; that is counted for an operator's recorder ([`metrics`](describe_metrics)),
//! counted over time for the page (`tally`), and written into the access log (`access`).
//!
//! Nothing here decides about a request, and no failure here becomes one of a request.

mod access;
mod admin;
mod api;
mod metrics;
mod outcome;
mod page;
mod tally;
mod trip;

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use farthing_core::header;
use farthing_core::reason::Reason;
use farthing_core::time::{Clock, UnixSeconds};
use http::{Request, Response};
use http_body_util::{BodyExt, Limited};
use tokio::time::Instant;
use tracing::Span;

use self::access::Asked;
pub use self::admin::{Admin, Sponsor, Surroundings, UpstreamState};
use self::metrics::InFlight;
pub use self::metrics::{describe_metrics, upstream_up};
pub use self::outcome::Outcome;
use self::outcome::{Judged, OTHER};
use self::tally::{Ending, Tally};
pub(crate) use self::trip::{Kind, Trip, Watched};
use self::trip::{Notes, UNMATCHED, join_trace};
use crate::paywall::Coins;

/// The largest answer of the gateway's own in which a code is looked for, in bytes.
const MAX_PROBLEM_BYTES: usize = 16 * 1024;
/// The longest code.
const MAX_CODE_BYTES: usize = 64;

/// What a gateway has seen since it started. Clones are the same.
#[derive(Clone)]
pub struct Seen(Arc<Shared>);

struct Shared {
    clock: Arc<dyn Clock>,
    since: UnixSeconds,
    is_logged: bool,
    unmatched: Arc<str>,
    tally: Mutex<Tally>,
}

/// A request under way. One that is dropped before it was answered was left by its client.
pub(crate) struct Journey {
    seen: Seen,
    pub(crate) trip: Trip,
    pub(crate) span: Span,
    began: Instant,
    asked: Option<Asked>,
    is_over: bool,
    _in_flight: InFlight,
}

impl Seen {
    pub(crate) fn new(clock: Arc<dyn Clock>, is_logged: bool) -> Self {
        let since = clock.now();
        let (unmatched, tally) = (Arc::from(UNMATCHED), Mutex::new(Tally::new()));
        Self(Arc::new(Shared { clock, since, is_logged, unmatched, tally }))
    }

    /// A request has come, from this client.
    pub(crate) fn begin(&self, request: &mut Request<Body>, client: impl FnOnce(&Request<Body>) -> Option<IpAddr>) -> Journey {
        let began = Instant::now();
        let span = join_trace(request.headers_mut());
        let headers = request.headers();
        let brings_payment = headers.contains_key(header::PAYMENT_SIGNATURE) || headers.contains_key(header::X_PAYMENT);
        let asked = if self.0.is_logged { Asked::of(request, client(request), began) } else { None };
        let trip = Trip::new(&self.0.unmatched, brings_payment);
        request.extensions_mut().insert(trip.clone());
        let in_flight = InFlight::new(brings_payment);
        Journey { seen: self.clone(), trip, span, began, asked, is_over: false, _in_flight: in_flight }
    }

    fn now(&self) -> UnixSeconds {
        self.0.clock.now()
    }

    fn since(&self) -> UnixSeconds {
        self.0.since
    }

    /// Endings between these moments, by the beginning of stretches of so many seconds.
    fn endings(&self, since: UnixSeconds, before: UnixSeconds, bucket_seconds: u64) -> Vec<(UnixSeconds, Ending, u64)> {
        let tally = self.0.tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.endings(since, before, bucket_seconds).map(|(at, ending, count)| (at, ending.clone(), count)).collect()
    }

    fn count(&self, notes: &Notes, (outcome, reason): &Judged) {
        let reason = reason.clone().filter(|_| outcome.is_failure());
        let ending = Ending { route: Arc::clone(&notes.route), outcome: *outcome, reason };
        let now = self.0.clock.now();
        self.0.tally.lock().unwrap_or_else(PoisonError::into_inner).count(now, &ending);
    }
}

impl Journey {
    /// It has this answer.
    pub(crate) async fn end(mut self, answer: Response<Body>, coins: &Coins) -> Response<Body> {
        let settlement = outcome::settlement(answer.headers());
        let (outcome, mut reason) = outcome::judge(&self.trip.notes(), &answer, settlement.as_ref());
        let mut answer = answer;
        if reason.is_none() && matches!(outcome, Outcome::Problem | Outcome::Blocked) {
            (answer, reason) = code_of(answer).await;
        }
        self.is_over = true;
        let notes = self.trip.notes();
        metrics::ended(&notes.route, outcome, reason.as_deref(), self.began.elapsed());
        if let (Outcome::Paid, Some(paid)) = (outcome, &notes.sold)
            && let Some(decimals) = coins.decimals_of(&paid.network, &paid.asset)
        {
            let charged = settlement.as_ref().and_then(|settlement| settlement.amount).unwrap_or(paid.amount);
            metrics::sold(&notes.route, paid, charged, decimals);
        }
        let judged = (outcome, reason);
        self.seen.count(&notes, &judged);
        let line = self.asked.take().map(|asked| asked.line(self.span.clone(), &notes, judged));
        let line = line.map(|line| line.with_payment(&notes, settlement.as_ref()));
        drop(notes);
        match line {
            Some(line) => line.after(answer),
            None => answer,
        }
    }
}

impl Drop for Journey {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let notes = self.trip.notes();
        metrics::ended(&notes.route, Outcome::Left, None, self.began.elapsed());
        self.seen.count(&notes, &(Outcome::Left, None));
        if let Some(asked) = self.asked.take() {
            drop(asked.line(self.span.clone(), &notes, (Outcome::Left, None)));
        }
    }
}

/// The code of an answer that the gateway made itself: it is in memory, and small.
async fn code_of(answer: Response<Body>) -> (Response<Body>, Option<Cow<'static, str>>) {
    let (parts, body) = answer.into_parts();
    let is_small = http_body::Body::size_hint(&body)
        .exact()
        .is_some_and(|bytes| usize::try_from(bytes).is_ok_and(|bytes| bytes <= MAX_PROBLEM_BYTES));
    if !is_small {
        return (Response::from_parts(parts, body), None);
    }
    let Ok(text) = Limited::new(body, MAX_PROBLEM_BYTES).collect().await.map(http_body_util::Collected::to_bytes) else {
        return (Response::from_parts(parts, Body::empty()), None);
    };
    let code =
        serde_json::from_slice::<serde_json::Value>(&text).ok().and_then(|said| said.get("error")?.as_str().map(bounded_code));
    (Response::from_parts(parts, Body::from(text)), code)
}

/// A code as a label. Codes are words of ours; what does not look like one is not shown.
fn bounded_code(code: &str) -> Cow<'static, str> {
    if let Some(known) = Reason::ALL.iter().find(|known| known.as_str() == code) {
        return Cow::Borrowed(known.as_str());
    }
    let is_word = code.len() <= MAX_CODE_BYTES && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    if is_word { Cow::Owned(code.to_owned()) } else { Cow::Borrowed(OTHER) }
}
