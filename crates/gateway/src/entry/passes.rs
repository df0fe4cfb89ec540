//! Passes: bought once with a payment, and then used by signing in as the payer.
//!
//! 1. A pass is sold on a route of its own, at which the money moves before anything else is done (`upfront`). What it buys is
//!    written into the book under its payment. If that fails, the buyer presents the same payment again, as after every failure
//!    of an upstream that was paid before; the book gives once for each payment.
//! 2. Whoever signs in on a route that takes the pass, on the network on which it was paid, is served while its time lasts, or
//!    for credits. Those are taken before the upstream is asked, and given back if it answers that it failed.

use std::convert::Infallible;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use farthing_core::asset::AccountId;
use farthing_core::books::{BookError, PassBalance, PassHolder, PassPurchase, PassTerms, Passes};
use farthing_core::network::Network;
use farthing_core::time::{Clock, UnixSeconds};
use farthing_server::Paid;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response, StatusCode};
use serde_json::json;
use tower_service::Service;

use crate::file::{self, PassKind, PayerName};
use crate::problem::Problem;
use crate::service::BoxAnswer;

/// The book, and the time.
#[derive(Clone)]
pub(crate) struct PassBook {
    pub(super) passes: Arc<dyn Passes>,
    pub(super) clock: Arc<dyn Clock>,
}

/// What sells one pass: it is behind the payment, in the place of an upstream.
#[derive(Clone)]
pub(crate) struct PassSale {
    pass: Arc<file::Pass>,
    book: PassBook,
}

/// Credits that were taken for one request.
#[derive(Clone, Debug)]
pub(super) struct Spent {
    pub(super) holder: PassHolder,
    pub(super) credits: NonZeroU64,
}

/// How somebody gets in by a pass.
pub(super) enum Opened {
    /// While its time lasts.
    ForTime,
    /// For credits.
    For(Spent),
}

impl PassBook {
    /// Whether this account has one of these passes, whose credits are then taken.
    pub(super) async fn open(
        &self,
        passes: &[Arc<file::Pass>],
        (payer, network): (&PayerName, &Network),
        credits: NonZeroU64,
    ) -> Result<Option<Opened>, BookError> {
        for pass in passes {
            let Some(holder) = holder(pass, payer.as_str(), network) else { continue };
            match pass.kind {
                PassKind::Lasts(_) if self.passes.balance(&holder).await?.is_open(self.clock.now()) => {
                    return Ok(Some(Opened::ForTime));
                }
                PassKind::Lasts(_) => {}
                PassKind::Credits(_) => {
                    if self.passes.spend(&holder, credits).await?.is_some() {
                        return Ok(Some(Opened::For(Spent { holder, credits })));
                    }
                }
            }
        }
        Ok(None)
    }

    pub(super) async fn give_back(&self, spent: &Spent) {
        if let Err(error) = self.passes.give_back(&spent.holder, spent.credits).await {
            let cause = &error as &dyn std::error::Error;
            let (pass, payer, credits) = (&spent.holder.pass, spent.holder.payer.as_str(), spent.credits);
            tracing::error!(cause, pass, payer, credits, "credits could not be given back for a request that failed");
        }
    }
}

impl PassSale {
    pub(crate) fn new(pass: &Arc<file::Pass>, book: PassBook) -> Self {
        Self { pass: Arc::clone(pass), book }
    }

    async fn grant(&self, paid: Option<Paid>) -> Result<Response<Body>, Problem> {
        let unsold = |message| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "pass_not_granted", message);
        let paid = paid.ok_or_else(|| unsold("nothing is charged here at the moment, so no pass can be bought"))?;
        let payer = paid.payer.as_ref().map(|payer| PayerName::of(payer.as_str()));
        let holder = payer.and_then(|payer| holder(&self.pass, payer.as_str(), &paid.network));
        let holder = holder.ok_or_else(|| unsold("the facilitator did not say who has paid"))?;
        let terms = match self.pass.kind {
            PassKind::Lasts(period) => PassTerms::Seconds(period.seconds()),
            PassKind::Credits(credits) => PassTerms::Credits(credits.into()),
        };
        let purchase = PassPurchase { payment: paid.payment_key, holder, terms, now: self.book.clock.now() };
        match self.book.passes.grant(&purchase).await {
            Ok(balance) => Ok(receipt(&purchase.holder, balance)),
            Err(error) => {
                let cause = &error as &dyn std::error::Error;
                tracing::error!(cause, payment_key = %purchase.payment, "a pass that was paid for could not be written down");
                Err(unsold("the pass could not be written down; present the same payment again, and do not sign another"))
            }
        }
    }
}

fn holder(pass: &file::Pass, payer: &str, network: &Network) -> Option<PassHolder> {
    let payer: AccountId = payer.parse().ok()?;
    Some(PassHolder { pass: pass.name.clone(), network: network.clone(), payer })
}

/// What was bought, for whoever bought it.
fn receipt(holder: &PassHolder, balance: PassBalance) -> Response<Body> {
    let PassHolder { pass, network, payer } = holder;
    let until = balance.until.map(|UnixSeconds(until)| until);
    let text = json!({
        "pass": pass, "network": network.as_str(), "payer": payer.as_str(), "until": until, "credits": balance.credits,
    });
    let mut answer = Response::new(Body::from(text.to_string()));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

impl Service<Request<Body>> for PassSale {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxAnswer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> BoxAnswer {
        let (sale, version) = (self.clone(), request.version());
        let paid = request.extensions().get::<Paid>().cloned();
        Box::pin(async move { Ok(sale.grant(paid).await.unwrap_or_else(|problem| problem.answer(version))) })
    }
}
