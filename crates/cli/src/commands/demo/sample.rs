//! The sample API: what a seller would have anyway, with a price on each route.

use axum::response::{Html, IntoResponse};
use axum::{Extension, Json, Router, routing::get};
use farthing::server::Paid;
use reqwest::StatusCode;
use serde_json::json;

/// The price of the report, for agents.
pub const REPORT_PRICE: &str = "$0.01";
/// The price of the article, for people.
pub const ARTICLE_PRICE: &str = "$0.05";
/// The most that a summary may cost.
pub const SUMMARY_CEILING: &str = "$0.10";
/// What each of its words costs, in atomic units: a tenth of a cent.
pub const WORD_UNITS: u64 = 1_000;
/// The price of the archive, above what the demo's agent may spend.
pub const ARCHIVE_PRICE: &str = "$25";

/// The routes, each behind its own layer.
pub fn router(toll: &farthing::server::Server) -> anyhow::Result<Router> {
    let report = toll.price(REPORT_PRICE)?.description("Harbour traffic, last hour").mime_type("application/json");
    let article = toll.price(ARTICLE_PRICE)?.description("The harbour at night, an article").mime_type("text/html");
    let summary =
        toll.price_up_to(SUMMARY_CEILING)?.description("Harbour traffic in words, by the word").mime_type("text/plain");
    let archive = toll.price(ARCHIVE_PRICE)?.description("Ten years of harbour traffic").mime_type("application/json");
    Ok(Router::new()
        .route("/report", get(report_handler).layer(report))
        .route("/article", get(article_handler).layer(article))
        .route("/summary", get(summary_handler).layer(summary))
        .route("/archive", get(archive_handler).layer(archive)))
}

async fn report_handler() -> impl IntoResponse {
    Json(json!({"harbour": "Farside", "ships_in": 14, "ships_out": 11, "waiting": 3}))
}

async fn article_handler() -> impl IntoResponse {
    Html(include_str!("article.html"))
}

/// Charges for each word as it is written.
async fn summary_handler(Extension(paid): Extension<Paid>) -> Result<String, StatusCode> {
    let words = ["Fourteen", "ships", "came", "in,", "eleven", "went", "out,", "three", "wait", "for", "the", "tide."];
    for _ in words {
        paid.usage().add(WORD_UNITS).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    }
    Ok(words.join(" "))
}

async fn archive_handler() -> impl IntoResponse {
    Json(json!({"years": 10, "rows": 3_504_000}))
}
