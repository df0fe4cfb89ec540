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
use crate::measure::count;
use crate::node;
use crate::sample::{self, CHAIN_ID, RIVAL, Sample};

/// How many settlements there are in a round.
const SETTLEMENTS: u32 = 400;
/// How many transactions go out in one JSON-RPC batch.
const BATCH: usize = 100;
const GAS_UNITS: u64 = 200_000;
const MAX_FEE_WEI: u128 = 3_000_000_000;

/// Measures it on a chain with instant blocks, a round at a time.
pub struct Ceiling<'a> {
    chain: &'a Chain,
    sample: &'a Sample,
    node: HttpNode,
    operator: LocalSigner,
    nonce: u64,
}

/// How it is found out that the settlements are on the chain.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Receipts {
    /// One question for each transaction, one after the other: what somebody does who settles each payment for itself.
    /// This is how the chain's one-per-transaction rate is defined that P6 speaks of.
    OneByOne,
    /// A hundred in one question: nobody has so many settlements in hand at once, so no facilitator is judged by it.
    InBatches,
}

/// What a chain took in one round.
pub struct Round {
    /// Settlements in each second.
    pub rate: f64,
    /// The gas of each.
    pub gas_units: f64,
}

impl<'a> Ceiling<'a> {
    /// Nothing is sent yet.
    pub async fn new(chain: &'a Chain, sample: &'a Sample) -> anyhow::Result<Self> {
        let (node, operator) = (node::http(chain.rpc_url())?, sample::payer(RIVAL)?);
        let counted = node.ask(&[Call::pending_count(operator.address())]).await?;
        let nonce = rpc::quantity(counted.first().context("the node gave no answer")?, "eth_getTransactionCount")?;
        Ok(Self { chain, sample, node, operator, nonce })
    }

    /// Settles, one payment in each transaction.
    pub async fn round(&mut self, serials: &mut impl Iterator<Item = u32>, receipts: Receipts) -> anyhow::Result<Round> {
        let (mut hashes, mut broadcasts) = (Vec::new(), Vec::new());
        for serial in serials.take(usize::try_from(SETTLEMENTS)?) {
            let (hash, broadcast) = transaction(self.sample, &self.operator, self.nonce, serial)?;
            self.nonce += 1;
            hashes.push(hash);
            broadcasts.push(broadcast);
        }
        let started = Instant::now();
        for batch in broadcasts.chunks(BATCH) {
            for answer in self.node.ask(batch).await? {
                answer?;
            }
        }
        for batch in hashes.chunks(if receipts == Receipts::OneByOne { 1 } else { BATCH }) {
            landed(&self.node, batch).await?;
        }
        let rate = f64::from(SETTLEMENTS) / started.elapsed().as_secs_f64();
        let transactions: Vec<String> = hashes.iter().map(ToString::to_string).collect();
        let gas_units = count(usize::try_from(self.chain.gas_of(&transactions).await?)?) / count(transactions.len());
        Ok(Round { rate, gas_units })
    }
}

/// Waits until all of these are on the chain.
async fn landed(node: &HttpNode, hashes: &[B256]) -> anyhow::Result<()> {
    loop {
        let calls: Vec<Call> = hashes.iter().map(|hash| Call::receipt(*hash)).collect();
        let answers = node.ask(&calls).await?;
        let receipts = answers.iter().map(rpc::receipt).collect::<Result<Option<Vec<_>>, _>>();
        // anvil makes its blocks beside its answers.
        let Some(receipts) = receipts.context("a receipt cannot be read")? else { continue };
        ensure!(receipts.iter().all(|receipt| receipt.succeeded), "a pre-signed settlement reverted");
        return Ok(());
    }
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
