//! P14: the facilitator's binary: from its start to its first answer, its memory, its size. And what the lines that it
//! logs of refused payments cost.

use std::time::Instant;

use alloy_primitives::U256;
use farthing::evm::transfer::eip3009::Authorization;

use crate::binary::{self, Farthing};
use crate::chain::{Blocks, Chain, Kind};
use crate::load::{Load, get, post};
use crate::measure::median;
use crate::report::Bound::AtMost;
use crate::report::{Report, Row};
use crate::sample::{AMOUNT_ATOMIC, Sample};

const STARTS: usize = 15;
const REQUESTS: usize = 10_000;
const CONNECTIONS: usize = 32;
const KIB_PER_MIB: f64 = 1024.0;

pub async fn run(report: &mut Report) -> anyhow::Result<()> {
    let chain = Chain::start(Kind::Devnet, Blocks::Instant).await?;
    running(&chain, report).await?;
    let size = std::fs::metadata(binary::program()?)?.len();
    let megabytes = f64::from(u32::try_from(size)?) / 1e6;
    report.add(Row::new("P14", "stripped binary, all commands in it", megabytes, "MB").must(AtMost(12.0)));
    Ok(())
}

async fn running(chain: &Chain, report: &mut Report) -> anyhow::Result<()> {
    let health = Load::repeated(get("/healthz", ""), 1, "HTTP/1.1 200", "alive");
    let (mut milliseconds, mut idle, mut own) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..STARTS {
        // With a new book, as at the very first start.
        let files = Farthing::new("start", chain.rpc_url())?;
        let started = Instant::now();
        let child = files.start()?;
        health.run(child.address(), 1).await?;
        milliseconds.push(started.elapsed().as_secs_f64() * 1e3);
        idle.push(child.memory_kib("VmRSS")? / KIB_PER_MIB);
        own.push(child.memory_kib("RssAnon")? / KIB_PER_MIB);
    }
    report.add(Row::new("P14", "start to first answer", median(milliseconds), "ms").must(AtMost(50.0)).aim(AtMost(20.0)));
    report.add(Row::new("P14", "idle memory", median(idle), "MiB").must(AtMost(12.0)).aim(AtMost(8.0)));
    report.add(Row::new("-", "of that its own; the rest is pages of the binary's file", median(own), "MiB"));

    let files = Farthing::new("start", chain.rpc_url())?;
    let child = files.start()?;
    let sample = Sample::new()?;
    let wrong = Authorization { value: U256::from(AMOUNT_ATOMIC - 1), ..sample.authorization(1)? };
    let request = sample.request(sample.payment(&sample.sign(1, wrong)?)?);
    let load = Load::repeated(post("/verify", &serde_json::to_string(&request)?), REQUESTS, "HTTP/1.1 200", "value_mismatch");
    let cost = child.cpu_per_request(&load, CONNECTIONS).await?;
    report.add(Row::new("-", "wrong amount over HTTP, with its log line", cost, "µs"));
    report.add(Row::new("-", "memory after 10,000 requests", child.memory_kib("VmRSS")? / KIB_PER_MIB, "MiB"));
    Ok(())
}
