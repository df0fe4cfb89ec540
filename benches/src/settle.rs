//! P6 and P8: settlements over instant blocks, against the chain's own ceiling for one transaction each.
//!
//! The chain is the embedded one, in a process of its own as a node would be, so that facilitator and chain compete for
//! cores and not for one runtime's threads.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use alloy_consensus::{SignableTransaction, TxEip1559};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::TxKind;
use anyhow::{Context, ensure};
use farthing::evm::B256;
use farthing::evm::config::{NodeConfig, RpcUrl};
use farthing::evm::rpc::{self, Call, HttpNode, Node};
use farthing::evm::signer::LocalSigner;
use farthing::facilitator::Local;
use farthing_core::books::MemorySettlements;
use farthing_core::facilitator::Facilitator;
use farthing_core::wire::PaymentRequest;
use tokio::task::JoinSet;

use crate::child::Child;
use crate::measure::{count, median, process_cpu_microseconds, quiet};
use crate::node::Counted;
use crate::rejects;
use crate::report::Bound::{AtLeast, AtMost};
use crate::report::{Report, Row};
use crate::sample::{self, CHAIN_ID, NETWORK, RIVAL, Sample};

/// How many settlements are asked for at once, and in how many rounds.
const CROWDS: [(u32, usize); 2] = [(32, 9), (200, 5)];
/// How many settlements the chain's ceiling is measured with, and in how many rounds.
const CEILING: (u32, usize) = (200, 5);
/// How many transactions go out in one JSON-RPC batch, and receipts are asked for.
const BATCH: usize = 100;
const GAS_UNITS: u64 = 200_000;
const MAX_FEE_WEI: u128 = 3_000_000_000;

/// What one crowd's rounds came to.
#[derive(Default)]
struct Figures {
    rate: Vec<f64>,
    round_trips: Vec<f64>,
    calls: Vec<f64>,
    cpu: Vec<f64>,
    chain_cpu: Vec<f64>,
}

pub async fn run(report: &mut Report) -> anyhow::Result<()> {
    let sample = Sample::new()?;
    let child = Child::serve(&["devnet"])?;
    let rpc_url = format!("http://{}", child.address());
    let http = || HttpNode::new(&NETWORK.parse()?, &NodeConfig::new(RpcUrl::new(&*rpc_url))).map_err(anyhow::Error::from);
    let mut serials = 0..;
    let before = child.cpu_microseconds()?;
    let ceiling = ceiling(&sample, &http()?, &mut serials).await?;
    let cpu = (child.cpu_microseconds()? - before) / (f64::from(CEILING.0) * count(CEILING.1));
    report.add(Row::new("-", "the chain's ceiling: pre-signed, one transaction each", ceiling, "/s"));
    report.add(Row::new("-", "the chain's CPU for each of these", cpu, "µs"));

    let node = Counted::new(http()?);
    let local = Arc::new(rejects::local(node.clone(), Arc::new(MemorySettlements::default()))?);
    settle_all(&local, requests(&sample, serials.by_ref().take(4))?).await?;
    for (crowd, rounds) in CROWDS {
        let mut figures = Figures::default();
        for _ in 0..rounds {
            let requests = requests(&sample, serials.by_ref().take(usize::try_from(crowd)?))?;
            node.counter.take();
            let (started, cpu, chain_cpu) = (Instant::now(), process_cpu_microseconds(), child.cpu_microseconds()?);
            settle_all(&local, requests).await?;
            figures.rate.push(f64::from(crowd) / started.elapsed().as_secs_f64());
            figures.cpu.push((process_cpu_microseconds() - cpu) / f64::from(crowd));
            figures.chain_cpu.push((child.cpu_microseconds()? - chain_cpu) / f64::from(crowd));
            let (round_trips, calls) = node.counter.take();
            figures.round_trips.push(count(round_trips) / f64::from(crowd));
            figures.calls.push(count(calls) / f64::from(crowd));
        }
        tell(report, crowd, ceiling, figures);
    }
    Ok(())
}

fn tell(report: &mut Report, crowd: u32, ceiling: f64, figures: Figures) {
    let row = Row::new("P6", format!("settlements, {crowd} at once, instant blocks"), median(figures.rate), "/s");
    report.add(row.against(ceiling).must(AtLeast(0.8)).aim(AtLeast(5.0)));
    let row = Row::new("P8", format!("node round trips per settle, {crowd} at once"), median(figures.round_trips), "");
    report.add(row.must(AtMost(3.0)).aim(AtMost(0.5)));
    report.add(Row::new("P8", "calls in them per settle", median(figures.calls), ""));
    let (cpu, chain_cpu) = (quiet(figures.cpu), quiet(figures.chain_cpu));
    report.add(Row::new("-", "facilitator's CPU per settle", cpu, "µs"));
    report.add(Row::new("-", "chain's CPU per settle, simulation included", chain_cpu, "µs"));
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let bound = count(cores) * 1e6 / (cpu + chain_cpu);
    report.add(Row::new("-", "so that on these cores there can be no more than", bound, "/s").against(ceiling));
}

fn requests(sample: &Sample, serials: impl Iterator<Item = u32>) -> anyhow::Result<Vec<PaymentRequest>> {
    serials.map(|serial| Ok(sample.request(sample.good(serial)?))).collect()
}

/// Asks for all of them at the same moment; each must succeed.
async fn settle_all(local: &Arc<Local>, requests: Vec<PaymentRequest>) -> anyhow::Result<()> {
    let mut tasks = JoinSet::new();
    for request in requests {
        let local = Arc::clone(local);
        tasks.spawn(async move { local.settle(&request).await });
    }
    while let Some(answer) = tasks.join_next().await {
        let answer = answer??;
        ensure!(answer.success, "a settlement failed: {answer:?}");
    }
    Ok(())
}

/// What the chain takes when transactions are signed beforehand and go out in batches, until their receipts are there.
async fn ceiling(sample: &Sample, node: &HttpNode, serials: &mut impl Iterator<Item = u32>) -> anyhow::Result<f64> {
    let (settlements, rounds) = CEILING;
    let operator = sample::payer(RIVAL)?;
    let mut nonce = 0;
    let mut rates = Vec::new();
    for _ in 0..rounds {
        let transactions = serials.take(usize::try_from(settlements)?).map(|serial| {
            nonce += 1;
            transaction(sample, &operator, nonce - 1, serial)
        });
        let (hashes, broadcasts): (Vec<B256>, Vec<Call>) =
            transactions.collect::<anyhow::Result<Vec<_>>>()?.into_iter().unzip();
        let started = Instant::now();
        for batch in broadcasts.chunks(BATCH) {
            for answer in node.ask(batch).await? {
                answer?;
            }
        }
        for batch in hashes.chunks(BATCH) {
            let calls: Vec<Call> = batch.iter().map(|hash| Call::receipt(*hash)).collect();
            for answer in node.ask(&calls).await? {
                let receipt = rpc::receipt(&answer)?.context("an instant block has no receipt")?;
                ensure!(receipt.succeeded, "a pre-signed settlement reverted");
            }
        }
        rates.push(f64::from(settlements) / started.elapsed().as_secs_f64());
    }
    Ok(median(rates))
}

/// One settlement as a signed transaction.
fn transaction(sample: &Sample, operator: &LocalSigner, nonce: u64, serial: u32) -> anyhow::Result<(B256, Call)> {
    let signed = sample.sign(serial, sample.authorization(serial)?)?;
    let transaction = TxEip1559 {
        chain_id: CHAIN_ID,
        nonce,
        gas_limit: GAS_UNITS,
        max_fee_per_gas: MAX_FEE_WEI,
        max_priority_fee_per_gas: 1,
        to: TxKind::Call(sample.asset.address),
        input: signed.authorization.calldata(&signed.signature.strict()?).into(),
        ..TxEip1559::default()
    };
    let signature = sample::sign(operator, transaction.signature_hash())?.to_bytes();
    let transaction = transaction.into_signed(alloy_primitives::Signature::from_raw_array(&signature)?);
    Ok((*transaction.hash(), Call::broadcast(&transaction.encoded_2718())))
}
