//! Opens a route to who signs in: who has paid for it before, or, where it has no price, everybody.

use std::borrow::Cow;
use std::sync::Arc;

use farthing_core::Source;
use farthing_core::asset::AccountId;
use farthing_core::books::{BookError, Grant, MAX_RESOURCE_BYTES, SignIns};
use farthing_core::extension::sign_in_with_x::{
    self, Entry, Expected, Info, MessageFormat, MessageVerifier, Origin, SignIn, SignInTerms, SignedIn, check, enter,
};
use farthing_core::network::Network;
use farthing_core::reason::Refusal;
use farthing_core::time::{Clock, Entropy, UnixSeconds};
use farthing_core::wire::SettleResponse;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{ExtensionError, Seller, list};
use crate::hooks::HookFailed;
use crate::offer::Offer;
use crate::resource::{RequestFacts, hex, target_of};
use crate::template::HOLES;

/// How long a payment opens its resource unless a route says otherwise, in seconds: a day. The official SDKs have no end to it;
/// a seller who meant to sell one look should not find out that everything was sold for good.
pub const DEFAULT_GRANT_SECONDS: u64 = 24 * 60 * 60;

/// How a route is opened by signing in (`sign-in-with-x`).
#[derive(Clone, Debug)]
#[must_use]
pub struct SignInOptions {
    statement: Option<String>,
    networks: Vec<Network>,
    granted_seconds: Option<u64>,
}

/// Who signed in. Handlers find it among the request's extensions, in the place of [`Paid`](crate::Paid).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Visitor {
    /// The account.
    pub account: AccountId,
    /// The network on which it signed in.
    pub network: Network,
}

/// What all of a seller's routes need to let visitors in.
pub(crate) struct Desk {
    pub(crate) origin: Origin,
    pub(crate) book: Arc<dyn SignIns>,
    pub(crate) verifiers: Vec<Arc<dyn MessageVerifier>>,
    pub(crate) entropy: Option<Arc<dyn Entropy>>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// How one route is opened.
pub(crate) struct SignInRule {
    desk: Arc<Desk>,
    entropy: Arc<dyn Entropy>,
    terms: SignInTerms,
    chains: Vec<(Network, MessageFormat)>,
    networks: Vec<Network>,
    /// How long a payment opens it; `None` for good.
    granted_seconds: Option<u64>,
    has_price: bool,
    /// A challenge, to be filled in.
    blank: Info,
}

/// What a good sign-in opens.
pub(crate) enum Opened {
    /// The resource, this once.
    For(Visitor),
    /// Nothing: the account has not paid. The sign-in is not used up.
    Unpaid(Visitor, Box<SignedIn>),
}

/// Why a sign-in opens nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignInError {
    #[error("{0}")]
    Refused(Refusal),
    #[error("sign-ins cannot be looked up right now; nothing was charged; sign in again later")]
    Book(#[source] BookError),
    #[error("visitors cannot be let in right now; nothing was charged; sign in again later")]
    Hook(#[source] HookFailed),
}

impl SignInOptions {
    /// On the networks of the route's offers, or of all that the seller accepts where it has no price; what is paid for is
    /// open for [`DEFAULT_GRANT_SECONDS`].
    pub const fn new() -> Self {
        Self { statement: None, networks: Vec::new(), granted_seconds: Some(DEFAULT_GRANT_SECONDS) }
    }

    /// One line that tells people why to sign.
    pub fn statement(self, statement: impl Into<String>) -> Self {
        Self { statement: Some(statement.into()), ..self }
    }

    /// Accounts of this network sign in; once for each network. Without one, those of the offers do.
    pub fn network(mut self, network: Network) -> Self {
        if !self.networks.contains(&network) {
            self.networks.push(network);
        }
        self
    }

    /// A payment opens the same resource to its payer for so many seconds. It is counted from the newest payment.
    pub fn granted_for(self, seconds: u64) -> Self {
        Self { granted_seconds: Some(seconds), ..self }
    }

    /// A payment opens the same resource to its payer for good.
    pub fn granted_for_good(self) -> Self {
        Self { granted_seconds: None, ..self }
    }
}

impl Default for SignInOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl Desk {
    fn verifier(&self, network: &Network) -> Option<&Arc<dyn MessageVerifier>> {
        self.verifiers.iter().find(|verifier| verifier.namespace() == network.namespace())
    }
}

impl SignInRule {
    pub(super) fn new(options: &SignInOptions, seller: &Seller, offers: &[Offer]) -> Result<Self, ExtensionError> {
        let desk = Arc::clone(seller.desk.as_ref().ok_or(ExtensionError::NoPublicUrl)?);
        let entropy = Arc::clone(desk.entropy.as_ref().ok_or(ExtensionError::NoEntropy)?);
        if offers.iter().any(|offer| offer.scheme.is_metered()) {
            return Err(ExtensionError::Metered);
        }
        if options.granted_seconds == Some(0) {
            return Err(ExtensionError::NoTime);
        }
        let offered = if offers.is_empty() { seller.networks.clone() } else { networks_of(offers) };
        let wanted = if options.networks.is_empty() { &offered } else { &options.networks };
        let format = |network: &Network| Some((network.clone(), desk.verifier(network)?.format()));
        let chains: Vec<(Network, MessageFormat)> = wanted.iter().filter_map(format).collect();
        // Of the networks of the offers some may have no verifier; one that was named must have one.
        if chains.is_empty() || (!options.networks.is_empty() && chains.len() < wanted.len()) {
            return Err(ExtensionError::NoVerifier { networks: list(wanted) });
        }
        let terms = SignInTerms::new(desk.origin.clone(), options.statement.as_deref()).map_err(ExtensionError::Statement)?;
        let now = desk.clock.now();
        let blank = terms.challenge("/", entropy.as_ref(), now).map_err(ExtensionError::Entropy)?;
        let networks = chains.iter().map(|(network, _)| network.clone()).collect();
        let (granted_seconds, has_price) = (options.granted_seconds, !offers.is_empty());
        Ok(Self { desk, entropy, terms, chains, networks, granted_seconds, has_price, blank })
    }

    /// A challenge for somebody who asks for this URL. Without randomness it has no nonce, and nobody can sign it.
    pub(super) fn challenge(&self, url: &str) -> Info {
        let now = self.desk.clock.now();
        self.terms.challenge(target_of(url), self.entropy.as_ref(), now).unwrap_or_else(|error| {
            let cause = error.as_ref() as &dyn std::error::Error;
            tracing::error!(cause, "a challenge has no nonce: there is no randomness");
            Info { nonce: String::new(), ..self.blank.clone() }
        })
    }

    pub(super) fn declaration(&self, info: &Info) -> Value {
        sign_in_with_x::declaration(info, &self.chains)
    }

    /// The declaration with holes for what is new in each answer.
    pub(super) fn with_holes(&self) -> Value {
        let text = |hole: &str| hole.to_owned();
        self.declaration(&Info {
            uri: text(HOLES.sign_in_uri),
            resources: Some(vec![text(HOLES.sign_in_uri)]),
            nonce: text(HOLES.nonce),
            issued_at: text(HOLES.issued_at),
            expiration_time: Some(text(HOLES.expiration_time)),
            ..self.blank.clone()
        })
    }

    /// Whether somebody who signed in may have what the request is for without paying.
    pub(crate) async fn open(&self, sign_in: &SignIn, facts: &RequestFacts) -> Result<Opened, SignInError> {
        let now = self.desk.clock.now();
        let Desk { origin, verifiers, book, .. } = self.desk.as_ref();
        let expected = Expected { origin, networks: &self.networks, verifiers, now };
        let signed_in = check(sign_in, &expected).await.map_err(|error| {
            if let sign_in_with_x::SignInError::Unavailable { source, .. } = &error {
                let cause = source.as_ref() as &dyn std::error::Error;
                tracing::warn!(cause, "a visitor was not let in: the signature could not be checked");
            }
            SignInError::Refused(error.refusal().clone())
        })?;
        let paid = self.has_price.then(|| resource_of(facts));
        match enter(book.as_ref(), &signed_in, paid.as_deref(), now).await {
            Ok(Entry::Granted) => Ok(Opened::For(visitor_of(&signed_in))),
            Ok(Entry::Unpaid) => Ok(Opened::Unpaid(visitor_of(&signed_in), Box::new(signed_in))),
            Ok(Entry::Refused(refusal)) => Err(SignInError::Refused(refusal)),
            Err(error) => Err(unreadable(error)),
        }
    }

    /// Uses a sign-in up that opens nothing by itself, before anything is given for it all the same.
    pub(crate) async fn use_up(&self, signed_in: &SignedIn) -> Result<(), SignInError> {
        match enter(self.desk.book.as_ref(), signed_in, None, self.desk.clock.now()).await {
            Ok(Entry::Refused(refusal)) => Err(SignInError::Refused(refusal)),
            Ok(Entry::Granted | Entry::Unpaid) => Ok(()),
            Err(error) => Err(unreadable(error)),
        }
    }

    /// What a settled payment opens to its payer, whose account is written as its family writes it: facilitators are free in
    /// the letter case of an address. `None` where nobody of the family could sign in.
    pub(super) fn grant(
        &self,
        facts: &RequestFacts,
        settled: &SettleResponse,
        now: UnixSeconds,
    ) -> Result<Option<Grant>, Source> {
        let network = settled.network.clone().ok_or("the settlement names no network")?;
        let Some(verifier) = self.desk.verifier(&network) else { return Ok(None) };
        let payer = settled.payer.as_ref().and_then(|payer| verifier.account(payer.as_str()));
        let payer = payer.ok_or("the settlement names no account of its network as payer")?;
        let until = self.granted_seconds.map(|seconds| now.plus(seconds));
        Ok(Some(Grant { resource: resource_of(facts).into_owned(), network, payer, until }))
    }

    pub(super) fn book(&self) -> &dyn SignIns {
        self.desk.book.as_ref()
    }
}

fn visitor_of(signed_in: &SignedIn) -> Visitor {
    Visitor { account: signed_in.account().clone(), network: signed_in.network().clone() }
}

fn unreadable(error: BookError) -> SignInError {
    let cause = &error as &dyn std::error::Error;
    tracing::error!(cause, "a visitor was not let in: the book of sign-ins could not be read or written");
    SignInError::Book(error)
}

/// The networks on which a route can be paid, each once.
fn networks_of(offers: &[Offer]) -> Vec<Network> {
    let mut networks: Vec<Network> = Vec::new();
    for network in offers.iter().map(|offer| &offer.requirements.network) {
        if !networks.contains(network) {
            networks.push(network.clone());
        }
    }
    networks
}

/// What was paid for is what opens again: method, host, path and query, as a payment is bound to them. Path alone would let a
/// payment for reading open what is sold dearly by another method, or by another server with the same book.
///
/// What is too long for the book goes by its digest there. Nothing else is called so: every path begins with a slash.
fn resource_of(facts: &RequestFacts) -> Cow<'_, str> {
    let resource = facts.fingerprint.0.as_str();
    if resource.len() <= MAX_RESOURCE_BYTES {
        return Cow::Borrowed(resource);
    }
    Cow::Owned(format!("sha256 {}", hex(&Sha256::digest(resource).into())))
}
