//! The engine that pays, free of transport: HTTP and MCP are thin adapters over it.
//!
//! In this order, and nothing before its turn:
//!
//! 1. The terms must be for the host that was asked.
//! 2. Each offer needs a scheme, a network, a known asset, a known payment flow, an account, and the buyer's consent.
//! 3. Of what remains the best is taken, as [`choice`](crate::choice) says: the cheapest in dollars, unless policies or a
//!    selector want otherwise.
//! 4. The wallet must hold the money, where a node can be asked.
//! 5. The buyer's [`Hooks`] must let it pass.
//! 6. The ledger reserves the most that the payment can take, against every limit. Only then
//! 7. the wallet signs.

mod conclusion;
mod creation;
mod named;
mod refusal;
mod ways;

use std::fmt;
use std::sync::Arc;

use farthing_core::books::{Ledger, Reservation, SpendLimit, SpendWindow, Usd};
use farthing_core::erased::ClientSchemes;
use farthing_core::extension::builder_code::Code;
use farthing_core::extension::payment_identifier::PaymentId;
use farthing_core::network::Network;
use farthing_core::time::{Clock, Entropy, UnixSeconds};
use farthing_core::wire::{PaymentPayload, PaymentRequired};

use crate::choice::Choice;
use crate::controls::SpendControls;
use crate::error::{Declined, Rule};
use crate::hooks::{HookList, Hooks};
use crate::offers::{Considered, Verdict};
use crate::origin;
use crate::settlement::PaymentFacts;

pub use named::{KEEP_SECONDS, MAX_NAMED_PURCHASES};
use named::{NamedPurchases, Slot};
pub use refusal::Refused;
use refusal::{Obstacle, none_left};

/// The most offers that are looked at; each may cost a question to a node.
pub const MAX_OFFERS: usize = 32;

/// Pays within limits that hold.
#[derive(Clone)]
pub struct Payer {
    schemes: ClientSchemes,
    controls: SpendControls,
    preferred: Vec<Network>,
    choice: Choice,
    hooks: HookList,
    service_codes: Vec<Code>,
    named: NamedPurchases,
    ledger: Arc<dyn Ledger>,
    clock: Arc<dyn Clock>,
    entropy: Option<Arc<dyn Entropy>>,
}

/// What the caller asked for, as far as paying for it goes.
#[derive(Clone, Debug, Default)]
pub struct Purchase {
    /// What is bought, for reports: without anything secret.
    pub resource: String,
    /// The host that was asked; the terms must be for it. `None` where there are no hosts.
    pub host: Option<String>,
    /// The most that this one purchase may cost, besides the limits.
    pub at_most: Option<Usd>,
    /// The purchase's name: under the same name the same payment is presented, and servers that take names are told
    /// (`payment-identifier`). `None` makes one where a server requires it.
    pub payment_id: Option<PaymentId>,
}

/// A payment that is reserved and signed. Send it, then tell the payer how it went: [`Payer::conclude`] or
/// [`Payer::withdraw`]. Left alone, it counts as spent.
#[must_use = "a promised payment counts as spent until the payer hears how it went"]
pub struct Promised {
    /// The payment, to be sent.
    pub payment: PaymentPayload,
    /// What it can take, and from whom.
    pub facts: PaymentFacts,
    reservation: Reservation,
    /// Where it is remembered, if the purchase has a name.
    named: Option<Slot>,
}

/// What paying would come to, without paying.
#[derive(Clone, Debug)]
pub struct Consideration {
    /// The rule that forbids every offer, if there is one.
    pub declined: Option<Declined>,
    /// Every offer, in the server's order.
    pub offers: Vec<Considered>,
    /// The place in `offers` of the one that would be paid.
    pub chosen: Option<usize>,
}

impl Payer {
    /// A payer with these schemes, under the default controls.
    pub fn new(schemes: ClientSchemes, ledger: Arc<dyn Ledger>, clock: Arc<dyn Clock>) -> Self {
        Self {
            schemes,
            controls: SpendControls::default(),
            preferred: Vec::new(),
            choice: Choice::default(),
            hooks: HookList::default(),
            service_codes: Vec::new(),
            named: NamedPurchases::default(),
            ledger,
            clock,
            entropy: None,
        }
    }

    /// Pays under these controls.
    #[must_use]
    pub fn with_controls(self, controls: SpendControls) -> Self {
        Self { controls, ..self }
    }

    /// Prefers these networks, the first one most, among offers that cost the same.
    #[must_use]
    pub fn preferring(self, networks: impl IntoIterator<Item = Network>) -> Self {
        Self { preferred: networks.into_iter().collect(), ..self }
    }

    /// Tells these hooks, in this order, and heeds them.
    #[must_use]
    pub fn with_hooks(self, hooks: Vec<Arc<dyn Hooks>>) -> Self {
        Self { hooks: HookList::new(hooks), ..self }
    }

    /// Makes names for purchases from this, where a server requires one and the caller gave none.
    #[must_use]
    pub fn with_entropy(self, entropy: Arc<dyn Entropy>) -> Self {
        Self { entropy: Some(entropy), ..self }
    }

    pub(crate) fn choosing(self, choice: Choice) -> Self {
        Self { choice, ..self }
    }

    pub(crate) fn with_service_codes(self, service_codes: Vec<Code>) -> Self {
        Self { service_codes, ..self }
    }

    /// The controls that hold.
    pub fn controls(&self) -> &SpendControls {
        &self.controls
    }

    pub(crate) fn hooks(&self) -> &HookList {
        &self.hooks
    }

    pub(crate) fn now(&self) -> UnixSeconds {
        self.clock.now()
    }

    /// Chooses an offer, reserves, and signs. A purchase that was signed for under its name before is not signed for again:
    /// its payment is given out once more. Cancelled half-way, the reservation stays.
    pub async fn pay(&self, required: &PaymentRequired, purchase: &Purchase) -> Result<Promised, Refused> {
        self.admits(required, purchase).map_err(Refused::Policy)?;
        let payment_id = self.payment_id(required, purchase).map_err(Refused::NotPayable)?;
        let Some(name) = purchase.payment_id.as_ref().or(payment_id.as_ref()) else {
            return self.pay_anew(required, purchase, None).await;
        };
        let Some(mut slot) = self.named.open(&purchase.resource, name, self.now()).await else {
            let why = format!("{MAX_NAMED_PURCHASES} purchases with names are not over yet; nothing is paid under a new name");
            return Err(Refused::Policy(Declined::rule(Rule::TooManyNamed, why)));
        };
        if let Some(promised) = named::again(&mut slot, self.now()) {
            return Ok(promised);
        }
        let promised = self.pay_anew(required, purchase, payment_id.as_ref()).await?;
        Ok(named::remember(&mut slot, &promised, purchase.payment_id.is_some(), self.now()))
    }

    async fn pay_anew(
        &self,
        required: &PaymentRequired,
        purchase: &Purchase,
        payment_id: Option<&PaymentId>,
    ) -> Result<Promised, Refused> {
        let mut offers = self.assess(required);
        for (place, way) in self.ranked(required.version, &mut offers).map_err(Refused::Policy)? {
            let Some(assessed) = offers.get_mut(place) else { continue };
            match self.take(&way, required, purchase, payment_id, &mut assessed.considered).await {
                Ok(promised) => return Ok(promised),
                Err(Obstacle::Skip(skip)) => assessed.considered.verdict = Verdict::Skipped(skip),
                Err(Obstacle::Stop(refused)) => return Err(refused),
            }
        }
        Err(none_left(offers.into_iter().map(|assessed| assessed.considered).collect()))
    }

    /// What [`Payer::pay`] would do just now, as long as no hook forbids it; nothing is reserved or signed.
    pub async fn consider(&self, required: &PaymentRequired, purchase: &Purchase) -> Result<Consideration, Refused> {
        let mut declined = self.admits(required, purchase).err();
        let mut offers = self.assess(required);
        let mut chosen = None;
        let ranked = self.ranked(required.version, &mut offers).unwrap_or_else(|panicked| {
            declined.get_or_insert(panicked);
            Vec::new()
        });
        for (place, way) in ranked {
            let Some(assessed) = offers.get_mut(place) else { continue };
            let afforded = ways::afford(&way, &mut assessed.considered).await;
            let allowed = match afforded {
                Ok(()) => {
                    let limits = self.limits(purchase);
                    self.ledger.allows(&way.spend(purchase), &limits, self.clock.now()).await.map_err(Obstacle::from)
                }
                Err(skip) => Err(Obstacle::Skip(skip)),
            };
            match allowed {
                Ok(()) => chosen = chosen.or(Some(place)),
                Err(Obstacle::Skip(skip)) => assessed.considered.verdict = Verdict::Skipped(skip),
                Err(Obstacle::Stop(refused)) => return Err(refused),
            }
        }
        let chosen = chosen.filter(|_| declined.is_none());
        Ok(Consideration { declined, offers: offers.into_iter().map(|assessed| assessed.considered).collect(), chosen })
    }

    /// Whether terms from there may be paid at all.
    pub(crate) fn admits(&self, required: &PaymentRequired, purchase: &Purchase) -> Result<(), Declined> {
        let Some(host) = &purchase.host else { return Ok(()) };
        if !self.controls.allows_host(host) {
            let why = format!("{host} is not among the allowed hosts; nothing is paid there");
            return Err(Declined::rule(Rule::HostNotAllowed, why));
        }
        match &required.resource {
            Some(resource) if !origin::leads_to(&resource.url, host) => {
                let named = crate::offers::shown(&resource.url);
                let why = format!("{host} was asked, but its terms sell {named:?}, which is not on that host; nothing is paid");
                Err(Declined::rule(Rule::ResourceHost, why))
            }
            _ => Ok(()),
        }
    }

    fn limits(&self, purchase: &Purchase) -> Vec<SpendLimit> {
        let own = purchase.at_most.map(|max| SpendLimit { max, window: SpendWindow::Payment });
        own.into_iter().chain(self.controls.limits().iter().copied()).collect()
    }
}

impl Promised {
    /// The same payment under the same reservation.
    fn copy(&self, named: Option<Slot>) -> Self {
        Self { payment: self.payment.clone(), facts: self.facts.clone(), reservation: self.reservation, named }
    }
}

impl fmt::Debug for Payer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let schemes: Vec<_> = self.schemes.iter().map(|scheme| scheme.name()).collect();
        formatter.debug_struct("Payer").field("schemes", &schemes).field("controls", &self.controls).finish_non_exhaustive()
    }
}

impl fmt::Debug for Promised {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Promised").field("facts", &self.facts).finish_non_exhaustive()
    }
}
