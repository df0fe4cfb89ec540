//! The facilitator's sending accounts on one chain: the only place that spends its gas.
//!
//! 1. Orders wait in one queue (`queue`). Each account is a lane (`lane`): one task that holds the account's lease, takes
//!    what has gathered, packs it into one transaction (`batch`), signs it under the next number, writes it into the
//!    [`Outbox`] and only then broadcasts it. "In flight" for gathering means until the node has answered the broadcast, so
//!    that slow blocks add no delay and load makes batches by itself.
//! 2. Everything under way (`flights`) is followed by one task (`follower`), however many payments wait: it reads each new
//!    block once, asks for receipts of what is in it, and watches for other histories until a block is final.
//! 3. Whoever waits is answered first; then the book is told (`clerk`).
//! 4. A transaction of which it is not certain that nobody has it stays followed, and its outcome is unknown until the chain
//!    tells. A number comes back only from a transaction that was certainly refused (`broadcast` reads what nodes say).

mod accounts;
mod adopt;
mod batch;
mod broadcast;
mod clerk;
mod fees;
mod flights;
mod follower;
mod foreign;
mod lane;
mod launch;
mod mend;
mod order;
mod pace;
mod queue;

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use alloy_primitives::Address;
use farthing_core::books::{LaneId, Outbox};
use farthing_core::network::Network;
use farthing_core::scheme::PaymentKey;
use farthing_core::time::Clock;
use futures_util::FutureExt as _;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::Span;

use self::accounts::Accounts;
pub use self::accounts::NotReady;
use self::clerk::{Note, Notes};
pub use self::fees::FeesAboveCap;
use self::fees::{FeeBook, Fees};
use self::flights::Flights;
use self::follower::Head;
pub use self::foreign::ForeignError;
pub use self::order::{Company, Mined, NotSent, Order, RelayError};
use self::queue::{Queue, SharedStage, Ticket};
use crate::config::{ChainConfig, ConfigError, ConfirmConfig, GasConfig, RelayConfig};
use crate::network::chain_id;
use crate::rpc::{self, Answer, Call, Node, NodeError};
use crate::signer::Signer;
use crate::text::{account_id, parse_address};

/// How long an order waits while no account of this node can send.
const STANDBY_PATIENCE: Duration = Duration::from_secs(2);
/// How long an order waits for a transaction to carry it. Whoever asks waits longer, so that he is told why.
const TURN_PATIENCE: Duration = Duration::from_secs(30);
/// The pause before a task that panicked begins again.
const BEGIN_AGAIN: Duration = Duration::from_secs(1);
/// How long [`Relayer::stop`] waits for what is under way.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// The sending accounts of one chain. When it is dropped, everything stops at once, as in a crash; nothing is lost, because
/// all of it is in the book.
pub struct Relayer {
    inner: Arc<Inner>,
    tasks: Mutex<Tasks>,
}

/// Somebody who waits for an order. When he leaves, by whichever way, an order that nothing carries leaves with him.
struct Waiting<'a> {
    queue: &'a Queue,
    number: u64,
    stage: SharedStage,
    answered: oneshot::Receiver<Result<Mined, RelayError>>,
}

struct Tasks {
    notes: Option<mpsc::UnboundedReceiver<Note>>,
    lanes: Vec<JoinHandle<()>>,
    others: Vec<JoinHandle<()>>,
}

/// What the tasks share.
struct Inner {
    network: Network,
    chain_id: u64,
    node: Arc<dyn Node>,
    signers: Vec<Arc<dyn Signer>>,
    lanes: Vec<LaneId>,
    outbox: Arc<dyn Outbox>,
    clock: Arc<dyn Clock>,
    confirm: ConfirmConfig,
    relay: RelayConfig,
    caps: GasConfig,
    request_timeout: Duration,
    queue: Queue,
    fees: FeeBook,
    accounts: Accounts,
    flights: Mutex<Flights>,
    head: Mutex<Option<Head>>,
    /// When the next block is due, on a chain that makes them at its own pace.
    next_block: Mutex<Option<Instant>>,
    notes: Notes,
    /// Wakes the follower.
    news: Notify,
    /// Wakes a lane.
    wakes: Vec<Notify>,
    stopping: watch::Sender<bool>,
    /// Held while a lane is being taken, so that the node's share is counted rightly.
    taking: tokio::sync::Mutex<()>,
}

/// Calls that keep fees and balances current, added to a question that is asked anyway.
#[derive(Debug)]
pub(crate) struct Upkeep {
    place: usize,
    fees: bool,
    balances: bool,
}

impl Relayer {
    /// Accounts on a chain. Nothing is asked or sent before [`Self::start`].
    pub(crate) fn new(
        config: &ChainConfig,
        node: Arc<dyn Node>,
        signers: Vec<Arc<dyn Signer>>,
        outbox: Arc<dyn Outbox>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ConfigError> {
        let network = config.network.clone();
        let chain_id = chain_id(&network).ok_or_else(|| ConfigError::Network(network.clone()))?;
        let addresses: Vec<Address> = signers.iter().map(|signer| signer.address()).collect();
        let twice =
            addresses.iter().enumerate().find(|(place, address)| addresses.iter().take(*place).any(|it| it == *address));
        if let Some((_, address)) = twice {
            return Err(ConfigError::Signers { network, got: format!("{address} twice") });
        }
        if addresses.is_empty() {
            return Err(ConfigError::Signers { network, got: "none".to_owned() });
        }
        let lane = |address: &Address| LaneId { network: network.clone(), account: account_id(*address) };
        let (notes, to_write) = Notes::new();
        let inner = Inner {
            chain_id,
            node,
            lanes: addresses.iter().map(lane).collect(),
            outbox,
            clock,
            confirm: config.confirm,
            relay: config.relay,
            caps: config.gas,
            request_timeout: config.request_timeout(),
            queue: Queue::default(),
            fees: FeeBook::new(config.gas),
            accounts: Accounts::new(network.clone(), &addresses, config.gas.low_balance_gwei),
            flights: Mutex::default(),
            head: Mutex::default(),
            next_block: Mutex::default(),
            notes,
            news: Notify::new(),
            wakes: addresses.iter().map(|_| Notify::new()).collect(),
            stopping: watch::Sender::new(false),
            taking: tokio::sync::Mutex::default(),
            network,
            signers,
        };
        let tasks = Tasks { notes: Some(to_write), lanes: Vec::new(), others: Vec::new() };
        Ok(Self { inner: Arc::new(inner), tasks: Mutex::new(tasks) })
    }

    /// The first of the accounts; simulations and estimates are made as if it sent.
    pub fn address(&self) -> Address {
        self.inner.signers.first().map_or(Address::ZERO, |signer| signer.address())
    }

    /// The accounts.
    pub fn addresses(&self) -> impl Iterator<Item = Address> + '_ {
        self.inner.signers.iter().map(|signer| signer.address())
    }

    /// What payments may cost here.
    pub fn caps(&self) -> &GasConfig {
        &self.inner.caps
    }

    /// Takes the accounts and what is under way on them. Must be called inside the runtime; further calls do nothing.
    pub fn start(&self) {
        let mut tasks = self.tasks();
        let Some(noted) = tasks.notes.take() else { return };
        tasks.others.push(tokio::spawn(clerk::write(self.inner.outbox.clone(), noted)));
        tasks.others.push(tokio::spawn(lasting(self.inner.clone(), |inner| follower::follow(inner.clone()), |_| {})));
        tasks.lanes.extend((0..self.inner.lanes.len()).map(|index| {
            let run = move |inner: &Arc<Inner>| lane::run(inner.clone(), index);
            tokio::spawn(lasting(self.inner.clone(), run, move |inner| inner.drop_lane(index)))
        }));
    }

    /// Takes no more orders, waits a moment for what is under way, and gives the accounts to other nodes.
    pub async fn stop(&self) {
        self.inner.stopping.send_replace(true);
        self.inner.queue.close();
        let lanes = std::mem::take(&mut self.tasks().lanes);
        for lane in lanes {
            // A lane waits a bounded moment by itself.
            drop(lane.await);
        }
        self.tasks().stop();
    }

    /// Sends the order, by itself or with others, and waits until it is confirmed.
    #[tracing::instrument(level = "debug", skip_all, fields(network = %self.inner.network, transaction))]
    pub async fn send(&self, order: Order) -> Result<Mined, RelayError> {
        self.start();
        let sender = order.sender;
        let (answer, answered) = oneshot::channel();
        let stage = SharedStage::queued();
        let ticket = Ticket { number: 0, order, answer, stage: stage.clone(), attempts: 0, span: Span::current() };
        let number = self.inner.queue.push(ticket)?;
        let mut waiting = Waiting { queue: &self.inner.queue, number, stage, answered };
        let mut late = std::pin::pin!(tokio::time::sleep(self.inner.confirm.timeout()));
        let since = Instant::now();
        let mut standby = tokio::time::interval_at(since + STANDBY_PATIENCE, STANDBY_PATIENCE);
        let cause = loop {
            tokio::select! {
                biased;
                answer = &mut waiting.answered => match answer {
                    Ok(answer) => return answer,
                    Err(_) => break NotSent::Stopping,
                },
                () = &mut late => break NotSent::Late,
                now = standby.tick() => {
                    let is_queued = waiting.stage.is_queued();
                    if is_queued && !self.inner.accounts.is_held(sender) {
                        break sender.map_or(NotSent::Standby, NotSent::Elsewhere);
                    }
                    if is_queued && now.duration_since(since) >= TURN_PATIENCE {
                        break NotSent::Late;
                    }
                }
            }
        };
        match waiting.stage.give_up() {
            Some(transaction) => Err(RelayError::Unknown(transaction)),
            None => Err(cause.into()),
        }
    }

    /// Whether an account of this node can send.
    pub fn ready(&self) -> Result<(), NotReady> {
        self.inner.accounts.ready()
    }

    /// The account from which a payment was sent last, and under which number, as far as the book can say now.
    pub(crate) async fn carrier(&self, key: PaymentKey) -> Option<(Address, u64)> {
        match self.inner.outbox.carrier(key).await {
            Ok(found) => {
                let (lane, sequence) = found.filter(|(lane, _)| lane.network == self.inner.network)?;
                Some((parse_address(lane.account.as_str())?, sequence))
            }
            Err(error) => {
                tracing::warn!(network = %self.inner.network, %error, "the book does not say what carries a payment");
                None
            }
        }
    }

    /// What so much gas is expected to cost now, in wei.
    pub async fn expected_cost_wei(&self, gas_units: u64) -> Result<u128, NotSent> {
        let fees = self.inner.fees().await?;
        Ok(fees.expected_wei.saturating_mul(gas_units.into()))
    }

    /// Adds the calls that are due to a question that is asked anyway.
    pub(crate) fn plan_upkeep(&self, calls: &mut Vec<Call>) -> Option<Upkeep> {
        self.inner.plan_upkeep(calls)
    }

    /// Takes over the answers to [`Self::plan_upkeep`]'s calls.
    pub(crate) fn absorb_upkeep(&self, upkeep: &Upkeep, answers: &[Answer]) {
        self.inner.absorb_upkeep(upkeep, answers);
    }

    fn tasks(&self) -> MutexGuard<'_, Tasks> {
        locked(&self.tasks)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // Before it leaves the queue, so that it is not put back afterwards.
        self.answered.close();
        // Whoever is interested in the transaction has asked before.
        let _ = self.stage.give_up();
        self.queue.leave(self.number);
    }
}

impl Tasks {
    fn stop(&mut self) {
        for task in self.lanes.drain(..).chain(self.others.drain(..)) {
            task.abort();
        }
    }
}

impl Drop for Relayer {
    fn drop(&mut self) {
        self.tasks().stop();
    }
}

impl Inner {
    /// The fees to sign with, from memory if they are fresh enough.
    async fn fees(&self) -> Result<Fees, NotSent> {
        if let Some(fees) = self.fees.current() {
            return Ok(fees?);
        }
        let answers = self.node.ask(&[Call::fee_history()]).await?;
        self.fees.learn(rpc::fee_history(answers.first().ok_or(NodeError::Malformed("eth_feeHistory"))?)?);
        self.fees.current().ok_or(NotSent::Node(NodeError::TimedOut))?.map_err(NotSent::from)
    }

    fn plan_upkeep(&self, calls: &mut Vec<Call>) -> Option<Upkeep> {
        let upkeep = Upkeep { place: calls.len(), fees: self.fees.should_ask(), balances: self.accounts.should_ask() };
        if upkeep.fees {
            calls.push(Call::fee_history());
        }
        if upkeep.balances {
            calls.extend(self.signers.iter().map(|signer| Call::balance(signer.address())));
        }
        (upkeep.fees || upkeep.balances).then_some(upkeep)
    }

    fn absorb_upkeep(&self, upkeep: &Upkeep, answers: &[Answer]) {
        let mut answers = answers.iter().skip(upkeep.place);
        // What is wrong with these answers shows when they are needed; the question that carried them has its own.
        if upkeep.fees
            && let Some(answer) = answers.next()
        {
            match rpc::fee_history(answer) {
                Ok(history) => self.fees.learn(history),
                Err(error) => tracing::debug!(network = %self.network, %error, "the node did not say what gas costs"),
            }
        }
        if upkeep.balances {
            for (lane, answer) in answers.enumerate().take(self.signers.len()) {
                if let Ok(balance_wei) = rpc::wei(answer, "eth_getBalance") {
                    self.accounts.learn(lane, balance_wei);
                }
            }
            self.wake_lanes();
        }
    }

    fn wake_lanes(&self) {
        for wake in &self.wakes {
            wake.notify_one();
        }
    }

    fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    fn flights(&self) -> MutexGuard<'_, Flights> {
        locked(&self.flights)
    }

    /// The lane is not worked any more; whoever waited for what is under way on it hears that nothing is known.
    fn drop_lane(&self, index: usize) {
        self.accounts.hold(index, false);
        for mut flight in self.flights().shut(index) {
            flight.unknown();
        }
    }

    /// The newest block that was seen.
    fn head(&self) -> Option<Head> {
        *locked(&self.head)
    }

    fn next_block(&self) -> Option<Instant> {
        *locked(&self.next_block)
    }
}

/// Begins a task again after a panic in it, which may be one of a signer, a node or a book that was handed in: without it
/// nothing would be confirmed, or an account would be held and never used.
async fn lasting<W: Future<Output = ()>>(inner: Arc<Inner>, work: impl Fn(&Arc<Inner>) -> W, clean_up: impl Fn(&Inner)) {
    while AssertUnwindSafe(work(&inner)).catch_unwind().await.is_err() {
        tracing::error!(network = %inner.network, "a task of the relayer panicked; it begins again");
        clean_up(&inner);
        tokio::time::sleep(BEGIN_AGAIN).await;
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
