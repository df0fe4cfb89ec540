//! The whole way of a settlement through the real binary on the embedded chain: with its book on the disk, and with the
//! same book where a sync costs nothing.

use crate::binary::Farthing;
use crate::chain::{Blocks, Chain, Kind};
use crate::measure::median;
use crate::report::Bound::AtLeast;
use crate::report::{Report, Row};
use crate::sample::Sample;
use crate::scratch::Scratch;
use crate::volley::Volley;

/// How many settlements are asked for at once and in one round, and in how many rounds of each kind in turn.
const AT_ONCE: usize = 200;
const SETTLEMENTS: usize = 800;
const ROUNDS: usize = 4;

pub async fn run(report: &mut Report) -> anyhow::Result<()> {
    let Some(forgetful) = Scratch::forgetful("path")? else { return Ok(()) };
    let sample = Sample::new()?;
    let (mut rates, mut serials) = ([Vec::new(), Vec::new()], 0..);
    // Each has a chain of its own: they settle from the same account.
    let chains = [Chain::start(Kind::Devnet, Blocks::Instant).await?, Chain::start(Kind::Devnet, Blocks::Instant).await?];
    let [on_disk, in_memory] = &chains;
    let files = [Farthing::new("path", on_disk.rpc_url())?, Farthing::within(forgetful, in_memory.rpc_url())?];
    let children = files.iter().map(Farthing::start).collect::<anyhow::Result<Vec<_>>>()?;
    for round in 0..=ROUNDS {
        for (child, rates) in children.iter().zip(&mut rates) {
            let volley = Volley::settle(sample.posts("/settle", serials.by_ref().take(SETTLEMENTS))?);
            let outcome = volley.fire(child.address(), AT_ONCE).await?;
            anyhow::ensure!(outcome.failed() == 0, "not everything settled: {}", outcome.told());
            // The first round warms up.
            if round > 0 {
                rates.push(outcome.rate());
            }
        }
    }
    let [durable, forgetful] = rates.map(median);
    let row = Row::new("P12", "settlements over HTTP, 200 at once: book on the disk against the same in memory", durable, "/s");
    report.add(row.against(forgetful).aim(AtLeast(0.85)));
    Ok(())
}
