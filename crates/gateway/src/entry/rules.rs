//! The terms of one route, checked when they are put together.

use std::num::NonZeroU32;
use std::sync::Arc;

use farthing_core::books::MemoryQuotas;
use farthing_server::Server;

use super::desk::Desk;
use super::hook::RouteHook;
use super::limits::Counters;
use super::lists::Lists;
use super::passes::PassBook;
use crate::file::{self, Access, Fallback, FreeQuota, OrOff, PassKind, Proof, RateLimit, Subject};
use crate::forwarded::TrustedProxies;

/// What the rules of a route are made of.
pub(crate) struct Terms<'a> {
    pub(crate) settings: &'a file::Gateway,
    pub(crate) desk: &'a Arc<Desk>,
    pub(crate) lists: &'a Arc<Lists>,
    pub(crate) passes: &'a [Arc<file::Pass>],
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
    pub(super) trusted: TrustedProxies,
    pub(super) price: Option<String>,
    pub(super) subscribers: Vec<Proof>,
    /// By which keys or tokens requests are known here.
    pub(super) proofs: Vec<Proof>,
    pub(super) fallback: Option<Fallback>,
    pub(super) is_shadow: bool,
    pub(super) passes: Vec<Arc<file::Pass>>,
    /// How many credits of a pass one request costs.
    pub(super) credits: NonZeroU32,
    pub(super) pass_book: Option<PassBook>,
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
    /// Nobody could show to have one.
    #[error("passes: they need sign_in = true on the route, by which holders show who they are")]
    NoSignInForPasses,
    /// There is no such pass.
    #[error("passes: expected names of [[gateway.pass]] tables, got one that is none")]
    NoPass,
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
        let Terms { settings, desk, lists, local, passes } = *terms;
        let entry = route.entry.or(&settings.entry());
        let sale = match &route.access {
            Access::Priced(sale) => Some(sale),
            Access::Free | Access::Denied | Access::Tools(_) => None,
        };
        let price = match &route.access {
            Access::Tools(_) => Some("each by its name".to_owned()),
            _ => sale.map(|sale| sale.price.to_string()),
        };
        let is_priced = price.is_some();
        let mut rate_limits = entry.rate_limits.unwrap_or_default();
        if !is_priced && route.entry.rate_limits.is_none() {
            // What is said for all routes holds where it makes sense.
            rate_limits.retain(|limit| limit.by != Subject::Payer);
        }
        let free_quota = entry.free_quota.as_ref().and_then(OrOff::on).copied().filter(|_| sale.is_some());
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
            price,
            subscribers,
            proofs,
            fallback: entry.fallback.as_ref().and_then(OrOff::on).cloned().filter(|_| sale.is_some()),
            is_shadow: is_priced && entry.shadow.unwrap_or_default(),
            passes: taken(&entry.passes, passes)?,
            credits: entry.credits.unwrap_or(NonZeroU32::MIN),
            pass_book: desk.pass_book(),
        };
        rules.check(settings, sale.is_some_and(|sale| sale.sign_in.is_some()))?;
        Ok(rules)
    }

    fn check(&self, settings: &file::Gateway, has_sign_in: bool) -> Result<(), EntryError> {
        let Desk { keys, tokens, quotas, clock, screening, .. } = self.desk.as_ref();
        if !self.passes.is_empty() && !has_sign_in {
            return Err(EntryError::NoSignInForPasses);
        }
        if !self.passes.is_empty() && self.pass_book.is_none() {
            return Err(EntryError::NoBook("passes"));
        }
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
        let is_needed = self.asks_payers()
            || !self.passes.is_empty()
            || self.free_quota.is_some()
            || !self.subscribers.is_empty()
            || self.is_shadow;
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

    /// Whether somebody who signs in is served for a pass.
    pub(super) fn takes_passes(&self) -> Option<&PassBook> {
        self.pass_book.as_ref().filter(|_| !self.passes.is_empty())
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
        for pass in &self.passes {
            words.push(match pass.kind {
                PassKind::Lasts(_) => format!("free with the pass {}", pass.name),
                PassKind::Credits(_) => format!("{} credits of the pass {}", self.credits, pass.name),
            });
        }
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
}

/// The passes of these names.
fn taken(names: &[String], passes: &[Arc<file::Pass>]) -> Result<Vec<Arc<file::Pass>>, EntryError> {
    let find = |name: &String| passes.iter().find(|pass| pass.name == *name).cloned();
    names.iter().map(|name| find(name).ok_or(EntryError::NoPass)).collect()
}
