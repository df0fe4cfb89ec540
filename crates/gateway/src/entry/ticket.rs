//! What is known of one request when it comes, and what its answer has to tell.

use std::sync::{Mutex, PoisonError};

use farthing_core::books::QuotaTaken;
use farthing_core::time::UnixSeconds;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::passes::Spent;
use crate::file::{Period, Proof};

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Who shows to be a subscriber.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subscriber {
    pub(crate) proof: Proof,
    pub(crate) name: String,
}

/// Why a request need not pay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    /// Its subscriber has paid otherwise.
    Subscriber,
    /// It is one of those that are free.
    FreeQuota,
    /// Nobody pays on this route yet.
    Shadow,
}

/// One request. It goes with it to the payment layer, where hooks find it.
#[derive(Debug)]
pub(crate) struct Ticket {
    /// Why it need not pay, if that is known before its payment or sign-in is looked at.
    pub(crate) pass: Option<Pass>,
    /// Where it comes from, for people.
    pub(crate) client: String,
    pub(crate) subscriber: Option<Subscriber>,
    /// What was counted.
    told: Mutex<Vec<Told>>,
    /// The credits that were taken for it.
    spent: Mutex<Option<Spent>>,
}

/// A quota, and what is left of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    pub(crate) name: &'static str,
    pub(crate) limit: u64,
    pub(crate) period: Period,
    pub(crate) taken: QuotaTaken,
    pub(crate) now: UnixSeconds,
}

impl Pass {
    /// As the upstream hears of it in `farthing-access`.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Subscriber => "subscriber",
            Self::FreeQuota => "free-quota",
            Self::Shadow => "shadow",
        }
    }
}

impl Subscriber {
    /// As it is counted: a key and a token of the same name may be two people's.
    pub(crate) fn counted(&self) -> String {
        let kind = match self.proof {
            Proof::Key => "key",
            Proof::Token => "token",
        };
        format!("{kind} {}", self.name)
    }
}

impl Told {
    /// In how many seconds the quota is new.
    pub(crate) const fn renews_in_seconds(&self) -> u64 {
        let seconds = self.taken.renews_at.0.saturating_sub(self.now.0);
        if seconds == 0 { 1 } else { seconds }
    }

    /// Says it in an answer (draft-ietf-httpapi-ratelimit-headers), beside what an upstream may say of its own limits.
    pub(crate) fn tell(&self, headers: &mut HeaderMap) {
        let Self { name, limit, period, taken, .. } = self;
        let texts = [
            (RATE_LIMIT_POLICY, format!("\"{name}\";q={limit};w={}", period.seconds())),
            (RATE_LIMIT, format!("\"{name}\";r={};t={}", taken.left, self.renews_in_seconds())),
        ];
        for (header, text) in texts {
            if let Ok(value) = HeaderValue::from_str(&text) {
                headers.append(header, value);
            }
        }
    }
}

impl Ticket {
    /// A request that pays like all others, as far as is known.
    pub(crate) fn new(client: String, subscriber: Option<Subscriber>) -> Self {
        Self { pass: None, client, subscriber, told: Mutex::default(), spent: Mutex::default() }
    }

    /// Something was counted.
    pub(crate) fn note(&self, told: Told) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).push(told);
    }

    /// Credits were taken.
    pub(super) fn spend(&self, spent: Spent) {
        *self.spent.lock().unwrap_or_else(PoisonError::into_inner) = Some(spent);
    }

    /// The credits that were taken, to be given back once.
    pub(super) fn take_back(&self) -> Option<Spent> {
        self.spent.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Says in an answer what is left.
    pub(crate) fn tell(&self, headers: &mut HeaderMap) {
        for told in self.told.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            told.tell(headers);
        }
    }
}
