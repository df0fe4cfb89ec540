//! P1 and P3: verification, with the chain's answers from memory: what is left is the facilitator's own cost.

use std::sync::Arc;

use anyhow::ensure;
use farthing_core::books::MemorySettlements;
use farthing_core::facilitator::Facilitator;
use tokio::runtime::Runtime;

use crate::child::Child;
use crate::limits::Bare;
use crate::load::{Load, post};
use crate::measure::{beside, count, quiet, repeat, repeat_async};
use crate::node::{self, Counted, Memory};
use crate::rejects;
use crate::report::Bound::AtMost;
use crate::report::{Report, Row};
use crate::sample::Sample;

/// How many different payments are verified in one round over HTTP.
const PAYMENTS: u32 = 3_000;
/// How many rounds; a quiet one is quoted.
const ROUNDS: usize = 8;
/// How many connections, as the peers were measured.
const CONNECTIONS: usize = 64;
/// How many verifications the round trips are counted over.
const COUNTED: usize = 100;

pub fn run(runtime: &Runtime, report: &mut Report) -> anyhow::Result<()> {
    let sample = Sample::new()?;
    in_process(runtime, &sample, report)?;
    runtime.block_on(over_http(&sample, report))
}

fn in_process(runtime: &Runtime, sample: &Sample, report: &mut Report) -> anyhow::Result<()> {
    let node = Counted::new(Memory::new()?);
    let local = rejects::local(node.clone(), Arc::new(MemorySettlements::default()))?;
    let request = sample.request(sample.good(0)?);
    for _ in 0..COUNTED {
        let answer = runtime.block_on(local.verify(&request))?;
        ensure!(answer.is_valid, "a good payment was refused: {answer:?}");
    }
    let (round_trips, _) = node.counter.take();
    let bare = Bare::new()?;
    let (cost, limit) = beside(repeat_async(runtime, || local.verify(&request)), repeat(|| bare.check()));
    report.add(Row::new("P1", "verify in process, node in memory", cost, "µs").against(limit));
    let each = count(round_trips) / count(COUNTED);
    report.add(Row::new("P3", "node round trips per verify, in process", each, "").must(AtMost(1.0)).aim(AtMost(0.1)));
    Ok(())
}

async fn over_http(sample: &Sample, report: &mut Report) -> anyhow::Result<()> {
    let (rpc_url, counter) = node::serve_memory().await?;
    let child = Child::serve(&["facilitator", &rpc_url])?;
    let request = |serial| anyhow::Ok(post("/verify", &serde_json::to_string(&sample.request(sample.good(serial)?))?));
    let load = Load::of((1..=PAYMENTS).map(request).collect::<Result<_, _>>()?, "HTTP/1.1 200", r#""isValid":true"#);
    child.cpu_per_request(&load, CONNECTIONS).await?;
    counter.take();
    let mut figures = Vec::new();
    for _ in 0..ROUNDS {
        figures.push(child.cpu_per_request(&load, CONNECTIONS).await?);
    }
    let (round_trips, calls) = counter.take();
    let row = Row::new("P1", "verify over HTTP, node over HTTP, 64 at once", quiet(figures), "µs");
    report.add(row.must(AtMost(120.0)).aim(AtMost(75.0)));
    let verified = count(load.count() * ROUNDS);
    let row = Row::new("P3", "node round trips per verify, 64 at once", count(round_trips) / verified, "");
    report.add(row.must(AtMost(1.0)).aim(AtMost(0.1)));
    report.add(Row::new("P3", "calls in them per verify", count(calls) / verified, ""));
    Ok(())
}
