//! A facilitator, a seller, and a gateway is killed before and after each call of its books and its node, all of them. That enough was
//! fatal is part of each scenario.

use farthing_interop::chain::ChainKind;
use farthing_proof::campaign::crash::{Role, Scenario, Survivor};
use farthing_proof::payments::Kind;
use farthing_proof::stores::Stores;

async fn kill_everywhere(role: Role, (stores, survivor): (Stores, Survivor), chain: ChainKind, kinds: &[Kind]) {
    let child = env!("CARGO_BIN_EXE_crash-child").into();
    // Where the same node goes on it is killed on its way back, too.
    let relapses = survivor == Survivor::Itself && stores == Stores::Sqlite;
    let scenario = Scenario { role, stores, survivor, chain, kinds: kinds.to_vec(), relapses, jobs: 6, child };
    let summary = scenario.run().await.unwrap_or_else(|error| panic!("{error:#}"));
    println!("{summary}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_on_sqlite_loses_and_doubles_nothing_wherever_it_is_killed() {
    let kinds = [Kind::Eip3009, Kind::Permit, Kind::Metered];
    kill_everywhere(Role::Facilitator, (Stores::Sqlite, Survivor::Itself), ChainKind::Devnet, &kinds).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_on_postgres_loses_and_doubles_nothing_wherever_it_is_killed() {
    let kinds = [Kind::Eip3009, Kind::Wallet];
    kill_everywhere(Role::Facilitator, (Stores::Postgres, Survivor::Itself), ChainKind::Devnet, &kinds).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_node_takes_over_wherever_the_first_is_killed() {
    let kinds = [Kind::Permit2, Kind::Metered];
    kill_everywhere(Role::Facilitator, (Stores::Postgres, Survivor::Replica), ChainKind::Devnet, &kinds).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_given_coin_twice_for_one_approval_wherever_the_giver_is_killed() {
    let kinds = [Kind::Approval, Kind::Unused];
    kill_everywhere(Role::Facilitator, (Stores::Sqlite, Survivor::Itself), ChainKind::Devnet, &kinds).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anvil_agrees() {
    let kinds = [Kind::Permit];
    kill_everywhere(Role::Facilitator, (Stores::Sqlite, Survivor::Itself), ChainKind::Anvil, &kinds).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seller_on_sqlite_serves_every_payment_once_wherever_it_is_killed() {
    let kinds = [Kind::Eip3009, Kind::Metered];
    kill_everywhere(Role::Seller, (Stores::Sqlite, Survivor::Itself), ChainKind::Devnet, &kinds).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seller_on_postgres_serves_every_payment_once_wherever_it_is_killed() {
    let kinds = [Kind::Wallet, Kind::Unused];
    kill_everywhere(Role::Seller, (Stores::Postgres, Survivor::Itself), ChainKind::Devnet, &kinds).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sellers_other_node_serves_every_payment_once_wherever_the_first_is_killed() {
    let kinds = [Kind::Eip3009, Kind::Metered];
    kill_everywhere(Role::Seller, (Stores::Postgres, Survivor::Replica), ChainKind::Devnet, &kinds).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_on_sqlite_serves_every_payment_once_wherever_it_is_killed() {
    let kinds = [Kind::Eip3009, Kind::Metered];
    kill_everywhere(Role::Gateway, (Stores::Sqlite, Survivor::Itself), ChainKind::Devnet, &kinds).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateways_other_node_serves_every_payment_once_wherever_the_first_is_killed() {
    let kinds = [Kind::Permit2, Kind::Unused];
    kill_everywhere(Role::Gateway, (Stores::Postgres, Survivor::Replica), ChainKind::Devnet, &kinds).await;
}
