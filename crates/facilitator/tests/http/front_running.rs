//! Payments that somebody else carries out before they are sent from here.

use std::sync::Arc;
use std::time::Duration;

use farthing_core::books::SettlementState;
use farthing_facilitator::{Caller, CallerLimits, Callers, KeyDigest};
use futures_util::future::join_all;
use http::{Request, StatusCode};
use serde_json::{Value, json};

use crate::settle::Refusing;
use crate::support::{Answer, Chain, Facilitator, Fault, other_request, request, transaction};

const USED: &str = "invalid_exact_evm_nonce_already_used";

async fn verified(facilitator: &Facilitator, request: &Value) {
    assert_eq!(facilitator.verify(request).await.json["isValid"], json!(true));
}

fn is_settled_by(answer: &Answer, transaction: &str) {
    assert_eq!((&answer.json["success"], &answer.json["transaction"]), (&json!(true), &json!(transaction)), "{answer:?}");
}

#[tokio::test]
async fn a_payment_that_was_verified_here_and_then_carried_out_by_somebody_else_is_settled_by_their_transaction() {
    let facilitator = Facilitator::new();
    verified(&facilitator, &request(1)).await;
    let theirs = facilitator.chain.front_run(1);
    assert_eq!(facilitator.verify(&request(1)).await.reason(), USED, "what is used is not valid");
    is_settled_by(&facilitator.settle(&request(1)).await, &theirs.0);
    let entry = facilitator.entry(1).await.unwrap();
    assert!(matches!(&entry.state, SettlementState::Settled(settlement) if settlement.transaction == theirs), "{entry:?}");
    assert_eq!((entry.transaction, entry.height), (theirs.clone(), 7));
    // From now on the book knows it, like any other.
    is_settled_by(&facilitator.settle(&request(1)).await, &theirs.0);
    verified(&facilitator, &request(2)).await;
    assert_eq!(facilitator.settle(&other_request(1, "another-report")).await.reason(), "payment_already_used");
    assert_eq!(facilitator.verify(&request(1)).await.reason(), "payment_already_used");
    assert_eq!(Chain::count(&facilitator.chain.broadcasts), 0);
    assert_eq!(Chain::count(&facilitator.chain.searches), 1);
}

#[tokio::test]
async fn an_authorization_that_was_never_verified_here_before_it_was_used_buys_nothing() {
    let facilitator = Facilitator::new();
    facilitator.chain.front_run(1);
    for _ in 0..2 {
        assert_eq!(facilitator.settle(&request(1)).await.reason(), USED);
        assert_eq!(facilitator.verify(&request(1)).await.reason(), USED);
    }
    assert_eq!((Chain::count(&facilitator.chain.searches), facilitator.entry(1).await), (0, None));
}

#[tokio::test]
async fn what_was_verified_for_one_request_does_not_pay_for_another() {
    let facilitator = Facilitator::new();
    verified(&facilitator, &request(1)).await;
    let theirs = facilitator.chain.front_run(1);
    assert_eq!(facilitator.settle(&other_request(1, "another-report")).await.reason(), USED);
    assert_eq!(facilitator.entry(1).await, None);
    is_settled_by(&facilitator.settle(&request(1)).await, &theirs.0);
}

#[tokio::test]
async fn what_was_verified_for_one_caller_does_not_pay_for_another() {
    let caller = |name: &str| Caller { name: name.to_owned(), key: KeyDigest::of(name), limits: CallerLimits::default() };
    let facilitator = Facilitator::with_callers(Callers::new([caller("shop"), caller("bank")]).unwrap());
    let post = async |path: &str, caller: &str| {
        let authorized = Request::post(path).header("authorization", format!("Bearer {caller}"));
        facilitator.send(authorized.body(request(1).to_string().into()).unwrap()).await
    };
    assert_eq!(post("/verify", "shop").await.json["isValid"], json!(true));
    let theirs = facilitator.chain.front_run(1);
    assert_eq!(post("/settle", "bank").await.reason(), USED);
    is_settled_by(&post("/settle", "shop").await, &theirs.0);
    assert_eq!(facilitator.entry(1).await.unwrap().caller.as_deref(), Some("shop"));
}

#[tokio::test]
async fn a_settlement_that_verified_and_sent_nothing_counts_as_verified() {
    let facilitator = Facilitator::with_fault(Fault::OutboxFails);
    assert_eq!(facilitator.settle(&request(1)).await.status, StatusCode::SERVICE_UNAVAILABLE);
    let theirs = facilitator.chain.front_run(1);
    facilitator.chain.fault(Fault::None);
    is_settled_by(&facilitator.settle(&request(1)).await, &theirs.0);
}

#[tokio::test]
async fn a_payment_that_was_taken_back_here_and_carried_out_by_somebody_else_is_settled() {
    let facilitator = Facilitator::with_fault(Fault::NotSentAfterAll);
    assert_eq!(facilitator.settle(&request(1)).await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(matches!(facilitator.state(1).await, Some(SettlementState::Dead(_))));
    facilitator.chain.fault(Fault::None);
    // For whichever request that was verified before comes first.
    verified(&facilitator, &other_request(1, "another-report")).await;
    let theirs = facilitator.chain.front_run(1);
    is_settled_by(&facilitator.settle(&other_request(1, "another-report")).await, &theirs.0);
    assert_eq!(facilitator.settle(&request(1)).await.reason(), "payment_already_used");
}

#[tokio::test]
async fn a_payment_that_is_dead_in_the_book_needs_no_other_proof_that_it_was_good_for_its_request() {
    let before = Facilitator::with_fault(Fault::NotSentAfterAll);
    assert_eq!(before.settle(&request(1)).await.status, StatusCode::SERVICE_UNAVAILABLE);
    let theirs = before.chain.front_run(1);
    // This one has verified nothing, and the chain only says who used the authorization, not what became of ours.
    let after = before.replica();
    after.chain.fault(Fault::OutcomeUnclear);
    assert_eq!(after.settle(&other_request(1, "another-report")).await.reason(), USED);
    is_settled_by(&after.settle(&request(1)).await, &theirs.0);
}

#[tokio::test]
async fn a_restart_forgets_what_was_verified_and_not_what_was_found() {
    let before = Facilitator::new();
    for nonce in [1, 2] {
        verified(&before, &request(nonce)).await;
    }
    let theirs = [1, 2].map(|nonce| before.chain.front_run(nonce));
    is_settled_by(&before.settle(&request(1)).await, &theirs[0].0);
    let after = before.replica();
    is_settled_by(&after.settle(&request(1)).await, &theirs[0].0);
    assert_eq!(after.settle(&other_request(1, "another-report")).await.reason(), "payment_already_used");
    assert_eq!(after.settle(&request(2)).await.reason(), USED);
}

#[tokio::test(start_paused = true)]
async fn one_of_two_requests_gets_it_however_many_replicas_find_it() {
    let one = Facilitator::new();
    let two = one.replica();
    let requests = [request(1), other_request(1, "another-report")];
    for (facilitator, request) in [(&one, &requests[0]), (&two, &requests[1])] {
        verified(facilitator, request).await;
    }
    let theirs = one.chain.front_run(1);
    // All of them have been refused, and ask the chain, before any of them writes.
    one.chain.fault(Fault::NodeSlow);
    let asked = [(&one, 0), (&two, 1), (&one, 0), (&two, 1), (&one, 0), (&two, 1)];
    let answers = join_all(asked.map(|(facilitator, which)| facilitator.settle(&requests[which]))).await;
    let mut successes = [0, 0];
    for ((_, which), answer) in asked.into_iter().zip(answers) {
        if answer.json["success"] == json!(true) {
            is_settled_by(&answer, &theirs.0);
            successes[which] += 1;
        } else {
            assert_eq!(answer.reason(), "payment_already_used");
        }
    }
    assert!(successes == [3, 0] || successes == [0, 3], "{successes:?}: one request, and all its copies");
}

#[tokio::test(start_paused = true)]
async fn while_it_is_not_certain_who_used_it_nothing_is_said_for_certain() {
    let facilitator = Facilitator::new();
    verified(&facilitator, &request(1)).await;
    let theirs = facilitator.chain.front_run(1);
    facilitator.chain.fault(Fault::UseUnclear);
    let answer = facilitator.settle(&request(1)).await;
    assert_eq!((answer.status, answer.reason()), (StatusCode::SERVICE_UNAVAILABLE, "settlement_pending"));
    assert_eq!(facilitator.entry(1).await, None);
    let request = request(1);
    let settling = facilitator.settle(&request);
    let clear = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        facilitator.chain.fault(Fault::None);
    };
    let (answer, ()) = tokio::join!(settling, clear);
    is_settled_by(&answer, &theirs.0);
}

#[tokio::test]
async fn what_the_book_does_not_take_is_no_success() {
    let facilitator = Facilitator::with_book(|book| Arc::new(Refusing::new(book, "found")));
    verified(&facilitator, &request(1)).await;
    facilitator.chain.front_run(1);
    let answer = facilitator.settle(&request(1)).await;
    assert_eq!((answer.status, answer.reason()), (StatusCode::SERVICE_UNAVAILABLE, "settlement_pending"));
    assert!(!answer.json.to_string().contains("disk"), "{}", answer.json);
}

#[tokio::test]
async fn what_is_refused_for_another_reason_is_refused() {
    let facilitator = Facilitator::new();
    verified(&facilitator, &request(1)).await;
    let mut forged = request(1);
    forged["paymentPayload"]["payload"]["signature"] = json!("forged");
    assert_eq!(facilitator.settle(&forged).await.reason(), "invalid_exact_evm_signature");
    is_settled_by(&facilitator.settle(&request(1)).await, &transaction(1));
    assert_eq!(Chain::count(&facilitator.chain.searches), 0);
}
