//! The life of one payment.

use std::sync::Arc;

use farthing_core::amount::Amount;
use farthing_core::books::{Finding, Fingerprint, SettlementEntry, SettlementState, Settlements, Unsendable, Written};
use farthing_core::reason::{Reason, Refusal};
use farthing_core::time::UnixSeconds;

use super::Harness;
use super::sample::*;

pub async fn a_payment_is_found_once_it_is_sent<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    assert_eq!(node.settlements.find(key(1)).await.unwrap(), None);
    let lease = lease(&*node.outbox, "0xA").await;
    send(&*node.outbox, &lease, 4, "one", &[payment(1)]).await;
    let expected = SettlementEntry {
        record: record(1),
        request: Fingerprint("request 1".to_owned()),
        caller: None,
        state: SettlementState::Sending(transaction("one")),
        transaction: transaction("one"),
        height: 100,
        sent_at: NOW,
        changed_at: NOW,
    };
    assert_eq!(node.settlements.find(key(1)).await.unwrap(), Some(expected));
}

pub async fn settled_is_taken_over_from_every_state<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let lease = lease(&*node.outbox, "0xA").await;
    send(&*node.outbox, &lease, 4, "one", &[payment(1), payment(2)]).await;
    node.settlements.dead(key(2), &refusal("reverted"), NOW.plus(1)).await.unwrap();
    let other = transaction("somebody-elses");
    for number in [1, 2] {
        node.settlements.settled(key(number), &settlement(number, &other), NOW.plus(2)).await.unwrap();
        let entry = node.settlements.find(key(number)).await.unwrap().unwrap();
        assert_eq!(entry.state, SettlementState::Settled(settlement(number, &other)));
        assert_eq!((entry.transaction, entry.changed_at), (other.clone(), NOW.plus(2)));
    }
    let newer = transaction("newer");
    node.settlements.settled(key(1), &settlement(1, &newer), NOW.plus(3)).await.unwrap();
    assert_eq!(node.settlements.find(key(1)).await.unwrap().unwrap().transaction, newer);
}

pub async fn dead_changes_only_what_is_being_sent<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let lease = lease(&*node.outbox, "0xA").await;
    send(&*node.outbox, &lease, 4, "one", &[payment(1), payment(2)]).await;
    node.settlements.dead(key(1), &refusal("reverted"), NOW.plus(1)).await.unwrap();
    node.settlements.dead(key(1), &refusal("again"), NOW.plus(2)).await.unwrap();
    let entry = node.settlements.find(key(1)).await.unwrap().unwrap();
    assert_eq!((entry.state, entry.changed_at), (SettlementState::Dead(refusal("reverted")), NOW.plus(1)));
    assert_eq!(entry.transaction, transaction("one"));
    let settled = settlement(2, &transaction("one"));
    node.settlements.settled(key(2), &settled, NOW.plus(1)).await.unwrap();
    node.settlements.dead(key(2), &refusal("too late"), NOW.plus(2)).await.unwrap();
    assert_eq!(node.settlements.find(key(2)).await.unwrap().unwrap().state, SettlementState::Settled(settled));
}

pub async fn what_was_never_sent_is_not_made_up<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    node.settlements.settled(key(1), &settlement(1, &transaction("one")), NOW).await.unwrap();
    node.settlements.dead(key(1), &refusal("x"), NOW).await.unwrap();
    assert_eq!(node.settlements.find(key(1)).await.unwrap(), None);
    assert_eq!(node.outbox.landing(key(1)).await.unwrap(), None);
}

pub async fn every_field_survives_the_book<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let lease = lease(&*node.outbox, "0xA").await;
    let mut wide = payment(1);
    wide.record.amount = Amount::MAX;
    wide.record.expires_at = UnixSeconds(u64::MAX);
    wide.caller = Some("shop 'ünï' $1 ?2".to_owned());
    wide.request = Fingerprint("\"quotes\"\nlines".to_owned());
    send(&*node.outbox, &lease, 4, "one", &[wide.clone()]).await;
    let entry = node.settlements.find(key(1)).await.unwrap().unwrap();
    assert_eq!((entry.record, entry.request, entry.caller), (wide.record.clone(), wide.request, wide.caller));
    let dead = Refusal::new(Reason::Other("brand_new".into()), "it's; DROP TABLE payments --");
    node.settlements.dead(key(1), &dead, NOW).await.unwrap();
    assert_eq!(node.settlements.find(key(1)).await.unwrap().unwrap().state, SettlementState::Dead(dead));
    let mut moved = settlement(1, &transaction("two"));
    moved.amount = Amount::MAX;
    moved.payer = "0xOtherCase".parse().unwrap();
    node.settlements.settled(key(1), &moved, NOW).await.unwrap();
    assert_eq!(node.settlements.find(key(1)).await.unwrap().unwrap().state, SettlementState::Settled(moved));
}

/// Finds that somebody else carried the payment out, for this request; the answer is what the book has.
async fn find(book: &dyn Settlements, number: u16, request: &str) -> Option<SettlementEntry> {
    let settlement = settlement(number, &transaction("theirs"));
    let (record, request) = (record(number), Fingerprint(request.to_owned()));
    let caller = Some("shop");
    let finding = Finding { record: &record, request: &request, caller, settlement: &settlement, height: 90, now: NOW.plus(3) };
    book.found(&finding).await.unwrap()
}

fn found(number: u16, request: &str) -> SettlementEntry {
    SettlementEntry {
        record: record(number),
        request: Fingerprint(request.to_owned()),
        caller: Some("shop".to_owned()),
        state: SettlementState::Settled(settlement(number, &transaction("theirs"))),
        transaction: transaction("theirs"),
        height: 90,
        sent_at: NOW.plus(3),
        changed_at: NOW.plus(3),
    }
}

pub async fn what_was_found_belongs_to_the_first_request<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    assert_eq!(find(&*node.settlements, 1, "first").await, None);
    assert_eq!(node.settlements.find(key(1)).await.unwrap(), Some(found(1, "first")));
    for request in ["first", "second"] {
        assert_eq!(find(&*node.settlements, 1, request).await, Some(found(1, "first")));
    }
    let lease = lease(&*node.outbox, "0xA").await;
    let taken = Unsendable::Taken(found(1, "first").state);
    assert_eq!(send(&*node.outbox, &lease, 1, "ours", &[payment(1)]).await, Written::Without(vec![(key(1), taken)]));
    // It is an entry like any other: a later look at the chain may name another transaction.
    let other = settlement(1, &transaction("other"));
    node.settlements.settled(key(1), &other, NOW.plus(4)).await.unwrap();
    assert_eq!(node.settlements.find(key(1)).await.unwrap().unwrap().state, SettlementState::Settled(other));
}

pub async fn what_was_found_may_be_dead_and_not_under_way<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let lease = lease(&*node.outbox, "0xA").await;
    send(&*node.outbox, &lease, 4, "ours", &[payment(1), payment(2)]).await;
    node.settlements.dead(key(2), &refusal("reverted"), NOW.plus(1)).await.unwrap();
    let sending = node.settlements.find(key(1)).await.unwrap();
    assert_eq!(find(&*node.settlements, 1, "later").await, sending);
    assert_eq!(node.settlements.find(key(1)).await.unwrap(), sending);
    assert_eq!(find(&*node.settlements, 2, "later").await, None);
    assert_eq!(node.settlements.find(key(2)).await.unwrap(), Some(found(2, "later")));
    // What becomes of our own transaction does not matter to it any more.
    node.outbox.reopened(&lease, 4, NOW.plus(5)).await.unwrap();
    node.outbox.refused(&lease, 4, &refusal("refused"), NOW.plus(6)).await.unwrap();
    assert_eq!(node.settlements.find(key(2)).await.unwrap(), Some(found(2, "later")));
}

pub async fn one_of_a_thousand_findings_wins<H: Harness>() {
    let harness = H::new().await;
    let mut nodes = vec![harness.node().await];
    if H::REPLICAS {
        nodes.push(harness.node().await);
    }
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..1_000 {
        let book = Arc::clone(&nodes[number % nodes.len()].settlements);
        tasks.spawn(async move { (number, find(&*book, 1, &format!("request {number}")).await) });
    }
    let answers = tasks.join_all().await;
    let winners: Vec<_> = answers.iter().filter(|(_, existing)| existing.is_none()).collect();
    assert_eq!(winners.len(), 1);
    let expected = found(1, &format!("request {}", winners[0].0));
    assert!(answers.iter().all(|(_, existing)| existing.as_ref().is_none_or(|existing| *existing == expected)));
}
