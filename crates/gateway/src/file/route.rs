//! One `[[route]]` of the file: which requests it is for, and what they cost.

use std::num::NonZeroU32;

use farthing_core::extension::bazaar::{Listing, ToolListing};
use farthing_core::network::Network;
use http::Method;
use serde::de::{Deserialize, Deserializer, Error};

use super::entry::or_off;
use super::network;
use super::read::parsed;
use super::tools::{Items, Menu, MenuError, items};
use super::{Entry, Fallback, FreeQuota, OrOff, Proof, RateLimit};
use crate::pattern::Pattern;
use crate::tariff::{Money, Tariff};

/// A route: the first one in the file that is for a request decides.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "Keys")]
pub struct Route {
    /// Which requests it is for.
    pub matches: Pattern,
    /// What becomes of them.
    pub access: Access,
    /// On which terms around the payment.
    pub entry: Entry,
    /// Whether the gateway's documents tell of it; if that is not said, of what has a price.
    pub listed: Option<bool>,
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// It goes to the upstream, unpaid.
    Free,
    /// It is turned away.
    Denied,
    /// It is paid for.
    Priced(Box<Sale>),
    /// It speaks with an MCP server, of which the single tools, resources and prompts have prices.
    Tools(Box<Menu>),
}

/// How something is sold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sale {
    /// What it costs.
    pub price: Tariff,
    /// What is for sale, for people and directories.
    pub description: Option<String>,
    /// The media type of the answer.
    pub mime_type: Option<String>,
    /// How long a payment may take from its signature to its settlement.
    pub max_timeout_seconds: Option<u64>,
    /// When the money moves.
    pub settle: Settle,
    /// What a payer may owe at most where answers stream.
    pub debt_limit: Option<Money>,
    /// Whether purchases may, or must, have a name.
    pub payment_identifier: Option<Identifier>,
    /// Whether who has paid may come back by signing in.
    pub sign_in: Option<SignIn>,
    /// The networks on which it is sold; all, if there are none.
    pub accepts: Vec<Network>,
    /// How many bytes of a request's body a payment is bound to; to none, unless its price depends on it or it has a name.
    pub bound_body_bytes: Option<usize>,
    /// What catalogues are told of it.
    pub bazaar: Option<Box<Catalogued>>,
}

/// What catalogues are told (`bazaar`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Catalogued {
    /// Of a resource of HTTP.
    Http(Listing),
    /// Of a tool of an MCP server.
    Tool(ToolListing),
}

/// When the money for an answer moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Settle {
    /// Once the answer is whole, which is held back until then: nobody pays for a failure.
    #[default]
    After,
    /// Once its head is there, and then it goes out as it comes: for large downloads.
    Head,
    /// Before the upstream is asked.
    Upfront,
    /// At its end, for what was used, while it goes out as it is made: for event streams.
    Stream,
}

/// Names of purchases (`payment-identifier`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Identifier {
    /// Buyers may give one.
    Optional,
    /// Nothing is sold without one.
    Required,
}

/// Coming back by signing in (`sign-in-with-x`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SignIn {
    /// One line that tells people why to sign.
    pub statement: Option<String>,
    /// For how long; the server's own default, unless set.
    pub granted_seconds: Option<u64>,
}

/// The keys of a route, as they stand in the file.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    #[serde(rename = "match", deserialize_with = "parsed")]
    matches: Pattern,
    price: Option<Tariff>,
    #[serde(default)]
    free: bool,
    #[serde(default)]
    deny: bool,
    description: Option<String>,
    mime_type: Option<String>,
    max_timeout_seconds: Option<u64>,
    upfront: Option<bool>,
    settle: Option<Settle>,
    #[serde(default, deserialize_with = "maybe_money")]
    debt_limit: Option<Money>,
    payment_identifier: Option<Identifier>,
    sign_in: Option<SignInKeys>,
    #[serde(default, deserialize_with = "networks")]
    accepts: Vec<Network>,
    bound_body_bytes: Option<usize>,
    listed: Option<bool>,
    #[serde(default, deserialize_with = "or_off")]
    free_quota: Option<OrOff<FreeQuota>>,
    subscribers: Option<Vec<Proof>>,
    rate_limits: Option<Vec<RateLimit>>,
    #[serde(default, deserialize_with = "or_off")]
    fallback: Option<OrOff<Fallback>>,
    shadow: Option<bool>,
    passes: Option<Vec<String>>,
    credits: Option<NonZeroU32>,
    bazaar: Option<Listing>,
    #[serde(default, deserialize_with = "items")]
    tools: Option<Items>,
    #[serde(default, deserialize_with = "items")]
    resources: Option<Items>,
    #[serde(default, deserialize_with = "items")]
    prompts: Option<Items>,
    #[serde(default)]
    free_methods: Vec<String>,
}

/// `true`, or a table.
#[derive(serde::Deserialize)]
#[serde(untagged, expecting = "true or false, or a table with statement and granted_seconds")]
enum SignInKeys {
    Plainly(bool),
    With(SignInTable),
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct SignInTable {
    statement: Option<String>,
    granted_seconds: Option<u64>,
}

/// Why the keys of a route do not go together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Contradiction {
    #[error("{0}: expected exactly one of price, free = true and deny = true, or tables such as [route.tools], got {1}")]
    Access(Pattern, &'static str),
    #[error("{0}: {1} is for routes that have a price")]
    Unpriced(Pattern, &'static str),
    #[error("{0}: {1} cannot be had where the price is counted in the answer")]
    Metered(Pattern, &'static str),
    #[error("{0}: upfront = true is short for settle = \"upfront\"; expected one of upfront and settle, got both")]
    Twice(Pattern),
    #[error("{0}: settle = \"stream\" is for prices that are counted in the answer; settle at its head instead")]
    Unmetered(Pattern),
    #[error("{0}: settle = \"stream\" and debt_limit belong together; expected both or neither")]
    Limit(Pattern),
    #[error("{0}: settle = \"head\" is for GET, because an answer that breaks off is fetched again")]
    NoDownload(Pattern),
    #[error("{0}: free_methods are for routes with [route.tools], [route.resources] or [route.prompts]")]
    NoMenu(Pattern),
    #[error("{0}: tools are called by POST; name that method, or none")]
    NoPost(Pattern),
    #[error("{0}: {1}")]
    Menu(Pattern, Box<MenuError>),
}

impl TryFrom<Keys> for Route {
    type Error = Contradiction;

    fn try_from(mut keys: Keys) -> Result<Self, Contradiction> {
        let matches = keys.matches.clone();
        if let Some(menu) = keys.menu() {
            return match (keys.price.is_some(), keys.free, keys.deny) {
                (false, false, false) => keys.serving(menu),
                _ => Err(Contradiction::Access(matches, "several")),
            };
        }
        if !keys.free_methods.is_empty() {
            return Err(Contradiction::NoMenu(matches));
        }
        match (keys.price.is_some(), keys.free, keys.deny) {
            (true, false, false) => {}
            (false, true, false) => return keys.unpriced(Access::Free),
            (false, false, true) => return keys.unpriced(Access::Denied),
            (false, false, false) => return Err(Contradiction::Access(matches, "none")),
            _ => return Err(Contradiction::Access(matches, "several")),
        }
        let entry = keys.entry();
        let Some(price) = keys.price else { return Err(Contradiction::Access(matches, "none")) };
        let sign_in = match keys.sign_in {
            None | Some(SignInKeys::Plainly(false)) => None,
            Some(SignInKeys::Plainly(true)) => Some(SignIn::default()),
            Some(SignInKeys::With(SignInTable { statement, granted_seconds })) => Some(SignIn { statement, granted_seconds }),
        };
        let settle = match (keys.upfront, keys.settle) {
            (Some(_), Some(_)) => return Err(Contradiction::Twice(matches)),
            (Some(true), None) => Settle::Upfront,
            (Some(false) | None, settle) => settle.unwrap_or_default(),
        };
        if settle == Settle::Head && !matches.is_for(&Method::GET) {
            return Err(Contradiction::NoDownload(matches));
        }
        if settle == Settle::Stream && !price.is_metered() {
            return Err(Contradiction::Unmetered(matches));
        }
        if (settle == Settle::Stream) != keys.debt_limit.is_some() {
            return Err(Contradiction::Limit(matches));
        }
        let (upfront, head) = (settle == Settle::Upfront, settle == Settle::Head);
        for (is_set, name) in [(upfront, "upfront"), (head, "settle = \"head\""), (sign_in.is_some(), "sign_in")] {
            if is_set && price.is_metered() {
                return Err(Contradiction::Metered(matches, name));
            }
        }
        let sale = Sale {
            price,
            description: keys.description,
            mime_type: keys.mime_type,
            max_timeout_seconds: keys.max_timeout_seconds,
            settle,
            debt_limit: keys.debt_limit,
            payment_identifier: keys.payment_identifier,
            sign_in,
            accepts: keys.accepts,
            bound_body_bytes: keys.bound_body_bytes,
            bazaar: keys.bazaar.map(|listing| Box::new(Catalogued::Http(listing))),
        };
        Ok(Self { matches, access: Access::Priced(Box::new(sale)), entry, listed: keys.listed })
    }
}

impl Keys {
    /// What an MCP server offers, if one is there.
    fn menu(&mut self) -> Option<Menu> {
        if self.tools.is_none() && self.resources.is_none() && self.prompts.is_none() {
            return None;
        }
        Some(Menu {
            tools: self.tools.take().unwrap_or_default(),
            resources: self.resources.take().unwrap_or_default(),
            prompts: self.prompts.take().unwrap_or_default(),
            free_methods: std::mem::take(&mut self.free_methods),
        })
    }

    /// A route to an MCP server, which is for the GET and the DELETE of its sessions, too.
    fn serving(mut self, menu: Menu) -> Result<Route, Contradiction> {
        menu.check().map_err(|error| Contradiction::Menu(self.matches.clone(), Box::new(error)))?;
        self.matches = self.matches.clone().with_sessions().ok_or_else(|| Contradiction::NoPost(self.matches.clone()))?;
        self.unpriced(Access::Tools(Box::new(menu)))
    }

    /// A route without a price, on which all that goes with one would be without effect.
    fn unpriced(self, access: Access) -> Result<Route, Contradiction> {
        for (is_set, name) in [
            (self.description.is_some(), "description"),
            (self.mime_type.is_some(), "mime_type"),
            (self.max_timeout_seconds.is_some(), "max_timeout_seconds"),
            (self.upfront.is_some(), "upfront"),
            (self.settle.is_some(), "settle"),
            (self.debt_limit.is_some(), "debt_limit"),
            (self.payment_identifier.is_some(), "payment_identifier"),
            (self.sign_in.is_some(), "sign_in"),
            (!self.accepts.is_empty(), "accepts"),
            (self.bound_body_bytes.is_some(), "bound_body_bytes"),
            (self.free_quota.is_some(), "free_quota"),
            (self.subscribers.is_some(), "subscribers"),
            (self.fallback.is_some(), "fallback"),
            (self.shadow.is_some(), "shadow"),
            (self.passes.is_some(), "passes"),
            (self.credits.is_some(), "credits"),
            (self.rate_limits.is_some() && access == Access::Denied, "rate_limits"),
            (self.bazaar.is_some(), "bazaar"),
        ] {
            if is_set {
                return Err(Contradiction::Unpriced(self.matches, name));
            }
        }
        let entry = self.entry();
        Ok(Route { matches: self.matches, access, entry, listed: self.listed })
    }

    fn entry(&self) -> Entry {
        Entry {
            free_quota: self.free_quota.clone(),
            subscribers: self.subscribers.clone(),
            rate_limits: self.rate_limits.clone(),
            fallback: self.fallback.clone(),
            shadow: self.shadow,
            passes: self.passes.clone().unwrap_or_default(),
            credits: self.credits,
        }
    }
}

impl Sale {
    /// A sale at this price, with nothing special about it.
    #[must_use]
    pub const fn new(price: Tariff) -> Self {
        Self {
            price,
            description: None,
            mime_type: None,
            max_timeout_seconds: None,
            settle: Settle::After,
            debt_limit: None,
            payment_identifier: None,
            sign_in: None,
            accepts: Vec::new(),
            bound_body_bytes: None,
            bazaar: None,
        }
    }
}

fn maybe_money<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Money>, D::Error> {
    parsed(deserializer).map(Some)
}

pub(super) fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Network>, D::Error> {
    let names = Vec::<String>::deserialize(deserializer)?;
    if names.is_empty() {
        return Err(D::Error::custom("accepts: expected at least one network, or no such key"));
    }
    names.iter().map(|name| network(name).map_err(D::Error::custom)).collect()
}
