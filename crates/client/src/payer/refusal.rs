//! Why nothing was paid.

use farthing_core::Source;
use farthing_core::books::{BookError, ReserveError};

use crate::error::{Declined, Rule};
use crate::offers::{Considered, Skip, Verdict};

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

/// Why one offer was not paid.
pub(super) enum Obstacle {
    /// Try the next one.
    Skip(Skip),
    /// Stop.
    Stop(Refused),
}

/// The error for terms of which no offer was paid: named for what the caller can do.
pub(super) fn none_left(offers: Vec<Considered>) -> Refused {
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

impl From<ReserveError> for Obstacle {
    fn from(error: ReserveError) -> Self {
        match error {
            ReserveError::OverLimit { limit, spent, .. } => Self::Skip(Skip::OverLimit { limit, spent }),
            ReserveError::Book(error) => Self::Stop(Refused::Ledger(error)),
        }
    }
}
