//! The trace of one purchase: the caller's, where the request says so, or a new one.

use farthing_core::trace::{TRACEPARENT, TraceParent};
use http::HeaderValue;
use tracing::Span;

use crate::exchange::Outgoing;
use crate::http::Inner;

/// Opens the span of a purchase, and has every request of it say so. A header of the caller's own that cannot be read goes
/// out as it is, and without randomness there is no new trace.
pub(crate) fn open(inner: &Inner, outgoing: &mut Outgoing) -> Span {
    let said = outgoing.headers.get(TRACEPARENT);
    let parent: Option<TraceParent> = said.and_then(|value| value.to_str().ok()?.parse().ok());
    let trace = match (parent, said, &inner.entropy) {
        (Some(parent), _, _) => Some(parent.child("purchase")),
        (None, None, Some(entropy)) => TraceParent::random(&**entropy).ok(),
        (None, _, _) => None,
    };
    let Some(trace) = trace else { return Span::none() };
    if let Ok(value) = HeaderValue::try_from(trace.to_string()) {
        outgoing.headers.insert(TRACEPARENT, value);
    }
    tracing::info_span!(
        "purchase",
        trace_id = %trace.trace_id(),
        span_id = %trace.span_id(),
        parent_id = parent.map(|parent| tracing::field::display(parent.span_id())),
    )
}
