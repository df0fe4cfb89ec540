//! The campaigns in their small form.

use std::collections::BTreeSet;
use std::time::Duration;

use farthing_interop::chain::ChainKind;
use farthing_proof::campaign::{chaos, races};
use farthing_proof::payments::Kind;
use farthing_proof::simulation;
use farthing_proof::stores::Stores;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_exchange_in_five_goes_wrong_and_no_payment_is_lost_or_doubled() {
    let config = chaos::Config {
        stores: Stores::Sqlite,
        chain: ChainKind::Devnet,
        payments: 150,
        at_once: 16,
        senders: 2,
        faults_per_thousand: 200,
        seed: 11,
        storm_patience: Duration::from_secs(20),
        calm_patience: Duration::from_secs(30),
    };
    let summary = chaos::run(&config).await.unwrap_or_else(|error| panic!("{error:#}"));
    println!("{summary}");
    assert!(summary.faults > 20, "too little went wrong to prove anything: {summary}");
    assert_eq!(summary.payments_by_kind.len(), Kind::ALL.len(), "not every kind was paid: {summary}");
    assert!(summary.funded > 0, "nobody was given coin: {summary}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_copies_at_two_replicas_are_one_transaction() {
    let (stores, kinds) = (Stores::Postgres, vec![Kind::Eip3009]);
    let config = races::Config { stores, chain: ChainKind::Devnet, replicas: 2, kinds, copies: 100 };
    let summary = races::copies(&config).await.unwrap_or_else(|error| panic!("{error:#}"));
    assert_eq!((summary.copies, summary.transactions), (200, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_copies_of_every_kind_move_once_and_are_sponsored_once() {
    let (stores, kinds) = (Stores::Postgres, Kind::ALL.to_vec());
    let config = races::Config { stores, chain: ChainKind::Devnet, replicas: 2, kinds, copies: 10 };
    let summary = races::copies(&config).await.unwrap_or_else(|error| panic!("{error:#}"));
    println!("{summary}");
    assert_eq!((summary.payments, summary.copies), (7, 140));
}

#[test]
fn simulated_worlds_never_double_or_forget_a_payment_and_heal() {
    // Of the first seeds those whose worlds are quick to live through; `farthing-soak simulate` takes all of them.
    let seeds = [6..7, 9..11];
    let (mut payments, mut settled, mut funded, mut kinds) = (0, 0, 0, BTreeSet::new());
    for seeds in seeds {
        let config = simulation::Config { heals: true, ..simulation::Config::default() };
        let summary = simulation::run_all(seeds, config).unwrap_or_else(|error| panic!("{error:#}"));
        println!("{summary}");
        payments += summary.payments;
        settled += summary.settled;
        funded += summary.funded;
        kinds.extend(summary.payments_by_kind.into_keys());
    }
    assert!(payments > 50, "too little was paid to prove anything: {payments}");
    assert_eq!(u64::try_from(settled), Ok(payments), "every payer has signed one good payment");
    assert_eq!(kinds.len(), Kind::ALL.len(), "not every kind was paid: {kinds:?}");
    assert!(funded > 0, "nobody was given coin");
}
