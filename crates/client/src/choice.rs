//! Which of the offers that can be paid is paid: policies and a selector of the buyer's own.
//!
//! What can be paid within the limits is put in order, best first: money that moves after the work before money that moves
//! ahead of it, then the cheapest in dollars, then the preferred network, then the server's order. Then
//!
//! 1. each policy, in the order in which they were added, may leave offers out and put the rest in another order;
//! 2. a selector, if there is one, picks one of what is left, and no other is tried. Without a selector the offers are
//!    tried in their order until one is affordable and within what is left of the limits.
//!
//! Neither can change an offer or bring one in.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use farthing_core::amount::Amount;
use farthing_core::asset::{AccountId, Asset};
use farthing_core::books::Usd;
use farthing_core::scheme::PaymentFlow;
use farthing_core::wire::{PaymentRequirements, Version};

use crate::error::{Declined, Rule};

/// An offer that can be paid. It cannot be copied, so that what a policy returns is what it was given.
#[derive(Debug)]
pub struct Candidate<'a> {
    pub(crate) place: usize,
    pub(crate) offer: &'a PaymentRequirements,
    pub(crate) asset: &'a Asset,
    pub(crate) payer: &'a AccountId,
    pub(crate) amount: Amount,
    pub(crate) usd: Usd,
    pub(crate) flow: PaymentFlow,
}

impl Candidate<'_> {
    /// The offer.
    pub fn offer(&self) -> &PaymentRequirements {
        self.offer
    }

    /// In what it would be paid.
    pub fn asset(&self) -> &Asset {
        self.asset
    }

    /// Who would pay.
    pub fn payer(&self) -> &AccountId {
        self.payer
    }

    /// The most that it can take, in atomic units.
    pub fn amount(&self) -> Amount {
        self.amount
    }

    /// The same in dollars.
    pub fn usd(&self) -> Usd {
        self.usd
    }

    /// When the money would move.
    pub fn flow(&self) -> PaymentFlow {
        self.flow
    }
}

type Policy = dyn for<'a> Fn(Version, Vec<Candidate<'a>>) -> Vec<Candidate<'a>> + Send + Sync;
type Selector = dyn for<'a> Fn(Version, &[Candidate<'a>]) -> Option<usize> + Send + Sync;

/// The buyer's policies and selector.
#[derive(Clone, Default)]
pub(crate) struct Choice {
    policies: Vec<Arc<Policy>>,
    selector: Option<Arc<Selector>>,
}

/// What is to be tried, in this order, by places; and whether a selector left the rest out.
pub(crate) struct Chosen {
    pub(crate) places: Vec<usize>,
    /// What the policies kept and the selector did not take.
    pub(crate) not_selected: Vec<usize>,
}

impl Choice {
    pub(crate) fn add_policy(
        &mut self,
        policy: impl for<'a> Fn(Version, Vec<Candidate<'a>>) -> Vec<Candidate<'a>> + Send + Sync + 'static,
    ) {
        self.policies.push(Arc::new(policy));
    }

    pub(crate) fn set_selector(
        &mut self,
        selector: impl for<'a> Fn(Version, &[Candidate<'a>]) -> Option<usize> + Send + Sync + 'static,
    ) {
        self.selector = Some(Arc::new(selector));
    }

    /// What is to be tried of these, which are given best first. A policy or selector that panics forbids all of them.
    pub(crate) fn of(&self, version: Version, mut candidates: Vec<Candidate<'_>>) -> Result<Chosen, Declined> {
        for policy in &self.policies {
            let kept = catch_unwind(AssertUnwindSafe(|| policy(version, candidates)));
            candidates = kept.map_err(|_| panicked("a policy"))?;
        }
        let mut places: Vec<usize> = candidates.iter().map(|candidate| candidate.place).collect();
        let Some(selector) = self.selector.as_ref().filter(|_| !places.is_empty()) else {
            return Ok(Chosen { places, not_selected: Vec::new() });
        };
        let picked = catch_unwind(AssertUnwindSafe(|| selector(version, &candidates))).map_err(|_| panicked("the selector"))?;
        // A number that is none of theirs picks nothing.
        let picked = picked.filter(|picked| *picked < places.len()).map(|picked| places.remove(picked));
        Ok(Chosen { places: picked.into_iter().collect(), not_selected: places })
    }
}

fn panicked(who: &str) -> Declined {
    Declined::rule(Rule::HookFailed, format!("{who} of the buyer's panicked, and without its word nothing is paid"))
}
