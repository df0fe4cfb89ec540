//! `/metrics`, as Prometheus reads it. Libraries count; this is the one place that keeps the counts.

use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// How often old samples are put away.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);
/// The upper ends of the buckets of every duration, in seconds: from a local check to a settlement that gives up.
const DURATION_BUCKETS_SECONDS: [f64; 16] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 75.0];
/// The upper ends of the buckets of how many payments a transaction carries.
const BATCH_BUCKETS_PAYMENTS: [f64; 8] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 75.0, 100.0];

/// What was counted so far.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// Begins to count, inside the runtime.
    pub fn start() -> anyhow::Result<Self> {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &DURATION_BUCKETS_SECONDS)
            .and_then(|builder| {
                builder.set_buckets_for_metric(Matcher::Suffix("_payments".to_owned()), &BATCH_BUCKETS_PAYMENTS)
            })
            .context("metrics could not start")?
            .build_recorder();
        let metrics = Self(recorder.handle());
        metrics::set_global_recorder(recorder).context("metrics could not start")?;
        farthing::facilitator::describe_metrics();
        farthing_gateway::seen::describe_metrics();
        let handle = metrics.0.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(UPKEEP_INTERVAL).await;
                handle.run_upkeep();
            }
        });
        Ok(metrics)
    }

    /// `GET /metrics`.
    pub fn router(self) -> Router {
        Router::new().route("/metrics", get(move || std::future::ready(self.page())))
    }

    fn page(&self) -> impl IntoResponse + use<> {
        ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], self.0.render())
    }
}
