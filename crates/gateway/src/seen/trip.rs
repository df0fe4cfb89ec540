//! One request from the gateway's door to its answer: what is noted of it on the way.
//!
//! The notes go with the request, among its extensions, so that whoever learns something writes it down: the gateway the route,
//! the upstream's side how long it took and which payment let the request in.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use farthing_core::trace::{TRACEPARENT, TraceParent};
use farthing_server::Paid;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use tokio::time::Instant;
use tower_service::Service;
use tracing::Span;

use super::metrics;
use crate::entry::Pass;
use crate::problem::Said;
use crate::service::{Answering, BoxAnswer};

/// What a request is counted under that no route is for.
pub(crate) const UNMATCHED: &str = "unmatched";

/// What becomes of a route's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// They go to the upstream, unpaid.
    Free,
    /// They are turned away.
    Denied,
    /// They are paid for.
    Priced,
    /// No route is for it, or it was not looked for.
    Unmatched,
}

/// What is known of a request.
#[derive(Debug)]
pub(crate) struct Notes {
    pub(super) route: Arc<str>,
    pub(super) kind: Kind,
    pub(super) pass: Option<Pass>,
    pub(super) brings_payment: bool,
    /// What the upstream answered, and when, if it was asked.
    pub(super) reached: Option<Reached>,
    /// The payment that let it in, if it needed one.
    pub(super) sold: Option<Paid>,
}

/// The upstream's side.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reached {
    /// Until the head of the answer; none while it is waited for.
    pub(super) took: Option<Duration>,
}

/// One request's notes. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Trip(Arc<Mutex<Notes>>);

impl Trip {
    /// A request that has just come.
    pub(super) fn new(route: &Arc<str>, brings_payment: bool) -> Self {
        let (route, kind) = (Arc::clone(route), Kind::Unmatched);
        Self(Arc::new(Mutex::new(Notes { route, kind, pass: None, brings_payment, reached: None, sold: None })))
    }

    /// It is on this route.
    pub(crate) fn on(&self, route: &Arc<str>, kind: Kind) {
        let mut notes = self.notes();
        (notes.route, notes.kind) = (Arc::clone(route), kind);
    }

    /// It goes where unpaid requests go.
    pub(crate) fn free(&self) {
        self.notes().kind = Kind::Free;
    }

    /// It need not pay.
    pub(crate) fn pass(&self, pass: Option<Pass>) {
        self.notes().pass = pass;
    }

    pub(super) fn notes(&self) -> MutexGuard<'_, Notes> {
        // Every change is an assignment, so a panic leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whatever answers behind the gateway, watched.
#[derive(Clone)]
pub(crate) struct Watched<S>(pub(crate) S);

impl<S: Answering> Service<Request<Body>> for Watched<S> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxAnswer;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> BoxAnswer {
        let Some(trip) = request.extensions().get::<Trip>().cloned() else { return Box::pin(self.0.call(request)) };
        let route = {
            let mut notes = trip.notes();
            notes.reached = Some(Reached::default());
            notes.sold = request.extensions().get::<Paid>().cloned();
            Arc::clone(&notes.route)
        };
        let began = Instant::now();
        let answer = self.0.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            let took = began.elapsed();
            // What the gateway says in the upstream's place is no answer of it.
            let status = answer.extensions().get::<Said>().is_none().then(|| answer.status());
            trip.notes().reached = Some(Reached { took: Some(took) });
            metrics::upstream_answered(&route, status.map(class), took);
            Ok(answer)
        })
    }
}

fn class(status: StatusCode) -> &'static str {
    match status.as_u16() {
        100..200 => "1xx",
        200..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        _ => "5xx",
    }
}

/// The gateway's span in its caller's trace, which whoever is behind it is told of in the caller's place. Without a caller's
/// trace there is none: a paid request gets the trace of its payment later.
pub(super) fn join_trace(headers: &mut HeaderMap) -> Span {
    let mut lines = headers.get_all(TRACEPARENT).iter();
    let line = lines.next().filter(|_| lines.next().is_none());
    let Some(parent) = line.and_then(|line| line.to_str().ok()?.parse::<TraceParent>().ok()) else { return Span::none() };
    let ours = parent.child("gateway");
    if let Ok(value) = HeaderValue::try_from(ours.to_string()) {
        headers.insert(TRACEPARENT, value);
    }
    let (trace_id, span_id, parent_id) = (ours.trace_id(), ours.span_id(), parent.span_id());
    tracing::info_span!("gateway", %trace_id, %span_id, %parent_id)
}
