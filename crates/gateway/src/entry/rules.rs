//! The terms of one route, and one request on it.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use farthing_core::books::{BookError, MemoryQuotas};
use farthing_server::Server;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};

use super::desk::Desk;
use super::hook::RouteHook;
use super::limits::{Counters, counted};
use super::lists::Lists;
use super::ticket::{Pass, Subscriber, Ticket, Told};
use super::{caller, fallback};
use crate::file::{self, Access, Fallback, FreeQuota, OrOff, Proof, RateLimit, Subject};
use crate::forwarded::TrustedProxies;
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

/// What the rules of a route are made of.
pub(crate) struct Terms<'a> {
    pub(crate) settings: &'a file::Gateway,
    pub(crate) desk: &'a Arc<Desk>,
    pub(crate) lists: &'a Arc<Lists>,
    /// Where this process counts for itself.
    pub(crate) local: &'a MemoryQuotas,
}

/// The terms of one route.
pub(crate) struct Rules {
    pub(super) desk: Arc<Desk>,
    pub(super) lists: Arc<Lists>,
    pub(super) route: Arc<str>,
    pub(super) free_quota: Option<FreeQuota>,
    pub(super) rate_limits: Vec<RateLimit>,
    pub(super) counters: Option<Counters>,
    trusted: TrustedProxies,
    price: Option<String>,
    subscribers: Vec<Proof>,
    /// By which keys or tokens requests are known here.
    proofs: Vec<Proof>,
    fallback: Option<Fallback>,
    is_shadow: bool,
}

/// Why the terms of a route cannot be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Nobody has a key.
    #[error("subscribers: \"key\" needs a [gateway.keys] table that says who has which key")]
    NoKeys,
    /// No token is believed.
    #[error("subscribers: \"token\" needs a [gateway.tokens] table that says which tokens are believed")]
    NoTokens,
    /// Nobody could be counted.
    #[error("{0}: by = \"key\" needs [gateway.keys] or [gateway.tokens]")]
    NobodyByKey(&'static str),
    /// Nobody could show who they are before they pay.
    #[error("free_quota: by = \"payer\" needs sign_in = true on the route, by which payers show who they are")]
    NoSignIn,
    /// Nobody pays here.
    #[error("rate_limits: by = \"payer\" is for routes that have a price")]
    NobodyPays,
    /// Nothing could be counted for good.
    #[error("{0}: it is counted in the book, and there is none")]
    NoBook(&'static str),
    /// Nothing could be counted.
    #[error("{0} need the time, and there is no clock")]
    NoClock(&'static str),
    /// Nobody would be screened.
    #[error("[gateway.screening], [gateway.keys] and [gateway.tokens] need what they refer to, and nothing was fetched")]
    NoDesk,
}

impl Rules {
    pub(crate) fn new(terms: &Terms<'_>, route: &file::Route) -> Result<Self, EntryError> {
        let Terms { settings, desk, lists, local } = *terms;
        let entry = route.entry.or(&settings.entry());
        let sale = match &route.access {
            Access::Priced(sale) => Some(sale),
            Access::Free | Access::Denied => None,
        };
        let is_priced = sale.is_some();
        let mut rate_limits = entry.rate_limits.unwrap_or_default();
        if !is_priced && route.entry.rate_limits.is_none() {
            // What is said for all routes holds where it makes sense.
            rate_limits.retain(|limit| limit.by != Subject::Payer);
        }
        let free_quota = entry.free_quota.as_ref().and_then(OrOff::on).copied().filter(|_| is_priced);
        let subscribers = entry.subscribers.filter(|_| is_priced).unwrap_or_default();
        let by_key = rate_limits.iter().any(|limit| limit.by == Subject::Key)
            || free_quota.is_some_and(|quota| quota.by == Subject::Key);
        let proofs = if by_key { vec![Proof::Key, Proof::Token] } else { subscribers.clone() };
        let pattern = route.matches.to_string();
        let (shared, local) = (desk.quotas.clone(), local.clone());
        let counters = desk.clock.clone().map(|clock| Counters { route: pattern.clone(), clock, shared, local });
        let rules = Self {
            desk: Arc::clone(desk),
            lists: Arc::clone(lists),
            route: Arc::from(pattern),
            free_quota,
            rate_limits,
            counters,
            trusted: settings.upstream.trusted_proxies.clone(),
            price: sale.map(|sale| sale.price.to_string()),
            subscribers,
            proofs,
            fallback: entry.fallback.as_ref().and_then(OrOff::on).cloned().filter(|_| is_priced),
            is_shadow: is_priced && entry.shadow.unwrap_or_default(),
        };
        rules.check(settings, sale.is_some_and(|sale| sale.sign_in.is_some()))?;
        Ok(rules)
    }

    fn check(&self, settings: &file::Gateway, has_sign_in: bool) -> Result<(), EntryError> {
        let Desk { keys, tokens, quotas, clock, screening } = self.desk.as_ref();
        let is_unfetched = [
            settings.keys.is_some() && keys.is_none(),
            settings.tokens.is_some() && tokens.is_none(),
            settings.screening.is_some() && screening.is_none(),
        ];
        if is_unfetched.contains(&true) {
            return Err(EntryError::NoDesk);
        }
        if self.subscribers.contains(&Proof::Key) && keys.is_none() {
            return Err(EntryError::NoKeys);
        }
        if self.subscribers.contains(&Proof::Token) && tokens.is_none() {
            return Err(EntryError::NoTokens);
        }
        let limits = self.rate_limits.iter().map(|limit| ("rate_limits", limit.by, limit.shared));
        let quota = self.free_quota.iter().map(|quota| ("free_quota", quota.by, true));
        for (name, by, is_shared) in limits.chain(quota) {
            match by {
                Subject::Key if keys.is_none() && tokens.is_none() => return Err(EntryError::NobodyByKey(name)),
                Subject::Payer if self.price.is_none() => return Err(EntryError::NobodyPays),
                Subject::Payer if name == "free_quota" && !has_sign_in => return Err(EntryError::NoSignIn),
                _ => {}
            }
            if clock.is_none() {
                return Err(EntryError::NoClock(name));
            }
            if is_shared && quotas.is_none() {
                return Err(EntryError::NoBook(name));
            }
        }
        if clock.is_none() && (tokens.is_some() || screening.is_some()) {
            return Err(EntryError::NoClock("tokens and screening"));
        }
        Ok(())
    }

    /// The pattern of its route.
    pub(crate) const fn route(&self) -> &Arc<str> {
        &self.route
    }

    /// The same server, asked here whether somebody need not pay, or must not.
    pub(crate) fn over(self: &Arc<Self>, server: &Server) -> Server {
        let is_needed = self.asks_payers() || self.free_quota.is_some() || !self.subscribers.is_empty() || self.is_shadow;
        if is_needed { server.hooked(Arc::new(RouteHook(Arc::clone(self)))) } else { server.clone() }
    }

    /// Whether something depends on who pays.
    pub(super) fn asks_payers(&self) -> bool {
        let is_by_payer = self.rate_limits.iter().any(|limit| limit.by == Subject::Payer);
        self.price.is_some() && (self.lists.name_payers() || self.desk.screening.is_some() || is_by_payer)
    }

    /// Whether somebody who signs in gets something for it.
    pub(super) fn gives_payers(&self) -> Option<&FreeQuota> {
        self.free_quota.as_ref().filter(|quota| quota.by == Subject::Payer)
    }

    /// What they are, for people; the first line says what becomes of a request without a payment.
    pub(crate) fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        if self.is_shadow {
            words.push("shadow: nothing is charged, and what would have been is logged".to_owned());
        }
        for proof in &self.subscribers {
            let what = match proof {
                Proof::Key => "a subscriber's key",
                Proof::Token => "a subscriber's token",
            };
            words.push(format!("free with {what}"));
        }
        words.extend(self.free_quota.iter().map(ToString::to_string));
        words.extend(self.rate_limits.iter().map(ToString::to_string));
        if self.price.is_some() && self.lists.name_payers() {
            words.push("payers are looked up in the lists".to_owned());
        }
        if self.price.is_some() && self.desk.screening.is_some() {
            words.push("payers are screened before any money moves".to_owned());
        }
        if let Some(Fallback { subscribe, checkout, .. }) = &self.fallback {
            let links: Vec<&str> = [subscribe, checkout].into_iter().flatten().map(String::as_str).collect();
            words.push(format!(
                "beside payment: {}",
                if links.is_empty() { "a line of text".to_owned() } else { links.join(", ") }
            ));
        }
        words
    }

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
        }
        match &self.fallback {
            Some(fallback) => fallback::offer(fallback, answer).await,
            None => answer,
        }
    }

    /// Whether nothing about a request matters here before its payment.
    fn is_plain(&self) -> bool {
        self.proofs.is_empty() && self.rate_limits.is_empty() && self.free_quota.is_none() && !self.is_shadow
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
