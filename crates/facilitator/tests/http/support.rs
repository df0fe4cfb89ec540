//! A scheme whose chain does what the test says, and a facilitator around it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use farthing_core::amount::Amount;
use farthing_core::asset::AccountId;
use farthing_core::books::{MemorySettlements, Settlements};
use farthing_core::reason::{Reason, Refusal};
use farthing_core::scheme::{
    FacilitatorScheme, Outcome, Payment, PaymentKey, SendLog, SettleError, Settlement, TransactionId, VerifiedPayment,
    VerifyError,
};
use farthing_core::wire::{SupportedKind, Version};
use farthing_facilitator::{Local, router};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tower::ServiceExt;

pub const PAYER: &str = "0xPayer";
pub const SELLER: &str = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C";

/// What the chain does with a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    NodeDown,
    NodeHangs,
    Reverts,
    NotSentAfterAll,
    Unknown,
    UnknownAndNotInTheBook,
    PanicsBefore,
    PanicsAfter,
    HangsBefore,
}

/// The script, and what was counted while it was played.
pub struct Chain {
    pub fault: Mutex<Fault>,
    pub outcome: Mutex<Option<Outcome>>,
    pub node_calls: AtomicUsize,
    pub settles: AtomicUsize,
    pub broadcasts: AtomicUsize,
    pub outcomes: AtomicUsize,
    /// One permit lets one settlement go on after its transaction was sent.
    pub gate: Semaphore,
    /// One permit is added for each settlement that has been sent.
    pub sent: Semaphore,
}

impl Chain {
    pub fn fault(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }

    pub fn outcome(&self, outcome: Outcome) {
        *self.outcome.lock().unwrap() = Some(outcome);
    }

    pub fn count(counter: &AtomicUsize) -> usize {
        counter.load(Ordering::SeqCst)
    }

    fn now(&self) -> Fault {
        *self.fault.lock().unwrap()
    }

    async fn reach(&self) -> Result<(), VerifyError> {
        self.node_calls.fetch_add(1, Ordering::SeqCst);
        match self.now() {
            Fault::NodeHangs => std::future::pending().await,
            Fault::NodeDown => Err(VerifyError::Unavailable("connection refused".into())),
            _ => Ok(()),
        }
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

pub struct Verified(Settlement);

impl VerifiedPayment for Verified {
    fn payer(&self) -> AccountId {
        self.0.payer.clone()
    }
}

/// `exact`, on Base Sepolia in both versions and on Base in version 2.
pub struct Scheme(pub Arc<Chain>);

pub fn signature(nonce: u8, to: &str, value: &str) -> String {
    format!("SECRET:{PAYER}:{nonce}:{to}:{value}")
}

pub fn transaction(nonce: u8) -> String {
    format!("0x{nonce:064x}")
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

    fn signers(&self) -> Vec<(String, AccountId)> {
        vec![("eip155:*".to_owned(), "0xRelayer".parse().unwrap()); 2]
    }

    fn key(&self, payment: &Payment<Payload, Extra>) -> Result<PaymentKey, Refusal> {
        Ok(PaymentKey([payment.payload.nonce; 32]))
    }

    async fn verify(&self, payment: &Payment<Payload, Extra>) -> Result<Verified, VerifyError> {
        let Payload { from, to, value, nonce, signature: signed } = &payment.payload;
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
        self.0.reach().await?;
        Ok(Verified(Settlement {
            transaction: TransactionId(transaction(*nonce)),
            network: payment.requirements.network.clone(),
            payer: from.parse().unwrap(),
            amount,
        }))
    }

    async fn settle(&self, verified: Verified, log: &dyn SendLog) -> Result<Settlement, SettleError> {
        let (chain, settlement) = (&self.0, verified.0);
        chain.settles.fetch_add(1, Ordering::SeqCst);
        match chain.now() {
            Fault::PanicsBefore => panic!("before sending"),
            Fault::HangsBefore => std::future::pending().await,
            Fault::UnknownAndNotInTheBook => return Err(SettleError::Unknown(settlement.transaction)),
            _ => {}
        }
        log.sending(&settlement.transaction, b"signed").await.map_err(SettleError::NotSent)?;
        if chain.now() == Fault::NotSentAfterAll {
            return Err(SettleError::NotSent("the node refused the transaction".into()));
        }
        chain.broadcasts.fetch_add(1, Ordering::SeqCst);
        chain.sent.add_permits(1);
        chain.gate.acquire().await.unwrap().forget();
        match chain.now() {
            Fault::Reverts => Err(SettleError::Rejected(Refusal::new(Reason::InvalidExactEvmTransactionFailed, "it reverted"))),
            Fault::Unknown => Err(SettleError::Unknown(settlement.transaction)),
            Fault::PanicsAfter => panic!("after sending"),
            _ => Ok(settlement),
        }
    }

    async fn outcome(&self, _: &Payment<Payload, Extra>, _: &TransactionId) -> Result<Outcome, VerifyError> {
        self.0.outcomes.fetch_add(1, Ordering::SeqCst);
        self.0.reach().await?;
        Ok(self.0.outcome.lock().unwrap().clone().unwrap_or(Outcome::Unknown))
    }

    async fn ready(&self) -> Result<(), VerifyError> {
        self.0.reach().await
    }
}

/// A facilitator, its chain and its book.
#[derive(Clone)]
pub struct Facilitator {
    pub chain: Arc<Chain>,
    pub book: Arc<dyn Settlements>,
    pub local: Arc<Local>,
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
        let facilitator = Self::held(Arc::new(MemorySettlements::default()));
        facilitator.chain.gate.add_permits(Semaphore::MAX_PERMITS / 2);
        facilitator
    }

    /// On a chain where a sent transaction waits for a permit of the gate.
    pub fn held(book: Arc<dyn Settlements>) -> Self {
        let chain = Arc::new(Chain {
            fault: Mutex::new(Fault::None),
            outcome: Mutex::new(None),
            node_calls: AtomicUsize::new(0),
            settles: AtomicUsize::new(0),
            broadcasts: AtomicUsize::new(0),
            outcomes: AtomicUsize::new(0),
            gate: Semaphore::new(0),
            sent: Semaphore::new(0),
        });
        let builder = Local::builder().schemes([Arc::new(Scheme(Arc::clone(&chain))) as _]);
        let local = Arc::new(builder.settlements(Arc::clone(&book)).build().unwrap());
        Self { chain, book, router: router(Arc::clone(&local)), local }
    }

    pub fn with_fault(fault: Fault) -> Self {
        let facilitator = Self::new();
        facilitator.chain.fault(fault);
        facilitator
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
