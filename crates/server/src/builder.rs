//! How a seller is put together. Everything is checked when it is built.

use std::sync::Arc;

use farthing_core::asset::{AccountId, NameError};
use farthing_core::books::{Debts, Deliveries, MemoryDebts, MemoryDeliveries, MemorySignIns, SignIns};
use farthing_core::erased::ServerSchemes;
use farthing_core::extension::builder_code::{self, Code};
use farthing_core::extension::offer_receipt::Issuer;
use farthing_core::extension::sign_in_with_x::{MessageVerifier, Origin};
use farthing_core::facilitator::{Facilitator, FacilitatorError};
use farthing_core::network::{Network, NetworkError};
use farthing_core::reason::Refusal;
use farthing_core::time::{Clock, Entropy};
use farthing_core::wire::{SupportedResponse, Version};
use serde_json::Value;
use url::Url;
use zeroize::Zeroizing;

use crate::extensions::{Desk, Seller};
use crate::gate::{Gate, KeepAnswers};
use crate::hooks::Hooks;
use crate::offer::Accept;
use crate::quotes::{DEFAULT_QUOTE_SECONDS, QUOTE_KEY_BYTES, QuoteKey, Quotes};
use crate::remote::{RemoteError, RemoteFacilitator};
use crate::server::{DEFAULT_MAX_HELD_BODY_BYTES, Server, Shared};

/// Makes a [`Server`].
#[derive(Default)]
#[must_use]
pub struct ServerBuilder {
    schemes: ServerSchemes,
    facilitator: Option<Arc<dyn Facilitator>>,
    deliveries: Option<Arc<dyn Deliveries>>,
    clock: Option<Arc<dyn Clock>>,
    pay_to: Vec<(Network, AccountId)>,
    public_url: Option<String>,
    max_held_body_bytes: Option<usize>,
    keep_answers: KeepAnswers,
    sign_ins: Option<Arc<dyn SignIns>>,
    debts: Option<Arc<dyn Debts>>,
    verifiers: Vec<Arc<dyn MessageVerifier>>,
    entropy: Option<Arc<dyn Entropy>>,
    issuer: Option<Issuer>,
    codes: Option<Value>,
    hooks: Vec<Arc<dyn Hooks>>,
    quote_key: Option<QuoteKey>,
    quote_seconds: Option<u64>,
}

/// Why a server cannot charge as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Nobody was named to verify and settle.
    #[error("no facilitator; name one with facilitator(\"https://…\")")]
    NoFacilitator,
    /// Without the time, no book can forget what has expired.
    #[error("no clock; hand one in with clock(…)")]
    NoClock,
    /// Nobody was named to be paid.
    #[error("nobody to pay; name an account with pay_to(\"eip155:8453\", \"0x…\")")]
    NoPayTo,
    /// The facilitator's address cannot be used.
    #[error("the facilitator's address cannot be used: {0}")]
    Remote(#[from] RemoteError),
    /// The text names no network.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The text names no account.
    #[error("pay_to on {network}: {source}")]
    Account {
        /// The network.
        network: Network,
        /// What is wrong.
        #[source]
        source: NameError,
    },
    /// Two accounts on one network.
    #[error("pay_to names two accounts on {0}; expected one for each network")]
    TwoAccounts(Network),
    /// No scheme exists there.
    #[error("no scheme can be paid on {network}; the schemes here are {schemes}")]
    NoScheme {
        /// The network.
        network: Network,
        /// The schemes that were given.
        schemes: String,
    },
    /// The facilitator settles nothing there.
    #[error("the facilitator does not settle {schemes} on {network} in protocol version 2; it offers {kinds}")]
    NoKind {
        /// The network.
        network: Network,
        /// The schemes that could be paid there.
        schemes: String,
        /// What the facilitator offers instead.
        kinds: String,
    },
    /// The facilitator did not say what it can do.
    #[error("the facilitator did not say what it supports")]
    Supported(#[from] FacilitatorError),
    /// Not the beginning of a URL.
    #[error("public_url: expected such as \"https://api.example.com\" without user, query or fragment, got {0:?}")]
    PublicUrl(String),
    /// Whoever asks could have another server's address signed, or sign in with what was signed for another server.
    #[error(
        "{0} needs the server's own address, which no request can be trusted with; set it with public_url(\"https://api.example.com\")"
    )]
    NoPublicUrl(&'static str),
    /// A builder code is none, or there are too many.
    #[error("builder_code: {0}")]
    BuilderCode(Refusal),
    /// A quote that nobody could use.
    #[error("quote_seconds: expected at least 1, got 0")]
    NoQuoteTime,
}

/// Whatever can be used as a facilitator: the URL of one, or one in this process.
pub trait IntoFacilitator {
    /// The facilitator.
    fn into_facilitator(self) -> Result<Arc<dyn Facilitator>, BuildError>;
}

impl ServerBuilder {
    /// Adds the schemes in which payments are taken, the preferred one first.
    pub fn schemes(mut self, schemes: ServerSchemes) -> Self {
        self.schemes.extend(schemes);
        self
    }

    /// Who verifies and settles: a URL, a [`RemoteFacilitator`], or one in this process in an `Arc`.
    pub fn facilitator(mut self, facilitator: impl IntoFacilitator) -> Result<Self, BuildError> {
        self.facilitator = Some(facilitator.into_facilitator()?);
        Ok(self)
    }

    /// Who is paid on a network; buyers see the networks in the order in which they are named.
    pub fn pay_to(mut self, network: &str, account: &str) -> Result<Self, BuildError> {
        let network: Network = network.parse()?;
        if self.pay_to.iter().any(|(other, _)| *other == network) {
            return Err(BuildError::TwoAccounts(network));
        }
        let account = account.parse().map_err(|source| BuildError::Account { network: network.clone(), source })?;
        self.pay_to.push((network, account));
        Ok(self)
    }

    /// The book of which payment bought which request. In memory unless set: then a process that ends forgets what was
    /// bought, and a buyer whose payment was being settled just then may have paid for nothing. Servers that sell the same
    /// routes must share one book: with a book each, every one of them would deliver for the same payment.
    pub fn deliveries(mut self, deliveries: Arc<dyn Deliveries>) -> Self {
        self.deliveries = Some(deliveries);
        self
    }

    /// Tells the time, by which the book forgets payments that expired long ago.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// The URL under which the world sees this server, for terms and receipts. Unless set, each request's own host is
    /// used, with `https` (and `http` on loopback), because what proxies say of themselves cannot be trusted.
    pub fn public_url(mut self, url: &str) -> Result<Self, BuildError> {
        let refused = || BuildError::PublicUrl(url.chars().take(200).collect());
        let parsed = Url::parse(url).map_err(|_| refused())?;
        let is_plain = matches!(parsed.scheme(), "http" | "https")
            && parsed.has_host()
            && parsed.username().is_empty()
            && parsed.password().is_none()
            && parsed.query().is_none()
            && parsed.fragment().is_none();
        if !is_plain {
            return Err(refused());
        }
        self.public_url = Some(parsed.as_str().trim_end_matches('/').to_owned());
        Ok(self)
    }

    /// The book of who may come back without paying, for routes that are opened by signing in. In memory unless set: then a
    /// process that ends forgets who has paid, and who signed in just before could do so with the same signature again. Servers
    /// that sell the same routes must share one book.
    pub fn sign_ins(mut self, book: Arc<dyn SignIns>) -> Self {
        self.sign_ins = Some(book);
        self
    }

    /// The book of what was delivered before it was paid, for routes whose answers [stream](crate::PaymentLayer::streaming). In
    /// memory unless set: then a process that ends forgets who owes what. Servers that sell to the same buyers must share one.
    pub fn debts(mut self, book: Arc<dyn Debts>) -> Self {
        self.debts = Some(book);
        self
    }

    /// Who checks the signatures of visitors on the networks of one chain family; in the place of whoever did before.
    pub fn message_verifier(mut self, verifier: Arc<dyn MessageVerifier>) -> Self {
        self.verifiers.retain(|other| other.namespace() != verifier.namespace());
        self.verifiers.push(verifier);
        self
    }

    /// Where the nonces of challenges come from.
    pub fn entropy(mut self, entropy: Arc<dyn Entropy>) -> Self {
        self.entropy = Some(entropy);
        self
    }

    /// Signs what is offered, and receipts for what was paid (`offer-receipt`). Needs [`Self::public_url`], because both name
    /// the resource.
    ///
    /// Offers are signed for each URL that is asked for, and again once half of the time has passed for which they are good;
    /// not for each request.
    pub fn offer_receipts(mut self, issuer: Issuer) -> Self {
        self.issuer = Some(issuer);
        self
    }

    /// Says whose app this is, and which services are part of it, for the data of the transactions (`builder-code`).
    pub fn builder_code(mut self, app: &str, services: &[&str]) -> Result<Self, BuildError> {
        let app = Code::new(app).map_err(BuildError::BuilderCode)?;
        let services = services.iter().map(|code| Code::new(code)).collect::<Result<Vec<_>, _>>();
        let services = services.map_err(BuildError::BuilderCode)?;
        self.codes = Some(builder_code::declaration(&app, &services).map_err(BuildError::BuilderCode)?);
        Ok(self)
    }

    /// Adds hooks, behind those that were added before; see [`Hooks`].
    pub fn hooks(mut self, hooks: Arc<dyn Hooks>) -> Self {
        self.hooks.push(hooks);
        self
    }

    /// By which quotes are known again, on routes that ask for their prices. Made of [`Self::entropy`] unless set: then this
    /// server alone honours its quotes, and only for as long as it runs. Servers that sell the same routes must share one key.
    /// What was being settled when it ended is in the book of deliveries, and its buyer can come back for the answer.
    pub fn quote_key(mut self, key: QuoteKey) -> Self {
        self.quote_key = Some(key);
        self
    }

    /// For how long a quote is honoured although the price has moved, in seconds. [`DEFAULT_QUOTE_SECONDS`] unless set.
    pub const fn quote_seconds(mut self, seconds: u64) -> Self {
        self.quote_seconds = Some(seconds);
        self
    }

    /// The largest answer that is held back until its payment has settled, in bytes; larger ones fail and are free.
    /// [`DEFAULT_MAX_HELD_BODY_BYTES`] unless set.
    pub const fn max_held_body_bytes(mut self, bytes: usize) -> Self {
        self.max_held_body_bytes = Some(bytes);
        self
    }

    /// Which answers are kept with the payments that bought them, for how long, and who gets them again.
    /// [`KeepAnswers::default`] unless set.
    pub const fn keep_answers(mut self, keep: KeepAnswers) -> Self {
        self.keep_answers = keep;
        self
    }

    /// Asks the facilitator what it can do, and fails unless every accepted network can be paid on.
    pub async fn build(self) -> Result<Server, BuildError> {
        let facilitator = self.facilitator.ok_or(BuildError::NoFacilitator)?;
        if self.pay_to.is_empty() {
            return Err(BuildError::NoPayTo);
        }
        let clock = self.clock.ok_or(BuildError::NoClock)?;
        let origin = self.public_url.as_deref().and_then(Origin::of);
        if origin.is_none() && self.issuer.is_some() {
            return Err(BuildError::NoPublicUrl("offer_receipts"));
        }
        if origin.is_none() && self.sign_ins.is_some() {
            return Err(BuildError::NoPublicUrl("sign_ins"));
        }
        let seconds = self.quote_seconds.unwrap_or(DEFAULT_QUOTE_SECONDS);
        if seconds == 0 {
            return Err(BuildError::NoQuoteTime);
        }
        let key = self.quote_key.or_else(|| new_key(self.entropy.as_deref()?));
        let quotes = key.map(|key| Arc::new(Quotes { key, clock: Arc::clone(&clock), seconds }));
        let supported = facilitator.supported().await?;
        let networks = self.pay_to.iter().map(|(network, _)| network.clone()).collect();
        let mut accepts = Vec::new();
        for (network, pay_to) in self.pay_to {
            accepts.extend(accepts_on(&self.schemes, &supported, &network, &pay_to)?);
        }
        let deliveries = self.deliveries.unwrap_or_else(|| Arc::new(MemoryDeliveries::default()));
        let book = self.sign_ins.unwrap_or_else(|| Arc::new(MemorySignIns::default()));
        let debts = self.debts.unwrap_or_else(|| Arc::new(MemoryDebts::default()));
        let (verifiers, entropy) = (self.verifiers, self.entropy);
        let desk = origin.map(|origin| Arc::new(Desk { origin, book, verifiers, entropy, clock: Arc::clone(&clock) }));
        let (codes, issuer, known) = (self.codes, self.issuer, supported.extensions);
        let seller = Seller { codes, issuer, known, networks, desk, clock: Some(Arc::clone(&clock)) };
        Ok(Server(Arc::new(Shared {
            gate: Gate::new(facilitator, deliveries, clock).debts(debts).keep_answers(self.keep_answers).hooks(self.hooks),
            accepts,
            seller,
            quotes,
            public_url: self.public_url,
            max_held_body_bytes: self.max_held_body_bytes.unwrap_or(DEFAULT_MAX_HELD_BODY_BYTES),
        })))
    }
}

impl IntoFacilitator for &str {
    fn into_facilitator(self) -> Result<Arc<dyn Facilitator>, BuildError> {
        Ok(Arc::new(RemoteFacilitator::new(self)?))
    }
}

impl IntoFacilitator for &String {
    fn into_facilitator(self) -> Result<Arc<dyn Facilitator>, BuildError> {
        self.as_str().into_facilitator()
    }
}

impl IntoFacilitator for String {
    fn into_facilitator(self) -> Result<Arc<dyn Facilitator>, BuildError> {
        self.as_str().into_facilitator()
    }
}

impl IntoFacilitator for RemoteFacilitator {
    fn into_facilitator(self) -> Result<Arc<dyn Facilitator>, BuildError> {
        Ok(Arc::new(self))
    }
}

impl<F: Facilitator + 'static> IntoFacilitator for Arc<F> {
    fn into_facilitator(self) -> Result<Arc<dyn Facilitator>, BuildError> {
        Ok(self)
    }
}

impl IntoFacilitator for Arc<dyn Facilitator> {
    fn into_facilitator(self) -> Result<Arc<dyn Facilitator>, BuildError> {
        Ok(self)
    }
}

/// A key of this server's own. Without randomness there is none, which is told where one is needed.
fn new_key(entropy: &dyn Entropy) -> Option<QuoteKey> {
    let mut bytes = Zeroizing::new([0; QUOTE_KEY_BYTES]);
    entropy.fill(&mut *bytes).ok()?;
    Some(QuoteKey::new(*bytes))
}

/// The ways to be paid on one network: schemes that exist there and that the facilitator settles on this very network.
/// A pattern such as `eip155:*` is no promise for any one chain, so it does not count.
fn accepts_on(
    schemes: &ServerSchemes,
    supported: &SupportedResponse,
    network: &Network,
    pay_to: &AccountId,
) -> Result<Vec<Accept>, BuildError> {
    let existing: Vec<_> = schemes.iter().filter(|scheme| scheme.supports(network)).collect();
    if existing.is_empty() {
        let schemes = list(schemes.iter().map(|scheme| scheme.name().to_owned()));
        return Err(BuildError::NoScheme { network: network.clone(), schemes });
    }
    let kind_for = |scheme: &str| {
        let mut kinds = supported.kinds.iter().filter(|kind| kind.x402_version == Version::V2);
        kinds.find(|kind| kind.scheme == scheme && kind.network == *network).cloned()
    };
    let mut accepts = Vec::new();
    for scheme in &existing {
        if let Some(kind) = kind_for(scheme.name()) {
            let scheme = Arc::clone(scheme);
            accepts.push(Accept { network: network.clone(), pay_to: pay_to.clone(), scheme, kind });
        }
    }
    if accepts.is_empty() {
        return Err(BuildError::NoKind {
            network: network.clone(),
            schemes: list(existing.iter().map(|scheme| scheme.name().to_owned())),
            kinds: list(
                supported
                    .kinds
                    .iter()
                    .map(|kind| format!("{} on {} (version {})", kind.scheme, kind.network, kind.x402_version.number())),
            ),
        });
    }
    Ok(accepts)
}

fn list(names: impl Iterator<Item = String>) -> String {
    let names: Vec<String> = names.collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
