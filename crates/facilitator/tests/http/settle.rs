//! Settling payments, with everything that can happen on the way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use farthing_core::BoxFuture;
use farthing_core::books::{
    BookError, Finding, MemorySettlements, SettlementEntry, SettlementQuery, SettlementState, Settlements,
};
use farthing_core::facilitator::FacilitatorError;
use farthing_core::reason::Refusal;
use farthing_core::scheme::{PaymentKey, Settlement, TransactionId};
use farthing_core::time::UnixSeconds;
use farthing_core::wire::PaymentRequest;
use farthing_facilitator::SETTLE_TIMEOUT_SECONDS;
use futures_util::FutureExt;
use http::StatusCode;
use serde_json::json;

use crate::support::{Chain, Facilitator, Fault, later_transaction, request, request_v1, transaction};

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
async fn a_thousand_copies_at_once_settle_once_and_get_one_answer() {
    let facilitator = Facilitator::held();
    let copies: Vec<_> = (0..1_000)
        .map(|_| {
            let facilitator = facilitator.clone();
            tokio::spawn(async move { facilitator.settle(&request(1)).await })
        })
        .collect();
    facilitator.chain.sent.acquire().await.unwrap().forget();
    facilitator.chain.gate.add_permits(1_000);
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

#[tokio::test]
async fn a_caller_who_leaves_does_not_stop_the_settlement() {
    let facilitator = Facilitator::held();
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
    let again = facilitator.settle(&request(1)).await;
    assert_eq!((&again.json["success"], &again.json["transaction"]), (&json!(true), &json!(later_transaction(1, 1))));
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
    let facilitator = Facilitator::held();
    let answer = facilitator.settle(&request(1)).await;
    assert_eq!((answer.status, answer.reason()), (StatusCode::OK, "settlement_pending"));
    assert_eq!(answer.json["transaction"], json!(transaction(1)));
    let again = facilitator.settle(&request(1)).await;
    assert_eq!(again.reason(), "settlement_pending", "a copy is not kept waiting for long");
    assert_eq!(facilitator.state(1).await, Some(SettlementState::Sending(TransactionId(transaction(1)))));
    facilitator.chain.gate.add_permits(1);
    facilitator.until_settled(1).await;
    assert_eq!(facilitator.settle(&request(1)).await.json["success"], json!(true));
    assert_eq!(Chain::count(&facilitator.chain.broadcasts), 1);
    assert_eq!(Chain::count(&facilitator.chain.outcomes), 0);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_has_begun_when_the_time_is_up_is_waited_for() {
    let facilitator = Facilitator::held();
    facilitator.chain.fault(Fault::WritesSlowly);
    let answer = facilitator.settle(&request(1)).await;
    assert_eq!((answer.reason(), &answer.json["transaction"]), ("settlement_pending", &json!(transaction(1))));
    facilitator.chain.gate.add_permits(1);
    assert_eq!(facilitator.until_settled(1).await.0, transaction(1));
}

#[tokio::test]
async fn a_pending_answer_says_under_which_id_it_can_be_looked_up() {
    let facilitator = Facilitator::with_fault(Fault::PanicsAfter);
    let answer = facilitator.settle(&request(1)).await;
    assert_eq!((answer.status, answer.reason()), (StatusCode::OK, "settlement_pending"));
    assert_eq!(answer.json["extra"], json!({"settlementId": "01".repeat(32)}));
}

#[tokio::test]
async fn what_its_neighbours_spoilt_is_sent_once_more_by_itself() {
    let facilitator = Facilitator::with_fault(Fault::SpoiltByNeighbours);
    let answer = facilitator.settle(&request(1)).await;
    assert_eq!((&answer.json["success"], &answer.json["transaction"]), (&json!(true), &json!(later_transaction(1, 1))));
    assert_eq!(Chain::count(&facilitator.chain.broadcasts), 2);
    assert_eq!(facilitator.settle(&request(1)).await.json, answer.json);
}

#[tokio::test]
async fn what_looked_spoilt_and_moved_the_money_is_not_sent_again() {
    let facilitator = Facilitator::with_fault(Fault::SpoiltAndSettled);
    let answer = facilitator.settle(&request(1)).await;
    assert_eq!((&answer.json["success"], &answer.json["transaction"]), (&json!(true), &json!(transaction(1))));
    assert_eq!(Chain::count(&facilitator.chain.broadcasts), 1);
}

#[tokio::test]
async fn what_looked_spoilt_and_may_have_moved_the_money_is_pending_and_not_sent_again() {
    let facilitator = Facilitator::with_fault(Fault::SpoiltAndUnclear);
    let answer = facilitator.settle(&request(1)).await;
    assert_eq!((answer.reason(), &answer.json["transaction"]), ("settlement_pending", &json!(transaction(1))));
    assert_eq!(facilitator.state(1).await, Some(SettlementState::Sending(TransactionId(transaction(1)))));
    facilitator.chain.fault(Fault::None);
    facilitator.chain.mine();
    let answer = facilitator.settle(&request(1)).await;
    assert_eq!((&answer.json["success"], &answer.json["transaction"]), (&json!(true), &json!(transaction(1))));
    assert_eq!(Chain::count(&facilitator.chain.broadcasts), 1);
}

#[tokio::test]
async fn a_payment_that_somebody_carried_out_after_it_failed_here_is_settled() {
    let facilitator = Facilitator::with_fault(Fault::Reverts);
    assert_eq!(facilitator.settle(&request(1)).await.reason(), "invalid_exact_evm_transaction_failed");
    facilitator.chain.fault(Fault::None);
    facilitator.chain.moved.lock().unwrap().insert(1, TransactionId("0xSomebodyElse".to_owned()));
    let answer = facilitator.settle(&request(1)).await;
    assert_eq!((&answer.json["success"], &answer.json["transaction"]), (&json!(true), &json!("0xSomebodyElse")));
    assert_eq!(Chain::count(&facilitator.chain.broadcasts), 1);
}

#[tokio::test]
async fn the_schemes_begin_once_and_end_with_the_facilitator() {
    let facilitator = Facilitator::new();
    facilitator.local.start();
    facilitator.local.start();
    assert_eq!(Chain::count(&facilitator.chain.starts), 1);
    facilitator.local.stop().await;
    assert_eq!(Chain::count(&facilitator.chain.stops), 1);
    let late = facilitator.settle(&request(1)).await;
    assert_eq!((late.status, late.reason()), (StatusCode::SERVICE_UNAVAILABLE, "unexpected_settle_error"));
}

#[tokio::test]
async fn a_facilitator_that_stops_says_so_at_once_and_finishes_what_is_under_way() {
    let facilitator = Facilitator::held();
    let first = tokio::spawn({
        let facilitator = facilitator.clone();
        async move { facilitator.settle(&request(1)).await }
    });
    facilitator.chain.sent.acquire().await.unwrap().forget();
    let mut stopped = std::pin::pin!(facilitator.local.stop());
    assert!(stopped.as_mut().now_or_never().is_none(), "a settlement is under way");
    let new = PaymentRequest::read(request(2).to_string().as_bytes()).unwrap();
    let error = facilitator.local.settle_for(None, &new).await.unwrap_err();
    let FacilitatorError::Unavailable(cause) = error else { panic!("{error:?}") };
    assert!(cause.to_string().contains("stopping"), "{cause}");
    let new = facilitator.settle(&request(2)).await;
    assert_eq!((new.status, new.reason()), (StatusCode::SERVICE_UNAVAILABLE, "unexpected_settle_error"));
    assert_eq!(new.headers["retry-after"], "1");
    let copy = facilitator.settle(&request(1)).await;
    assert_eq!((copy.status, copy.reason()), (StatusCode::SERVICE_UNAVAILABLE, "settlement_pending"));
    assert_eq!(facilitator.get("/readyz").await.json["causes"][0]["cause"], json!("stopping"));
    facilitator.chain.gate.add_permits(1);
    stopped.await;
    assert_eq!(first.await.unwrap().json["success"], json!(true));
    assert_eq!(Chain::count(&facilitator.chain.broadcasts), 1);
}

/// A book that refuses one kind of line, after so many that it took.
pub struct Refusing {
    book: MemorySettlements,
    refused: &'static str,
    taken: AtomicUsize,
}

impl Refusing {
    pub const fn new(book: MemorySettlements, refused: &'static str) -> Self {
        Self::after(0, book, refused)
    }

    pub const fn after(taken: usize, book: MemorySettlements, refused: &'static str) -> Self {
        Self { book, refused, taken: AtomicUsize::new(taken) }
    }

    fn line(&self, line: &str) -> Result<(), BookError> {
        let is_taken = |left: usize| left.checked_sub(1);
        if line != self.refused || self.taken.fetch_update(Ordering::SeqCst, Ordering::SeqCst, is_taken).is_ok() {
            return Ok(());
        }
        Err(BookError("the disk is full".into()))
    }
}

impl Settlements for Refusing {
    fn find(&self, key: PaymentKey) -> BoxFuture<'_, Result<Option<SettlementEntry>, BookError>> {
        Box::pin(async move { self.line("find").map(|()| self.book.find(key))?.await })
    }

    fn settled<'a>(
        &'a self,
        key: PaymentKey,
        settlement: &'a Settlement,
        now: UnixSeconds,
    ) -> BoxFuture<'a, Result<(), BookError>> {
        Box::pin(async move { self.line("settled").map(|()| self.book.settled(key, settlement, now))?.await })
    }

    fn found<'a>(&'a self, finding: &'a Finding<'a>) -> BoxFuture<'a, Result<Option<SettlementEntry>, BookError>> {
        Box::pin(async move { self.line("found").map(|()| self.book.found(finding))?.await })
    }

    fn dead<'a>(
        &'a self,
        key: PaymentKey,
        judged: &'a TransactionId,
        refusal: &'a Refusal,
        now: UnixSeconds,
    ) -> BoxFuture<'a, Result<bool, BookError>> {
        Box::pin(async move { self.line("dead").map(|()| self.book.dead(key, judged, refusal, now))?.await })
    }

    fn finished<'a>(&'a self, judged: &'a SettlementEntry) -> BoxFuture<'a, Result<(), BookError>> {
        Box::pin(async move { self.line("finished").map(|()| self.book.finished(judged))?.await })
    }

    fn undone<'a>(&'a self, judged: &'a SettlementEntry, now: UnixSeconds) -> BoxFuture<'a, Result<(), BookError>> {
        Box::pin(async move { self.line("undone").map(|()| self.book.undone(judged, now))?.await })
    }

    fn list<'a>(&'a self, query: &'a SettlementQuery) -> BoxFuture<'a, Result<Vec<SettlementEntry>, BookError>> {
        self.book.list(query)
    }
}

fn with_book_refusing(line: &'static str) -> Facilitator {
    Facilitator::with_book(|book| Arc::new(Refusing::new(book, line)))
}

#[tokio::test]
async fn nothing_is_sent_that_is_not_in_the_book() {
    let facilitator = Facilitator::with_fault(Fault::OutboxFails);
    let answer = facilitator.settle(&request(1)).await;
    assert_eq!((answer.status, answer.reason()), (StatusCode::SERVICE_UNAVAILABLE, "unexpected_settle_error"));
    assert!(!answer.json.to_string().contains("disk"), "{}", answer.json);
    assert_eq!(Chain::count(&facilitator.chain.broadcasts), 0);
}

#[tokio::test]
async fn a_book_that_cannot_be_read_is_not_taken_for_an_empty_one() {
    let facilitator = with_book_refusing("find");
    let answer = facilitator.settle(&request(1)).await;
    // It may have been settled before; nobody can say that it was not.
    assert_eq!((answer.status, answer.reason()), (StatusCode::SERVICE_UNAVAILABLE, "settlement_pending"));
    assert!(!answer.json.to_string().contains("disk"), "{}", answer.json);
    assert_eq!(Chain::count(&facilitator.chain.settles), 0);
    let verified = facilitator.verify(&request(1)).await;
    assert_eq!((verified.status, verified.reason()), (StatusCode::SERVICE_UNAVAILABLE, "unexpected_verify_error"));
}

#[tokio::test]
async fn a_settlement_that_broke_off_sent_nothing_only_if_the_book_says_so() {
    // Another process may have sent it since the book was read.
    let facilitator = Facilitator::with_book(|book| Arc::new(Refusing::after(1, book, "find")));
    facilitator.chain.fault(Fault::PanicsBefore);
    let answer = facilitator.settle(&request(1)).await;
    assert_eq!((answer.status, answer.reason()), (StatusCode::SERVICE_UNAVAILABLE, "settlement_pending"));
    assert_eq!(Chain::count(&facilitator.chain.settles), 1);
}

#[tokio::test]
async fn a_transaction_that_moved_nothing_is_pending_while_the_book_cannot_be_told() {
    let facilitator = with_book_refusing("dead");
    facilitator.chain.fault(Fault::Reverts);
    let answer = facilitator.settle(&request(1)).await;
    assert_eq!((answer.reason(), &answer.json["transaction"]), ("settlement_pending", &json!(transaction(1))));
    assert_eq!(Chain::count(&facilitator.chain.broadcasts), 1);
}

#[tokio::test]
async fn money_that_moved_is_success_even_if_the_book_cannot_be_told() {
    let facilitator = with_book_refusing("settled");
    for _ in 0..2 {
        let answer = facilitator.settle(&request(1)).await;
        assert_eq!((&answer.json["success"], &answer.json["transaction"]), (&json!(true), &json!(transaction(1))));
    }
    assert_eq!(Chain::count(&facilitator.chain.broadcasts), 1);
}
