//! What a chain takes at most when nobody decides anything: settlements that were signed beforehand, one in each
//! transaction, sent in batches. Everything that settles is measured against this.

use std::time::Instant;

use alloy_consensus::{SignableTransaction, TxEip1559};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::TxKind;
use anyhow::{Context, ensure};
use farthing::evm::B256;
use farthing::evm::rpc::{self, Call, HttpNode, Node};
use farthing::evm::signer::{LocalSigner, Signer};

use crate::chain::Chain;
use crate::measure::{count, median};
use crate::node;
use crate::sample::{self, CHAIN_ID, RIVAL, Sample};

/// How many settlements it is measured with, and in how many rounds.
const SETTLEMENTS: u32 = 400;
const ROUNDS: usize = 3;
/// How many transactions go out in one JSON-RPC batch, and receipts are asked for.
const BATCH: usize = 100;
const GAS_UNITS: u64 = 200_000;
const MAX_FEE_WEI: u128 = 3_000_000_000;

/// What a chain takes.
pub struct Ceiling {
    /// Settlements in each second.
    pub rate: f64,
    /// The gas of each.
    pub gas_units: f64,
}

/// Measures it on a chain with instant blocks.
pub async fn measure(chain: &Chain, sample: &Sample, serials: &mut impl Iterator<Item = u32>) -> anyhow::Result<Ceiling> {
    let node = node::http(chain.rpc_url())?;
    let operator = sample::payer(RIVAL)?;
    let counted = node.ask(&[Call::pending_count(operator.address())]).await?;
    let mut nonce = rpc::quantity(counted.first().context("the node gave no answer")?, "eth_getTransactionCount")?;
    let (mut rates, mut last) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let transactions = serials.take(usize::try_from(SETTLEMENTS)?).map(|serial| {
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
        land(&node, &hashes).await?;
        rates.push(f64::from(SETTLEMENTS) / started.elapsed().as_secs_f64());
        last = hashes;
    }
    let transactions: Vec<String> = last.iter().map(ToString::to_string).collect();
    let gas_units = count(usize::try_from(chain.gas_of(&transactions).await?)?) / count(transactions.len());
    Ok(Ceiling { rate: median(rates), gas_units })
}

async fn land(node: &HttpNode, hashes: &[B256]) -> anyhow::Result<()> {
    for batch in hashes.chunks(BATCH) {
        loop {
            let calls: Vec<Call> = batch.iter().map(|hash| Call::receipt(*hash)).collect();
            let answers = node.ask(&calls).await?;
            let receipts = answers.iter().map(rpc::receipt).collect::<Result<Option<Vec<_>>, _>>();
            // anvil makes its blocks beside its answers.
            let Some(receipts) = receipts.context("a receipt cannot be read")? else { continue };
            ensure!(receipts.iter().all(|receipt| receipt.succeeded), "a pre-signed settlement reverted");
            break;
        }
    }
    Ok(())
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
