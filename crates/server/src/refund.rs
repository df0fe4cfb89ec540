//! Carries a refund that was booked to its end, as far as it can be had now.
//!
//! It can be called by anybody and as often as anybody likes, also at the same time and after a crash anywhere: what a
//! facilitator is asked to settle is what was signed when the refund was booked, and the chain takes that once.

use farthing_core::books::{BookError, REFUND_TEXT_MAX_BYTES, Refund, RefundState, Refunds};
use farthing_core::facilitator::{Facilitator, FacilitatorError};
use farthing_core::reason::Reason;
use farthing_core::scheme::TransactionId;
use farthing_core::time::Clock;
use farthing_core::wire::{PaymentRequest, SettleResponse};

/// How long after its expiry a refund is void, in seconds: clocks differ, and blocks come late.
pub const REFUND_VOID_AFTER_SECONDS: u64 = 600;

/// Who is asked to settle refunds.
pub struct RefundDesk<'a> {
    /// Where they are written.
    pub book: &'a dyn Refunds,
    /// Who settles.
    pub facilitator: &'a dyn Facilitator,
    /// Whether that is one whose own book, of all that it ever sent, is kept beside this one: then its refusal is the last word,
    /// whoever was asked before.
    pub knows_all: bool,
    /// What the time is.
    pub clock: &'a dyn Clock,
}

impl RefundDesk<'_> {
    /// Has the refund settled, and writes what came of it. What it is afterwards is answered: while it is open, it may be carried
    /// again, and it is never taken for failed because its end is not known.
    pub async fn carry(&self, refund: &Refund) -> Result<RefundState, BookError> {
        let id = refund.id;
        if !matches!(refund.state, RefundState::Open(_)) || !self.book.asking(id, self.clock.now()).await? {
            return self.state(refund).await;
        }
        let request = match PaymentRequest::read(refund.request.as_bytes()) {
            Ok(request) => request,
            Err(refusal) => return Err(BookError(format!("the refund {id} cannot be read: {}", refusal.reason).into())),
        };
        match self.facilitator.settle(&request).await {
            Ok(SettleResponse { success: true, transaction, .. }) if !transaction.is_empty() => {
                self.book.settled(id, &TransactionId(transaction), self.clock.now()).await?;
            }
            Ok(SettleResponse { success: false, error_reason, error_message, .. })
                if error_reason.as_ref().is_some_and(|reason| *reason != Reason::SettlementPending) =>
            {
                let reason = error_reason.map(|reason| reason.to_string()).unwrap_or_default();
                let why = cut(&error_message.map_or(reason.clone(), |message| format!("{reason}: {message}")));
                tracing::warn!(refund = %id, reason, "a refund was refused");
                self.refused(refund, &why).await?;
            }
            Err(FacilitatorError::Unavailable(error)) => {
                tracing::warn!(refund = %id, %error, "a refund could not be settled now; nothing was sent");
                self.book.refused(id, "the facilitator is unavailable; nothing was sent", self.clock.now()).await?;
            }
            // Nobody has said what became of it.
            Ok(_) | Err(FacilitatorError::Malformed(_) | FacilitatorError::Indeterminate(_)) => {
                tracing::warn!(refund = %id, "it is not known whether a refund has settled; it stays open");
            }
        }
        self.state(refund).await
    }

    async fn refused(&self, refund: &Refund, why: &str) -> Result<(), BookError> {
        let now = self.clock.now();
        self.book.refused(refund.id, why, now).await?;
        if now >= refund.expires_at.plus(REFUND_VOID_AFTER_SECONDS) {
            self.book.failed(refund.id, why, self.knows_all, now).await?;
        }
        Ok(())
    }

    async fn state(&self, refund: &Refund) -> Result<RefundState, BookError> {
        let found = self.book.find(refund.id).await?;
        found.map(|refund| refund.state).ok_or_else(|| BookError(format!("the refund {} is not in the book", refund.id).into()))
    }
}

fn cut(text: &str) -> String {
    text.get(..text.floor_char_boundary(REFUND_TEXT_MAX_BYTES)).unwrap_or(text).to_owned()
}
