//! Several processes on one book.

use farthing_core::books::SettlementState;
use farthing_core::scheme::TransactionId;
use serde_json::json;

use crate::support::{Answer, Chain, Facilitator, Fault, later_transaction, request, request_for, transaction};

fn spawn(facilitator: &Facilitator) -> tokio::task::JoinHandle<Answer> {
    let facilitator = facilitator.clone();
    tokio::spawn(async move { facilitator.settle(&request(1)).await })
}

#[tokio::test(start_paused = true)]
async fn copies_at_two_replicas_settle_once_and_get_one_answer() {
    let one = Facilitator::held();
    let two = one.replica();
    let copies: Vec<_> = (0..500).flat_map(|_| [spawn(&one), spawn(&two)]).collect();
    one.chain.sent.acquire().await.unwrap().forget();
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    one.chain.gate.add_permits(1_000);
    for copy in copies {
        let answer = copy.await.unwrap();
        assert_eq!((&answer.json["success"], &answer.json["transaction"]), (&json!(true), &json!(transaction(1))));
    }
    assert_eq!(Chain::count(&one.chain.broadcasts), 1);
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_lost_the_race_for_the_book_gets_the_winners_answer() {
    // Both have verified when the first one writes: the second one learns it from the book alone.
    let one = Facilitator::with_fault(Fault::WritesSlowly);
    let two = one.replica();
    let first = spawn(&one);
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let second = spawn(&two);
    for copy in [first, second] {
        let answer = copy.await.unwrap();
        assert_eq!((&answer.json["success"], &answer.json["transaction"]), (&json!(true), &json!(transaction(1))));
    }
    assert_eq!(Chain::count(&one.chain.settles), 2);
    assert_eq!(Chain::count(&one.chain.broadcasts), 1);
}

#[tokio::test(start_paused = true)]
async fn another_request_at_another_replica_gets_nothing() {
    let one = Facilitator::held();
    let two = one.replica();
    let first = spawn(&one);
    one.chain.sent.acquire().await.unwrap().forget();
    let other = request_for(1, "0xSecondSeller", "10000");
    assert_eq!(two.settle(&other).await.reason(), "payment_in_flight");
    one.chain.gate.add_permits(1);
    assert_eq!(first.await.unwrap().json["success"], json!(true));
    assert_eq!(two.settle(&other).await.reason(), "payment_already_used");
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_waits_while_its_neighbours_spoil_it_gets_the_answer_of_the_second_attempt() {
    let one = Facilitator::held();
    let two = one.replica();
    one.chain.fault(Fault::SpoiltByNeighbours);
    let first = spawn(&one);
    one.chain.sent.acquire().await.unwrap().forget();
    let second = spawn(&two);
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    one.chain.gate.add_permits(10);
    let (first, second) = (first.await.unwrap(), second.await.unwrap());
    assert_eq!((&first.json["success"], &second.json), (&json!(true), &first.json));
    assert_eq!(one.chain.moved.lock().unwrap()[&1].0, first.json["transaction"]);
}

#[tokio::test(start_paused = true)]
async fn a_late_word_about_the_first_transaction_does_not_touch_the_second() {
    let one = Facilitator::held();
    let two = one.replica();
    one.chain.fault(Fault::SpoiltByNeighbours);
    let first = spawn(&one);
    one.chain.sent.acquire().await.unwrap().forget();
    let second = spawn(&two);
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    // Both replicas see that the first transaction moved nothing. The other one is slow to say so: by then the payment is
    // on its way again, by itself.
    one.chain.late_seconds.lock().unwrap().extend([3, 14]);
    one.chain.gate.add_permits(1);
    tokio::time::sleep(std::time::Duration::from_secs(18)).await;
    assert_eq!(one.state(1).await, Some(SettlementState::Sending(TransactionId(later_transaction(1, 1)))));
    one.chain.gate.add_permits(10);
    let (first, second) = (first.await.unwrap(), second.await.unwrap());
    assert_eq!((&first.json["success"], &first.json["transaction"]), (&json!(true), &json!(later_transaction(1, 1))));
    assert_eq!(second.json, first.json);
    assert_eq!(Chain::count(&one.chain.broadcasts), 2);
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_finds_the_nonce_used_by_its_twin_is_told_of_the_twins_success() {
    let one = Facilitator::new();
    let two = one.replica();
    one.chain.fault(Fault::NodeSlow);
    let second = spawn(&two);
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    one.chain.fault(Fault::None);
    let first = one.settle(&request(1)).await;
    assert_eq!(first.json["success"], json!(true));
    assert_eq!(second.await.unwrap().json, first.json);
    assert_eq!(Chain::count(&one.chain.broadcasts), 1);
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_is_verified_while_its_twin_is_carried_out_is_told_what_the_book_says_and_not_that_it_is_bad() {
    // The book has nothing of it when the second one begins, and the chain shows it used when that one is answered.
    for (is_held, reason) in [(true, "settlement_pending"), (false, "payment_already_used")] {
        let one = if is_held { Facilitator::held() } else { Facilitator::new() };
        let two = one.replica();
        one.chain.fault(Fault::NodeSlow);
        let verifying = tokio::spawn({
            let two = two.clone();
            async move { two.verify(&request(1)).await }
        });
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        one.chain.fault(Fault::None);
        let settling = spawn(&one);
        one.chain.sent.acquire().await.unwrap().forget();
        one.chain.mine();
        if !is_held {
            assert_eq!(settling.await.unwrap().json["success"], json!(true));
        }
        let answer = verifying.await.unwrap();
        assert_eq!((&answer.json["isValid"], answer.reason()), (&json!(false), reason), "{}", answer.message());
    }
}
