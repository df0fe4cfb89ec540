//! What is true of a book in a file alone: its lock, its modes, its disk.

use std::sync::Arc;
use std::time::Duration;

use farthing_core::books::{Outgoing, ReserveError, SettlementQuery, Spend, Written};
use farthing_store::{Access, Options, Store, StoreError, StoreUrl};
use rusqlite::Connection;

use crate::contract::deliveries::{first_deliveries, first_deliveries_are_known};
use crate::contract::sample::*;
use crate::harness::Folder;
use crate::harness::sqlite::open_again;

/// Where a child process finds the book.
const BOOK_VARIABLE: &str = "FARTHING_STORE_TEST_BOOK";

fn book(folder: &Folder) -> StoreUrl {
    StoreUrl::sqlite(folder.file("book.db"))
}

async fn refused(url: &StoreUrl, access: Access, says: &str) {
    let error = Store::open(url, access).await.unwrap_err();
    assert!(error.to_string().contains(says), "{error}");
}

#[tokio::test]
async fn a_book_has_one_owner_and_any_number_of_readers() {
    let folder = Folder::new();
    let owner = Store::open(&book(&folder), Access::Own).await.unwrap();
    let error = Store::open(&book(&folder), Access::Own).await.unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }));
    let text = error.to_string();
    assert!(text.contains("book.db") && text.contains("another process") && text.contains("postgres://"), "{text}");
    let (one, two) = (Store::open(&book(&folder), Access::Read).await, Store::open(&book(&folder), Access::Read).await);
    let lease = lease(&*owner.outbox(), "0xA").await;
    send(&*owner.outbox(), &lease, 1, "one", &[payment(1)]).await;
    for reader in [one.unwrap(), two.unwrap()] {
        assert!(reader.settlements().find(key(1)).await.unwrap().is_some());
        let error = reader.settlements().dead(key(1), &transaction("one"), &refusal("x"), NOW).await.unwrap_err();
        assert!(error.0.to_string().contains("reading only"));
        assert!(reader.outbox().take(&lane("0xA")).await.is_err());
    }
    owner.close().await;
    Store::open(&book(&folder), Access::Own).await.unwrap();
}

#[tokio::test]
async fn a_closed_store_refuses_what_comes_later_and_keeps_what_came_before() {
    let folder = Folder::new();
    let store = Store::open(&book(&folder), Access::Own).await.unwrap();
    let lease = lease(&*store.outbox(), "0xA").await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..50_u16 {
        let (outbox, lease) = (store.outbox(), lease.clone());
        tasks.spawn(async move { send(&*outbox, &lease, number.into(), &format!("t{number}"), &[payment(number)]).await });
    }
    assert!(tasks.join_all().await.iter().all(|written| *written == Written::Yes));
    let (settlements, clone) = (store.settlements(), store.clone());
    store.close().await;
    assert!(settlements.find(key(1)).await.is_err());
    assert!(clone.outbox().take(&lane("0xA")).await.is_err());
    // The lock is free, though a clone is still there.
    let store = Store::open(&book(&folder), Access::Own).await.unwrap();
    let all = SettlementQuery { limit: 100, ..SettlementQuery::default() };
    assert_eq!(store.settlements().list(&all).await.unwrap().len(), 50);
}

#[tokio::test]
async fn a_shared_ledger_is_no_facilitators_book() {
    let folder = Folder::new();
    let shared = Store::open(&book(&folder), Access::Shared).await.unwrap();
    let error = shared.outbox().take(&lane("0xA")).await.unwrap_err();
    assert!(error.0.to_string().contains("Access::Own"), "{}", error.0);
    // The owner of the same file is not in its way.
    let owner = Store::open(&book(&folder), Access::Own).await.unwrap();
    lease(&*owner.outbox(), "0xA").await;
}

/// Reserves until the limit is reached, and returns how often that went well.
async fn reserve_all(url: &StoreUrl, access: Access) -> usize {
    let store = Store::open(url, access).await.unwrap();
    let spend = Spend { usd: "$0.30".parse().unwrap(), resource: String::new() };
    let limits = ["$5 per day".parse().unwrap(), "$20 in total".parse().unwrap()];
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (ledger, spend) = (store.ledger(), spend.clone());
        tasks.spawn(async move {
            match ledger.reserve(&spend, &limits, NOW).await {
                Ok(_) => true,
                Err(ReserveError::OverLimit { .. }) => false,
                Err(ReserveError::Book(error)) => panic!("{error:?}: {}", error.0),
            }
        });
    }
    let reserved = tasks.join_all().await.into_iter().filter(|reserved| *reserved).count();
    store.close().await;
    reserved
}

/// In the book that the test below names; by itself in one of its own.
#[tokio::test]
async fn a_ledger_is_filled_to_its_limit() {
    match std::env::var_os(BOOK_VARIABLE) {
        Some(path) => assert!(reserve_all(&StoreUrl::sqlite(path), Access::Shared).await <= 16),
        None => assert_eq!(reserve_all(&book(&Folder::new()), Access::Shared).await, 16, "16 times 0.30 is 4.80 of 5"),
    }
}

#[tokio::test]
async fn limits_hold_across_processes() {
    let folder = Folder::new();
    let children: Vec<_> = (0..4)
        .map(|_| {
            let mut child = std::process::Command::new(std::env::current_exe().unwrap());
            child.args(["--exact", "sqlite_file::a_ledger_is_filled_to_its_limit"]);
            child.env(BOOK_VARIABLE, folder.file("book.db")).stdout(std::process::Stdio::null());
            child.spawn().unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let reserved = Connection::open(folder.file("book.db")).unwrap();
    let count: i64 = reserved.query_row("SELECT count(*) FROM reservations", [], |row| row.get(0)).unwrap();
    assert_eq!(count, 16, "16 times 0.30 is 4.80 of 5");
}

#[tokio::test]
async fn a_full_disk_fails_every_write_of_the_batch_and_nothing_else() {
    let folder = Folder::new();
    let options = Options { pages_max: 120, ..Options::default() };
    let store = Store::open_with(&book(&folder), Access::Own, &options).await.unwrap();
    let lease = lease(&*store.outbox(), "0xA").await;
    let signed: Arc<[u8]> = vec![7; 20_000].into();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..60_u16 {
        let (outbox, lease, signed) = (store.outbox(), lease.clone(), Arc::clone(&signed));
        tasks.spawn(async move {
            let (transaction, payments) = (transaction(&format!("t{number}")), [payment(number)]);
            let outgoing = Outgoing {
                lease: &lease,
                sequence: number.into(),
                transaction: &transaction,
                signed: &signed,
                height: 1,
                payments: &payments,
                now: NOW,
            };
            (number, outbox.sending(&outgoing).await)
        });
    }
    let answers = tasks.join_all().await;
    let failed = answers.iter().filter(|(_, written)| written.is_err()).count();
    assert!(failed > 0, "the disk was never full");
    for (_, written) in &answers {
        match written {
            Ok(written) => assert_eq!(*written, Written::Yes),
            Err(error) => assert!(error.0.to_string().contains("free some space"), "{}", error.0),
        }
    }
    // The store goes on with whatever still fits.
    let small = send(&*store.outbox(), &lease, 900, "small", &[payment(900)]).await;
    assert_eq!(small, Written::Yes);
    store.close().await;
    let store = open_again(&book(&folder)).await;
    for (number, written) in answers {
        assert_eq!(store.settlements().find(key(number)).await.unwrap().is_some(), written.is_ok());
    }
    assert!(store.settlements().find(key(900)).await.unwrap().is_some());
}

#[tokio::test]
async fn a_file_that_is_no_book_is_left_as_it_is() {
    let folder = Folder::new();
    let garbage = b"these are my notes, and no database at all ".repeat(200);
    std::fs::write(folder.file("book.db"), &garbage).unwrap();
    refused(&book(&folder), Access::Own, "damaged").await;
    assert_eq!(std::fs::read(folder.file("book.db")).unwrap(), garbage);

    let other = StoreUrl::sqlite(folder.file("other.db"));
    Connection::open(folder.file("other.db")).unwrap().execute_batch("CREATE TABLE mine (x)").unwrap();
    for access in [Access::Own, Access::Shared, Access::Read] {
        refused(&other, access, "another program").await;
    }
}

#[tokio::test]
async fn a_damaged_book_is_told_at_the_start() {
    let folder = Folder::new();
    Store::open(&book(&folder), Access::Own).await.unwrap().close().await;
    let mut bytes = std::fs::read(folder.file("book.db")).unwrap();
    bytes[100..2_000].fill(0xff);
    std::fs::write(folder.file("book.db"), bytes).unwrap();
    refused(&book(&folder), Access::Own, "restore it from a backup").await;
}

#[tokio::test]
async fn a_book_of_a_newer_program_is_refused() {
    let folder = Folder::new();
    Store::open(&book(&folder), Access::Own).await.unwrap().close().await;
    Connection::open(folder.file("book.db")).unwrap().execute_batch("PRAGMA user_version = 99").unwrap();
    for access in [Access::Own, Access::Shared, Access::Read] {
        refused(&book(&folder), access, "newer program").await;
    }
}

#[tokio::test]
async fn what_cannot_be_opened_says_what_to_do() {
    let folder = Folder::new();
    refused(&StoreUrl::sqlite(folder.file("missing/book.db")), Access::Own, "create it first").await;
    refused(&book(&folder), Access::Read, "there is no such file").await;
    refused(&StoreUrl::sqlite(&folder.0), Access::Own, "name a file in it").await;
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn a_place_where_nothing_can_be_written_is_an_error() {
    refused(&StoreUrl::sqlite("/proc/book.db"), Access::Own, "allowed to write").await;
}

#[tokio::test]
#[cfg(unix)]
async fn the_file_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let store = Store::open(&book(&folder), Access::Own).await.unwrap();
    lease(&*store.outbox(), "0xA").await;
    for name in ["book.db", "book.db-wal"] {
        let mode = std::fs::metadata(folder.file(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name} has mode {mode:o}");
    }
}

#[tokio::test]
async fn writes_that_gather_share_commits() {
    let folder = Folder::new();
    let store = Store::open(&book(&folder), Access::Own).await.unwrap();
    let lease = lease(&*store.outbox(), "0xA").await;
    // Somebody else writes meanwhile, so everything gathers behind the first.
    let busy = Connection::open(folder.file("book.db")).unwrap();
    busy.execute_batch("BEGIN IMMEDIATE").unwrap();
    let writes = (0..64_u16).map(|number| {
        let (outbox, lease) = (store.outbox(), lease.clone());
        async move {
            // Every other one is a copy that has to fail by itself.
            let payments = [payment(number / 2)];
            send(&*outbox, &lease, number.into(), &format!("t{number}"), &payments).await
        }
    });
    let release = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        busy.execute_batch("COMMIT").unwrap();
    };
    let (answers, ()) = tokio::join!(futures_util::future::join_all(writes), release);
    assert_eq!(answers.iter().filter(|written| **written == Written::Yes).count(), 32);
    assert_eq!(store.outbox().under_way(&lease, 0, usize::MAX).await.unwrap().unwrap().len(), 32);
}

/// What the first version of the tables knew of a payment that was served, and of one that was being settled.
#[tokio::test]
async fn a_book_of_the_first_version_keeps_its_deliveries_and_their_numbers() {
    let folder = Folder::new();
    let old = Connection::open(folder.file("book.db")).unwrap();
    old.execute_batch(include_str!("../../migrations/sqlite/0001.sql")).unwrap();
    old.execute_batch("PRAGMA application_id = 0x46525448; PRAGMA user_version = 1").unwrap();
    old.execute_batch(&first_deliveries(|hex| format!("x'{hex}'"))).unwrap();
    drop(old);
    let store = Store::open(&book(&folder), Access::Own).await.unwrap();
    first_deliveries_are_known(&*store.deliveries()).await;
}
