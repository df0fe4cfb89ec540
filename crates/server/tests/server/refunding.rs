//! A refund is carried until its end is known, and what is not known is no failure.

use std::sync::atomic::Ordering;

use farthing_core::books::{Booked, Refund, RefundState, Refunds, SaleQuery, Sales};
use farthing_core::facilitator::FacilitatorError;
use farthing_core::reason::Reason;
use farthing_core::scheme::{PaymentKey, TransactionId};
use farthing_core::time::UnixSeconds;
use farthing_server::{REFUND_VOID_AFTER_SECONDS, RefundDesk};
use serde_json::json;

use crate::support::{Shop, TRANSACTION, buy, fetch, payment, refused};

const EXPIRES_AT: UnixSeconds = UnixSeconds(3_600);

/// A shop that has sold once, and a refund of that which is booked.
async fn booked() -> (Shop, Refund) {
    let shop = Shop::open().await;
    let app = shop.app();
    buy(&app, "/report", "1").await;
    let sale = Sales::list(&shop.deliveries.inner, &SaleQuery { limit: 1, ..SaleQuery::default() }).await.unwrap().remove(0);
    let signed = payment(&fetch(&app, "/report").await.terms(), "2");
    let request = json!({"x402Version": 2, "paymentPayload": signed, "paymentRequirements": signed["accepted"]});
    let refund = Refund {
        id: PaymentKey([9; 32]),
        sale: sale.payment,
        at: UnixSeconds(0),
        amount: sale.bill.amount,
        reason: String::new(),
        expires_at: EXPIRES_AT,
        request: request.to_string(),
        state: RefundState::Open(None),
        unanswered: 0,
        changed_at: UnixSeconds(0),
    };
    assert_eq!(shop.deliveries.inner.book(&refund).await.unwrap(), Booked::Yes);
    (shop, refund)
}

async fn carry(shop: &Shop, knows_all: bool) -> RefundState {
    let book = &shop.deliveries.inner;
    let refund = Refunds::find(book, PaymentKey([9; 32])).await.unwrap().unwrap();
    let desk = RefundDesk { book, facilitator: &*shop.facilitator, knows_all, clock: &*shop.clock };
    desk.carry(&refund).await.unwrap()
}

fn is_open(state: &RefundState) -> bool {
    matches!(state, RefundState::Open(_))
}

#[tokio::test]
async fn what_has_settled_is_at_its_end_and_nobody_is_asked_again() {
    let (shop, _) = booked().await;
    let settled = RefundState::Settled(TransactionId(TRANSACTION.to_owned()));
    assert_eq!((carry(&shop, false).await, shop.facilitator.calls().1), (settled.clone(), 2));
    assert_eq!((carry(&shop, false).await, shop.facilitator.calls().1), (settled, 2));
}

#[tokio::test]
async fn a_refusal_ends_a_refund_only_once_it_is_void() {
    let (shop, _) = booked().await;
    shop.facilitator.will_settle(Ok(refused(Reason::InsufficientFunds, "")));
    shop.facilitator.will_settle(Err(FacilitatorError::Unavailable("away".into())));
    let RefundState::Open(Some(why)) = carry(&shop, false).await else { panic!("it may be tried again") };
    assert!(why.starts_with("insufficient_funds"), "{why}");
    shop.clock.0.store(EXPIRES_AT.0 + REFUND_VOID_AFTER_SECONDS, Ordering::SeqCst);
    assert!(is_open(&carry(&shop, false).await), "nobody has refused it");
    shop.facilitator.will_settle(Ok(refused(Reason::InsufficientFunds, "")));
    assert!(matches!(carry(&shop, false).await, RefundState::Failed(_)));
}

#[tokio::test]
async fn a_refund_of_which_somebody_did_not_say_what_became_never_fails_by_a_refusal() {
    let (shop, _) = booked().await;
    shop.facilitator.will_settle(Err(FacilitatorError::Indeterminate("cut off".into())));
    shop.facilitator.will_settle(Ok(refused(Reason::SettlementPending, TRANSACTION)));
    assert!(is_open(&carry(&shop, false).await) && is_open(&carry(&shop, false).await));
    shop.clock.0.store(EXPIRES_AT.0 + REFUND_VOID_AFTER_SECONDS, Ordering::SeqCst);
    shop.facilitator.will_settle(Ok(refused(Reason::InvalidTransactionState, "")));
    assert!(is_open(&carry(&shop, false).await));
    // Whoever knows all that was ever sent may say so; and what has moved after all has moved.
    shop.facilitator.will_settle(Ok(refused(Reason::InvalidTransactionState, "")));
    assert!(matches!(carry(&shop, true).await, RefundState::Failed(_)));
}
