//! A seller: who is paid where, by which schemes, and through which facilitator. Everything is checked when it is built.

use std::sync::Arc;

use farthing_core::asset::{AccountId, NameError};
use farthing_core::books::{Deliveries, MemoryDeliveries};
use farthing_core::erased::ServerSchemes;
use farthing_core::facilitator::{Facilitator, FacilitatorError};
use farthing_core::network::{Network, NetworkError};
use farthing_core::price::Price;
use farthing_core::time::Clock;
use farthing_core::wire::{SupportedResponse, Version};
use url::Url;

use crate::gate::Gate;
use crate::http::PaymentLayer;
use crate::remote::{RemoteError, RemoteFacilitator};
use crate::route::{Accept, Pricing, Route, RouteError};

/// The largest answer that is held back until its payment has settled, unless set otherwise, in bytes.
pub const DEFAULT_MAX_HELD_BODY_BYTES: usize = 16 * 1024 * 1024;

/// Prices routes and charges for them. Cheap to clone; all clones are one seller.
#[derive(Clone)]
pub struct Server(Arc<Shared>);

struct Shared {
    gate: Gate,
    accepts: Vec<Accept>,
    public_url: Option<String>,
    max_held_body_bytes: usize,
}

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
}

/// Whatever can be used as a facilitator: the URL of one, or one in this process.
pub trait IntoFacilitator {
    /// The facilitator.
    fn into_facilitator(self) -> Result<Arc<dyn Facilitator>, BuildError>;
}

impl Server {
    /// Starts with nothing: no scheme, no clock, no facilitator, nobody to pay.
    pub fn builder() -> ServerBuilder {
        ServerBuilder::default()
    }

    /// A layer that charges this price, such as `"$0.01"` or `"0.10 USDC"`, for whatever it is laid over.
    pub fn price(&self, price: &str) -> Result<PaymentLayer, RouteError> {
        self.charge(price.parse()?)
    }

    /// A layer that charges this price.
    pub fn charge(&self, price: Price) -> Result<PaymentLayer, RouteError> {
        PaymentLayer::new(self.clone(), Pricing::of(price))
    }

    /// A layer that charges at most this price, and as much of it as the handler says through
    /// [`Paid::usage`](crate::Paid::usage): for what is metered. Only schemes that can charge less than was signed are offered,
    /// such as `upto`.
    pub fn price_up_to(&self, ceiling: &str) -> Result<PaymentLayer, RouteError> {
        self.charge_up_to(ceiling.parse()?)
    }

    /// A layer that charges at most this price; see [`Self::price_up_to`].
    pub fn charge_up_to(&self, ceiling: Price) -> Result<PaymentLayer, RouteError> {
        PaymentLayer::new(self.clone(), Pricing { is_metered: true, ..Pricing::of(ceiling) })
    }

    /// The offers that this price makes, for use with [`Self::gate`] over other transports than tower's. Those of other
    /// routes are their layer's: [`PaymentLayer::route`].
    pub fn route(&self, price: &Price) -> Result<Route, RouteError> {
        Route::build(&self.0.accepts, &Pricing::of(price.clone()))
    }

    /// The engine that lets paid requests in and settles them.
    pub fn gate(&self) -> &Gate {
        &self.0.gate
    }

    pub(crate) fn accepts(&self) -> &[Accept] {
        &self.0.accepts
    }

    pub(crate) fn public_url(&self) -> Option<&str> {
        self.0.public_url.as_deref()
    }

    pub(crate) fn max_held_body_bytes(&self) -> usize {
        self.0.max_held_body_bytes
    }
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

    /// The largest answer that is held back until its payment has settled, in bytes; larger ones fail and are free.
    /// [`DEFAULT_MAX_HELD_BODY_BYTES`] unless set.
    pub const fn max_held_body_bytes(mut self, bytes: usize) -> Self {
        self.max_held_body_bytes = Some(bytes);
        self
    }

    /// Asks the facilitator what it can do, and fails unless every accepted network can be paid on.
    pub async fn build(self) -> Result<Server, BuildError> {
        let facilitator = self.facilitator.ok_or(BuildError::NoFacilitator)?;
        if self.pay_to.is_empty() {
            return Err(BuildError::NoPayTo);
        }
        let clock = self.clock.ok_or(BuildError::NoClock)?;
        let supported = facilitator.supported().await?;
        let mut accepts = Vec::new();
        for (network, pay_to) in self.pay_to {
            accepts.extend(accepts_on(&self.schemes, &supported, &network, &pay_to)?);
        }
        let deliveries = self.deliveries.unwrap_or_else(|| Arc::new(MemoryDeliveries::default()));
        Ok(Server(Arc::new(Shared {
            gate: Gate::new(facilitator, deliveries, clock),
            accepts,
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
