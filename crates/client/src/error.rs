//! Errors, named for what the caller can do next.

use std::fmt;

use farthing_core::Source;
use farthing_core::books::BookError;
use farthing_core::reason::Reason;
use farthing_core::wire::SettleResponse;

use crate::offers::{Considered, shown};
use crate::payer::Refused;
use crate::settlement::{PaymentFacts, PaymentOutcome};

/// Why a request did not end in an answer. Whether money may have moved is always said.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The buyer's own rules forbid it; nothing was signed. Change the rules, or do without.
    #[error("{0}")]
    RefusedByPolicy(Declined),
    /// The wallet holds too little; nothing was signed. Fund it.
    #[error("{0}")]
    Unaffordable(Declined),
    /// No offer is one that this wallet can pay; nothing was signed. Another wallet may.
    #[error("{0}")]
    NotPayable(Declined),
    /// The wallet could not sign; nothing was sent, and nothing counts as spent.
    #[error("the wallet could not sign; nothing was paid")]
    Wallet(#[source] Source),
    /// The ledger could not be read or written; nothing was signed.
    #[error("the ledger could not be read or written; nothing was paid")]
    Ledger(#[source] BookError),
    /// The server has the payment and refused it. It will not be paid again by itself.
    #[error("{0}")]
    Rejected(Box<Rejected>),
    /// The payment was sent, and what became of it is not known. Repeating the call could pay twice.
    #[error("{0}")]
    Unknown(Box<Unknown>),
    /// The server asks for payment on terms that cannot be read; nothing was signed.
    #[error("{origin} asks for payment on terms that cannot be read: {why}; nothing was paid")]
    BadTerms {
        /// Who asks.
        origin: String,
        /// What is wrong with the terms.
        why: String,
    },
    /// The request cannot be sent at all. Nothing was sent.
    #[error("the request cannot be sent: {0}")]
    BadRequest(String),
    /// The server was not reached, or broke off before any payment was sent. It is safe to try again.
    #[error("{what}; nothing was paid")]
    Transport {
        /// What went wrong.
        what: String,
        /// Its cause.
        #[source]
        source: Option<Source>,
    },
    /// The answer came, but its body broke off or is not what was expected.
    #[error("the answer's body could not be read{}", if *.is_paid { "; it was paid for, and repeating the call would pay again" } else { "" })]
    Body {
        /// Whether a payment was sent for it.
        is_paid: bool,
        /// What went wrong.
        #[source]
        source: Source,
    },
}

/// A "no" that explains itself: the rule that decided, and every offer with what became of it.
#[derive(Clone, Debug)]
pub struct Declined {
    /// The rule.
    pub rule: Rule,
    /// The rule in words, for this case.
    pub why: String,
    /// Every offer, with the reason why it was passed over; empty if the rule forbids all of them unseen.
    pub offers: Vec<Considered>,
}

/// The rule that forbids a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rule {
    /// No offer can be paid, each for its own reason.
    Offers,
    /// The request was redirected to another origin before payment was asked.
    CrossOriginRedirect,
    /// The terms sell a resource of another host.
    ResourceHost,
    /// The terms came unencrypted from another machine.
    PlainHttp,
    /// The host is not on the list of allowed ones.
    HostNotAllowed,
    /// A hook of the buyer's aborted it.
    Aborted,
    /// A hook, policy or selector of the buyer's failed, and without its word nothing is paid.
    HookFailed,
    /// The server sells only with a name for the purchase, and there is none.
    NoPaymentId,
    /// Too many purchases with names are not over yet.
    TooManyNamed,
}

/// A payment that the server refused.
#[derive(Clone, Debug)]
pub struct Rejected {
    /// The status of the answer.
    pub status: u16,
    /// Why, in the protocol's word, if the server said.
    pub reason: Option<Reason>,
    /// Why, for people, if the server said.
    pub message: Option<String>,
    /// The settlement that the server reported, if any.
    pub settlement: Option<SettleResponse>,
    /// The payment.
    pub payment: PaymentFacts,
}

/// A payment of which nobody knows yet whether it was taken.
#[derive(Debug)]
pub struct Unknown {
    /// What happened.
    pub why: String,
    /// The status of the answer, if one came.
    pub status: Option<u16>,
    /// The settlement that the server reported, if any.
    pub settlement: Option<SettleResponse>,
    /// The payment.
    pub payment: PaymentFacts,
    /// The cause, if it was the connection.
    pub source: Option<Source>,
}

impl Declined {
    /// A rule that forbids every offer unseen.
    pub(crate) fn rule(rule: Rule, why: String) -> Self {
        Self { rule, why, offers: Vec::new() }
    }
}

impl fmt::Display for Declined {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.why)?;
        for (number, offer) in (1..).zip(&self.offers) {
            let separator = if number == 1 { ": " } else { "; " };
            write!(formatter, "{separator}{number}. {offer}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = self.reason.as_ref().map_or_else(|| "no reason given".to_owned(), |reason| shown(reason.as_str()));
        write!(formatter, "the server refused the payment of {} with status {}: {reason}", self.payment.usd, self.status)?;
        if let Some(message) = &self.message {
            write!(formatter, " ({})", shown(message))?;
        }
        match (self.payment.outcome, &self.payment.transaction) {
            (PaymentOutcome::Settled, Some(transaction)) => {
                write!(formatter, "; yet it says that the money moved in {}: it counts as spent", shown(&transaction.0))
            }
            (PaymentOutcome::Settled, None) => formatter.write_str("; yet it says that the money moved: it counts as spent"),
            _ => formatter.write_str("; it was signed, and counts against the limits until it cannot be taken any more"),
        }
    }
}

impl fmt::Display for Unknown {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} may have been paid, {} on {} to {}: {}. Repeating the call could pay twice; the payment counts against the \
             limits until it is known",
            self.payment.usd,
            self.payment.price(),
            self.payment.network,
            self.payment.offer.pay_to,
            self.why
        )
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Policy(declined) => Self::RefusedByPolicy(declined),
            Refused::Unaffordable(declined) => Self::Unaffordable(declined),
            Refused::NotPayable(declined) => Self::NotPayable(declined),
            Refused::Wallet(source) => Self::Wallet(source),
            Refused::Ledger(error) => Self::Ledger(error),
        }
    }
}

impl From<Rejected> for Error {
    fn from(rejected: Rejected) -> Self {
        Self::Rejected(Box::new(rejected))
    }
}

impl From<Unknown> for Error {
    fn from(unknown: Unknown) -> Self {
        Self::Unknown(Box::new(unknown))
    }
}

impl Error {
    /// Nothing was paid, because the connection failed. The address is left out: it may hold secrets.
    pub(crate) fn transport(what: impl Into<String>, error: reqwest::Error) -> Self {
        Self::Transport { what: what.into(), source: Some(Box::new(error.without_url())) }
    }

    /// Whether money may have left, so that the call must not simply be repeated.
    pub fn may_have_paid(&self) -> bool {
        matches!(self, Self::Rejected(_) | Self::Unknown(_) | Self::Body { is_paid: true, .. })
    }
}
