//! P12: the book. Success is said only after an fsync, so the disk's own rate of group commits is the limit, and a book
//! that forgets everything the other end of the scale.
//!
//! - [`raw`]: what the disk and SQLite can do with rows of a payment's size.
//! - [`engine`]: the facilitator's own settle path, on a chain that costs nothing.
//! - [`path`]: the real binary's, on the embedded chain.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use anyhow::{Context, ensure};
use farthing::store::{Access, Store};
use farthing_core::books::{LaneLease, MemorySettlements, Outbox, Outgoing, OutgoingPayment, Settlements, Written};
use farthing_core::scheme::{PaymentKey, TransactionId};
use tokio::task::JoinSet;

use crate::measure::count;
use crate::report::Bound::{AtLeast, AtMost};
use crate::report::{Report, Row};
use crate::sample::{self, PAYERS, Sample};
use crate::scratch::Scratch;
use crate::volley::percentile;

mod engine;
mod path;
mod raw;

/// How many payments wait at once, and how many there are in all.
const AT_ONCE: u32 = 64;
const PAYMENTS: u32 = 8_000;
/// How many payments the relayer packs into one transaction when so many wait, and how many such transactions there are.
const PACKED: u32 = 100;
const PACKS: u32 = 200;
/// About as long as one settlement makes a signed transaction.
const SIGNED_BYTES: usize = 420;

pub async fn run(report: &mut Report) -> anyhow::Result<()> {
    let folder = Scratch::new("durable")?;
    let path = folder.path().join("raw.db");
    let raw = tokio::task::spawn_blocking(move || raw::group_commits(&path)).await??;
    report.add(Row::new("-", "group commits of 64 waiting writers, bare SQLite with fsync", raw.rate, "/s"));
    report.add(Row::new("-", "the same: p99 of one write", raw.milliseconds_p99, "ms"));

    let store = open(&folder, "packed.db").await?;
    let packed = packs(store.settlements(), store.outbox()).await?;
    store.close().await;
    let row = Row::new("P12", "payments written and settled in SQLite, 100 to a transaction as under load", packed.rate, "/s");
    report.add(row.against(raw.rate).must(AtLeast(0.25)));
    report.add(Row::new(
        "-",
        "the same: p99 of one write of 100 payments, or of one of 100 settled",
        packed.milliseconds_p99,
        "ms",
    ));

    let store = open(&folder, "book.db").await?;
    let durable = lives(store.settlements(), store.outbox()).await?;
    store.close().await;
    let row = Row::new("-", "the same, each in a transaction of its own, 64 at once", durable.rate, "/s");
    report.add(row.against(raw.rate));
    report.add(Row::new("P12", "the same: p99 of one write", durable.milliseconds_p99, "ms").must(AtMost(10.0)));
    let book = Arc::new(MemorySettlements::default());
    let forgetful = lives(book.clone(), book).await?;
    report.add(Row::new("-", "the same in a book that forgets", forgetful.rate, "/s"));
    engine::run(&folder, report).await?;
    path::run(report).await
}

/// How fast something is written.
struct Speed {
    rate: f64,
    milliseconds_p99: f64,
}

/// A new book in SQLite.
async fn open(folder: &Scratch, name: &str) -> anyhow::Result<Store> {
    let url = format!("sqlite:{}", folder.path().join(name).display()).parse()?;
    Ok(Store::open(&url, Access::Own).await?)
}

/// The whole life of payments in a book as the relayer writes them under load: one lane that packs them, and whoever waits
/// for one says that it is settled.
async fn packs(settlements: Arc<dyn Settlements>, outbox: Arc<dyn Outbox>) -> anyhow::Result<Speed> {
    let template = Sample::new()?.outgoing(0)?;
    let lease = sample::take_lane(&*outbox).await?;
    let mut milliseconds = Vec::new();
    let mut settling = JoinSet::new();
    let started = Instant::now();
    for pack in 0..PACKS {
        let payments: Vec<OutgoingPayment> =
            (pack * PACKED..(pack + 1) * PACKED).map(|serial| renamed(&template, serial)).collect::<anyhow::Result<_>>()?;
        let transaction = TransactionId(format!("{pack:#066x}"));
        let before = Instant::now();
        write(&*outbox, &lease, pack, &transaction, &payments).await?;
        milliseconds.push(before.elapsed().as_secs_f64() * 1e3);
        // One transaction's payments are settled while the next one is written.
        milliseconds.extend(settling.join_all().await.into_iter().collect::<anyhow::Result<Vec<f64>>>()?);
        settling = JoinSet::new();
        for payment in payments {
            let (settlements, transaction) = (Arc::clone(&settlements), transaction.clone());
            settling.spawn(async move {
                let before = Instant::now();
                let settlement = sample::settlement(&payment.record, transaction);
                settlements.settled(payment.record.key, &settlement, sample::now()).await?;
                anyhow::Ok(before.elapsed().as_secs_f64() * 1e3)
            });
        }
    }
    milliseconds.extend(settling.join_all().await.into_iter().collect::<anyhow::Result<Vec<f64>>>()?);
    let rate = f64::from(PACKS * PACKED) / started.elapsed().as_secs_f64();
    milliseconds.sort_by(f64::total_cmp);
    Ok(Speed { rate, milliseconds_p99: percentile(&milliseconds, 99) })
}

/// The whole life of payments in a book, each in a transaction of its own: `sending`, then `settled`.
async fn lives(settlements: Arc<dyn Settlements>, outbox: Arc<dyn Outbox>) -> anyhow::Result<Speed> {
    let template = Arc::new(Sample::new()?.outgoing(0)?);
    let lease = Arc::new(sample::take_lane(&*outbox).await?);
    let next = Arc::new(AtomicU32::new(0));
    let started = Instant::now();
    let worker = || {
        let (settlements, outbox) = (Arc::clone(&settlements), Arc::clone(&outbox));
        let (template, lease, next) = (Arc::clone(&template), Arc::clone(&lease), Arc::clone(&next));
        async move {
            let mut milliseconds = Vec::new();
            loop {
                let serial = next.fetch_add(1, Ordering::Relaxed);
                if serial >= PAYMENTS {
                    return anyhow::Ok(milliseconds);
                }
                let payment = renamed(&template, serial)?;
                let transaction = TransactionId(payment.record.key.to_string());
                let before = Instant::now();
                write(&*outbox, &lease, serial, &transaction, std::slice::from_ref(&payment)).await?;
                milliseconds.push(before.elapsed().as_secs_f64() * 1e3);
                let before = Instant::now();
                let settlement = sample::settlement(&payment.record, transaction);
                settlements.settled(payment.record.key, &settlement, sample::now()).await?;
                milliseconds.push(before.elapsed().as_secs_f64() * 1e3);
            }
        }
    };
    let workers: Vec<_> = (0..AT_ONCE).map(|_| tokio::spawn(worker())).collect();
    let mut milliseconds = Vec::new();
    for worker in workers {
        milliseconds.extend(worker.await.context("a writer's task ended early")??);
    }
    let rate = f64::from(PAYMENTS) / started.elapsed().as_secs_f64();
    ensure!(count(milliseconds.len()) >= 2.0 * f64::from(PAYMENTS), "some writes are missing");
    milliseconds.sort_by(f64::total_cmp);
    Ok(Speed { rate, milliseconds_p99: percentile(&milliseconds, 99) })
}

async fn write(
    outbox: &dyn Outbox,
    lease: &LaneLease,
    sequence: u32,
    transaction: &TransactionId,
    payments: &[OutgoingPayment],
) -> anyhow::Result<()> {
    let outgoing = Outgoing {
        lease,
        sequence: sequence.into(),
        transaction,
        signed: &vec![7; SIGNED_BYTES * payments.len()],
        height: 0,
        payments,
        now: sample::now(),
    };
    ensure!(outbox.sending(&outgoing).await? == Written::Yes, "a new payment was not written");
    Ok(())
}

/// The same payment of another payer under another key: to sign each one would cost more than to write it.
fn renamed(template: &OutgoingPayment, serial: u32) -> anyhow::Result<OutgoingPayment> {
    let key = alloy_primitives::keccak256(serial.to_be_bytes());
    let mut payment = template.clone();
    payment.record.key = PaymentKey(key.0);
    payment.record.reference = key.to_string();
    payment.record.payer = format!("0x{:040x}", serial % PAYERS).parse()?;
    Ok(payment)
}
