//! What is counted.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use farthing_facilitator::describe_metrics;
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use serde_json::json;

use crate::support::{Facilitator, Fault, request};

/// A recorder that remembers how often each metric was touched, by name and labels.
#[derive(Clone, Default)]
struct Counts {
    touched: Arc<Mutex<BTreeMap<String, u64>>>,
    described: Arc<Mutex<Vec<String>>>,
}

struct One(Counts, String);

impl Counts {
    fn add(&self, name: &str, value: u64) {
        *self.touched.lock().unwrap().entry(name.to_owned()).or_default() += value;
    }

    fn one(&self, key: &Key) -> Arc<One> {
        let labels: Vec<String> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        Arc::new(One(self.clone(), format!("{}{{{}}}", key.name(), labels.join(","))))
    }

    fn describe(&self, name: &KeyName) {
        self.described.lock().unwrap().push(name.as_str().to_owned());
    }
}

impl CounterFn for One {
    fn increment(&self, value: u64) {
        self.0.add(&self.1, value);
    }

    fn absolute(&self, _: u64) {}
}

impl GaugeFn for One {
    fn increment(&self, _: f64) {}

    fn decrement(&self, _: f64) {}

    fn set(&self, _: f64) {
        self.0.add(&self.1, 1);
    }
}

impl HistogramFn for One {
    fn record(&self, _: f64) {
        self.0.add(&self.1, 1);
    }
}

impl Recorder for Counts {
    fn describe_counter(&self, name: KeyName, _: Option<Unit>, _: SharedString) {
        self.describe(&name);
    }

    fn describe_gauge(&self, name: KeyName, _: Option<Unit>, _: SharedString) {
        self.describe(&name);
    }

    fn describe_histogram(&self, name: KeyName, _: Option<Unit>, _: SharedString) {
        self.describe(&name);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.one(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.one(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.one(key))
    }
}

#[tokio::test(start_paused = true)]
async fn requests_are_counted_by_the_kinds_that_are_served_and_by_no_word_of_a_caller() {
    let counts = Counts::default();
    let _guard = metrics::set_default_local_recorder(&counts);
    describe_metrics();
    let facilitator = Facilitator::new();
    let mut unserved = request(1);
    unserved["paymentRequirements"]["network"] = json!("eip155:1");
    for request in [&request(1), &unserved] {
        facilitator.verify(request).await;
        facilitator.settle(request).await;
    }
    for fault in [Fault::NodeDown, Fault::PanicsAfter] {
        facilitator.chain.fault(fault);
        facilitator.settle(&request(2)).await;
    }
    facilitator.chain.fault(Fault::None);
    facilitator.chain.mine();
    facilitator.local.start();
    facilitator.until_settled(2).await;
    facilitator.local.stop().await;
    let touched = counts.touched.lock().unwrap().clone();
    let kind = "scheme=exact,chain=eip155:84532";
    for (name, expected) in [
        (format!("x402_facilitator_verify_requests_total{{status=valid,{kind}}}"), 1),
        ("x402_facilitator_verify_requests_total{status=invalid,scheme=other,chain=other}".to_owned(), 1),
        (format!("x402_facilitator_verify_duration_seconds{{{kind}}}"), 1),
        (format!("x402_facilitator_settle_requests_total{{status=settled,{kind}}}"), 1),
        (format!("x402_facilitator_settle_requests_total{{status=error,{kind}}}"), 1),
        (format!("x402_facilitator_settle_requests_total{{status=pending,{kind}}}"), 1),
        ("x402_facilitator_settle_requests_total{status=refused,scheme=other,chain=other}".to_owned(), 1),
        (format!("x402_facilitator_settle_duration_seconds{{{kind}}}"), 3),
        ("farthing_reconciled_total{outcome=settled}".to_owned(), 1),
    ] {
        assert_eq!(touched.get(&name), Some(&expected), "{name}: {touched:#?}");
    }
    let described = counts.described.lock().unwrap().clone();
    for name in touched.keys() {
        assert!(described.iter().any(|described| name.starts_with(&format!("{described}{{"))), "{name} is not described");
    }
}
