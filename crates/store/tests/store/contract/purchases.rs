//! A purchase with a name is made with one payment.

use std::sync::Arc;

use farthing_core::books::{
    Answered, ClaimId, Delivery, Fingerprint, KEEP_EXPIRED_SECONDS, Naming, Presented, Purchase, PurchaseName, Standing,
};

use super::deliveries::{
    DAY_SECONDS, answer, cancel, claim_others, presented, receipt, resume, served, settling, sold_for_seven, unsettled, win,
    won,
};
use super::sample::*;
use super::{Harness, Node};

const COPIES: u16 = 1_000;

/// A purchase with a name of this number.
pub fn purchase(name: u8, request: &str) -> Purchase {
    Purchase { name: PurchaseName([name; 32]), request: Fingerprint(request.to_owned()), now: NOW }
}

async fn name(node: &Node, id: ClaimId, purchase: &Purchase) -> Naming {
    node.deliveries.name(id, purchase).await.unwrap()
}

pub async fn one_payment_of_a_thousand_has_a_name<H: Harness>() {
    let harness = H::new().await;
    let mut nodes = vec![harness.node().await];
    if H::REPLICAS {
        nodes.push(harness.node().await);
    }
    let mut tasks = tokio::task::JoinSet::new();
    for copy in 0..COPIES {
        let deliveries = Arc::clone(&nodes[usize::from(copy) % nodes.len()].deliveries);
        tasks.spawn(async move {
            let id = won(&deliveries.claim(&presented(copy, "one")).await.unwrap(), true);
            deliveries.name(id, &purchase(1, "one")).await.unwrap()
        });
    }
    let answers = tasks.join_all().await;
    assert!(answers.iter().all(|naming| matches!(naming, Naming::Ours | Naming::Taken(Delivery::Claimed))));
    assert_eq!(answers.iter().filter(|naming| **naming == Naming::Ours).count(), 1);
}

pub async fn a_name_follows_its_payment<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let (first, second) = (win(&node, 1, "one").await, win(&node, 2, "one").await);
    let asked = purchase(1, "one");
    for _ in 0..2 {
        assert_eq!(name(&node, first, &asked).await, Naming::Ours, "the same write again");
    }
    assert_eq!(name(&node, first, &purchase(2, "one")).await, Naming::Lost, "it has one");
    assert_eq!(name(&node, second, &purchase(1, "other")).await, Naming::OtherRequest);
    let taken = async |delivery| assert_eq!(name(&node, second, &asked).await, Naming::Taken(delivery));
    taken(Delivery::Claimed).await;
    assert_eq!(settling(&node, first).await, Standing::Held);
    taken(Delivery::Settling).await;
    assert_eq!(unsettled(&node, first).await, Standing::Held);
    taken(Delivery::Unsettled).await;
    let first = resume(&node, 1, "one").await;
    taken(Delivery::Settling).await;
    let kept = answer(b"the report");
    assert_eq!(sold_for_seven(&*node.deliveries, first, &receipt(), Some(&kept)).await, Standing::Held);
    let repeated = Answered { receipt: receipt(), answer: kept, is_left_behind: false };
    assert_eq!(name(&node, second, &asked).await, Naming::Answered(Box::new(repeated)));
    assert_eq!(name(&node, second, &purchase(1, "other")).await, Naming::OtherRequest);
    let late = Purchase { now: NOW.plus(DAY_SECONDS), ..asked.clone() };
    assert_eq!(name(&node, second, &late).await, Naming::Taken(Delivery::Served(receipt().transaction)));
    assert_eq!(name(&node, second, &purchase(2, "one")).await, Naming::Ours, "another name");
}

pub async fn a_name_is_free_again_with_its_payment<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let asked = purchase(1, "one");
    let first = win(&node, 1, "one").await;
    assert_eq!(name(&node, first, &asked).await, Naming::Ours);
    assert_eq!(cancel(&node, first).await, Standing::Held);
    assert_eq!(name(&node, first, &asked).await, Naming::Lost);
    let refused = win(&node, 2, "one").await;
    assert_eq!(name(&node, refused, &asked).await, Naming::Ours);
    assert_eq!((settling(&node, refused).await, cancel(&node, refused).await), (Standing::Held, Standing::Held));
    let expiring = Presented { expires_at: Some(NOW), ..presented(3, "one") };
    let expiring = won(&node.deliveries.claim(&expiring).await.unwrap(), true);
    assert_eq!(name(&node, expiring, &asked).await, Naming::Ours);
    assert_eq!((settling(&node, expiring).await, served(&node, expiring).await), (Standing::Held, Standing::Held));
    let last = win(&node, 4, "one").await;
    assert_eq!(name(&node, last, &asked).await, Naming::Taken(Delivery::Served(receipt().transaction)));
    claim_others(&node, NOW.plus(KEEP_EXPIRED_SECONDS + 1)).await;
    assert_eq!(name(&node, last, &asked).await, Naming::Ours);
}

pub async fn a_dead_node_keeps_a_name_only_for_what_may_have_been_charged<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let (claimed, settled) = (win(&node, 1, "one").await, win(&node, 2, "one").await);
    for (id, purchase) in [(claimed, purchase(1, "one")), (settled, purchase(2, "one"))] {
        assert_eq!(name(&node, id, &purchase).await, Naming::Ours);
    }
    assert_eq!(settling(&node, settled).await, Standing::Held);
    harness.kill(node).await;
    let node = harness.node().await;
    let (first, second) = (win(&node, 3, "one").await, win(&node, 4, "one").await);
    assert_eq!(name(&node, first, &purchase(1, "other")).await, Naming::Ours);
    assert_eq!(name(&node, second, &purchase(2, "other")).await, Naming::OtherRequest);
    assert_eq!(name(&node, second, &purchase(2, "one")).await, Naming::Taken(Delivery::Unsettled));
    assert_eq!(settling(&node, claimed).await, Standing::Lost);
    // A payment that is taken anew has to be named anew.
    win(&node, 1, "one").await;
    let resumed = resume(&node, 2, "one").await;
    assert_eq!((served(&node, resumed).await, name(&node, resumed, &purchase(3, "one")).await), (Standing::Held, Naming::Lost));
    assert_eq!(name(&node, second, &purchase(2, "one")).await, Naming::Taken(Delivery::Served(receipt().transaction)));
}
