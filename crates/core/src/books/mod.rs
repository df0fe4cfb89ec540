//! Durable state: three books, one per role.
//!
//! - [`Settlements`] (facilitator): what was sent to the chain, and what became of it; its [`Outbox`] is the relayer's
//!   side of the same book.
//! - [`Deliveries`] (server): which payment bought which request, and with them the [`Sales`], for ever, and [`Refunds`] of
//!   those; [`SignIns`] beside them: who may come back without paying; [`Quotas`]: what may be had so many times in a period;
//!   [`Passes`]: what was bought for later; and [`Debts`]: what was delivered before it was paid.
//! - [`Ledger`] (client): what was promised and what was spent.
//!
//! The in-memory versions here are for tests, demos and single processes that may forget.

mod debts;
mod deliveries;
mod ledger;
mod memory;
mod outbox;
mod passes;
mod quotas;
mod refunds;
mod sales;
mod settlements;
mod sign_ins;

pub use debts::{Debt, Debts, MemoryDebts};
pub use deliveries::{
    Answered, Charged, ClaimId, Deliveries, Delivery, DeliveryClaim, Fingerprint, KEEP_EXPIRED_SECONDS, MemoryDeliveries,
    Naming, Owed, Presented, Purchase, PurchaseName, Receipt, Standing, StoredAnswer,
};
pub use ledger::{Ledger, MemoryLedger, Reservation, ReservationState, ReserveError, Spend, SpendLimit, SpendWindow, Usd};
pub use memory::MemorySettlements;
pub use outbox::{
    Landing, LaneClaim, LaneId, LaneLease, Outbox, Outgoing, OutgoingPayment, SponsorBudget, UnderWay, Unsendable, Written,
};
pub use passes::{MemoryPasses, PassBalance, PassHolder, PassPurchase, PassTerms, Passes};
pub use quotas::{MAX_COUNTERS_IN_MEMORY, MemoryQuotas, QuotaRequest, QuotaTaken, Quotas};
pub use refunds::{Booked, REFUND_TEXT_MAX_BYTES, Refund, RefundQuery, RefundState, RefundStateName, Refunds};
use sales::SalesBook;
pub use sales::{
    Bill, OpenSale, ROUTE_NAME_MAX_BYTES, SOLD_RESOURCE_MAX_BYTES, Sale, SaleFilter, SaleGroup, SaleQuery, SaleSum,
    SaleSumQuery, Sales, SettledBy,
};
pub use settlements::{
    Finding, PaymentRecord, SettlementEntry, SettlementQuery, SettlementState, SettlementStateName, Settlements,
};
pub use sign_ins::{Grant, KEEP_USED_NONCE_SECONDS, MAX_RESOURCE_BYTES, MemorySignIns, Reach, SignIns, Visit};

/// A book could not be read or written. Nothing may be sent, signed or delivered on the strength of it.
#[derive(Debug, thiserror::Error)]
#[error("the book could not be read or written")]
pub struct BookError(#[source] pub crate::Source);

/// Locks a book's memory; a panic in another holder does not make the book unreadable.
fn locked<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// What a book in memory answers; it never waits.
#[cfg(test)]
fn now<T>(mut future: crate::BoxFuture<'_, Result<T, BookError>>) -> T {
    match future.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
        std::task::Poll::Ready(answer) => answer.unwrap(),
        std::task::Poll::Pending => panic!("a book in memory waits"),
    }
}
