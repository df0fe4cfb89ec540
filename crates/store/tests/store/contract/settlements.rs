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
    die(&*node.settlements, 2, "one", "reverted", NOW.plus(1)).await;
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
    let book = &*node.settlements;
    let lease = lease(&*node.outbox, "0xA").await;
    send(&*node.outbox, &lease, 4, "one", &[payment(1), payment(2)]).await;
    die(book, 1, "one", "reverted", NOW.plus(1)).await;
    die(book, 1, "one", "again", NOW.plus(2)).await;
    let entry = book.find(key(1)).await.unwrap().unwrap();
    assert_eq!((entry.state, entry.changed_at), (SettlementState::Dead(refusal("reverted")), NOW.plus(1)));
    assert_eq!(entry.transaction, transaction("one"));
    let settled = settlement(2, &transaction("one"));
    book.settled(key(2), &settled, NOW.plus(1)).await.unwrap();
    assert!(!book.dead(key(2), &transaction("one"), &refusal("too late"), NOW.plus(2)).await.unwrap());
    assert_eq!(book.find(key(2)).await.unwrap().unwrap().state, SettlementState::Settled(settled));
}

pub async fn who_judged_one_transaction_says_nothing_of_the_next<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let book = &*node.settlements;
    let lease = lease(&*node.outbox, "0xA").await;
    send(&*node.outbox, &lease, 1, "one", &[payment(1), payment(2)]).await;
    die(book, 1, "one", "reverted", NOW.plus(1)).await;
    send(&*node.outbox, &lease, 2, "two", &[payment(1)]).await;
    replace(&*node.outbox, &lease, 1, "bumped").await;
    let before = [book.find(key(1)).await.unwrap(), book.find(key(2)).await.unwrap()];
    for number in [1, 2] {
        assert!(!book.dead(key(number), &transaction("one"), &refusal("late"), NOW.plus(9)).await.unwrap());
    }
    assert_eq!([book.find(key(1)).await.unwrap(), book.find(key(2)).await.unwrap()], before);
    die(book, 1, "two", "reverted too", NOW.plus(9)).await;
    die(book, 2, "bumped", "reverted too", NOW.plus(9)).await;
}

pub async fn what_was_never_sent_is_not_made_up<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    node.settlements.settled(key(1), &settlement(1, &transaction("one")), NOW).await.unwrap();
    assert!(!node.settlements.dead(key(1), &transaction("one"), &refusal("x"), NOW).await.unwrap());
    assert_eq!(node.settlements.find(key(1)).await.unwrap(), None);
    assert_eq!(node.outbox.landing(key(1)).await.unwrap(), None);
}

pub async fn settled_again_by_the_same_transaction_changes_nothing<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let book = &*node.settlements;
    assert_eq!(find(book, 1, "first").await, None);
    book.finished(&found(1, "first")).await.unwrap();
    book.settled(key(1), &settlement(1, &transaction("theirs")), NOW.plus(9)).await.unwrap();
    assert_eq!(book.find(key(1)).await.unwrap(), Some(found(1, "first")));
    assert_eq!(to_check(book, UnixSeconds(u64::MAX)).await, []);
}

pub async fn what_nobody_follows_is_to_be_checked_until_it_is_final<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let (book, outbox) = (&*node.settlements, &*node.outbox);
    let lease = lease(outbox, "0xA").await;
    send(outbox, &lease, 1, "ours", &[payment(1), payment(2), payment(3)]).await;
    replace(outbox, &lease, 1, "bumped").await;
    // Ours is followed; somebody else's is not, whether it was found or seen later.
    for (number, by) in [(1, "ours"), (2, "theirs")] {
        book.settled(key(number), &settlement(number, &transaction(by)), NOW.plus(3)).await.unwrap();
    }
    assert_eq!(find(book, 4, "first").await, None);
    assert_eq!(to_check(book, NOW.plus(2)).await, []);
    assert_eq!(to_check(book, NOW.plus(3)).await, [key(2), key(4)]);
    for number in [1, 2, 4] {
        let entry = book.find(key(number)).await.unwrap().unwrap();
        book.finished(&entry).await.unwrap();
        assert_eq!(book.find(key(number)).await.unwrap(), Some(entry));
    }
    assert_eq!(to_check(book, UnixSeconds(u64::MAX)).await, []);
    // A dead one is checked from its expiry on, unless it is sent again.
    die(book, 3, "bumped", "reverted", NOW.plus(4)).await;
    assert_eq!(to_check(book, NOW.plus(599)).await, []);
    assert_eq!(to_check(book, NOW.plus(600)).await, [key(3)]);
    let judged = book.find(key(3)).await.unwrap().unwrap();
    send(outbox, &lease, 2, "again", &[payment(3)]).await;
    assert_eq!(to_check(book, NOW.plus(600)).await, []);
    die(book, 3, "again", "reverted", NOW.plus(5)).await;
    // What was judged then is another transaction.
    book.finished(&judged).await.unwrap();
    assert_eq!(to_check(book, NOW.plus(600)).await, [key(3)]);
    book.finished(&book.find(key(3)).await.unwrap().unwrap()).await.unwrap();
    assert_eq!(to_check(book, NOW.plus(600)).await, []);
}

pub async fn what_was_refused_is_to_be_checked_when_it_has_expired<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let lease = lease(&*node.outbox, "0xA").await;
    let mut endless = payment(2);
    endless.record.expires_at = UnixSeconds(u64::MAX);
    send(&*node.outbox, &lease, 1, "one", &[payment(1), endless]).await;
    node.outbox.refused(&lease, 1, &refusal("no"), NOW.plus(1)).await.unwrap();
    assert_eq!(to_check(&*node.settlements, NOW.plus(599)).await, []);
    assert_eq!(to_check(&*node.settlements, NOW.plus(600)).await, [key(1)]);
}

pub async fn a_settlement_that_vanished_is_open_again<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let book = &*node.settlements;
    assert_eq!(find(book, 1, "first").await, None);
    book.undone(&found(1, "first"), NOW.plus(7)).await.unwrap();
    let open = SettlementEntry {
        state: SettlementState::Sending(transaction("theirs")),
        changed_at: NOW.plus(7),
        ..found(1, "first")
    };
    assert_eq!(book.find(key(1)).await.unwrap(), Some(open));
    assert_eq!(to_check(book, UnixSeconds(u64::MAX)).await, []);
    let another = settlement(1, &transaction("another"));
    book.settled(key(1), &another, NOW.plus(8)).await.unwrap();
    // Whoever judged the first one says nothing of this one, nor of what is final.
    book.undone(&found(1, "first"), NOW.plus(9)).await.unwrap();
    let judged = book.find(key(1)).await.unwrap().unwrap();
    book.finished(&judged).await.unwrap();
    book.undone(&judged, NOW.plus(9)).await.unwrap();
    assert_eq!(book.find(key(1)).await.unwrap().unwrap().state, SettlementState::Settled(another));
}

pub async fn what_the_outbox_follows_is_not_undone_by_others<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let book = &*node.settlements;
    let lease = lease(&*node.outbox, "0xA").await;
    send(&*node.outbox, &lease, 1, "one", &[payment(1), payment(2)]).await;
    book.settled(key(1), &settlement(1, &transaction("one")), NOW.plus(1)).await.unwrap();
    die(book, 2, "one", "reverted", NOW.plus(1)).await;
    for number in [1, 2] {
        let judged = book.find(key(number)).await.unwrap().unwrap();
        book.undone(&judged, NOW.plus(2)).await.unwrap();
        assert_eq!(book.find(key(number)).await.unwrap(), Some(judged));
    }
}

pub async fn closed_leaves_to_be_checked_what_did_not_land<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let (book, outbox) = (&*node.settlements, &*node.outbox);
    let lease = lease(outbox, "0xA").await;
    for sequence in [1_u16, 2, 3] {
        let [name, bumped] = ["one", "bumped"].map(|name| format!("{name}-{sequence}"));
        send(outbox, &lease, sequence.into(), &name, &[payment(sequence)]).await;
        replace(outbox, &lease, sequence.into(), &bumped).await;
        // Read before the block of the first one vanished, and written after that.
        book.settled(key(sequence), &settlement(sequence, &transaction(&name)), NOW.plus(2)).await.unwrap();
    }
    outbox.landed(&lease, 1, &landing(&transaction("one-1"), 9)).await.unwrap();
    outbox.landed(&lease, 2, &landing(&transaction("bumped-2"), 9)).await.unwrap();
    assert_eq!(to_check(book, UnixSeconds(u64::MAX)).await, []);
    for sequence in [1, 2, 3] {
        outbox.closed(&lease, sequence).await.unwrap();
    }
    assert_eq!(to_check(book, NOW.plus(2)).await, [key(2), key(3)]);
    // Written after it was closed, for nobody watches it any more.
    send(outbox, &lease, 4, "late", &[payment(4)]).await;
    outbox.closed(&lease, 4).await.unwrap();
    book.settled(key(4), &settlement(4, &transaction("late")), NOW.plus(2)).await.unwrap();
    assert_eq!(to_check(book, NOW.plus(2)).await, [key(2), key(3), key(4)]);
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
    assert!(node.settlements.dead(key(1), &transaction("one"), &dead, NOW).await.unwrap());
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
    die(&*node.settlements, 2, "ours", "reverted", NOW.plus(1)).await;
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
