//! A scheme and a facilitator without a chain, a book that tells what is written, and a shop that uses them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use bytes::Bytes;
use farthing_core::BoxFuture;
use farthing_core::asset::Asset;
use farthing_core::books::{
    Bill, BookError, Charged, ClaimId, Deliveries, DeliveryClaim, MemoryDeliveries, Naming, Presented, Purchase, Standing,
    StoredAnswer,
};
use farthing_core::erased::ServerSchemes;
use farthing_core::facilitator::{Facilitator, FacilitatorError};
use farthing_core::header;
use farthing_core::network::Network;
use farthing_core::reason::{Reason, Refusal};
use farthing_core::scheme::{Payment, PaymentFlow, PaymentKey, ServerScheme};
use farthing_core::time::{Clock, UnixSeconds};
use farthing_core::wire::{
    PaymentRequest, PaymentRequirements, SettleResponse, SupportedKind, SupportedResponse, VerifyResponse, Version,
};
use farthing_server::{Server, ServerBuilder};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{Notify, Semaphore, mpsc};
use tower::ServiceExt;

pub const NETWORK: &str = "eip155:84532";
/// A network that version 1 has no name for.
pub const UNNAMED_NETWORK: &str = "test:1";
pub const PAY_TO: &str = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C";
pub const PAYER: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
pub const TRANSACTION: &str = "0x1111";
/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(10);

pub struct FakeScheme {
    pub flow: PaymentFlow,
}

#[derive(Deserialize)]
pub struct FakePayload {
    nonce: String,
    #[serde(default)]
    expires_at: Option<UnixSeconds>,
}

#[derive(Deserialize)]
pub struct FakeExtra {
    #[expect(dead_code, reason = "its presence is what is read")]
    name: String,
}

impl ServerScheme for FakeScheme {
    const NAME: &'static str = "exact";
    type Extra = FakeExtra;
    type Payload = FakePayload;

    fn supports(&self, network: &Network) -> bool {
        matches!(network.namespace(), "eip155" | "test")
    }

    fn assets(&self, network: &Network) -> Vec<Asset> {
        let asset = |symbol: &str, id: &str, decimals, usd| Asset {
            network: network.clone(),
            id: id.parse().unwrap(),
            symbol: symbol.to_owned(),
            decimals,
            usd,
        };
        vec![asset("USDC", "0xUsdc", 6, true), asset("EURC", "0xEurc", 2, false), asset("USDX", "0xUsdx", 6, true)]
    }

    fn complete(&self, requirements: PaymentRequirements, kind: &SupportedKind) -> Result<PaymentRequirements, Refusal> {
        if requirements.pay_to.as_str() == "nobody" {
            return Err(Refusal::new(Reason::InvalidPaymentRequirements, "payTo: expected an address"));
        }
        let mut extra = requirements.extra.clone();
        extra.extend(kind.extra.clone().unwrap_or_default());
        extra.insert("name".to_owned(), "Fake \"USD\"".into());
        Ok(PaymentRequirements { extra, ..requirements })
    }

    fn flow(&self, requirements: &PaymentRequirements) -> Result<PaymentFlow, Refusal> {
        if self.flow == PaymentFlow::Authorization { PaymentFlow::of(requirements) } else { Ok(self.flow) }
    }

    fn key(&self, payment: &Payment<FakePayload, FakeExtra>) -> Result<PaymentKey, Refusal> {
        let mut key = [0; 32];
        for (at, byte) in key.iter_mut().zip(payment.payload.nonce.bytes()) {
            *at = byte;
        }
        Ok(PaymentKey(key))
    }

    fn expires_at(&self, payment: &Payment<FakePayload, FakeExtra>) -> Option<UnixSeconds> {
        payment.payload.expires_at
    }
}

/// The same, where the offer is a ceiling.
pub struct MeteredScheme;

impl ServerScheme for MeteredScheme {
    const NAME: &'static str = "upto";
    type Extra = FakeExtra;
    type Payload = FakePayload;

    fn supports(&self, network: &Network) -> bool {
        FIXED.supports(network)
    }

    fn assets(&self, network: &Network) -> Vec<Asset> {
        FIXED.assets(network)
    }

    fn complete(&self, requirements: PaymentRequirements, kind: &SupportedKind) -> Result<PaymentRequirements, Refusal> {
        FIXED.complete(requirements, kind)
    }

    fn flow(&self, requirements: &PaymentRequirements) -> Result<PaymentFlow, Refusal> {
        match PaymentFlow::of(requirements)? {
            PaymentFlow::Authorization => Ok(PaymentFlow::Authorization),
            _ => Err(Refusal::new(Reason::UnsupportedPaymentFlow, "extra.paymentFlow: leave it out")),
        }
    }

    fn is_metered(&self) -> bool {
        true
    }

    fn key(&self, payment: &Payment<FakePayload, FakeExtra>) -> Result<PaymentKey, Refusal> {
        FIXED.key(payment)
    }
}

const FIXED: FakeScheme = FakeScheme { flow: PaymentFlow::Authorization };

/// A clock that is set by hand.
#[derive(Default)]
pub struct FakeClock(pub AtomicU64);

impl Clock for FakeClock {
    fn now(&self) -> UnixSeconds {
        UnixSeconds(self.0.load(Ordering::SeqCst))
    }
}

pub fn clock() -> Arc<FakeClock> {
    Arc::default()
}

pub fn schemes() -> ServerSchemes {
    vec![Arc::new(FakeScheme { flow: PaymentFlow::Authorization })]
}

pub fn kind(network: &str) -> SupportedKind {
    SupportedKind {
        x402_version: Version::V2,
        scheme: "exact".to_owned(),
        network: network.parse().unwrap(),
        extra: json!({"fromKind": true}).as_object().cloned(),
    }
}

type Verdict = Result<VerifyResponse, FacilitatorError>;
type Settlement = Result<SettleResponse, FacilitatorError>;

/// Answers what it was told to, in turn, and otherwise that all is well.
pub struct FakeFacilitator {
    pub kinds: Vec<SupportedKind>,
    verdicts: Mutex<VecDeque<Verdict>>,
    settlements: Mutex<VecDeque<Settlement>>,
    pub verified: Mutex<Vec<PaymentRequest>>,
    pub settled: Mutex<Vec<PaymentRequest>>,
    /// Told when a settlement begins.
    pub settling: Notify,
    /// A settlement ends only with a permit from here.
    pub may_settle: Semaphore,
}

impl FakeFacilitator {
    pub fn new() -> Self {
        Self {
            kinds: vec![kind(NETWORK), kind(UNNAMED_NETWORK), SupportedKind { scheme: "upto".to_owned(), ..kind(NETWORK) }],
            verdicts: Mutex::default(),
            settlements: Mutex::default(),
            verified: Mutex::default(),
            settled: Mutex::default(),
            settling: Notify::new(),
            may_settle: Semaphore::new(1_000),
        }
    }

    pub fn will_verify(&self, verdict: Verdict) {
        self.verdicts.lock().unwrap().push_back(verdict);
    }

    pub fn will_settle(&self, settlement: Settlement) {
        self.settlements.lock().unwrap().push_back(settlement);
    }

    pub fn calls(&self) -> (usize, usize) {
        (self.verified.lock().unwrap().len(), self.settled.lock().unwrap().len())
    }
}

impl Facilitator for FakeFacilitator {
    fn supported(&self) -> BoxFuture<'_, Result<SupportedResponse, FacilitatorError>> {
        let supported = SupportedResponse { kinds: self.kinds.clone(), ..SupportedResponse::default() };
        Box::pin(std::future::ready(Ok(supported)))
    }

    fn verify<'a>(&'a self, request: &'a PaymentRequest) -> BoxFuture<'a, Verdict> {
        self.verified.lock().unwrap().push(request.clone());
        let verdict = self.verdicts.lock().unwrap().pop_front();
        Box::pin(std::future::ready(verdict.unwrap_or_else(|| Ok(VerifyResponse::valid(PAYER.parse().unwrap())))))
    }

    fn settle<'a>(&'a self, request: &'a PaymentRequest) -> BoxFuture<'a, Settlement> {
        self.settled.lock().unwrap().push(request.clone());
        let settlement = self.settlements.lock().unwrap().pop_front();
        let network = request.requirements.network.clone();
        Box::pin(async move {
            self.settling.notify_one();
            self.may_settle.acquire().await.unwrap().forget();
            settlement.unwrap_or_else(|| Ok(success(&network)))
        })
    }
}

pub fn success(network: &Network) -> SettleResponse {
    SettleResponse {
        success: true,
        error_reason: None,
        error_message: None,
        payer: Some(PAYER.parse().unwrap()),
        transaction: TRANSACTION.to_owned(),
        network: Some(network.clone()),
        amount: None,
        extra: None,
        extensions: None,
    }
}

pub fn refused(reason: Reason, transaction: &str) -> SettleResponse {
    let failure = SettleResponse::failure(Refusal::new(reason, "as the test wished"), Some(NETWORK.parse().unwrap()));
    SettleResponse { transaction: transaction.to_owned(), ..failure }
}

/// How a write fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing was written.
    Unwritten,
    /// It was written, and the answer to that was lost.
    Unheard,
}

/// A book that tells what has been written into it, once it has been, and that fails as it is told to.
pub struct WatchedBook {
    pub inner: MemoryDeliveries,
    faults: Mutex<Vec<(&'static str, Fault)>>,
    entries: mpsc::UnboundedSender<&'static str>,
    requests: Mutex<Vec<Presented>>,
}

impl WatchedBook {
    pub fn new() -> (Self, mpsc::UnboundedReceiver<&'static str>) {
        let (entries, reader) = mpsc::unbounded_channel();
        (Self { inner: MemoryDeliveries::default(), faults: Mutex::default(), entries, requests: Mutex::default() }, reader)
    }

    /// The next of these writes that has no fault yet will have this one.
    pub fn will_fail(&self, entry: &'static str, fault: Fault) {
        self.faults.lock().unwrap().push((entry, fault));
    }

    /// All that was to be claimed.
    pub fn presented(&self) -> Vec<Presented> {
        self.requests.lock().unwrap().clone()
    }

    fn fault(&self, entry: &str) -> Option<Fault> {
        let mut faults = self.faults.lock().unwrap();
        faults.iter().position(|(name, _)| *name == entry).map(|at| faults.remove(at).1)
    }

    fn write<'a>(
        &'a self,
        entry: &'static str,
        write: impl FnOnce() -> BoxFuture<'a, Result<Standing, BookError>> + Send + 'a,
    ) -> BoxFuture<'a, Result<Standing, BookError>> {
        Box::pin(async move {
            let fault = self.fault(entry);
            let away = || Err(BookError("the book is away".into()));
            if fault == Some(Fault::Unwritten) {
                return away();
            }
            let standing = write().await?;
            if standing == Standing::Held {
                self.entries.send(entry).ok();
                // A book on disk is waited for, and whoever waits may leave.
                tokio::task::yield_now().await;
            }
            if fault == Some(Fault::Unheard) { away() } else { Ok(standing) }
        })
    }
}

impl Deliveries for WatchedBook {
    fn claim<'a>(&'a self, presented: &'a Presented) -> BoxFuture<'a, Result<DeliveryClaim, BookError>> {
        self.requests.lock().unwrap().push(presented.clone());
        if self.fault("claimed").is_some() {
            return Box::pin(std::future::ready(Err(BookError("the book is away".into()))));
        }
        self.inner.claim(presented)
    }

    fn name<'a>(&'a self, claim: ClaimId, purchase: &'a Purchase) -> BoxFuture<'a, Result<Naming, BookError>> {
        if self.fault("named").is_some() {
            return Box::pin(std::future::ready(Err(BookError("the book is away".into()))));
        }
        self.inner.name(claim, purchase)
    }

    fn settling<'a>(&'a self, claim: ClaimId, bill: &'a Bill) -> BoxFuture<'a, Result<Standing, BookError>> {
        self.write("settling", move || self.inner.settling(claim, bill))
    }

    fn charged<'a>(&'a self, claim: ClaimId, charged: &'a Charged<'a>) -> BoxFuture<'a, Result<Standing, BookError>> {
        self.write("charged", move || self.inner.charged(claim, charged))
    }

    fn served<'a>(
        &'a self,
        claim: ClaimId,
        charged: &'a Charged<'a>,
        answer: Option<&'a StoredAnswer>,
    ) -> BoxFuture<'a, Result<Standing, BookError>> {
        self.write("served", move || self.inner.served(claim, charged, answer))
    }

    fn unsettled(&self, claim: ClaimId) -> BoxFuture<'_, Result<Standing, BookError>> {
        self.write("unsettled", move || self.inner.unsettled(claim))
    }

    fn delivered<'a>(&'a self, claims: &'a [ClaimId]) -> BoxFuture<'a, Result<(), BookError>> {
        self.inner.delivered(claims)
    }

    fn cancel(&self, claim: ClaimId) -> BoxFuture<'_, Result<Standing, BookError>> {
        self.write("cancelled", move || self.inner.cancel(claim))
    }
}

/// A server with its doubles.
pub struct Shop {
    pub server: Server,
    pub facilitator: Arc<FakeFacilitator>,
    pub deliveries: Arc<WatchedBook>,
    pub clock: Arc<FakeClock>,
    pub book: mpsc::UnboundedReceiver<&'static str>,
    pub runs: Arc<AtomicUsize>,
}

impl Shop {
    pub async fn open() -> Self {
        Self::with(|builder| builder).await
    }

    pub async fn with(configure: impl FnOnce(ServerBuilder) -> ServerBuilder) -> Self {
        let facilitator = Arc::new(FakeFacilitator::new());
        let (deliveries, book) = WatchedBook::new();
        let (deliveries, clock) = (Arc::new(deliveries), clock());
        let builder = Server::builder()
            .schemes(schemes())
            .facilitator(Arc::clone(&facilitator))
            .unwrap()
            .pay_to(NETWORK, PAY_TO)
            .unwrap()
            .clock(Arc::clone(&clock) as Arc<dyn Clock>)
            .deliveries(Arc::clone(&deliveries) as Arc<dyn Deliveries>);
        let server = configure(builder).build().await.unwrap();
        Self { server, facilitator, deliveries, clock, book, runs: Arc::default() }
    }

    /// `/report` for a cent, whose handler counts its runs.
    pub fn app(&self) -> Router {
        self.app_of(&self.server)
    }

    /// The same on another server of the shop.
    pub fn app_of(&self, server: &Server) -> Router {
        let runs = Arc::clone(&self.runs);
        let report = move || async move {
            runs.fetch_add(1, Ordering::SeqCst);
            "the report"
        };
        Router::new().route("/report", get(report).layer(server.price("$0.01").unwrap()))
    }

    pub fn runs(&self) -> usize {
        self.runs.load(Ordering::SeqCst)
    }

    /// What is written into the book next.
    pub async fn next_written(&mut self) -> Option<&'static str> {
        tokio::time::timeout(PATIENCE, self.book.recv()).await.unwrap()
    }

    /// Everything written into the book so far.
    pub fn written(&mut self) -> Vec<&'static str> {
        std::iter::from_fn(|| self.book.try_recv().ok()).collect()
    }
}

/// Another server of the shop, on the same book as a node of its own, and with the usual rules.
pub async fn replica(shop: &Shop) -> Server {
    let book = shop.deliveries.inner.join();
    let builder = Server::builder().schemes(schemes()).schemes(vec![Arc::new(MeteredScheme)]);
    let builder = builder.facilitator(Arc::clone(&shop.facilitator)).unwrap().pay_to(NETWORK, PAY_TO).unwrap();
    let builder = builder.clock(Arc::clone(&shop.clock) as Arc<dyn Clock>);
    builder.deliveries(Arc::new(book)).build().await.unwrap()
}

/// A whole answer.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The terms in `PAYMENT-REQUIRED`, as JSON.
    pub fn terms(&self) -> Value {
        let required = header::decode_required(self.headers["payment-required"].as_bytes()).unwrap();
        serde_json::to_value(&required).unwrap()
    }

    /// The settlement in `PAYMENT-RESPONSE`.
    pub fn settlement(&self) -> SettleResponse {
        header::decode_settlement(self.headers["payment-response"].as_bytes()).unwrap()
    }
}

pub async fn send(app: &Router, request: Request<Body>) -> Answer {
    let (parts, body) = app.clone().oneshot(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer { status: parts.status, headers: parts.headers, body }
}

pub async fn fetch(app: &Router, uri: &str) -> Answer {
    send(app, Request::get(uri).body(Body::empty()).unwrap()).await
}

/// A payment that takes the first offer of these terms.
pub fn payment(terms: &Value, nonce: &str) -> Value {
    json!({
        "x402Version": 2,
        "resource": terms["resource"],
        "accepted": terms["accepts"][0],
        "payload": {"nonce": nonce},
    })
}

pub fn with_payment(uri: &str, payment: &Value) -> Request<Body> {
    Request::get(uri).header("payment-signature", header::encode(payment).unwrap()).body(Body::empty()).unwrap()
}

/// Asks, and pays what is asked for.
pub async fn buy(app: &Router, uri: &str, nonce: &str) -> Answer {
    let terms = fetch(app, uri).await.terms();
    send(app, with_payment(uri, &payment(&terms, nonce))).await
}
