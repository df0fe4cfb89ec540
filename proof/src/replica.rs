//! A facilitator of a test: what an operator would run, with somebody who looks on at its books and its node.

use std::borrow::Borrow;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::Address;
use anyhow::{Context, Result, bail};
use farthing_core::books::{Outbox, Settlements};
use farthing_core::erased::AnyFacilitatorScheme;
use farthing_core::facilitator::{Facilitator, FacilitatorError};
use farthing_core::reason::Reason;
use farthing_core::time::Clock;
use farthing_core::wire::{PaymentRequest, SettleResponse};
use farthing_evm::asset::AssetTable;
use farthing_evm::chain::Chain;
use farthing_evm::config::{ChainConfig, RpcUrl};
use farthing_evm::rpc::{Node, NodePool};
use farthing_evm::signer::{LocalSigner, Signer};
use farthing_evm::{exact, upto};
use farthing_facilitator::Local;
use farthing_interop::chain::NETWORK;
use farthing_store::Store;
use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;

use crate::payments::{MachineClock, Market};
use crate::watched::{Watch, Watched};

/// How long a caller waits before it presents a payment again whose outcome it was not told: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// The most that a payer is given for the gas of its approval, in units of 10⁻⁹ of a coin: several times what it costs.
const MAX_FUNDING_GWEI: u64 = 1_000_000;

/// What a replica is made of.
pub struct Parts {
    /// What it has sent.
    pub settlements: Arc<dyn Settlements>,
    /// What it is sending.
    pub outbox: Arc<dyn Outbox>,
    /// The keys of its sending accounts.
    pub keys: Vec<[u8; 32]>,
    /// Its node.
    pub node: Arc<dyn Node>,
    /// Its limits.
    pub config: ChainConfig,
    /// Its clock.
    pub clock: Arc<dyn Clock>,
}

/// A facilitator at work.
pub struct Replica {
    local: Arc<Local>,
    settlements: Arc<dyn Settlements>,
}

/// The limits of a test's network: everything is quick, and nothing is decided in haste.
pub fn config(rpc_url: &str) -> Result<ChainConfig> {
    let mut config = ChainConfig::new(NETWORK.parse()?, RpcUrl::new(rpc_url));
    for node in &mut config.nodes {
        node.request_timeout_milliseconds = 2_000;
    }
    config.confirm.poll_milliseconds = 10;
    config.confirm.timeout_milliseconds = 10_000;
    config.confirm.rebroadcast_milliseconds = 300;
    config.confirm.final_blocks = 4;
    config.relay.replace_after_milliseconds = 2_000;
    config.sponsor.approvals = true;
    config.sponsor.max_funding_gwei = MAX_FUNDING_GWEI;
    Ok(config)
}

/// The nodes that a configuration names, as a facilitator uses them.
pub fn node(config: &ChainConfig) -> Result<Arc<dyn Node>> {
    Ok(Arc::new(NodePool::connect(&config.network, &config.nodes)?))
}

/// Where payers pay whose facilitator has these keys, and whose node is there.
pub fn market(node: Arc<dyn Node>, keys: &[[u8; 32]], clock: Arc<dyn Clock>) -> Result<Market> {
    // Offers name the first of a facilitator's accounts.
    let facilitator = accounts(keys)?.first().copied().context("a facilitator has an account")?;
    Ok(Market { clock, node, facilitator })
}

impl Parts {
    /// A replica on that store, in front of that node, in real time.
    pub fn new(store: &Store, rpc_url: &str, keys: &[[u8; 32]]) -> Result<Self> {
        let config = config(rpc_url)?;
        Ok(Self {
            settlements: store.settlements(),
            outbox: store.outbox(),
            keys: keys.to_vec(),
            node: node(&config)?,
            config,
            clock: Arc::new(MachineClock),
        })
    }

    /// The same, with somebody who looks on at everything.
    #[must_use]
    pub fn watched(self, watch: &Arc<dyn Watch>) -> Self {
        Self {
            settlements: Watched::new(self.settlements, Arc::clone(watch)),
            outbox: Watched::new(self.outbox, Arc::clone(watch)),
            node: Watched::new(self.node, Arc::clone(watch)),
            ..self
        }
    }

    /// Starts it, inside a runtime.
    pub fn start(self) -> Result<Replica> {
        let mut signers: Vec<Arc<dyn Signer>> = Vec::new();
        for key in self.keys {
            signers.push(Arc::new(LocalSigner::from_bytes(Zeroizing::new(key))?));
        }
        let chain = Chain::new(&self.config, self.node, signers, self.outbox, Arc::clone(&self.clock))?;
        let (chains, assets) = (vec![chain], Arc::new(AssetTable::known()));
        let exact = exact::Facilitator::new(chains.clone(), Arc::clone(&assets), Arc::clone(&self.clock));
        let upto = upto::Facilitator::new(chains, assets, Arc::clone(&self.clock));
        let schemes: [Arc<dyn AnyFacilitatorScheme>; 2] = [Arc::new(exact), Arc::new(upto)];
        let local = Local::builder().schemes(schemes).settlements(Arc::clone(&self.settlements)).clock(self.clock).build()?;
        let local = Arc::new(local);
        local.start();
        Ok(Replica { local, settlements: self.settlements })
    }
}

impl Replica {
    /// The facilitator.
    pub const fn local(&self) -> &Arc<Local> {
        &self.local
    }

    /// Its book.
    pub fn settlements(&self) -> &dyn Settlements {
        self.settlements.as_ref()
    }

    /// Settles as an official server does: a payment whose outcome is not told is presented again, the same, until it is.
    pub async fn settle(&self, request: &PaymentRequest, patience: Duration) -> Result<SettleResponse> {
        settle_at([self].as_slice(), request, patience).await
    }

    /// Ends it as SIGTERM does.
    pub async fn stop(self) {
        self.local.stop().await;
    }
}

/// The same at several nodes behind one door, the first one first: only the one that has an account can settle by it.
pub async fn settle_at<R: Borrow<Replica>>(
    replicas: &[R],
    request: &PaymentRequest,
    patience: Duration,
) -> Result<SettleResponse> {
    let deadline = Instant::now() + patience;
    let mut pause = FIRST_PAUSE;
    let mut doors = replicas.iter().cycle();
    loop {
        let replica = doors.next().context("there is a node")?.borrow();
        let answer = replica.local.settle(request).await;
        match answer {
            Ok(answer) if !is_open(&answer) => return Ok(answer),
            Ok(_) | Err(FacilitatorError::Unavailable(_) | FacilitatorError::Indeterminate(_)) if Instant::now() < deadline => {
                sleep(pause).await;
                pause = pause.saturating_mul(2).min(MAX_PAUSE);
            }
            Ok(answer) => bail!("no outcome within {patience:?}: {answer:?}"),
            Err(error) => return Err(error).context("no answer"),
        }
    }
}

/// Whether an answer leaves the outcome open.
fn is_open(answer: &SettleResponse) -> bool {
    !answer.success && answer.error_reason == Some(Reason::SettlementPending)
}

/// The accounts of keys.
pub fn accounts(keys: &[[u8; 32]]) -> Result<Vec<Address>> {
    keys.iter().map(|key| crate::payments::address_of(*key)).collect()
}
