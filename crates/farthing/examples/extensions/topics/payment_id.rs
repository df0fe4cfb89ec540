//! A name for a purchase (`payment-identifier`), so that it is made once however often it is asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use farthing::core::Source;

use crate::market::Market;

/// Made up by the buyer, one for each purchase; written down before it is sent, it outlives a crash of the buyer.
const PURCHASE: &str = "order-2026-11-21-0001";

pub async fn run() -> Result<(), Source> {
    let mut market = Market::open().await?;
    let facilitator = market.facilitator()?.start()?;

    // The seller takes names, and sells nothing without one. Its handler counts how often it works.
    let toll = market.seller(facilitator)?.build().await?;
    let worked = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&worked);
    let ticket = async move || format!("ticket {}", count.fetch_add(1, Ordering::SeqCst) + 1);
    let layer = || toll.price("$0.50").and_then(|layer| layer.payment_identifier(true));
    let app = Router::new()
        .route("/ticket", get(ticket).layer(layer()?))
        .route("/poster", get(|| async { "a poster" }).layer(layer()?));
    market.serve(app)?;

    // The buyer asks again, as if the first answer had been lost.
    let client = market.buyer()?.build()?;
    for _ in 0..2 {
        let answer = client.get(format!("{}/ticket", market.url)).payment_id(PURCHASE)?.send().await?;
        let name = answer.paid().and_then(|paid| paid.payment_id.clone()).ok_or("the seller takes no names")?;
        assert_eq!(name.as_str(), PURCHASE);
        let ticket = answer.text().await?;
        assert_eq!((ticket.as_str(), market.earned()?.as_str()), ("ticket 1", "$0.5"));
        println!("  {PURCHASE}: {ticket}; the seller has {}", market.earned()?);
    }
    assert_eq!(worked.load(Ordering::SeqCst), 1);

    // So does another process of the same buyer, which has nothing but the name.
    let other = market.buyer()?.build()?;
    let answer = other.get(format!("{}/ticket", market.url)).payment_id(PURCHASE)?.send().await?;
    assert_eq!((answer.text().await?.as_str(), market.earned()?.as_str()), ("ticket 1", "$0.5"));
    println!("  from another process: the same ticket, and nothing more was charged");

    // Another purchase under the same name is a mistake. A 409 is no refusal of the payment, so it comes as an answer.
    let answer = client.get(format!("{}/poster", market.url)).payment_id(PURCHASE)?.send().await?;
    assert_eq!((answer.status(), market.earned()?.as_str()), (StatusCode::CONFLICT, "$0.5"));
    let body = answer.text().await?;
    assert!(body.contains("payment_identifier_conflict"), "{body}");
    println!("  something else under that name: {body}");
    Ok(())
}
