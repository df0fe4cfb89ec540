//! Who must not pay here: a list that is at hand, and somebody who is asked about each payer.
//!
//! | the list | the screener | the payer |
//! |---|---|---|
//! | has the account | is not asked | is refused |
//! | has it not | says `{"decision": "allow"}` | pays |
//! | has it not | says `{"decision": "deny"}` | is refused |
//! | has it not | says anything else, or nothing in time | is refused, or pays where `on_error = "allow"` |
//!
//! The screener gets a POST with `{"payer": …, "network": …}`. Every decision is one line of the log under [`AUDIT`].

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use farthing_core::network::Network;
use farthing_core::time::UnixSeconds;
use http::{HeaderValue, StatusCode, header::AUTHORIZATION};
use serde_json::json;

use super::desk::{DeskError, DeskMaterials};
use crate::file::{self, OnError, PayerName};

/// Under which target decisions are logged.
pub(crate) const AUDIT: &str = "farthing::audit";
/// The longest answer of a screener that is read, in bytes.
const MAX_ANSWER_BYTES: usize = 16 * 1024;
/// The most verdicts that are kept.
const MAX_KEPT_VERDICTS: usize = 100_000;
/// How long an unused connection to a screener is kept.
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);

/// Looks payers up.
pub(crate) struct Screening {
    listed: HashSet<PayerName>,
    screener: Option<Screener>,
    on_error: OnError,
    cache_seconds: u64,
    kept: Mutex<HashMap<(PayerName, Network), (bool, UnixSeconds)>>,
}

struct Screener {
    client: reqwest::Client,
    url: reqwest::Url,
    authorization: Option<HeaderValue>,
    timeout: Duration,
}

/// What was found about a payer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// May pay.
    Allowed,
    /// Must not.
    Denied,
    /// Nobody knows, and nothing is sold then.
    Unknown,
}

#[derive(serde::Deserialize)]
struct Said {
    decision: Decision,
}

#[derive(Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum Decision {
    Allow,
    Deny,
}

impl Screening {
    pub(super) fn new(table: &file::Screening, materials: &DeskMaterials) -> Result<Self, DeskError> {
        let DeskMaterials { screening_list, screening_url, screening_authorization, .. } = materials;
        if table.list.is_none() && table.url.is_none() {
            return Err(DeskError::Screening("expected a list, or the url of a screener, or both, got neither"));
        }
        if table.list.is_some() != screening_list.is_some() || table.url.is_some() != screening_url.is_some() {
            return Err(DeskError::Screening("what the list or the url refers to was not fetched"));
        }
        let timeout = Duration::from_secs(table.timeout_seconds);
        let screener = screening_url.as_deref().map(|url| Screener::new(url, screening_authorization.clone(), timeout));
        Ok(Self {
            listed: listed(screening_list.as_deref().unwrap_or_default())?,
            screener: screener.transpose()?,
            on_error: table.on_error,
            cache_seconds: table.cache_seconds,
            kept: Mutex::default(),
        })
    }

    /// Whether this account may pay; written down.
    pub(super) async fn screen(&self, payer: &PayerName, network: &Network, route: &str, now: UnixSeconds) -> Verdict {
        let (verdict, by) = self.look_up(payer, network, now).await;
        let (payer, decision) = (payer.as_str(), verdict.as_str());
        tracing::info!(target: AUDIT, payer, %network, route, decision, by, "a payer was screened");
        verdict
    }

    async fn look_up(&self, payer: &PayerName, network: &Network, now: UnixSeconds) -> (Verdict, &'static str) {
        if self.listed.contains(payer) {
            return (Verdict::Denied, "list");
        }
        let Some(screener) = &self.screener else { return (Verdict::Allowed, "list") };
        if let Some(is_allowed) = self.kept(payer, network, now) {
            return (Verdict::of(is_allowed), "screener, asked before");
        }
        match screener.ask(payer, network).await {
            Ok(decision) => {
                let is_allowed = decision == Decision::Allow;
                self.keep(payer, network, is_allowed, now);
                (Verdict::of(is_allowed), "screener")
            }
            Err(error) => {
                tracing::warn!(error, "a screener did not say who may pay");
                match self.on_error {
                    OnError::Deny => (Verdict::Unknown, "on_error"),
                    OnError::Allow => (Verdict::Allowed, "on_error"),
                }
            }
        }
    }

    fn kept(&self, payer: &PayerName, network: &Network, now: UnixSeconds) -> Option<bool> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(&(payer.clone(), network.clone())).filter(|(_, until)| now < *until).map(|(is_allowed, _)| *is_allowed)
    }

    fn keep(&self, payer: &PayerName, network: &Network, is_allowed: bool, now: UnixSeconds) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_KEPT_VERDICTS {
            kept.retain(|_, (_, until)| now < *until);
        }
        if kept.len() >= MAX_KEPT_VERDICTS {
            kept.clear();
        }
        kept.insert((payer.clone(), network.clone()), (is_allowed, now.plus(self.cache_seconds)));
    }
}

impl Verdict {
    const fn of(is_allowed: bool) -> Self {
        if is_allowed { Self::Allowed } else { Self::Denied }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allow",
            Self::Denied => "deny",
            Self::Unknown => "unknown",
        }
    }
}

impl Screener {
    fn new(url: &str, authorization: Option<HeaderValue>, timeout: Duration) -> Result<Self, DeskError> {
        // The text is not repeated: it may hold a key.
        let expected = DeskError::Screening("url: expected such as https://screener.example/v1/check");
        let url: reqwest::Url = match url.parse() {
            Ok(url) => url,
            Err(_) => return Err(expected),
        };
        if !matches!(url.scheme(), "https" | "http") || !url.has_host() {
            return Err(expected);
        }
        // A redirect would tell somebody who was never named who pays here.
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy();
        let client = client.pool_idle_timeout(IDLE_TIMEOUT).build();
        let client = client.map_err(|_| DeskError::Screening("the HTTP client cannot be made"))?;
        Ok(Self { client, url, authorization, timeout })
    }

    /// What the screener says. Errors never hold its address, which may have a key in it.
    async fn ask(&self, payer: &PayerName, network: &Network) -> Result<Decision, &'static str> {
        let question = json!({"payer": payer.as_str(), "network": network.as_str()});
        let mut request = self.client.post(self.url.clone()).json(&question);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        let asking = async {
            let mut answer = request.send().await.map_err(|_| "it could not be reached, or broke off")?;
            if answer.status() != StatusCode::OK {
                return Err("it answered with another status than 200");
            }
            let mut text = Vec::new();
            while let Some(part) = answer.chunk().await.map_err(|_| "its answer broke off")? {
                text.extend_from_slice(&part);
                if text.len() > MAX_ANSWER_BYTES {
                    return Err("its answer is larger than 16 KiB");
                }
            }
            let said: Said =
                serde_json::from_slice(&text).map_err(|_| "it did not answer {\"decision\": \"allow\" or \"deny\"}")?;
            Ok(said.decision)
        };
        tokio::time::timeout(self.timeout, asking).await.unwrap_or(Err("it took too long"))
    }
}

fn listed(text: &str) -> Result<HashSet<PayerName>, DeskError> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim()).filter(|line| !line.is_empty());
    let account =
        |line: &str| line.parse().map_err(|_| DeskError::Screening("list: expected one account a line, and # for comments"));
    lines.map(account).collect()
}
