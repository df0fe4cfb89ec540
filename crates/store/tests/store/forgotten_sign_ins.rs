//! Used nonces and ended grants leave the tables: seen beside the store, which has no word for it.

use farthing_core::books::{Grant, KEEP_USED_NONCE_SECONDS, SignIns};
use farthing_core::time::UnixSeconds;
use rusqlite::Connection;

use crate::contract::Harness;
use crate::contract::sample::NOW;
use crate::harness::postgres::Postgres;
use crate::harness::sqlite::Sqlite;

const COUNTS: [&str; 2] = ["SELECT count(*) FROM used_nonces", "SELECT count(*) FROM grants"];

fn grant(number: u64, until: Option<UnixSeconds>) -> Grant {
    let (network, payer) = ("eip155:8453".parse().unwrap(), "0xPayer".parse().unwrap());
    Grant { resource: format!("/{number}"), network, payer, until }
}

/// Forty pay and sign in; a while later four more sign in.
async fn pay_and_sign_in(sign_ins: &dyn SignIns) {
    let end = NOW.plus(10);
    for number in 0..40 {
        sign_ins.grant(&grant(number, Some(end))).await.unwrap();
        assert!(sign_ins.use_nonce(&number.to_string(), end, NOW).await.unwrap());
    }
    for (number, until) in [(40, None), (41, Some(UnixSeconds(u64::MAX)))] {
        sign_ins.grant(&grant(number, until)).await.unwrap();
    }
    let later = end.plus(KEEP_USED_NONCE_SECONDS + 1);
    for number in 40..44 {
        assert!(sign_ins.use_nonce(&number.to_string(), later.plus(10), later).await.unwrap());
    }
}

/// Four of the old nonces for each new one; all that had ended of the grants.
const LEFT: [i64; 2] = [40 - 4 * 4 + 4, 2];

#[tokio::test]
async fn what_is_of_no_use_any_more_leaves_the_file_in_small_bites() {
    let harness = Sqlite::new().await;
    let node = harness.node().await;
    pay_and_sign_in(&*node.sign_ins).await;
    let beside = Connection::open(harness.folder.file("book.db")).unwrap();
    assert_eq!(COUNTS.map(|count| beside.query_row(count, [], |row| row.get::<_, i64>(0)).unwrap()), LEFT);
}

#[tokio::test]
async fn what_is_of_no_use_any_more_leaves_the_server_in_small_bites() {
    let harness = Postgres::new().await;
    let node = harness.node().await;
    pay_and_sign_in(&*node.sign_ins).await;
    let client = harness.client().await;
    for (count, left) in COUNTS.into_iter().zip(LEFT) {
        let count = count.replace("FROM ", "FROM farthing.");
        assert_eq!(client.query_one(&count, &[]).await.unwrap().get::<_, i64>(0), left, "{count}");
    }
}
