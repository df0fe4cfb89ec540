//! How requests ended over time, as this process has counted them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use farthing_core::time::UnixSeconds;
use serde::Serialize;

use super::super::admin::Admin;
use super::super::outcome::Outcome;
use super::Told;
use super::range::{Parameters, Range};

/// How many routes and causes are told, the most frequent first.
const ROWS_MAX: usize = 100;

/// How many requests ended how, by the names of outcomes.
type Counts = BTreeMap<&'static str, u64>;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Requests {
    #[serde(flatten)]
    range: Range,
    /// Since when this process counts; before, nothing is known.
    since: UnixSeconds,
    total: Counts,
    /// For each stretch of time.
    points: Vec<Counts>,
    routes: Vec<RouteCounts>,
    failures: Vec<FailureCount>,
}

#[derive(Serialize)]
struct RouteCounts {
    route: String,
    counts: Counts,
}

#[derive(Serialize)]
struct FailureCount {
    route: String,
    outcome: &'static str,
    reason: Option<String>,
    count: u64,
}

pub(super) async fn requests(State(admin): State<Arc<Admin>>, RawQuery(query): RawQuery) -> Told<Requests> {
    let parameters = Parameters::read(query.as_deref(), &["range"])?;
    let range = parameters.range(admin.seen.now())?;
    let mut points = vec![Counts::new(); range.len()];
    let mut total = Counts::new();
    let mut routes: BTreeMap<String, Counts> = BTreeMap::new();
    let mut failures: BTreeMap<(String, Outcome, Option<String>), u64> = BTreeMap::new();
    for (at, ending, count) in admin.seen.endings(range.from, range.before, range.bucket_seconds.get()) {
        let name = ending.outcome.as_str();
        let route = routes.entry(ending.route.to_string()).or_default();
        let point = range.index(at).and_then(|index| points.get_mut(index));
        for counts in [Some(&mut total), Some(route), point].into_iter().flatten() {
            let sum = counts.entry(name).or_default();
            *sum = sum.saturating_add(count);
        }
        if ending.outcome.is_failure() {
            let key = (ending.route.to_string(), ending.outcome, ending.reason.map(Cow::into_owned));
            let sum = failures.entry(key).or_default();
            *sum = sum.saturating_add(count);
        }
    }
    let mut routes: Vec<RouteCounts> = routes.into_iter().map(|(route, counts)| RouteCounts { route, counts }).collect();
    routes.sort_by_key(|route| std::cmp::Reverse(route.counts.values().fold(0_u64, |sum, count| sum.saturating_add(*count))));
    routes.truncate(ROWS_MAX);
    let mut failures: Vec<FailureCount> = failures
        .into_iter()
        .map(|((route, outcome, reason), count)| FailureCount { route, outcome: outcome.as_str(), reason, count })
        .collect();
    failures.sort_by_key(|failure| std::cmp::Reverse(failure.count));
    failures.truncate(ROWS_MAX);
    Ok(Json(Requests { range, since: admin.seen.since(), total, points, routes, failures }))
}
