//! How a request ended, in one word, and why.

use std::borrow::Cow;

use farthing_core::header;
use farthing_core::reason::Reason;
use farthing_core::wire::SettleResponse;
use http::{HeaderMap, Response, StatusCode};

use super::trip::{Kind, Notes};
use crate::entry::Pass;
use crate::problem::Said;

/// What is said of a peer's own reason, of which there may be any number.
pub(super) const OTHER: &str = "other";

/// The codes of those whom nothing is given, whatever they pay.
const BLOCKED: [&str; 4] = ["address_blocked", "payer_blocked", "payer_unknown", "denied"];

/// How a request ended: the label `outcome` of `farthing_gateway_requests_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// It went to the upstream, on a route that is free.
    Free,
    /// It brought no payment and was told the terms.
    Required,
    /// It was paid for and answered.
    Paid,
    /// It was paid for before, and got its answer again.
    Repeated,
    /// A subscriber's, who has paid otherwise.
    Granted,
    /// It was one of those that are free.
    Quota,
    /// Nobody pays on this route yet.
    Shadow,
    /// It brought a sign-in that opens what it asks for.
    SignedIn,
    /// Its payment does not fit, was refused, or did not settle.
    Refused,
    /// It brought a good payment, and the work failed; nobody paid.
    FailedFree,
    /// It may have been charged, and was not answered: the payment may be presented again.
    Pending,
    /// It was turned away, whatever it pays.
    Blocked,
    /// It was answered with a problem of the gateway's own.
    Problem,
    /// Its client left before there was an answer.
    Left,
}

/// An outcome, and why, where there is something to tell.
pub(super) type Judged = (Outcome, Option<Cow<'static, str>>);

impl Outcome {
    /// Every one.
    pub const ALL: [Self; 14] = [
        Self::Free,
        Self::Required,
        Self::Paid,
        Self::Repeated,
        Self::Granted,
        Self::Quota,
        Self::Shadow,
        Self::SignedIn,
        Self::Refused,
        Self::FailedFree,
        Self::Pending,
        Self::Blocked,
        Self::Problem,
        Self::Left,
    ];

    /// As it is counted, logged and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Required => "required",
            Self::Paid => "paid",
            Self::Repeated => "repeated",
            Self::Granted => "granted",
            Self::Quota => "quota",
            Self::Shadow => "shadow",
            Self::SignedIn => "signed_in",
            Self::Refused => "refused",
            Self::FailedFree => "failed_free",
            Self::Pending => "pending",
            Self::Blocked => "blocked",
            Self::Problem => "problem",
            Self::Left => "left",
        }
    }

    /// Whether something went wrong.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        matches!(self, Self::Refused | Self::FailedFree | Self::Pending | Self::Blocked | Self::Problem | Self::Left)
    }
}

/// What an answer says of the payment.
pub(super) fn settlement(headers: &HeaderMap) -> Option<SettleResponse> {
    let value = [header::PAYMENT_RESPONSE, header::X_PAYMENT_RESPONSE].iter().find_map(|name| headers.get(*name))?;
    header::decode_settlement(value.as_bytes()).ok()
}

/// How a request ended that was answered so.
pub(super) fn judge<B>(notes: &Notes, answer: &Response<B>, settlement: Option<&SettleResponse>) -> Judged {
    let said = answer.extensions().get::<Said>().map(|said| said.0);
    if let Some(settlement) = settlement {
        return settled(notes, settlement);
    }
    if let Some(code) = said {
        let outcome = match notes.kind {
            _ if BLOCKED.contains(&code) => Outcome::Blocked,
            Kind::Priced if notes.reached.is_some() && notes.sold.is_some() => Outcome::FailedFree,
            _ => Outcome::Problem,
        };
        return (outcome, Some(Cow::Borrowed(code)));
    }
    if notes.reached.is_none() && answer.status().as_u16() < 400 {
        // What the gateway says of itself: a document for machines, or which origins may ask.
        return (Outcome::Free, None);
    }
    match notes.kind {
        Kind::Free => (Outcome::Free, None),
        Kind::Denied | Kind::Unmatched => (Outcome::Problem, None),
        Kind::Priced => priced(notes, answer),
    }
}

fn settled(notes: &Notes, settlement: &SettleResponse) -> Judged {
    if settlement.success {
        return (if notes.reached.is_some() { Outcome::Paid } else { Outcome::Repeated }, None);
    }
    let reason = settlement.error_reason.as_ref();
    let is_pending = reason == Some(&Reason::SettlementPending) || !settlement.transaction.is_empty();
    let outcome = if is_pending { Outcome::Pending } else { Outcome::Refused };
    (outcome, reason.map(bounded))
}

fn priced<B>(notes: &Notes, answer: &Response<B>) -> Judged {
    let status = answer.status();
    if let Some(pass) = notes.pass.filter(|_| notes.reached.is_some()) {
        let outcome = match pass {
            Pass::Subscriber => Outcome::Granted,
            Pass::FreeQuota => Outcome::Quota,
            Pass::Shadow => Outcome::Shadow,
        };
        return (outcome, None);
    }
    if notes.reached.is_some() {
        let failed = || Some(Cow::Borrowed("upstream_failed"));
        return if notes.sold.is_some() { (Outcome::FailedFree, failed()) } else { (Outcome::SignedIn, None) };
    }
    if let Some(terms) = answer.headers().get(header::PAYMENT_REQUIRED) {
        if !notes.brings_payment {
            return (Outcome::Required, None);
        }
        let terms = header::decode_required(terms.as_bytes()).ok();
        let reason = terms.and_then(|terms| terms.error).map(|error| bounded(&Reason::from(error.as_str())));
        return (Outcome::Refused, reason);
    }
    let outcome = if status == StatusCode::FORBIDDEN { Outcome::Blocked } else { Outcome::Problem };
    (outcome, None)
}

/// A reason as a label: those that Farthing knows, and one word for all others, which a peer may make up.
pub(super) fn bounded(reason: &Reason) -> Cow<'static, str> {
    let known = Reason::ALL.iter().find(|known| *known == reason);
    Cow::Borrowed(known.map_or(OTHER, |known| known.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_reasons_that_are_known_become_labels() {
        assert_eq!(bounded(&Reason::InsufficientFunds), "insufficient_funds");
        assert_eq!(bounded(&Reason::from("0xdeadbeef is broke")), OTHER);
    }

    #[test]
    fn no_two_outcomes_have_one_name() {
        let names: std::collections::BTreeSet<&str> = Outcome::ALL.iter().map(|outcome| outcome.as_str()).collect();
        assert_eq!(names.len(), Outcome::ALL.len());
    }
}
