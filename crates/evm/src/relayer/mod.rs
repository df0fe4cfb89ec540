//! The facilitator's sending account on one chain: the only place that spends its gas.
//!
//! 1. A nonce is taken from memory (`lane`), never by asking the node for each payment.
//! 2. The transaction is signed with fees that are known and capped (`fees`), and written into the caller's log.
//! 3. It is handed to the follower (`follower`) **before** it is broadcast, so that nothing that may be on its way is
//!    ever forgotten, then it is broadcast (`broadcast` reads what the node says).
//! 4. One task per chain asks for the receipts of all that is under way (`tracked`) in one batch, broadcasts again what
//!    is not mined, and fills gaps in the line.
//!
//! A transaction of which it is not certain that nobody has it stays followed, and its outcome is unknown until the
//! chain tells. A nonce comes back only from a transaction that was certainly refused.

mod broadcast;
mod fees;
mod follower;
mod lane;
mod tracked;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use alloy_consensus::{SignableTransaction, TxEip1559};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use farthing_core::Source;
use farthing_core::scheme::{SendLog, TransactionId};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use self::broadcast::Broadcast;
pub use self::fees::FeesAboveCap;
use self::fees::{FeeBook, Fees};
use self::lane::{Lane, Lease, Mark};
use self::tracked::{Key, MAX_TRACKED, Tracked};
use crate::config::{ChainConfig, ConfirmConfig};
use crate::rpc::{self, Answer, Call, CallError, Node, NodeError, Receipt};
use crate::signer::{Signer, SignerError};

/// How often a transaction is signed anew after the node refused it for its nonce or its fees.
const MAX_ATTEMPTS: u8 = 4;
/// Beyond a broadcast's own time-out, before the follower takes it for lost.
const BROADCAST_GRACE: Duration = Duration::from_secs(1);
/// The calls of an [`Upkeep`].
const UPKEEP_CALLS: usize = 2;

/// What to send: a call of a contract, without value. The call may carry a signature, so it is not shown.
#[derive(Clone)]
pub struct Order {
    /// The contract.
    pub to: Address,
    /// The call.
    pub data: Bytes,
    /// The most gas that it may use.
    pub gas_units: u64,
}

/// Why nothing was sent. It is safe to try again.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The node could not say what sending needs.
    #[error("the node could not be asked for fees and nonce")]
    Node(#[from] NodeError),
    /// The network is too expensive right now.
    #[error(transparent)]
    Fees(#[from] FeesAboveCap),
    /// The sending account did not sign.
    #[error("the sending account did not sign")]
    Signer(#[from] SignerError),
    /// The log did not take the transaction, so it was not sent.
    #[error("the transaction could not be written down before sending it")]
    Log(#[source] Source),
    /// The node refused it.
    #[error("the node refused the transaction of {account}: {error}")]
    Refused {
        /// The sending account.
        account: Address,
        /// What the node said.
        #[source]
        error: CallError,
    },
    /// The nonce or the fees were refused again and again.
    #[error("the node refused the transaction {MAX_ATTEMPTS} times; does another program send from {0}?")]
    Contended(Address),
    /// Too many transactions are under way.
    #[error("{MAX_TRACKED} transactions are under way already")]
    Full,
}

/// A transaction that was sent, or may have been.
#[derive(Debug)]
pub struct Sent {
    /// Its hash.
    pub hash: B256,
    receipt: oneshot::Receiver<Receipt>,
}

impl Sent {
    /// The transaction's name in books and answers.
    pub fn id(&self) -> TransactionId {
        TransactionId(self.hash.to_string())
    }

    /// Waits for the receipt; `None` if it did not come in time, which says nothing of what becomes of it.
    pub async fn receipt(self, within: Duration) -> Option<Receipt> {
        tokio::time::timeout(within, self.receipt).await.ok()?.ok()
    }
}

/// The sending account of one chain.
#[derive(Clone)]
pub struct Relayer(Arc<Inner>);

struct Inner {
    chain_id: u64,
    node: Arc<dyn Node>,
    signer: Arc<dyn Signer>,
    confirm: ConfirmConfig,
    request_timeout: Duration,
    lane: Lane,
    fees: FeeBook,
    tracked: Mutex<Tracked>,
    /// Held by whoever asks for fees and nonce because it cannot go on without.
    asking: tokio::sync::Mutex<()>,
    wake: Arc<Notify>,
}

/// Calls that keep fees and nonces current, added to a question that is asked anyway.
#[derive(Debug)]
pub(crate) struct Upkeep {
    place: usize,
    mark: Mark,
    empty: bool,
}

/// A transaction that could be sent as it is.
struct Signed {
    hash: B256,
    bytes: Bytes,
}

impl Relayer {
    /// An account on a chain. Nothing is asked or sent yet.
    pub fn new(chain_id: u64, node: Arc<dyn Node>, signer: Arc<dyn Signer>, config: &ChainConfig) -> Self {
        Self(Arc::new(Inner {
            chain_id,
            node,
            signer,
            confirm: config.confirm,
            request_timeout: config.node.request_timeout(),
            lane: Lane::default(),
            fees: FeeBook::new(config.gas),
            tracked: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
            wake: Arc::default(),
        }))
    }

    /// The account.
    pub fn address(&self) -> Address {
        self.0.signer.address()
    }

    /// Signs, writes down, broadcasts. `Ok` means that it may be on its way: wait for its receipt.
    pub async fn send(&self, order: &Order, log: &dyn SendLog) -> Result<Sent, RelayError> {
        for _ in 0..MAX_ATTEMPTS {
            let (fees, mut lease) = self.0.ready().await?;
            let signed = self.0.sign(lease.nonce(), fees, order).await?;
            let hash = signed.hash;
            log.sending(&TransactionId(hash.to_string()), &signed.bytes).await.map_err(RelayError::Log)?;
            let (sender, receipt) = oneshot::channel();
            let key = (lease.nonce(), hash);
            // From here on the transaction is followed, even if the caller goes away in the middle of the broadcast.
            self.0.track(key, signed.bytes.clone(), Some(sender));
            lease.keep();
            let (broadcast, error) = self.0.broadcast(key, &signed.bytes).await;
            match broadcast {
                Broadcast::Accepted | Broadcast::Unclear => {
                    tracing::debug!(chain_id = self.0.chain_id, transaction = %hash, nonce = key.0, "sent a transaction");
                    return Ok(Sent { hash, receipt });
                }
                Broadcast::NonceTaken => {
                    self.0.tracked().remove(key);
                    self.0.catch_up().await?;
                }
                Broadcast::Underpriced => {
                    self.0.tracked().remove(key);
                    lease.give_back();
                    self.0.fees.forget();
                }
                Broadcast::Refused => {
                    self.0.tracked().remove(key);
                    lease.give_back();
                    let error = error.unwrap_or(CallError { code: 0, message: String::new(), data: None });
                    return Err(RelayError::Refused { account: self.address(), error });
                }
            }
        }
        Err(RelayError::Contended(self.address()))
    }

    /// Adds the calls that are due to a question that is asked anyway.
    pub(crate) fn plan_upkeep(&self, calls: &mut Vec<Call>) -> Option<Upkeep> {
        self.0.fees.should_ask().then(|| self.0.upkeep(calls))
    }

    /// Takes over the answers to [`Self::plan_upkeep`]'s calls.
    pub(crate) fn absorb_upkeep(&self, upkeep: &Upkeep, answers: &[Answer]) {
        // What is wrong with these answers shows when they are needed; the question that carried them has its own.
        if let Err(error) = self.0.absorb(upkeep, answers) {
            tracing::debug!(chain_id = self.0.chain_id, %error, "the node did not say what sending will need");
        }
    }
}

impl Inner {
    /// Fees and a nonce to sign with, from memory if possible.
    async fn ready(&self) -> Result<(Fees, Lease), RelayError> {
        if self.tracked().is_full() {
            return Err(RelayError::Full);
        }
        for _ in 0..MAX_ATTEMPTS {
            if let Some(fees) = self.fees.current() {
                let fees = fees?;
                if let Some(lease) = self.lane.take() {
                    return Ok((fees, lease));
                }
            }
            let _asking = self.asking.lock().await;
            if self.fees.current().is_none() || !self.lane.is_known() {
                self.catch_up().await?;
            }
        }
        Err(RelayError::Contended(self.signer.address()))
    }

    /// Asks for fees and nonce now.
    async fn catch_up(&self) -> Result<(), NodeError> {
        let mut calls = Vec::with_capacity(UPKEEP_CALLS);
        let upkeep = self.upkeep(&mut calls);
        let answers = self.node.ask(&calls).await?;
        self.absorb(&upkeep, &answers)
    }

    fn upkeep(&self, calls: &mut Vec<Call>) -> Upkeep {
        let upkeep = Upkeep { place: calls.len(), mark: self.lane.mark(), empty: self.tracked().is_empty() };
        calls.extend([Call::fee_history(), Call::pending_count(self.signer.address())]);
        upkeep
    }

    fn absorb(&self, upkeep: &Upkeep, answers: &[Answer]) -> Result<(), NodeError> {
        let Some([fees, count, ..]) = answers.get(upkeep.place..) else {
            return Err(NodeError::Malformed("eth_feeHistory"));
        };
        self.fees.learn(rpc::fee_history(fees)?);
        let count = rpc::quantity(count, "eth_getTransactionCount")?;
        self.lane.sync(count, upkeep.mark, upkeep.empty && self.tracked().is_empty());
        Ok(())
    }

    async fn sign(&self, nonce: u64, fees: Fees, order: &Order) -> Result<Signed, SignerError> {
        let transaction = TxEip1559 {
            chain_id: self.chain_id,
            nonce,
            gas_limit: order.gas_units,
            max_fee_per_gas: fees.max_wei,
            max_priority_fee_per_gas: fees.tip_wei,
            to: TxKind::Call(order.to),
            value: U256::ZERO,
            input: order.data.clone(),
            ..TxEip1559::default()
        };
        let signature = self.signer.sign_hash(transaction.signature_hash()).await?;
        let signed = transaction.into_signed(signature.to_alloy());
        let mut bytes = Vec::with_capacity(signed.eip2718_encoded_length());
        signed.eip2718_encode(&mut bytes);
        Ok(Signed { hash: *signed.hash(), bytes: bytes.into() })
    }

    /// Hands a transaction to the follower, which wakes up if it sleeps.
    fn track(self: &Arc<Self>, key: Key, signed: Bytes, waiter: Option<oneshot::Sender<Receipt>>) {
        let rebroadcast_at = Instant::now() + self.request_timeout + BROADCAST_GRACE;
        let mut tracked = self.tracked();
        tracked.insert(key, signed, rebroadcast_at, waiter);
        if tracked.task.as_ref().is_none_or(tokio::task::JoinHandle::is_finished) {
            tracked.task = Some(tokio::spawn(follower::follow(Arc::downgrade(self), self.wake.clone())));
        } else {
            self.wake.notify_one();
        }
    }

    /// Broadcasts, and settles what the node's words mean for this very transaction.
    async fn broadcast(&self, key: Key, signed: &[u8]) -> (Broadcast, Option<CallError>) {
        let calls = [Call::broadcast(signed)];
        let answer = self.node.ask(&calls).await.map(|answers| answers.into_iter().next());
        let error = match answer {
            Ok(Some(Ok(_))) => {
                self.tracked().rebroadcast_at(key, Instant::now() + self.confirm.rebroadcast());
                return (Broadcast::Accepted, None);
            }
            Ok(Some(Err(error))) => error,
            Ok(None) | Err(_) => return (self.unclear(key), None),
        };
        // The follower must not broadcast it again while it is found out whether it arrived.
        self.tracked().rebroadcast_at(key, Instant::now() + self.request_timeout + BROADCAST_GRACE);
        match Broadcast::of(&error) {
            Broadcast::Accepted => (Broadcast::Accepted, Some(error)),
            // A refusal is believed only if the node has not heard of this very transaction: a proxy may have sent it twice,
            // and the words are those for the second copy, after the first was taken in or even mined.
            refused if refused != Broadcast::Unclear && !self.may_be_known(key.1).await => (refused, Some(error)),
            _ => (self.unclear(key), Some(error)),
        }
    }

    /// Nobody knows whether it is on its way: the follower broadcasts it again at once.
    fn unclear(&self, key: Key) -> Broadcast {
        self.tracked().rebroadcast_at(key, Instant::now());
        self.wake.notify_one();
        Broadcast::Unclear
    }

    /// Whether the node has heard of the transaction, or cannot say.
    async fn may_be_known(&self, hash: B256) -> bool {
        let calls = [Call::transaction(hash), Call::receipt(hash)];
        let Ok(answers) = self.node.ask(&calls).await else { return true };
        let [transaction, receipt] = answers.as_slice() else { return true };
        rpc::is_known(transaction).unwrap_or(true) || !matches!(rpc::receipt(receipt), Ok(None))
    }

    fn tracked(&self) -> MutexGuard<'_, Tracked> {
        self.tracked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
