//! What is true of a book in PostgreSQL alone: its nodes' time, its server's faults, its start.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::{Duration, Instant};

use farthing_core::books::{
    Delivery, DeliveryClaim, LaneClaim, Naming, Presented, Receipt, SettlementQuery, Spend, Standing, Written,
};
use farthing_store::{Access, Options, Store, StoreError, StoreUrl};
use farthing_testkit::postgres::{Database, Server};
use tokio_postgres::Client;

use crate::contract::Harness;
use crate::contract::deliveries::{first_deliveries, first_deliveries_are_known, presented, sold_for_seven, won};
use crate::contract::purchases::purchase;
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
    let old = lease(&*outbox, "0xA").await;
    let mut before = Vec::new();
    for number in [1, 2, 3] {
        before.push(won(&deliveries.claim(&presented(number, "one")).await.unwrap(), true));
    }
    assert_eq!(deliveries.settling(before[1], &bill(7.into())).await.unwrap(), Standing::Held);
    let node = newest_node(&client).await;
    client.execute("UPDATE farthing.nodes SET until = clock_timestamp() - interval '1 second'", &[]).await.unwrap();
    // Nobody has taken the lane, and still nothing is written under a lease of a dead node.
    assert_eq!(send(&*outbox, &old, 1, "one", &[payment(1)]).await, Written::LeaseLost);
    until("it has joined again", async || newest_node(&client).await > node).await;
    assert_eq!(send(&*outbox, &old, 1, "one", &[payment(1)]).await, Written::LeaseLost);
    until("it knows its new number", async || deliveries.claim(&presented(4, "one")).await.is_ok()).await;
    // Its own later requests take up what its earlier ones had, and those write nothing over them.
    let other = won(&deliveries.claim(&presented(1, "other")).await.unwrap(), true);
    let resumed = won(&deliveries.claim(&presented(2, "one")).await.unwrap(), false);
    let served = Receipt { transaction: transaction("served"), settlement: String::new() };
    assert_eq!(deliveries.settling(before[0], &bill(7.into())).await.unwrap(), Standing::Lost);
    assert_eq!(deliveries.settling(other, &bill(7.into())).await.unwrap(), Standing::Held);
    for (old, new) in [(before[0], other), (before[1], resumed)] {
        assert_eq!(sold_for_seven(&*deliveries, old, &served, None).await, Standing::Lost);
        assert_eq!(sold_for_seven(&*deliveries, new, &served, None).await, Standing::Held);
        assert_eq!(deliveries.settling(old, &bill(7.into())).await.unwrap(), Standing::Lost);
        assert_eq!(deliveries.unsettled(old).await.unwrap(), Standing::Lost);
        let found = deliveries.claim(&Presented { key: new.key, ..presented(0, "one") }).await.unwrap();
        assert_eq!(found, DeliveryClaim::Taken(Delivery::Served(served.transaction.clone())));
    }
    // What nobody has taken up is still the earlier request's, and lives with the new number.
    assert_eq!(deliveries.settling(before[2], &bill(7.into())).await.unwrap(), Standing::Held);
    assert_eq!(deliveries.claim(&presented(3, "one")).await.unwrap(), DeliveryClaim::Taken(Delivery::Settling));
    let new = lease(&*outbox, "0xA").await;
    assert!(new.token > old.token);
    assert_eq!(send(&*outbox, &new, 1, "one", &[payment(1)]).await, Written::Yes);
}

#[tokio::test]
async fn a_closed_node_is_dead_at_once_and_its_calls_fail() {
    let database = Postgres::new().await;
    let (first, second) = (open(&database, Access::Own).await, open(&database, Access::Own).await);
    let old = lease(&*first.outbox(), "0xA").await;
    won(&first.deliveries().claim(&presented(1, "one")).await.unwrap(), true);
    assert_eq!(second.outbox().take(&lane("0xA")).await.unwrap(), LaneClaim::Theirs);
    let (outbox, deliveries) = (first.outbox(), first.deliveries());
    first.close().await;
    lease(&*second.outbox(), "0xA").await;
    won(&second.deliveries().claim(&presented(1, "one")).await.unwrap(), true);
    assert!(outbox.under_way(&old, 0, usize::MAX).await.is_err());
    assert!(deliveries.claim(&presented(2, "one")).await.is_err());
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
    assert!(reader.settlements().dead(key(1), &transaction("one"), &refusal("x"), NOW).await.is_err());
    assert!(reader.outbox().take(&lane("0xB")).await.is_err());
    assert_eq!(owner.outbox().nodes(&lane("0xA").network).await.unwrap(), 1);
    let shared = open(&database, Access::Shared).await;
    let spend = Spend { usd: "$1".parse().unwrap(), resource: String::new() };
    let _ = shared.ledger().reserve(&spend, &[], NOW).await.unwrap();
    assert!(shared.deliveries().claim(&presented(1, "one")).await.is_err());
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

/// A URL that leads to the database through a proxy.
async fn through_proxy(url: &str, how: Break) -> (Proxy, StoreUrl) {
    let mut url: url::Url = url.parse().unwrap();
    let proxy = Proxy::start(format!("127.0.0.1:{}", url.port().unwrap()), how).await;
    url.set_port(Some(proxy.port)).unwrap();
    (proxy, url.as_str().parse().unwrap())
}

async fn next_transaction_number(client: &Client) -> u64 {
    let number = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text";
    client.query_one(number, &[]).await.unwrap().get::<_, String>(0).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_a_crash_forgot_is_not_taken_for_the_one_that_got_its_number() {
    let server = Server::own().unwrap();
    let database = Database::on(&server).unwrap();
    let client = connect(&database).await;
    // What is not committed stays in memory until then.
    client.execute("ALTER SYSTEM SET wal_writer_delay = '10s'", &[]).await.unwrap();
    client.execute("SELECT pg_reload_conf()", &[]).await.unwrap();
    let (proxy, url) = through_proxy(&database.url(), Break::WhenReleased).await;
    let long = Duration::from_mins(1);
    let options = Options { patience: long, node_ttl: long * 3, heartbeat_interval: long, ..Options::default() };
    let store = Store::open_with(&url, Access::Own, &options).await.unwrap();
    let lease = lease(&*store.outbox(), "0xA").await;
    let its_number = next_transaction_number(&client).await;
    proxy.arm();
    let sending = tokio::spawn({
        let (outbox, lease) = (store.outbox(), lease.clone());
        async move { send(&*outbox, &lease, 1, "one", &[payment(1)]).await }
    });
    until("it is about to be committed", async || proxy.has_broken()).await;
    let crash = move || server.stop(true).and_then(|()| server.start_again()).map(|()| server);
    let _server = tokio::task::spawn_blocking(crash).await.unwrap().unwrap();
    let client = connect(&database).await;
    assert!(next_transaction_number(&client).await <= its_number, "the crash has forgotten its number");
    while next_transaction_number(&client).await <= its_number + 10 {
        client.execute("SELECT pg_current_xact_id()", &[]).await.unwrap();
    }
    proxy.release();
    assert_eq!(sending.await.unwrap(), Written::Yes);
    assert!(store.settlements().find(key(1)).await.unwrap().is_some(), "what may be broadcast is in the book");
    store.close().await;
}

#[tokio::test]
async fn a_network_that_falls_silent_costs_a_node_a_beat_and_not_its_life() {
    let database = Postgres::new().await;
    let (proxy, url) = through_proxy(&database.plain_url(), Break::BeforeTheServer).await;
    let node_ttl = Duration::from_secs(3);
    let (heartbeat_interval, answer_timeout) = (Duration::from_millis(400), Duration::from_secs(1));
    let options = Options { node_ttl, heartbeat_interval, answer_timeout, ..Postgres::options() };
    let store = Store::open_with(&url, Access::Own, &options).await.unwrap();
    let client = database.client().await;
    let node = newest_node(&client).await;
    let lease = lease(&*store.outbox(), "0xA").await;
    for _ in 0..2 {
        let before = proxy.accepted();
        proxy.silence();
        until("it beats on another connection", async || proxy.accepted() > before).await;
        let silent_since: String = client.query_one("SELECT clock_timestamp()::text", &[]).await.unwrap().get(0);
        let alive = "SELECT until > $1::text::timestamptz + interval '3 seconds' FROM farthing.nodes WHERE id = $2";
        until("the beat was heard", async || client.query_one(alive, &[&silent_since, &node]).await.unwrap().get(0)).await;
    }
    assert_eq!(newest_node(&client).await, node);
    assert_eq!(send(&*store.outbox(), &lease, 1, "one", &[payment(1)]).await, Written::Yes);
}

#[tokio::test]
async fn a_life_of_less_than_three_beats_is_refused() {
    let database = Postgres::new().await;
    let options = Options { node_ttl: Duration::from_secs(7), ..Postgres::options() };
    let error = Store::open_with(&database.url(), Access::Own, &options).await.unwrap_err();
    assert!(matches!(&error, StoreError::Options(text) if text.contains("node_ttl")), "{error}");
    Store::open_with(&database.url(), Access::Shared, &options).await.unwrap();
}

#[tokio::test]
async fn a_connection_that_falls_silent_is_given_up_for_another_one() {
    let database = Postgres::new().await;
    let (proxy, url) = through_proxy(&database.plain_url(), Break::BeforeTheServer).await;
    let options = Options { answer_timeout: Duration::from_secs(1), ..Postgres::options() };
    let store = Store::open_with(&url, Access::Own, &options).await.unwrap();
    let lease = lease(&*store.outbox(), "0xA").await;
    proxy.silence();
    let written = tokio::time::timeout(WITHIN, send(&*store.outbox(), &lease, 1, "one", &[payment(1)])).await;
    assert_eq!(written.unwrap(), Written::Yes);
    proxy.silence();
    let found = tokio::time::timeout(WITHIN, store.settlements().find(key(1))).await.unwrap();
    assert!(found.unwrap().is_some());
}

/// Holds a table until the transaction is dropped with its client.
async fn hold(database: &Postgres, table: &str) -> Client {
    let client = database.client().await;
    client.batch_execute(&format!("BEGIN; LOCK TABLE farthing.{table} IN ACCESS EXCLUSIVE MODE")).await.unwrap();
    client
}

#[tokio::test]
async fn a_book_without_a_free_connection_says_that_it_is_busy() {
    let database = Postgres::new().await;
    let options = Options { connections_max: 1, patience: Duration::from_millis(300), ..Postgres::options() };
    let store = Store::open_with(&database.url(), Access::Own, &options).await.unwrap();
    let held = hold(&database, "lanes").await;
    let outbox = store.outbox();
    let waiting = tokio::spawn(async move { outbox.take(&lane("0xA")).await });
    let mut told = String::new();
    until("it is busy", async || match store.settlements().find(key(1)).await {
        Ok(_) => false,
        Err(error) => {
            told = error.0.to_string();
            true
        }
    })
    .await;
    assert!(told.contains("busy"), "{told}");
    drop(held);
    assert!(matches!(waiting.await.unwrap().unwrap(), LaneClaim::Ours(_)));
}

#[tokio::test]
async fn reads_leave_connections_to_the_writes_and_end_with_who_asked() {
    let database = Postgres::new().await;
    let options = Options { connections_max: 4, ..Postgres::options() };
    let store = Store::open_with(&database.url(), Access::Own, &options).await.unwrap();
    let held = hold(&database, "payments").await;
    let read = |number: u16| {
        let settlements = store.settlements();
        tokio::spawn(async move { settlements.find(key(number)).await })
    };
    let reads: Vec<_> = (0..8).map(read).collect();
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let client = database.client().await;
    let reading = async || client.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0);
    until("they read", async || reading().await == 3).await;
    lease(&*store.outbox(), "0xA").await;
    for read in reads {
        read.abort();
    }
    // Their places are free again at once.
    let more: Vec<_> = (0..3).map(read).collect();
    until("others read", async || reading().await > 3).await;
    drop(held);
    for read in more {
        assert_eq!(read.await.unwrap().unwrap(), None);
    }
}

#[tokio::test]
async fn another_machine_is_not_spoken_to_in_the_clear_unless_somebody_says_so() {
    let database = Postgres::new().await;
    // An address that is not known to be this machine's, and leads to it.
    let elsewhere = database.plain_url().replace("127.0.0.1", "0.0.0.0");
    let open = async |url: String| Store::open_with(&url.parse().unwrap(), Access::Own, &Postgres::options()).await;
    for url in [elsewhere.clone(), format!("{elsewhere}?sslmode=prefer")] {
        let error = open(url).await.unwrap_err();
        assert!(error.to_string().to_lowercase().contains("tls"), "{error}");
    }
    open(format!("{elsewhere}?sslmode=disable")).await.unwrap().close().await;
}

async fn assert_a_broken_commit_counts_once(how: Break) {
    let database = Postgres::new().await;
    open(&database, Access::Own).await.close().await;
    let (proxy, url) = through_proxy(&database.plain_url(), how).await;
    let options = Options { answer_timeout: Duration::from_secs(1), ..Postgres::options() };
    let store = Store::open_with(&url, Access::Own, &options).await.unwrap();

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
    let claim = won(&store.deliveries().claim(&presented(1, "one")).await.unwrap(), true);
    assert!(proxy.has_broken(), "{how:?}");
    let copy = store.deliveries().claim(&presented(1, "one")).await.unwrap();
    assert_eq!(copy, DeliveryClaim::Taken(Delivery::Claimed));
    proxy.arm();
    assert_eq!(store.deliveries().cancel(claim).await.unwrap(), Standing::Held, "{how:?}");
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

#[tokio::test]
async fn a_commit_that_is_lost_in_silence_is_made_again() {
    assert_a_broken_commit_counts_once(Break::Silently).await;
}

#[tokio::test]
async fn tables_of_the_first_version_keep_their_deliveries_and_their_numbers() {
    let database = Postgres::new().await;
    let client = database.client().await;
    let before = "CREATE SCHEMA farthing; SET search_path TO farthing; \
                  CREATE TABLE version (number BIGINT NOT NULL); INSERT INTO version VALUES (1);";
    let deliveries = first_deliveries(|hex| format!("'\\x{hex}'"));
    for sql in [before, include_str!("../../migrations/postgres/0001.sql"), &deliveries] {
        client.batch_execute(sql).await.unwrap();
    }
    let store = open(&database, Access::Own).await;
    first_deliveries_are_known(&*store.deliveries()).await;
}

/// Whoever forgets a payment locks it first and its name after that; whoever asks for the name must not do it the other way.
#[tokio::test]
async fn a_name_that_is_asked_for_does_not_stand_in_the_way_of_who_forgets_its_payment() {
    let database = Postgres::new().await;
    let store = open(&database, Access::Own).await;
    let deliveries = store.deliveries();
    let mut claims = Vec::new();
    for number in [1, 2] {
        claims.push(won(&deliveries.claim(&presented(number, "one")).await.unwrap(), true));
    }
    let named = purchase(1, "one");
    assert_eq!(deliveries.name(claims[0], &named).await.unwrap(), Naming::Ours);
    let client = database.client().await;
    // It is the first to notice if they wait for each other.
    client.batch_execute("SET search_path TO farthing; SET deadlock_timeout = '1ms'; BEGIN").await.unwrap();
    let (key, other) = (claims[0].key.0.as_slice(), claims[1]);
    client.execute("SELECT 1 FROM deliveries WHERE key = $1 FOR UPDATE", &[&key]).await.unwrap();
    let asking = tokio::spawn(async move { deliveries.name(other, &named).await.unwrap() });
    let observer = database.client().await;
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    until("the name is asked for", async || observer.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) == 1).await;
    client.execute("DELETE FROM deliveries WHERE key = $1", &[&key]).await.unwrap();
    client.batch_execute("COMMIT").await.unwrap();
    assert_eq!(asking.await.unwrap(), Naming::Ours, "it is free by now");
}
