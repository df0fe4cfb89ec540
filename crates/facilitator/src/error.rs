//! Why the facilitator gave no answer, in forms that many waiting callers can share.

use std::error::Error;
use std::sync::Arc;

use farthing_core::Source;
use farthing_core::facilitator::FacilitatorError;

use crate::flight::{MAX_COPIES_PER_FLIGHT, MAX_OTHERS_PER_FLIGHT};

/// Why a settlement came to no answer. Shared by all copies of the request.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum NoAnswer {
    /// Nothing was sent, for a cause that is not the payment's: it is safe to try again.
    #[error("nothing was sent")]
    NotSent(#[source] Arc<dyn Error + Send + Sync>),
    /// Nothing was sent, because its caller has used up what it is allowed for now.
    #[error("nothing was sent")]
    OverQuota(#[source] OverQuota),
    /// It could not be found out whether anything was sent, now or before.
    #[error("it is not known whether anything was sent")]
    Unclear(#[source] Arc<dyn Error + Send + Sync>),
}

/// The facilitator is at one of its named limits.
#[derive(Debug, thiserror::Error)]
#[error("{max} {what} are in flight, which is the most that are taken at once")]
pub(crate) struct Overloaded {
    pub(crate) what: &'static str,
    pub(crate) max: usize,
}

/// A request with an authorization that is being settled could not wait for its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoTurn {
    /// Others were always first.
    #[error("other requests with the same authorization are in the way; ask again with the same payment")]
    TooSlow,
    /// As many as may wait do so.
    #[error(
        "{MAX_COPIES_PER_FLIGHT} copies of this request wait already, or {MAX_OTHERS_PER_FLIGHT} others with its authorization"
    )]
    TooMany,
}

/// The facilitator ends and takes nothing new.
#[derive(Debug, thiserror::Error)]
#[error("this facilitator is stopping; another one, or this one after its restart, takes the payment")]
pub(crate) struct Stopping;

/// The caller has used up what it is allowed for now.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{caller} may make {limit} {what} and has made them; there are more in {retry_after_seconds} s")]
pub(crate) struct OverQuota {
    pub(crate) caller: String,
    pub(crate) limit: u32,
    pub(crate) what: &'static str,
    pub(crate) retry_after_seconds: u64,
}

/// Something took longer than it may.
#[derive(Debug, thiserror::Error)]
#[error("{what} took longer than {seconds} s")]
pub(crate) struct TooSlow {
    pub(crate) what: &'static str,
    pub(crate) seconds: u64,
}

impl NoAnswer {
    pub(crate) fn not_sent(source: impl Into<Source>) -> Self {
        Self::NotSent(Arc::from(source.into()))
    }

    pub(crate) fn unclear(source: impl Into<Source>) -> Self {
        Self::Unclear(Arc::from(source.into()))
    }
}

impl From<NoAnswer> for FacilitatorError {
    fn from(cause: NoAnswer) -> Self {
        match cause {
            NoAnswer::NotSent(_) | NoAnswer::OverQuota(_) => Self::Unavailable(Box::new(cause)),
            NoAnswer::Unclear(_) => Self::Indeterminate(Box::new(cause)),
        }
    }
}

impl OverQuota {
    /// The quota that an error is about, if it is about one.
    pub(crate) fn behind<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        causes(error).find_map(<dyn Error>::downcast_ref)
    }
}

/// An error and its causes, for the log.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let texts: Vec<String> = causes(error).map(ToString::to_string).collect();
    texts.join(": ")
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |cause: &&'a (dyn Error + 'static)| (*cause).source())
}
