//! The simulated world: who is in it, and what an action does to it.

use std::collections::{BTreeMap, BTreeSet};
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
use crate::chain::Ledger;
use crate::chance::Chance;
use crate::invariants::{self, CARRIED_TWICE, Findings};
use crate::payments::{self, Authorization, Bill, Kind, Market, Payer};
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
    market: Market,
    requests: Vec<PaymentRequest>,
    bills: Vec<Bill>,
    /// Who presents which of the requests.
    callers: Vec<(usize, JoinHandle<Result<SettleResponse>>)>,
    refused_and_moved: BTreeMap<String, u64>,
    stormy: bool,
    reorganised: u64,
    /// What the chain showed last, and when: at which height, after how many reorganisations.
    seen: Option<((u64, u64), Ledger)>,
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
        let market = replica::market(bridge.true_node()?, &keys, clock.clone())?;
        let mut world = Self {
            seed,
            bridge,
            clock,
            book: MemorySettlements::default(),
            keys,
            nodes: Vec::new(),
            joined: 0,
            market,
            requests: Vec::new(),
            bills: Vec::new(),
            callers: Vec::new(),
            refused_and_moved: BTreeMap::new(),
            stormy: false,
            reorganised: 0,
            seen: None,
        };
        // The first node of a book is there from its beginning; nobody plays it.
        world.book.die();
        world.start_node()?;
        world.pass(Duration::from_secs(1)).await;
        Ok(world)
    }

    /// How many payments were made, by kind.
    pub fn payments(&self) -> BTreeMap<&'static str, u64> {
        let mut counts = BTreeMap::new();
        for bill in &self.bills {
            let count: &mut u64 = counts.entry(bill.kind.as_str()).or_default();
            *count = count.saturating_add(1);
        }
        counts
    }

    /// Of how many payments nothing was to be charged.
    pub fn unused(&self) -> usize {
        self.bills.iter().filter(|bill| bill.charge_atomic == 0).count()
    }

    /// Answers that refused a payment which moved all the same, by their reason: known once the world was healed.
    pub fn refused_and_moved(&self) -> BTreeMap<String, u64> {
        self.refused_and_moved.clone()
    }

    pub fn seconds(&self) -> u64 {
        self.clock.0.elapsed().as_secs()
    }

    pub async fn act(&mut self, action: Action, chance: &mut Chance) -> Result<()> {
        match action {
            Action::Pay => self.pay(chance).await?,
            Action::Copy => {
                let count = u64::try_from(self.requests.len())?;
                self.present(usize::try_from(chance.below(count))?, chance);
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
    pub fn check_always(&mut self) -> Result<()> {
        let moment = (self.bridge.devnet.block_number(), self.reorganised);
        let ledger = match self.seen.take() {
            Some((then, ledger)) if then == moment => ledger,
            _ => self.read_chain()?,
        };
        self.is_nothing_wasted(&ledger)?;
        ensure!(ledger.strays.is_empty(), "{:?}", ledger.strays);
        let entries = now(invariants::all_entries(&self.book))?;
        let known: BTreeSet<_> = entries.iter().map(|entry| invariants::authorization(entry, TOKEN)).collect::<Result<_>>()?;
        let unknown = ledger.used.keys().find(|used| !known.contains(used));
        ensure!(unknown.is_none(), "money moved of which the book knows nothing: {unknown:?}");
        self.seen = Some((moment, ledger));
        Ok(())
    }

    /// Nothing is in two mined transactions: the second could only burn gas. But for a payment whose approval vanished from
    /// the chain with its block, under a transaction that carried it and waits for its turn again.
    fn is_nothing_wasted(&self, ledger: &Ledger) -> Result<()> {
        let approved = |authorization: &Authorization| {
            self.bills.iter().any(|bill| bill.authorization == *authorization && bill.kind == Kind::Approval)
        };
        let twice = ledger.carried.iter().find(|(carried, transactions)| transactions.len() > 1 && !approved(carried));
        ensure!(twice.is_none(), "one authorization in two mined transactions: {twice:?}");
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
        // One that names its account may have to go on to the node that has it.
        let again = self.present_all_again()?;
        for _ in 0..HEALING_BLOCKS {
            self.mine(1).await?;
            self.pass(BLOCK_INTERVAL).await;
            // One that was to die at one of its next calls may do so only now.
            self.bury();
            if again.iter().all(JoinHandle::is_finished) && !self.is_any_payment_open()? {
                break;
            }
        }
        let mut answers = Vec::new();
        for (caller, bill) in again.into_iter().zip(&self.bills) {
            ensure!(caller.is_finished(), "{bill:?} has no answer");
            answers.push(caller.await?.with_context(|| format!("{bill:?}"))?);
        }
        let ledger = self.read_chain()?;
        self.promises_are_kept(&ledger).await?;
        let entries = now(invariants::all_entries(&self.book))?;
        for (answer, bill) in answers.iter().zip(&self.bills) {
            let moved = ledger.used.contains_key(&bill.authorization);
            let is_right = answer.success && (moved || bill.charge_atomic == 0);
            ensure!(is_right, "{bill:?} was answered {answer:?}, and moved: {moved}");
        }
        let (rpc, senders, bills) = (self.bridge.rpc.clone(), replica::accounts(&self.keys)?, self.bills.clone());
        let mut findings =
            self.bridge.wait(async move { invariants::compare_with(&rpc, &entries, TOKEN, &senders, &bills).await })??;
        let open = findings.fundings_open;
        ensure!(open == 0, "the book does not say of {open} payers that they were given coin, and they were");
        // What may be wasted here is known better above.
        self.is_nothing_wasted(&ledger)?;
        findings.violations.retain(|violation| !violation.contains(CARRIED_TWICE));
        findings.hold()
    }

    fn present_all_again(&self) -> Result<Vec<JoinHandle<Result<SettleResponse>>>> {
        let newest_first: Vec<_> = self.nodes.iter().rev().map(|node| node.replica.clone()).collect();
        let newest = newest_first.first().context("a node was started")?;
        let present = |(request, bill): (&PaymentRequest, &Bill)| {
            let doors = if bill.kind.is_metered() { newest_first.clone() } else { vec![newest.clone()] };
            call(doors, request.clone(), HEALED_PATIENCE)
        };
        Ok(self.requests.iter().zip(&self.bills).map(present).collect())
    }

    /// Whoever was told that a payment is settled was told the truth.
    async fn promises_are_kept(&mut self, ledger: &Ledger) -> Result<()> {
        for (place, caller) in std::mem::take(&mut self.callers) {
            if !caller.is_finished() {
                // It asked a node that died.
                caller.abort();
                continue;
            }
            // A caller that lost patience was told nothing.
            let Ok(Ok(answer)) = caller.await else { continue };
            let bill = self.bills.get(place).context("what is presented was billed")?;
            let moved = ledger.used.contains_key(&bill.authorization);
            if answer.success {
                let is_nothing = bill.charge_atomic == 0 && answer.transaction.is_empty();
                ensure!(moved || is_nothing, "a buyer was told of a settlement that is not there: {bill:?}, {answer:?}");
            } else if moved {
                let reason = answer.error_reason.map_or_else(String::new, |reason| reason.to_string());
                let count = self.refused_and_moved.entry(reason).or_default();
                *count = count.saturating_add(1);
            }
        }
        Ok(())
    }

    fn is_any_payment_open(&self) -> Result<bool> {
        let entries = now(invariants::all_entries(&self.book))?;
        Ok(entries.iter().any(|entry| matches!(entry.state, SettlementState::Sending(_))))
    }

    fn read_chain(&self) -> Result<Ledger> {
        let (rpc, senders) = (self.bridge.rpc.clone(), replica::accounts(&self.keys)?);
        self.bridge.wait(async move { crate::chain::read(&rpc, TOKEN, &senders).await })?
    }

    async fn pay(&mut self, chance: &mut Chance) -> Result<()> {
        let place = self.requests.len();
        let (number, kind) = (u64::try_from(place)?, Kind::draw(chance));
        let payer = Payer::furnished(&self.bridge.devnet, &self.market, (self.seed, number), kind, 1).await?;
        // What is given belongs to the newest block, and would be undone with it.
        self.bridge.devnet.mine(MAX_REORG_BLOCKS)?;
        let request = payer.pay().await?;
        self.bills.push(Bill::of(&request, kind)?);
        self.requests.push(request);
        self.present(place, chance);
        Ok(())
    }

    /// Presents one of the requests, if there is such a one, to one of the nodes.
    fn present(&mut self, place: usize, chance: &mut Chance) {
        let Some(request) = self.requests.get(place).cloned() else { return };
        if let Some(node) = pick(&mut self.nodes, chance) {
            self.callers.push((place, call(vec![node.replica.clone()], request, CALLER_PATIENCE)));
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

    fn reorganise(&mut self, action: Action, chance: &mut Chance) -> Result<()> {
        self.reorganised = self.reorganised.saturating_add(1);
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

fn call(doors: Vec<Arc<Replica>>, request: PaymentRequest, patience: Duration) -> JoinHandle<Result<SettleResponse>> {
    tokio::spawn(async move { replica::settle_at(&doors, &request, patience).await })
}

fn pick<'a>(nodes: &'a mut [SimulatedNode], chance: &mut Chance) -> Option<&'a mut SimulatedNode> {
    let count = u64::try_from(nodes.len()).ok()?;
    nodes.get_mut(usize::try_from(chance.below(count)).ok()?)
}

/// What a book in memory answers; it never waits.
fn now<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    futures_util::FutureExt::now_or_never(work).context("a book in memory waits")?
}
