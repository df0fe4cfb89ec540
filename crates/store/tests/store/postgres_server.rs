//! What is true of a book in PostgreSQL alone: its nodes' time, its server's faults, its start.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::{Duration, Instant};

use farthing_core::books::{Delivery, DeliveryClaim, Fingerprint, LaneClaim, SettlementQuery, Spend, Written};
use farthing_store::{Access, Options, Store, StoreError, StoreUrl};
use farthing_testkit::postgres::{Database, Server};
use tokio_postgres::Client;

use crate::contract::Harness;
use crate::contract::sample::*;
use crate::harness::postgres::{Postgres, connect};
use crate::proxy::{Break, Proxy};

/// How many tasks send at once while the server goes away.
const SENDERS: usize = 12;

const WITHIN: Duration = Duration::from_secs(20);

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < WITHIN, "{what}: not within {WITHIN:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn open(database: &Postgres, access: Access) -> Store {
    Store::open_with(&database.url(), access, &Postgres::options()).await.unwrap()
}

async fn newest_node(client: &Client) -> i64 {
    client.query_one("SELECT max(id) FROM farthing.nodes", &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn a_node_lives_for_as_long_as_it_beats() {
    let database = Postgres::new().await;
    let options =
        Options { node_ttl: Duration::from_secs(2), heartbeat_interval: Duration::from_millis(50), ..Postgres::options() };
    let first = Store::open_with(&database.url(), Access::Own, &options).await.unwrap();
    let client = database.client().await;
    let lease = lease(&*first.outbox(), "0xA").await;
    let node = newest_node(&client).await;
    let born: String = client.query_one("SELECT clock_timestamp()::text", &[]).await.unwrap().get(0);
    let later = "SELECT clock_timestamp() > $1::text::timestamptz + interval '6 seconds'";
    until("three lives have passed", async || client.query_one(later, &[&born]).await.unwrap().get(0)).await;
    assert_eq!(newest_node(&client).await, node);
    assert_eq!(send(&*first.outbox(), &lease, 1, "one", &[payment(1)]).await, Written::Yes);
    // It falls silent, and is dead when its time is past, not before.
    drop(first);
    let second = open(&database, Access::Own).await;
    assert_eq!(second.outbox().take(&lane("0xA")).await.unwrap(), LaneClaim::Theirs);
    until("the dead node's lane is free", async || {
        matches!(second.outbox().take(&lane("0xA")).await.unwrap(), LaneClaim::Ours(_))
    })
    .await;
}

#[tokio::test]
async fn a_node_that_missed_its_time_goes_on_as_a_new_one_without_what_it_had() {
    let database = Postgres::new().await;
    let options = Options { heartbeat_interval: Duration::from_millis(300), ..Postgres::options() };
    let store = Store::open_with(&database.url(), Access::Own, &options).await.unwrap();
    let client = database.client().await;
    let (outbox, deliveries) = (store.outbox(), store.deliveries());
    let request = Fingerprint("one".to_owned());
    let old = lease(&*outbox, "0xA").await;
    assert_eq!(deliveries.claim(key(1), &request).await.unwrap(), DeliveryClaim::New);
    let node = newest_node(&client).await;
    client.execute("UPDATE farthing.nodes SET until = clock_timestamp() - interval '1 second'", &[]).await.unwrap();
    // Nobody has taken the lane, and still nothing is written under a lease of a dead node.
    assert_eq!(send(&*outbox, &old, 1, "one", &[payment(1)]).await, Written::LeaseLost);
    until("it has joined again", async || newest_node(&client).await > node).await;
    assert_eq!(send(&*outbox, &old, 1, "one", &[payment(1)]).await, Written::LeaseLost);
    until("it knows its new number", async || deliveries.settling(key(1)).await.is_err()).await;
    assert_eq!(deliveries.claim(key(1), &Fingerprint("other".to_owned())).await.unwrap(), DeliveryClaim::New);
    let new = lease(&*outbox, "0xA").await;
    assert!(new.token > old.token);
    assert_eq!(send(&*outbox, &new, 1, "one", &[payment(1)]).await, Written::Yes);
}

#[tokio::test]
async fn a_closed_node_is_dead_at_once_and_its_calls_fail() {
    let database = Postgres::new().await;
    let (first, second) = (open(&database, Access::Own).await, open(&database, Access::Own).await);
    let old = lease(&*first.outbox(), "0xA").await;
    let request = Fingerprint("one".to_owned());
    first.deliveries().claim(key(1), &request).await.unwrap();
    assert_eq!(second.outbox().take(&lane("0xA")).await.unwrap(), LaneClaim::Theirs);
    let (outbox, deliveries) = (first.outbox(), first.deliveries());
    first.close().await;
    lease(&*second.outbox(), "0xA").await;
    assert_eq!(second.deliveries().claim(key(1), &request).await.unwrap(), DeliveryClaim::New);
    assert!(outbox.under_way(&old, 0, usize::MAX).await.is_err());
    assert!(deliveries.claim(key(2), &request).await.is_err());
}

#[tokio::test]
async fn replicas_that_start_at_once_make_the_tables_once() {
    let database = Postgres::new().await;
    let stores = futures_util::future::join_all((0..6).map(|_| open(&database, Access::Own))).await;
    let network = lane("0xA").network;
    for (place, store) in stores.iter().enumerate() {
        assert_eq!(store.outbox().nodes(&network).await.unwrap(), place + 1);
    }
}

#[tokio::test]
async fn a_newer_or_missing_book_is_told_from_a_broken_one() {
    let database = Postgres::new().await;
    let error = Store::open_with(&database.url(), Access::Read, &Postgres::options()).await.unwrap_err();
    assert!(matches!(&error, StoreError::Unsuitable(text) if text.contains("version 0")), "{error}");
    open(&database, Access::Own).await.close().await;
    database.client().await.execute("UPDATE farthing.version SET number = 99", &[]).await.unwrap();
    for access in [Access::Own, Access::Shared, Access::Read] {
        let error = Store::open_with(&database.url(), access, &Postgres::options()).await.unwrap_err();
        assert!(matches!(&error, StoreError::Unsuitable(text) if text.contains("newer program")), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_may_forget_commits_is_refused() {
    let database = Postgres::new().await;
    let error = Store::open(&database.url(), Access::Own).await.unwrap_err();
    assert!(matches!(&error, StoreError::Unsuitable(text) if text.contains("fsync is off")), "{error}");
}

#[tokio::test]
async fn an_unreachable_server_is_an_error_that_does_not_show_the_password() {
    let url: StoreUrl = "postgres://farthing:hunter2@127.0.0.1:1/farthing".parse().unwrap();
    let error = Store::open(&url, Access::Own).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }));
    assert!(!format!("{error} {error:?}").contains("hunter2"));
    let url: StoreUrl = "postgres://farthing:hunter2@127.0.0.1/farthing?unknown=hunter2".parse().unwrap();
    let error = Store::open(&url, Access::Own).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_tls_is_asked_for() {
    let database = Postgres::new().await;
    for mode in ["require", "verify-full"] {
        let url: StoreUrl = format!("{}?sslmode={mode}", database.plain_url()).parse().unwrap();
        let error = Store::open_with(&url, Access::Own, &Postgres::options()).await.unwrap_err();
        assert!(error.to_string().to_lowercase().contains("tls"), "{error}");
    }
}

#[tokio::test]
async fn a_reader_sees_everything_and_changes_nothing() {
    let database = Postgres::new().await;
    let owner = open(&database, Access::Own).await;
    let lease = lease(&*owner.outbox(), "0xA").await;
    send(&*owner.outbox(), &lease, 1, "one", &[payment(1)]).await;
    let reader = open(&database, Access::Read).await;
    assert!(reader.settlements().find(key(1)).await.unwrap().is_some());
    assert!(reader.settlements().dead(key(1), &refusal("x"), NOW).await.is_err());
    assert!(reader.outbox().take(&lane("0xB")).await.is_err());
    assert_eq!(owner.outbox().nodes(&lane("0xA").network).await.unwrap(), 1);
    let shared = open(&database, Access::Shared).await;
    let spend = Spend { usd: "$1".parse().unwrap(), resource: String::new() };
    let _ = shared.ledger().reserve(&spend, &[], NOW).await.unwrap();
    assert!(shared.deliveries().claim(key(1), &Fingerprint("one".to_owned())).await.is_err());
}

/// Sends from several tasks until the server has been away twice, and returns how many were sent.
async fn send_through(server: Arc<Server>, store: &Store) -> u16 {
    let lease = lease(&*store.outbox(), "0xA").await;
    let next = Arc::new(AtomicU16::new(0));
    let is_over = Arc::new(AtomicBool::new(false));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..SENDERS {
        let (outbox, lease, next, is_over) = (store.outbox(), lease.clone(), Arc::clone(&next), Arc::clone(&is_over));
        tasks.spawn(async move {
            while !is_over.load(Ordering::SeqCst) {
                let number = next.fetch_add(1, Ordering::SeqCst);
                let written = send(&*outbox, &lease, number.into(), &format!("t{number}"), &[payment(number)]).await;
                assert_eq!(written, Written::Yes);
            }
        });
    }
    let sent = || next.load(Ordering::SeqCst);
    for at_once in [true, false] {
        let before = sent();
        until("they send", async || sent() > before + 100).await;
        let server = Arc::clone(&server);
        let restart = move || server.stop(at_once).and_then(|()| server.start_again());
        tokio::task::spawn_blocking(restart).await.unwrap().unwrap();
    }
    let before = sent();
    until("they send again", async || sent() > before + 100).await;
    is_over.store(true, Ordering::SeqCst);
    tasks.join_all().await;
    sent()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_restarted_in_the_middle_loses_and_doubles_nothing() {
    let server = Server::own().unwrap();
    let database = Database::on(&server).unwrap();
    let options = Options { patience: Duration::from_secs(30), node_ttl: Duration::from_mins(1), ..Options::default() };
    let url: StoreUrl = database.url().parse().unwrap();
    let store = Store::open_with(&url, Access::Own, &options).await.unwrap();
    let sent = send_through(server, &store).await;
    let all = SettlementQuery { limit: 100_000, ..SettlementQuery::default() };
    assert_eq!(store.settlements().list(&all).await.unwrap().len(), usize::from(sent));
    let client = connect(&database).await;
    let rows: i64 = client.query_one("SELECT count(*) FROM farthing.transactions", &[]).await.unwrap().get(0);
    assert_eq!(usize::try_from(rows).unwrap(), usize::from(sent));
    store.close().await;
}

async fn assert_a_broken_commit_counts_once(how: Break) {
    let database = Postgres::new().await;
    open(&database, Access::Own).await.close().await;
    let direct: url::Url = database.plain_url().parse().unwrap();
    let proxy = Proxy::start(format!("127.0.0.1:{}", direct.port().unwrap()), how).await;
    let mut through = direct;
    through.set_port(Some(proxy.port)).unwrap();
    let url: StoreUrl = through.as_str().parse().unwrap();
    let store = Store::open_with(&url, Access::Own, &Postgres::options()).await.unwrap();

    let lease = lease(&*store.outbox(), "0xA").await;
    proxy.arm();
    let budget = [sponsored(1, 6, &[("payer", 100)])];
    assert_eq!(send(&*store.outbox(), &lease, 1, "one", &budget).await, Written::Yes, "{how:?}");
    assert!(proxy.has_broken());
    let booked_gwei: i64 = {
        let client = database.client().await;
        client.query_one("SELECT spent_gwei FROM farthing.sponsored", &[]).await.unwrap().get(0)
    };
    assert_eq!(booked_gwei, 6, "{how:?}");

    proxy.arm();
    let request = Fingerprint("one".to_owned());
    assert_eq!(store.deliveries().claim(key(1), &request).await.unwrap(), DeliveryClaim::New, "{how:?}");
    assert!(proxy.has_broken());
    assert_eq!(store.deliveries().claim(key(1), &request).await.unwrap(), DeliveryClaim::Taken(Delivery::Claimed));
    proxy.arm();
    store.deliveries().cancel(key(1)).await.unwrap();
    assert!(proxy.has_broken());

    proxy.arm();
    let spend = Spend { usd: "$1".parse().unwrap(), resource: String::new() };
    let limits = ["$2 in total".parse().unwrap(), "$2 per day".parse().unwrap()];
    let _ = store.ledger().reserve(&spend, &limits, NOW).await.unwrap();
    assert!(proxy.has_broken());
    let _ = store.ledger().reserve(&spend, &limits, NOW).await.unwrap();
    assert!(store.ledger().reserve(&spend, &limits, NOW).await.is_err());
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_counts_once() {
    assert_a_broken_commit_counts_once(Break::AfterTheServer).await;
}

#[tokio::test]
async fn a_commit_that_never_reached_the_server_is_made_again() {
    assert_a_broken_commit_counts_once(Break::BeforeTheServer).await;
}
