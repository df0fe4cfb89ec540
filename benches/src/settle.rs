//! P5 to P8: settlements by the real binary with a durable book, one signer, against the chain's own ceiling.
//!
//! - here: over instant blocks, on our own chain and on anvil;
//! - [`blocks`]: over blocks of two seconds, as Base makes them;
//! - [`crowd`]: a thousand at once, with and without a kill in the middle.

use std::num::NonZeroUsize;

use anyhow::ensure;

use crate::binary::Farthing;
use crate::ceiling::{Ceiling, Receipts};
use crate::chain::{Blocks, Chain, Kind};
use crate::child::Child;
use crate::measure::{count, median, quiet};
use crate::proxy::{Options, Proxy};
use crate::report::Bound::{AtLeast, AtMost};
use crate::report::{Report, Row};
use crate::sample::Sample;
use crate::volley::{Outcome, Volley};

pub mod blocks;
pub mod crowd;

/// How many settlements are asked for at once, how many in all, and in how many rounds.
const CROWDS: [(usize, usize, usize); 2] = [(32, 320, 3), (200, 1_600, 3)];
/// The first payments teach the facilitator what the asset costs.
const FIRST: usize = 4;
/// How many settlements the node's calls are counted over, at once and in all.
const COUNTED: (usize, usize) = (32, 320);

pub async fn run(report: &mut Report) -> anyhow::Result<()> {
    let sample = Sample::new()?;
    for kind in [Kind::Devnet, Kind::Anvil] {
        instant(kind, &sample, report).await?;
    }
    Ok(())
}

async fn instant(kind: Kind, sample: &Sample, report: &mut Report) -> anyhow::Result<()> {
    let chain = Chain::start(kind, Blocks::Instant).await?;
    let name = format!("{kind:?}").to_lowercase();
    let mut serials = 0..;
    let files = Farthing::new(&name, chain.rpc_url())?;
    let child = files.start()?;
    all_good(&settle(sample, serials.by_ref().take(FIRST))?.fire(child.address(), 1).await?)?;
    let mut measured = Measured { chain: &chain, child: &child, ceiling: Ceiling::new(&chain, sample).await?, name: &name };
    for (at_once, settlements, rounds) in CROWDS {
        let volleys = (0..rounds).map(|_| settle(sample, serials.by_ref().take(settlements)));
        let volleys = volleys.collect::<anyhow::Result<_>>()?;
        measured.crowd(at_once, volleys, &mut serials, report).await?;
    }
    drop(measured);
    drop(child);
    calls(&chain, sample, &mut serials, report, &name).await
}

/// What one facilitator on one chain is measured with.
struct Measured<'a> {
    chain: &'a Chain,
    child: &'a Child,
    ceiling: Ceiling<'a>,
    name: &'a str,
}

impl Measured<'_> {
    /// The facilitator and the chain itself take turns: a chain grows slower with its blocks.
    async fn crowd(
        &mut self,
        at_once: usize,
        volleys: Vec<Volley>,
        serials: &mut impl Iterator<Item = u32>,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let Self { chain, child, ceiling, name } = self;
        let (mut rates, mut latencies, mut gas, mut cpu, mut chain_cpu, mut failed) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new(), 0);
        let (mut alone, mut in_batches, mut gas_alone) = (Vec::new(), Vec::new(), Vec::new());
        for volley in volleys {
            let round = ceiling.round(serials, Receipts::OneByOne).await?;
            alone.push(round.rate);
            gas_alone.push(round.gas_units);
            in_batches.push(ceiling.round(serials, Receipts::InBatches).await?.rate);
            let (before, chain_before) = (child.cpu_microseconds()?, chain.cpu_microseconds()?);
            let outcome = volley.fire(child.address(), at_once).await?;
            cpu.push((child.cpu_microseconds()? - before) / count(volley.count()));
            if let Some((after, before)) = chain.cpu_microseconds()?.zip(chain_before) {
                chain_cpu.push((after - before) / count(volley.count()));
            }
            rates.push(outcome.rate());
            latencies.push(outcome.percentile(99));
            let settled = count(outcome.answers.len());
            gas.push(count(usize::try_from(chain.gas_of(&outcome.transactions()).await?)?) / settled);
            failed += outcome.failed();
            tell_failures(&outcome);
        }
        let (rate, in_batches) = (median(rates), median(in_batches));
        let what = |what: &str| format!("{name}, {at_once} at once: {what}");
        let row = Row::new("P6", what("settlements over instant blocks, against one for each transaction"), rate, "/s");
        report.add(row.against(median(alone)).must(AtLeast(0.8)).aim(AtLeast(5.0)));
        report.add(Row::new("-", what("the same, against receipts a hundred at a time"), rate, "/s").against(in_batches));
        report.add(Row::new("P6", what("failures"), count(failed), "").must(AtMost(0.0)));
        report.add(Row::new("P6", what("gas for each"), median(gas), "").against(median(gas_alone)).aim(AtMost(0.65)));
        report.add(Row::new("-", what("p99 of the answer"), median(latencies), "ms"));
        let cpu = quiet(cpu);
        report.add(Row::new("-", what("facilitator's CPU for each"), cpu, "µs"));
        if !chain_cpu.is_empty() {
            let chain_cpu = quiet(chain_cpu);
            report.add(Row::new("-", what("chain's CPU for each, simulation included"), chain_cpu, "µs"));
            let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
            let bound = count(cores) * 1e6 / (cpu + chain_cpu);
            report
                .add(Row::new("-", what("so that on these cores there can be no more than"), bound, "/s").against(in_batches));
        }
        Ok(())
    }
}

/// P8 over instant blocks: what the node is asked.
async fn calls(
    chain: &Chain,
    sample: &Sample,
    serials: &mut impl Iterator<Item = u32>,
    report: &mut Report,
    name: &str,
) -> anyhow::Result<()> {
    let proxy = Proxy::start(chain.rpc_url(), Options::default()).await?;
    let files = Farthing::new("calls", &proxy.url)?;
    let child = files.start()?;
    all_good(&settle(sample, serials.take(FIRST))?.fire(child.address(), 1).await?)?;
    let (at_once, settlements) = COUNTED;
    let volley = settle(sample, serials.take(settlements))?;
    proxy.counter.take();
    all_good(&volley.fire(child.address(), at_once).await?)?;
    tell_calls(&proxy, settlements, &format!("{name}, {at_once} at once over instant blocks"), report);
    Ok(())
}

/// Two lines on what a node was asked for so many settlements.
fn tell_calls(proxy: &Proxy, settlements: usize, what: &str, report: &mut Report) {
    let counts = proxy.counter.take();
    let each = |number: usize| count(number) / count(settlements);
    let judged = |row: Row| row.must(AtMost(3.0)).aim(AtMost(0.5));
    report.add(judged(Row::new("P8", format!("{what}: node calls for each settlement"), each(counts.calls), "")));
    report.add(judged(Row::new("P8", format!("{what}: round trips for each"), each(counts.round_trips), "")));
    eprintln!("  {what}: {}", counts.by_method(settlements));
}

/// `POST /settle` of these payments.
fn settle(sample: &Sample, serials: impl Iterator<Item = u32>) -> anyhow::Result<Volley> {
    Ok(Volley::settle(sample.posts("/settle", serials)?))
}

fn tell_failures(outcome: &Outcome) {
    if outcome.failed() > 0 {
        eprintln!("  failures: {}", outcome.told());
    }
}

fn all_good(outcome: &Outcome) -> anyhow::Result<()> {
    ensure!(outcome.failed() == 0, "not everything settled: {}", outcome.told());
    Ok(())
}
