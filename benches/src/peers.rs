//! Farthing, x402-rs and the official TypeScript facilitator side by side: the same payments, the same chain (anvil), the
//! same load, one after another in one run. Each runs as its authors ship it, with one signer.
//!
//! Failures are counted, not hidden: a rate or a latency beside failures is that of the successes alone.

use anyhow::Context;

use crate::chain::{Blocks, Chain, Kind};
use crate::contender::{Contender, Running};
use crate::measure::count;
use crate::proxy::{Options, Proxy};
use crate::report::{Report, Row};
use crate::sample::Sample;
use crate::volley::Volley;

/// How many payments are verified, after as many as warm up, and how many at once.
const VERIFIES: usize = 1_000;
const VERIFIES_AT_ONCE: usize = 64;
/// How many payments are settled over instant blocks and over blocks of two seconds, and how many at once.
const INSTANT_SETTLES: usize = 128;
const SLOW_SETTLES: usize = 64;
const SETTLES_AT_ONCE: usize = 32;
const BLOCK_SECONDS: u64 = 2;
const FIRST: usize = 2;

/// What is measured of each, in the order of the lines.
const FIGURES: [(&str, &str); 11] = [
    ("CPU per verify, chain from memory, 64 at once", "µs"),
    ("node calls per verify", ""),
    ("failed verifies", ""),
    ("settlements over instant blocks, 32 at once", "/s"),
    ("p99 over instant blocks", "ms"),
    ("node calls per settlement over instant blocks", ""),
    ("failed settlements over instant blocks", ""),
    ("p50 over 2 s blocks, 32 at once", "ms"),
    ("p99 over 2 s blocks", "ms"),
    ("node calls per settlement over 2 s blocks", ""),
    ("failed settlements over 2 s blocks", ""),
];

/// What is shared by all of them.
struct Ground {
    sample: Sample,
    instant: Chain,
    slow: Chain,
    /// Every payment on either chain is new.
    serials: std::ops::RangeFrom<u32>,
}

pub async fn run(report: &mut Report) -> anyhow::Result<()> {
    let mut ground = Ground {
        sample: Sample::new()?,
        instant: Chain::start(Kind::Anvil, Blocks::Instant).await?,
        slow: Chain::start(Kind::Anvil, Blocks::EverySeconds(BLOCK_SECONDS)).await?,
        serials: 0..,
    };
    let mut measured: Vec<(Contender, Vec<f64>)> = Vec::new();
    for contender in Contender::ALL {
        eprintln!("  {} …", contender.name());
        match ground.measure(contender).await.with_context(|| contender.name()) {
            Ok(figures) => measured.push((contender, figures)),
            // A peer that can't be built or started is no reason not to measure the others.
            Err(error) => eprintln!("  not measured: {error:#}"),
        }
    }
    let ours = measured.iter().find(|(contender, _)| *contender == Contender::Farthing).map(|(_, figures)| figures.clone());
    for (place, (what, unit)) in FIGURES.into_iter().enumerate() {
        for (contender, figures) in &measured {
            let Some(figure) = figures.get(place).copied() else { continue };
            let row = Row::new("-", format!("{what}: {}", contender.name()), figure, unit);
            let ours = ours.as_ref().and_then(|figures| figures.get(place)).filter(|ours| **ours > 0.0);
            report.add(match ours {
                Some(ours) if *contender != Contender::Farthing => row.against(*ours),
                _ => row,
            });
        }
    }
    Ok(())
}

impl Ground {
    async fn measure(&mut self, contender: Contender) -> anyhow::Result<Vec<f64>> {
        let mut figures = self.verify(contender).await?;
        let instant = Proxy::start(self.instant.rpc_url(), Options::default()).await?;
        figures.extend(self.settle(contender, &instant, INSTANT_SETTLES, true).await?);
        let slow = Proxy::start(self.slow.rpc_url(), Options::default()).await?;
        figures.extend(self.settle(contender, &slow, SLOW_SETTLES, false).await?);
        Ok(figures)
    }

    async fn verify(&mut self, contender: Contender) -> anyhow::Result<Vec<f64>> {
        let proxy = Proxy::start(self.instant.rpc_url(), Options { remembers: true, ..Options::default() }).await?;
        let running = contender.start(&proxy.url).await?;
        let mut volley =
            || Ok::<_, anyhow::Error>(Volley::verify(self.sample.posts("/verify", self.serials.by_ref().take(VERIFIES))?));
        volley()?.fire(running.address, VERIFIES_AT_ONCE).await?;
        let volley = volley()?;
        running.quiet().await?;
        proxy.counter.take();
        let before = running.cpu_microseconds()?;
        let outcome = volley.fire(running.address, VERIFIES_AT_ONCE).await?;
        let cpu = running.cpu_microseconds()? - before;
        let counts = proxy.counter.take();
        tell(&outcome, &counts, VERIFIES);
        let verified = count(VERIFIES);
        Ok(vec![cpu / verified, count(counts.calls) / verified, count(outcome.failed())])
    }

    async fn settle(&mut self, contender: Contender, proxy: &Proxy, settles: usize, instant: bool) -> anyhow::Result<Vec<f64>> {
        let running: Running = contender.start(&proxy.url).await?;
        let first = Volley::settle(self.sample.posts("/settle", self.serials.by_ref().take(FIRST))?);
        first.fire(running.address, 1).await?;
        let volley = Volley::settle(self.sample.posts("/settle", self.serials.by_ref().take(settles))?);
        proxy.counter.take();
        let outcome = volley.fire(running.address, SETTLES_AT_ONCE).await?;
        let counts = proxy.counter.take();
        tell(&outcome, &counts, settles);
        let calls = count(counts.calls) / count(settles);
        let speed = if instant { outcome.rate() } else { outcome.percentile(50) };
        Ok(vec![speed, outcome.percentile(99), calls, count(outcome.failed())])
    }
}

fn tell(outcome: &crate::volley::Outcome, counts: &crate::proxy::Counts, payments: usize) {
    eprintln!("    asks {}", counts.by_method(payments));
    if outcome.failed() > 0 {
        eprintln!("    fails {}", outcome.told());
    }
}
