//! The payer alone, as a transport without hosts uses it.

use std::sync::Arc;

use farthing_client::{Payer, PaymentOutcome, Purchase, Refused};
use farthing_core::BoxFuture;
use farthing_core::books::{BookError, Ledger, MemoryLedger, Reservation, ReservationState, ReserveError, Spend, SpendLimit};
use farthing_core::scheme::TransactionId;
use farthing_core::time::UnixSeconds;
use farthing_core::wire::{PaymentRequired, SettleResponse};
use serde_json::{Value, json};

use crate::support::*;

fn required() -> PaymentRequired {
    PaymentRequired::read(&terms("mcp://tool", &[offer(BASE, "0xUSDC", "10000")]).to_string()).unwrap()
}

fn purchase() -> Purchase {
    Purchase { resource: "mcp://tool/report".to_owned(), ..Purchase::default() }
}

#[tokio::test]
async fn a_promise_is_kept_on_settlement_and_withdrawn_if_it_never_left() {
    let ledger = Arc::new(MemoryLedger::default());
    let payer = Payer::new(vec![Arc::new(Wallet::default())], Arc::clone(&ledger) as _, Arc::new(Noon));
    let promised = payer.pay(&required(), &purchase()).await.unwrap();
    assert!(!format!("{promised:?}").contains(SIGNATURE));
    let sent: Value = serde_json::to_value(&promised.payment).unwrap();
    assert_eq!((&sent["payload"]["signature"], &sent["accepted"]["amount"]), (&json!(SIGNATURE), &json!("10000")));
    assert_eq!(ledger.state(Reservation(0)), Some(ReservationState::Open));
    let settlement: SettleResponse = serde_json::from_value(settled()).unwrap();
    let facts = payer.conclude(promised, Some(&settlement)).await;
    assert_eq!((facts.outcome, facts.transaction), (PaymentOutcome::Settled, Some(TransactionId("0xfeed".to_owned()))));
    assert!(matches!(ledger.state(Reservation(0)), Some(ReservationState::Committed(_))));

    let promised = payer.pay(&required(), &purchase()).await.unwrap();
    payer.withdraw(promised).await;
    assert_eq!(ledger.state(Reservation(1)), None);
}

/// A ledger on a disk that is full.
struct Full;

fn full<T>() -> Result<T, BookError> {
    Err(BookError("no space left".into()))
}

impl Ledger for Full {
    fn allows<'a>(&'a self, _: &'a Spend, _: &'a [SpendLimit], _: UnixSeconds) -> BoxFuture<'a, Result<(), ReserveError>> {
        Box::pin(async { Ok(full()?) })
    }

    fn reserve<'a>(
        &'a self,
        _: &'a Spend,
        _: &'a [SpendLimit],
        _: UnixSeconds,
    ) -> BoxFuture<'a, Result<Reservation, ReserveError>> {
        Box::pin(async { Ok(full()?) })
    }

    fn commit(&self, _: Reservation, _: Option<TransactionId>) -> BoxFuture<'_, Result<(), BookError>> {
        Box::pin(async { full() })
    }

    fn release(&self, _: Reservation) -> BoxFuture<'_, Result<(), BookError>> {
        Box::pin(async { full() })
    }
}

#[tokio::test]
async fn nothing_is_signed_that_the_ledger_could_not_write_down() {
    let wallet = Wallet::default();
    let payer = Payer::new(vec![Arc::new(wallet.clone())], Arc::new(Full), Arc::new(Noon));
    assert!(matches!(payer.pay(&required(), &purchase()).await, Err(Refused::Ledger(_))));
    assert!(matches!(payer.consider(&required(), &purchase()).await, Err(Refused::Ledger(_))));
    assert_eq!(wallet.signed(), 0);
}
