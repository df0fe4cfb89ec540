//! The gateway's word in the payment layer: who need not pay, who must not, and who has paid enough for now.

use std::sync::Arc;

use farthing_core::network::Network;
use farthing_core::wire::VerifyResponse;
use farthing_server::hooks::{
    Access, AfterVerify, HookContext, HookFuture, Hooks, ProtectedRequest, SignedIn, TurnedAway, Welcome,
};
use http::StatusCode;

use super::passes::Opened;
use super::request::{too_many, uncounted};
use super::rules::Rules;
use super::screening::{AUDIT, Verdict};
use super::ticket::Ticket;
use crate::file::{PayerName, Subject};

/// After how many seconds to come again where something could not be asked.
const RETRY_AFTER_SECONDS: u64 = 5;

/// The rules of one route.
pub(super) struct RouteHook(pub(super) Arc<Rules>);

impl Hooks for RouteHook {
    fn name(&self) -> &'static str {
        "gateway"
    }

    fn on_protected_request<'a>(&'a self, request: &'a ProtectedRequest) -> HookFuture<'a, Access> {
        let is_let_in = request.extensions.get::<Arc<Ticket>>().is_some_and(|ticket| ticket.pass.is_some());
        let said = if is_let_in { Access::Grant } else { Access::Continue };
        Box::pin(std::future::ready(Ok(said)))
    }

    fn asks_visitors(&self) -> bool {
        self.0.asks_payers() || self.0.gives_payers().is_some() || self.0.takes_passes().is_some()
    }

    fn on_signed_in<'a>(&'a self, signed_in: &'a SignedIn) -> HookFuture<'a, Welcome> {
        Box::pin(async move {
            let payer = PayerName::of(signed_in.visitor.account.as_str());
            if let Err(away) = self.0.let_pay(&payer, &signed_in.visitor.network).await {
                return Ok(Welcome::TurnAway(away));
            }
            let Some(ticket) = signed_in.extensions.get::<Arc<Ticket>>().filter(|_| !signed_in.has_paid) else {
                return Ok(Welcome::Continue);
            };
            if let Some(quota) = self.0.gives_payers()
                && let Some(told) = self.0.take_free(quota, payer.as_str()).await
            {
                ticket.note(told);
                if told.taken.is_granted {
                    return Ok(Welcome::Grant);
                }
            }
            let Some(book) = self.0.takes_passes() else { return Ok(Welcome::Continue) };
            // To be asked for money again would be wrong for who has paid: where the book cannot be read, nobody is.
            let who = (&payer, &signed_in.visitor.network);
            match book.open(&self.0.passes, who, self.0.credits.into()).await? {
                None => return Ok(Welcome::Continue),
                Some(Opened::ForTime) => {}
                Some(Opened::For(spent)) => ticket.spend(spent),
            }
            Ok(Welcome::Grant)
        })
    }

    fn verifies_first(&self) -> bool {
        self.0.asks_payers()
    }

    fn on_after_verify<'a>(&'a self, context: &'a HookContext, _: &'a VerifyResponse) -> HookFuture<'a, AfterVerify> {
        Box::pin(async move {
            if !self.0.asks_payers() {
                return Ok(AfterVerify::Continue);
            }
            let Some(payer) = &context.payer else {
                let message = "the facilitator did not say who pays, which has to be known here; nothing was charged";
                return Ok(AfterVerify::TurnAway(away(StatusCode::FORBIDDEN, "payer_unknown", message)));
            };
            let payer = PayerName::of(payer.as_str());
            let said = self.0.let_pay(&payer, &context.requirements.network).await;
            Ok(said.map_or_else(AfterVerify::TurnAway, |()| AfterVerify::Continue))
        })
    }
}

impl Rules {
    /// Whether this account may pay here, now.
    async fn let_pay(&self, payer: &PayerName, network: &Network) -> Result<(), TurnedAway> {
        if self.lists.name_payers() && !self.lists.let_pay(payer) {
            let (payer, route) = (payer.as_str(), &*self.route);
            tracing::info!(target: AUDIT, payer, %network, route, decision = "deny", by = "lists", "a payer was screened");
            let message = "nothing is sold to this account; nothing was charged";
            return Err(away(StatusCode::FORBIDDEN, "payer_blocked", message));
        }
        self.limit_payer(payer).await?;
        let Some((screening, clock)) = self.desk.screening.as_ref().zip(self.desk.clock.as_ref()) else { return Ok(()) };
        match screening.screen(payer, network, &self.route, clock.now()).await {
            Verdict::Allowed => Ok(()),
            Verdict::Denied => {
                let message = "nothing is sold to this account; nothing was charged";
                Err(away(StatusCode::FORBIDDEN, "payer_blocked", message))
            }
            Verdict::Unknown => {
                let message = "this account cannot be looked up right now; nothing was charged; present the same payment later";
                Err(later(away(StatusCode::SERVICE_UNAVAILABLE, "screening_unavailable", message), RETRY_AFTER_SECONDS))
            }
        }
    }

    async fn limit_payer(&self, payer: &PayerName) -> Result<(), TurnedAway> {
        for limit in self.rate_limits.iter().filter(|limit| limit.by == Subject::Payer) {
            let unavailable = || {
                let message =
                    "payments are limited here, and cannot be counted right now; nothing was charged; come again later";
                later(away(StatusCode::SERVICE_UNAVAILABLE, "book_unavailable", message), RETRY_AFTER_SECONDS)
            };
            let Some(counters) = &self.counters else { return Err(unavailable()) };
            let told = counters.limit(limit, payer.as_str()).await.map_err(|error| {
                uncounted(&error, "a payer was turned away: the payment could not be counted");
                unavailable()
            })?;
            if !told.taken.is_granted {
                let refused = away(StatusCode::TOO_MANY_REQUESTS, "rate_limited", too_many(limit, &told));
                return Err(later(refused, told.renews_in_seconds()));
            }
        }
        Ok(())
    }
}

fn away(status: StatusCode, error: &'static str, message: impl Into<String>) -> TurnedAway {
    TurnedAway { status, error, message: message.into(), retry_after_seconds: None }
}

fn later(away: TurnedAway, seconds: u64) -> TurnedAway {
    TurnedAway { retry_after_seconds: Some(seconds), ..away }
}
