//! Which answers are kept with the payments that bought them, for how long, and who gets them again.
//!
//! Once a payment has settled, all of it can be read on chain, its signature too, and the terms that it echoes are everybody's.
//! So whoever presents it again need not be whoever signed it. What is on no chain is the name that a client gave the
//! purchase (`payment-identifier`), so a payment with a name gets its answer again for as long as that is kept. A payment
//! without one gets it again where it may have got lost here: the server that made it died before it had gone out, or says
//! itself that nobody took it. So an answer without a name is kept only until it has gone out, as [`InTransit`] says.

use std::sync::Arc;

#[cfg(doc)]
use crate::departed::InTransit;
use bytes::Bytes;
use farthing_core::wire::SettleResponse;

/// The largest answer that is kept unless set otherwise, in bytes.
pub const DEFAULT_MAX_KEPT_ANSWER_BYTES: usize = 1024 * 1024;
/// How long an answer to a payment with a name is kept unless set otherwise, in seconds.
pub const DEFAULT_KEEP_ANSWER_SECONDS: u64 = 24 * 60 * 60;
/// How long an answer to a payment without a name is kept unless set otherwise, in seconds: long enough for a server to
/// come back, and for its clients to ask once more. No longer, because whoever finds the payment on chain could ask, too. What
/// has gone out is not kept at all, but for [`Repeat::Always`].
pub const DEFAULT_KEEP_UNNAMED_ANSWER_SECONDS: u64 = 2 * 60;

/// Which answers are kept, for how long, and who gets them again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepAnswers {
    /// The largest answer that is kept, head and body, in bytes; larger ones are delivered and not kept. 0 keeps none.
    pub max_bytes: usize,
    /// How long an answer is kept whose payment has a name, in seconds; never longer than its payment is remembered.
    pub seconds: u64,
    /// The same for payments without a name, in seconds.
    pub unnamed_seconds: u64,
    /// Who gets an answer again.
    pub repeat: Repeat,
}

/// Who gets an answer again that was delivered, as far as the server knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Repeat {
    /// Payments with a name, and those whose server has died before it had sent the answer.
    #[default]
    Guarded,
    /// Every payment that is presented again for its request. Whoever reads a settled payment on chain can do that: only for
    /// answers that are no secret.
    Always,
}

impl Default for KeepAnswers {
    fn default() -> Self {
        Self {
            max_bytes: DEFAULT_MAX_KEPT_ANSWER_BYTES,
            seconds: DEFAULT_KEEP_ANSWER_SECONDS,
            unnamed_seconds: DEFAULT_KEEP_UNNAMED_ANSWER_SECONDS,
            repeat: Repeat::default(),
        }
    }
}

impl KeepAnswers {
    /// Keeps nothing: whatever gets lost is lost.
    #[must_use]
    pub fn nothing() -> Self {
        Self { max_bytes: 0, ..Self::default() }
    }

    /// Whether an answer of so many bytes is kept.
    pub(crate) const fn holds(&self, bytes: usize) -> bool {
        self.max_bytes > 0 && bytes <= self.max_bytes
    }
}

/// An answer to be kept, in the form of its transport. The settlement is kept beside it.
#[derive(Clone)]
pub struct Answer {
    /// What comes before the body, as bytes that the transport can read again.
    pub head: Vec<u8>,
    /// The body.
    pub body: Bytes,
}

/// An answer that was bought before, for whoever bought it: to be told with its first settlement.
#[derive(Clone)]
pub struct Repeated {
    /// The settlement that paid for it.
    pub settlement: SettleResponse,
    /// [`Answer::head`].
    pub head: Arc<[u8]>,
    /// [`Answer::body`].
    pub body: Arc<[u8]>,
}

impl Answer {
    pub(crate) const fn bytes(&self) -> usize {
        self.head.len().saturating_add(self.body.len())
    }
}
