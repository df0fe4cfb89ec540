//! A scheme whose chain does what the test says, and whose relayer writes into the book as a real one does.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use farthing_core::amount::Amount;
use farthing_core::asset::AccountId;
use farthing_core::books::{
    LaneClaim, LaneId, LaneLease, MemorySettlements, Outbox, Outgoing, OutgoingPayment, PaymentRecord, SettlementEntry, Written,
};
use farthing_core::reason::{Reason, Refusal};
use farthing_core::scheme::{
    FacilitatorScheme, Found, Outcome, Payment, PaymentKey, Phase, SendRight, SettleError, Settlement, TransactionId,
    VerifiedPayment, VerifyError,
};
use farthing_core::time::{Clock, UnixSeconds};
use farthing_core::wire::{SupportedKind, Version};
use futures_util::FutureExt;
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::time::Instant;

pub const PAYER: &str = "0xPayer";

/// When a test begins.
const START: UnixSeconds = UnixSeconds(1_800_000_000);
/// How long an authorization is good, in seconds.
pub const LIFE_SECONDS: u64 = 3_600;

/// What the chain does with a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    NodeDown,
    NodeHangs,
    NodeSlow,
    /// It is mined and moves nothing.
    Reverts,
    /// It is mined beside others and moves nothing for their sake.
    SpoiltByNeighbours,
    /// As before, but the money moved all the same.
    SpoiltAndSettled,
    /// As before, and the chain does not say what became of it.
    SpoiltAndUnclear,
    /// It is written, and then certainly not sent.
    NotSentAfterAll,
    /// It cannot be written.
    OutboxFails,
    /// It is sent, and nobody sees it mined.
    Unknown,
    PanicsBefore,
    PanicsAfter,
    HangsBefore,
    /// It is being written when the waiting ends.
    WritesSlowly,
    HangsAfter,
    LowBalance,
    /// It does not say yet by whom an authorization was used.
    UseUnclear,
    /// It does not say what became of a payment.
    OutcomeUnclear,
}

/// The script, what was counted while it was played, and what is true on chain.
pub struct Chain {
    pub fault: Mutex<Fault>,
    pub node_calls: AtomicUsize,
    pub settles: AtomicUsize,
    pub broadcasts: AtomicUsize,
    pub outcomes: AtomicUsize,
    pub searches: AtomicUsize,
    pub starts: AtomicUsize,
    pub stops: AtomicUsize,
    /// Which payments moved money, by nonce, and by which transaction.
    pub moved: Mutex<HashMap<u8, TransactionId>>,
    /// What was sent and may still be mined.
    pub mempool: Mutex<HashMap<u8, TransactionId>>,
    /// What was mined and moved nothing.
    reverted: Mutex<HashSet<TransactionId>>,
    /// By how many seconds the next answers to what became of a payment come late.
    pub late_seconds: Mutex<VecDeque<u64>>,
    /// Whether what is mined is final.
    pub is_final: AtomicBool,
    /// How often each payment was written.
    attempts: Mutex<HashMap<u8, u64>>,
    /// Whether authorizations that were not used have expired.
    pub expired: AtomicBool,
    /// One permit lets one settlement go on after its transaction was sent.
    pub gate: Semaphore,
    /// One permit is added for each settlement that has been sent.
    pub sent: Semaphore,
}

impl Chain {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            fault: Mutex::new(Fault::None),
            node_calls: AtomicUsize::new(0),
            settles: AtomicUsize::new(0),
            broadcasts: AtomicUsize::new(0),
            outcomes: AtomicUsize::new(0),
            searches: AtomicUsize::new(0),
            starts: AtomicUsize::new(0),
            stops: AtomicUsize::new(0),
            moved: Mutex::default(),
            mempool: Mutex::default(),
            reverted: Mutex::default(),
            late_seconds: Mutex::default(),
            is_final: AtomicBool::new(true),
            attempts: Mutex::default(),
            expired: AtomicBool::new(false),
            gate: Semaphore::new(0),
            sent: Semaphore::new(0),
        })
    }

    pub fn fault(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }

    /// Somebody else carries the payment out.
    pub fn front_run(&self, nonce: u8) -> TransactionId {
        let theirs = TransactionId(format!("0xfefe{nonce:02x}"));
        assert_eq!(self.moved.lock().unwrap().insert(nonce, theirs.clone()), None, "{nonce} has moved already");
        theirs
    }

    /// The block in which the payment was carried out vanishes.
    pub fn reorganize(&self, nonce: u8) {
        assert!(self.moved.lock().unwrap().remove(&nonce).is_some(), "{nonce} has not moved");
    }

    /// Mines all that was sent.
    pub fn mine(&self) {
        self.moved.lock().unwrap().extend(self.mempool.lock().unwrap().drain());
    }

    /// Forgets all that was sent, for good.
    pub fn expire(&self) {
        self.mempool.lock().unwrap().clear();
        self.expired.store(true, Ordering::SeqCst);
    }

    pub fn count(counter: &AtomicUsize) -> usize {
        counter.load(Ordering::SeqCst)
    }

    fn now(&self) -> Fault {
        *self.fault.lock().unwrap()
    }

    fn moved(&self, nonce: u8) -> Option<TransactionId> {
        self.moved.lock().unwrap().get(&nonce).cloned()
    }

    fn broadcast(&self, nonce: u8, transaction: &TransactionId) {
        assert!(self.moved(nonce).is_none(), "{nonce} was sent although the money had moved");
        let replaced = self.mempool.lock().unwrap().insert(nonce, transaction.clone());
        assert_eq!(replaced, None, "{nonce} was sent while it was under way");
        self.broadcasts.fetch_add(1, Ordering::SeqCst);
        self.sent.add_permits(1);
    }

    fn next_transaction(&self, nonce: u8) -> TransactionId {
        let mut attempts = self.attempts.lock().unwrap();
        let attempt = attempts.entry(nonce).or_default();
        *attempt += 1;
        TransactionId(later_transaction(nonce, *attempt - 1))
    }

    fn revert(&self, nonce: u8) {
        self.reverted.lock().unwrap().extend(self.mempool.lock().unwrap().remove(&nonce));
    }

    async fn reach(&self) -> Result<(), VerifyError> {
        self.node_calls.fetch_add(1, Ordering::SeqCst);
        match self.now() {
            Fault::NodeHangs => std::future::pending().await,
            Fault::NodeSlow => {
                tokio::time::sleep(std::time::Duration::from_secs(10)).await;
                Ok(())
            }
            Fault::NodeDown => Err(VerifyError::Unavailable("connection refused".into())),
            _ => Ok(()),
        }
    }
}

/// The runtime's time, which tests can hold and push, and put back.
pub struct TestClock {
    began: Instant,
    put_back_seconds: AtomicU64,
}

impl TestClock {
    pub fn start() -> Arc<Self> {
        Arc::new(Self { began: Instant::now(), put_back_seconds: AtomicU64::new(0) })
    }

    pub fn put_back(&self, seconds: u64) {
        self.put_back_seconds.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> UnixSeconds {
        START.plus(self.began.elapsed().as_secs()).minus(self.put_back_seconds.load(Ordering::SeqCst))
    }
}

#[derive(Clone, Deserialize)]
pub struct Payload {
    from: String,
    to: String,
    value: String,
    nonce: u8,
    signature: String,
}

#[derive(Clone, Deserialize)]
pub struct Extra {}

pub struct Verified(u8, PaymentRecord);

impl VerifiedPayment for Verified {
    fn payer(&self) -> AccountId {
        self.1.payer.clone()
    }
}

/// `exact`, on Base Sepolia in both versions and on Base in version 2.
pub struct Scheme {
    chain: Arc<Chain>,
    outbox: MemorySettlements,
    clock: Arc<TestClock>,
    lease: LaneLease,
    sequence: AtomicU64,
}

pub fn signature(nonce: u8, to: &str, value: &str) -> String {
    format!("SECRET:{PAYER}:{nonce}:{to}:{value}")
}

/// The first transaction that carries the payment with this nonce.
pub fn transaction(nonce: u8) -> String {
    later_transaction(nonce, 0)
}

/// The transaction that carries it after so many others.
pub fn later_transaction(nonce: u8, others: u64) -> String {
    format!("0x{others:062x}{nonce:02x}")
}

pub fn key(nonce: u8) -> PaymentKey {
    PaymentKey([nonce; 32])
}

impl Scheme {
    /// On that node of the book, with a sending account of its own.
    pub fn new(chain: Arc<Chain>, outbox: MemorySettlements, clock: Arc<TestClock>) -> Self {
        static ACCOUNTS: AtomicUsize = AtomicUsize::new(0);
        let account = format!("0xRelayer{}", ACCOUNTS.fetch_add(1, Ordering::SeqCst)).parse().unwrap();
        let lane = LaneId { network: "eip155:84532".parse().unwrap(), account };
        let claim = outbox.take(&lane).now_or_never().unwrap().unwrap();
        let LaneClaim::Ours(lease) = claim else { panic!("the lane is new") };
        Self { chain, outbox, clock, lease, sequence: AtomicU64::new(0) }
    }

    /// The relayer's side of the book, for tests that play its part.
    pub fn lease(&self) -> &LaneLease {
        &self.lease
    }

    async fn write(&self, verified: &Verified, right: &dyn SendRight) -> Result<(u64, TransactionId), SettleError> {
        if !right.enter() {
            return Err(SettleError::NotSent("it was given up".into()));
        }
        if self.chain.now() == Fault::WritesSlowly {
            tokio::time::sleep(std::time::Duration::from_secs(78)).await;
        }
        if right.alone() {
            // Long enough for others to read in the book that the first attempt is dead.
            tokio::time::sleep(std::time::Duration::from_secs(7)).await;
        }
        if self.chain.now() == Fault::OutboxFails {
            right.left();
            return Err(SettleError::NotSent("the disk is full".into()));
        }
        let sequence = self.sequence.fetch_add(1, Ordering::SeqCst);
        let transaction = self.chain.next_transaction(verified.0);
        let payment = OutgoingPayment {
            record: verified.1.clone(),
            request: right.request().clone(),
            caller: right.caller().map(str::to_owned),
            fee_gwei: 0,
            budgets: Vec::new(),
        };
        let outgoing = Outgoing {
            lease: &self.lease,
            sequence,
            transaction: &transaction,
            signed: b"SECRET",
            height: 1,
            payments: &[payment],
            now: self.clock.now(),
        };
        match self.outbox.sending(&outgoing).await {
            Ok(Written::Yes) => {
                right.written(&transaction);
                Ok((sequence, transaction))
            }
            Ok(Written::Without(_)) => {
                right.left();
                Err(SettleError::Taken)
            }
            other => {
                right.left();
                Err(SettleError::NotSent(format!("not written: {other:?}").into()))
            }
        }
    }
}

impl FacilitatorScheme for Scheme {
    const NAME: &'static str = "exact";
    type Extra = Extra;
    type Payload = Payload;
    type Verified = Verified;

    fn kinds(&self) -> Vec<SupportedKind> {
        let kind = |x402_version, network: &str| SupportedKind {
            x402_version,
            scheme: "exact".to_owned(),
            network: network.parse().unwrap(),
            extra: None,
        };
        vec![kind(Version::V2, "eip155:84532"), kind(Version::V1, "eip155:84532"), kind(Version::V2, "eip155:8453")]
    }

    fn extensions(&self) -> Vec<&'static str> {
        vec!["one", "two", "one"]
    }

    fn signers(&self) -> Vec<(String, AccountId)> {
        vec![("eip155:*".to_owned(), "0xRelayer".parse().unwrap()); 2]
    }

    fn record(&self, payment: &Payment<Payload, Extra>) -> Result<PaymentRecord, Refusal> {
        let Payload { from, nonce, .. } = &payment.payload;
        Ok(PaymentRecord {
            key: key(*nonce),
            scheme: "exact".to_owned(),
            network: payment.requirements.network.clone(),
            payer: from.parse().map_err(|_| Refusal::new(Reason::InvalidPayload, "from: not an account"))?,
            pay_to: payment.requirements.pay_to.clone(),
            asset: payment.requirements.asset.clone(),
            amount: payment.requirements.amount,
            expires_at: START.plus(LIFE_SECONDS),
            reference: nonce.to_string(),
        })
    }

    async fn verify(&self, payment: &Payment<Payload, Extra>, _phase: Phase) -> Result<Verified, VerifyError> {
        let Payload { to, value, nonce, signature: signed, .. } = &payment.payload;
        if *signed != signature(*nonce, to, value) {
            return Err(Refusal::new(Reason::InvalidExactEvmSignature, "signature: not the payer's").into());
        }
        if *to != payment.requirements.pay_to.as_str() {
            return Err(
                Refusal::mismatch(Reason::InvalidExactEvmRecipientMismatch, "to", &payment.requirements.pay_to, to).into()
            );
        }
        let amount: Amount = value.parse().map_err(|_| Refusal::new(Reason::InvalidPayload, "value: not an amount"))?;
        if amount != payment.requirements.amount {
            let reason = Reason::InvalidExactEvmPayloadAuthorizationValueMismatch;
            return Err(Refusal::mismatch(reason, "value", payment.requirements.amount, amount).into());
        }
        self.chain.reach().await?;
        if self.chain.moved(*nonce).is_some() {
            return Err(Refusal::new(Reason::InvalidExactEvmNonceAlreadyUsed, "nonce: used").into());
        }
        if self.chain.expired.load(Ordering::SeqCst) {
            let reason = Reason::InvalidExactEvmPayloadAuthorizationValidBefore;
            return Err(Refusal::new(reason, "validBefore: expired").into());
        }
        Ok(Verified(*nonce, self.record(payment)?))
    }

    async fn settle(&self, verified: Verified, right: Arc<dyn SendRight>) -> Result<Settlement, SettleError> {
        let (chain, nonce) = (&self.chain, verified.0);
        chain.settles.fetch_add(1, Ordering::SeqCst);
        match chain.now() {
            Fault::PanicsBefore => panic!("before sending"),
            Fault::HangsBefore => std::future::pending().await,
            _ => {}
        }
        let (sequence, transaction) = self.write(&verified, &*right).await?;
        let failed = || Refusal::new(Reason::InvalidExactEvmTransactionFailed, "it reverted");
        if chain.now() == Fault::NotSentAfterAll {
            let refused = self.outbox.refused(&self.lease, sequence, &failed(), self.clock.now()).await;
            refused.map_err(|_| SettleError::Unknown(transaction))?;
            right.left();
            return Err(SettleError::NotSent("the node refused the transaction".into()));
        }
        chain.broadcast(nonce, &transaction);
        chain.gate.acquire().await.unwrap().forget();
        match chain.now() {
            Fault::Reverts => {
                chain.revert(nonce);
                return Err(SettleError::Rejected(failed()));
            }
            Fault::SpoiltByNeighbours if !right.alone() => {
                chain.revert(nonce);
                return Err(SettleError::Spoilt(failed()));
            }
            Fault::SpoiltAndUnclear => return Err(SettleError::Spoilt(failed())),
            Fault::Unknown => return Err(SettleError::Unknown(transaction)),
            Fault::PanicsAfter => panic!("after sending"),
            Fault::HangsAfter => std::future::pending().await,
            _ => chain.mine(),
        }
        if chain.now() == Fault::SpoiltAndSettled {
            return Err(SettleError::Spoilt(failed()));
        }
        Ok(settlement(&verified.1, transaction))
    }

    async fn outcome(&self, entry: &SettlementEntry) -> Result<Outcome, VerifyError> {
        self.chain.outcomes.fetch_add(1, Ordering::SeqCst);
        self.chain.reach().await?;
        let nonce = entry.record.reference.parse().unwrap();
        let has_reverted = self.chain.reverted.lock().unwrap().contains(&entry.transaction);
        let outcome = match self.chain.moved(nonce) {
            _ if self.chain.now() == Fault::OutcomeUnclear => Outcome::Unknown,
            Some(transaction) => Outcome::Settled(settlement(&entry.record, transaction)),
            None if self.chain.expired.load(Ordering::SeqCst) => Outcome::Failed(expired()),
            None if has_reverted => Outcome::Failed(Refusal::new(Reason::InvalidExactEvmTransactionFailed, "it moved nothing")),
            None => Outcome::Unknown,
        };
        let late_seconds = self.chain.late_seconds.lock().unwrap().pop_front();
        if let Some(seconds) = late_seconds {
            tokio::time::sleep(std::time::Duration::from_secs(seconds)).await;
        }
        Ok(outcome)
    }

    async fn final_outcome(&self, entry: &SettlementEntry) -> Result<Outcome, VerifyError> {
        self.chain.outcomes.fetch_add(1, Ordering::SeqCst);
        self.chain.reach().await?;
        let is_final = self.chain.is_final.load(Ordering::SeqCst);
        Ok(match self.chain.moved(entry.record.reference.parse().unwrap()).filter(|_| is_final) {
            Some(transaction) => Outcome::Settled(settlement(&entry.record, transaction)),
            None if is_final && self.chain.expired.load(Ordering::SeqCst) => Outcome::Failed(expired()),
            None => Outcome::Unknown,
        })
    }

    async fn moved_already(&self, record: &PaymentRecord, refusal: &Refusal) -> Result<Option<Found>, VerifyError> {
        self.chain.searches.fetch_add(1, Ordering::SeqCst);
        self.chain.reach().await?;
        if self.chain.now() == Fault::UseUnclear {
            return Err(VerifyError::Unavailable("not deep enough yet".into()));
        }
        let is_used = refusal.reason == Reason::InvalidExactEvmNonceAlreadyUsed;
        let moved = self.chain.moved(record.reference.parse().unwrap()).filter(|_| is_used);
        Ok(moved.map(|transaction| Found { settlement: settlement(record, transaction), height: 7 }))
    }

    fn start(&self) {
        self.chain.starts.fetch_add(1, Ordering::SeqCst);
    }

    async fn stop(&self) {
        self.chain.stops.fetch_add(1, Ordering::SeqCst);
    }

    async fn ready(&self) -> Result<(), VerifyError> {
        if self.chain.now() == Fault::LowBalance {
            return Err(Refusal::new(Reason::from("low_balance"), "the sending account is nearly empty").into());
        }
        self.chain.reach().await
    }
}

fn expired() -> Refusal {
    Refusal::new(Reason::InvalidExactEvmPayloadAuthorizationValidBefore, "it expired unused")
}

fn settlement(record: &PaymentRecord, transaction: TransactionId) -> Settlement {
    Settlement { transaction, network: record.network.clone(), payer: record.payer.clone(), amount: record.amount }
}
