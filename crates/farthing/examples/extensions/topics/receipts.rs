//! Signed offers and receipts (`offer-receipt`): the seller's word for what it asked and what it was paid, to be shown to others.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use farthing::core::Source;
use farthing::core::extension::offer_receipt::{Issuer, SignedBy};
use farthing::evm::offer_receipt::{StatementChecker, StatementSigner};

use crate::market::Market;

pub async fn run() -> Result<(), Source> {
    let mut market = Market::open().await?;
    let facilitator = market.facilitator()?.start()?;

    // The seller signs with a key of its own for that, which holds no money. As a rule: `server::issuer("env:NOTARY_KEY")?`.
    let notary = market.signer(3)?;
    let notary_account = SignedBy::Account(notary.address().to_string().parse()?);
    let issuer = Issuer::new(Arc::new(StatementSigner::new(notary))).naming_transactions();
    let toll = market.seller(facilitator)?.offer_receipts(issuer).build().await?;
    let layer = toll.price("$0.25")?;
    market.serve(Router::new().route("/report", get(|| async { "14 ships in" }).layer(layer)))?;

    // The buyer knows from elsewhere whose key it is: a signature by just anybody proves nothing.
    let client = market.buyer()?.build()?;
    let url = format!("{}/report", market.url);
    let answer = client.get(&url).send().await?;
    let trusted = [notary_account];
    let offer = answer.verify_offer(&StatementChecker, &trusted).await?;
    assert_eq!((&offer.resource_url, offer.amount), (&url, 250_000_u64.into()));
    println!("  the seller signed that {} costs {} atomic units", offer.resource_url, offer.amount);

    let receipt = answer.verify_receipt(&StatementChecker, &trusted).await?;
    assert_eq!(receipt.payer.to_string(), market.signer(1)?.address().to_string());
    let paid = answer.paid().and_then(|paid| paid.transaction.clone()).ok_or("there is no transaction")?;
    assert_eq!(receipt.transaction, paid.0);
    println!("  and that {} has paid for it, in {}", receipt.payer, receipt.transaction);

    let fault = answer.verify_receipt(&StatementChecker, &[]).await.err().ok_or("anybody's signature was taken")?;
    println!("  for a buyer who does not know the key: {fault}");
    Ok(())
}
