//! No more is granted in a period than its limit says, however many ask at once, and wherever.

use std::num::NonZeroU64;
use std::sync::Arc;

use farthing_core::books::{QuotaRequest, QuotaTaken};
use farthing_core::time::UnixSeconds;

use super::{Harness, Node};

const ASKERS: u16 = 1_000;
const LIMIT: u64 = 100;
const DAY_SECONDS: u64 = 86_400;
/// A day begins.
const MIDNIGHT: UnixSeconds = UnixSeconds(DAY_SECONDS * 20_000);

fn request(counter: &str, limit: u64, now: UnixSeconds) -> QuotaRequest {
    QuotaRequest { counter: counter.to_owned(), limit, period_seconds: NonZeroU64::new(DAY_SECONDS).unwrap(), now }
}

async fn take(node: &Node, request: &QuotaRequest) -> QuotaTaken {
    node.quotas.take(request).await.unwrap()
}

pub async fn a_thousand_requests_at_once_get_exactly_what_the_limit_says<H: Harness>() {
    let harness = H::new().await;
    let mut nodes = vec![harness.node().await];
    if H::REPLICAS {
        nodes.push(harness.node().await);
    }
    let mut tasks = tokio::task::JoinSet::new();
    for asker in 0..ASKERS {
        let quotas = Arc::clone(&nodes[usize::from(asker) % nodes.len()].quotas);
        tasks.spawn(async move { quotas.take(&request("one", LIMIT, MIDNIGHT)).await.unwrap() });
    }
    let mut left: Vec<u64> =
        tasks.join_all().await.into_iter().filter(|taken| taken.is_granted).map(|taken| taken.left).collect();
    left.sort_unstable();
    // Each of them was told another number.
    assert_eq!(left, (0..LIMIT).collect::<Vec<_>>());
    let late = take(&nodes[0], &request("one", LIMIT, MIDNIGHT.plus(1))).await;
    assert_eq!(late, QuotaTaken { is_granted: false, left: 0, renews_at: MIDNIGHT.plus(DAY_SECONDS) });
}

pub async fn a_new_period_begins_anew<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let at = |seconds| request("one", 1, MIDNIGHT.plus(seconds));
    assert!(take(&node, &at(0)).await.is_granted);
    assert!(!take(&node, &at(DAY_SECONDS - 1)).await.is_granted);
    let next = take(&node, &at(DAY_SECONDS)).await;
    assert_eq!(next, QuotaTaken { is_granted: true, left: 0, renews_at: MIDNIGHT.plus(2 * DAY_SECONDS) });
    assert!(!take(&node, &at(DAY_SECONDS)).await.is_granted);
    // Long after, others have made the book forget it, and it begins anew all the same.
    for number in 0..20 {
        assert!(take(&node, &request(&format!("other {number}"), 1, MIDNIGHT.plus(9 * DAY_SECONDS))).await.is_granted);
    }
    assert!(take(&node, &at(9 * DAY_SECONDS)).await.is_granted);
    assert!(!take(&node, &at(9 * DAY_SECONDS)).await.is_granted);
}

pub async fn a_clock_that_is_behind_takes_nothing<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    assert!(take(&node, &request("one", 2, MIDNIGHT)).await.is_granted);
    let behind = take(&node, &request("one", 2, MIDNIGHT.minus(1))).await;
    assert_eq!((behind.is_granted, behind.renews_at), (false, MIDNIGHT.plus(DAY_SECONDS)));
    assert!(take(&node, &request("one", 2, MIDNIGHT)).await.is_granted);
}

pub async fn counters_are_kept_apart<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    for counter in ["", "a", "A", "a\0b", "é", &"a".repeat(10_000)] {
        assert!(take(&node, &request(counter, 1, MIDNIGHT)).await.is_granted, "{counter:?}");
        assert!(!take(&node, &request(counter, 1, MIDNIGHT)).await.is_granted, "{counter:?}");
    }
}

pub async fn a_limit_of_nothing_grants_nothing<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    assert!(!take(&node, &request("one", 0, MIDNIGHT)).await.is_granted);
    // A limit that is lowered holds at once.
    assert!(take(&node, &request("two", 5, MIDNIGHT)).await.is_granted);
    assert!(!take(&node, &request("two", 1, MIDNIGHT)).await.is_granted);
    assert!(take(&node, &request("two", u64::MAX, MIDNIGHT)).await.is_granted);
}

pub async fn what_was_taken_survives_a_kill<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    assert!(take(&node, &request("one", 1, MIDNIGHT)).await.is_granted);
    harness.kill(node).await;
    assert!(!take(&harness.node().await, &request("one", 1, MIDNIGHT)).await.is_granted);
}
