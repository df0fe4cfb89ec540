//! The access log: one line for each request, once its answer has gone out or its client is gone.
//!
//! A line says where a request came from and went, and what was paid; never a query, a header or a payment.

use std::borrow::Cow;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use farthing_core::wire::SettleResponse;
use http::{Method, Request, Response};
use http_body::{Frame, SizeHint};
use tokio::time::Instant;
use tracing::Span;

use super::outcome::{Judged, Outcome};
use super::trip::Notes;

/// Under which target the lines are.
const TARGET: &str = "farthing::access";
/// The most of a path that is logged, in bytes.
const MAX_PATH_BYTES: usize = 1_024;

/// What is known of a request when it comes.
pub(super) struct Asked {
    method: Method,
    path: String,
    client: Option<IpAddr>,
    began: Instant,
}

/// A line that is written when it is dropped: then nothing more can become of the request.
pub(super) struct Line {
    asked: Asked,
    span: Span,
    status: Option<u16>,
    outcome: Outcome,
    reason: Option<Cow<'static, str>>,
    route: String,
    upstream: Option<Duration>,
    paid: Option<PaidLine>,
    sent_bytes: u64,
    is_whole: bool,
}

/// What a line says of a payment.
#[derive(Default)]
struct PaidLine {
    payer: Option<String>,
    network: Option<String>,
    asset: Option<String>,
    amount_atomic: Option<String>,
    transaction: Option<String>,
}

impl Asked {
    /// What is logged of this request; none where nobody reads it.
    pub(super) fn of(request: &Request<Body>, client: Option<IpAddr>, began: Instant) -> Option<Self> {
        if !tracing::enabled!(target: TARGET, tracing::Level::INFO) {
            return None;
        }
        let path = request.uri().path();
        let end = (0..=MAX_PATH_BYTES.min(path.len())).rev().find(|end| path.is_char_boundary(*end)).unwrap_or_default();
        let path = path.get(..end).unwrap_or_default().to_owned();
        Some(Self { method: request.method().clone(), path, client, began })
    }

    pub(super) fn line(self, span: Span, notes: &Notes, (outcome, reason): Judged) -> Line {
        let upstream = notes.reached.and_then(|reached| reached.took);
        let route = notes.route.to_string();
        Line { asked: self, span, status: None, outcome, reason, route, upstream, paid: None, sent_bytes: 0, is_whole: false }
    }
}

impl Line {
    /// Adds what became of the payment.
    pub(super) fn with_payment(mut self, notes: &Notes, settlement: Option<&SettleResponse>) -> Self {
        let Some(settlement) = settlement else { return self };
        let mut line = PaidLine::default();
        if let Some(paid) = &notes.sold {
            line.payer = paid.payer.as_ref().map(|payer| payer.as_str().to_owned());
            line.network = Some(paid.network.to_string());
            line.asset = Some(paid.asset.as_str().to_owned());
            line.amount_atomic = Some(settlement.amount.unwrap_or(paid.amount).to_string());
        }
        line.payer = line.payer.or_else(|| settlement.payer.as_ref().map(|payer| payer.as_str().to_owned()));
        line.network = line.network.or_else(|| settlement.network.as_ref().map(ToString::to_string));
        line.amount_atomic = line.amount_atomic.or_else(|| settlement.amount.map(|amount| amount.to_string()));
        line.transaction = Some(settlement.transaction.clone()).filter(|transaction| !transaction.is_empty());
        if !settlement.success {
            // It was not taken.
            line.amount_atomic = None;
        }
        self.paid = Some(line);
        self
    }

    /// Waits for the answer's body.
    pub(super) fn after(mut self, answer: Response<Body>) -> Response<Body> {
        self.status = Some(answer.status().as_u16());
        if http_body::Body::is_end_stream(answer.body()) {
            self.is_whole = true;
            drop(self);
            return answer;
        }
        answer.map(|body| Body::new(Logged { body, line: self }))
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let Self { asked, status, outcome, reason, route, upstream, paid, sent_bytes, is_whole, .. } = self;
        let paid = paid.take().unwrap_or_default();
        let client = asked.client.map(|client| client.to_string());
        self.span.in_scope(|| {
            tracing::info!(
                target: TARGET,
                client,
                method = asked.method.as_str(),
                path = asked.path,
                status = *status,
                bytes = *sent_bytes,
                is_whole = *is_whole,
                duration_micros = micros(asked.began.elapsed()),
                upstream_duration_micros = upstream.map(micros),
                route,
                outcome = outcome.as_str(),
                reason = reason.as_deref(),
                payer = paid.payer,
                network = paid.network,
                asset = paid.asset,
                amount_atomic = paid.amount_atomic,
                transaction = paid.transaction,
                "request"
            );
        });
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A body that tells its line how much of it went out.
struct Logged {
    body: Body,
    line: Line,
}

impl http_body::Body for Logged {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                let sent = frame.data_ref().map_or(0, Bytes::len);
                self.line.sent_bytes = self.line.sent_bytes.saturating_add(u64::try_from(sent).unwrap_or(u64::MAX));
                self.line.is_whole = http_body::Body::is_end_stream(&self.body);
            }
            Poll::Ready(None) => self.line.is_whole = true,
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        http_body::Body::is_end_stream(&self.body)
    }

    fn size_hint(&self) -> SizeHint {
        http_body::Body::size_hint(&self.body)
    }
}
