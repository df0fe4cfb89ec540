//! One payment buys one request.

use std::sync::Arc;

use farthing_core::amount::Amount;
use farthing_core::books::{
    Answered, ClaimId, Deliveries, Delivery, DeliveryClaim, Fingerprint, KEEP_EXPIRED_SECONDS, Naming, Owed, Presented,
    Receipt, Standing, StoredAnswer,
};
use farthing_core::time::UnixSeconds;

use super::purchases::purchase;
use super::sample::*;
use super::{Harness, Node};

const COPIES: u16 = 1_000;
pub const DAY_SECONDS: u64 = 24 * 60 * 60;
/// As large as servers keep an answer.
const LONG_BYTES: usize = 1024 * 1024;

/// A payment that never expires, for a request.
pub fn presented(number: u16, text: &str) -> Presented {
    Presented { key: key(number), request: Fingerprint(text.to_owned()), expires_at: None, now: NOW }
}

pub async fn claim(node: &Node, number: u16, text: &str) -> DeliveryClaim {
    node.deliveries.claim(&presented(number, text)).await.unwrap()
}

/// The claim of a payment that must be had, as a new one or again.
pub fn won(claim: &DeliveryClaim, is_new: bool) -> ClaimId {
    match claim {
        DeliveryClaim::New(id) if is_new => *id,
        DeliveryClaim::Resumed(id, _) if !is_new => *id,
        other => panic!("it is {other:?}"),
    }
}

/// What is said of every settlement here.
pub fn receipt() -> Receipt {
    Receipt { transaction: transaction("one"), settlement: "what the buyer is told".to_owned() }
}

fn receipt_of(settlement: &str) -> Receipt {
    Receipt { settlement: settlement.to_owned(), ..receipt() }
}

/// Serves a payment of seven units.
pub async fn sold_for_seven(
    deliveries: &dyn Deliveries,
    id: ClaimId,
    receipt: &Receipt,
    answer: Option<&StoredAnswer>,
) -> Standing {
    deliveries.served(id, &charged(receipt, &bill(Amount::from(7))), answer).await.unwrap()
}

pub async fn win(node: &Node, number: u16, text: &str) -> ClaimId {
    won(&claim(node, number, text).await, true)
}

pub async fn resume(node: &Node, number: u16, text: &str) -> ClaimId {
    won(&claim(node, number, text).await, false)
}

pub async fn settling(node: &Node, id: ClaimId) -> Standing {
    node.deliveries.settling(id, &bill(Amount::from(7))).await.unwrap()
}

pub async fn served(node: &Node, id: ClaimId) -> Standing {
    sold_for_seven(&*node.deliveries, id, &receipt(), None).await
}

pub async fn unsettled(node: &Node, id: ClaimId) -> Standing {
    node.deliveries.unsettled(id).await.unwrap()
}

pub async fn cancel(node: &Node, id: ClaimId) -> Standing {
    node.deliveries.cancel(id).await.unwrap()
}

async fn claims(nodes: &[Node]) -> usize {
    let mut tasks = tokio::task::JoinSet::new();
    for copy in 0..COPIES {
        let deliveries = Arc::clone(&nodes[usize::from(copy) % nodes.len()].deliveries);
        tasks.spawn(async move { deliveries.claim(&presented(1, &format!("copy {copy}"))).await.unwrap() });
    }
    let answers = tasks.join_all().await;
    let is_new = |claim: &&DeliveryClaim| matches!(claim, DeliveryClaim::New(_));
    assert!(answers.iter().all(|claim| is_new(&claim) || *claim == DeliveryClaim::Taken(Delivery::Claimed)));
    answers.iter().filter(is_new).count()
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

pub async fn one_of_many_resumes<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let id = win(&node, 1, "one").await;
    assert_eq!((settling(&node, id).await, unsettled(&node, id).await), (Standing::Held, Standing::Held));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..COPIES {
        let deliveries = Arc::clone(&node.deliveries);
        tasks.spawn(async move { deliveries.claim(&presented(1, "one")).await.unwrap() });
    }
    let answers = tasks.join_all().await;
    let resumed: Vec<_> = answers.iter().filter(|claim| matches!(claim, DeliveryClaim::Resumed(..))).collect();
    assert_eq!(resumed.len(), 1);
    let others = answers.iter().filter(|claim| **claim == DeliveryClaim::Taken(Delivery::Settling)).count();
    assert_eq!(others, usize::from(COPIES) - 1);
    assert_eq!(served(&node, id).await, Standing::Lost);
    assert_eq!(served(&node, won(resumed[0], false)).await, Standing::Held);
}

pub async fn only_the_same_request_resumes<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let id = win(&node, 1, "one").await;
    assert_eq!(settling(&node, id).await, Standing::Held);
    assert_eq!(claim(&node, 1, "one").await, DeliveryClaim::Taken(Delivery::Settling));
    assert_eq!(unsettled(&node, id).await, Standing::Held);
    assert_eq!(claim(&node, 1, "other").await, DeliveryClaim::Taken(Delivery::Unsettled));
    resume(&node, 1, "one").await;
    assert_eq!(claim(&node, 1, "one").await, DeliveryClaim::Taken(Delivery::Settling));
}

pub async fn a_served_payment_is_used_up<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let id = win(&node, 1, "one").await;
    assert_eq!(served(&node, id).await, Standing::Lost, "nothing was to be settled");
    assert_eq!((settling(&node, id).await, served(&node, id).await), (Standing::Held, Standing::Held));
    let taken = DeliveryClaim::Taken(Delivery::Served(transaction("one")));
    assert_eq!(claim(&node, 1, "one").await, taken);
    assert_eq!((settling(&node, id).await, cancel(&node, id).await), (Standing::Lost, Standing::Lost));
    harness.kill(node).await;
    let node = harness.node().await;
    assert_eq!(claim(&node, 1, "one").await, taken);
}

pub async fn what_was_served_and_not_delivered_is_resumed_once_its_claim_says_so<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let first = win(&node, 1, "one").await;
    assert_eq!((settling(&node, first).await, served(&node, first).await), (Standing::Held, Standing::Held));
    assert_eq!(unsettled(&node, first).await, Standing::Held);
    assert_eq!(claim(&node, 1, "other").await, DeliveryClaim::Taken(Delivery::Unsettled));
    let second = resume(&node, 1, "one").await;
    assert_eq!(served(&node, second).await, Standing::Held);
    assert_eq!(unsettled(&node, first).await, Standing::Lost, "it was delivered by another claim");
    assert_eq!(claim(&node, 1, "one").await, DeliveryClaim::Taken(Delivery::Served(transaction("one"))));
}

pub async fn cancelled_is_free_again<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let id = win(&node, 1, "one").await;
    assert_eq!(cancel(&node, id).await, Standing::Held);
    let id = win(&node, 1, "other").await;
    assert_eq!((settling(&node, id).await, cancel(&node, id).await), (Standing::Held, Standing::Held));
    let id = win(&node, 1, "one").await;
    assert_eq!((settling(&node, id).await, unsettled(&node, id).await), (Standing::Held, Standing::Held));
    assert_eq!((cancel(&node, id).await, settling(&node, id).await), (Standing::Lost, Standing::Lost));
}

/// The request that was first has lost its payment to another one, of the same process.
pub async fn an_older_claim_writes_nothing<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let first = win(&node, 1, "one").await;
    assert_eq!(cancel(&node, first).await, Standing::Held);
    let second = win(&node, 1, "other").await;
    assert!(second.number > first.number && second.key == first.key);
    for state in ["claimed", "settling", "served"] {
        let outcomes = [settling(&node, first).await, served(&node, first).await, unsettled(&node, first).await];
        assert!(outcomes.iter().all(|standing| *standing == Standing::Lost), "{state}");
        assert_eq!(cancel(&node, first).await, Standing::Lost, "{state}");
        let next = if state == "claimed" { settling(&node, second).await } else { Standing::Held };
        assert_eq!(next, Standing::Held);
        if state == "settling" {
            assert_eq!(served(&node, second).await, Standing::Held);
        }
    }
}

pub async fn nobody_advances_what_was_not_claimed<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let nobodys = ClaimId { key: key(1), number: 1 };
    assert_eq!((settling(&node, nobodys).await, served(&node, nobodys).await), (Standing::Lost, Standing::Lost));
    assert_eq!((unsettled(&node, nobodys).await, cancel(&node, nobodys).await), (Standing::Lost, Standing::Lost));
    win(&node, 1, "one").await;
}

/// Leaves payments 1 (claimed), 2 (settling) and 3 (unsettled) behind.
async fn leave_behind(node: &Node) -> Vec<ClaimId> {
    let mut ids = Vec::new();
    for number in [1, 2, 3] {
        ids.push(win(node, number, "one").await);
    }
    assert_eq!((settling(node, ids[1]).await, settling(node, ids[2]).await), (Standing::Held, Standing::Held));
    assert_eq!(unsettled(node, ids[2]).await, Standing::Held);
    ids
}

async fn take_over(node: &Node) -> Vec<ClaimId> {
    let mut ids = vec![win(node, 1, "other").await];
    for number in [2, 3] {
        assert_eq!(claim(node, number, "other").await, DeliveryClaim::Taken(Delivery::Unsettled));
        ids.push(resume(node, number, "one").await);
        assert_eq!(claim(node, number, "one").await, DeliveryClaim::Taken(Delivery::Settling));
    }
    ids
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
    let lost = leave_behind(&first).await;
    if !H::REPLICAS {
        return;
    }
    let second = harness.node().await;
    harness.give_up_on(&first).await;
    let ids = take_over(&second).await;
    for id in lost {
        assert_eq!((settling(&first, id).await, served(&first, id).await), (Standing::Lost, Standing::Lost));
        assert_eq!((unsettled(&first, id).await, cancel(&first, id).await), (Standing::Lost, Standing::Lost));
    }
    assert_eq!((settling(&second, ids[0]).await, served(&second, ids[1]).await), (Standing::Held, Standing::Held));
}

/// As many claims as it takes until a book must have looked for what it can forget.
pub async fn claim_others(node: &Node, now: UnixSeconds) {
    for number in 100..164 {
        let other = Presented { now, ..presented(number, "other") };
        let id = won(&node.deliveries.claim(&other).await.unwrap(), true);
        assert_eq!(cancel(node, id).await, Standing::Held);
    }
}

pub async fn what_expired_long_ago_is_forgotten_and_nothing_else<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    for (number, expires_at) in
        [(1, Some(NOW)), (2, Some(NOW)), (3, Some(NOW.plus(1))), (4, None), (5, Some(UnixSeconds(u64::MAX)))]
    {
        let presented = Presented { expires_at, ..presented(number, "one") };
        let id = won(&node.deliveries.claim(&presented).await.unwrap(), true);
        assert_eq!(settling(&node, id).await, Standing::Held);
        let ended = if number == 2 { unsettled(&node, id).await } else { served(&node, id).await };
        assert_eq!(ended, Standing::Held);
    }
    let is_known = async |number: u16| {
        let found = claim(&node, number, "auditor").await;
        if let DeliveryClaim::New(id) = found {
            assert_eq!(cancel(&node, id).await, Standing::Held);
        }
        matches!(found, DeliveryClaim::Taken(_))
    };
    claim_others(&node, NOW.plus(KEEP_EXPIRED_SECONDS)).await;
    for number in 1..=5 {
        assert!(is_known(number).await, "{number}");
    }
    claim_others(&node, NOW.plus(KEEP_EXPIRED_SECONDS + 1)).await;
    for (number, known) in [(1, false), (2, false), (3, true), (4, true), (5, true)] {
        assert_eq!(is_known(number).await, known, "{number}");
    }
}

/// A claim that goes on beyond its time in the book changes nothing that came after it.
pub async fn a_forgotten_claim_writes_nothing<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let expiring = Presented { expires_at: Some(NOW), ..presented(1, "one") };
    let id = won(&node.deliveries.claim(&expiring).await.unwrap(), true);
    assert_eq!(settling(&node, id).await, Standing::Held);
    claim_others(&node, NOW.plus(KEEP_EXPIRED_SECONDS + 1)).await;
    assert_eq!((served(&node, id).await, unsettled(&node, id).await), (Standing::Lost, Standing::Lost));
    win(&node, 1, "other").await;
    assert_eq!(cancel(&node, id).await, Standing::Lost);
}

/// An answer that is kept for a day.
pub fn answer(body: &[u8]) -> StoredAnswer {
    StoredAnswer { head: b"{}".as_slice().into(), body: body.into(), until: NOW.plus(DAY_SECONDS) }
}

/// A payment that was served with this answer.
async fn serve(node: &Node, number: u16, answer: &StoredAnswer) -> ClaimId {
    let id = win(node, number, "one").await;
    assert_eq!(settling(node, id).await, Standing::Held);
    assert_eq!(sold_for_seven(&*node.deliveries, id, &receipt(), Some(answer)).await, Standing::Held);
    id
}

async fn claim_at(node: &Node, number: u16, now: UnixSeconds) -> DeliveryClaim {
    node.deliveries.claim(&Presented { now, ..presented(number, "one") }).await.unwrap()
}

fn answered(answer: &StoredAnswer, is_left_behind: bool) -> DeliveryClaim {
    DeliveryClaim::Answered(Box::new(Answered { receipt: receipt(), answer: answer.clone(), is_left_behind }))
}

fn owed(claim: &DeliveryClaim) -> &Owed {
    match claim {
        DeliveryClaim::Resumed(_, owed) => owed,
        other => panic!("it is {other:?}"),
    }
}

pub async fn an_answer_is_given_again_to_its_own_request_until_its_time_is_past<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let bytes: Vec<u8> = (0..=255).cycle().take(LONG_BYTES).collect();
    for (number, body) in [(1, bytes.as_slice()), (2, b"")] {
        let answer = answer(body);
        let id = serve(&node, number, &answer).await;
        for now in [NOW, NOW.plus(DAY_SECONDS - 1)] {
            assert_eq!(claim_at(&node, number, now).await, answered(&answer, false));
        }
        let taken = DeliveryClaim::Taken(Delivery::Served(receipt().transaction));
        assert_eq!(claim(&node, number, "other").await, taken);
        assert_eq!(claim_at(&node, number, NOW.plus(DAY_SECONDS)).await, taken);
        assert_eq!((settling(&node, id).await, cancel(&node, id).await), (Standing::Lost, Standing::Lost));
    }
}

pub async fn an_answer_outlives_the_node_that_made_it<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let answer = answer(b"the report");
    serve(&node, 1, &answer).await;
    harness.kill(node).await;
    let node = harness.node().await;
    assert_eq!(claim(&node, 1, "one").await, answered(&answer, true));
}

pub async fn answers_are_forgotten_before_their_payments<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let short = StoredAnswer { until: NOW.plus(1), ..answer(b"short") };
    serve(&node, 1, &short).await;
    serve(&node, 2, &answer(b"long")).await;
    claim_others(&node, NOW.plus(1)).await;
    // At a moment at which both would be given again, if they were there.
    assert_eq!(claim(&node, 1, "one").await, DeliveryClaim::Taken(Delivery::Served(receipt().transaction)));
    assert_eq!(claim(&node, 2, "one").await, answered(&answer(b"long"), false));
}

pub async fn answers_that_went_out_are_forgotten_and_no_others<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let body = answer(b"the report");
    let delivered = async |node: &Node, claims: &[ClaimId]| node.deliveries.delivered(claims).await.unwrap();
    let mut gone = Vec::new();
    for number in [1, 2, 3] {
        gone.push(serve(&node, number, &body).await);
    }
    serve(&node, 4, &body).await;
    // Given back, for nobody took it; and taken up again since.
    for (number, id) in [(2, gone[1]), (3, gone[2])] {
        assert_eq!(unsettled(&node, id).await, Standing::Held, "{number}");
    }
    let newer = resume(&node, 3, "one").await;
    assert_eq!(sold_for_seven(&*node.deliveries, newer, &receipt(), Some(&body)).await, Standing::Held);
    gone.push(ClaimId { key: key(5), number: newer.number + 1 });
    delivered(&node, &gone).await;
    delivered(&node, &[]).await;

    let used_up = DeliveryClaim::Taken(Delivery::Served(receipt().transaction));
    let check = async |node: &Node, is_left_behind: bool| {
        assert_eq!(claim(node, 1, "one").await, used_up);
        for number in [3, 4] {
            assert_eq!(claim(node, number, "one").await, answered(&body, is_left_behind), "{number}");
        }
    };
    check(&node, false).await;
    harness.kill(node).await;
    let node = harness.node().await;
    check(&node, true).await;
    let resumed = claim(&node, 2, "one").await;
    assert_eq!(owed(&resumed).answer, Some(body));
    delivered(&node, &[won(&resumed, false)]).await;
    assert_eq!(claim(&node, 2, "one").await, DeliveryClaim::Taken(Delivery::Settling));
    assert_eq!(served(&node, won(&resumed, false)).await, Standing::Held);
}

pub async fn who_resumes_hears_the_charge_the_settlement_and_the_answer<H: Harness>() {
    let harness = H::new().await;
    let mut node = harness.node().await;
    let big: Amount = "115792089237316195423570985008687907853269984665640564039457584007913129639935".parse().unwrap();
    let id = win(&node, 1, "one").await;
    assert_eq!(node.deliveries.settling(id, &bill(big)).await.unwrap(), Standing::Held);
    for settlement in [None, Some("settled")] {
        if let Some(settlement) = settlement {
            let id = won(&claim(&node, 1, "one").await, false);
            assert_eq!(
                node.deliveries.charged(id, &charged(&receipt_of(settlement), &bill(big))).await.unwrap(),
                Standing::Held
            );
        }
        harness.kill(node).await;
        node = harness.node().await;
        let resumed = claim(&node, 1, "one").await;
        let settlement = settlement.map(str::to_owned);
        assert_eq!(*owed(&resumed), Owed { charge: Some(big), settlement, answer: None });
        assert_eq!(unsettled(&node, won(&resumed, false)).await, Standing::Held);
    }
    let id = resume(&node, 1, "one").await;
    let answer = answer(b"the report");
    assert_eq!(sold_for_seven(&*node.deliveries, id, &receipt(), Some(&answer)).await, Standing::Held);
    assert_eq!(unsettled(&node, id).await, Standing::Held);
    // Twice, for it must survive being taken up.
    for _ in 0..2 {
        let resumed = claim(&node, 1, "one").await;
        let settlement = Some(receipt().settlement);
        assert_eq!(*owed(&resumed), Owed { charge: Some(big), settlement, answer: Some(answer.clone()) });
        assert_eq!(unsettled(&node, won(&resumed, false)).await, Standing::Held);
    }
    let late = claim_at(&node, 1, NOW.plus(DAY_SECONDS)).await;
    assert_eq!(owed(&late).answer, None, "its time is past");
}

pub async fn only_what_is_settling_is_charged<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let charged = async |id| node.deliveries.charged(id, &charged(&receipt(), &bill(Amount::from(7)))).await.unwrap();
    let id = win(&node, 1, "one").await;
    assert_eq!(charged(id).await, Standing::Lost);
    assert_eq!((settling(&node, id).await, charged(id).await), (Standing::Held, Standing::Held));
    assert_eq!((served(&node, id).await, charged(id).await), (Standing::Held, Standing::Lost));
    assert_eq!(charged(ClaimId { key: key(2), number: id.number + 1 }).await, Standing::Lost);
}

/// SQL for tables of the first version: the first payment was served, the second was being settled, and the third is gone.
/// `bytes` writes bytes in hexadecimal as a literal.
pub fn first_deliveries(bytes: impl Fn(&str) -> String) -> String {
    let rows = [(1, "'served', '0xone'"), (2, "'settling', NULL"), (3, "'claimed', NULL")]
        .map(|(number, state)| format!("({}, 0, 'one', {state})", bytes(&key(number).to_string())));
    let rows = rows.join(", ");
    format!(
        "INSERT INTO deliveries (key, node, request, state, transaction_id) VALUES {rows}; \
         DELETE FROM deliveries WHERE state = 'claimed'"
    )
}

/// What must be known of them.
pub async fn first_deliveries_are_known(deliveries: &dyn Deliveries) {
    let claim = async |number| deliveries.claim(&presented(number, "one")).await.unwrap();
    assert_eq!(claim(1).await, DeliveryClaim::Taken(Delivery::Served(transaction("one"))));
    let resumed = claim(2).await;
    assert_eq!(*owed(&resumed), Owed::default());
    assert!(won(&resumed, false).number > 3, "no number is used twice");
    let id = won(&claim(3).await, true);
    assert_eq!(deliveries.name(id, &purchase(1, "one")).await.unwrap(), Naming::Ours);
    assert_eq!(deliveries.settling(id, &bill(Amount::from(7))).await.unwrap(), Standing::Held);
    assert_eq!(sold_for_seven(deliveries, id, &receipt(), Some(&answer(b"body"))).await, Standing::Held);
    assert_eq!(claim(3).await, answered(&answer(b"body"), false));
}
