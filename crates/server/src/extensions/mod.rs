//! What a route's terms declare besides its offers, and what comes of that (x402 v2 §8).
//!
//! | extension | declared | new in each answer | once it is paid |
//! |---|---|---|---|
//! | `bazaar` | by the route | | |
//! | `builder-code` | by a seller who has a code | | |
//! | gas sponsoring | beside offers that need an approval, where the facilitator pays for one | | |
//! | `payment-identifier` | by the route | | |
//! | `offer-receipt` | by a seller who signs ([`offers`]) | the signed offers | a signed receipt ([`after`]) |
//! | `sign-in-with-x` | by the route ([`sign_in`]) | address, nonce and moments | a grant ([`after`]) |
//!
//! Terms of version 1 have no extensions.

mod after;
mod offers;
mod sign_in;

pub(crate) use after::After;
pub(crate) use offers::UNSIGNED;
pub use sign_in::{DEFAULT_GRANT_SECONDS, SignInOptions, Visitor};
pub(crate) use sign_in::{Desk, Opened, SignInError, SignInRule};

use std::sync::Arc;

use farthing_core::Source;
use farthing_core::extension::offer_receipt::Issuer;
use farthing_core::extension::sign_in_with_x::Info;
use farthing_core::extension::{bazaar, builder_code, echo, offer_receipt, payment_identifier, sign_in_with_x};
use farthing_core::network::Network;
use farthing_core::reason::{Reason, Refusal};
use farthing_core::time::{Clock, UnixSeconds};
use farthing_core::wire::Extensions;
use serde_json::{Value, json};

use crate::offer::Offer;
use crate::resource::RequestFacts;
use crate::route::RouteError;
use crate::template::{HOLES, has_mark};
use offers::SignedOffers;

/// Why a route cannot declare an extension as it was told to. All of these are found at start-up.
#[derive(Debug, thiserror::Error)]
pub enum ExtensionError {
    /// The server does not know where it is to be found.
    #[error("sign-ins need the server's own address; set it with public_url(\"https://api.example.com\")")]
    NoPublicUrl,
    /// No nonce can be made.
    #[error("sign-ins need randomness; hand in a source with entropy(…)")]
    NoEntropy,
    /// The source of randomness has none.
    #[error("sign-ins need randomness, and its source has none")]
    Entropy(#[source] Source),
    /// No account could sign in.
    #[error(
        "nobody could sign in on {networks}; hand in who checks signatures there with message_verifier(…), or name other networks"
    )]
    NoVerifier {
        /// The networks.
        networks: String,
    },
    /// The line that tells people why to sign cannot be signed.
    #[error("{0}")]
    Statement(Refusal),
    /// A grant that lasts no time.
    #[error("granted_for: expected at least 1 second, got 0")]
    NoTime,
    /// What was used once says nothing about the next time.
    #[error("a route that is priced up to a ceiling cannot be opened by a sign-in: it would be used for nothing from then on")]
    Metered,
    /// A grant names a method and a URL, and no body.
    #[error(
        "a route whose price depends on the body cannot be opened by a sign-in: who has paid for one body could have any other"
    )]
    PricedBody,
    /// A grant names a method and a URL, and no headers.
    #[error(
        "a route whose price depends on headers cannot be opened by a sign-in: who has paid with some could come with any others"
    )]
    PricedHeaders,
    /// The same of a body that payments are bound to.
    #[error(
        "a route that binds payments to the body cannot be opened by a sign-in: who has paid for one body could have any other"
    )]
    BoundBody,
    /// There would be two limits.
    #[error("binding_body: the price is asked with the body, which payments are bound to already; leave it out")]
    BoundTwice,
    /// Nothing is sold.
    #[error("{0} is for routes that have a price; this one is opened by signing in alone")]
    Unpriced(&'static str),
}

/// What all routes of a seller have in common.
#[derive(Clone, Default)]
pub(crate) struct Seller {
    /// The builder code's declaration.
    pub(crate) codes: Option<Value>,
    pub(crate) issuer: Option<Issuer>,
    /// The extensions that the facilitator knows.
    pub(crate) known: Vec<String>,
    /// Where the seller can be paid, each network once.
    pub(crate) networks: Vec<Network>,
    pub(crate) desk: Option<Arc<Desk>>,
    pub(crate) clock: Option<Arc<dyn Clock>>,
}

/// What one route is to declare, what its payments are bound to, and what it is called.
#[derive(Clone, Default)]
pub(crate) struct Wishes {
    /// Its name in the book of sales; empty unless it was given one.
    pub(crate) name: String,
    /// Whether a purchase needs a name; `None` if names are not asked for.
    pub(crate) payment_identifier: Option<bool>,
    pub(crate) sign_in: Option<SignInOptions>,
    /// What catalogues are told of it ([`bazaar`]).
    pub(crate) bazaar: Option<Value>,
    /// How many bytes of a body every payment is bound to; `None` where only purchases with a name are, up to the usual limit.
    pub(crate) bound_body_bytes: Option<usize>,
}

/// What one route declares.
#[derive(Clone, Default)]
pub(crate) struct Declared {
    /// All that is the same in every answer.
    constant: Extensions,
    /// What of it is filled in for each answer.
    offers: Option<Arc<SignedOffers>>,
    sign_in: Option<Arc<SignInRule>>,
    issuer: Option<Issuer>,
    clock: Option<Arc<dyn Clock>>,
    /// Whether purchases must have a name, which buyers of version 1 cannot give.
    pub(crate) needs_name: bool,
}

/// What is new in one answer.
#[derive(Clone, Default)]
pub(crate) struct Fresh {
    pub(crate) sign_in: Info,
    /// The extension `offer-receipt` as JSON.
    pub(crate) offers: Option<Arc<str>>,
    /// The quotes of the offers, in their order, where prices are asked for.
    pub(crate) quotes: Vec<String>,
}

impl Declared {
    pub(crate) fn of(seller: &Seller, wishes: &Wishes, offers: &[Offer]) -> Result<Self, RouteError> {
        let mut constant = Extensions::default();
        let mut set = |key: &str, value: &Value| {
            let written = constant.set(key, value).map_err(|error| RouteError::Unwritable(error.to_string()));
            let is_plain = !has_mark(&value.to_string());
            written.and(
                is_plain.then_some(()).ok_or_else(|| RouteError::Unwritable(format!("{key} holds private-use characters"))),
            )
        };
        if let Some(codes) = seller.codes.as_ref().filter(|_| !offers.is_empty()) {
            set(builder_code::KEY, codes)?;
        }
        for offer in offers {
            for (key, value) in offer.scheme.declares(&offer.requirements, &seller.known) {
                set(key, &value)?;
            }
        }
        if let Some(required) = wishes.payment_identifier {
            if offers.is_empty() {
                return Err(ExtensionError::Unpriced("payment_identifier").into());
            }
            set(payment_identifier::KEY, &payment_identifier::declaration(required))?;
        }
        if let Some(listing) = wishes.bazaar.as_ref().filter(|_| !offers.is_empty()) {
            set(bazaar::KEY, listing)?;
        }
        if wishes.bound_body_bytes.is_some() {
            if offers.is_empty() {
                return Err(ExtensionError::Unpriced("binding_body").into());
            }
            if wishes.sign_in.is_some() {
                return Err(ExtensionError::BoundBody.into());
            }
        }
        let issuer = seller.issuer.clone().filter(|_| !offers.is_empty());
        if issuer.is_some() {
            set(offer_receipt::KEY, &json!({"info": {"offers": []}}))?;
        }
        let sign_in = wishes.sign_in.as_ref().map(|options| SignInRule::new(options, seller, offers)).transpose()?;
        let accepts = || offers.iter().map(|offer| offer.requirements.clone().into_value()).collect();
        Ok(Self {
            constant,
            offers: issuer.clone().map(|issuer| Arc::new(SignedOffers::new(issuer, accepts()))),
            sign_in: sign_in.map(Arc::new),
            issuer,
            clock: seller.clock.clone(),
            needs_name: wishes.payment_identifier == Some(true),
        })
    }

    /// All of it with holes for what is filled in later.
    pub(crate) fn with_holes(&self) -> Result<Extensions, serde_json::Error> {
        let mut extensions = self.constant.clone();
        if self.offers.is_some() {
            extensions.set(offer_receipt::KEY, &HOLES.offers)?;
        }
        if let Some(rule) = &self.sign_in {
            extensions.set(sign_in_with_x::KEY, &rule.with_holes())?;
        }
        Ok(extensions)
    }

    /// What is the same in every answer.
    pub(crate) const fn constant(&self) -> &Extensions {
        &self.constant
    }

    pub(crate) fn sign_in(&self) -> Option<&SignInRule> {
        self.sign_in.as_deref()
    }

    /// Whether every answer is the same for the same URL.
    pub(crate) const fn is_constant(&self) -> bool {
        self.offers.is_none() && self.sign_in.is_none()
    }

    /// What is new in an answer for this URL. Of signed offers, those that are at hand; `None` in their place if the signer
    /// has to be asked.
    pub(crate) fn at_hand(&self, url: &str) -> Fresh {
        let offers = self.offers.as_ref().and_then(|offers| offers.at_hand(url, self.now()?));
        Fresh { sign_in: self.challenge(url), offers, quotes: Vec::new() }
    }

    /// Whether an answer can be filled in without asking the signer.
    pub(crate) const fn is_whole(&self, fresh: &Fresh) -> bool {
        self.offers.is_none() || fresh.offers.is_some()
    }

    /// What is new in an answer for this URL, with offers that are signed.
    pub(crate) async fn freshen(&self, url: &str) -> Fresh {
        let offers = match (&self.offers, self.now()) {
            (Some(offers), Some(now)) => Some(offers.signed(url, now).await),
            _ => None,
        };
        Fresh { sign_in: self.challenge(url), offers, quotes: Vec::new() }
    }

    /// Checks what a payment echoes against what was declared for this URL.
    pub(crate) fn check_echo(&self, url: &str, echoed: &Extensions) -> Result<(), Refusal> {
        let rule = self.sign_in.as_ref().filter(|_| echoed.raw(sign_in_with_x::KEY).is_some());
        let Some(rule) = rule else { return echo::check(&self.constant, echoed) };
        let mut declared = self.constant.clone();
        let unwritten = |error: serde_json::Error| {
            Refusal::new(Reason::ExtensionEchoMismatch, format!("extensions.{}: {error}", sign_in_with_x::KEY))
        };
        declared.set(sign_in_with_x::KEY, &rule.declaration(&self.challenge(url))).map_err(unwritten)?;
        echo::check(&declared, echoed)
    }

    /// What is to be done once a payment for a request has settled; `None` if nothing is.
    pub(crate) fn after(&self, facts: &RequestFacts) -> Option<After> {
        let grants = self.sign_in.clone();
        if self.issuer.is_none() && grants.is_none() {
            return None;
        }
        let clock = Arc::clone(self.clock.as_ref()?);
        Some(After { issuer: self.issuer.clone(), grants, facts: facts.clone(), clock })
    }

    fn challenge(&self, url: &str) -> Info {
        self.sign_in.as_ref().map(|rule| rule.challenge(url)).unwrap_or_default()
    }

    fn now(&self) -> Option<UnixSeconds> {
        self.clock.as_ref().map(|clock| clock.now())
    }
}

fn list(networks: &[Network]) -> String {
    let names: Vec<&str> = networks.iter().map(Network::as_str).collect();
    if names.is_empty() { "no network".to_owned() } else { names.join(", ") }
}
