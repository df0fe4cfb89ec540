//! P5 and P8 over blocks of two seconds.

use std::time::Duration;

use super::{FIRST, all_good, settle, tell_calls, tell_failures};
use crate::binary::Farthing;
use crate::chain::{Blocks, Chain, Kind};
use crate::measure::count;
use crate::proxy::{Options, Proxy};
use crate::report::Bound::AtMost;
use crate::report::{Report, Row};
use crate::sample::Sample;

/// As Base makes them.
const BLOCK_SECONDS: u64 = 2;
const BLOCK_MILLISECONDS: f64 = 2_000.0;
/// How many settlements the node's calls are counted over, at once and in all.
const COUNTED: (usize, usize) = (32, 96);
/// How many buyers come one after the other, and how soon: they meet every moment between two blocks. The first are so few
/// that each can have a transaction of its own; the others are more than a block takes of one sender's transactions.
const BUYERS: [(usize, Duration); 2] = [(60, Duration::from_millis(170)), (240, Duration::from_millis(43))];

pub async fn run(report: &mut Report) -> anyhow::Result<()> {
    let sample = &Sample::new()?;
    let chain = Chain::start(Kind::Devnet, Blocks::EverySeconds(BLOCK_SECONDS)).await?;
    let proxy = Proxy::start(chain.rpc_url(), Options::default()).await?;
    let files = Farthing::new("blocks", &proxy.url)?;
    let child = files.start()?;
    let mut serials = 0..;
    all_good(&settle(sample, serials.by_ref().take(FIRST))?.fire(child.address(), FIRST).await?)?;

    let (at_once, settlements) = COUNTED;
    let volley = settle(sample, serials.by_ref().take(settlements))?;
    proxy.counter.take();
    all_good(&volley.fire(child.address(), at_once).await?)?;
    tell_calls(&proxy, settlements, &format!("{at_once} at once over 2 s blocks"), report);

    for (buyers, interval) in BUYERS {
        proxy.counter.take();
        let outcome = settle(sample, serials.by_ref().take(buyers))?.spread(child.address(), interval).await?;
        tell_failures(&outcome);
        let what = format!("2 s blocks, a buyer every {} ms", interval.as_millis());
        let bound = BLOCK_MILLISECONDS / 2.0 + 100.0;
        report.add(Row::new("P5", format!("{what}: p50"), outcome.percentile(50), "ms").aim(AtMost(bound)));
        let bound = BLOCK_MILLISECONDS + 300.0;
        report.add(Row::new("P5", format!("{what}: p99"), outcome.percentile(99), "ms").must(AtMost(bound)));
        report.add(Row::new("P5", format!("{what}: failures"), count(outcome.failed()), "").must(AtMost(0.0)));
        let counts = proxy.counter.take();
        let each = count(counts.calls) / count(buyers);
        report.add(Row::new("-", format!("{what}: node calls for each settlement"), each, ""));
        eprintln!("  {what}: {}", counts.by_method(buyers));
    }
    Ok(())
}
