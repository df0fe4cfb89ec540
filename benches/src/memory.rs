//! P13: what an open payment takes: a facilitator that starts on a book with very many payments that were sent and are in
//! no block yet, against one that starts on an empty book.

use std::time::Duration;

use alloy_consensus::{SignableTransaction, TxEip1559};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Bytes, TxKind, address};
use alloy_sol_types::SolCall;
use anyhow::ensure;
use farthing::evm::abi::Multicall3;
use farthing::evm::transfer::eip3009::Authorization;
use farthing::store::{Access, Store};
use farthing_core::books::{LaneLease, Outbox, Outgoing, Written};
use farthing_core::scheme::TransactionId;

use crate::binary::Farthing;
use crate::chain::{Blocks, Chain, Kind};
use crate::child::Child;
use crate::measure::count;
use crate::report::Bound::AtMost;
use crate::report::{Report, Row};
use crate::sample::{self, CHAIN_ID, OPERATOR, Sample};

/// How many payments are open, and how many of them one transaction carries.
const OPEN: usize = 100_000;
const PER_TRANSACTION: usize = 100;
/// No block within any run.
const NEVER_SECONDS: u64 = 86_400;
/// How long a facilitator has to read its book.
const SETTLING: Duration = Duration::from_secs(4);
const GAS_UNITS: u64 = 8_000_000;
const MAX_FEE_WEI: u128 = 3_000_000_000;
const BYTES_PER_KIB: f64 = 1_024.0;

pub async fn run(report: &mut Report) -> anyhow::Result<()> {
    let chain = Chain::start(Kind::Devnet, Blocks::EverySeconds(NEVER_SECONDS)).await?;
    let empty = Farthing::new("empty", chain.rpc_url())?;
    let empty = settled_kib(&empty.start()?).await?;
    let full = Farthing::new("full", chain.rpc_url())?;
    fill(&full).await?;
    let child = full.start()?;
    let grown = settled_kib(&child).await? - empty;
    let each = grown * BYTES_PER_KIB / count(OPEN);
    let row = Row::new("P13", "memory for each open payment, 100,000 in the book of a facilitator that starts", each, "B");
    report.add(row.must(AtMost(400.0)).aim(AtMost(200.0)));
    let peak = (child.memory_kib("VmHWM")? - empty) * BYTES_PER_KIB / count(OPEN);
    report.add(Row::new("-", "the same at its peak, files in memory included", peak, "B"));
    Ok(())
}

/// Its own memory when it has read its book, in KiB.
async fn settled_kib(child: &Child) -> anyhow::Result<f64> {
    tokio::time::sleep(SETTLING).await;
    child.memory_kib("RssAnon")
}

/// Writes the open payments into a facilitator's book, as its relayer would have: really signed, in full batches.
async fn fill(files: &Farthing) -> anyhow::Result<()> {
    let store = Store::open(&format!("sqlite:{}", files.book().display()).parse()?, Access::Own).await?;
    let outbox = store.outbox();
    let lease = sample::take_lane(&*outbox).await?;
    let sample = Sample::new()?;
    for (sequence, first) in (0_u32..).zip((0..OPEN).step_by(PER_TRANSACTION)) {
        write(&sample, &*outbox, &lease, sequence, u32::try_from(first)?).await?;
    }
    store.close().await;
    Ok(())
}

async fn write(sample: &Sample, outbox: &dyn Outbox, lease: &LaneLease, sequence: u32, first: u32) -> anyhow::Result<()> {
    let (mut payments, mut calls) = (Vec::new(), Vec::new());
    for serial in (first..).take(PER_TRANSACTION) {
        let authorization: Authorization = sample.authorization(serial)?;
        let signature = sample.sign(serial, authorization)?.signature.strict()?;
        let data = Bytes::from(authorization.calldata(&signature));
        calls.push(Multicall3::Call3 { target: sample.asset.address, allowFailure: true, callData: data });
        payments.push(sample.outgoing(serial)?);
    }
    let transaction = TxEip1559 {
        chain_id: CHAIN_ID,
        nonce: sequence.into(),
        gas_limit: GAS_UNITS,
        max_fee_per_gas: MAX_FEE_WEI,
        max_priority_fee_per_gas: 1_000_000,
        to: TxKind::Call(address!("0xcA11bde05977b3631167028862bE2a173976CA11")),
        input: Multicall3::aggregate3Call { calls }.abi_encode().into(),
        ..TxEip1559::default()
    };
    let signature = sample::sign(&sample::payer(OPERATOR)?, transaction.signature_hash())?.to_bytes();
    let signed = transaction.into_signed(alloy_primitives::Signature::from_raw_array(&signature)?);
    let outgoing = Outgoing {
        lease,
        sequence: sequence.into(),
        transaction: &TransactionId(signed.hash().to_string()),
        signed: &signed.encoded_2718(),
        height: 0,
        payments: &payments,
        now: sample::now(),
    };
    ensure!(outbox.sending(&outgoing).await? == Written::Yes, "a new payment was not written");
    Ok(())
}
