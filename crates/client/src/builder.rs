//! Builds a [`Client`]: schemes, clock, ledger, limits, and the HTTP below.

use std::sync::Arc;
use std::time::Duration;

use farthing_core::books::{Ledger, MemoryLedger, SpendLimit};
use farthing_core::erased::{AnyClientScheme, ClientSchemes};
use farthing_core::extension::builder_code::{Code, MAX_CLIENT_CODES};
use farthing_core::extension::sign_in_with_x::MessageSigner;
use farthing_core::network::{Network, NetworkError};
use farthing_core::time::{Clock, Entropy};
use farthing_core::wire::Version;

use crate::choice::{Candidate, Choice};
use crate::controls::SpendControls;
use crate::hooks::Hooks;
use crate::http::{Client, Inner};
use crate::payer::Payer;
use crate::sign_in::{SignInHook, SignInPolicy};

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an answer may stand still, its head included, unless it may take longer than that to come at all.
const READ_TIMEOUT: Duration = Duration::from_mins(2);
/// How long a connection is kept that nobody uses: shorter than common servers keep theirs (5 s), because a payment that is
/// sent as the other end hangs up may have been read, and then nobody knows what became of it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// How long a server may take to answer an unpaid request.
const PROBE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a server may take to answer a paid request: the work, and a settlement on chain.
const PAID_TIMEOUT: Duration = Duration::from_mins(2);
/// What this client calls itself.
const USER_AGENT: &str = concat!("farthing/", env!("CARGO_PKG_VERSION"));

/// Builds a [`Client`].
#[must_use]
pub struct ClientBuilder {
    schemes: ClientSchemes,
    clock: Option<Arc<dyn Clock>>,
    entropy: Option<Arc<dyn Entropy>>,
    ledger: Option<Arc<dyn Ledger>>,
    controls: SpendControls,
    preferred: Vec<Network>,
    choice: Choice,
    hooks: Vec<Arc<dyn Hooks>>,
    message_signers: Vec<Arc<dyn MessageSigner>>,
    sign_in: SignInPolicy,
    service_codes: Vec<Code>,
    http: Option<reqwest::ClientBuilder>,
    probe_timeout: Duration,
    paid_timeout: Duration,
}

/// Why no client was built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A limit that cannot be read.
    #[error("{0}")]
    Limit(String),
    /// A network that cannot be read.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// A service code that is none, or too many of them.
    #[error("{0}")]
    ServiceCode(String),
    /// No clock was given, and nothing here reads one by itself.
    #[error("the client needs a clock: call .clock(…)")]
    NoClock,
    /// The HTTP client cannot be made.
    #[error("the HTTP client cannot be made")]
    Http(#[source] reqwest::Error),
}

impl ClientBuilder {
    pub(crate) fn new() -> Self {
        Self {
            schemes: Vec::new(),
            clock: None,
            entropy: None,
            ledger: None,
            controls: SpendControls::default(),
            preferred: Vec::new(),
            choice: Choice::default(),
            hooks: Vec::new(),
            message_signers: Vec::new(),
            sign_in: SignInPolicy::default(),
            service_codes: Vec::new(),
            http: None,
            probe_timeout: PROBE_TIMEOUT,
            paid_timeout: PAID_TIMEOUT,
        }
    }

    /// Adds ways to pay. Without any, the client can inspect and pays nothing.
    pub fn schemes(mut self, schemes: impl IntoIterator<Item = Arc<dyn AnyClientScheme>>) -> Self {
        self.schemes.extend(schemes);
        self
    }

    /// The clock that spending windows are measured by.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Where the names of traces and purchases come from: with it, every purchase that must have a name can be given one, and
    /// every purchase has a trace, which the server and its facilitator are
    /// told in the header `traceparent`. A request that brings that header stays in its own trace with or without this.
    pub fn entropy(mut self, entropy: Arc<dyn Entropy>) -> Self {
        self.entropy = Some(entropy);
        self
    }

    /// The book of what was promised and spent. Unless it is set, the book dies with the process, and cumulative limits
    /// with it.
    pub fn ledger(mut self, ledger: Arc<dyn Ledger>) -> Self {
        self.ledger = Some(ledger);
        self
    }

    /// Adds a limit such as `"$5 per day"`; see [`SpendControls::limit`].
    pub fn limit(mut self, limit: &str) -> Result<Self, BuildError> {
        let limit: SpendLimit = limit.parse().map_err(BuildError::Limit)?;
        self.controls = self.controls.limit(limit);
        Ok(self)
    }

    /// Sets every control at once, in place of limits set before.
    pub fn controls(mut self, controls: SpendControls) -> Self {
        self.controls = controls;
        self
    }

    /// Prefers a network, by its CAIP-2 name, among offers that cost the same; the first one named most.
    pub fn prefer_network(mut self, network: &str) -> Result<Self, BuildError> {
        self.preferred.push(network.parse()?);
        Ok(self)
    }

    /// Adds hooks, behind those that were added before; see [`Hooks`].
    pub fn hooks(mut self, hooks: Arc<dyn Hooks>) -> Self {
        self.hooks.push(hooks);
        self
    }

    /// Adds a policy behind those that were added before: of the offers that can be paid, best first, it returns those that
    /// may be paid, in the order in which they are to be tried. See [`choice`](crate::choice).
    pub fn policy(
        mut self,
        policy: impl for<'a> Fn(Version, Vec<Candidate<'a>>) -> Vec<Candidate<'a>> + Send + Sync + 'static,
    ) -> Self {
        self.choice.add_policy(policy);
        self
    }

    /// Picks the offer to pay, by its place in what the policies left; no other is tried then. It replaces one that was set
    /// before.
    pub fn selector(
        mut self,
        selector: impl for<'a> Fn(Version, &[Candidate<'a>]) -> Option<usize> + Send + Sync + 'static,
    ) -> Self {
        self.choice.set_selector(selector);
        self
    }

    /// Adds a wallet that can sign in (`sign-in-with-x`). Whether it does, [`Self::sign_in`] says.
    pub fn message_signer(mut self, signer: Arc<dyn MessageSigner>) -> Self {
        self.message_signers.push(signer);
        self
    }

    /// When to sign in before paying; where this wallet has paid before, unless told otherwise.
    pub fn sign_in(mut self, policy: SignInPolicy) -> Self {
        self.sign_in = policy;
        self
    }

    /// The service codes that payments name where a server wants to know them (`builder-code`): at most
    /// [`MAX_CLIENT_CODES`], each of 1 to 32 small letters, digits and underscores. It replaces those set before.
    pub fn service_codes(mut self, codes: impl IntoIterator<Item: AsRef<str>>) -> Result<Self, BuildError> {
        let codes: Result<Vec<_>, _> = codes.into_iter().map(|code| Code::new(code.as_ref())).collect();
        self.service_codes = codes.map_err(|refusal| BuildError::ServiceCode(refusal.message))?;
        match self.service_codes.len() {
            ..=MAX_CLIENT_CODES => Ok(self),
            got => Err(BuildError::ServiceCode(format!("service codes: expected at most {MAX_CLIENT_CODES}, got {got}"))),
        }
    }

    /// Allows payments over unencrypted HTTP to other machines.
    pub fn allow_plain_http(mut self, allow: bool) -> Self {
        self.controls = self.controls.allow_plain_http(allow);
        self
    }

    /// The HTTP client below: certificates, proxies, time-outs. Its redirects, referrers and retries are switched off,
    /// since this client follows redirects itself and decides itself when a payment is sent again. Credentials belong on the request: default
    /// headers would follow a redirect to another origin.
    pub fn http(mut self, builder: reqwest::ClientBuilder) -> Self {
        self.http = Some(builder);
        self
    }

    /// How long a server may take to answer an unpaid request (30 seconds).
    pub fn probe_timeout(mut self, timeout: Duration) -> Self {
        self.probe_timeout = timeout;
        self
    }

    /// How long a server may take to answer a paid request (2 minutes). When it is over, the money may have moved. An HTTP client
    /// of your own ([`Self::http`]) must not be less patient.
    pub fn paid_timeout(mut self, timeout: Duration) -> Self {
        self.paid_timeout = timeout;
        self
    }

    /// The client.
    pub fn build(self) -> Result<Client, BuildError> {
        let clock = self.clock.ok_or(BuildError::NoClock)?;
        let ledger = self.ledger.unwrap_or_else(|| Arc::new(MemoryLedger::default()));
        let http = self.http.unwrap_or_else(|| {
            let bounded = reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT);
            let bounded = bounded.read_timeout(read_timeout(self.probe_timeout, self.paid_timeout));
            bounded.user_agent(USER_AGENT).pool_idle_timeout(IDLE_TIMEOUT)
        });
        let http = http.redirect(reqwest::redirect::Policy::none()).referer(false).retry(reqwest::retry::never());
        let mut hooks = self.hooks;
        if !self.message_signers.is_empty() && self.sign_in != SignInPolicy::Never {
            hooks.push(Arc::new(SignInHook {
                policy: self.sign_in,
                signers: self.message_signers,
                preferred: self.preferred.clone(),
                ledger: Arc::clone(&ledger),
                clock: Arc::clone(&clock),
            }));
        }
        let payer = Payer::new(self.schemes, ledger, clock)
            .with_controls(self.controls)
            .preferring(self.preferred)
            .choosing(self.choice)
            .with_hooks(hooks)
            .with_service_codes(self.service_codes);
        Ok(Client::of(Inner {
            http: http.build().map_err(BuildError::Http)?,
            payer: match &self.entropy {
                Some(entropy) => payer.with_entropy(Arc::clone(entropy)),
                None => payer,
            },
            entropy: self.entropy,
            probe_timeout: self.probe_timeout,
            paid_timeout: self.paid_timeout,
        }))
    }
}

impl std::fmt::Debug for ClientBuilder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ClientBuilder").field("controls", &self.controls).finish_non_exhaustive()
    }
}

/// How long an answer may stand still: who waits longer for its head is not to be cut short below.
fn read_timeout(probe_timeout: Duration, paid_timeout: Duration) -> Duration {
    READ_TIMEOUT.max(probe_timeout).max(paid_timeout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_longer_for_an_answer_is_not_cut_short_by_the_connection() {
        let (short, long) = (Duration::from_secs(1), Duration::from_mins(10));
        assert_eq!(read_timeout(PROBE_TIMEOUT, PAID_TIMEOUT), READ_TIMEOUT);
        assert_eq!([read_timeout(short, long), read_timeout(long, short)], [long, long]);
        assert_eq!(read_timeout(short, short), READ_TIMEOUT);
    }
}
