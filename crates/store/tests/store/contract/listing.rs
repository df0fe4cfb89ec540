//! The book as it is read by people.

use farthing_core::books::{SettlementQuery, SettlementStateName, Settlements};
use farthing_core::scheme::PaymentKey;
use farthing_core::time::UnixSeconds;

use super::sample::*;
use super::{Harness, Node};

/// Thirty payments on two lanes: three to a second, a third of them settled and a third dead.
async fn fill(node: &Node) {
    let lease = lease(&*node.outbox, "0xA").await;
    for number in 0..30_u16 {
        let name = format!("t{number}");
        let mut payment = payment(number);
        if number % 5 == 0 {
            payment.record.network = "eip155:1".parse().unwrap();
        }
        send_at(&*node.outbox, &lease, number.into(), &name, &[payment], NOW.plus((number / 3).into())).await;
        match number % 3 {
            0 => node.settlements.settled(key(number), &settlement(number, &transaction(&name)), NOW).await.unwrap(),
            1 => node
                .settlements
                .dead(key(number), &transaction(&name), &refusal("x"), NOW)
                .await
                .map(|dead| assert!(dead))
                .unwrap(),
            _ => {}
        }
    }
}

async fn found(settlements: &dyn Settlements, query: &SettlementQuery) -> Vec<(UnixSeconds, PaymentKey)> {
    let entries = settlements.list(query).await.unwrap();
    entries.iter().map(|entry| (entry.sent_at, entry.record.key)).collect()
}

/// The numbers that match, in the order of the book.
fn expected(matches: impl Fn(u16) -> bool) -> Vec<(UnixSeconds, PaymentKey)> {
    let mut all: Vec<_> = (0..30).filter(|number| matches(*number)).map(|it| (NOW.plus((it / 3).into()), key(it))).collect();
    all.sort_by_key(|(at, key)| (std::cmp::Reverse(*at), *key));
    all
}

pub async fn every_filter_matches_what_it_says<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    fill(&node).await;
    let book = &*node.settlements;
    let all = SettlementQuery { limit: 100, ..SettlementQuery::default() };
    assert_eq!(found(book, &all).await, expected(|_| true));
    let query = SettlementQuery { network: Some("eip155:1".parse().unwrap()), ..all.clone() };
    assert_eq!(found(book, &query).await, expected(|number| number % 5 == 0));
    let query = SettlementQuery { payer: Some("0xPayer2".parse().unwrap()), ..all.clone() };
    assert_eq!(found(book, &query).await, expected(|number| number % 3 == 2));
    let query = SettlementQuery { payer: Some("0xpayer2".parse().unwrap()), ..all.clone() };
    assert_eq!(found(book, &query).await, []);
    let query = SettlementQuery { pay_to: Some("0xPayee1".parse().unwrap()), ..all.clone() };
    assert_eq!(found(book, &query).await, expected(|number| number % 2 == 1));
    for (state, rest) in SettlementStateName::ALL.into_iter().zip([2, 0, 1]) {
        let query = SettlementQuery { state: Some(state), ..all.clone() };
        assert_eq!(found(book, &query).await, expected(|number| number % 3 == rest));
    }
    let query = SettlementQuery { since: Some(NOW.plus(3)), before: Some(NOW.plus(6)), ..all.clone() };
    assert_eq!(found(book, &query).await, expected(|number| (3..6).contains(&(number / 3))));
    let query = SettlementQuery { since: Some(UnixSeconds(0)), before: Some(UnixSeconds(u64::MAX)), ..all.clone() };
    assert_eq!(found(book, &query).await.len(), 30);
    let query = SettlementQuery {
        network: Some("eip155:1".parse().unwrap()),
        pay_to: Some("0xPayee0".parse().unwrap()),
        state: Some(SettlementStateName::Settled),
        transaction: Some(transaction("t0")),
        ..all.clone()
    };
    assert_eq!(found(book, &query).await, expected(|number| number == 0));
    assert_eq!(found(book, &SettlementQuery { limit: 0, ..all }).await, []);
}

pub async fn pages_follow_each_other_without_a_gap<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    fill(&node).await;
    for state in [None, Some(SettlementStateName::Sending)] {
        let mut query = SettlementQuery { limit: 4, state, ..SettlementQuery::default() };
        let mut seen = Vec::new();
        loop {
            let page = found(&*node.settlements, &query).await;
            assert!(page.len() <= 4);
            let Some(last) = page.last() else { break };
            query.after = Some(*last);
            seen.extend(page);
        }
        assert_eq!(seen, expected(|number| state.is_none() || number % 3 == 2));
    }
}

pub async fn replaced_transactions_are_found<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let lease = lease(&*node.outbox, "0xA").await;
    send(&*node.outbox, &lease, 1, "one", &[payment(1), payment(2)]).await;
    replace(&*node.outbox, &lease, 1, "bumped").await;
    send(&*node.outbox, &lease, 2, "two", &[payment(3)]).await;
    let carried = async |name: &str| {
        let query = SettlementQuery { transaction: Some(transaction(name)), limit: 10, ..SettlementQuery::default() };
        found(&*node.settlements, &query).await.into_iter().map(|(_, key)| key).collect::<Vec<_>>()
    };
    for _ in 0..2 {
        assert_eq!(carried("one").await, [key(1), key(2)]);
        assert_eq!(carried("bumped").await, [key(1), key(2)]);
        assert_eq!(carried("two").await, [key(3)]);
        assert!(carried("three").await.is_empty());
        // Also when nothing is under way any more.
        node.outbox.closed(&lease, 1).await.unwrap();
    }
    node.settlements.settled(key(3), &settlement(3, &transaction("three")), NOW).await.unwrap();
    assert_eq!(carried("three").await, [key(3)]);
    assert_eq!(carried("two").await, [key(3)]);
}
