//! Every offer looked at: how it would be paid, or why it cannot be.

use std::sync::Arc;

use farthing_core::amount::Amount;
use farthing_core::asset::{AccountId, Asset};
use farthing_core::books::Usd;
use farthing_core::erased::AnyClientScheme;
use farthing_core::network::Network;
use farthing_core::reason::{Reason, Refusal};
use farthing_core::scheme::{PayError, PaymentFlow};
use farthing_core::wire::{PaymentRequired, PaymentRequirements, Verbatim, Version};

use super::{MAX_OFFERS, Payer};
use crate::choice::Candidate;
use crate::error::Declined;
use crate::offers::{Considered, Skip, Verdict};

/// An offer, and how to pay it if nothing speaks against it yet.
pub(super) struct Assessed {
    pub(super) considered: Considered,
    way: Option<Way>,
}

/// How an offer would be paid.
#[derive(Clone)]
pub(super) struct Way {
    pub(super) scheme: Arc<dyn AnyClientScheme>,
    pub(super) offer: Verbatim<PaymentRequirements>,
    pub(super) payer: AccountId,
    pub(super) asset: Asset,
    pub(super) amount: Amount,
    pub(super) usd: Usd,
    flow: PaymentFlow,
}

impl Payer {
    pub(super) fn assess(&self, required: &PaymentRequired) -> Vec<Assessed> {
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

    /// What is to be tried, in this order; what policies and selector left out says so.
    pub(super) fn ranked(&self, version: Version, offers: &mut [Assessed]) -> Result<Vec<(usize, Way)>, Declined> {
        let mut ways: Vec<_> =
            (0..).zip(&*offers).filter_map(|(place, assessed)| Some((place, assessed.way.clone()?))).collect();
        let rank_of =
            |network: &Network| self.preferred.iter().position(|preferred| preferred == network).unwrap_or(usize::MAX);
        // Whoever charges after the work bears more of the risk, whatever it costs.
        let is_upfront = |way: &Way| way.flow != PaymentFlow::Authorization;
        ways.sort_by_key(|(place, way)| (is_upfront(way), way.usd, rank_of(&way.offer.network), *place));
        let chosen = self.choice.of(version, ways.iter().map(|(place, way)| way.candidate(*place)).collect())?;
        for (place, _) in &ways {
            let skip = if chosen.not_selected.contains(place) { Skip::NotSelected } else { Skip::LeftOut };
            if let Some(assessed) = offers.get_mut(*place).filter(|_| !chosen.places.contains(place)) {
                assessed.considered.verdict = Verdict::Skipped(skip);
            }
        }
        let way_of = |place: usize| ways.iter().find(|(other, _)| *other == place).cloned();
        Ok(chosen.places.into_iter().filter_map(way_of).collect())
    }
}

impl Way {
    fn candidate(&self, place: usize) -> Candidate<'_> {
        let Self { offer, asset, payer, amount, usd, flow, .. } = self;
        Candidate { place, offer, asset, payer, amount: *amount, usd: *usd, flow: *flow }
    }
}

/// Whether the wallet holds enough, as far as can be known.
pub(super) async fn afford(way: &Way, considered: &mut Considered) -> Result<(), Skip> {
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

fn refusal(error: PayError) -> Skip {
    match error {
        PayError::Offer(refusal) => Skip::Scheme(refusal),
        PayError::Wallet(_) => Skip::NoAccount,
    }
}
