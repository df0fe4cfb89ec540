//! Payments of other kinds than those that everything else here measures: through Permit2, of as much as the work says
//! (`upto`), and from a smart wallet (ERC-1271). A few bare rows beside P1, P3 and P6, in one process with the embedded chain.

use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy_primitives::{Address, U256};
use anyhow::{Context, anyhow, ensure};
use farthing::evm::asset::AssetTable;
use farthing::evm::chain::Chain;
use farthing::evm::config::{ChainConfig, RpcUrl};
use farthing::evm::rpc::Node;
use farthing::evm::signer::Signer;
use farthing::evm::wallet::OwnedWallet;
use farthing::evm::{exact, upto};
use farthing::facilitator::Local;
use farthing::system::{SystemClock, SystemEntropy};
use farthing_core::books::MemorySettlements;
use farthing_core::erased::{AnyClientScheme, AnyFacilitatorScheme};
use farthing_core::facilitator::Facilitator;
use farthing_core::wire::{Accepted, Extensions, PaymentPayload, PaymentRequest, PaymentRequirements, Verbatim, Version};
use farthing_devnet::{Devnet, PERMIT2};
use serde_json::json;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::measure::{beside, count, repeat, repeat_async};
use crate::node::{self, Counted, Remembering};
use crate::report::Bound::AtMost;
use crate::report::{Report, Row};
use crate::sample::{self, AMOUNT_ATOMIC, ASSET, CHAIN_ID, NETWORK, OPERATOR, PAY_TO};

/// How many verifications the round trips are counted over.
const COUNTED: usize = 100;
/// How many settlements at once, each by a payer of its own. Their numbers begin behind those of all others.
const AT_ONCE: u32 = 100;
const FIRST_PAYER: u32 = 1_000;
/// How long all of them may take.
const PATIENCE: Duration = Duration::from_mins(1);
/// What a sending account has: 10 ETH.
const OPERATOR_WEI: u64 = 10_000_000_000_000_000_000;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Permit2,
    Upto,
    Wallet,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Permit2 => "by Permit2",
            Self::Upto => "by upto",
            Self::Wallet => "by an ERC-1271 wallet",
        }
    }

    fn offer(self) -> anyhow::Result<Verbatim<PaymentRequirements>> {
        let operator = sample::payer(OPERATOR)?.address().to_string();
        let (scheme, extra) = match self {
            Self::Permit2 => ("exact", json!({"assetTransferMethod": "permit2"})),
            Self::Upto => ("upto", json!({"facilitatorAddress": operator})),
            Self::Wallet => ("exact", json!({"name": "USDC", "version": "2"})),
        };
        let offer = json!({
            "scheme": scheme, "network": NETWORK, "amount": AMOUNT_ATOMIC.to_string(), "asset": ASSET, "payTo": PAY_TO,
            "maxTimeoutSeconds": 300, "extra": extra,
        });
        Ok(Verbatim::new(serde_json::from_value(offer)?)?)
    }
}

/// Verifies each kind, one at a time, with the chain's answers from memory.
pub fn verify(runtime: &Runtime, report: &mut Report) -> anyhow::Result<()> {
    let devnet = start(runtime)?;
    // On one thread, so that this thread's CPU time is all that it costs.
    let runtime = &tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for kind in [Kind::Permit2, Kind::Upto, Kind::Wallet] {
        let node = Counted::new(Remembering::new(&devnet.rpc_url())?);
        let local = local(node.clone())?;
        let request = runtime.block_on(pay(&devnet, kind, FIRST_PAYER))?;
        for _ in 0..COUNTED {
            let answer = runtime.block_on(local.verify(&request))?;
            ensure!(answer.is_valid, "a good payment {} was refused: {answer:?}", kind.as_str());
        }
        let counts = node.counter.take();
        let (cost, _) = beside(repeat_async(runtime, || local.verify(&request)), repeat(|| ()));
        let what = format!("verify {}, in process, one at a time, node in memory", kind.as_str());
        report.add(Row::new("P1", what, cost, "µs"));
        let what = format!("node round trips per verify {}, in process, one at a time", kind.as_str());
        // A wallet's own code costs what it likes, so its gas is estimated, in a question of its own.
        let most = if kind == Kind::Wallet { 2.0 } else { 1.0 };
        let row = Row::new("P3", what, count(counts.round_trips) / count(COUNTED), "");
        report.add(row.must(AtMost(most)).aim(AtMost(1.0)));
    }
    Ok(())
}

/// Settles many at once over instant blocks, with a book that forgets.
pub fn settle(runtime: &Runtime, report: &mut Report) -> anyhow::Result<()> {
    for kind in [Kind::Permit2, Kind::Upto] {
        let devnet = start(runtime)?;
        let local = Arc::new(local(Arc::new(node::http(&devnet.rpc_url())?))?);
        let (rate, gas_units) = runtime.block_on(async {
            local.start();
            let mut requests = Vec::new();
            for number in FIRST_PAYER..=FIRST_PAYER + AT_ONCE {
                requests.push(pay(&devnet, kind, number).await?);
            }
            // The first payment teaches the facilitator what the asset costs.
            let first = requests.pop().context("there are payments")?;
            ensure!(local.settle(&first).await?.success, "the first payment {} was refused", kind.as_str());
            let measured = tokio::time::timeout(PATIENCE, at_once(&devnet, &local, requests)).await?;
            local.stop().await;
            measured
        })?;
        let what = |what: &str| format!("settle {}, {AT_ONCE} at once, in process: {what}", kind.as_str());
        report.add(Row::new("P6", what("settlements over instant blocks"), rate, "/s"));
        report.add(Row::new("P6", what("gas for each"), gas_units, ""));
    }
    Ok(())
}

/// The rate, and the gas for each.
async fn at_once(devnet: &Devnet, local: &Arc<Local>, requests: Vec<PaymentRequest>) -> anyhow::Result<(f64, f64)> {
    let before = spent(devnet).await?;
    let (begun, all) = (Instant::now(), requests.len());
    let mut settling = JoinSet::new();
    for request in requests {
        let local = Arc::clone(local);
        settling.spawn(async move { local.settle(&request).await });
    }
    while let Some(answer) = settling.join_next().await {
        let answer = answer??;
        ensure!(answer.success, "a good payment was refused: {answer:?}");
    }
    let rate = count(all) / begun.elapsed().as_secs_f64();
    let gas_units = spent(devnet).await?.saturating_sub(before);
    Ok((rate, count(usize::try_from(gas_units)?) / count(all)))
}

/// What the gas of all blocks comes to.
async fn spent(devnet: &Devnet) -> anyhow::Result<u64> {
    let http = reqwest::Client::builder().no_proxy().build()?;
    let mut sum = 0_u64;
    for height in 0..=devnet.block_number() {
        let params = json!([format!("{height:#x}"), false]);
        let question = json!({"jsonrpc": "2.0", "id": 1, "method": "eth_getBlockByNumber", "params": params});
        let answer: serde_json::Value = http.post(devnet.rpc_url()).json(&question).send().await?.json().await?;
        let used = answer.pointer("/result/gasUsed").and_then(serde_json::Value::as_str).context("a block tells its gas")?;
        sum = sum.saturating_add(u64::from_str_radix(used.trim_start_matches("0x"), 16)?);
    }
    Ok(sum)
}

fn start(runtime: &Runtime) -> anyhow::Result<Devnet> {
    let devnet = runtime.block_on(Devnet::builder().chain_id(CHAIN_ID).start())?;
    devnet.set_balance(sample::payer(OPERATOR)?.address(), U256::from(OPERATOR_WEI));
    Ok(devnet)
}

fn local(node: Arc<dyn Node>) -> anyhow::Result<Local> {
    let config = ChainConfig::new(NETWORK.parse()?, RpcUrl::new("http://127.0.0.1:1"));
    let signers: Vec<Arc<dyn Signer>> = vec![Arc::new(sample::payer(OPERATOR)?)];
    let (book, clock, assets) = (Arc::new(MemorySettlements::default()), Arc::new(SystemClock), Arc::new(AssetTable::known()));
    let chains = vec![Chain::new(&config, node, signers, book.clone(), clock.clone())?];
    let exact = exact::Facilitator::new(chains.clone(), Arc::clone(&assets), clock.clone());
    let upto = upto::Facilitator::new(chains, assets, clock.clone());
    let schemes: [Arc<dyn AnyFacilitatorScheme>; 2] = [Arc::new(exact), Arc::new(upto)];
    Ok(Local::builder().schemes(schemes).settlements(book).clock(clock).build()?)
}

/// A payment by the payer with that number, who is given all that it needs.
async fn pay(devnet: &Devnet, kind: Kind, number: u32) -> anyhow::Result<PaymentRequest> {
    let signer = Arc::new(sample::payer(number)?);
    let (assets, clock, entropy) = (Arc::new(AssetTable::known()), Arc::new(SystemClock), Arc::new(SystemEntropy));
    let owner = signer.address();
    let (payer, scheme): (Address, Box<dyn AnyClientScheme>) = match kind {
        Kind::Permit2 => (owner, Box::new(exact::Client::new(signer, assets, clock, entropy))),
        Kind::Upto => (owner, Box::new(upto::Client::new(signer, assets, clock, entropy))),
        Kind::Wallet => {
            let wallet = devnet.create_smart_wallet(owner, U256::ZERO)?;
            let signer = Arc::new(OwnedWallet::new(wallet, signer));
            (wallet, Box::new(exact::Client::with_wallet(signer, assets, clock, entropy)))
        }
    };
    devnet.give_usdc(payer, U256::from(AMOUNT_ATOMIC))?;
    if kind != Kind::Wallet {
        devnet.set_allowance(devnet.usdc(), payer, PERMIT2, U256::MAX)?;
    }
    let requirements = kind.offer()?;
    let paid = scheme.pay(&requirements, &Extensions::default()).await;
    let (payload, extensions) = paid.map_err(|error| anyhow!(error))?;
    let accepted = Accepted::Offer(requirements.clone());
    let payment = PaymentPayload { version: Version::V2, resource: None, accepted, payload, extensions };
    Ok(PaymentRequest { version: Version::V2, payment, requirements, trace: None })
}
