//! Exit codes, stable and documented in README.md, so that scripts and agents can tell what happened.

use std::process::ExitCode;

use crate::terminal::{BAD, PLAIN, note, plain};

/// How a command ended, for whoever called it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// Any failure without a code of its own.
    Failed = 1,
    /// The command line makes no sense; clap ends with the same code.
    Usage = 2,
    /// The spend controls forbade the payment; nothing was signed.
    RefusedByPolicy = 10,
    /// The wallet does not hold enough; nothing was signed.
    Unaffordable = 11,
    /// The payment was made and refused.
    Rejected = 12,
    /// The money may have moved: do not just repeat the command.
    Unknown = 13,
    /// Payment was asked for in no way that this wallet can pay.
    NotPayable = 14,
    /// The server answered with an HTTP error.
    HttpError = 22,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// What is wrong with the command line, where clap should not say it: clap repeats the value, which may be a secret.
#[derive(Debug, thiserror::Error)]
#[error("{option}: {why}")]
pub struct Usage {
    option: &'static str,
    why: String,
}

impl Usage {
    /// The option, and what it expects.
    pub fn new(option: &'static str, why: impl Into<String>) -> Self {
        Self { option, why: why.into() }
    }
}

/// An answer came, and its body could not be put where it should go.
#[derive(Debug, thiserror::Error)]
#[error("the body cannot be written{}", if *.is_paid { "; it was paid for, and repeating the command would pay again" } else { "" })]
pub struct Unwritten {
    /// Whether a payment was sent for it.
    pub is_paid: bool,
    /// What the system said.
    #[source]
    pub source: std::io::Error,
}

/// The exit code of an error that is none of the exchange's own.
pub fn code(error: &anyhow::Error) -> Exit {
    if error.is::<Usage>() {
        Exit::Usage
    } else if error.downcast_ref::<Unwritten>().is_some_and(|unwritten| unwritten.is_paid) {
        Exit::Unknown
    } else {
        Exit::Failed
    }
}

/// Says what went wrong, cause by cause, and gives the exit code.
pub fn failure(error: &anyhow::Error) -> ExitCode {
    note(format!("{BAD}error:{PLAIN} {}", plain(&format!("{error:#}"))));
    code(error).into()
}
