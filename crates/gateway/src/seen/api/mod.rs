//! What feeds the page: JSON, bounded, read-only.
//!
//! | endpoint | tells |
//! |---|---|
//! | `/api/status` | since when it runs, the upstream, the accounts that pay for gas |
//! | `/api/revenue?range=24h&by=route` | what was sold over time, by `route`, `network` or `payer` |
//! | `/api/requests?range=24h` | how requests ended over time, as this process has counted them since it started |
//! | `/api/sales?range=24h&limit=50&after=…` | sales, the newest first |
//! | `/api/open?limit=50&after=…` | payments of which nobody knows yet whether they were charged |
//!
//! Amounts are decimal texts, exact: sums are made of integers by the book. Times are seconds since 1970. Lists have `next`, with
//! which, as `after`, the next page is asked for; null at the end.

mod lists;
mod range;
mod requests;
mod revenue;

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use farthing_core::books::BookError;
use farthing_core::time::UnixSeconds;
use http::{StatusCode, Version};
use serde::Serialize;

use super::admin::{Admin, Sponsor, UpstreamState};
use crate::problem::Problem;

/// An answer, or why there is none.
type Told<T> = Result<Json<T>, Apology>;

/// Why there is no answer.
struct Apology(Problem);

impl axum::response::IntoResponse for Apology {
    fn into_response(self) -> axum::response::Response {
        self.0.answer(Version::HTTP_2)
    }
}

impl From<BookError> for Apology {
    fn from(error: BookError) -> Self {
        let cause = &error as &dyn std::error::Error;
        tracing::error!(cause, "the book of sales could not be read for the dashboard");
        let message = "the book of sales cannot be read right now; the gateway's log says why";
        Self(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "book_unavailable", message))
    }
}

impl From<String> for Apology {
    fn from(message: String) -> Self {
        Self(Problem::bad_request("bad_query", message))
    }
}

/// The endpoints.
pub(super) fn router(admin: Arc<Admin>) -> Router {
    Router::new()
        .route("/api/status", get(status))
        .route("/api/revenue", get(revenue::revenue))
        .route("/api/requests", get(requests::requests))
        .route("/api/sales", get(lists::sales))
        .route("/api/open", get(lists::open))
        .with_state(admin)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    now: UnixSeconds,
    /// Since when this process counts.
    since: UnixSeconds,
    version: &'static str,
    upstream: UpstreamState,
    sponsors: Vec<Sponsor>,
}

async fn status(State(admin): State<Arc<Admin>>) -> Json<Status> {
    Json(Status {
        now: admin.seen.now(),
        since: admin.seen.since(),
        version: env!("CARGO_PKG_VERSION"),
        upstream: admin.surroundings.upstream(),
        sponsors: admin.surroundings.sponsors().await,
    })
}
