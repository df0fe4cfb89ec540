//! P2: payments that can be refused without the chain. Most cost a recovery, because the signature is checked first, and
//! none a question to a node.
//!
//! A signature that is not the payer's is another matter: the payer may be a contract that accepts it, so the chain must
//! be asked for its code. That is one question, and it is counted here, too.

use std::sync::Arc;

use alloy_primitives::U256;
use anyhow::ensure;
use farthing::evm::chain::Chain;
use farthing::evm::config::{ChainConfig, RpcUrl};
use farthing::evm::rpc::Node;
use farthing::evm::signer::Signer;
use farthing::evm::transfer::eip3009::Authorization;
use farthing::facilitator::Local;
use farthing::system::SystemClock;
use farthing_core::books::{MemorySettlements, Outbox, Outgoing, Settlements, Written};
use farthing_core::erased::AnyFacilitatorScheme;
use farthing_core::facilitator::Facilitator;
use farthing_core::reason::Reason;
use farthing_core::scheme::TransactionId;
use farthing_core::wire::{Accepted, PaymentPayload, PaymentRequest};
use tokio::runtime::Runtime;

use crate::chain::{self, Blocks};
use crate::child::Child;
use crate::limits::Bare;
use crate::load::{Load, post};
use crate::measure::{beside, count, one_round_on_all_cores, quiet, repeat, repeat_async};
use crate::node::{self, Counted};
use crate::proxy::{Options, Proxy};
use crate::report::Bound::{AtLeast, AtMost};
use crate::report::{Report, Row};
use crate::sample::{self, AMOUNT_ATOMIC, NETWORK, OPERATOR, PAYERS, Sample};

/// How many requests of a kind are sent over HTTP in one round.
const REQUESTS: usize = 3_000;
/// How many rounds; a quiet one is quoted.
const ROUNDS: usize = 8;
/// How many connections.
const CONNECTIONS: usize = 32;
/// The payment that has been settled already.
const SETTLED_SERIAL: u32 = 0;
/// What all faulty payments are made from.
const SERIAL: u32 = 1;

/// One fault.
struct Case {
    what: &'static str,
    reason: Reason,
    request: PaymentRequest,
}

pub fn run(runtime: &Runtime, report: &mut Report) -> anyhow::Result<()> {
    let (sample, bare) = (Sample::new()?, Bare::new()?);
    let cases = cases(&sample)?;
    let chain = runtime.block_on(chain::Chain::start(chain::Kind::Devnet, Blocks::Instant))?;
    in_process(&sample, &bare, runtime, &cases, chain.rpc_url(), report)?;
    runtime.block_on(over_http(&bare, &cases, &chain, report))
}

fn in_process(
    sample: &Sample,
    bare: &Bare,
    runtime: &Runtime,
    cases: &[Case],
    rpc_url: &str,
    report: &mut Report,
) -> anyhow::Result<()> {
    let node = Counted::new(node::http(rpc_url)?);
    let local = local(node.clone(), runtime.block_on(book_with_one_payment())?)?;
    for case in cases {
        let answer = runtime.block_on(local.verify(&case.request))?;
        ensure!(answer.invalid_reason.as_ref() == Some(&case.reason), "{}: got {answer:?}", case.what);
        let costs = beside(repeat_async(runtime, || local.verify(&case.request)), repeat(|| bare.check()));
        report.add(rate(format!("{}, in process", case.what), costs));
    }
    tell_round_trips(node.counter.take().round_trips, report)?;
    let answer = runtime.block_on(local.verify(&forged(sample)?))?;
    ensure!(answer.invalid_reason == Some(Reason::InvalidExactEvmSignature), "a bad signature: got {answer:?}");
    let round_trips = count(node.counter.take().round_trips);
    report.add(Row::new("P2", "node round trips for a bad signature", round_trips, "").must(AtMost(1.0)));
    Ok(())
}

fn tell_round_trips(round_trips: usize, report: &mut Report) -> anyhow::Result<()> {
    report.add(Row::new("P2", "node round trips for all of these", count(round_trips), "").must(AtMost(0.0)));
    ensure!(round_trips == 0, "payments that need no chain were asked about {round_trips} times");
    Ok(())
}

async fn over_http(bare: &Bare, cases: &[Case], chain: &chain::Chain, report: &mut Report) -> anyhow::Result<()> {
    let proxy = Proxy::start(chain.rpc_url(), Options::default()).await?;
    let child = Child::serve(&["facilitator", &proxy.url])?;
    for case in cases {
        let request = post("/verify", &serde_json::to_string(&case.request)?);
        let load = Load::repeated(request, REQUESTS, "HTTP/1.1 200", case.reason.as_str());
        report.add(rate(format!("{}, over HTTP", case.what), costs(&child, &load, bare).await?));
    }
    tell_round_trips(proxy.counter.take().round_trips, report)?;
    let body = cases.first().map(|case| serde_json::to_string(&case.request)).transpose()?.unwrap_or_default();
    let load = Load::repeated(post("/bare", &body), REQUESTS, "HTTP/1.1 200", "");
    let (http, limit) = costs(&child, &load, bare).await?;
    report.add(Row::new("-", "what HTTP alone costs of each of these", http, "µs"));
    report.add(Row::new("-", "so that over HTTP there can be no more than", 1e6 / (http + limit), "/s").against(1e6 / limit));
    Ok(())
}

/// The CPU time of one request, and of the bare check, whose rounds take turns. Under load every core is busy, which slows
/// down those that share their parts with another; so all cores do the bare check at once.
async fn costs(child: &Child, load: &Load, bare: &Bare) -> anyhow::Result<(f64, f64)> {
    let (mut costs, mut limits) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        costs.push(child.cpu_per_request(load, CONNECTIONS).await?);
        limits.push(one_round_on_all_cores(|| repeat(|| bare.check()))?);
    }
    Ok((quiet(costs), quiet(limits)))
}

fn rate(what: String, (cost, limit): (f64, f64)) -> Row {
    Row::new("P2", what, 1e6 / cost, "/s").against(1e6 / limit).aim(AtLeast(0.6))
}

/// A payment with the signature of another one.
fn forged(sample: &Sample) -> anyhow::Result<PaymentRequest> {
    let mut forged = sample.sign(SERIAL, sample.authorization(SERIAL)?)?;
    forged.signature = sample.sign(SERIAL, sample.authorization(SERIAL + PAYERS)?)?.signature;
    Ok(sample.request(sample.payment(&forged)?))
}

fn cases(sample: &Sample) -> anyhow::Result<Vec<Case>> {
    let good = sample.authorization(SERIAL)?;
    let spoilt = |what, reason, payment: PaymentPayload| Case { what, reason, request: sample.request(payment) };
    let signed = |authorization| sample.payment(&sample.sign(SERIAL, authorization)?);
    let elsewhere = sample::offer("eip155:1", &sample.asset)?;
    let unknown = PaymentPayload { accepted: Accepted::Offer(elsewhere.clone()), ..sample.good(SERIAL)? };
    let unknown = PaymentRequest { requirements: elsewhere, ..sample.request(unknown) };
    let amount = Authorization { value: U256::from(AMOUNT_ATOMIC - 1), ..good };
    let expired = Authorization { valid_before: U256::from(sample::now().minus(1).0), ..good };
    let recipient = Authorization { to: good.from, ..good };
    Ok(vec![
        spoilt("wrong amount", Reason::InvalidExactEvmPayloadAuthorizationValueMismatch, signed(amount)?),
        spoilt("expired", Reason::InvalidExactEvmPayloadAuthorizationValidBefore, signed(expired)?),
        spoilt("wrong payTo", Reason::InvalidExactEvmRecipientMismatch, signed(recipient)?),
        Case { what: "unknown network", reason: Reason::InvalidNetwork, request: unknown },
        spoilt("replay known to the book", Reason::PaymentAlreadyUsed, sample.good(SETTLED_SERIAL)?),
    ])
}

/// A facilitator on one chain behind that node, whose book is in memory.
pub fn local(node: Arc<dyn Node>, book: Arc<MemorySettlements>) -> anyhow::Result<Local> {
    let config = ChainConfig::new(NETWORK.parse()?, RpcUrl::new("http://127.0.0.1:1"));
    let signers: Vec<Arc<dyn Signer>> = vec![Arc::new(sample::payer(OPERATOR)?)];
    let chain = Chain::new(&config, node, signers, book.clone(), Arc::new(SystemClock))?;
    let scheme: Arc<dyn AnyFacilitatorScheme> = Arc::new(sample::scheme(vec![chain]));
    Ok(Local::builder().schemes([scheme]).settlements(book).clock(Arc::new(SystemClock)).build()?)
}

/// A book in which one payment has been settled.
pub async fn book_with_one_payment() -> anyhow::Result<Arc<MemorySettlements>> {
    let sample = Sample::new()?;
    let book = Arc::new(MemorySettlements::default());
    let lease = sample::take_lane(&*book).await?;
    let payment = sample.outgoing(SETTLED_SERIAL)?;
    let transaction = TransactionId(format!("{:#066x}", 1));
    let outgoing = Outgoing {
        lease: &lease,
        sequence: 0,
        transaction: &transaction,
        signed: &[],
        height: 0,
        payments: std::slice::from_ref(&payment),
        now: sample::now(),
    };
    ensure!(book.sending(&outgoing).await? == Written::Yes, "an empty book refused a payment");
    book.settled(payment.record.key, &sample::settlement(&payment.record, transaction.clone()), sample::now()).await?;
    Ok(book)
}
