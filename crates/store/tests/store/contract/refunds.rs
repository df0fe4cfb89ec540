//! What is paid back of a sale is never more than it was, and an unknown end is no failure.

use std::sync::Arc;

use farthing_core::amount::Amount;
use farthing_core::books::{Booked, Receipt, Refund, RefundQuery, RefundState, RefundStateName, Standing};
use farthing_core::scheme::PaymentKey;

use super::deliveries::win;
use super::sample::*;
use super::{Harness, Node};

const COPIES: u16 = 50;

/// Sells something for a hundred units.
async fn sell(node: &Node, number: u16) {
    let (id, bill) = (win(node, number, "one").await, bill(Amount::from(100)));
    assert_eq!(node.deliveries.settling(id, &bill).await.unwrap(), Standing::Held);
    let receipt = Receipt { transaction: transaction("sold"), settlement: String::new() };
    assert_eq!(node.deliveries.served(id, &charged(&receipt, &bill), None).await.unwrap(), Standing::Held);
}

fn refund(id: u16, sale: u16, units: u64) -> Refund {
    Refund {
        id: key(id),
        sale: key(sale),
        at: NOW.plus(id.into()),
        amount: Amount::from(units),
        reason: "it was \"late\"".to_owned(),
        expires_at: NOW.plus(3_600),
        request: "{\"signed\": true}".to_owned(),
        state: RefundState::Open(None),
        unanswered: 0,
        changed_at: NOW.plus(id.into()),
    }
}

async fn found(node: &Node, id: u16) -> Refund {
    node.refunds.find(key(id)).await.unwrap().unwrap()
}

async fn settle(node: &Node, id: u16) {
    node.refunds.settled(key(id), &transaction("back"), NOW).await.unwrap();
}

pub async fn a_sale_is_paid_back_once_whatever_is_booked<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let book = |refund: Refund| {
        let refunds = Arc::clone(&node.refunds);
        async move { refunds.book(&refund).await.unwrap() }
    };
    assert_eq!(book(refund(1, 9, 1)).await, Booked::Unsold);
    let open = win(&node, 8, "one").await;
    assert_eq!(node.deliveries.settling(open, &bill(Amount::from(100))).await.unwrap(), Standing::Held);
    assert_eq!(book(refund(1, 8, 1)).await, Booked::Unsold, "nobody knows that it was paid");
    sell(&node, 9).await;
    sell(&node, 7).await;
    assert_eq!(book(refund(1, 9, 101)).await, Booked::TooMuch(Amount::from(100)));
    assert_eq!(book(refund(1, 9, 60)).await, Booked::Yes);
    assert_eq!(found(&node, 1).await, refund(1, 9, 60));
    assert_eq!(book(refund(2, 9, 1)).await, Booked::Another(key(1)));
    assert_eq!(book(refund(3, 7, 100)).await, Booked::Yes, "that is another sale");
    settle(&node, 1).await;
    assert_eq!(book(refund(2, 9, 41)).await, Booked::TooMuch(Amount::from(40)));
    assert_eq!(book(refund(2, 9, 40)).await, Booked::Yes);
    assert!(node.refunds.failed(key(2), "void", false, NOW).await.unwrap());
    assert_eq!(book(refund(4, 9, 40)).await, Booked::Yes, "what failed was not paid back");
    settle(&node, 4).await;
    assert_eq!(book(refund(5, 9, 1)).await, Booked::TooMuch(Amount::ZERO));
}

pub async fn one_of_many_refunds_at_once_is_booked<H: Harness>() {
    let harness = H::new().await;
    let mut nodes = vec![harness.node().await];
    if H::REPLICAS {
        nodes.push(harness.node().await);
    }
    sell(&nodes[0], 999).await;
    let mut tasks = tokio::task::JoinSet::new();
    for copy in 0..COPIES {
        let refunds = Arc::clone(&nodes[usize::from(copy) % nodes.len()].refunds);
        tasks.spawn(async move { refunds.book(&refund(copy, 999, 100)).await.unwrap() });
    }
    let answers = tasks.join_all().await;
    assert_eq!(answers.iter().filter(|answer| **answer == Booked::Yes).count(), 1);
    assert!(answers.iter().all(|answer| matches!(answer, Booked::Yes | Booked::Another(_))), "{answers:?}");
}

pub async fn what_nobody_has_answered_has_not_failed<H: Harness>() {
    let harness = H::new().await;
    let mut node = harness.node().await;
    sell(&node, 9).await;
    assert_eq!(node.refunds.book(&refund(1, 9, 60)).await.unwrap(), Booked::Yes);
    let asking = async |node: &Node| node.refunds.asking(key(1), NOW).await.unwrap();
    let failed = async |node: &Node, knows_all| node.refunds.failed(key(1), "void", knows_all, NOW).await.unwrap();
    // Two ask; one hears a refusal, and the other dies.
    assert!(asking(&node).await && asking(&node).await);
    node.refunds.refused(key(1), "not now", NOW).await.unwrap();
    let waiting = found(&node, 1).await;
    assert_eq!((waiting.state, waiting.unanswered), (RefundState::Open(Some("not now".to_owned())), 1));
    harness.kill(node).await;
    node = harness.node().await;
    assert!(!failed(&node, false).await, "the other may have settled it");
    assert!(failed(&node, true).await, "unless somebody knows that it has not");
    assert_eq!(found(&node, 1).await.state, RefundState::Failed("void".to_owned()));
    assert!(!asking(&node).await && failed(&node, false).await);
    // What has moved has moved, and stays so.
    settle(&node, 1).await;
    node.refunds.refused(key(1), "late", NOW).await.unwrap();
    assert!(!failed(&node, true).await && !asking(&node).await);
    assert_eq!(found(&node, 1).await.state, RefundState::Settled(transaction("back")));
    assert!(!node.refunds.asking(key(2), NOW).await.unwrap(), "there is none");
}

pub async fn refunds_are_listed_by_sale_state_and_time<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    for sale in [100, 101] {
        sell(&node, sale).await;
    }
    for id in 0..6 {
        assert_eq!(node.refunds.book(&refund(id, 100 + id % 2, 10)).await.unwrap(), Booked::Yes);
        match id {
            0 | 1 => settle(&node, id).await,
            2 | 3 => assert!(node.refunds.failed(key(id), "void", false, NOW).await.unwrap()),
            _ => {}
        }
    }
    let list = async |query: RefundQuery| -> Vec<PaymentKey> {
        node.refunds.list(&query).await.unwrap().into_iter().map(|refund| refund.id).collect()
    };
    let all = RefundQuery { limit: 100, ..RefundQuery::default() };
    assert_eq!(list(all.clone()).await, [5, 4, 3, 2, 1, 0].map(key));
    assert_eq!(list(RefundQuery { sale: Some(key(101)), ..all.clone() }).await, [5, 3, 1].map(key));
    for (state, expected) in RefundStateName::ALL.into_iter().zip([[5, 4], [1, 0], [3, 2]]) {
        assert_eq!(list(RefundQuery { state: Some(state), ..all.clone() }).await, expected.map(key));
    }
    assert_eq!(list(RefundQuery { since: Some(NOW.plus(2)), before: Some(NOW.plus(4)), ..all.clone() }).await, [3, 2].map(key));
    let page = RefundQuery { after: Some((NOW.plus(4), key(4))), limit: 2, ..all };
    assert_eq!(list(page).await, [3, 2].map(key));
}
