//! Settling payments, with everything that can happen on the way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use farthing_core::BoxFuture;
use farthing_core::books::{BookError, Fingerprint, MemorySettlements, SettlementClaim, SettlementState, Settlements};
use farthing_core::reason::Refusal;
use farthing_core::scheme::{PaymentKey, Settlement, TransactionId};
use farthing_facilitator::{MAX_SETTLES_IN_FLIGHT, SETTLE_TIMEOUT_SECONDS};
use futures_util::FutureExt;
use http::StatusCode;
use serde_json::json;

use crate::support::{Chain, Facilitator, Fault, request, request_v1, transaction};

#[tokio::test]
async fn a_good_payment_is_settled() {
    let facilitator = Facilitator::new();
    let answer = facilitator.settle(&request(1)).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(
        answer.json,
        json!({"success": true, "payer": "0xPayer", "transaction": transaction(1), "network": "eip155:84532", "amount": "10000"})
    );
}

#[tokio::test]
async fn a_version_1_caller_is_told_the_networks_old_name() {
    let facilitator = Facilitator::new();
    let settled = facilitator.settle(&request_v1(1)).await;
    assert_eq!((&settled.json["success"], &settled.json["network"]), (&json!(true), &json!("base-sepolia")));
    facilitator.chain.fault(Fault::NodeDown);
    let failed = facilitator.settle(&request_v1(2)).await;
    assert_eq!((&failed.json["success"], &failed.json["network"]), (&json!(false), &json!("base-sepolia")));
}

#[tokio::test]
async fn a_hundred_copies_at_once_settle_once_and_get_one_answer() {
    let facilitator = Facilitator::held(Arc::new(MemorySettlements::default()));
    let copies: Vec<_> = (0..100)
        .map(|_| {
            let facilitator = facilitator.clone();
            tokio::spawn(async move { facilitator.settle(&request(1)).await })
        })
        .collect();
    facilitator.chain.sent.acquire().await.unwrap().forget();
    facilitator.chain.gate.add_permits(100);
    for copy in copies {
        let answer = copy.await.unwrap();
        assert_eq!(answer.json["transaction"], json!(transaction(1)), "{answer:?}");
        assert_eq!(answer.json["success"], json!(true));
    }
    assert_eq!(Chain::count(&facilitator.chain.settles), 1);
    assert_eq!(Chain::count(&facilitator.chain.broadcasts), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn copies_on_many_threads_settle_each_payment_once() {
    let facilitator = Facilitator::new();
    let requests = (0..400_u16).map(|number| u8::try_from(number % 8).unwrap());
    let settled: Vec<_> = requests
        .map(|nonce| {
            let facilitator = facilitator.clone();
            (nonce, tokio::spawn(async move { facilitator.settle(&request(nonce)).await }))
        })
        .collect();
    for (nonce, settled) in settled {
        let answer = settled.await.unwrap();
        assert_eq!((&answer.json["success"], &answer.json["transaction"]), (&json!(true), &json!(transaction(nonce))));
    }
    assert_eq!(Chain::count(&facilitator.chain.broadcasts), 8);
}

#[tokio::test(start_paused = true)]
async fn more_settlements_than_fit_are_sent_away_at_once() {
    let facilitator = Facilitator::held(Arc::new(MemorySettlements::default()));
    let under_way = Arc::new(AtomicUsize::new(0));
    let copies: Vec<_> = (0..MAX_SETTLES_IN_FLIGHT)
        .map(|_| {
            let (facilitator, under_way) = (facilitator.clone(), Arc::clone(&under_way));
            tokio::spawn(async move {
                under_way.fetch_add(1, Ordering::SeqCst);
                facilitator.settle(&request(1)).await
            })
        })
        .collect();
    while under_way.load(Ordering::SeqCst) < MAX_SETTLES_IN_FLIGHT {
        tokio::task::yield_now().await;
    }
    let answer = facilitator.settle(&request(2)).await;
    assert_eq!((answer.status, answer.reason()), (StatusCode::SERVICE_UNAVAILABLE, "unexpected_settle_error"));
    facilitator.chain.gate.add_permits(2);
    for copy in copies {
        assert_eq!(copy.await.unwrap().json["success"], json!(true));
    }
    assert_eq!(facilitator.settle(&request(2)).await.json["success"], json!(true));
}

#[tokio::test]
async fn a_caller_who_leaves_does_not_stop_the_settlement() {
    let facilitator = Facilitator::held(Arc::new(MemorySettlements::default()));
    let caller = tokio::spawn({
        let facilitator = facilitator.clone();
        async move { facilitator.settle(&request(1)).await }
    });
    facilitator.chain.sent.acquire().await.unwrap().forget();
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    let mut drained = std::pin::pin!(facilitator.local.drained());
    assert!(drained.as_mut().now_or_never().is_none(), "shutdown would wait for it");
    facilitator.chain.gate.add_permits(1);
    drained.await;
    let answer = facilitator.settle(&request(1)).await;
    assert_eq!((&answer.json["success"], &answer.json["transaction"]), (&json!(true), &json!(transaction(1))));
    assert_eq!(Chain::count(&facilitator.chain.broadcasts), 1);
}

#[tokio::test]
async fn what_could_not_be_sent_can_be_sent_later() {
    for fault in [Fault::NodeDown, Fault::NotSentAfterAll, Fault::PanicsBefore] {
        let facilitator = Facilitator::with_fault(fault);
        let answer = facilitator.settle(&request(1)).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{fault:?}");
        assert_eq!(answer.headers["retry-after"], "1");
        assert_eq!((&answer.json["success"], answer.reason()), (&json!(false), "unexpected_settle_error"));
        assert_eq!((&answer.json["transaction"], &answer.json["network"]), (&json!(""), &json!("eip155:84532")));
        facilitator.chain.fault(Fault::None);
        assert_eq!(facilitator.settle(&request(1)).await.json["success"], json!(true), "{fault:?}");
        assert_eq!(Chain::count(&facilitator.chain.broadcasts), 1);
    }
}

#[tokio::test]
async fn a_transaction_that_moved_nothing_is_a_failure_and_the_payment_is_free_again() {
    let facilitator = Facilitator::with_fault(Fault::Reverts);
    let answer = facilitator.settle(&request(1)).await;
    assert_eq!((answer.status, answer.reason()), (StatusCode::OK, "invalid_exact_evm_transaction_failed"));
    assert_eq!((&answer.json["success"], &answer.json["transaction"]), (&json!(false), &json!(transaction(1))));
    facilitator.chain.fault(Fault::None);
    assert_eq!(facilitator.settle(&request(1)).await.json["success"], json!(true));
}

#[tokio::test(start_paused = true)]
async fn a_settlement_that_hangs_before_sending_is_given_up_for_good() {
    let facilitator = Facilitator::with_fault(Fault::HangsBefore);
    let answer = facilitator.settle(&request(1)).await;
    assert_eq!((answer.status, answer.reason()), (StatusCode::SERVICE_UNAVAILABLE, "unexpected_settle_error"));
    facilitator.chain.fault(Fault::None);
    tokio::time::advance(Duration::from_secs(SETTLE_TIMEOUT_SECONDS)).await;
    assert_eq!(Chain::count(&facilitator.chain.broadcasts), 0);
    assert_eq!(facilitator.settle(&request(1)).await.json["success"], json!(true));
}

#[tokio::test(start_paused = true)]
async fn a_settlement_that_takes_long_after_sending_is_pending_and_goes_on() {
    let facilitator = Facilitator::held(Arc::new(MemorySettlements::default()));
    let answer = facilitator.settle(&request(1)).await;
    assert_eq!((answer.status, answer.reason()), (StatusCode::OK, "settlement_pending"));
    assert_eq!(answer.json["transaction"], json!(transaction(1)));
    let again = facilitator.settle(&request(1)).await;
    assert_eq!(again.reason(), "settlement_pending", "a copy is not kept waiting");
    facilitator.chain.gate.add_permits(1);
    while facilitator.book.state(PaymentKey([1; 32])).await.unwrap()
        == Some(SettlementState::Sending(TransactionId(transaction(1))))
    {
        tokio::task::yield_now().await;
    }
    assert_eq!(facilitator.settle(&request(1)).await.json["success"], json!(true));
    assert_eq!(Chain::count(&facilitator.chain.broadcasts), 1);
    assert_eq!(Chain::count(&facilitator.chain.outcomes), 0);
}

/// A book that refuses one kind of line.
struct Refusing(MemorySettlements, &'static str);

impl Refusing {
    fn line(&self, line: &str) -> Result<(), BookError> {
        if line == self.1 { Err(BookError("the disk is full".into())) } else { Ok(()) }
    }
}

impl Settlements for Refusing {
    fn claim<'a>(&'a self, key: PaymentKey, request: &'a Fingerprint) -> BoxFuture<'a, Result<SettlementClaim, BookError>> {
        Box::pin(async move { self.line("claim").map(|()| self.0.claim(key, request))?.await })
    }

    fn state(&self, key: PaymentKey) -> BoxFuture<'_, Result<Option<SettlementState>, BookError>> {
        Box::pin(async move { self.line("state").map(|()| self.0.state(key))?.await })
    }

    fn sending<'a>(
        &'a self,
        key: PaymentKey,
        transaction: &'a TransactionId,
        signed: &'a [u8],
    ) -> BoxFuture<'a, Result<(), BookError>> {
        Box::pin(async move { self.line("sending").map(|()| self.0.sending(key, transaction, signed))?.await })
    }

    fn settled<'a>(&'a self, key: PaymentKey, settlement: &'a Settlement) -> BoxFuture<'a, Result<(), BookError>> {
        Box::pin(async move { self.line("settled").map(|()| self.0.settled(key, settlement))?.await })
    }

    fn dead<'a>(&'a self, key: PaymentKey, refusal: &'a Refusal) -> BoxFuture<'a, Result<(), BookError>> {
        Box::pin(async move { self.line("dead").map(|()| self.0.dead(key, refusal))?.await })
    }

    fn release(&self, key: PaymentKey) -> BoxFuture<'_, Result<(), BookError>> {
        Box::pin(async move { self.line("release").map(|()| self.0.release(key))?.await })
    }
}

fn with_book_refusing(line: &'static str) -> Facilitator {
    let facilitator = Facilitator::held(Arc::new(Refusing(MemorySettlements::default(), line)));
    facilitator.chain.gate.add_permits(10);
    facilitator
}

#[tokio::test]
async fn nothing_is_sent_that_is_not_in_the_book() {
    for line in ["claim", "sending"] {
        let facilitator = with_book_refusing(line);
        let answer = facilitator.settle(&request(1)).await;
        assert_eq!((answer.status, answer.reason()), (StatusCode::SERVICE_UNAVAILABLE, "unexpected_settle_error"));
        assert!(!answer.json.to_string().contains("disk"), "{}", answer.json);
        assert_eq!(Chain::count(&facilitator.chain.broadcasts), 0, "{line}");
    }
    let verified = with_book_refusing("state").verify(&request(1)).await;
    assert_eq!((verified.status, verified.reason()), (StatusCode::SERVICE_UNAVAILABLE, "unexpected_verify_error"));
}

#[tokio::test]
async fn money_that_moved_is_success_even_if_the_book_cannot_be_told() {
    let facilitator = with_book_refusing("settled");
    assert_eq!(facilitator.settle(&request(1)).await.json["success"], json!(true));
    let again = facilitator.settle(&request(1)).await;
    assert_eq!((again.reason(), &again.json["transaction"]), ("settlement_pending", &json!(transaction(1))));
    assert_eq!(Chain::count(&facilitator.chain.broadcasts), 1);
}

#[tokio::test]
async fn a_claim_of_another_process_is_left_alone() {
    let facilitator = Facilitator::new();
    let other = Fingerprint("another process".to_owned());
    facilitator.book.claim(PaymentKey([1; 32]), &other).await.unwrap();
    let answer = facilitator.settle(&request(1)).await;
    assert_eq!((answer.status, answer.reason()), (StatusCode::SERVICE_UNAVAILABLE, "unexpected_settle_error"));
    assert_eq!(facilitator.book.state(PaymentKey([1; 32])).await.unwrap(), Some(SettlementState::Claimed));
    assert_eq!(Chain::count(&facilitator.chain.settles), 0);
}
