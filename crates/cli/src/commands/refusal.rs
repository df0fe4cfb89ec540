//! Why there is no answer, for people and for programs, and the exit code that says it to scripts.

use std::process::ExitCode;

use farthing::client::{Considered, Error, PaymentFacts, Skip, Verdict};
use serde_json::json;

use crate::exit::{self, Exit};
use crate::terminal::{ACCENT, BAD, FAINT, PLAIN, note, plain};

/// Says it on stderr, and gives the exit code. `payment` is what was paid where the error itself does not know it.
pub fn report(error: &Error, payment: Option<&PaymentFacts>, as_json: bool) -> ExitCode {
    let (name, exit) = kind(error);
    if as_json {
        let payment = payment.or_else(|| payment_of(error));
        note(json!({"error": name, "message": with_causes(error), "mayHavePaid": error.may_have_paid(), "payment": payment}));
        return exit.into();
    }
    let (message, offers) = match error {
        Error::RefusedByPolicy(declined) | Error::Unaffordable(declined) | Error::NotPayable(declined) => {
            (declined.why.clone(), declined.offers.as_slice())
        }
        _ => (with_causes(error), [].as_slice()),
    };
    note(format!("{BAD}{}:{PLAIN} {}", name.replace('_', " "), plain(&message)));
    for (number, offer) in (1..).zip(offers) {
        list(number, offer);
    }
    if let Some(advice) = advice(error) {
        note(format!("{FAINT}{advice}{PLAIN}"));
    }
    exit.into()
}

/// What went wrong before or beside the exchange, in the form that was asked for.
pub fn in_form(result: anyhow::Result<ExitCode>, as_json: bool) -> anyhow::Result<ExitCode> {
    match result {
        Err(error) if as_json => {
            let exit = exit::code(&error);
            let name = match exit {
                Exit::Usage => "usage",
                Exit::Unknown => "unknown",
                _ => "failed",
            };
            let may_have_paid = exit == Exit::Unknown;
            note(json!({"error": name, "message": format!("{error:#}"), "mayHavePaid": may_have_paid, "payment": null}));
            Ok(exit.into())
        }
        result => result,
    }
}

/// The error's name, stable for programs, and its exit code.
fn kind(error: &Error) -> (&'static str, Exit) {
    match error {
        Error::RefusedByPolicy(_) => ("refused_by_policy", Exit::RefusedByPolicy),
        Error::Unaffordable(_) => ("unaffordable", Exit::Unaffordable),
        Error::NotPayable(_) | Error::BadTerms { .. } => ("not_payable", Exit::NotPayable),
        Error::Rejected(_) => ("rejected", Exit::Rejected),
        Error::Unknown(_) | Error::Body { is_paid: true, .. } => ("unknown", Exit::Unknown),
        Error::BadRequest(_) => ("usage", Exit::Usage),
        _ => ("failed", Exit::Failed),
    }
}

/// What was signed, if anything was.
fn payment_of(error: &Error) -> Option<&PaymentFacts> {
    match error {
        Error::Rejected(rejected) => Some(&rejected.payment),
        Error::Unknown(unknown) => Some(&unknown.payment),
        _ => None,
    }
}

fn with_causes(error: &Error) -> String {
    let mut message = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        message.push_str(": ");
        message.push_str(&source.to_string());
        cause = source.source();
    }
    message
}

fn list(number: usize, considered: &Considered) {
    let why = plain(&considered.why().unwrap_or_else(|| "can be paid".to_owned()));
    match (considered.requirements(), considered.price()) {
        (Some(offer), Some(price)) => {
            let (price, scheme) = (plain(&price), plain(&offer.scheme));
            note(format!("  {number}. {ACCENT}{price}{PLAIN} on {} by {scheme}: {why}", offer.network));
        }
        _ => note(format!("  {number}. {why}")),
    }
}

/// What the person can do about it.
fn advice(error: &Error) -> Option<&'static str> {
    match error {
        Error::RefusedByPolicy(declined) if declined.offers.iter().any(is_over_limit) => {
            Some("--max-amount allows more, if you want to pay it")
        }
        Error::Unaffordable(_) => Some("fund the wallet, or pay from another one: --wallet"),
        Error::NotPayable(_) => {
            Some("nothing was paid; farthing pays by exact (EIP-3009) in known stablecoins on EVM networks")
        }
        _ => None,
    }
}

fn is_over_limit(considered: &Considered) -> bool {
    matches!(considered.verdict, Verdict::Skipped(Skip::OverLimit { .. }))
}
