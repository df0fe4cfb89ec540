//! Payments to verify, and what verifies them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use farthing_core::books::{
    BookError, Fingerprint, Landing, LaneClaim, LaneId, LaneLease, MemorySettlements, Outbox, Outgoing, UnderWay, Written,
};
use farthing_core::erased::{AnyClientScheme, AnyFacilitatorScheme, TypedPayment};
use farthing_core::network::Network;
use farthing_core::reason::{Reason, Refusal};
use farthing_core::scheme::{PaymentKey, SendRight, TransactionId, VerifyError};
use farthing_core::time::{Clock, Entropy, UnixSeconds};
use farthing_core::wire::{Extensions, PaymentRequest};
use farthing_core::{BoxFuture, Source};
use farthing_evm::asset::AssetTable;
use farthing_evm::chain::Chain;
use farthing_evm::config::{AssetConfig, ChainConfig, RpcUrl};
use farthing_evm::exact;
use farthing_evm::rpc::Node;
use farthing_evm::signer::{LocalSigner, Signer};
use farthing_evm::{Address, B256, U256};
use farthing_testkit::golden;
use serde_json::{Value, json};

use crate::fake_node::FakeNode;

/// The present of every test: a little before the golden authorization ends.
pub const NOW: u64 = golden::VALID_BEFORE - 300;
/// The facilitator's sending account: development key 9.
pub const RELAYER_KEY: &str = "0x2a871d0798f97d79848a013d4936a73bf4cc922c825d33c1cf7073dff6d409c6";

/// A clock that stands still until a test moves it.
pub struct StillClock(AtomicU64);

impl StillClock {
    pub fn at(seconds: u64) -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(seconds)))
    }

    pub fn set(&self, seconds: u64) {
        self.0.store(seconds, Ordering::Relaxed);
    }
}

impl Clock for StillClock {
    fn now(&self) -> UnixSeconds {
        UnixSeconds(self.0.load(Ordering::Relaxed))
    }
}

/// Bytes that never repeat.
#[derive(Default)]
pub struct Counting(AtomicU64);

impl Entropy for Counting {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), Source> {
        let number = self.0.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        buffer.fill(0);
        buffer[..8].copy_from_slice(&number);
        Ok(())
    }
}

/// A facilitator's book in memory, which remembers what was written down before it was sent.
#[derive(Clone, Default)]
pub struct Book {
    pub memory: MemorySettlements,
    /// Every transaction, and how many payments it carried.
    sent: Arc<Mutex<Vec<(TransactionId, usize)>>>,
    /// What happened to them, in the order in which the book was told.
    pub events: Arc<Mutex<Vec<&'static str>>>,
    /// Nothing can be written.
    pub is_full: Arc<AtomicBool>,
    /// The next transaction is written, and whoever wrote it is not told.
    pub loses_answer: Arc<AtomicBool>,
    /// The next replacement is written, and whoever wrote it is not told.
    pub loses_answer_of_replacing: Arc<AtomicBool>,
    /// No account can be taken.
    pub is_cut_off: Arc<AtomicBool>,
}

impl Book {
    /// Another node on the same book, with its own memory of what it sent.
    pub fn join(&self) -> Self {
        Self { memory: self.memory.join(), ..Self::default() }
    }

    pub fn sent(&self) -> Vec<TransactionId> {
        self.sent.lock().unwrap().iter().map(|(transaction, _)| transaction.clone()).collect()
    }

    /// How many payments each transaction carried.
    pub fn batches(&self) -> Vec<usize> {
        self.sent.lock().unwrap().iter().map(|(_, payments)| *payments).collect()
    }

    pub fn count(&self, event: &str) -> usize {
        self.events.lock().unwrap().iter().filter(|it| **it == event).count()
    }

    fn happened(&self, event: &'static str) {
        self.events.lock().unwrap().push(event);
    }
}

type Answer<'a, T> = BoxFuture<'a, Result<T, BookError>>;

impl Outbox for Book {
    fn take<'a>(&'a self, lane: &'a LaneId) -> Answer<'a, LaneClaim> {
        if self.is_cut_off.load(Ordering::Relaxed) {
            return Box::pin(std::future::ready(Err(BookError("the server is not there".into()))));
        }
        self.memory.take(lane)
    }

    fn give_back<'a>(&'a self, lease: &'a LaneLease) -> Answer<'a, ()> {
        self.memory.give_back(lease)
    }

    fn nodes<'a>(&'a self, network: &'a Network) -> Answer<'a, usize> {
        self.memory.nodes(network)
    }

    fn sending<'a>(&'a self, outgoing: &'a Outgoing<'a>) -> Answer<'a, Written> {
        Box::pin(async move {
            assert!(!outgoing.signed.is_empty());
            if self.is_full.load(Ordering::Relaxed) {
                return Err(BookError("the disk is full".into()));
            }
            let written = self.memory.sending(outgoing).await?;
            if written == Written::Yes {
                self.sent.lock().unwrap().push((outgoing.transaction.clone(), outgoing.payments.len()));
            }
            if self.loses_answer.swap(false, Ordering::Relaxed) {
                return Err(BookError("the connection was closed".into()));
            }
            Ok(written)
        })
    }

    fn replacing<'a>(&'a self, outgoing: &'a Outgoing<'a>) -> Answer<'a, Written> {
        Box::pin(async move {
            let written = self.memory.replacing(outgoing).await;
            self.happened("replacing");
            if self.loses_answer_of_replacing.swap(false, Ordering::Relaxed) {
                return Err(BookError("the connection was closed".into()));
            }
            written
        })
    }

    fn refused<'a>(&'a self, lease: &'a LaneLease, sequence: u64, refusal: &'a Refusal, now: UnixSeconds) -> Answer<'a, ()> {
        self.happened("refused");
        self.memory.refused(lease, sequence, refusal, now)
    }

    fn landed<'a>(&'a self, lease: &'a LaneLease, sequence: u64, landing: &'a Landing) -> Answer<'a, ()> {
        self.happened("landed");
        self.memory.landed(lease, sequence, landing)
    }

    fn reopened<'a>(&'a self, lease: &'a LaneLease, sequence: u64, now: UnixSeconds) -> Answer<'a, ()> {
        self.happened("reopened");
        self.memory.reopened(lease, sequence, now)
    }

    fn closed<'a>(&'a self, lease: &'a LaneLease, sequence: u64) -> Answer<'a, ()> {
        self.happened("closed");
        self.memory.closed(lease, sequence)
    }

    fn under_way<'a>(&'a self, lease: &'a LaneLease, from: u64, limit: usize) -> Answer<'a, Option<Vec<UnderWay>>> {
        self.memory.under_way(lease, from, limit)
    }

    fn last_closed<'a>(&'a self, lane: &'a LaneId) -> Answer<'a, Option<u64>> {
        self.memory.last_closed(lane)
    }

    fn carrier(&self, key: PaymentKey) -> Answer<'_, Option<(LaneId, u64)>> {
        self.memory.carrier(key)
    }

    fn landing(&self, key: PaymentKey) -> Answer<'_, Option<Landing>> {
        self.memory.landing(key)
    }
}

/// The right to send, as an engine gives it, and what was done with it.
pub struct Right {
    pub request: Fingerprint,
    pub alone: bool,
    pub caller: Option<String>,
    /// Whether the payment was given up before it was sent.
    pub given_up: bool,
    pub written: Mutex<Vec<TransactionId>>,
    pub left: AtomicBool,
}

impl Right {
    pub fn new() -> Self {
        Self {
            request: Fingerprint("a test's request".to_owned()),
            alone: false,
            caller: None,
            given_up: false,
            written: Mutex::default(),
            left: AtomicBool::new(false),
        }
    }
}

impl SendRight for Right {
    fn request(&self) -> &Fingerprint {
        &self.request
    }

    fn caller(&self) -> Option<&str> {
        self.caller.as_deref()
    }

    fn alone(&self) -> bool {
        self.alone
    }

    fn enter(&self) -> bool {
        self.left.store(false, Ordering::Relaxed);
        !self.given_up
    }

    fn written(&self, transaction: &TransactionId) {
        self.written.lock().unwrap().push(transaction.clone());
    }

    fn left(&self) {
        self.left.store(true, Ordering::Relaxed);
    }
}

pub fn signer(key: &str) -> Arc<dyn Signer> {
    Arc::new(LocalSigner::from_hex(key.to_owned().into()).unwrap())
}

pub fn payer() -> Address {
    golden::PAYER.parse().unwrap()
}

pub fn pay_to() -> Address {
    golden::PAY_TO.parse().unwrap()
}

pub fn usdc() -> Address {
    golden::ASSET.parse().unwrap()
}

/// The golden offer.
pub fn offer() -> Value {
    json!({
        "scheme": "exact", "network": golden::NETWORK, "amount": "10000", "asset": golden::ASSET, "payTo": golden::PAY_TO,
        "maxTimeoutSeconds": 300, "extra": {"name": "USDC", "version": "2"},
    })
}

/// The golden payment, as the body of `/verify`.
pub fn golden_request() -> Value {
    json!({
        "x402Version": 2,
        "paymentPayload": {
            "x402Version": 2,
            "accepted": offer(),
            "payload": {
                "signature": golden::eip3009::SIGNATURE,
                "authorization": {
                    "from": golden::PAYER, "to": golden::PAY_TO, "value": "10000", "validAfter": "0",
                    "validBefore": golden::VALID_BEFORE.to_string(), "nonce": golden::eip3009::NONCE,
                },
            },
        },
        "paymentRequirements": offer(),
    })
}

/// A request like the golden one, with its authorization changed and signed anew by the payer.
pub async fn signed_request(change: impl FnOnce(&mut Value)) -> Value {
    let mut request = golden_request();
    change(&mut request["paymentPayload"]["payload"]["authorization"]);
    sign(&mut request, golden::PAYER_KEY).await;
    request
}

/// Signs the request's authorization as it stands.
pub async fn sign(request: &mut Value, key: &str) {
    let authorization = request["paymentPayload"]["payload"]["authorization"].clone();
    let authorization: farthing_evm::transfer::eip3009::Authorization = serde_json::from_value(authorization).unwrap();
    let table = AssetTable::known();
    let digest = authorization.digest(table.get(golden::CHAIN_ID, usdc()).unwrap().domain_separator);
    let signature = signer(key).sign_hash(digest).await.unwrap();
    request["paymentPayload"]["payload"]["signature"] =
        serde_json::to_value(farthing_evm::signature::WireSignature::from(signature)).unwrap();
}

/// A payment with a nonce of its own.
pub async fn numbered_request(number: u64) -> Value {
    signed_request(|authorization| authorization["nonce"] = json!(B256::from(U256::from(number)))).await
}

/// A facilitator on Base Sepolia over a fake node, whose payer holds a dollar.
pub struct Rig {
    pub node: Arc<FakeNode>,
    pub book: Book,
    pub clock: Arc<StillClock>,
    pub chain: Arc<Chain>,
    pub facilitator: exact::Facilitator,
}

pub fn rig() -> Rig {
    rig_with(|_| {})
}

pub fn rig_with(change: impl FnOnce(&mut ChainConfig)) -> Rig {
    let node = FakeNode::new(golden::CHAIN_ID, usdc(), "USDC");
    node.world().balances.insert(payer(), U256::from(1_000_000));
    rig_on(node, Book::default(), change)
}

/// A facilitator on this node and this book.
pub fn rig_on(node: Arc<FakeNode>, book: Book, change: impl FnOnce(&mut ChainConfig)) -> Rig {
    rig_of(node, book, &[RELAYER_KEY], change)
}

/// The same, with these sending accounts.
pub fn rig_of(node: Arc<FakeNode>, book: Book, keys: &[&str], change: impl FnOnce(&mut ChainConfig)) -> Rig {
    let clock = StillClock::at(NOW);
    let mut config = ChainConfig::new(golden::NETWORK.parse().unwrap(), RpcUrl::new("http://127.0.0.1:1"));
    change(&mut config);
    let outbox = Arc::new(book.clone());
    let signers = keys.iter().map(|key| signer(key)).collect();
    let chain = Chain::new(&config, node.clone(), signers, outbox, clock.clone()).unwrap();
    let facilitator = exact::Facilitator::new(vec![chain.clone()], Arc::new(AssetTable::known()), clock.clone());
    Rig { node, book, clock, chain, facilitator }
}

/// One whose operator told it of the token, in the words of the table.
pub fn rig_of_own_token() -> Rig {
    let rig = rig();
    let table = AssetTable::known();
    let known = table.get(golden::CHAIN_ID, usdc()).unwrap();
    let config = AssetConfig {
        network: known.network.clone(),
        address: golden::ASSET.to_owned(),
        symbol: known.symbol.clone(),
        decimals: known.decimals,
        name: known.name.clone(),
        version: known.version.clone(),
        method: known.method,
        permits: known.permits,
        usd: known.usd,
    };
    let table = table.with(&config).unwrap();
    Rig { facilitator: exact::Facilitator::new(vec![rig.chain.clone()], Arc::new(table), rig.clock.clone()), ..rig }
}

impl Rig {
    pub fn read(&self, request: &Value) -> Result<TypedPayment, Refusal> {
        let request = PaymentRequest::read(request.to_string().as_bytes())?;
        AnyFacilitatorScheme::read(&self.facilitator, &request)
    }

    pub async fn verify(&self, request: &Value) -> Result<farthing_core::asset::AccountId, VerifyError> {
        let payment = self.read(request)?;
        AnyFacilitatorScheme::verify(&self.facilitator, &payment).await
    }

    /// Why the payment is refused; it must be.
    pub async fn refusal(&self, request: &Value) -> Refusal {
        match self.verify(request).await {
            Err(VerifyError::Invalid(refusal)) => refusal,
            other => panic!("expected a refusal, got {other:?}"),
        }
    }

    /// Checks that the payment is refused for this reason without asking the node.
    pub async fn refused_locally(&self, request: &Value, reason: Reason) -> String {
        let before = self.node.round_trips();
        let refusal = self.refusal(request).await;
        assert_eq!(refusal.reason, reason, "{}", refusal.message);
        assert_eq!(self.node.round_trips(), before, "{reason} cost a question to the node");
        refusal.message
    }

    /// Checks that the payment is refused for this reason after one question to the node.
    pub async fn refused_by_chain(&self, request: &Value, reason: Reason) -> String {
        let before = self.node.round_trips();
        let refusal = self.refusal(request).await;
        assert_eq!(refusal.reason, reason, "{}", refusal.message);
        assert_eq!(self.node.round_trips(), before + 1, "{reason} did not cost exactly one question to the node");
        refusal.message
    }
}

/// A wallet with the golden payer's key.
pub fn wallet(clock: Arc<dyn Clock>) -> exact::Client {
    let assets = Arc::new(AssetTable::known());
    exact::Client::new(signer(golden::PAYER_KEY), assets, clock, Arc::new(Counting::default()))
}

/// Signs for an offer and makes the body of `/verify` of it.
pub async fn pay(wallet: &exact::Client, offer: &Value) -> Value {
    let requirements = serde_json::from_value(offer.clone()).unwrap();
    let (payload, _) = AnyClientScheme::pay(wallet, &requirements, &Extensions::default()).await.unwrap();
    let payload: Value = serde_json::from_str(payload.raw()).unwrap();
    json!({
        "x402Version": 2,
        "paymentPayload": {"x402Version": 2, "accepted": offer, "payload": payload},
        "paymentRequirements": offer,
    })
}

/// A node as a trait object.
pub fn as_node(node: &Arc<FakeNode>) -> Arc<dyn Node> {
    node.clone()
}
