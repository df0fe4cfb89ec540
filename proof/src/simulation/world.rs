//! The simulated world: who is in it, and what an action does to it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::U256;
use anyhow::{Context, Result, ensure};
use farthing_core::books::{MemorySettlements, SettlementState};
use farthing_core::time::{Clock, UnixSeconds};
use farthing_core::wire::{PaymentRequest, SettleResponse};
use farthing_interop::chain::TOKEN;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::action::Action;
use super::bridge::Bridge;
use super::watch::Fate;
use crate::chance::Chance;
use crate::invariants::{self, Findings};
use crate::payments::{self, AMOUNT_ATOMIC, Payer};
use crate::replica::{self, Parts, Replica};
use crate::watched::{Watch, Watched};

/// When every simulated world begins.
const BEGIN: UnixSeconds = UnixSeconds(1_800_000_000);
/// The deepest reorganisation: what is deeper counts as final.
const MAX_REORG_BLOCKS: u64 = 3;
const MAX_NODES: usize = 3;
/// One for each node, and one for the node that joins for the healing: a node without an account can't send.
const SENDERS: u64 = 4;
const ETHER_WEI: u64 = 1_000_000_000_000_000_000;
/// How long a caller presents its payment again and again.
const CALLER_PATIENCE: Duration = Duration::from_secs(30);
/// The same in a healed world: an account that a dead node had may come to another node only after a while.
const HEALED_PATIENCE: Duration = Duration::from_secs(400);
/// How long a healed world may take until every payment has its answer, in blocks and in their interval.
const HEALING_BLOCKS: u32 = 240;
const BLOCK_INTERVAL: Duration = Duration::from_secs(2);

/// Who is in it.
pub struct World {
    seed: u64,
    bridge: Bridge,
    clock: Arc<SimulatedClock>,
    book: MemorySettlements,
    keys: Vec<[u8; 32]>,
    nodes: Vec<SimulatedNode>,
    joined: u64,
    requests: Vec<PaymentRequest>,
    callers: Vec<JoinHandle<Result<SettleResponse>>>,
    stormy: bool,
}

struct SimulatedNode {
    replica: Arc<Replica>,
    book: MemorySettlements,
    fate: Arc<Fate>,
    store_fails: bool,
}

/// Simulated time, as everybody in the world reads it.
struct SimulatedClock(Instant);

impl Clock for SimulatedClock {
    fn now(&self) -> UnixSeconds {
        BEGIN.plus(self.0.elapsed().as_secs())
    }
}

impl World {
    pub async fn new(seed: u64, faults_per_thousand: u64) -> Result<Self> {
        let bridge = Bridge::start(seed, BEGIN.0, faults_per_thousand)?;
        bridge.chaos.calm();
        let keys: Vec<_> = (0..SENDERS).map(|number| payments::key_of("sender", seed, number)).collect();
        for sender in replica::accounts(&keys)? {
            bridge.devnet.set_balance(sender, U256::from(10 * ETHER_WEI));
        }
        let clock = Arc::new(SimulatedClock(Instant::now()));
        let mut world = Self {
            seed,
            bridge,
            clock,
            book: MemorySettlements::default(),
            keys,
            nodes: Vec::new(),
            joined: 0,
            requests: Vec::new(),
            callers: Vec::new(),
            stormy: false,
        };
        // The first node of a book is there from its beginning; nobody plays it.
        world.book.die();
        world.start_node()?;
        world.pass(Duration::from_secs(1)).await;
        Ok(world)
    }

    pub fn payments(&self) -> usize {
        self.requests.len()
    }

    pub fn seconds(&self) -> u64 {
        self.clock.0.elapsed().as_secs()
    }

    pub async fn act(&mut self, action: Action, chance: &mut Chance) -> Result<()> {
        match action {
            Action::Pay => self.pay(chance).await?,
            Action::Copy => {
                let request = chance.pick(&self.requests).cloned();
                if let Some(request) = request {
                    self.present(request, chance);
                }
            }
            Action::Wait => self.pass(Duration::from_millis(chance.below(3_000))).await,
            Action::WaitLong => self.pass(Duration::from_secs(chance.below(60))).await,
            Action::Mine => self.mine(chance.below(2).saturating_add(1)).await?,
            Action::Reorganise | Action::ReorganiseAndForget => self.reorganise(action, chance)?,
            Action::TurnWeather => {
                self.stormy = !self.stormy;
                if self.stormy { self.bridge.chaos.storm() } else { self.bridge.chaos.calm() }
            }
            Action::TurnStore => {
                if let Some(node) = pick(&mut self.nodes, chance) {
                    node.store_fails = !node.store_fails;
                    node.fate.store_fails(node.store_fails);
                }
            }
            Action::Kill => self.kill(chance).await,
            Action::Stop => self.stop(chance).await,
            Action::Start => {
                if self.nodes.len() < MAX_NODES {
                    self.start_node()?;
                }
            }
        }
        self.bury();
        if self.nodes.is_empty() {
            self.start_node()?;
        }
        Ok(())
    }

    /// What holds at every moment, also while payments are under way.
    pub fn check_always(&self) -> Result<()> {
        let ledger = self.read_chain()?;
        let twice = ledger.carried.iter().find(|(_, transactions)| transactions.len() > 1);
        ensure!(twice.is_none(), "one authorization in two mined transactions: {twice:?}");
        ensure!(ledger.strays.is_empty(), "{:?}", ledger.strays);
        let entries = now(invariants::all_entries(&self.book))?;
        let known: Vec<_> = entries.iter().map(|entry| entry.record.reference.clone()).collect();
        let unknown = ledger.used.keys().find(|(_, nonce)| !known.contains(&nonce.to_string()));
        ensure!(unknown.is_none(), "money moved of which the book knows nothing: {unknown:?}");
        Ok(())
    }

    /// Heals everything, gives the survivors time, and checks the whole.
    pub async fn heal_and_check(&mut self) -> Result<Findings> {
        self.bridge.chaos.calm();
        for node in &self.nodes {
            node.fate.store_fails(false);
        }
        self.start_node()?;
        // Every payment is presented once more, to a node that has seen none of them: nobody may be left without an answer.
        let last = self.nodes.last().context("a node was started")?.replica.clone();
        let again: Vec<_> = self.requests.iter().cloned().map(|request| call(last.clone(), request, HEALED_PATIENCE)).collect();
        for _ in 0..HEALING_BLOCKS {
            self.mine(1).await?;
            self.pass(BLOCK_INTERVAL).await;
            // One that was to die at one of its next calls may do so only now.
            self.bury();
            if again.iter().all(JoinHandle::is_finished) && !self.is_anything_open()? {
                break;
            }
        }
        let mut answers = Vec::new();
        for (caller, request) in again.into_iter().zip(&self.requests) {
            let nonce = payments::nonce_of(request)?;
            ensure!(caller.is_finished(), "{nonce} has no answer");
            answers.push(caller.await?.with_context(|| format!("payment {nonce}"))?);
        }
        self.promises_are_kept().await?;
        let entries = now(invariants::all_entries(&self.book))?;
        let ledger = self.read_chain()?;
        let successes = answers.iter().filter(|answer| answer.success).count();
        ensure!(successes == ledger.used.len(), "{successes} payments were answered as settled, {} are", ledger.used.len());
        invariants::compare(&entries, &ledger, TOKEN).hold()
    }

    /// Whoever was told that a payment is settled was told the truth.
    async fn promises_are_kept(&mut self) -> Result<()> {
        let ledger = self.read_chain()?;
        for caller in std::mem::take(&mut self.callers) {
            if !caller.is_finished() {
                // It asked a node that died.
                caller.abort();
                continue;
            }
            // A caller that lost patience was told nothing.
            let Ok(Ok(answer)) = caller.await else { continue };
            let kept = ledger.used.values().any(|moved| moved.transaction.to_string() == answer.transaction);
            let payer = answer.payer.as_ref().map(ToString::to_string);
            let moved_since = ledger.used.keys().any(|(from, _)| Some(from.to_string()) == payer);
            ensure!(!answer.success || kept || moved_since, "a buyer was told of a settlement that is not there: {answer:?}");
        }
        Ok(())
    }

    fn is_anything_open(&self) -> Result<bool> {
        let entries = now(invariants::all_entries(&self.book))?;
        Ok(entries.iter().any(|entry| matches!(entry.state, SettlementState::Sending(_))))
    }

    fn read_chain(&self) -> Result<crate::chain::Ledger> {
        let (rpc, senders) = (self.bridge.rpc.clone(), replica::accounts(&self.keys)?);
        self.bridge.wait(async move { crate::chain::read(&rpc, TOKEN, &senders).await })?
    }

    async fn pay(&mut self, chance: &mut Chance) -> Result<()> {
        let number = u64::try_from(self.requests.len())?;
        let payer = Payer::new(self.seed, number, self.clock.clone())?;
        self.bridge.devnet.give_usdc(payer.address(), U256::from(AMOUNT_ATOMIC))?;
        // Balances that are given belong to the newest block, and would be undone with it.
        self.bridge.devnet.mine(MAX_REORG_BLOCKS)?;
        let request = payer.pay().await?;
        self.requests.push(request.clone());
        self.present(request, chance);
        Ok(())
    }

    fn present(&mut self, request: PaymentRequest, chance: &mut Chance) {
        if let Some(node) = pick(&mut self.nodes, chance) {
            self.callers.push(call(node.replica.clone(), request, CALLER_PATIENCE));
        }
    }

    async fn mine(&self, blocks: u64) -> Result<()> {
        for _ in 0..blocks {
            self.follow_time();
            self.bridge.devnet.mine(1)?;
        }
        tokio::task::yield_now().await;
        Ok(())
    }

    fn reorganise(&self, action: Action, chance: &mut Chance) -> Result<()> {
        let depth = chance.below(MAX_REORG_BLOCKS).saturating_add(1).min(self.bridge.devnet.block_number());
        if depth == 0 {
            return Ok(());
        }
        if action == Action::Reorganise {
            self.bridge.devnet.reorg_and_requeue(depth)?;
        } else {
            self.bridge.devnet.reorg(depth)?;
        }
        Ok(())
    }

    async fn kill(&mut self, chance: &mut Chance) {
        if let Some(node) = pick(&mut self.nodes, chance) {
            node.fate.die_in(chance.below(12).saturating_add(1));
            self.pass(Duration::from_secs(1)).await;
        }
    }

    async fn stop(&mut self, chance: &mut Chance) {
        let Ok(count) = u64::try_from(self.nodes.len()) else { return };
        let Ok(place) = usize::try_from(chance.below(count)) else { return };
        if place >= self.nodes.len() {
            return;
        }
        let node = self.nodes.swap_remove(place);
        // Whatever it does not finish in time is cut off, as by an impatient operator.
        drop(timeout(Duration::from_secs(5), node.replica.local().stop()).await);
        node.fate.die();
        node.book.die();
    }

    /// What died at one of its calls is dead for the others, too.
    fn bury(&mut self) {
        self.nodes.retain(|node| {
            if node.fate.is_dead() {
                node.book.die();
            }
            !node.fate.is_dead()
        });
    }

    fn start_node(&mut self) -> Result<()> {
        self.joined = self.joined.saturating_add(1);
        let book = self.book.join();
        let fate = Arc::new(Fate::new(self.seed, self.joined));
        let watch: Arc<dyn Watch> = fate.clone();
        let parts = Parts {
            settlements: Watched::new(Arc::new(book.clone()), watch.clone()),
            outbox: Watched::new(Arc::new(book.clone()), watch.clone()),
            keys: self.keys.clone(),
            node: Watched::new(self.bridge.node()?, watch),
            config: replica::config(self.bridge.chaos.url())?,
            clock: self.clock.clone(),
        };
        let replica = Arc::new(parts.start()?);
        self.nodes.push(SimulatedNode { replica, book, fate, store_fails: false });
        Ok(())
    }

    /// Lets simulated time go by; the chain's follows.
    async fn pass(&self, time: Duration) {
        sleep(time).await;
        self.follow_time();
    }

    fn follow_time(&self) {
        let behind = self.clock.now().0.saturating_sub(self.bridge.devnet.now());
        self.bridge.devnet.increase_time(behind);
    }
}

fn call(replica: Arc<Replica>, request: PaymentRequest, patience: Duration) -> JoinHandle<Result<SettleResponse>> {
    tokio::spawn(async move { replica.settle(&request, patience).await })
}

fn pick<'a>(nodes: &'a mut [SimulatedNode], chance: &mut Chance) -> Option<&'a mut SimulatedNode> {
    let count = u64::try_from(nodes.len()).ok()?;
    nodes.get_mut(usize::try_from(chance.below(count)).ok()?)
}

/// What a book in memory answers; it never waits.
fn now<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    futures_util::FutureExt::now_or_never(work).context("a book in memory waits")?
}
