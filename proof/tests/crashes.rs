//! A facilitator is killed before and after each call of its books and its node, all of them.

use farthing_interop::chain::ChainKind;
use farthing_proof::campaign::crash::{Scenario, Summary, Survivor};
use farthing_proof::stores::Stores;

/// Calls that every settlement makes: if one of them was not fatal once, the test proves less than it says.
const MUST_BE_FATAL: &[&str] =
    &["outbox.take", "outbox.under_way", "outbox.sending", "outbox.landed", "settlements.settled", "answer"];

async fn kill_everywhere(stores: Stores, survivor: Survivor, chain: ChainKind, payments: u64) -> Summary {
    let child = env!("CARGO_BIN_EXE_crash-child").into();
    let scenario = Scenario { stores, survivor, chain, payments, jobs: 4, child };
    let summary = scenario.run().await.unwrap_or_else(|error| panic!("{error:#}"));
    println!("{summary}");
    for call in MUST_BE_FATAL {
        assert!(summary.calls.contains(*call), "never died at {call}: {:?}", summary.calls);
    }
    let broadcast = summary.calls.iter().any(|call| call.contains("eth_sendRawTransaction"));
    assert!(broadcast, "never died at a broadcast: {:?}", summary.calls);
    summary
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_on_sqlite_loses_and_doubles_nothing_wherever_it_is_killed() {
    kill_everywhere(Stores::Sqlite, Survivor::Itself, ChainKind::Devnet, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_on_postgres_loses_and_doubles_nothing_wherever_it_is_killed() {
    kill_everywhere(Stores::Postgres, Survivor::Itself, ChainKind::Devnet, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_node_takes_over_wherever_the_first_is_killed() {
    kill_everywhere(Stores::Postgres, Survivor::Replica, ChainKind::Devnet, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anvil_agrees() {
    kill_everywhere(Stores::Sqlite, Survivor::Itself, ChainKind::Anvil, 1).await;
}
