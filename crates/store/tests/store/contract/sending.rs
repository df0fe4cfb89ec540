//! A transaction and its payments are written together, once, within their budgets.

use std::sync::Arc;

use farthing_core::books::{OutgoingPayment, SettlementState, SponsorBudget, Unsendable, Written};

use super::sample::*;
use super::{Harness, Node};

const COPIES: u64 = 1_000;
const SECONDS_PER_DAY: u64 = 86_400;

pub async fn one_bad_payment_and_nothing_is_written<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let lease = lease(&*node.outbox, "0xA").await;
    send(&*node.outbox, &lease, 1, "one", &[payment(1)]).await;
    let poor = sponsored(3, 11, &[("payer", 10)]);
    let rich = sponsored(4, 9, &[("payer", 10)]);
    let batch = [payment(2), payment(1), poor, rich];
    let budget = SponsorBudget { account: "payer".to_owned(), limit_gwei: 10 };
    let expected = vec![
        (key(1), Unsendable::Taken(SettlementState::Sending(transaction("one")))),
        (key(3), Unsendable::OverBudget(budget)),
    ];
    assert_eq!(send(&*node.outbox, &lease, 2, "two", &batch).await, Written::Without(expected));
    for number in [2, 3, 4] {
        assert_eq!(node.settlements.find(key(number)).await.unwrap(), None);
    }
    let open = under_way(&*node.outbox, &lease).await;
    assert_eq!(open.iter().map(|it| it.sequence).collect::<Vec<_>>(), [1]);
    // The budget was not touched either.
    let full = sponsored(5, 10, &[("payer", 10)]);
    assert_eq!(send(&*node.outbox, &lease, 2, "two", &[payment(2), full]).await, Written::Yes);
}

pub async fn a_dead_payment_may_be_sent_again<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let lease = lease(&*node.outbox, "0xA").await;
    send(&*node.outbox, &lease, 1, "one", &[payment(1)]).await;
    die(&*node.settlements, 1, "one", "reverted", NOW.plus(1)).await;
    let again = OutgoingPayment { caller: Some("shop".to_owned()), ..payment(1) };
    assert_eq!(send_at(&*node.outbox, &lease, 2, "two", &[again], NOW.plus(9)).await, Written::Yes);
    let entry = node.settlements.find(key(1)).await.unwrap().unwrap();
    assert_eq!(entry.state, SettlementState::Sending(transaction("two")));
    assert_eq!((entry.sent_at, entry.changed_at, entry.caller.as_deref()), (NOW.plus(9), NOW.plus(9), Some("shop")));
    let settled = settlement(1, &transaction("two"));
    node.settlements.settled(key(1), &settled, NOW.plus(10)).await.unwrap();
    let expected = vec![(key(1), Unsendable::Taken(SettlementState::Settled(settled)))];
    assert_eq!(send(&*node.outbox, &lease, 3, "three", &[payment(1)]).await, Written::Without(expected));
}

pub async fn the_same_write_again_changes_nothing<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let lease = lease(&*node.outbox, "0xA").await;
    let batch = [sponsored(1, 6, &[("payer", 10)])];
    for _ in 0..3 {
        assert_eq!(send(&*node.outbox, &lease, 1, "one", &batch).await, Written::Yes);
    }
    let open = under_way(&*node.outbox, &lease).await;
    assert_eq!(open.iter().map(|it| it.transactions.len()).collect::<Vec<_>>(), [1]);
    assert_eq!(send(&*node.outbox, &lease, 2, "two", &[sponsored(2, 4, &[("payer", 10)])]).await, Written::Yes);
    for _ in 0..2 {
        assert_eq!(replace(&*node.outbox, &lease, 1, "bumped").await, Written::Yes);
    }
    assert_eq!(under_way(&*node.outbox, &lease).await[0].transactions.len(), 2);
}

pub async fn another_transaction_with_the_same_sequence_is_an_error<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let lease = lease(&*node.outbox, "0xA").await;
    send(&*node.outbox, &lease, 1, "one", &[payment(1)]).await;
    let before = under_way(&*node.outbox, &lease).await;
    let (two, payments) = (transaction("two"), [payment(2)]);
    let outgoing = farthing_core::books::Outgoing {
        lease: &lease,
        sequence: 1,
        transaction: &two,
        signed: b"two",
        height: 100,
        payments: &payments,
        now: NOW,
    };
    assert!(node.outbox.sending(&outgoing).await.is_err());
    assert_eq!(under_way(&*node.outbox, &lease).await, before);
    assert_eq!(node.settlements.find(key(2)).await.unwrap(), None);
}

pub async fn a_payment_twice_in_one_transaction_is_an_error<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let lease = lease(&*node.outbox, "0xA").await;
    let (one, payments) = (transaction("one"), [payment(1), payment(1)]);
    let outgoing = farthing_core::books::Outgoing {
        lease: &lease,
        sequence: 1,
        transaction: &one,
        signed: b"one",
        height: 100,
        payments: &payments,
        now: NOW,
    };
    assert!(node.outbox.sending(&outgoing).await.is_err());
    assert_eq!(node.settlements.find(key(1)).await.unwrap(), None);
}

/// Sends the same payment under many numbers at once, and returns how many were written.
async fn race(nodes: Vec<(Node, String)>) -> (usize, Vec<Node>) {
    let mut leases = Vec::new();
    for (node, account) in &nodes {
        leases.push(lease(&*node.outbox, account).await);
    }
    let mut tasks = tokio::task::JoinSet::new();
    for sequence in 0..COPIES {
        let index = usize::try_from(sequence).unwrap() % nodes.len();
        let (outbox, lease) = (Arc::clone(&nodes[index].0.outbox), leases[index].clone());
        tasks.spawn(async move { send(&*outbox, &lease, sequence, &format!("copy-{sequence}"), &[payment(1)]).await });
    }
    let answers = tasks.join_all().await;
    assert!(answers.iter().all(|answer| match answer {
        Written::Yes => true,
        Written::Without(without) => matches!(&without[..], [(_, Unsendable::Taken(SettlementState::Sending(_)))]),
        Written::LeaseLost => false,
    }));
    let won = answers.iter().filter(|answer| **answer == Written::Yes).count();
    let mut open = 0;
    for ((node, _), lease) in nodes.iter().zip(&leases) {
        open += under_way(&*node.outbox, lease).await.len();
    }
    assert_eq!(open, won);
    (won, nodes.into_iter().map(|(node, _)| node).collect())
}

pub async fn one_of_a_thousand_copies_wins<H: Harness>() {
    let harness = H::new().await;
    let (won, _nodes) = race(vec![(harness.node().await, "0xA".to_owned())]).await;
    assert_eq!(won, 1);
}

pub async fn one_of_a_thousand_copies_on_two_nodes_wins<H: Harness>() {
    let harness = H::new().await;
    let mut nodes = vec![(harness.node().await, "0xA".to_owned())];
    if H::REPLICAS {
        nodes.push((harness.node().await, "0xB".to_owned()));
    }
    let (won, nodes) = race(nodes).await;
    assert_eq!(won, 1);
    for node in nodes {
        assert!(node.settlements.find(key(1)).await.unwrap().is_some());
    }
}

async fn spend_from_many(nodes: &[(Node, &str)]) -> usize {
    let mut tasks = tokio::task::JoinSet::new();
    for (node, account) in nodes {
        let lease = lease(&*node.outbox, account).await;
        for number in 0..60_u16 {
            let (outbox, lease) = (Arc::clone(&node.outbox), lease.clone());
            let number = number + if *account == "0xA" { 0 } else { 1_000 };
            let payment = sponsored(number, 7, &[("payer", 200), ("caller", 10_000)]);
            tasks.spawn(async move { send(&*outbox, &lease, number.into(), &format!("t{number}"), &[payment]).await });
        }
    }
    let answers = tasks.join_all().await;
    answers.iter().filter(|answer| **answer == Written::Yes).count()
}

pub async fn budgets_are_exact_under_concurrency<H: Harness>() {
    let harness = H::new().await;
    let nodes = [(harness.node().await, "0xA")];
    assert_eq!(spend_from_many(&nodes).await, 28, "28 times 7 is 196 of 200");
}

pub async fn budgets_are_exact_across_nodes<H: Harness>() {
    let harness = H::new().await;
    let mut nodes = vec![(harness.node().await, "0xA")];
    if H::REPLICAS {
        nodes.push((harness.node().await, "0xB"));
    }
    assert_eq!(spend_from_many(&nodes).await, 28, "28 times 7 is 196 of 200");
}

pub async fn a_budget_is_per_day_and_per_account<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let lease = lease(&*node.outbox, "0xA").await;
    let send = |number: u16, account: &'static str, now| {
        let (outbox, lease) = (Arc::clone(&node.outbox), lease.clone());
        let payment = sponsored(number, 6, &[(account, 10)]);
        async move { send_at(&*outbox, &lease, number.into(), &format!("t{number}"), &[payment], now).await }
    };
    assert_eq!(send(1, "payer", NOW).await, Written::Yes);
    assert!(matches!(send(2, "payer", NOW).await, Written::Without(_)));
    assert_eq!(send(3, "other", NOW).await, Written::Yes);
    assert_eq!(send(4, "payer", NOW.plus(SECONDS_PER_DAY)).await, Written::Yes);
    // One batch counts its own payments together.
    let batch = [sponsored(5, 6, &[("batch", 10)]), sponsored(6, 6, &[("batch", 10)])];
    let budget = SponsorBudget { account: "batch".to_owned(), limit_gwei: 10 };
    let expected = Written::Without(vec![(key(6), Unsendable::OverBudget(budget))]);
    assert_eq!(super::sample::send(&*node.outbox, &lease, 5, "batch", &batch).await, expected);
}

pub async fn what_was_refused_is_given_back_to_its_budgets<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let lease = lease(&*node.outbox, "0xA").await;
    let outbox = &*node.outbox;
    let batch = [sponsored(1, 3, &[("payer", 10), ("caller", 20)]), sponsored(2, 4, &[("other", 10), ("caller", 20)])];
    assert_eq!(send(outbox, &lease, 1, "batch", &batch).await, Written::Yes);
    assert_eq!(send(outbox, &lease, 2, "stays", &[sponsored(3, 5, &[("caller", 20), ("payer", 10)])]).await, Written::Yes);
    // Refused on the day after: it is given back to the day on which it was booked.
    outbox.refused(&lease, 1, &refusal("no"), NOW.plus(SECONDS_PER_DAY)).await.unwrap();
    outbox.refused(&lease, 1, &refusal("no"), NOW.plus(SECONDS_PER_DAY)).await.unwrap();
    let over = |number: u16, account: &str, limit_gwei| {
        let budget = SponsorBudget { account: account.to_owned(), limit_gwei };
        Written::Without(vec![(key(number), Unsendable::OverBudget(budget))])
    };
    assert_eq!(send(outbox, &lease, 3, "a", &[sponsored(4, 6, &[("payer", 10)])]).await, over(4, "payer", 10));
    assert_eq!(send(outbox, &lease, 3, "a", &[sponsored(4, 5, &[("payer", 10)])]).await, Written::Yes);
    assert_eq!(send(outbox, &lease, 4, "b", &[sponsored(5, 10, &[("other", 10)])]).await, Written::Yes);
    assert_eq!(send(outbox, &lease, 5, "c", &[sponsored(6, 16, &[("caller", 20)])]).await, over(6, "caller", 20));
    assert_eq!(send(outbox, &lease, 5, "c", &[sponsored(6, 15, &[("caller", 20)])]).await, Written::Yes);
}

pub async fn what_was_not_refused_is_not_given_back<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let lease = lease(&*node.outbox, "0xA").await;
    for (sequence, number) in [(1, 1), (2, 2), (3, 3)] {
        let payment = sponsored(number, 3, &[("payer", 9)]);
        assert_eq!(send(&*node.outbox, &lease, sequence, &format!("t{sequence}"), &[payment]).await, Written::Yes);
    }
    replace(&*node.outbox, &lease, 1, "bumped").await;
    node.outbox.landed(&lease, 2, &landing(&transaction("t2"), 7)).await.unwrap();
    node.outbox.closed(&lease, 3).await.unwrap();
    for sequence in [1, 2, 3] {
        node.outbox.refused(&lease, sequence, &refusal("no"), NOW).await.unwrap();
    }
    let more = [sponsored(4, 1, &[("payer", 9)])];
    assert!(matches!(send(&*node.outbox, &lease, 9, "more", &more).await, Written::Without(_)));
}

pub async fn a_transaction_without_payments_is_followed_too<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let lease = lease(&*node.outbox, "0xA").await;
    assert_eq!(send(&*node.outbox, &lease, 1, "gap", &[]).await, Written::Yes);
    let open = under_way(&*node.outbox, &lease).await;
    assert_eq!(open[0].transactions, [(transaction("gap"), b"gap".to_vec())]);
    assert_eq!((open[0].payments.len(), open[0].height), (0, 100));
}

pub async fn many_payments_at_once_are_written_together<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let lease = lease(&*node.outbox, "0xA").await;
    // Not in the order of their keys, which the book must keep.
    let numbers: Vec<u16> = (0..100).map(|number| (number * 37) % 101).collect();
    let batch: Vec<_> = numbers.iter().map(|number| payment(*number)).collect();
    assert_eq!(send(&*node.outbox, &lease, 1, "batch", &batch).await, Written::Yes);
    let open = under_way(&*node.outbox, &lease).await;
    assert_eq!(open[0].payments, numbers.iter().map(|number| key(*number)).collect::<Vec<_>>());
}
