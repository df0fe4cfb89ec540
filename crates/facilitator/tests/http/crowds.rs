//! Many at once: limits that hold, and nobody who is told a falsehood because of them.

use std::sync::Arc;
use std::time::Duration;

use farthing_core::BoxFuture;
use farthing_core::books::{BookError, Finding, MemorySettlements, SettlementEntry, SettlementQuery, Settlements};
use farthing_core::reason::Refusal;
use farthing_core::scheme::{PaymentKey, Settlement, TransactionId};
use farthing_core::time::UnixSeconds;
use farthing_facilitator::{MAX_LOOKUPS_IN_FLIGHT, MAX_SETTLES_IN_FLIGHT};
use http::StatusCode;
use serde_json::json;
use tokio::time::Instant;

use crate::support::{Facilitator, Fault, key, other_request, request, transaction};

/// How many copies wait for one settlement at most.
const COPIES_MAX: usize = 1_024;
/// How many other requests with its authorization wait for one settlement at most.
const OTHERS_MAX: usize = 256;

/// Lets everything that can go on do so.
async fn settle_down() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn more_settlements_than_fit_are_sent_away_at_once() {
    let facilitator = Facilitator::held();
    let with_others = OTHERS_MAX + 1;
    let waiting: Vec<_> = (0..MAX_SETTLES_IN_FLIGHT)
        .map(|number| {
            let nonce = u8::try_from(number / with_others).unwrap();
            facilitator.settling(&other_request(nonce, &number.to_string()))
        })
        .collect();
    settle_down().await;
    let answer = facilitator.settle(&request(99)).await;
    assert_eq!((answer.status, answer.reason()), (StatusCode::SERVICE_UNAVAILABLE, "unexpected_settle_error"));
    facilitator.chain.gate.add_permits(waiting.len());
    let mut settled = 0;
    for answer in waiting {
        let answer = answer.await.unwrap();
        let is_settled = answer.json["success"] == json!(true);
        assert!(is_settled || answer.reason() == "payment_already_used", "{answer:?}");
        settled += usize::from(is_settled);
    }
    assert_eq!(settled, MAX_SETTLES_IN_FLIGHT.div_ceil(with_others));
    assert_eq!(facilitator.settle(&request(99)).await.json["success"], json!(true));
}

#[tokio::test(start_paused = true)]
async fn the_last_of_many_others_with_one_authorization_do_not_wait() {
    let facilitator = Facilitator::held();
    let first = facilitator.settling(&request(1));
    facilitator.chain.sent.acquire().await.unwrap().forget();
    let others: Vec<_> =
        (0..OTHERS_MAX * 2).map(|number| facilitator.settling(&other_request(1, &number.to_string()))).collect();
    settle_down().await;
    assert_eq!(others.iter().filter(|other| !other.is_finished()).count(), OTHERS_MAX);
    assert_eq!(facilitator.settle(&other_request(1, "one-more")).await.reason(), "payment_in_flight");
    facilitator.chain.gate.add_permits(1);
    assert_eq!(first.await.unwrap().json["success"], json!(true));
}

#[tokio::test(start_paused = true)]
async fn copies_take_no_place_from_other_payments_and_the_last_of_them_do_not_wait() {
    let facilitator = Facilitator::held();
    let first = facilitator.settling(&request(1));
    facilitator.chain.sent.acquire().await.unwrap().forget();
    let copies: Vec<_> = (0..MAX_SETTLES_IN_FLIGHT * 2).map(|_| facilitator.settling(&request(1))).collect();
    settle_down().await;
    let waiting = copies.iter().filter(|copy| !copy.is_finished()).count();
    assert_eq!(waiting, COPIES_MAX);
    let began = Instant::now();
    let answer = facilitator.settle(&request(1)).await;
    assert_eq!((answer.reason(), &answer.json["transaction"]), ("settlement_pending", &json!(transaction(1))));
    assert_eq!(began.elapsed(), Duration::ZERO);
    let second = facilitator.settling(&request(2));
    facilitator.chain.sent.acquire().await.unwrap().forget();
    facilitator.chain.gate.add_permits(2);
    for settled in [first, second] {
        assert_eq!(settled.await.unwrap().json["success"], json!(true));
    }
}

#[tokio::test(start_paused = true)]
async fn whose_turn_does_not_come_is_told_what_the_book_knows_of_its_own_payment() {
    let here = Facilitator::with_fault(Fault::HangsBefore);
    // Another request with the authorization is in the way here, while this one is sent elsewhere.
    let _in_the_way = here.settling(&other_request(1, "in-the-way"));
    settle_down().await;
    let elsewhere = here.replica();
    elsewhere.chain.fault(Fault::Unknown);
    elsewhere.chain.gate.add_permits(1);
    assert_eq!(elsewhere.settle(&request(1)).await.reason(), "settlement_pending");
    let answer = here.settle(&request(1)).await;
    assert_eq!((answer.reason(), &answer.json["transaction"]), ("settlement_pending", &json!(transaction(1))));
    assert_eq!(here.settle(&other_request(1, "a-third")).await.reason(), "payment_in_flight");
    here.chain.mine();
    assert_eq!(elsewhere.settle(&request(1)).await.json["success"], json!(true));
    assert_eq!(here.settle(&request(1)).await.json["success"], json!(true));
}

#[tokio::test(start_paused = true)]
async fn whose_turn_does_not_come_is_not_refused_for_good_while_the_book_has_nothing() {
    let facilitator = Facilitator::with_fault(Fault::HangsBefore);
    let _in_the_way = facilitator.settling(&other_request(1, "in-the-way"));
    settle_down().await;
    // It may be about to be sent by another process.
    let answer = facilitator.settle(&request(1)).await;
    assert_eq!((answer.status, answer.reason()), (StatusCode::SERVICE_UNAVAILABLE, "settlement_pending"));
}

/// A book that does not answer those who read it.
struct Silent(MemorySettlements);

impl Settlements for Silent {
    fn find(&self, _: PaymentKey) -> BoxFuture<'_, Result<Option<SettlementEntry>, BookError>> {
        Box::pin(std::future::pending())
    }

    fn settled<'a>(&'a self, key: PaymentKey, by: &'a Settlement, now: UnixSeconds) -> BoxFuture<'a, Result<(), BookError>> {
        self.0.settled(key, by, now)
    }

    fn found<'a>(&'a self, finding: &'a Finding<'a>) -> BoxFuture<'a, Result<Option<SettlementEntry>, BookError>> {
        self.0.found(finding)
    }

    fn dead<'a>(
        &'a self,
        key: PaymentKey,
        judged: &'a TransactionId,
        refusal: &'a Refusal,
        now: UnixSeconds,
    ) -> BoxFuture<'a, Result<bool, BookError>> {
        self.0.dead(key, judged, refusal, now)
    }

    fn finished<'a>(&'a self, judged: &'a SettlementEntry) -> BoxFuture<'a, Result<(), BookError>> {
        self.0.finished(judged)
    }

    fn undone<'a>(&'a self, judged: &'a SettlementEntry, now: UnixSeconds) -> BoxFuture<'a, Result<(), BookError>> {
        self.0.undone(judged, now)
    }

    fn list<'a>(&'a self, _: &'a SettlementQuery) -> BoxFuture<'a, Result<Vec<SettlementEntry>, BookError>> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test(start_paused = true)]
async fn a_book_that_is_silent_keeps_nobody_waiting_for_ever() {
    let facilitator = Facilitator::with_book(|book| Arc::new(Silent(book)));
    let limit = Duration::from_mins(2);
    let verified = tokio::time::timeout(limit, facilitator.verify(&request(1))).await.unwrap();
    assert_eq!((verified.status, verified.reason()), (StatusCode::SERVICE_UNAVAILABLE, "unexpected_verify_error"));
    let settled = tokio::time::timeout(limit, facilitator.settle(&request(1))).await.unwrap();
    assert_eq!((settled.status, settled.reason()), (StatusCode::SERVICE_UNAVAILABLE, "settlement_pending"));
    for id in [key(1).to_string(), transaction(1)] {
        let path = format!("/settlements/{id}");
        let found = tokio::time::timeout(limit, facilitator.get(&path)).await.unwrap();
        assert_eq!(found.status, StatusCode::SERVICE_UNAVAILABLE);
    }
}

#[tokio::test(start_paused = true)]
async fn more_looks_into_the_book_than_fit_are_sent_away_at_once() {
    let facilitator = Facilitator::with_book(|book| Arc::new(Silent(book)));
    let looking: Vec<_> = (0..MAX_LOOKUPS_IN_FLIGHT)
        .map(|_| {
            let facilitator = facilitator.clone();
            tokio::spawn(async move { facilitator.get(&format!("/settlements/{}", key(1))).await })
        })
        .collect();
    settle_down().await;
    let began = Instant::now();
    let answer = facilitator.get(&format!("/settlements/{}", key(1))).await;
    assert_eq!((answer.status, began.elapsed()), (StatusCode::SERVICE_UNAVAILABLE, Duration::ZERO));
    assert!(looking.iter().all(|look| !look.is_finished()));
}
