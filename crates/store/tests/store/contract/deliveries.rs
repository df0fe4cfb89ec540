//! One payment buys one request.

use std::sync::Arc;

use farthing_core::books::{Delivery, DeliveryClaim, Fingerprint};

use super::sample::*;
use super::{Harness, Node};

const COPIES: u16 = 1_000;

fn request(text: &str) -> Fingerprint {
    Fingerprint(text.to_owned())
}

async fn claim(node: &Node, number: u16, text: &str) -> DeliveryClaim {
    node.deliveries.claim(key(number), &request(text)).await.unwrap()
}

async fn claims(nodes: &[Node]) -> usize {
    let mut tasks = tokio::task::JoinSet::new();
    for copy in 0..COPIES {
        let deliveries = Arc::clone(&nodes[usize::from(copy) % nodes.len()].deliveries);
        tasks.spawn(async move { deliveries.claim(key(1), &request(&format!("copy {copy}"))).await.unwrap() });
    }
    let answers = tasks.join_all().await;
    let lost = DeliveryClaim::Taken(Delivery::Claimed);
    assert!(answers.iter().all(|claim| *claim == DeliveryClaim::New || *claim == lost));
    answers.iter().filter(|claim| **claim == DeliveryClaim::New).count()
}

pub async fn one_claim_of_a_thousand_wins<H: Harness>() {
    let harness = H::new().await;
    assert_eq!(claims(&[harness.node().await]).await, 1);
}

pub async fn one_claim_of_many_on_two_nodes_wins<H: Harness>() {
    let harness = H::new().await;
    let mut nodes = vec![harness.node().await];
    if H::REPLICAS {
        nodes.push(harness.node().await);
    }
    assert_eq!(claims(&nodes).await, 1);
}

pub async fn only_the_same_request_resumes<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    assert_eq!(claim(&node, 1, "one").await, DeliveryClaim::New);
    node.deliveries.settling(key(1)).await.unwrap();
    assert_eq!(claim(&node, 1, "one").await, DeliveryClaim::Taken(Delivery::Settling));
    node.deliveries.unsettled(key(1)).await.unwrap();
    assert_eq!(claim(&node, 1, "other").await, DeliveryClaim::Taken(Delivery::Unsettled));
    assert_eq!(claim(&node, 1, "one").await, DeliveryClaim::Resumed);
    assert_eq!(claim(&node, 1, "one").await, DeliveryClaim::Taken(Delivery::Settling));
}

pub async fn a_served_payment_is_used_up<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    claim(&node, 1, "one").await;
    node.deliveries.settling(key(1)).await.unwrap();
    node.deliveries.served(key(1), &transaction("one")).await.unwrap();
    let served = DeliveryClaim::Taken(Delivery::Served(transaction("one")));
    assert_eq!(claim(&node, 1, "one").await, served);
    assert!(node.deliveries.cancel(key(1)).await.is_err());
    harness.kill(node).await;
    let node = harness.node().await;
    assert_eq!(claim(&node, 1, "one").await, served);
}

pub async fn cancelled_is_free_again<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    claim(&node, 1, "one").await;
    node.deliveries.cancel(key(1)).await.unwrap();
    assert_eq!(claim(&node, 1, "other").await, DeliveryClaim::New);
    node.deliveries.settling(key(1)).await.unwrap();
    node.deliveries.cancel(key(1)).await.unwrap();
    assert_eq!(claim(&node, 1, "one").await, DeliveryClaim::New);
    node.deliveries.settling(key(1)).await.unwrap();
    node.deliveries.unsettled(key(1)).await.unwrap();
    assert!(node.deliveries.cancel(key(1)).await.is_err());
}

pub async fn nobody_advances_what_was_not_claimed<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    assert!(node.deliveries.settling(key(1)).await.is_err());
    assert!(node.deliveries.served(key(1), &transaction("one")).await.is_err());
    assert!(node.deliveries.unsettled(key(1)).await.is_err());
    assert!(node.deliveries.cancel(key(1)).await.is_err());
    assert_eq!(claim(&node, 1, "one").await, DeliveryClaim::New);
}

/// Leaves payments 1 (claimed), 2 (settling) and 3 (unsettled) behind.
async fn leave_behind(node: &Node) {
    for number in [1, 2, 3] {
        assert_eq!(claim(node, number, "one").await, DeliveryClaim::New);
    }
    node.deliveries.settling(key(2)).await.unwrap();
    node.deliveries.settling(key(3)).await.unwrap();
    node.deliveries.unsettled(key(3)).await.unwrap();
}

async fn take_over(node: &Node) {
    assert_eq!(claim(node, 1, "other").await, DeliveryClaim::New);
    for number in [2, 3] {
        assert_eq!(claim(node, number, "other").await, DeliveryClaim::Taken(Delivery::Unsettled));
        assert_eq!(claim(node, number, "one").await, DeliveryClaim::Resumed);
        assert_eq!(claim(node, number, "one").await, DeliveryClaim::Taken(Delivery::Settling));
    }
}

pub async fn what_a_dead_node_left<H: Harness>() {
    let harness = H::new().await;
    let first = harness.node().await;
    leave_behind(&first).await;
    if H::REPLICAS {
        let second = harness.node().await;
        assert_eq!(claim(&second, 1, "one").await, DeliveryClaim::Taken(Delivery::Claimed));
        assert_eq!(claim(&second, 2, "one").await, DeliveryClaim::Taken(Delivery::Settling));
        harness.kill(first).await;
        take_over(&second).await;
    } else {
        harness.kill(first).await;
        take_over(&harness.node().await).await;
    }
}

pub async fn a_node_taken_for_dead_cannot_write_deliveries_taken_over<H: Harness>() {
    let harness = H::new().await;
    let first = harness.node().await;
    leave_behind(&first).await;
    if !H::REPLICAS {
        return;
    }
    let second = harness.node().await;
    harness.give_up_on(&first).await;
    take_over(&second).await;
    for number in [1, 2, 3] {
        assert!(first.deliveries.settling(key(number)).await.is_err());
        assert!(first.deliveries.served(key(number), &transaction("one")).await.is_err());
        assert!(first.deliveries.unsettled(key(number)).await.is_err());
        assert!(first.deliveries.cancel(key(number)).await.is_err());
    }
    second.deliveries.settling(key(1)).await.unwrap();
    second.deliveries.served(key(2), &transaction("two")).await.unwrap();
}
