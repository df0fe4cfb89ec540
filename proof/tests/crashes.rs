//! A facilitator, and a seller, is killed before and after each call of its books and its node, all of them.

use farthing_interop::chain::ChainKind;
use farthing_proof::campaign::crash::{Role, Scenario, Summary, Survivor};
use farthing_proof::stores::Stores;

/// Calls that every settlement makes: if one of them was not fatal once, the test proves less than it says.
const SETTLING: &[&str] =
    &["outbox.take", "outbox.under_way", "outbox.sending", "outbox.landed", "settlements.settled", "answer"];
/// Calls that every sale makes besides.
const SERVING: &[&str] = &["deliveries.claim", "work", "deliveries.settling", "settlements.find", "deliveries.served"];
/// How many of all points must have been fatal, in a hundred. The rest are looks at the chain's head, of which there are
/// more or fewer.
const FATAL_PER_HUNDRED_MIN: usize = 75;

async fn kill_everywhere(role: Role, stores: Stores, survivor: Survivor, chain: ChainKind, payments: u64) -> Summary {
    let child = env!("CARGO_BIN_EXE_crash-child").into();
    let scenario = Scenario { role, stores, survivor, chain, payments, jobs: 6, child };
    let summary = scenario.run().await.unwrap_or_else(|error| panic!("{error:#}"));
    println!("{summary}");
    let also = if role == Role::Seller { SERVING } else { &[] };
    for call in SETTLING.iter().chain(also) {
        assert!(summary.calls.contains(*call), "never died at {call}: {:?}", summary.calls);
    }
    let broadcast = summary.calls.iter().any(|call| call.contains("eth_sendRawTransaction"));
    assert!(broadcast, "never died at a broadcast: {:?}", summary.calls);
    assert!(summary.killed * 100 >= summary.points * FATAL_PER_HUNDRED_MIN, "too few died: {summary}");
    summary
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_on_sqlite_loses_and_doubles_nothing_wherever_it_is_killed() {
    kill_everywhere(Role::Facilitator, Stores::Sqlite, Survivor::Itself, ChainKind::Devnet, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_on_postgres_loses_and_doubles_nothing_wherever_it_is_killed() {
    kill_everywhere(Role::Facilitator, Stores::Postgres, Survivor::Itself, ChainKind::Devnet, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_node_takes_over_wherever_the_first_is_killed() {
    kill_everywhere(Role::Facilitator, Stores::Postgres, Survivor::Replica, ChainKind::Devnet, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anvil_agrees() {
    kill_everywhere(Role::Facilitator, Stores::Sqlite, Survivor::Itself, ChainKind::Anvil, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seller_on_sqlite_serves_every_payment_once_wherever_it_is_killed() {
    kill_everywhere(Role::Seller, Stores::Sqlite, Survivor::Itself, ChainKind::Devnet, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seller_on_postgres_serves_every_payment_once_wherever_it_is_killed() {
    kill_everywhere(Role::Seller, Stores::Postgres, Survivor::Itself, ChainKind::Devnet, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sellers_other_node_serves_every_payment_once_wherever_the_first_is_killed() {
    kill_everywhere(Role::Seller, Stores::Postgres, Survivor::Replica, ChainKind::Devnet, 2).await;
}
