//! One request on the terms of its route: as it comes, and as its answer leaves.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use farthing_core::books::BookError;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};

use super::limits::counted;
use super::rules::Rules;
use super::ticket::{Pass, Subscriber, Ticket, Told};
use super::{caller, fallback};
use crate::file::{FreeQuota, RateLimit, Subject};
use crate::problem::Problem;
use crate::upstream::AddedHeaders;

/// Under which target it is logged what would have been charged.
const SHADOW: &str = "farthing::shadow";
/// How the upstream hears why nobody pays.
const ACCESS: HeaderName = HeaderName::from_static("farthing-access");
/// How it hears whose key or token came.
const SUBSCRIBER: HeaderName = HeaderName::from_static("farthing-subscriber");
/// Whom requests count for of which nobody knows where they come from.
const UNKNOWN_ADDRESS: &str = "unknown";

impl Rules {
    /// Looks at a request as it comes: what is known of it then goes with it. Or why it goes no further.
    pub(crate) async fn arrive(&self, request: &mut Request<Body>) -> Result<Option<Arc<Ticket>>, Problem> {
        if self.is_plain() {
            return Ok(None);
        }
        let address = caller::address(request, &self.trusted);
        let subscriber = self.desk.subscriber(request.headers_mut(), &self.proofs)?;
        let pays = caller::pays(request.headers());
        let client = address.map_or_else(|| UNKNOWN_ADDRESS.to_owned(), |address| address.to_string());
        let mut ticket = Ticket::new(client, subscriber);
        self.limit(&ticket, address).await?;
        ticket.pass = self.pass(&ticket, address, pays).await;
        let added = added(&ticket);
        if !added.is_empty() {
            let mut more = request.extensions_mut().remove::<AddedHeaders>().unwrap_or_default();
            more.0.extend(added);
            request.extensions_mut().insert(more);
        }
        let ticket = Arc::new(ticket);
        request.extensions_mut().insert(Arc::clone(&ticket));
        Ok(Some(ticket))
    }

    /// Tells in an answer what there is to tell, and writes down what was not charged.
    pub(crate) async fn leave(&self, ticket: Option<Arc<Ticket>>, mut answer: Response<Body>) -> Response<Body> {
        if let Some(ticket) = ticket {
            ticket.tell(answer.headers_mut());
            if ticket.pass == Some(Pass::Shadow) && answer.status().as_u16() < 400 {
                self.note_uncharged(&ticket);
            }
            if answer.status().as_u16() >= 400
                && let Some((book, spent)) = self.pass_book.as_ref().zip(ticket.take_back())
            {
                book.give_back(&spent).await;
            }
        }
        match &self.fallback {
            Some(fallback) => fallback::offer(fallback, answer).await,
            None => answer,
        }
    }

    /// Whether nothing about a request matters here before its payment.
    fn is_plain(&self) -> bool {
        self.proofs.is_empty()
            && self.rate_limits.is_empty()
            && self.free_quota.is_none()
            && !self.is_shadow
            && self.passes.is_empty()
    }

    /// Counts a request against the limits of its address and its key.
    async fn limit(&self, ticket: &Ticket, address: Option<IpAddr>) -> Result<(), Problem> {
        for limit in &self.rate_limits {
            let Some(who) = subject(limit.by, ticket.subscriber.as_ref(), address) else { continue };
            let Some(counters) = &self.counters else { return Err(uncountable()) };
            let told = counters.limit(limit, &who).await.map_err(|error| {
                uncounted(&error, "a request was turned away: it could not be counted");
                uncountable()
            })?;
            ticket.note(told);
            if !told.taken.is_granted {
                let message = too_many(limit, &told);
                return Err(
                    Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", message).retry_after(told.renews_in_seconds())
                );
            }
        }
        Ok(())
    }

    /// Why a request need not pay, if that is so. One that pays all the same is not one of the free ones.
    async fn pass(&self, ticket: &Ticket, address: Option<IpAddr>, pays: bool) -> Option<Pass> {
        if self.is_shadow {
            return Some(Pass::Shadow);
        }
        if ticket.subscriber.as_ref().is_some_and(|subscriber| self.subscribers.contains(&subscriber.proof)) {
            return Some(Pass::Subscriber);
        }
        let quota = self.free_quota.as_ref().filter(|_| !pays)?;
        // Where nobody knows where requests come from, all of them would be one caller's.
        let who = match quota.by {
            Subject::Ip => counted(address?),
            Subject::Key => ticket.subscriber.as_ref()?.counted(),
            Subject::Payer => return None,
        };
        let told = self.take_free(quota, &who).await?;
        ticket.note(told);
        told.taken.is_granted.then_some(Pass::FreeQuota)
    }

    /// One of the free requests. If it cannot be counted it is not free, and can be paid for.
    pub(super) async fn take_free(&self, quota: &FreeQuota, who: &str) -> Option<Told> {
        match self.counters.as_ref()?.free(quota, who).await {
            Ok(told) => Some(told),
            Err(error) => {
                uncounted(&error, "a request was not free: it could not be counted");
                None
            }
        }
    }

    fn note_uncharged(&self, ticket: &Ticket) {
        let (route, price) = (&*self.route, self.price.as_deref().unwrap_or_default());
        let subscriber = ticket.subscriber.as_ref().map(|subscriber| subscriber.name.as_str());
        metrics::counter!("farthing_gateway_shadow_requests_total", "route" => metrics::SharedString::from_shared(Arc::clone(&self.route))).increment(1);
        tracing::info!(target: SHADOW, route, price, client = ticket.client, subscriber, "a request would have been charged");
    }
}

/// Whom a limit counts before a payment is looked at.
fn subject(by: Subject, subscriber: Option<&Subscriber>, address: Option<IpAddr>) -> Option<String> {
    match by {
        Subject::Ip => Some(address.map_or_else(|| UNKNOWN_ADDRESS.to_owned(), counted)),
        Subject::Key => subscriber.map(Subscriber::counted),
        Subject::Payer => None,
    }
}

/// What the upstream hears.
fn added(ticket: &Ticket) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(pass) = ticket.pass {
        headers.insert(ACCESS, HeaderValue::from_static(pass.as_str()));
    }
    if let Some(name) = ticket.subscriber.as_ref().and_then(|subscriber| HeaderValue::from_str(&subscriber.name).ok()) {
        headers.insert(SUBSCRIBER, name);
    }
    headers
}

pub(super) fn too_many(limit: &RateLimit, told: &Told) -> String {
    let seconds = told.renews_in_seconds();
    format!("{limit}, and this is one more; nothing was charged; come again in {seconds} s")
}

fn uncountable() -> Problem {
    let message = "requests are limited here, and cannot be counted right now; nothing was charged; come again later";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "book_unavailable", message).retry_after(5)
}

pub(super) fn uncounted(error: &BookError, what: &str) {
    let cause = error as &dyn std::error::Error;
    tracing::error!(cause, "{what}");
}
