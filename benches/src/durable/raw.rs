//! What the disk can do: one writer, many who wait, one commit for all that wait, each commit synced.

use std::path::Path;
use std::sync::mpsc::{Sender, channel, sync_channel};
use std::time::Instant;

use alloy_primitives::keccak256;
use anyhow::Context;
use rusqlite::Connection;

use super::{AT_ONCE, Speed};
use crate::volley::percentile;

const ROWS_PER_WRITER: u32 = 300;
/// As long as what a book keeps of a payment at least.
const ROW: [u8; 100] = [3; 100];

/// A row to write, and where to say that it is durable.
struct Wanted {
    key: [u8; 32],
    done: std::sync::mpsc::SyncSender<()>,
}

/// The rate of group commits, and how long one writer waits.
pub fn group_commits(path: &Path) -> anyhow::Result<Speed> {
    let connection = Connection::open(path)?;
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
         CREATE TABLE payments (key BLOB PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID;",
    )?;
    let (wanted, received) = channel::<Wanted>();
    let started = Instant::now();
    let writers: Vec<_> = (0..AT_ONCE)
        .map(|number| {
            let wanted = wanted.clone();
            std::thread::spawn(move || wait_for_rows(number, &wanted))
        })
        .collect();
    drop(wanted);
    while let Ok(first) = received.recv() {
        let mut group = vec![first];
        group.extend(received.try_iter());
        connection.execute_batch("BEGIN IMMEDIATE")?;
        let mut insert = connection.prepare_cached("INSERT INTO payments VALUES (?1, ?2)")?;
        for row in &group {
            insert.execute((row.key, ROW))?;
        }
        connection.execute_batch("COMMIT")?;
        for row in group {
            row.done.send(()).context("a writer is gone")?;
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    let waits = writers.into_iter().map(|writer| writer.join().ok().flatten()).collect::<Option<Vec<_>>>();
    let mut milliseconds = waits.context("a writer failed")?.concat();
    milliseconds.sort_by(f64::total_cmp);
    Ok(Speed { rate: f64::from(AT_ONCE * ROWS_PER_WRITER) / seconds, milliseconds_p99: percentile(&milliseconds, 99) })
}

/// One writer: it wants its next row when the last one is durable.
fn wait_for_rows(number: u32, wanted: &Sender<Wanted>) -> Option<Vec<f64>> {
    let (done, told) = sync_channel(1);
    let mut milliseconds = Vec::new();
    for row in 0..ROWS_PER_WRITER {
        let key = keccak256((number * ROWS_PER_WRITER + row).to_be_bytes()).0;
        let before = Instant::now();
        wanted.send(Wanted { key, done: done.clone() }).ok()?;
        told.recv().ok()?;
        milliseconds.push(before.elapsed().as_secs_f64() * 1e3);
    }
    Some(milliseconds)
}
