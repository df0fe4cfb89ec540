//! Who may send from an account.

use farthing_core::books::{LaneClaim, LaneLease, Written};

use super::sample::*;
use super::{Harness, Node};

/// Tries every write under a lease that does not hold, and checks that nothing came of it.
async fn assert_void(node: &Node, old: &LaneLease, holder: &Node, new: &LaneLease) {
    let before = under_way(&*holder.outbox, new).await;
    let entry = holder.settlements.find(key(1)).await.unwrap();
    assert_eq!(before.len(), 1);
    assert_eq!(send(&*node.outbox, old, 90, "void", &[payment(90)]).await, Written::LeaseLost);
    assert_eq!(send(&*node.outbox, old, 1, "one", &[payment(1)]).await, Written::LeaseLost);
    assert_eq!(replace(&*node.outbox, old, 1, "void").await, Written::LeaseLost);
    // Whether the others say so or are silent, they change nothing.
    let _ = node.outbox.refused(old, 1, &refusal("void"), NOW.plus(9)).await;
    let _ = node.outbox.landed(old, 1, &landing(&transaction("one"), 7)).await;
    let _ = node.outbox.reopened(old, 1, NOW.plus(9)).await;
    let _ = node.outbox.closed(old, 1).await;
    let _ = node.outbox.give_back(old).await;
    assert!(node.outbox.under_way(old, 0, usize::MAX).await.unwrap().is_none());
    assert_eq!(under_way(&*holder.outbox, new).await, before);
    assert_eq!(holder.settlements.find(key(1)).await.unwrap(), entry);
    assert_eq!(holder.settlements.find(key(90)).await.unwrap(), None);
}

pub async fn a_lane_is_one_nodes_and_a_new_lease_voids_the_old<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let first = lease(&*node.outbox, "0xA").await;
    let second = lease(&*node.outbox, "0xA").await;
    assert!(second.token > first.token);
    let other = lease(&*node.outbox, "0xB").await;
    assert_eq!(send(&*node.outbox, &second, 1, "one", &[payment(1)]).await, Written::Yes);
    assert_eq!(send(&*node.outbox, &other, 1, "two", &[payment(2)]).await, Written::Yes);
    assert_eq!(send(&*node.outbox, &first, 2, "three", &[payment(3)]).await, Written::LeaseLost);
}

pub async fn every_write_under_an_old_lease_is_void<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let old = lease(&*node.outbox, "0xA").await;
    send(&*node.outbox, &old, 1, "one", &[payment(1)]).await;
    let new = lease(&*node.outbox, "0xA").await;
    assert_void(&node, &old, &node, &new).await;
}

pub async fn another_node_takes_over_only_after_death<H: Harness>() {
    let harness = H::new().await;
    let first = harness.node().await;
    let old = lease(&*first.outbox, "0xA").await;
    send(&*first.outbox, &old, 1, "one", &[payment(1)]).await;
    if H::REPLICAS {
        let second = harness.node().await;
        assert_eq!(second.outbox.take(&lane("0xA")).await.unwrap(), LaneClaim::Theirs);
        assert_eq!(send(&*first.outbox, &old, 2, "two", &[payment(2)]).await, Written::Yes);
        harness.kill(first).await;
        let new = lease(&*second.outbox, "0xA").await;
        assert_eq!(under_way(&*second.outbox, &new).await.len(), 2);
    } else {
        harness.kill(first).await;
        let second = harness.node().await;
        let new = lease(&*second.outbox, "0xA").await;
        assert!(new.token > old.token);
        assert_void(&second, &old, &second, &new).await;
    }
}

pub async fn a_node_taken_for_dead_cannot_write_under_its_lease<H: Harness>() {
    if !H::REPLICAS {
        return every_write_under_an_old_lease_is_void::<H>().await;
    }
    let harness = H::new().await;
    let first = harness.node().await;
    let second = harness.node().await;
    let old = lease(&*first.outbox, "0xA").await;
    send(&*first.outbox, &old, 1, "one", &[payment(1)]).await;
    harness.give_up_on(&first).await;
    let new = lease(&*second.outbox, "0xA").await;
    assert!(new.token > old.token);
    assert_void(&first, &old, &second, &new).await;
    assert_eq!(send(&*second.outbox, &new, 2, "two", &[payment(2)]).await, Written::Yes);
}

pub async fn a_lane_given_back_is_free_at_once<H: Harness>() {
    let harness = H::new().await;
    let first = harness.node().await;
    let old = lease(&*first.outbox, "0xA").await;
    send(&*first.outbox, &old, 1, "one", &[payment(1)]).await;
    first.outbox.give_back(&old).await.unwrap();
    assert_eq!(send(&*first.outbox, &old, 2, "two", &[payment(2)]).await, Written::LeaseLost);
    assert!(first.outbox.under_way(&old, 0, usize::MAX).await.unwrap().is_none());
    let second = if H::REPLICAS { harness.node().await } else { first };
    let new = lease(&*second.outbox, "0xA").await;
    assert!(new.token > old.token);
    assert_eq!(under_way(&*second.outbox, &new).await.len(), 1);
}

pub async fn nodes_are_counted<H: Harness>() {
    let harness = H::new().await;
    let network = lane("0xA").network;
    let first = harness.node().await;
    for _ in 0..2 {
        assert_eq!(first.outbox.nodes(&network).await.unwrap(), 1);
    }
    if H::REPLICAS {
        let second = harness.node().await;
        assert_eq!(first.outbox.nodes(&network).await.unwrap(), 1, "it has not asked yet");
        assert_eq!(second.outbox.nodes(&network).await.unwrap(), 2);
        assert_eq!(first.outbox.nodes(&network).await.unwrap(), 2);
        harness.kill(first).await;
        assert_eq!(second.outbox.nodes(&network).await.unwrap(), 1);
    } else {
        harness.kill(first).await;
        assert_eq!(harness.node().await.outbox.nodes(&network).await.unwrap(), 1);
    }
}

pub async fn nodes_count_where_they_serve<H: Harness>() {
    let harness = H::new().await;
    let (base, other) = (lane("0xA").network, "eip155:137".parse().unwrap());
    let first = harness.node().await;
    assert_eq!(first.outbox.nodes(&base).await.unwrap(), 1);
    let second = if H::REPLICAS { harness.node().await } else { first };
    assert_eq!(second.outbox.nodes(&other).await.unwrap(), 1);
    assert_eq!(second.outbox.nodes(&base).await.unwrap(), if H::REPLICAS { 2 } else { 1 });
}
