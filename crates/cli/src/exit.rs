//! Exit codes, stable and documented in README.md, so that scripts and agents can tell what happened.

use std::process::ExitCode;

/// How a command ended, for whoever called it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// Any failure without a code of its own.
    Failed = 1,
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

/// Says what went wrong, cause by cause, and gives the general exit code.
pub fn failure(error: &anyhow::Error) -> ExitCode {
    let message: Vec<String> = error.chain().map(ToString::to_string).collect();
    anstream::eprintln!("{}error:{} {}", crate::terminal::BAD, crate::terminal::PLAIN, message.join(": "));
    Exit::Failed.into()
}
