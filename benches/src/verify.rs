//! P1, P3 and P4: verification by the real binary, with the chain's answers from memory: what is left is the facilitator's
//! own cost; and with a node that takes its time.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use farthing_core::books::MemorySettlements;
use farthing_core::facilitator::Facilitator;

use crate::binary::Farthing;
use crate::chain::{Blocks, Chain, Kind};
use crate::limits::Bare;
use crate::load::Load;
use crate::measure::{beside, count, median, quiet, repeat, repeat_async};
use crate::node::{Counted, Remembering};
use crate::proxy::{Options, Proxy};
use crate::rejects;
use crate::report::Bound::AtMost;
use crate::report::{Report, Row};
use crate::sample::Sample;
use crate::volley::Volley;

/// How many different payments are verified in one round over HTTP.
const PAYMENTS: u32 = 3_000;
/// How many rounds; a quiet one is quoted.
const ROUNDS: usize = 8;
/// How many connections, as the peers were measured.
const CONNECTIONS: usize = 64;
/// How many verifications the round trips are counted over in process.
const COUNTED: usize = 100;
/// How long the node takes, in milliseconds; how many payments are verified then, and how many at once.
const DELAYS_MILLISECONDS: [u32; 2] = [5, 20];
const DELAYED: u32 = 2_000;
const DELAYED_AT_ONCE: usize = 32;
/// In how many rounds, after as many that let the memory of the node's answers see batches of every size. A slow moment of
/// the machine is longer than the hundredth of a round that p99 forgives, so the middle round is quoted.
const DELAYED_ROUNDS: usize = 5;

pub async fn run(report: &mut Report) -> anyhow::Result<()> {
    let sample = Sample::new()?;
    let chain = Chain::start(Kind::Devnet, Blocks::Instant).await?;
    let rpc_url = chain.rpc_url().to_owned();
    let (sample, returned) = tokio::task::spawn_blocking(move || {
        let rows = in_process(&sample, &rpc_url);
        (sample, rows)
    })
    .await?;
    for row in returned? {
        report.add(row);
    }
    over_http(&chain, &sample, report).await?;
    for milliseconds in DELAYS_MILLISECONDS {
        delayed(&chain, &sample, milliseconds, report).await?;
    }
    Ok(())
}

/// On one thread, so that this thread's CPU time is all that it costs.
fn in_process(sample: &Sample, rpc_url: &str) -> anyhow::Result<Vec<Row>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let node = Counted::new(Remembering::new(rpc_url)?);
    let local = rejects::local(node.clone(), Arc::new(MemorySettlements::default()))?;
    let request = sample.request(sample.good(0)?);
    for _ in 0..COUNTED {
        let answer = runtime.block_on(local.verify(&request))?;
        ensure!(answer.is_valid, "a good payment was refused: {answer:?}");
    }
    let counts = node.counter.take();
    let bare = Bare::new()?;
    let (cost, limit) = beside(repeat_async(&runtime, || local.verify(&request)), repeat(|| bare.check()));
    let each = count(counts.round_trips) / count(COUNTED);
    Ok(vec![
        Row::new("P1", "verify in process, one at a time, node in memory", cost, "µs").against(limit),
        Row::new("P3", "node round trips per verify, in process, one at a time", each, "").must(AtMost(1.0)),
    ])
}

async fn over_http(chain: &Chain, sample: &Sample, report: &mut Report) -> anyhow::Result<()> {
    let proxy = Proxy::start(chain.rpc_url(), Options { remembers: true, ..Options::default() }).await?;
    let files = Farthing::new("verify", &proxy.url)?;
    let child = files.start()?;
    let load = Load::of(sample.posts("/verify", 1..=PAYMENTS)?, "HTTP/1.1 200", r#""isValid":true"#);
    child.cpu_per_request(&load, CONNECTIONS).await?;
    proxy.counter.take();
    let mut figures = Vec::new();
    for _ in 0..ROUNDS {
        figures.push(child.cpu_per_request(&load, CONNECTIONS).await?);
    }
    let counts = proxy.counter.take();
    let row = Row::new("P1", "verify over HTTP, node over HTTP, 64 at once", quiet(figures), "µs");
    report.add(row.must(AtMost(120.0)).aim(AtMost(75.0)));
    let verified = count(load.count() * ROUNDS);
    let row = Row::new("P3", "node round trips per verify, 64 at once", count(counts.round_trips) / verified, "");
    report.add(row.must(AtMost(1.0)).aim(AtMost(0.1)));
    report.add(Row::new("P3", "calls in them per verify", count(counts.calls) / verified, ""));
    eprintln!("  64 at once: {}", counts.by_method(load.count() * ROUNDS));
    Ok(())
}

async fn delayed(chain: &Chain, sample: &Sample, milliseconds: u32, report: &mut Report) -> anyhow::Result<()> {
    let delay = Duration::from_millis(milliseconds.into());
    let proxy = Proxy::start(chain.rpc_url(), Options { remembers: true, delay }).await?;
    let files = Farthing::new("delayed", &proxy.url)?;
    let child = files.start()?;
    let volley = Volley::verify(sample.posts("/verify", 1..=DELAYED)?);
    let (mut p99, mut p50) = (Vec::new(), Vec::new());
    for round in 0..2 * DELAYED_ROUNDS {
        let outcome = volley.fire(child.address(), DELAYED_AT_ONCE).await?;
        ensure!(outcome.failed() == 0, "good payments were refused: {}", outcome.told());
        if round >= DELAYED_ROUNDS {
            p99.push(outcome.percentile(99));
            p50.push(outcome.percentile(50));
        }
    }
    eprintln!("  p99 with a node that takes {milliseconds} ms, round by round: {p99:.1?}");
    // Timers have whole milliseconds: what the node really takes is measured.
    let taken = proxy.milliseconds().await?;
    let what = |what: &str| format!("verify with a node that takes {milliseconds} ms, 32 at once: {what}");
    report.add(Row::new("-", what("the node alone, one question at a time"), taken, "ms"));
    report.add(Row::new("P4", what("p99"), median(p99), "ms").must(AtMost(1.1 * taken + 5.0)));
    report.add(Row::new("-", what("p50"), median(p50), "ms"));
    Ok(())
}
