//! The life of one payment.

use farthing_core::amount::Amount;
use farthing_core::books::{Fingerprint, SettlementEntry, SettlementState};
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
