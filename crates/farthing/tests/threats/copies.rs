//! One payment many times: one delivery, one transaction.

use std::collections::BTreeMap;

use farthing::core::header;
use farthing::evm::U256;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::market::{Market, asking, domain, sign_again};

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_copies_at_once_buy_one_delivery() {
    let market = Market::open().await;
    let (before, payment) = (market.worth().await, market.pay("/report").await);
    let answers = join_all((0..200).map(|_| market.buy("/report", &payment))).await;
    let mut statuses: BTreeMap<u16, usize> = BTreeMap::new();
    for answer in &answers {
        *statuses.entry(answer.status).or_default() += 1;
        match answer.status {
            200 => answer.assert_delivered("the one"),
            402 => assert_eq!(answer.error(), "payment_already_used"),
            409 => assert_eq!(answer.error(), "payment_in_flight"),
            status => panic!("{status}: {}", answer.body),
        }
        assert!(answer.status == 200 || !answer.header("cache-control").contains("public"));
    }
    assert_eq!(statuses[&200], 1, "{statuses:?}");
    assert_eq!(market.worth().await.deliveries, 1, "the work is done once");
    market.assert_sold(1, &before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_in_other_spellings_and_at_other_pages_buy_one_delivery() {
    let market = Market::open().await;
    let (before, honest) = (market.worth().await, market.pay("/report").await);
    let mut bare = honest.clone();
    bare.as_object_mut().unwrap().remove("resource");
    let mut padded = bare.clone();
    padded["payload"]["more"] = json!(1);
    let old = json!({"x402Version": 1, "scheme": "exact", "network": "base-sepolia", "payload": honest["payload"]});
    let spellings = [("/report", &honest), ("/other", &bare), ("/report", &padded), ("/other?page=2", &old), ("/report", &old)];
    let answers = join_all((0..100).map(|at| {
        let (path, payment) = spellings[at % spellings.len()];
        market.buy(path, payment)
    }));
    let delivered = answers.await.iter().filter(|answer| answer.status == 200).count();
    assert_eq!((delivered, market.worth().await.deliveries), (1, 1));
    market.assert_sold(1, &before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_copies_at_the_facilitator_are_one_settlement() {
    let market = Market::open().await;
    let (before, payment) = (market.worth().await, market.pay("/report").await);
    let request = asking(&payment, &payment["accepted"]).to_string();
    let answers: Vec<(u16, Value)> = join_all((0..100).map(|_| market.ask("settle", request.clone()))).await;
    assert_eq!((answers[0].0, &answers[0].1["success"]), (200, &json!(true)), "{:?}", answers[0]);
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(market.ask("settle", request.clone()).await, answers[0], "and the same again, later");
    assert_eq!(market.ask("verify", request).await.1["invalidReason"], "payment_already_used");
    market.assert_sold(1, &before).await;
}

/// Whoever copies a nonce from the wire can neither take the payment nor stand in its way.
#[tokio::test(flavor = "multi_thread")]
async fn forgeries_of_a_payment_do_not_stand_in_its_way() {
    let market = Market::open().await;
    let (before, payment) = (market.worth().await, market.pay("/report").await);
    let forger = market.stack.devnet().accounts()[6];
    let request = asking(&payment, &payment["accepted"]).to_string();
    let forgeries: Vec<String> = (0..50)
        .map(|number| {
            let mut copy = payment.clone();
            sign_again(&mut copy, &forger, domain());
            copy["payload"]["number"] = json!(number);
            asking(&copy, &payment["accepted"]).to_string()
        })
        .collect();
    let answers = join_all(forgeries.iter().map(|body| market.ask("settle", body.clone())));
    let (answers, (status, honest)) = tokio::join!(answers, market.ask("settle", request));
    assert_eq!((status, &honest["success"]), (200, &json!(true)), "{honest}");
    for (status, answer) in answers {
        assert!(status == 200 && answer["success"] == false && answer["transaction"] == "", "{status} {answer}");
    }
    market.assert_sold(1, &before).await;
}

#[tokio::test]
async fn a_buyer_who_leaves_pays_at_most_once_and_loses_nothing_unsaid() {
    let market = Market::open().await;
    let (before, payment) = (market.worth().await, market.pay("/report").await);
    let value = header::encode(&payment).unwrap();
    // Gone before the answer: cancelled or settled, but not in between and not twice.
    for _ in 0..20 {
        let request = market.http().get(market.at("/report")).header("payment-signature", &value);
        drop(tokio::time::timeout(std::time::Duration::from_millis(1), request.send()).await);
    }
    let last = loop {
        let answer = market.buy("/report", &payment).await;
        if answer.status != 409 {
            break answer;
        }
        tokio::task::yield_now().await;
    };
    match last.status {
        200 => last.assert_delivered("after having left"),
        402 => assert_eq!(last.error(), "payment_already_used"),
        status => panic!("{status}: {}", last.body),
    }
    market.assert_sold(1, &before).await;
}

/// Each of these payments is covered, and a simulation finds each of them good: only one of them is.
#[tokio::test(flavor = "multi_thread")]
async fn fifty_payments_from_a_purse_of_one_cost_the_gas_of_one() {
    let market = Market::open().await;
    let poor = market.stack.devnet().accounts()[3];
    market.stack.devnet().give_usdc(poor.address, U256::from(10_000)).unwrap();
    let mut bodies = Vec::new();
    for _ in 0..50 {
        let mut payment = market.pay("/report").await;
        payment["payload"]["authorization"]["from"] = json!(poor.address);
        sign_again(&mut payment, &poor, domain());
        bodies.push(asking(&payment, &payment["accepted"]).to_string());
    }
    let before = market.worth().await;
    let answers = join_all(bodies.iter().map(|body| market.ask("settle", body.clone()))).await;
    let (settled, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|(_, answer)| answer["success"] == true);
    assert_eq!(settled.len(), 1);
    for (status, answer) in refused {
        // A block may come between the look at the balance and the simulation.
        let reasons = ["invalid_exact_evm_insufficient_balance", "invalid_exact_evm_transaction_simulation_failed"];
        assert!(status == 200 && reasons.contains(&answer["errorReason"].as_str().unwrap()), "{answer}");
    }
    assert_eq!(market.worth().await.operator_transactions, before.operator_transactions + 1);
}

/// The purse is emptied to the last unit, whatever the order in which blocks and answers come.
#[tokio::test(flavor = "multi_thread")]
async fn a_purse_can_be_emptied_at_once() {
    let market = Market::open().await;
    let before = market.worth().await;
    let payments = join_all((0..100).map(|_| market.pay("/report"))).await;
    for answer in join_all(payments.iter().map(|payment| market.buy("/report", payment))).await {
        answer.assert_delivered("one of a hundred");
    }
    market.assert_sold(100, &before).await;
    assert!(market.worth().await.payer_atomic.is_zero());
    let one_more = market.pay("/report").await;
    market.turns_away("one more", &one_more, 402, "invalid_exact_evm_insufficient_balance").await;
}
