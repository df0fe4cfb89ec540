//! The word of a handler on what it charges, where it says so in the answer's header as with the official SDKs.

use http::HeaderMap;
use serde::Deserialize;

use super::headers::SETTLEMENT_OVERRIDES;
use super::work::{Failure, Work};
use crate::usage::{Usage, UsageError};

/// The longest value of the header, in bytes.
const MAX_OVERRIDES_BYTES: usize = 1024;

#[derive(Deserialize)]
struct Overrides {
    #[serde(default)]
    amount: Option<String>,
}

/// Why a header cannot be followed.
#[derive(Debug, thiserror::Error)]
enum OverridesError {
    #[error("settlement-overrides: expected one header, got several")]
    Several,
    #[error("settlement-overrides: expected at most {MAX_OVERRIDES_BYTES} bytes, got {0}")]
    Long(usize),
    #[error("settlement-overrides: expected JSON such as {{\"amount\": \"1000\"}}: {0}")]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Usage(#[from] UsageError),
}

/// Takes the handler at its word, and makes a failure of work that charges what cannot be charged. What it said through
/// [`Usage`] itself counts more than the header.
pub(super) fn follow<B, E>(work: Work<B, E>, usage: &Usage) -> Work<B, E> {
    let headers = match &work {
        Work::Done(answer) => answer.headers(),
        Work::Begun(answer) => answer.headers(),
        Work::Declined(_) | Work::Failed(_) | Work::Error(_) => return work,
    };
    match read(headers, usage) {
        Ok(()) => work,
        Err(error) => {
            let cause = &error as &dyn std::error::Error;
            tracing::error!(cause, "a handler charged what cannot be charged");
            Work::Failed(Failure::BadUsage)
        }
    }
}

fn read(headers: &HeaderMap, usage: &Usage) -> Result<(), OverridesError> {
    if usage.is_misused() {
        return Err(UsageError::NotMetered.into());
    }
    let mut values = headers.get_all(SETTLEMENT_OVERRIDES).iter();
    let Some(value) = values.next() else { return Ok(()) };
    if values.next().is_some() {
        return Err(OverridesError::Several);
    }
    if value.len() > MAX_OVERRIDES_BYTES {
        return Err(OverridesError::Long(value.len()));
    }
    let overrides: Overrides = serde_json::from_slice(value.as_bytes())?;
    match overrides.amount {
        Some(amount) if !usage.is_said() => Ok(usage.set_text(&amount)?),
        _ => Ok(()),
    }
}
