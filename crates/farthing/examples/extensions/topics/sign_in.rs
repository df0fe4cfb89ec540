//! Pay once, come back without paying (`sign-in-with-x`): a wallet proves who it is, and what it has bought opens again.

use axum::routing::get;
use axum::{Extension, Router};
use farthing::client::SignInPolicy;
use farthing::core::Source;
use farthing::server::{Paid, SignInOptions, Visitor};

use crate::market::Market;

/// A day and a half, in seconds.
const OPEN_SECONDS: u64 = 36 * 60 * 60;

async fn report(paid: Option<Extension<Paid>>, visitor: Option<Extension<Visitor>>) -> &'static str {
    match (paid, visitor) {
        (Some(_), None) => "14 ships in, for a payer",
        (None, Some(_)) => "14 ships in, for a visitor",
        _ => "nobody comes in otherwise",
    }
}

async fn members(Extension(visitor): Extension<Visitor>) -> String {
    format!("welcome, {}", visitor.account)
}

pub async fn run() -> Result<(), Source> {
    let mut market = Market::open().await?;
    let facilitator = market.facilitator()?.start()?;

    // The seller: one route that whoever paid for may read again, and one that costs nothing but a signature. A sign-in is for
    // one origin, which no request can be trusted with, so `public_url` must be set (the market's `seller` does).
    let toll = market.seller(facilitator)?.build().await?;
    let again = SignInOptions::new().statement("Sign in to read again what you paid for").granted_for(OPEN_SECONDS);
    let app = Router::new()
        .route("/report", get(report).layer(toll.price("$0.25")?.sign_in(again)?))
        .route("/members", get(members).layer(toll.sign_in_only(SignInOptions::new())?));
    market.serve(app)?;

    // The buyer: by default it signs in where its ledger says that it has paid before.
    let client = market.buyer()?.build()?;
    let url = format!("{}/report?year=2026", market.url);
    for (visit, says, earned) in [(1, "14 ships in, for a payer", "$0.25"), (2, "14 ships in, for a visitor", "$0.25")] {
        let answer = client.get(&url).send().await?;
        assert_eq!(answer.text().await?, says);
        assert_eq!(market.earned()?, earned);
        println!("  visit {visit}: {says}; the seller has {earned}");
    }

    // A payment opens exactly what it bought.
    let other = client.get(format!("{}/report?year=2025", market.url)).send().await?;
    assert!(other.paid().is_some());
    assert_eq!(market.earned()?, "$0.5");
    println!("  another year costs again: the seller has {}", market.earned()?);

    // To sign in where nothing was ever paid, one has to want to: the server learns who asks.
    let client = market.buyer()?.sign_in(SignInPolicy::Always).build()?;
    let answer = client.get(format!("{}/members", market.url)).send().await?;
    assert!(answer.paid().is_none());
    let welcome = answer.text().await?;
    assert_eq!(welcome, format!("welcome, {}", market.signer(1)?.address()));
    println!("  {welcome}");
    Ok(())
}
