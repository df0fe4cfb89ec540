//! Why the facilitator gave no answer, in forms that many waiting callers can share.

use std::error::Error;
use std::sync::Arc;

use farthing_core::Source;

/// Nothing was sent, for a cause that is not the payment's: it is safe to try again.
#[derive(Clone, Debug, thiserror::Error)]
#[error("nothing was sent")]
pub(crate) struct NotSent(#[source] Arc<dyn Error + Send + Sync>);

/// The facilitator is at one of its named limits.
#[derive(Debug, thiserror::Error)]
#[error("{max} {what} are in flight, which is the most that are taken at once")]
pub(crate) struct Overloaded {
    pub(crate) what: &'static str,
    pub(crate) max: usize,
}

/// Something took longer than it may.
#[derive(Debug, thiserror::Error)]
#[error("{what} took longer than {seconds} s")]
pub(crate) struct TooSlow {
    pub(crate) what: &'static str,
    pub(crate) seconds: u64,
}

impl NotSent {
    pub(crate) fn because(source: impl Into<Source>) -> Self {
        Self(Arc::from(source.into()))
    }
}
