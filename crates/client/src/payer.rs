//! The engine that pays, free of transport: HTTP and MCP are thin adapters over it.
//!
//! In this order, and nothing before its turn:
//!
//! 1. The terms must be for the host that was asked.
//! 2. Each offer needs a scheme, a network, a known asset, a known payment flow, an account, and the buyer's consent.
//! 3. Of what remains the cheapest in dollars is taken; among equals the preferred network, then the server's order.
//! 4. The wallet must hold the money, where a node can be asked.
//! 5. The ledger reserves the most that the payment can take, against every limit. Only then
//! 6. the wallet signs.

use std::fmt;
use std::sync::Arc;

use farthing_core::Source;
use farthing_core::amount::Amount;
use farthing_core::asset::{AccountId, Asset};
use farthing_core::books::{BookError, Ledger, Reservation, ReserveError, Spend, SpendLimit, SpendWindow, Usd};
use farthing_core::erased::{AnyClientScheme, ClientSchemes};
use farthing_core::network::Network;
use farthing_core::reason::{Reason, Refusal};
use farthing_core::scheme::{PayError, PaymentFlow};
use farthing_core::time::Clock;
use farthing_core::wire::{
    Accepted, Extensions, Payload, PaymentPayload, PaymentRequired, PaymentRequirements, SettleResponse, Verbatim,
};
use metrics::counter;

use crate::controls::SpendControls;
use crate::error::{Declined, Rule};
use crate::offers::{Considered, Skip, Verdict};
use crate::origin;
use crate::settlement::{PaymentFacts, PaymentOutcome};

/// The most offers that are looked at; each may cost a question to a node.
pub const MAX_OFFERS: usize = 32;

/// Pays within limits that hold.
#[derive(Clone)]
pub struct Payer {
    schemes: ClientSchemes,
    controls: SpendControls,
    preferred: Vec<Network>,
    ledger: Arc<dyn Ledger>,
    clock: Arc<dyn Clock>,
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

/// Why nothing was paid. Nothing was signed, or what was signed never left.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The buyer's own rules forbid it.
    #[error("{0}")]
    Policy(Declined),
    /// The wallet holds too little.
    #[error("{0}")]
    Unaffordable(Declined),
    /// No offer is one that this wallet can pay.
    #[error("{0}")]
    NotPayable(Declined),
    /// The wallet could not sign.
    #[error("the wallet could not sign")]
    Wallet(#[source] Source),
    /// The ledger could not be read or written.
    #[error(transparent)]
    Ledger(#[from] BookError),
}

/// An offer, and how to pay it if nothing speaks against it yet.
struct Assessed {
    considered: Considered,
    way: Option<Way>,
}

/// How an offer would be paid.
#[derive(Clone)]
struct Way {
    scheme: Arc<dyn AnyClientScheme>,
    offer: Verbatim<PaymentRequirements>,
    payer: AccountId,
    asset: Asset,
    amount: Amount,
    usd: Usd,
    flow: PaymentFlow,
}

/// Why one offer was not paid.
enum Obstacle {
    /// Try the next one.
    Skip(Skip),
    /// Stop.
    Stop(Refused),
}

impl Payer {
    /// A payer with these schemes, under the default controls.
    pub fn new(schemes: ClientSchemes, ledger: Arc<dyn Ledger>, clock: Arc<dyn Clock>) -> Self {
        Self { schemes, controls: SpendControls::default(), preferred: Vec::new(), ledger, clock }
    }

    /// Pays under these controls.
    #[must_use]
    pub fn with_controls(mut self, controls: SpendControls) -> Self {
        self.controls = controls;
        self
    }

    /// Prefers these networks, the first one most, among offers that cost the same.
    #[must_use]
    pub fn preferring(mut self, networks: impl IntoIterator<Item = Network>) -> Self {
        self.preferred = networks.into_iter().collect();
        self
    }

    /// The controls that hold.
    pub fn controls(&self) -> &SpendControls {
        &self.controls
    }

    /// Chooses an offer, reserves, and signs. Cancelled half-way, the reservation stays.
    pub async fn pay(&self, required: &PaymentRequired, purchase: &Purchase) -> Result<Promised, Refused> {
        self.admits(required, purchase).map_err(Refused::Policy)?;
        let mut offers = self.assess(required);
        for (index, way) in self.ranked(&offers) {
            let Some(assessed) = offers.get_mut(index) else { continue };
            match self.take(&way, required, purchase, &mut assessed.considered).await {
                Ok(promised) => return Ok(promised),
                Err(Obstacle::Skip(skip)) => assessed.considered.verdict = Verdict::Skipped(skip),
                Err(Obstacle::Stop(refused)) => return Err(refused),
            }
        }
        Err(none_left(offers.into_iter().map(|assessed| assessed.considered).collect()))
    }

    /// What [`Payer::pay`] would do just now; nothing is reserved or signed.
    pub async fn consider(&self, required: &PaymentRequired, purchase: &Purchase) -> Result<Consideration, Refused> {
        let declined = self.admits(required, purchase).err();
        let mut offers = self.assess(required);
        let mut chosen = None;
        for (index, way) in self.ranked(&offers) {
            let Some(assessed) = offers.get_mut(index) else { continue };
            let afforded = afford(&way, &mut assessed.considered).await;
            let allowed = match afforded {
                Ok(()) => {
                    let limits = self.limits(purchase);
                    self.ledger.allows(&spend(&way, purchase), &limits, self.clock.now()).await.map_err(Obstacle::from)
                }
                Err(skip) => Err(Obstacle::Skip(skip)),
            };
            match allowed {
                Ok(()) => chosen = chosen.or(Some(index)),
                Err(Obstacle::Skip(skip)) => assessed.considered.verdict = Verdict::Skipped(skip),
                Err(Obstacle::Stop(refused)) => return Err(refused),
            }
        }
        let chosen = chosen.filter(|_| declined.is_none());
        Ok(Consideration { declined, offers: offers.into_iter().map(|assessed| assessed.considered).collect(), chosen })
    }

    /// Takes in what the server said of a payment that was sent. The reservation is kept for good if the payment
    /// settled, and stays open otherwise: a signed payment can be taken until it expires.
    pub async fn conclude(&self, promised: Promised, settlement: Option<&SettleResponse>) -> PaymentFacts {
        let Promised { mut facts, reservation, .. } = promised;
        if let Some(settlement) = settlement {
            facts.heard(settlement);
        }
        for doubt in &facts.doubts {
            tracing::warn!(network = %facts.network, "the server's settlement is not what was signed: {doubt}");
        }
        if facts.outcome == PaymentOutcome::Settled
            && let Err(error) = self.ledger.commit(reservation, facts.transaction.clone()).await
        {
            // It stays reserved, and so counts as spent all the same.
            tracing::error!(reservation = reservation.0, "a settled payment could not be written down: {error}");
        }
        count(facts.outcome);
        facts
    }

    /// Takes a payment back that was never sent: nothing can be taken, and nothing counts as spent.
    pub async fn withdraw(&self, promised: Promised) {
        counter!("farthing_payments_total", "outcome" => "withdrawn").increment(1);
        self.release(promised.reservation).await;
    }

    async fn release(&self, reservation: Reservation) {
        if let Err(error) = self.ledger.release(reservation).await {
            tracing::error!(reservation = reservation.0, "an unused reservation could not be released: {error}");
        }
    }

    /// Whether terms from there may be paid at all.
    fn admits(&self, required: &PaymentRequired, purchase: &Purchase) -> Result<(), Declined> {
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

    fn assess(&self, required: &PaymentRequired) -> Vec<Assessed> {
        let read = (0..).zip(&required.accepts).map(|(index, offer)| {
            let mut considered = Considered::skipped(offer, Skip::TooMany);
            let way = if index < MAX_OFFERS { self.way(offer, &mut considered) } else { Err(Skip::TooMany) };
            match way {
                Ok(way) => {
                    considered.verdict = Verdict::Payable;
                    Assessed { considered, way: Some(way) }
                }
                Err(skip) => {
                    considered.verdict = Verdict::Skipped(skip);
                    Assessed { considered, way: None }
                }
            }
        });
        let unreadable =
            required.unreadable.iter().map(|offer| Assessed { considered: Considered::unreadable(offer), way: None });
        read.chain(unreadable).collect()
    }

    /// How the offer would be paid, learning about it on the way; no I/O.
    fn way(&self, offer: &Verbatim<PaymentRequirements>, considered: &mut Considered) -> Result<Way, Skip> {
        let mut named = self.schemes.iter().filter(|scheme| scheme.name() == offer.scheme).peekable();
        if named.peek().is_none() {
            return Err(Skip::UnknownScheme);
        }
        let scheme = named.find(|scheme| scheme.supports(&offer.network)).ok_or(Skip::UnknownNetwork)?;
        let asset = scheme.asset(offer).ok_or(Skip::UnknownAsset)?;
        considered.asset = Some(asset.clone());
        let flow = PaymentFlow::of(offer).map_err(Skip::Flow)?;
        if flow == PaymentFlow::Escrow {
            let message = "it asks for a deposit before the work, which this wallet does not make";
            return Err(Skip::Flow(Refusal::new(Reason::UnsupportedPaymentFlow, message)));
        }
        let amount = scheme.max_spend(offer).map_err(refusal)?;
        if amount.is_zero() {
            return Err(Skip::Zero);
        }
        let usd = Usd::of(amount, &asset).ok_or(Skip::NoDollarValue)?;
        considered.usd = Some(usd);
        if let Some(skip) = self.controls.judge(offer, &asset) {
            return Err(skip);
        }
        let payer = scheme.payer(&offer.network).ok_or(Skip::NoAccount)?;
        Ok(Way { scheme: Arc::clone(scheme), offer: offer.clone(), payer, asset, amount, usd, flow })
    }

    /// What can be paid, best first.
    fn ranked(&self, offers: &[Assessed]) -> Vec<(usize, Way)> {
        let mut ways: Vec<_> = (0..).zip(offers).filter_map(|(index, assessed)| Some((index, assessed.way.clone()?))).collect();
        let rank_of =
            |network: &Network| self.preferred.iter().position(|preferred| preferred == network).unwrap_or(usize::MAX);
        // Whoever charges after the work bears more of the risk, whatever it costs.
        let is_upfront = |way: &Way| way.flow != PaymentFlow::Authorization;
        ways.sort_by_key(|(index, way)| (is_upfront(way), way.usd, rank_of(&way.offer.network), *index));
        ways
    }

    /// Pays one offer.
    async fn take(
        &self,
        way: &Way,
        required: &PaymentRequired,
        purchase: &Purchase,
        considered: &mut Considered,
    ) -> Result<Promised, Obstacle> {
        afford(way, considered).await.map_err(Obstacle::Skip)?;
        let limits = self.limits(purchase);
        let reservation = self.ledger.reserve(&spend(way, purchase), &limits, self.clock.now()).await?;
        match way.scheme.pay(&way.offer, &required.extensions).await {
            Ok(signed) => Ok(Promised { payment: payment(required, way, signed), facts: facts(required, way), reservation }),
            Err(error) => {
                self.release(reservation).await;
                Err(match error {
                    PayError::Offer(refusal) => Obstacle::Skip(Skip::Scheme(refusal)),
                    PayError::Wallet(source) => Obstacle::Stop(Refused::Wallet(source)),
                })
            }
        }
    }

    fn limits(&self, purchase: &Purchase) -> Vec<SpendLimit> {
        let own = purchase.at_most.map(|max| SpendLimit { max, window: SpendWindow::Payment });
        own.into_iter().chain(self.controls.limits().iter().copied()).collect()
    }
}

/// Counts a payment that was sent.
fn count(outcome: PaymentOutcome) {
    let counter = match outcome {
        PaymentOutcome::Settled => counter!("farthing_payments_total", "outcome" => "settled"),
        PaymentOutcome::Unconfirmed => counter!("farthing_payments_total", "outcome" => "unconfirmed"),
        PaymentOutcome::Failed => counter!("farthing_payments_total", "outcome" => "failed"),
    };
    counter.increment(1);
}

/// Whether the wallet holds enough, as far as can be known.
async fn afford(way: &Way, considered: &mut Considered) -> Result<(), Skip> {
    match way.scheme.balance(&way.offer).await {
        Ok(held) => {
            considered.held = held;
            if held.is_some_and(|held| held < way.amount) { Err(Skip::Unaffordable) } else { Ok(()) }
        }
        Err(PayError::Offer(refusal)) => Err(Skip::Scheme(refusal)),
        Err(PayError::Wallet(_)) => {
            // A node that is down forbids nothing: a payment without cover is refused by whoever verifies it. The
            // cause is not logged, since it may hold the node's address and so its key.
            tracing::warn!(network = %way.offer.network, "the balance could not be read; paying without knowing it");
            Ok(())
        }
    }
}

fn spend(way: &Way, purchase: &Purchase) -> Spend {
    Spend { usd: way.usd, resource: purchase.resource.clone() }
}

/// The payment as it is sent: resource, offer and extensions as they came, but for what the scheme adds to these.
fn payment(required: &PaymentRequired, way: &Way, (payload, added): (Payload, Extensions)) -> PaymentPayload {
    let mut extensions = required.extensions.clone();
    extensions.extend(added);
    PaymentPayload {
        version: required.version,
        resource: required.resource.clone(),
        accepted: Accepted::Offer(way.offer.clone()),
        payload,
        extensions,
    }
}

fn facts(required: &PaymentRequired, way: &Way) -> PaymentFacts {
    PaymentFacts {
        offer: way.offer.clone(),
        payer: way.payer.clone(),
        network: way.offer.network.clone(),
        asset: way.asset.clone(),
        amount: way.amount,
        usd: way.usd,
        version: required.version,
        outcome: PaymentOutcome::Unconfirmed,
        transaction: None,
        doubts: Vec::new(),
    }
}

/// The error for terms of which no offer was paid: named for what the caller can do.
fn none_left(offers: Vec<Considered>) -> Refused {
    let any = |test: fn(&Skip) -> bool| {
        offers.iter().any(|considered| matches!(&considered.verdict, Verdict::Skipped(skip) if test(skip)))
    };
    let is_unaffordable = any(|skip| matches!(skip, Skip::Unaffordable));
    let is_policy = any(Skip::is_policy);
    let why = if offers.is_empty() { "the terms make no offer, and nothing is paid" } else { "no offer can be paid" };
    let declined = Declined { rule: Rule::Offers, why: why.to_owned(), offers };
    match (is_unaffordable, is_policy) {
        (true, _) => Refused::Unaffordable(declined),
        (false, true) => Refused::Policy(declined),
        (false, false) => Refused::NotPayable(declined),
    }
}

fn refusal(error: PayError) -> Skip {
    match error {
        PayError::Offer(refusal) => Skip::Scheme(refusal),
        PayError::Wallet(_) => Skip::NoAccount,
    }
}

impl From<ReserveError> for Obstacle {
    fn from(error: ReserveError) -> Self {
        match error {
            ReserveError::OverLimit { limit, spent, .. } => Self::Skip(Skip::OverLimit { limit, spent }),
            ReserveError::Book(error) => Self::Stop(Refused::Ledger(error)),
        }
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
