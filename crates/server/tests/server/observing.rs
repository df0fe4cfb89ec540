//! What an operator sees: counts, and one trace from the buyer to the facilitator.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use farthing_core::facilitator::{Facilitator, FacilitatorError};
use farthing_core::reason::Reason;
use farthing_core::trace::TraceParent;
use farthing_server::{RemoteFacilitator, Server};
use http::{Request, StatusCode};
use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use serde_json::json;
use tokio::sync::Notify;

use crate::remote::{kinds, peer, settled};
use crate::support::{NETWORK, PAY_TO, PAYER, Shop, buy, clock, fetch, payment, refused, schemes, send, with_payment};

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Remembers counters by their label, and how many times a duration was recorded.
#[derive(Default)]
struct Counts {
    counters: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
    durations: Arc<Durations>,
}

#[derive(Default)]
struct Durations(AtomicU64);

impl HistogramFn for Durations {
    fn record(&self, seconds: f64) {
        assert!((0.0..60.0).contains(&seconds));
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Recorder for Counts {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        assert_eq!(key.name(), "farthing_requests_total");
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        Counter::from_arc(Arc::clone(self.counters.lock().unwrap().entry(labels.join(",")).or_default()))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        assert_eq!(key.name(), "farthing_settle_wait_seconds");
        Histogram::from_arc(Arc::clone(&self.durations))
    }
}

impl Counts {
    fn take(&self) -> Vec<(String, u64)> {
        let counters = std::mem::take(&mut *self.counters.lock().unwrap());
        counters.into_iter().map(|(labels, count)| (labels, count.load(Ordering::SeqCst))).collect()
    }
}

#[tokio::test]
async fn every_request_is_counted_once_by_how_it_ended() {
    let counts = Counts::default();
    let _guard = metrics::set_default_local_recorder(&counts);
    let shop = Shop::open().await;
    let app = shop.app();
    let failing = get(|| async { StatusCode::NOT_FOUND }).layer(shop.server.price("$0.01").unwrap());
    let failing = Router::new().route("/report", failing);
    let one = |outcome: &str| vec![(format!("outcome={outcome}"), 1)];

    let terms = fetch(&app, "/report").await.terms();
    assert_eq!(counts.take(), one("required"));
    let pay = |nonce: &str| with_payment("/report", &payment(&terms, nonce));
    send(&app, pay("1")).await;
    assert_eq!(counts.take(), one("paid"));
    send(&app, pay("1")).await;
    assert_eq!(counts.take(), one("refused"));
    send(&app, Request::get("/report").header("payment-signature", "%%").body(Body::empty()).unwrap()).await;
    assert_eq!(counts.take(), one("refused"));
    send(&failing, pay("2")).await;
    assert_eq!(counts.take(), one("failed_free"));
    shop.facilitator.will_verify(Err(FacilitatorError::Unavailable("down".into())));
    send(&app, pay("2")).await;
    assert_eq!(counts.take(), one("denied"));
    shop.facilitator.will_settle(Err(FacilitatorError::Unavailable("down".into())));
    send(&app, pay("2")).await;
    assert_eq!(counts.take(), one("denied"));
    shop.facilitator.will_settle(Ok(refused(Reason::InsufficientFunds, "")));
    send(&app, pay("2")).await;
    assert_eq!(counts.take(), one("refused"));
    shop.facilitator.will_settle(Ok(refused(Reason::SettlementPending, "")));
    send(&app, pay("2")).await;
    assert_eq!(counts.take(), one("pending"));
    assert_eq!(counts.durations.0.load(Ordering::SeqCst), 4);

    let started = Arc::new(Notify::new());
    let tell = Arc::clone(&started);
    let hanging = get(move || async move {
        tell.notify_one();
        std::future::pending::<()>().await;
    });
    let hanging = Router::new().route("/report", hanging.layer(shop.server.price("$0.01").unwrap()));
    tokio::select! {
        _ = send(&hanging, pay("3")) => panic!("it never answers"),
        () = started.notified() => {}
    }
    assert_eq!(counts.take(), one("failed_free"), "the client left");
}

#[tokio::test]
async fn the_facilitator_is_asked_within_the_buyers_trace() {
    let shop = Shop::open().await;
    let app = shop.app();
    let terms = fetch(&app, "/report").await.terms();
    let mut request = with_payment("/report", &payment(&terms, "1"));
    request.headers_mut().insert("traceparent", TRACEPARENT.parse().unwrap());
    assert_eq!(send(&app, request).await.status, StatusCode::OK);
    let buyers: TraceParent = TRACEPARENT.parse().unwrap();
    let verified = shop.facilitator.verified.lock().unwrap()[0].trace.unwrap();
    assert_eq!(verified.trace_id(), buyers.trace_id());
    assert_ne!(verified.span_id(), buyers.span_id());
    assert_eq!(shop.facilitator.settled.lock().unwrap()[0].trace, Some(verified));
}

/// Keeps the log, for a look into it.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn what_is_logged_of_a_paid_request_names_its_trace_its_span_and_its_parent() {
    let (log, shop) = (Log::default(), Shop::open().await);
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().json().with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    shop.facilitator.will_settle(Ok(refused(Reason::SettlementPending, "")));
    let app =
        Router::new().route("/report", get(|| async { tracing::info!("the work") }).layer(shop.server.price("$0.01").unwrap()));
    let terms = fetch(&app, "/report").await.terms();
    let mut request = with_payment("/report", &payment(&terms, "1"));
    request.headers_mut().insert("traceparent", TRACEPARENT.parse().unwrap());
    assert_eq!(send(&app, request).await.status, StatusCode::SERVICE_UNAVAILABLE);
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let asked = shop.facilitator.settled.lock().unwrap()[0].trace.unwrap();
    for message in ["the work", "a settlement is pending; its answer was withheld"] {
        let line = lines.iter().find(|line| line["fields"]["message"] == message).unwrap();
        let span = &line["span"];
        assert_eq!((&span["name"], &span["trace_id"]), (&json!("charge"), &json!("0af7651916cd43dd8448eb211c80319c")));
        assert_eq!((&span["parent_id"], &span["span_id"]), (&json!("b7ad6b7169203331"), &json!(asked.span_id().to_string())));
    }
}

#[tokio::test]
async fn a_payment_without_a_trace_has_its_own_and_no_bad_header_breaks_it() {
    let shop = Shop::open().await;
    let app = shop.app();
    let terms = fetch(&app, "/report").await.terms();
    let mut traces = Vec::new();
    for (nonce, header) in [("1", None), ("2", Some("00-00000000000000000000000000000000-b7ad6b7169203331-01"))] {
        let mut request = with_payment("/report", &payment(&terms, nonce));
        if let Some(header) = header {
            request.headers_mut().insert("traceparent", header.parse().unwrap());
        }
        assert_eq!(send(&app, request).await.status, StatusCode::OK);
        traces.push(shop.facilitator.settled.lock().unwrap().last().unwrap().trace.unwrap().trace_id());
    }
    assert_ne!(traces[0], traces[1]);
}

#[tokio::test]
async fn the_trace_goes_to_the_facilitator_as_a_header_and_not_in_the_message() {
    let answers = |at: usize| {
        let answers = [kinds(), json!({"isValid": true, "payer": PAYER}), settled()];
        axum::response::IntoResponse::into_response(axum::Json(answers[at].clone()))
    };
    let peer = peer(answers).await;
    let builder =
        Server::builder().schemes(schemes()).clock(clock()).facilitator(&peer.url).unwrap().pay_to(NETWORK, PAY_TO).unwrap();
    let layer = builder.build().await.unwrap().price("$0.01").unwrap();
    let app = Router::new().route("/report", get(|| async { "the report" }).layer(layer));
    assert_eq!(buy(&app, "/report", "1").await.status, StatusCode::OK);
    let seen = peer.seen.lock().unwrap();
    assert_eq!(seen[0].header("traceparent"), "", "what it supports is nobody's payment");
    let sent: TraceParent = seen[1].header("traceparent").parse().unwrap();
    assert_eq!(seen[2].header("traceparent"), sent.to_string());
    assert!(!String::from_utf8_lossy(&seen[1].body).contains(&sent.trace_id().to_string()));
}

#[tokio::test]
async fn the_trace_is_not_sent_on_to_where_a_facilitator_redirects() {
    let elsewhere = peer(|_| axum::response::IntoResponse::into_response(axum::Json(settled()))).await;
    let location = format!("{}/settle", elsewhere.url);
    let redirecting = peer(move |_| {
        axum::response::IntoResponse::into_response((StatusCode::TEMPORARY_REDIRECT, [("location", location.clone())]))
    });
    let remote = RemoteFacilitator::new(&redirecting.await.url).unwrap();
    let shop = Shop::open().await;
    buy(&shop.app(), "/report", "1").await;
    let request = shop.facilitator.settled.lock().unwrap()[0].clone();
    assert!(request.trace.is_some() && remote.settle(&request).await.is_err());
    assert_eq!(elsewhere.seen.lock().unwrap().len(), 0);
}
