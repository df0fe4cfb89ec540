//! A purchase with a name is signed for once, whatever becomes of it and whoever asks again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Body;
use farthing_client::payer::{KEEP_SECONDS, MAX_NAMED_PURCHASES};
use farthing_client::{Error, Payer, Purchase, Refused, Rule};
use farthing_core::books::{MemoryLedger, Reservation, ReservationState};
use farthing_core::extension::payment_identifier::{self, PaymentId};
use farthing_core::time::{Clock, UnixSeconds};
use farthing_core::wire::{PaymentRequired, SettleResponse};

use serde_json::json;

use crate::extensions::Counting;
use crate::support::*;

const ID: &str = "purchase-2026_01";

/// A clock that can be set forward.
#[derive(Clone)]
struct Watch(Arc<AtomicU64>);

impl Watch {
    fn new() -> Self {
        Self(Arc::new(AtomicU64::new(Noon.now().0)))
    }

    fn forward(&self, seconds: u64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Clock for Watch {
    fn now(&self) -> UnixSeconds {
        UnixSeconds(self.0.load(Ordering::SeqCst))
    }
}

/// A payer and what it works with, as any transport has it.
struct Till {
    payer: Payer,
    ledger: Arc<MemoryLedger>,
    wallet: Wallet,
    watch: Watch,
}

impl Till {
    fn new() -> Self {
        let (wallet, ledger, watch) = (Wallet::default(), Arc::new(MemoryLedger::default()), Watch::new());
        let payer = Payer::new(vec![Arc::new(wallet.clone())], Arc::clone(&ledger) as _, Arc::new(watch.clone()))
            .with_entropy(Arc::new(Counting::default()));
        Self { payer, ledger, wallet, watch }
    }

    /// Buys from a server that requires a name, and leaves it to the payer to make one.
    async fn promise_under_any_name(&self) -> Result<farthing_client::Promised, Refused> {
        let mut terms = terms("mcp://tool", &[offer(BASE, "0xUSDC", "10000")]);
        terms["extensions"] = json!({payment_identifier::KEY: payment_identifier::declaration(true)});
        let purchase = Purchase { resource: "mcp://tool/report".to_owned(), ..Purchase::default() };
        self.payer.pay(&PaymentRequired::read(&terms.to_string()).unwrap(), &purchase).await
    }

    async fn promise(&self, id: &str) -> Result<farthing_client::Promised, Refused> {
        let terms = terms("mcp://tool", &[offer(BASE, "0xUSDC", "10000")]).to_string();
        let payment_id = Some(PaymentId::new(id).unwrap());
        let purchase = Purchase { resource: "mcp://tool/report".to_owned(), payment_id, ..Purchase::default() };
        self.payer.pay(&PaymentRequired::read(&terms).unwrap(), &purchase).await
    }

    fn reservations(&self) -> [Option<ReservationState>; 2] {
        [0, 1].map(|number| self.ledger.state(Reservation(number)))
    }
}

#[tokio::test]
async fn asking_again_under_the_same_name_presents_the_same_payment_even_where_names_are_not_known() {
    for answer in [500, 402, 200] {
        let seller = Seller::answering(move || match answer {
            200 => paid(&settled()),
            status => response(status).body(Body::empty()).unwrap(),
        })
        .await;
        let buyer = Buyer::with(Wallet::default(), |builder| builder.limit("$0.01 per day").unwrap());
        for _ in 0..3 {
            let request = buyer.client.get(seller.url("/report")).payment_id(ID).unwrap();
            assert_eq!(request.send().await.is_ok(), answer == 200);
        }
        let payments = seller.payments();
        assert_eq!(payments.len(), 3);
        assert!(payments.iter().all(|payment| *payment == payments[0]), "{answer}");
        assert_eq!((buyer.wallet.signed(), buyer.reservation(1)), (1, None), "{answer}");
    }
}

#[tokio::test]
async fn without_a_name_or_under_another_or_elsewhere_it_is_another_purchase() {
    let seller = Seller::honest().await;
    let buyer = Buyer::new();
    let named = |path: &str, id: &str| buyer.client.get(seller.url(path)).payment_id(id).unwrap();
    named("/report", ID).send().await.unwrap();
    named("/report", "purchase-2026_02").send().await.unwrap();
    named("/other", ID).send().await.unwrap();
    buyer.client.get(seller.url("/report")).send().await.unwrap();
    assert_eq!(buyer.wallet.signed(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_who_ask_at_once_under_one_name_sign_once() {
    let seller = Seller::honest().await;
    let buyer = Buyer::new();
    let calls: Vec<_> =
        (0..20).map(|_| tokio::spawn(buyer.client.get(seller.url("/report")).payment_id(ID).unwrap().send())).collect();
    for call in calls {
        assert!(call.await.unwrap().unwrap().paid().is_some());
    }
    assert_eq!((buyer.wallet.signed(), seller.payments().len(), buyer.reservation(1)), (1, 20, None));
}

#[tokio::test]
async fn a_payment_of_which_nobody_knows_is_never_signed_for_again_by_its_expiry_alone() {
    let till = Till::new();
    let first = till.promise(ID).await.unwrap();
    drop(till.payer.conclude(first, None).await);
    till.watch.forward(KEEP_SECONDS - 1);
    drop(till.promise(ID).await.unwrap());
    assert_eq!((till.wallet.signed(), till.reservations()[1].clone()), (1, None), "it may have settled in time");
}

#[tokio::test]
async fn a_payment_that_failed_and_has_expired_makes_room_for_another() {
    let till = Till::new();
    let first = till.promise(ID).await.unwrap();
    let failure = json!({"success": false, "errorReason": "insufficient_funds", "transaction": "", "network": BASE});
    let failure: SettleResponse = serde_json::from_value(failure).unwrap();
    drop(till.payer.conclude(first, Some(&failure)).await);
    till.watch.forward(300 + 119);
    let second = till.promise(ID).await.unwrap();
    assert_eq!(till.wallet.signed(), 1, "a chain's clock may lag");
    till.payer.conclude(second, Some(&failure)).await;
    till.watch.forward(1);
    drop(till.promise(ID).await.unwrap());
    assert_eq!(till.wallet.signed(), 2);
}

#[tokio::test]
async fn a_purchase_that_settled_is_remembered_for_a_day_after_it_was_asked_for_last() {
    for (waits, signed) in [(&[KEEP_SECONDS - 1, KEEP_SECONDS - 1][..], 1), (&[KEEP_SECONDS][..], 2)] {
        let till = Till::new();
        let first = till.promise(ID).await.unwrap();
        let settlement: SettleResponse = serde_json::from_value(settled()).unwrap();
        till.payer.conclude(first, Some(&settlement)).await;
        for wait in waits {
            till.watch.forward(*wait);
            drop(till.promise(ID).await.unwrap());
        }
        assert_eq!((till.wallet.signed(), till.reservations()[1].is_some()), (signed, signed == 2));
    }
}

#[tokio::test]
async fn a_payment_is_taken_back_only_if_no_copy_of_it_was_sent() {
    let till = Till::new();
    let (first, second) = (till.promise(ID).await.unwrap(), till.promise(ID).await.unwrap());
    till.payer.withdraw(first).await;
    assert_eq!(till.reservations(), [Some(ReservationState::Open), None], "the second copy may be on its way");
    till.payer.withdraw(second).await;
    assert_eq!(till.reservations(), [None, None]);
    let third = till.promise(ID).await.unwrap();
    assert_eq!(till.wallet.signed(), 2, "nobody has the first one");
    drop(till.payer.conclude(third, None).await);
    let fourth = till.promise(ID).await.unwrap();
    till.payer.withdraw(fourth).await;
    assert_eq!(till.reservations(), [None, Some(ReservationState::Open)], "the third was sent");
}

#[tokio::test]
async fn a_payment_that_expired_does_not_disturb_the_one_that_followed_it() {
    let till = Till::new();
    let old = till.promise(ID).await.unwrap();
    till.watch.forward(KEEP_SECONDS);
    let new = till.promise(ID).await.unwrap();
    till.payer.withdraw(old).await;
    assert_eq!(till.reservations(), [Some(ReservationState::Open), Some(ReservationState::Open)]);
    till.payer.withdraw(new).await;
    assert_eq!(till.reservations()[1], None);
}

#[tokio::test]
async fn what_was_never_signed_is_not_remembered() {
    let seller = Seller::honest().await;
    let buyer = Buyer::with(Wallet::default(), |builder| builder.limit("$0.02 per day").unwrap());
    let cheap = || buyer.client.get(seller.url("/report")).payment_id(ID).unwrap();
    let error = cheap().at_most("$0.001").unwrap().send().await.unwrap_err();
    assert!(matches!(error, Error::RefusedByPolicy(_)), "{error}");
    assert!(cheap().send().await.unwrap().paid().is_some());
}

#[tokio::test]
async fn only_so_many_names_are_remembered_and_room_is_made_by_time_alone() {
    let till = Till::new();
    for number in 0..MAX_NAMED_PURCHASES {
        drop(till.promise(&format!("purchase-number-{number}")).await.unwrap());
    }
    match till.promise(ID).await {
        Err(Refused::Policy(declined)) => assert_eq!(declined.rule, Rule::TooManyNamed),
        other => panic!("{other:?}"),
    }
    drop(till.promise("purchase-number-0").await.unwrap());
    assert_eq!(till.wallet.signed(), MAX_NAMED_PURCHASES);
    till.watch.forward(KEEP_SECONDS);
    drop(till.promise(ID).await.unwrap());
}

#[tokio::test]
async fn a_day_of_names_that_were_made_here_leaves_room_for_more() {
    let till = Till::new();
    let settlement: SettleResponse = serde_json::from_value(settled()).unwrap();
    for _ in 0..MAX_NAMED_PURCHASES {
        let promised = till.promise_under_any_name().await.unwrap();
        till.payer.conclude(promised, Some(&settlement)).await;
    }
    till.watch.forward(3_600);
    drop(till.promise_under_any_name().await.unwrap());
    drop(till.promise(ID).await.unwrap());
}

#[tokio::test]
async fn a_name_that_was_made_here_is_the_callers_once_it_is_given_back() {
    let till = Till::new();
    let made = till.promise_under_any_name().await.unwrap();
    let id = made.facts.payment_id.clone().unwrap();
    drop(till.payer.conclude(made, None).await);
    let again = till.promise(id.as_str()).await.unwrap();
    let settlement: SettleResponse = serde_json::from_value(settled()).unwrap();
    till.payer.conclude(again, Some(&settlement)).await;
    till.watch.forward(KEEP_SECONDS - 1);
    drop(till.promise(id.as_str()).await.unwrap());
    assert_eq!(till.wallet.signed(), 1);
}
