//! Measures Farthing against the limits of the machine, in one run: `cargo xtask bench [GROUP…] [--json]`.
//!
//! Every figure stands beside a limit that was measured a moment before on the same machine, and the ratio of the two is
//! what is judged: machines differ and are never idle. Costs are CPU time wherever that can be had, because the load
//! generator shares the cores with what it measures.
//!
//! - [`micro`]: what one payment costs without any I/O, against the libraries that do the work.
//! - [`rejects`]: payments that are refused without the chain (P2).
//! - [`verify`]: verification with the chain's answers from memory, and with a slow node (P1, P3, P4).
//! - [`kinds`]: the same, and settling, of payments through Permit2, by `upto` and from smart wallets (P1, P3, P6).
//! - [`resource`]: a priced route, unpaid and paid, against the bare route (P9, P10).
//! - [`gateway`]: a gateway's free routes, against a reverse proxy that does nothing else (P11).
//! - [`settle`]: settlements against the chain's own ceiling (P6, P8).
//! - [`settle::blocks`]: settlements over slow blocks (P5, P8).
//! - [`settle::crowd`]: a thousand at once, and through a kill (P7).
//! - [`durable`]: the book, against what the disk can do and against one that forgets (P12).
//! - [`memory`]: what an open payment takes (P13).
//! - [`peers`]: the same work done by x402-rs and the official TypeScript facilitator.
//! - [`start`]: the facilitator's binary: start, memory, size (P14).
//!
//! What is measured over HTTP runs in a process of its own: Farthing's own binary, a peer, or this program again (see
//! [`child`]).

#![expect(clippy::float_arithmetic, reason = "figures are measured, and none of them is money")]

mod binary;
mod ceiling;
mod chain;
mod child;
mod contender;
mod durable;
mod gateway;
mod kinds;
mod limits;
mod load;
mod measure;
mod memo;
mod memory;
mod micro;
mod node;
mod peers;
mod proxy;
mod rejects;
mod report;
mod resource;
mod sample;
mod scratch;
mod settle;
mod start;
mod verify;
mod volley;

use anyhow::bail;
use tokio::runtime::Runtime;

use crate::report::Report;

const GROUPS: [&str; 12] =
    ["micro", "rejects", "verify", "resource", "gateway", "settle", "blocks", "crowd", "durable", "memory", "peers", "start"];

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if let Some(("serve", rest)) = arguments.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        return runtime.block_on(child::serve(rest));
    }
    let json = arguments.iter().any(|argument| argument == "--json");
    let wanted: Vec<&str> = arguments.iter().map(String::as_str).filter(|argument| *argument != "--json").collect();
    if let Some(unknown) = wanted.iter().find(|wanted| !GROUPS.contains(wanted)) {
        bail!("there is no group {unknown:?}; expected --json and any of {}", GROUPS.join(", "));
    }
    let mut report = Report::new(json);
    for group in GROUPS.into_iter().filter(|group| wanted.is_empty() || wanted.contains(group)) {
        report.group(group);
        measure_group(group, &runtime, &mut report)?;
    }
    report.print()
}

fn measure_group(group: &str, runtime: &Runtime, report: &mut Report) -> anyhow::Result<()> {
    match group {
        "micro" => micro::run(report),
        "rejects" => rejects::run(runtime, report),
        "verify" => {
            runtime.block_on(verify::run(report))?;
            kinds::verify(runtime, report)
        }
        "resource" => runtime.block_on(resource::run(report)),
        "gateway" => runtime.block_on(gateway::run(report)),
        "settle" => {
            runtime.block_on(settle::run(report))?;
            kinds::settle(runtime, report)
        }
        "blocks" => runtime.block_on(settle::blocks::run(report)),
        "crowd" => runtime.block_on(settle::crowd::run(report)),
        "durable" => runtime.block_on(durable::run(report)),
        "memory" => runtime.block_on(memory::run(report)),
        "peers" => runtime.block_on(peers::run(report)),
        _ => runtime.block_on(start::run(report)),
    }
}
