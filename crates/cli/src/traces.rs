//! Traces to an OpenTelemetry collector, as OTLP over HTTP in its JSON form.
//!
//! Every role opens its spans with the fields `trace_id`, `span_id` and `parent_id` (W3C Trace Context), which is all that
//! a trace needs: spans below one with ids belong to its trace, spans outside any trace are left out. Nothing waits for
//! the collector: what it does not take in time is dropped, and the log says so once.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, anyhow};
use farthing::core::time::Entropy;
use farthing::system::SystemEntropy;
use serde_json::{Map, Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

/// The most ended spans that wait for the collector; more are dropped.
const MAX_WAITING_SPANS: usize = 8_192;
/// The most spans in one request.
const SPANS_PER_REQUEST: usize = 512;
/// How long spans wait for others to share a request.
const GATHER_TIME: Duration = Duration::from_millis(500);
/// How long the collector may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the end of the process waits for the last spans.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// Where ended spans go.
pub struct Traces {
    ended: mpsc::Sender<Value>,
    last_call: oneshot::Sender<()>,
    exporter: JoinHandle<()>,
}

/// Sends them.
struct Exporter {
    client: reqwest::Client,
    url: reqwest::Url,
    /// So that the log says once that the collector fails, and not with every request.
    is_failing: bool,
}

/// The subscriber's side of [`Traces`].
pub struct TraceLayer(mpsc::Sender<Value>);

/// A span under way, among its extensions.
struct Recorded {
    name: &'static str,
    begun: SystemTime,
    ids: Ids,
    attributes: Map<String, Value>,
    has_failed: bool,
}

#[derive(Clone, Default)]
struct Ids {
    trace: Option<String>,
    span: Option<String>,
    parent: Option<String>,
}

impl Traces {
    /// Sends traces to that collector, if there is one. Inside the runtime.
    pub fn to(otlp: Option<&str>) -> anyhow::Result<Option<Self>> {
        let Some(address) = otlp else { return Ok(None) };
        let expected = || anyhow!("traces.otlp: expected a collector's address such as \"http://127.0.0.1:4318\"");
        let url = reqwest::Url::parse(&format!("{}/v1/traces", address.trim_end_matches('/'))).map_err(|_| expected())?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(expected());
        }
        let client = reqwest::Client::builder().timeout(REQUEST_TIMEOUT).no_proxy().build().context("traces.otlp")?;
        let (ended, waiting) = mpsc::channel(MAX_WAITING_SPANS);
        let (last_call, called) = oneshot::channel();
        let exporter = tokio::spawn(Exporter { client, url, is_failing: false }.run(waiting, called));
        Ok(Some(Self { ended, last_call, exporter }))
    }

    /// The layer that collects spans for it.
    pub fn layer(&self) -> TraceLayer {
        TraceLayer(self.ended.clone())
    }

    /// Sends what waits, within a moment.
    pub async fn end(self) {
        let Self { last_call, mut exporter, .. } = self;
        // An exporter that has ended has nothing to send.
        let _ended = last_call.send(()).is_err();
        if tokio::time::timeout(END_TIMEOUT, &mut exporter).await.is_err() {
            exporter.abort();
        }
    }
}

impl Exporter {
    /// Sends until the last call, and then what is left. The layer that hands spans in lives as long as the process, so the
    /// queue never closes by itself.
    async fn run(mut self, mut waiting: mpsc::Receiver<Value>, mut last_call: oneshot::Receiver<()>) {
        let mut spans = Vec::new();
        let mut is_last = false;
        while !is_last {
            is_last = tokio::select! {
                _ = &mut last_call => true,
                _ = waiting.recv_many(&mut spans, SPANS_PER_REQUEST) => false,
            };
            // A full request leaves at once; another one waits a moment for more spans to share it.
            if !is_last && spans.len() < SPANS_PER_REQUEST {
                is_last = tokio::time::timeout(GATHER_TIME, &mut last_call).await.is_ok();
            }
            if is_last {
                waiting.close();
            }
            loop {
                while spans.len() < SPANS_PER_REQUEST
                    && let Ok(span) = waiting.try_recv()
                {
                    spans.push(span);
                }
                if spans.is_empty() {
                    break;
                }
                self.send(std::mem::take(&mut spans)).await;
            }
        }
    }

    async fn send(&mut self, spans: Vec<Value>) {
        let sent = self.client.post(self.url.clone()).json(&request(&spans)).send().await;
        let failure = sent.and_then(reqwest::Response::error_for_status).err().map(|error| error.without_url().to_string());
        if let (Some(error), false) = (&failure, self.is_failing) {
            tracing::warn!(error, "the collector takes no traces; they are dropped until it does");
        }
        self.is_failing = failure.is_some();
    }
}

/// An `ExportTraceServiceRequest`.
fn request(spans: &[Value]) -> Value {
    let service = json!({"key": "service.name", "value": {"stringValue": "farthing"}});
    json!({"resourceSpans": [{
        "resource": {"attributes": [service]},
        "scopeSpans": [{"scope": {"name": "farthing", "version": env!("CARGO_PKG_VERSION")}, "spans": spans}],
    }]})
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for TraceLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut recorded = Recorded {
            name: attributes.metadata().name(),
            begun: SystemTime::now(),
            ids: Ids::default(),
            attributes: Map::new(),
            has_failed: false,
        };
        attributes.record(&mut recorded);
        if recorded.ids.trace.is_none()
            && let Some(above) = span.parent()
            && let Some(above) = above.extensions().get::<Recorded>()
        {
            recorded.ids = Ids { trace: above.ids.trace.clone(), span: new_id(), parent: above.ids.span.clone() };
        }
        span.extensions_mut().insert(recorded);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(recorded) = span.extensions_mut().get_mut::<Recorded>()
        {
            values.record(recorded);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if *event.metadata().level() == Level::ERROR
            && let Some(span) = context.event_span(event)
            && let Some(recorded) = span.extensions_mut().get_mut::<Recorded>()
        {
            recorded.has_failed = true;
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let recorded = context.span(&id).and_then(|span| span.extensions_mut().remove::<Recorded>());
        if let Some(span) = recorded.and_then(Recorded::end) {
            // A collector that is too slow loses spans; payments don't wait for it.
            let _dropped = self.0.try_send(span).is_err();
        }
    }
}

impl Recorded {
    /// The span as OTLP has it, if it belongs to a trace.
    fn end(self) -> Option<Value> {
        const INTERNAL: u8 = 1;
        const ERROR: u8 = 2;
        let Ids { trace, span, parent } = self.ids;
        let (trace, span) = (trace?, span?);
        let attributes: Vec<Value> =
            self.attributes.into_iter().map(|(key, value)| json!({"key": key, "value": value})).collect();
        let mut ended = json!({
            "traceId": trace,
            "spanId": span,
            "name": self.name,
            "kind": INTERNAL,
            "startTimeUnixNano": nanoseconds(self.begun),
            "endTimeUnixNano": nanoseconds(SystemTime::now()),
            "attributes": attributes,
        });
        let fields = ended.as_object_mut()?;
        fields.extend(parent.map(|parent| ("parentSpanId".to_owned(), json!(parent))));
        fields.extend(self.has_failed.then(|| ("status".to_owned(), json!({"code": ERROR}))));
        Some(ended)
    }
}

impl Visit for Recorded {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "trace_id" => self.ids.trace = Some(value.to_owned()),
            "span_id" => self.ids.span = Some(value.to_owned()),
            "parent_id" => self.ids.parent = Some(value.to_owned()),
            name => drop(self.attributes.insert(name.to_owned(), json!({"stringValue": value}))),
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        // OTLP's JSON form writes 64-bit numbers as text.
        self.attributes.insert(field.name().to_owned(), json!({"intValue": value.to_string()}));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.attributes.insert(field.name().to_owned(), json!({"intValue": value.to_string()}));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.attributes.insert(field.name().to_owned(), json!({"boolValue": value}));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

fn nanoseconds(at: SystemTime) -> String {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().to_string()
}

/// A span's own id; without randomness the span is left out.
fn new_id() -> Option<String> {
    let mut id = [0_u8; 8];
    SystemEntropy.fill(&mut id).ok()?;
    Some(alloy_primitives::hex::encode(id))
}
