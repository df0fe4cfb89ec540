//! Payment before the work (flow `upfront`): for what is too costly to be made for somebody who might not pay in the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use farthing::client::PaymentOutcome;
use farthing::core::Source;

use crate::market::Market;

/// What the buyer calls the purchase. Whoever names it can ask for it again.
const PURCHASE: &str = "film-of-the-harbour-1";

pub async fn run() -> Result<(), Source> {
    let mut market = Market::open().await?;
    let facilitator = market.facilitator()?.start()?;

    // The seller: the price is taken first. The camera breaks the first time.
    let toll = market.seller(facilitator)?.build().await?;
    let is_mended = Arc::new(AtomicBool::new(false));
    let film = async move || {
        let is_broken = !is_mended.swap(true, Ordering::SeqCst);
        if is_broken { Err((StatusCode::INTERNAL_SERVER_ERROR, "the camera broke")) } else { Ok("the film") }
    };
    let layer = toll.price("$1")?.upfront()?.payment_identifier(false)?;
    market.serve(Router::new().route("/film", get(film).layer(layer)))?;

    // The buyer: the money has moved although the handler failed, and the answer says so.
    let client = market.buyer()?.build()?;
    let film = format!("{}/film", market.url);
    let answer = client.get(&film).payment_id(PURCHASE)?.send().await?;
    let paid = answer.paid().ok_or("nothing was paid")?;
    assert_eq!((answer.status(), paid.outcome), (StatusCode::INTERNAL_SERVER_ERROR, PaymentOutcome::Settled));
    assert_eq!(market.earned()?, "$1");
    println!("  paid {} before the work, which failed: {}", market.earned()?, answer.text().await?);

    // The same purchase again presents the same payment, and gets what was paid for.
    let answer = client.get(&film).payment_id(PURCHASE)?.send().await?;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(market.earned()?, "$1");
    println!("  asked for again: {}, and still {} in all", answer.text().await?, market.earned()?);
    Ok(())
}
