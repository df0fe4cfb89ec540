//! Lifecycle hooks: code of your own at the turns of a payment's life, for the buyer, the seller and the operator.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::routing::get;
use farthing::client::hooks::PaymentCreation;
use farthing::client::{Approval, Error};
use farthing::core::books::Usd;
use farthing::core::reason::{Reason, Refusal};
use farthing::core::wire::SettleResponse;
use farthing::core::{BoxFuture, Source};
use farthing::facilitator::{Before, HookContext, HookFuture};

use crate::market::Market;

/// The buyer: what is dear, somebody has to agree to. Nobody is there.
struct AskAbove(Usd);

impl farthing::client::Hooks for AskAbove {
    fn before_payment_creation<'a>(&'a self, creation: &'a PaymentCreation<'a>) -> BoxFuture<'a, Result<Approval, Source>> {
        Box::pin(async move {
            let (price, resource) = (creation.selected.price(), creation.resource);
            if creation.selected.usd <= self.0 {
                return Ok(Approval::Go);
            }
            Ok(Approval::Abort { reason: format!("nobody agreed to pay {price} for {resource}") })
        })
    }
}

/// The operator: does not settle for some, and counts what it does settle.
struct Desk {
    blocked: String,
    settled: AtomicU32,
}

impl farthing::facilitator::Hooks for Desk {
    fn on_before_settle<'a>(&'a self, context: &'a HookContext<'a>) -> HookFuture<'a, Before<SettleResponse>> {
        Box::pin(async move {
            if context.record.payer.as_str().eq_ignore_ascii_case(&self.blocked) {
                let message = "this facilitator does not settle for the payer";
                return Ok(Before::Abort(Refusal::new(Reason::from("payer_blocked"), message)));
            }
            Ok(Before::Continue)
        })
    }

    fn on_after_settle<'a>(&'a self, _: &'a HookContext<'a>, _: &'a SettleResponse) -> HookFuture<'a, ()> {
        self.settled.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { Ok(()) })
    }
}

pub async fn run() -> Result<(), Source> {
    let mut market = Market::open().await?;
    let stranger = market.signer(5)?;
    let desk = Arc::new(Desk { blocked: stranger.address().to_string(), settled: AtomicU32::new(0) });
    let facilitator = market.facilitator()?.hooks(desk.clone()).start()?;

    let toll = market.seller(facilitator)?.build().await?;
    let app = Router::new()
        .route("/report", get(|| async { "14 ships in" }).layer(toll.price("$0.05")?))
        .route("/archive", get(|| async { "ten years of ships" }).layer(toll.price("$0.90")?));
    market.serve(app)?;
    let (report, archive) = (format!("{}/report", market.url), format!("{}/archive", market.url));

    let client = market.buyer()?.hooks(Arc::new(AskAbove("$0.10".parse()?))).build()?;
    client.get(&report).send().await?;
    assert_eq!((market.earned()?.as_str(), desk.settled.load(Ordering::SeqCst)), ("$0.05", 1));
    println!("  cheap: bought, and the operator has counted {} settlement", desk.settled.load(Ordering::SeqCst));
    match client.get(&archive).send().await {
        Err(Error::RefusedByPolicy(declined)) => println!("  dear: {declined}"),
        other => return Err(format!("expected the buyer's hook to abort, got {other:?}").into()),
    }

    market.fund(stranger.address())?;
    let blocked = farthing::Client::builder().signer(stranger).build()?;
    match blocked.get(&report).send().await {
        Err(Error::Rejected(refused)) => {
            assert_eq!(refused.reason, Some(Reason::from("payer_blocked")));
            println!("  blocked: {refused}");
        }
        other => return Err(format!("expected the operator's hook to abort, got {other:?}").into()),
    }
    assert_eq!(market.earned()?, "$0.05");
    Ok(())
}
