//! P14: the facilitator's binary: from its start to its first answer, its memory, its size. And what the lines that it
//! logs of refused payments cost.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use alloy_primitives::{U256, hex, keccak256};
use anyhow::{Context, ensure};
use farthing::evm::transfer::eip3009::Authorization;
use serde::Deserialize;

use crate::child::Child;
use crate::load::{Load, get, post};
use crate::measure::median;
use crate::node;
use crate::report::Bound::AtMost;
use crate::report::{Report, Row};
use crate::sample::{AMOUNT_ATOMIC, NETWORK, Sample};

const STARTS: usize = 15;
const REQUESTS: usize = 10_000;
const CONNECTIONS: usize = 32;
const KIB_PER_MIB: f64 = 1024.0;
const KEY_VARIABLE: &str = "FARTHING_BENCH_KEY";

/// What the facilitator says of itself with `--json`.
#[derive(Deserialize)]
struct Started {
    listening: String,
}

pub async fn run(report: &mut Report) -> anyhow::Result<()> {
    let binary = binary()?;
    let (rpc_url, _counter) = node::serve_memory().await?;
    let config = std::env::temp_dir().join(format!("farthing-bench-{}.toml", std::process::id()));
    let text = format!(
        "[facilitator]\nlisten = \"127.0.0.1:0\"\n[network.\"{NETWORK}\"]\nrpc = \"{rpc_url}\"\nsigner = \"env:{KEY_VARIABLE}\"\n"
    );
    std::fs::write(&config, text)?;
    let mut command = Command::new(&binary);
    command.args(["facilitator", "--json", "--config"]).arg(&config);
    command.env(KEY_VARIABLE, hex::encode_prefixed(keccak256("farthing-bench-operator"))).stderr(Stdio::null());
    let measured = running(&mut command, report).await;
    std::fs::remove_file(&config)?;
    measured?;
    let size = std::fs::metadata(&binary)?.len();
    let megabytes = f64::from(u32::try_from(size)?) / 1e6;
    report.add(Row::new("P14", "stripped binary, all commands in it", megabytes, "MB").must(AtMost(12.0)));
    Ok(())
}

async fn running(command: &mut Command, report: &mut Report) -> anyhow::Result<()> {
    let health = Load::repeated(get("/healthz", ""), 1, "HTTP/1.1 200", "alive");
    let (mut milliseconds, mut idle, mut own) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let started = Instant::now();
        let child = start(command)?;
        health.run(child.address(), 1).await?;
        milliseconds.push(started.elapsed().as_secs_f64() * 1e3);
        idle.push(child.memory_kib("VmRSS")? / KIB_PER_MIB);
        own.push(child.memory_kib("RssAnon")? / KIB_PER_MIB);
    }
    report.add(Row::new("P14", "start to first answer", median(milliseconds), "ms").must(AtMost(50.0)).aim(AtMost(20.0)));
    report.add(Row::new("P14", "idle memory", median(idle), "MiB").must(AtMost(12.0)).aim(AtMost(8.0)));
    report.add(Row::new("-", "of that its own; the rest is pages of the binary's file", median(own), "MiB"));

    let child = start(command)?;
    let sample = Sample::new()?;
    let wrong = Authorization { value: U256::from(AMOUNT_ATOMIC - 1), ..sample.authorization(1)? };
    let request = sample.request(sample.payment(&sample.sign(1, wrong)?)?);
    let load = Load::repeated(post("/verify", &serde_json::to_string(&request)?), REQUESTS, "HTTP/1.1 200", "value_mismatch");
    let cost = child.cpu_per_request(&load, CONNECTIONS).await?;
    report.add(Row::new("-", "wrong amount over HTTP, with its log line", cost, "µs"));
    report.add(Row::new("-", "memory after 10,000 requests", child.memory_kib("VmRSS")? / KIB_PER_MIB, "MiB"));
    Ok(())
}

fn start(command: &mut Command) -> anyhow::Result<Child> {
    Child::start(command, |line| {
        let started: Started = serde_json::from_str(line)?;
        Ok(started.listening.strip_prefix("http://").context("expected an http URL")?.parse()?)
    })
}

/// The binary beside this one.
fn binary() -> anyhow::Result<PathBuf> {
    let folder = std::env::current_exe()?.parent().context("this program lies in no folder")?.to_owned();
    let binary = folder.join("farthing");
    ensure!(
        binary.exists(),
        "{} is missing; build it with `cargo build --release --bin farthing`, or use `cargo xtask bench`",
        binary.display()
    );
    Ok(binary)
}
