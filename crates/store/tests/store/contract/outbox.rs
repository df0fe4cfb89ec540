//! What becomes of a sequence number.

use farthing_core::books::{SettlementState, Written};
use farthing_core::time::UnixSeconds;

use super::Harness;
use super::sample::*;

pub async fn a_replacement_takes_over_the_payments<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let lease = lease(&*node.outbox, "0xA").await;
    send(&*node.outbox, &lease, 1, "one", &[payment(1), payment(2)]).await;
    die(&*node.settlements, 2, "one", "expired", NOW.plus(1)).await;
    assert_eq!(replace(&*node.outbox, &lease, 1, "bumped").await, Written::Yes);
    let entry = node.settlements.find(key(1)).await.unwrap().unwrap();
    assert_eq!(entry.state, SettlementState::Sending(transaction("bumped")));
    assert_eq!((entry.sent_at, entry.changed_at, entry.height), (NOW, NOW.plus(5), 100));
    let dead = node.settlements.find(key(2)).await.unwrap().unwrap();
    assert_eq!((dead.state, dead.transaction), (SettlementState::Dead(refusal("expired")), transaction("one")));
    let open = under_way(&*node.outbox, &lease).await;
    let both = [(transaction("one"), b"one".to_vec()), (transaction("bumped"), b"bumped".to_vec())];
    assert_eq!((open[0].transactions.as_slice(), open[0].height), (both.as_slice(), 100));
    assert_eq!(replace(&*node.outbox, &lease, 2, "nothing-there").await, Written::LeaseLost);
}

pub async fn refused_frees_the_number_and_the_payments<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let lease = lease(&*node.outbox, "0xA").await;
    send(&*node.outbox, &lease, 1, "one", &[payment(1)]).await;
    node.outbox.refused(&lease, 1, &refusal("nonce too low"), NOW.plus(1)).await.unwrap();
    assert!(under_way(&*node.outbox, &lease).await.is_empty());
    let entry = node.settlements.find(key(1)).await.unwrap().unwrap();
    assert_eq!((entry.state, entry.changed_at), (SettlementState::Dead(refusal("nonce too low")), NOW.plus(1)));
    assert_eq!(send(&*node.outbox, &lease, 1, "two", &[payment(1)]).await, Written::Yes);
}

pub async fn refused_changes_nothing_once_replaced_or_landed<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let lease = lease(&*node.outbox, "0xA").await;
    send(&*node.outbox, &lease, 1, "one", &[payment(1)]).await;
    replace(&*node.outbox, &lease, 1, "bumped").await;
    send(&*node.outbox, &lease, 2, "two", &[payment(2)]).await;
    node.outbox.landed(&lease, 2, &landing(&transaction("two"), 7)).await.unwrap();
    for sequence in [1, 2, 3] {
        node.outbox.refused(&lease, sequence, &refusal("no"), NOW).await.unwrap();
    }
    assert_eq!(under_way(&*node.outbox, &lease).await.len(), 2);
    for number in [1, 2] {
        let entry = node.settlements.find(key(number)).await.unwrap().unwrap();
        assert!(matches!(entry.state, SettlementState::Sending(_)));
    }
}

pub async fn what_landed_is_told<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let lease = lease(&*node.outbox, "0xA").await;
    send(&*node.outbox, &lease, 1, "one", &[payment(1), payment(2)]).await;
    assert_eq!(node.outbox.landing(key(1)).await.unwrap(), None);
    let mut landed = landing(&transaction("one"), 7);
    landed.fee_gwei = u64::MAX;
    landed.succeeded = false;
    node.outbox.landed(&lease, 1, &landed).await.unwrap();
    assert_eq!(under_way(&*node.outbox, &lease).await[0].landing, Some(landed.clone()));
    assert_eq!(node.outbox.landing(key(1)).await.unwrap(), Some(landed.clone()));
    node.outbox.closed(&lease, 1).await.unwrap();
    assert_eq!(node.outbox.landing(key(2)).await.unwrap(), Some(landed));
    // Somebody else's transaction moved the money: what ours came to is not what moved it.
    let other = settlement(2, &transaction("other"));
    node.settlements.settled(key(2), &other, NOW).await.unwrap();
    assert_eq!(node.outbox.landing(key(2)).await.unwrap(), None);
}

pub async fn what_landed_is_what_its_payments_name<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let lease = lease(&*node.outbox, "0xA").await;
    send(&*node.outbox, &lease, 1, "one", &[payment(1), payment(2), payment(3)]).await;
    replace(&*node.outbox, &lease, 1, "bumped").await;
    let bumped = transaction("bumped");
    let other = settlement(2, &transaction("somebody-elses"));
    node.settlements.settled(key(2), &other, NOW.plus(6)).await.unwrap();
    die(&*node.settlements, 3, "bumped", "its transfer failed", NOW.plus(6)).await;
    node.outbox.landed(&lease, 1, &landing(&transaction("one"), 7)).await.unwrap();
    // Begun before that was known.
    replace(&*node.outbox, &lease, 1, "bumped again").await;
    let [sending, settled, dead] = [1, 2, 3].map(|number| node.settlements.find(key(number)));
    let sending = sending.await.unwrap().unwrap();
    assert_eq!((sending.transaction, sending.state), (transaction("one"), SettlementState::Sending(transaction("one"))));
    assert_eq!(node.outbox.landing(key(1)).await.unwrap(), Some(landing(&transaction("one"), 7)));
    assert_eq!(settled.await.unwrap().unwrap().state, SettlementState::Settled(other));
    assert_eq!(dead.await.unwrap().unwrap().transaction, bumped, "what was judged stays what was judged");
}

pub async fn a_reorg_reopens_settled_and_dead_payments<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let lease = lease(&*node.outbox, "0xA").await;
    send(&*node.outbox, &lease, 1, "one", &[payment(1), payment(2), payment(3)]).await;
    replace(&*node.outbox, &lease, 1, "bumped").await;
    let one = transaction("one");
    node.outbox.landed(&lease, 1, &landing(&one, 7)).await.unwrap();
    node.settlements.settled(key(1), &settlement(1, &one), NOW.plus(6)).await.unwrap();
    die(&*node.settlements, 2, "one", "its transfer failed", NOW.plus(6)).await;
    let other = settlement(3, &transaction("somebody-elses"));
    node.settlements.settled(key(3), &other, NOW.plus(6)).await.unwrap();
    node.outbox.reopened(&lease, 1, NOW.plus(8)).await.unwrap();
    for number in [1, 2] {
        let entry = node.settlements.find(key(number)).await.unwrap().unwrap();
        assert_eq!(entry.state, SettlementState::Sending(transaction("bumped")));
        assert_eq!((entry.transaction, entry.changed_at), (transaction("bumped"), NOW.plus(8)));
    }
    assert_eq!(node.settlements.find(key(3)).await.unwrap().unwrap().state, SettlementState::Settled(other));
    assert_eq!(under_way(&*node.outbox, &lease).await[0].landing, None);
}

pub async fn closed_is_not_followed_any_more<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let lease = lease(&*node.outbox, "0xA").await;
    send(&*node.outbox, &lease, 1, "one", &[payment(1)]).await;
    send(&*node.outbox, &lease, 2, "two", &[payment(2)]).await;
    node.outbox.closed(&lease, 1).await.unwrap();
    node.outbox.closed(&lease, 9).await.unwrap();
    let open = under_way(&*node.outbox, &lease).await;
    assert_eq!(open.iter().map(|it| it.sequence).collect::<Vec<_>>(), [2]);
    node.outbox.reopened(&lease, 1, NOW).await.unwrap();
    node.outbox.landed(&lease, 1, &landing(&transaction("one"), 7)).await.unwrap();
    assert_eq!(node.outbox.landing(key(1)).await.unwrap(), None);
    assert_eq!(replace(&*node.outbox, &lease, 1, "late").await, Written::LeaseLost);
    // What the payment came to is the engine's matter.
    let entry = node.settlements.find(key(1)).await.unwrap().unwrap();
    assert_eq!(entry.state, SettlementState::Sending(transaction("one")));
    assert_eq!(send(&*node.outbox, &lease, 1, "after-a-reset", &[payment(3)]).await, Written::Yes);
}

pub async fn a_payment_that_was_sent_again_is_left_alone_by_its_first_transaction<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let lease = lease(&*node.outbox, "0xA").await;
    for (first, number) in [(1, 1), (2, 2), (3, 3)] {
        send(&*node.outbox, &lease, first, &format!("first-{number}"), &[payment(number)]).await;
        die(&*node.settlements, number, &format!("first-{number}"), "expired", NOW).await;
        send(&*node.outbox, &lease, first + 10, &format!("second-{number}"), &[payment(number)]).await;
    }
    node.outbox.refused(&lease, 1, &refusal("refused"), NOW).await.unwrap();
    replace(&*node.outbox, &lease, 2, "bumped").await;
    node.outbox.landed(&lease, 3, &landing(&transaction("first-3"), 7)).await.unwrap();
    node.outbox.reopened(&lease, 3, NOW).await.unwrap();
    for number in [1, 2, 3] {
        let entry = node.settlements.find(key(number)).await.unwrap().unwrap();
        assert_eq!(entry.state, SettlementState::Sending(transaction(&format!("second-{number}"))));
    }
}

pub async fn who_carries_a_payment_is_told<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let (a, b) = (lease(&*node.outbox, "0xA").await, lease(&*node.outbox, "0xB").await);
    let carrier = async |number| node.outbox.carrier(key(number)).await.unwrap();
    assert_eq!(carrier(1).await, None);
    send(&*node.outbox, &a, 4, "one", &[payment(1), payment(2)]).await;
    assert_eq!(carrier(1).await, Some((lane("0xA"), 4)));
    replace(&*node.outbox, &a, 4, "bumped").await;
    assert_eq!(carrier(2).await, Some((lane("0xA"), 4)));
    die(&*node.settlements, 1, "bumped", "overtaken", NOW).await;
    send(&*node.outbox, &b, 4, "again", &[payment(1)]).await;
    node.outbox.closed(&a, 4).await.unwrap();
    assert_eq!(carrier(1).await, Some((lane("0xB"), 4)), "what was sent last");
    assert_eq!(carrier(2).await, Some((lane("0xA"), 4)), "also when nobody follows it any more");
}

pub async fn the_last_closed_number_is_told<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let lease = lease(&*node.outbox, "0xA").await;
    let other = super::sample::lease(&*node.outbox, "0xB").await;
    let last = async |account| node.outbox.last_closed(&lane(account)).await.unwrap();
    for (number, sequence) in [(1, 3), (2, 4), (3, 5), (4, 6)] {
        send(&*node.outbox, &lease, sequence, &format!("t{sequence}"), &[payment(number)]).await;
    }
    send(&*node.outbox, &other, 9, "other-lane", &[payment(50)]).await;
    assert_eq!(last("0xA").await, None, "nothing is final yet");
    for sequence in [4, 3] {
        node.outbox.closed(&lease, sequence).await.unwrap();
    }
    node.outbox.refused(&lease, 6, &refusal("no"), NOW).await.unwrap();
    assert_eq!(last("0xA").await, Some(4));
    assert_eq!((last("0xB").await, last("0xC").await), (None, None));
}

pub async fn under_way_is_read_page_by_page<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let lease = lease(&*node.outbox, "0xA").await;
    for number in [2, 3, 5, 8] {
        send(&*node.outbox, &lease, number.into(), &format!("number-{number}"), &[payment(number)]).await;
    }
    let whole = under_way(&*node.outbox, &lease).await;
    for (from, limit, expected) in [(0, 3, 0..3), (3, 2, 1..3), (4, 9, 2..4), (9, 9, 4..4), (0, 0, 0..0), (u64::MAX, 9, 4..4)] {
        let page = node.outbox.under_way(&lease, from, limit).await.unwrap();
        assert_eq!(page.as_deref(), Some(&whole[expected]), "{limit} from {from} on");
    }
}

pub async fn under_way_is_in_the_order_of_the_sequence<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let lease = lease(&*node.outbox, "0xA").await;
    let other = super::sample::lease(&*node.outbox, "0xB").await;
    send(&*node.outbox, &other, 5, "other-lane", &[payment(50)]).await;
    for (sequence, number) in [(30, 1), (4, 2), (200, 3)] {
        send(&*node.outbox, &lease, sequence, &format!("t{sequence}"), &[payment(number)]).await;
    }
    let open = under_way(&*node.outbox, &lease).await;
    assert_eq!(open.iter().map(|it| it.sequence).collect::<Vec<_>>(), [4, 30, 200]);
}

pub async fn under_way_runs_out_with_the_last_of_its_payments<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let lease = lease(&*node.outbox, "0xA").await;
    let expiring = |number: u16, at: u64| {
        let mut payment = payment(number);
        payment.record.expires_at = UnixSeconds(at);
        payment
    };
    send(&*node.outbox, &lease, 1, "one", &[expiring(1, 70), expiring(2, 90), expiring(3, 80)]).await;
    send(&*node.outbox, &lease, 2, "two", &[]).await;
    send(&*node.outbox, &lease, 3, "three", &[expiring(4, u64::MAX), expiring(5, 5)]).await;
    replace(&*node.outbox, &lease, 1, "bumped").await;
    let open = under_way(&*node.outbox, &lease).await;
    let expiries: Vec<_> = open.iter().map(|it| it.expires_at).collect();
    assert_eq!(expiries, [Some(UnixSeconds(90)), None, Some(UnixSeconds(u64::MAX))]);
}
