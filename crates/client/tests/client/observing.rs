//! What an operator sees: one trace for each purchase, and payments counted by what became of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::Body;
use farthing_core::Source;
use farthing_core::time::Entropy;
use farthing_core::trace::TraceParent;
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

use crate::support::*;

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Counts up: every value differs.
#[derive(Default)]
struct Counting(AtomicU64);

impl Entropy for Counting {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), Source> {
        let value = self.0.fetch_add(1, Ordering::SeqCst) + 1;
        for (to, from) in buffer.iter_mut().zip(value.to_be_bytes().into_iter().cycle()) {
            *to = from;
        }
        Ok(())
    }
}

fn buyer() -> Buyer {
    Buyer::with(Wallet::default(), |builder| builder.entropy(Arc::new(Counting::default())))
}

/// The traces that a seller was told of.
fn traces(seller: &Seller) -> Vec<Option<TraceParent>> {
    let told = |seen: Seen| Some(seen.headers.get("traceparent")?.to_str().unwrap().parse().unwrap());
    seller.seen().into_iter().map(told).collect()
}

#[tokio::test]
async fn every_purchase_has_a_trace_of_its_own_that_all_its_requests_name() {
    let seller = Seller::honest().await;
    let buyer = buyer();
    for _ in 0..2 {
        buyer.client.get(seller.url("/report")).send().await.unwrap();
    }
    let traces: Vec<_> = traces(&seller).into_iter().map(Option::unwrap).collect();
    assert_eq!(traces.len(), 4);
    assert_eq!((traces[0], traces[2]), (traces[1], traces[3]));
    assert_ne!(traces[0].trace_id(), traces[2].trace_id());
}

#[tokio::test]
async fn the_callers_own_trace_goes_on() {
    let seller = Seller::honest().await;
    for buyer in [buyer(), Buyer::new()] {
        seller.forget();
        buyer.client.get(seller.url("/report")).header("traceparent", TRACEPARENT).send().await.unwrap();
        let callers: TraceParent = TRACEPARENT.parse().unwrap();
        for told in traces(&seller) {
            let told = told.unwrap();
            assert_eq!(told.trace_id(), callers.trace_id());
            assert_ne!(told.span_id(), callers.span_id(), "the server is not the caller's child, but the client's");
        }
    }
}

#[tokio::test]
async fn without_randomness_there_is_no_new_trace() {
    let seller = Seller::honest().await;
    Buyer::new().client.get(seller.url("/report")).send().await.unwrap();
    assert_eq!(traces(&seller), [None, None]);
}

#[tokio::test]
async fn no_other_origin_is_told_the_trace() {
    let elsewhere = Seller::honest().await;
    let target = elsewhere.url("/report");
    let redirecting =
        Seller::start(move |_, _| Some(response(302).header("location", &target).body(Body::empty()).unwrap())).await;
    buyer().client.get(redirecting.url("/report")).send().await.unwrap_err();
    assert!(traces(&redirecting)[0].is_some());
    assert_eq!(traces(&elsewhere), [None]);
}

/// Remembers counters by their label.
#[derive(Default)]
struct Counts(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

impl Recorder for Counts {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let name = format!("{}{{{}}}", key.name(), labels.join(","));
        Counter::from_arc(Arc::clone(self.0.lock().unwrap().entry(name).or_default()))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[tokio::test]
async fn payments_are_counted_by_what_became_of_them() {
    let counts = Counts::default();
    let _guard = metrics::set_default_local_recorder(&counts);
    let honest = Seller::honest().await;
    Buyer::new().client.get(honest.url("/report")).send().await.unwrap();
    Buyer::new().client.get(honest.url("/report")).send().await.unwrap();
    let failed = serde_json::json!({"success": false, "errorReason": "insufficient_funds", "transaction": "", "network": BASE});
    let refusing = Seller::answering(move || with_settlement(402, &failed)).await;
    Buyer::new().client.get(refusing.url("/report")).send().await.unwrap_err();
    let silent = Seller::answering(|| response(500).body(Body::from("oops")).unwrap()).await;
    Buyer::new().client.get(silent.url("/report")).send().await.unwrap_err();
    let counted = counts.0.lock().unwrap();
    let counted: Vec<_> = counted.iter().map(|(name, count)| (&**name, count.load(Ordering::SeqCst))).collect();
    assert_eq!(
        counted,
        [
            ("farthing_payments_total{outcome=failed}", 1),
            ("farthing_payments_total{outcome=settled}", 2),
            ("farthing_payments_total{outcome=unconfirmed}", 1),
        ]
    );
}
