//! Permit2 for buyers without gas (`eip2612GasSponsoring`, `erc20ApprovalGasSponsoring`): the facilitator pays for the approval
//! that a payment by Permit2 needs once.

use axum::Router;
use axum::routing::get;
use farthing::core::Source;
use farthing::core::reason::Reason;
use farthing::evm::U256;
use farthing::evm::config::SponsorConfig;
use farthing_devnet::PERMIT2;

use crate::market::{Market, NETWORK, refusal};

pub async fn run() -> Result<(), Source> {
    let permits = SponsorConfig::default();
    println!("  by a permit, in the payment's own transaction:");
    assert_eq!(buy(permits).await?, U256::ZERO);
    println!("    the permit was for this payment alone: nothing is left of it");

    // A thousandth of a coin at most, for the gas of the buyer's own approval.
    let approvals = SponsorConfig { permits: false, approvals: true, max_funding_gwei: 1_000_000 };
    println!("  by the buyer's own approval, for whose gas the facilitator gives it coin:");
    assert!(buy(approvals).await? > U256::from(u128::MAX));
    println!("    the approval is for good: payments by Permit2 need no other");
    Ok(())
}

/// Sells to a buyer without gas, and says what is left of its approval.
async fn buy(sponsor: SponsorConfig) -> Result<U256, Source> {
    let mut market = Market::open().await?;
    let facilitator = market.facilitator_with(|chain| chain.sponsor = sponsor)?.start()?;

    // The seller does nothing for it: what the facilitator sponsors is declared beside offers that need it.
    let toll = market.seller(facilitator)?.build().await?;
    let layer = toll.price_up_to("$0.25")?;
    market.serve(Router::new().route("/report", get(|| async { "14 ships in" }).layer(layer)))?;

    // The buyer has dollars, no coin for gas, and has approved nothing.
    let (usdc, buyer) = (market.devnet.usdc(), market.signer(1)?.address());
    market.devnet.set_balance(buyer, U256::ZERO);
    assert_eq!(market.devnet.allowance(usdc, buyer, PERMIT2)?, U256::ZERO);
    let report = format!("{}/report", market.url);

    // A wallet that can ask no node does not know what to approve with, so that its payment is refused.
    let blind = market.buyer()?.build()?;
    let refused = refusal(&blind, &report).await?;
    assert_eq!((refused.status, &refused.reason), (412, &Some(Reason::Permit2AllowanceRequired)));
    println!("    without a node: {refused}");

    let client = market.buyer()?.node(NETWORK, &market.devnet.rpc_url())?.build()?;
    let answer = client.get(&report).send().await?;
    assert_eq!(market.earned()?, "$0.25");
    println!("    with a node: {:?} for {}", answer.text().await?, market.earned()?);
    Ok(market.devnet.allowance(usdc, buyer, PERMIT2)?)
}
