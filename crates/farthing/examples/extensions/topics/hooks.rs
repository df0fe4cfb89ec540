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
use farthing::facilitator::{self, Before};
use farthing::server;
use farthing::server::hooks::{Access, ProtectedRequest, SettlePhase};

use crate::market::{Market, refusal};

/// What a hook comes to. An error is one of its own, and stops the payment if nothing was sent yet.
type HookFuture<'a, T> = BoxFuture<'a, Result<T, Source>>;

/// The buyer: somebody has to agree to what is dear. Nobody is there.
struct AskAbove(Usd);

impl farthing::client::Hooks for AskAbove {
    fn before_payment_creation<'a>(&'a self, creation: &'a PaymentCreation<'a>) -> HookFuture<'a, Approval> {
        Box::pin(async move {
            if creation.selected.usd <= self.0 {
                return Ok(Approval::Go);
            }
            Ok(Approval::Abort { reason: format!("nobody agreed to pay {}", creation.selected.price()) })
        })
    }
}

/// The seller: the press reads for nothing, and sales are counted.
#[derive(Default)]
struct Counter {
    sold: AtomicU32,
}

impl server::Hooks for Counter {
    fn on_protected_request<'a>(&'a self, request: &'a ProtectedRequest) -> HookFuture<'a, Access> {
        let is_press = request.headers.get("x-press-card").is_some_and(|card| card == "harbour-news");
        Box::pin(async move { Ok(if is_press { Access::Grant } else { Access::Continue }) })
    }

    fn on_after_settle<'a>(
        &'a self,
        _: &'a server::hooks::HookContext,
        _: SettlePhase,
        _: &'a SettleResponse,
    ) -> HookFuture<'a, ()> {
        self.sold.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { Ok(()) })
    }
}

/// The operator: does not settle for everybody.
struct Blocklist(String);

impl facilitator::Hooks for Blocklist {
    fn on_before_settle<'a>(&'a self, context: &'a facilitator::HookContext<'a>) -> HookFuture<'a, Before<SettleResponse>> {
        Box::pin(async move {
            if context.record.payer.as_str() != self.0 {
                return Ok(Before::Continue);
            }
            let message = "this facilitator does not settle for the payer";
            Ok(Before::Abort(Refusal::new(Reason::from("payer_blocked"), message)))
        })
    }
}

pub async fn run() -> Result<(), Source> {
    let mut market = Market::open().await?;
    let stranger = market.signer(5)?;
    let blocklist = Blocklist(stranger.address().to_string());
    let facilitator = market.facilitator()?.hooks(Arc::new(blocklist)).start()?;

    let counter = Arc::new(Counter::default());
    let toll = market.seller(facilitator)?.hooks(counter.clone()).build().await?;
    let app = Router::new()
        .route("/report", get(|| async { "14 ships in" }).layer(toll.price("$0.05")?))
        .route("/archive", get(|| async { "ten years of ships" }).layer(toll.price("$0.90")?));
    market.serve(app)?;
    let (report, archive) = (format!("{}/report", market.url), format!("{}/archive", market.url));

    // The buyer's hook lets pass what is cheap, and not what is dear.
    let client = market.buyer()?.hooks(Arc::new(AskAbove("$0.10".parse()?))).build()?;
    client.get(&report).send().await?;
    assert_eq!((market.earned()?.as_str(), counter.sold.load(Ordering::SeqCst)), ("$0.05", 1));
    println!("  cheap: bought for {}", market.earned()?);
    match client.get(&archive).send().await {
        Err(Error::RefusedByPolicy(declined)) => println!("  dear: {declined}"),
        other => return Err(format!("expected the buyer's hook to abort, got {other:?}").into()),
    }

    // The seller's hook lets the press in.
    let press = client.get(&archive).header("x-press-card", "harbour-news").send().await?;
    assert_eq!((press.paid().is_none(), press.text().await?.as_str()), (true, "ten years of ships"));
    println!("  the press: let in for nothing");

    // The operator's hook refuses what was verified and served; the answer is dropped, and nobody is charged.
    market.fund(stranger.address())?;
    let blocked = farthing::Client::builder().signer(stranger).build()?;
    let refused = refusal(&blocked, &report).await?;
    assert_eq!(refused.reason, Some(Reason::from("payer_blocked")));
    println!("  blocked: {refused}");
    assert_eq!((market.earned()?.as_str(), counter.sold.load(Ordering::SeqCst)), ("$0.05", 1));
    Ok(())
}
