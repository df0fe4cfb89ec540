//! Refunds that were begun by `farthing ledger refund` while this gateway has the book: it has them settled.

use std::sync::Arc;
use std::time::Duration;

use farthing::core::books::{RefundQuery, RefundStateName};
use farthing::core::facilitator::Facilitator;
use farthing::facilitator::Local;
use farthing::server::RefundDesk;
use farthing::store::Store;
use farthing::system::SystemClock;

/// How often the book is asked for refunds.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// How many are looked at each time; the rest waits for the next.
const REFUNDS_PER_LOOK: usize = 64;

/// Carries refunds until it is aborted, which is safe at any moment.
pub async fn carry(store: Store, local: Arc<Local>) {
    let book = store.refunds();
    let facilitator: &dyn Facilitator = &*local;
    let desk = RefundDesk { book: &*book, facilitator, knows_all: true, clock: &SystemClock };
    let mut query = RefundQuery { state: Some(RefundStateName::Open), limit: REFUNDS_PER_LOOK, ..RefundQuery::default() };
    loop {
        tokio::time::sleep(LOOK_AGAIN).await;
        let open = match book.list(&query).await {
            Ok(open) => open,
            Err(error) => {
                tracing::warn!(%error, "the book does not say which refunds are open");
                continue;
            }
        };
        // The next look goes on behind this one: refunds that cannot be settled keep no others waiting.
        query.after = open.last().filter(|_| open.len() == REFUNDS_PER_LOOK).map(|last| (last.at, last.id));
        for refund in &open {
            match desk.carry(refund).await {
                Ok(state) => tracing::info!(refund = %refund.id, state = state.name().as_str(), "a refund was carried"),
                Err(error) => tracing::warn!(refund = %refund.id, %error, "a refund could not be written; it stays open"),
            }
        }
    }
}
