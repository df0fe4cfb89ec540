//! A nonce is good once, and what was paid for stays open to whoever paid.

use std::sync::Arc;

use farthing_core::books::{Grant, KEEP_USED_NONCE_SECONDS, MAX_RESOURCE_BYTES, Reach, Visit};
use farthing_core::time::UnixSeconds;

use super::sample::*;
use super::{Harness, Node};

const COPIES: u16 = 1_000;
const LIFE_SECONDS: u64 = 300;
const PAYER: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
const NETWORK: &str = "eip155:84532";

fn grant(resource: &str, until: Option<UnixSeconds>) -> Grant {
    let (network, payer) = (NETWORK.parse().unwrap(), PAYER.parse().unwrap());
    Grant { resource: resource.to_owned(), network, payer, until }
}

fn visit(resource: &str) -> Visit {
    let Grant { resource, network, payer, .. } = grant(resource, None);
    Visit { resource, network, payer, reach: Reach::Network, now: NOW }
}

async fn grant_at(node: &Node, grant: &Grant) {
    node.sign_ins.grant(grant).await.unwrap();
}

async fn is_granted(node: &Node, visit: &Visit) -> bool {
    node.sign_ins.is_granted(visit).await.unwrap()
}

async fn use_nonce(node: &Node, nonce: &str, now: UnixSeconds) -> bool {
    node.sign_ins.use_nonce(nonce, now.plus(LIFE_SECONDS), now).await.unwrap()
}

pub async fn one_use_of_a_nonce_of_a_thousand_wins<H: Harness>() {
    let harness = H::new().await;
    let mut nodes = vec![harness.node().await];
    if H::REPLICAS {
        nodes.push(harness.node().await);
    }
    let mut tasks = tokio::task::JoinSet::new();
    for copy in 0..COPIES {
        let sign_ins = Arc::clone(&nodes[usize::from(copy) % nodes.len()].sign_ins);
        tasks.spawn(async move { sign_ins.use_nonce("one", NOW.plus(LIFE_SECONDS), NOW).await.unwrap() });
    }
    assert_eq!(tasks.join_all().await.into_iter().filter(|won| *won).count(), 1);
    assert!(use_nonce(&nodes[0], "two", NOW).await);
}

pub async fn a_nonce_is_remembered_as_long_as_it_could_be_good<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    assert!(use_nonce(&node, "one", NOW).await);
    // Others come by until the last moment at which a clock that is late may still take it.
    let last = NOW.plus(LIFE_SECONDS + KEEP_USED_NONCE_SECONDS);
    for number in 0..20 {
        assert!(use_nonce(&node, &format!("other {number}"), last).await);
    }
    assert!(!use_nonce(&node, "one", last).await);
    // The next one forgets it.
    assert!(use_nonce(&node, "later", last.plus(1)).await);
    assert!(use_nonce(&node, "one", last.plus(1)).await);
}

pub async fn a_grant_opens_one_resource_to_one_payer<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    assert!(!is_granted(&node, &visit("/paid")).await);
    grant_at(&node, &grant("/paid", None)).await;
    assert!(is_granted(&node, &visit("/paid")).await);
    for other in ["/other", "/paid/", "/Paid", ""] {
        assert!(!is_granted(&node, &Visit { reach: Reach::Family, ..visit(other) }).await, "{other}");
    }
    let stranger = Visit { payer: "0xStranger".parse().unwrap(), reach: Reach::Family, ..visit("/paid") };
    assert!(!is_granted(&node, &stranger).await);
}

pub async fn a_grant_reaches_as_far_as_the_signature<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    grant_at(&node, &grant("/paid", None)).await;
    let at = |network: &str, reach| Visit { network: network.parse().unwrap(), reach, ..visit("/paid") };
    assert!(is_granted(&node, &at("eip155:1", Reach::Family)).await);
    assert!(!is_granted(&node, &at("eip155:1", Reach::Network)).await);
    assert!(!is_granted(&node, &at("solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp", Reach::Family)).await);
    // A second network is one more, not another.
    grant_at(&node, &Grant { network: "eip155:1".parse().unwrap(), ..grant("/paid", Some(NOW.minus(1))) }).await;
    assert!(!is_granted(&node, &at("eip155:1", Reach::Network)).await);
    assert!(is_granted(&node, &at("eip155:1", Reach::Family)).await);
    grant_at(&node, &Grant { network: "eip155:1".parse().unwrap(), ..grant("/paid", Some(NOW)) }).await;
    assert!(is_granted(&node, &at("eip155:1", Reach::Network)).await);
}

pub async fn a_grant_lasts_until_the_latest_moment_that_was_paid_for<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let at = |now| Visit { now, ..visit("/paid") };
    for seconds in [10, 5] {
        grant_at(&node, &grant("/paid", Some(NOW.plus(seconds)))).await;
    }
    assert!(is_granted(&node, &at(NOW.plus(10))).await);
    assert!(!is_granted(&node, &at(NOW.plus(11))).await);
    grant_at(&node, &grant("/paid", Some(NOW.plus(20)))).await;
    assert!(is_granted(&node, &at(NOW.plus(20))).await);
    // What has ended long ago is forgotten when somebody signs in, and only that.
    grant_at(&node, &grant("/ended", Some(NOW))).await;
    assert!(use_nonce(&node, "one", NOW.plus(KEEP_USED_NONCE_SECONDS + 1)).await);
    assert!(is_granted(&node, &at(NOW.plus(20))).await);
    for until in [None, Some(NOW)] {
        grant_at(&node, &grant("/paid", until)).await;
    }
    assert!(is_granted(&node, &at(NOW.plus(1_000_000))).await);
    assert!(use_nonce(&node, "two", NOW.plus(1_000_000)).await);
    assert!(is_granted(&node, &at(UnixSeconds(u64::MAX))).await);
    grant_at(&node, &grant("/long", Some(UnixSeconds(u64::MAX)))).await;
    assert!(is_granted(&node, &visit("/long")).await);
}

pub async fn names_of_any_length_and_kind_are_kept_apart<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    // No two letters are alike in a row, so that no database makes it shorter than it is.
    let noise: String = (0..MAX_RESOURCE_BYTES).map(|at| char::from(b'!' + u8::try_from(at * at * 31 % 90).unwrap())).collect();
    for resource in [&noise, &"é".repeat(MAX_RESOURCE_BYTES / 2)] {
        grant_at(&node, &grant(resource, None)).await;
        assert!(is_granted(&node, &visit(resource)).await);
    }
    let too_long = "/".repeat(MAX_RESOURCE_BYTES + 1);
    grant_at(&node, &grant(&too_long, None)).await;
    assert!(!is_granted(&node, &visit(&too_long)).await);
    for nonce in ["", "a\0b", "a\u{fffd}b", noise.as_str(), &noise.repeat(4)] {
        assert!(use_nonce(&node, nonce, NOW).await);
        assert!(!use_nonce(&node, nonce, NOW).await);
    }
}

pub async fn sign_ins_survive_a_kill<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    grant_at(&node, &grant("/paid", Some(NOW.plus(10)))).await;
    assert!(use_nonce(&node, "one", NOW).await);
    harness.kill(node).await;
    let node = harness.node().await;
    assert!(is_granted(&node, &visit("/paid")).await);
    assert!(!use_nonce(&node, "one", NOW).await);
}
