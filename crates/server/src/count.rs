//! What is counted, by the names that an operator's recorder shows; without a recorder, nothing.

use std::time::Duration;

use metrics::{counter, histogram};

use crate::settle::Settled;

/// How a request to a priced route ended: the label `outcome` of `farthing_requests_total`.
#[derive(Clone, Copy)]
pub(crate) enum Outcome {
    /// It brought no payment and was told the terms.
    Required,
    /// It was paid for and answered.
    Paid,
    /// It was paid for before, and got its answer again.
    Repeated,
    /// It brought a sign-in that opens what it asks for, and nobody pays.
    SignedIn,
    /// A hook let it in, and nobody pays.
    Granted,
    /// A hook turned it away.
    Forbidden,
    /// Its payment cannot be read, does not fit, was refused, or will not settle.
    Refused,
    /// The work failed or the client left; nobody pays.
    FailedFree,
    /// It may have been charged and was not answered; its payment may be presented again.
    Pending,
    /// The payment may be good, and could not be taken now.
    Denied,
}

impl Outcome {
    pub(crate) const fn of(settled: &Settled) -> Self {
        match settled {
            Settled::Charged(_) => Self::Paid,
            Settled::Refused(_) => Self::Refused,
            Settled::NotSent(_) => Self::Denied,
            Settled::Pending(_) | Settled::Untrusted(_) => Self::Pending,
        }
    }

    pub(crate) fn count(self) {
        // Keys of literals alone are made at compile time, and most requests are counted as `required`.
        let counter = match self {
            Self::Required => counter!("farthing_requests_total", "outcome" => "required"),
            Self::Paid => counter!("farthing_requests_total", "outcome" => "paid"),
            Self::Repeated => counter!("farthing_requests_total", "outcome" => "repeated"),
            Self::SignedIn => counter!("farthing_requests_total", "outcome" => "signed_in"),
            Self::Granted => counter!("farthing_requests_total", "outcome" => "granted"),
            Self::Forbidden => counter!("farthing_requests_total", "outcome" => "forbidden"),
            Self::Refused => counter!("farthing_requests_total", "outcome" => "refused"),
            Self::FailedFree => counter!("farthing_requests_total", "outcome" => "failed_free"),
            Self::Pending => counter!("farthing_requests_total", "outcome" => "pending"),
            Self::Denied => counter!("farthing_requests_total", "outcome" => "denied"),
        };
        counter.increment(1);
    }
}

/// Counts a request that came as far as its settlement, and how long its answer was held for that.
pub(crate) fn settled(settled: &Settled, waited: Duration) {
    histogram!("farthing_settle_wait_seconds").record(waited);
    Outcome::of(settled).count();
}
