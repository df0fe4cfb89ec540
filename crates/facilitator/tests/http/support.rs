//! A facilitator on a scripted chain, and requests to it.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use farthing_core::books::{MemorySettlements, SettlementEntry, SettlementState, Settlements};
use farthing_core::scheme::TransactionId;
use farthing_facilitator::{Callers, Hooks, Local, router};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tower::ServiceExt;

pub use crate::chain::{Chain, Fault, LIFE_SECONDS, PAYER, Scheme, TestClock, key, later_transaction, signature, transaction};

pub const SELLER: &str = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C";

/// A facilitator, its chain and its book.
#[derive(Clone)]
pub struct Facilitator {
    pub chain: Arc<Chain>,
    /// This node of the book, as the relayer has it.
    pub node: MemorySettlements,
    pub local: Arc<Local>,
    pub scheme: Arc<Scheme>,
    pub clock: Arc<TestClock>,
    router: Router,
}

/// An answer, read.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub json: Value,
}

impl Answer {
    /// The reason, wherever the answer's kind puts it.
    pub fn reason(&self) -> &str {
        self.json["invalidReason"].as_str().or(self.json["errorReason"].as_str()).unwrap_or("none")
    }

    pub fn message(&self) -> &str {
        self.json["invalidMessage"].as_str().or(self.json["errorMessage"].as_str()).unwrap_or("none")
    }
}

impl Facilitator {
    /// On a chain where everything works at once.
    pub fn new() -> Self {
        let facilitator = Self::held();
        facilitator.open();
        facilitator
    }

    /// On a chain where a sent transaction waits for a permit of the gate.
    pub fn held() -> Self {
        let node = MemorySettlements::default();
        Self::build(Chain::new(), node.clone(), Arc::new(node), TestClock::start(), None, Vec::new())
    }

    /// With a book of the test's own in front of the one in memory.
    pub fn with_book(book: impl FnOnce(MemorySettlements) -> Arc<dyn Settlements>) -> Self {
        let node = MemorySettlements::default();
        let facilitator = Self::build(Chain::new(), node.clone(), book(node), TestClock::start(), None, Vec::new());
        facilitator.open();
        facilitator
    }

    pub fn with_callers(callers: Callers) -> Self {
        let node = MemorySettlements::default();
        let facilitator =
            Self::build(Chain::new(), node.clone(), Arc::new(node), TestClock::start(), Some(callers), Vec::new());
        facilitator.open();
        facilitator
    }

    /// With code of the operator's own.
    pub fn with_hooks(hooks: Vec<Arc<dyn Hooks>>) -> Self {
        let node = MemorySettlements::default();
        let facilitator = Self::build(Chain::new(), node.clone(), Arc::new(node), TestClock::start(), None, hooks);
        facilitator.open();
        facilitator
    }

    pub fn with_fault(fault: Fault) -> Self {
        let facilitator = Self::new();
        facilitator.chain.fault(fault);
        facilitator
    }

    /// Another process on the same book and chain.
    pub fn replica(&self) -> Self {
        self.replica_with(Vec::new())
    }

    /// The same, with code of the operator's own.
    pub fn replica_with(&self, hooks: Vec<Arc<dyn Hooks>>) -> Self {
        let node = self.node.join();
        Self::build(Arc::clone(&self.chain), node.clone(), Arc::new(node), Arc::clone(&self.clock), None, hooks)
    }

    fn build(
        chain: Arc<Chain>,
        node: MemorySettlements,
        book: Arc<dyn Settlements>,
        clock: Arc<TestClock>,
        callers: Option<Callers>,
        hooks: Vec<Arc<dyn Hooks>>,
    ) -> Self {
        let scheme = Arc::new(Scheme::new(Arc::clone(&chain), node.clone(), Arc::clone(&clock)));
        let mut builder = Local::builder().schemes([Arc::clone(&scheme) as _]).settlements(book).clock(Arc::clone(&clock) as _);
        if let Some(callers) = callers {
            builder = builder.callers(callers);
        }
        for hooks in hooks {
            builder = builder.hooks(hooks);
        }
        let local = Arc::new(builder.build().unwrap());
        Self { chain, node, router: router(Arc::clone(&local)), local, scheme, clock }
    }

    fn open(&self) {
        self.chain.gate.add_permits(Semaphore::MAX_PERMITS / 2);
    }

    /// The payment's line in the book.
    pub async fn entry(&self, nonce: u8) -> Option<SettlementEntry> {
        self.node.find(key(nonce)).await.unwrap()
    }

    /// The state of the payment in the book.
    pub async fn state(&self, nonce: u8) -> Option<SettlementState> {
        self.entry(nonce).await.map(|entry| entry.state)
    }

    /// Waits, in the runtime's time, until the book says that the payment is settled.
    pub async fn until_settled(&self, nonce: u8) -> TransactionId {
        for _ in 0..1_000 {
            if let Some(SettlementState::Settled(settlement)) = self.state(nonce).await {
                return settlement.transaction;
            }
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
        panic!("{nonce} is not settled: {:?}", self.state(nonce).await)
    }

    /// Asks to settle, in a task of its own.
    pub fn settling(&self, request: &Value) -> tokio::task::JoinHandle<Answer> {
        let (facilitator, request) = (self.clone(), request.clone());
        tokio::spawn(async move { facilitator.settle(&request).await })
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let json = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Answer { status: parts.status, headers: parts.headers, json }
    }

    pub async fn post(&self, path: &str, body: impl Into<Body>) -> Answer {
        self.send(Request::post(path).header("content-type", "application/json").body(body.into()).unwrap()).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    pub async fn verify(&self, request: &Value) -> Answer {
        self.post("/verify", request.to_string()).await
    }

    pub async fn settle(&self, request: &Value) -> Answer {
        self.post("/settle", request.to_string()).await
    }
}

/// An offer of version 2.
pub fn offer() -> Value {
    json!({
        "scheme": "exact", "network": "eip155:84532", "amount": "10000", "payTo": SELLER, "maxTimeoutSeconds": 60,
        "asset": "0x036CbD53842c5426634e7929541eC2318f3dCF7e", "extra": {"name": "USDC", "version": "2"},
    })
}

fn payload(nonce: u8, to: &str, value: &str) -> Value {
    json!({"from": PAYER, "to": to, "value": value, "nonce": nonce, "signature": signature(nonce, to, value)})
}

/// A good request of version 2.
pub fn request(nonce: u8) -> Value {
    request_for(nonce, SELLER, "10000")
}

/// A request of version 2 that its payer really signed, to that seller and of that amount.
pub fn request_for(nonce: u8, to: &str, amount: &str) -> Value {
    let mut offer = offer();
    offer["payTo"] = json!(to);
    offer["amount"] = json!(amount);
    let payment = json!({
        "x402Version": 2, "resource": {"url": "https://api.example.com/report"},
        "accepted": offer, "payload": payload(nonce, to, amount),
    });
    json!({"x402Version": 2, "paymentPayload": payment, "paymentRequirements": offer})
}

/// Another request with the same authorization, to the same seller.
pub fn other_request(nonce: u8, resource: &str) -> Value {
    let mut other = request(nonce);
    other["paymentPayload"]["resource"]["url"] = json!(format!("https://api.example.com/{resource}"));
    other
}

/// A good request of version 1.
pub fn request_v1(nonce: u8) -> Value {
    json!({
        "x402Version": 1,
        "paymentPayload": {"x402Version": 1, "scheme": "exact", "network": "base-sepolia", "payload": payload(nonce, SELLER, "10000")},
        "paymentRequirements": {
            "scheme": "exact", "network": "base-sepolia", "maxAmountRequired": "10000", "payTo": SELLER,
            "resource": "https://api.example.com/report", "description": "A report", "mimeType": "application/json",
            "maxTimeoutSeconds": 60, "asset": "0x036CbD53842c5426634e7929541eC2318f3dCF7e",
            "extra": {"name": "USDC", "version": "2"}, "outputSchema": null,
        },
    })
}
