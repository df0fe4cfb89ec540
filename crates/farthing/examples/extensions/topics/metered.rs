//! Metered work (scheme `upto`): the buyer signs a ceiling, the handler says what was used, and that is what moves.

use axum::http::StatusCode;
use axum::routing::get;
use axum::{Extension, Router};
use farthing::client::{Error, PaymentOutcome};
use farthing::core::Source;
use farthing::evm::U256;
use farthing::server::{Paid, UsageError};
use farthing_devnet::PERMIT2;

use crate::market::Market;

/// A tenth of a cent for each word, in atomic units.
const WORD_ATOMIC: u64 = 1_000;

/// Charges word by word, as they are made.
async fn summary(Extension(paid): Extension<Paid>) -> Result<String, StatusCode> {
    let words = ["Fourteen", "ships", "came", "in", "on", "the", "tide"];
    for _ in words {
        paid.usage().add(WORD_ATOMIC).map_err(|_above_the_ceiling| StatusCode::INTERNAL_SERVER_ERROR)?;
    }
    Ok(words.join(" "))
}

/// Has nothing to say, and charges nothing for it.
async fn silence(Extension(paid): Extension<Paid>) -> Result<(), StatusCode> {
    paid.usage().set(0_u64).map_err(|_above_the_ceiling| StatusCode::INTERNAL_SERVER_ERROR)
}

/// Would charge more than was signed, and is told.
async fn greed(Extension(paid): Extension<Paid>) -> Result<&'static str, (StatusCode, String)> {
    match paid.usage().set_price("$0.30") {
        Err(error @ UsageError::AboveCeiling { .. }) => Err((StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
        other => Ok(if other.is_ok() { "charged too much" } else { "was not charged" }),
    }
}

pub async fn run() -> Result<(), Source> {
    let mut market = Market::open().await?;
    let facilitator = market.facilitator()?.start()?;

    // The seller: a ceiling in the place of a price.
    let toll = market.seller(facilitator)?.build().await?;
    let app = Router::new()
        .route("/summary", get(summary).layer(toll.price_up_to("$0.25")?))
        .route("/silence", get(silence).layer(toll.price_up_to("$0.25")?))
        .route("/greed", get(greed).layer(toll.price_up_to("$0.25")?));
    market.serve(app)?;

    // The buyer has approved Permit2 for the token, once and for all sellers. (Without that: see the topic gas-sponsoring.)
    let buyer = market.signer(1)?.address();
    market.devnet.set_allowance(market.devnet.usdc(), buyer, PERMIT2, U256::MAX)?;
    let client = market.buyer()?.limit("$5 per day")?.build()?;

    let answer = client.get(format!("{}/summary", market.url)).send().await?;
    let paid = answer.paid().ok_or("nothing was paid")?;
    assert_eq!((paid.outcome, paid.price().as_str()), (PaymentOutcome::Settled, "0.25 USDC"));
    println!("  signed at most {}", paid.price());
    println!("  {:?} cost {}", answer.text().await?, market.earned()?);
    assert_eq!(market.earned()?, "$0.007");

    let answer = client.get(format!("{}/silence", market.url)).send().await?;
    let paid = answer.paid().ok_or("nothing was signed")?;
    assert_eq!((paid.outcome, &paid.transaction), (PaymentOutcome::Settled, &None));
    assert_eq!(market.earned()?, "$0.007");
    println!("  nothing used: settled with no transaction");

    // A handler that fails is not paid. The buyer is told of the failure, not of the money, and so does not count on it.
    match client.get(format!("{}/greed", market.url)).send().await {
        Err(Error::Unknown(unknown)) => println!("  more than the ceiling: {}", unknown.why),
        other => return Err(format!("expected a failure of the handler, got {other:?}").into()),
    }
    assert_eq!(market.earned()?, "$0.007");
    Ok(())
}
