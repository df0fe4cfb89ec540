//! Limits hold, whoever asks.

use std::sync::Arc;

use farthing_core::amount::Amount;
use farthing_core::books::{Reservation, ReserveError, Spend, SpendLimit, Usd};

use super::sample::*;
use super::{Harness, Node};

fn spend(usd: &str) -> Spend {
    Spend { usd: usd.parse().unwrap(), resource: "https://api.example/report".to_owned() }
}

fn limits(texts: &[&str]) -> Vec<SpendLimit> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

async fn spend_on(nodes: &[Node]) -> usize {
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..100_usize {
        let ledger = Arc::clone(&nodes[number % nodes.len()].ledger);
        tasks.spawn(async move {
            match ledger.reserve(&spend("$0.30"), &limits(&["$1 per payment", "$5 per day", "$9 in total"]), NOW).await {
                Ok(_) => true,
                Err(ReserveError::OverLimit { .. }) => false,
                Err(ReserveError::Book(error)) => panic!("{error:?}"),
            }
        });
    }
    tasks.join_all().await.into_iter().filter(|reserved| *reserved).count()
}

pub async fn limits_hold_among_concurrent_reserves<H: Harness>() {
    let harness = H::new().await;
    assert_eq!(spend_on(&[harness.node().await]).await, 16, "16 times 0.30 is 4.80 of 5");
}

pub async fn limits_hold_across_handles<H: Harness>() {
    let harness = H::new().await;
    let mut nodes = vec![harness.node().await];
    if H::REPLICAS {
        nodes.push(harness.node().await);
    }
    assert_eq!(spend_on(&nodes).await, 16, "16 times 0.30 is 4.80 of 5");
}

pub async fn a_window_forgets<H: Harness>() {
    let harness = H::new().await;
    let ledger = harness.node().await.ledger;
    let per_hour = limits(&["$1 per hour", "$1.50 in total"]);
    let _ = ledger.reserve(&spend("$0.80"), &per_hour, NOW).await.unwrap();
    let error = ledger.allows(&spend("$0.30"), &per_hour, NOW.plus(3_599)).await.unwrap_err();
    match error {
        ReserveError::OverLimit { limit, asked, spent } => {
            assert_eq!((limit, asked.to_string(), spent.to_string()), (per_hour[0], "$0.3".to_owned(), "$0.8".to_owned()));
        }
        ReserveError::Book(error) => panic!("{error:?}"),
    }
    ledger.allows(&spend("$0.30"), &per_hour, NOW.plus(3_600)).await.unwrap();
    let _ = ledger.reserve(&spend("$0.30"), &per_hour, NOW.plus(3_600)).await.unwrap();
    // The total does not forget.
    assert!(matches!(
        ledger.reserve(&spend("$0.50"), &per_hour, NOW.plus(90_000)).await,
        Err(ReserveError::OverLimit { limit, .. }) if limit == per_hour[1]
    ));
}

pub async fn released_is_free_and_committed_is_not<H: Harness>() {
    for limit in [limits(&["$1 per day"]), limits(&["$1 in total"])] {
        let harness = H::new().await;
        let ledger = harness.node().await.ledger;
        let first = ledger.reserve(&spend("$0.80"), &limit, NOW).await.unwrap();
        assert!(ledger.allows(&spend("$0.30"), &limit, NOW).await.is_err());
        assert!(ledger.has_paid("https://api.example/report").await.unwrap(), "what is promised may be paid");
        ledger.release(first).await.unwrap();
        ledger.release(first).await.unwrap();
        assert!(!ledger.has_paid("https://api.example/report").await.unwrap());
        let second = ledger.reserve(&spend("$0.80"), &limit, NOW).await.unwrap();
        ledger.commit(second, Some(transaction("one"))).await.unwrap();
        assert!(ledger.has_paid("https://api.example/report").await.unwrap());
        assert!(!ledger.has_paid("https://api.example/reports").await.unwrap());
        ledger.commit(second, None).await.unwrap();
        assert!(ledger.release(second).await.is_err());
        assert!(ledger.allows(&spend("$0.30"), &limit, NOW).await.is_err());
        ledger.allows(&spend("$0.20"), &limit, NOW).await.unwrap();
    }
}

pub async fn a_resource_is_known_by_its_whole_name_however_long<H: Harness>() {
    let harness = H::new().await;
    let ledger = harness.node().await.ledger;
    // Hardly to be compressed, so that no database makes it short.
    let mut state = 1_u64;
    let mut letter = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'0' + u8::try_from(state >> 58).unwrap())
    };
    let long: String = (0..20_000).map(|_| letter()).collect();
    let spend = Spend { resource: long.clone(), ..spend("$0.10") };
    let _ = ledger.reserve(&spend, &[], NOW).await.unwrap();
    assert!(ledger.has_paid(&long).await.unwrap());
    assert!(!ledger.has_paid(&long[..19_999]).await.unwrap() && !ledger.has_paid(&long[..256]).await.unwrap());
}

pub async fn a_late_commit_counts_again<H: Harness>() {
    let harness = H::new().await;
    let ledger = harness.node().await.ledger;
    let limit = limits(&["$1 per day", "$1 in total"]);
    let reservation = ledger.reserve(&spend("$0.80"), &limit, NOW).await.unwrap();
    ledger.release(reservation).await.unwrap();
    ledger.commit(reservation, Some(transaction("after-all"))).await.unwrap();
    for one in limit {
        assert!(ledger.allows(&spend("$0.30"), &[one], NOW).await.is_err());
        ledger.allows(&spend("$0.20"), &[one], NOW).await.unwrap();
    }
}

pub async fn amounts_are_exact_to_the_last_unit<H: Harness>() {
    let harness = H::new().await;
    let ledger = harness.node().await.ledger;
    let limit = limits(&["$0.3 in total", "$0.3 per day"]);
    for _ in 0..3 {
        let _ = ledger.reserve(&spend("$0.1"), &limit, NOW).await.unwrap();
    }
    assert!(ledger.allows(&spend("$0.000000000000000001"), &limit, NOW).await.is_err());
    // Sums of any size neither wrap nor fail.
    let most = Spend { usd: Usd::from_units(Amount::MAX), resource: String::new() };
    for _ in 0..3 {
        let largest = ledger.reserve(&most, &[], NOW).await.unwrap();
        let again = ledger.reserve(&most, &[], NOW).await.unwrap();
        ledger.release(largest).await.unwrap();
        ledger.release(again).await.unwrap();
    }
    ledger.allows(&spend("$0.1"), &limits(&["$0.4 in total", "$0.4 per day"]), NOW).await.unwrap();
}

pub async fn what_is_unknown_is_an_error<H: Harness>() {
    let harness = H::new().await;
    let ledger = harness.node().await.ledger;
    assert!(ledger.commit(Reservation(999), None).await.is_err());
    assert!(ledger.release(Reservation(999)).await.is_err());
    assert!(ledger.release(Reservation(u64::MAX)).await.is_err());
}
