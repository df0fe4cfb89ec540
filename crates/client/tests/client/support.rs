//! A wallet that signs nothing real, and a seller that answers as it is told.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;
use base64_of::encoded;
use bytes::Bytes;
use farthing_client::{Client, ClientBuilder};
use farthing_core::amount::Amount;
use farthing_core::asset::{AccountId, Asset};
use farthing_core::books::{MemoryLedger, Reservation, ReservationState};
use farthing_core::network::Network;
use farthing_core::reason::{Reason, Refusal};
use farthing_core::scheme::{ClientScheme, Offer, PayError};
use farthing_core::time::{Clock, UnixSeconds};
use farthing_core::wire::PaymentRequirements;
use serde_json::{Map, Value, json};

pub const BASE: &str = "eip155:8453";
pub const SEPOLIA: &str = "eip155:84532";
pub const PAYER: &str = "0xPayer";
pub const SELLER: &str = "0xSeller";
pub const SIGNATURE: &str = "0xverysecretsignature";

/// `exact` on Base and Base Sepolia, with USDC (6 decimals), USDM (18 decimals) and EURC (no dollar).
#[derive(Clone, Default)]
pub struct Wallet {
    pub held: Option<u64>,
    pub node_is_down: bool,
    pub cannot_sign: bool,
    pub refuses: bool,
    pub signed: Arc<AtomicUsize>,
}

impl Wallet {
    pub fn signed(&self) -> usize {
        self.signed.load(Ordering::SeqCst)
    }
}

impl ClientScheme for Wallet {
    const NAME: &'static str = "exact";
    type Extra = Map<String, Value>;
    type Payload = Value;

    fn supports(&self, network: &Network) -> bool {
        [BASE, SEPOLIA].contains(&network.as_str())
    }

    fn payer(&self, _: &Network) -> Option<AccountId> {
        PAYER.parse().ok()
    }

    fn asset(&self, requirements: &PaymentRequirements) -> Option<Asset> {
        let (decimals, usd) = match requirements.asset.as_str() {
            "0xUSDC" => (6, true),
            "0xUSDM" => (18, true),
            "0xEURC" => (6, false),
            _ => return None,
        };
        let symbol = requirements.asset.as_str().trim_start_matches("0x").to_owned();
        Some(Asset { network: requirements.network.clone(), id: requirements.asset.clone(), symbol, decimals, usd })
    }

    fn max_spend(&self, offer: &Offer<Self::Extra>) -> Result<Amount, PayError> {
        if offer.extra.get("assetTransferMethod").is_some_and(|method| method != "eip3009") {
            let message = "extra.assetTransferMethod: expected \"eip3009\"";
            return Err(PayError::Offer(Refusal::new(Reason::UnsupportedAssetTransferMethod, message)));
        }
        Ok(offer.requirements.amount)
    }

    async fn balance(&self, _: &Offer<Self::Extra>) -> Result<Option<Amount>, PayError> {
        if self.node_is_down { Err(PayError::Wallet("no route to node".into())) } else { Ok(self.held.map(Amount::from)) }
    }

    async fn pay(&self, offer: &Offer<Self::Extra>) -> Result<Value, PayError> {
        if self.cannot_sign {
            return Err(PayError::Wallet("the key is locked".into()));
        }
        if self.refuses {
            return Err(PayError::Offer(Refusal::new(Reason::InvalidPaymentRequirements, "extra.name: missing")));
        }
        let nonce = self.signed.fetch_add(1, Ordering::SeqCst);
        Ok(json!({"signature": SIGNATURE, "nonce": nonce, "value": offer.requirements.amount}))
    }
}

/// The clock stands still.
pub struct Noon;

impl Clock for Noon {
    fn now(&self) -> UnixSeconds {
        UnixSeconds(1_795_000_000)
    }
}

/// A wallet, a ledger that can be looked into, and a client over both.
pub struct Buyer {
    pub wallet: Wallet,
    pub ledger: Arc<MemoryLedger>,
    pub client: Client,
}

impl Buyer {
    pub fn new() -> Self {
        Self::with(Wallet::default(), |builder| builder)
    }

    pub fn with(wallet: Wallet, change: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Self {
        let ledger = Arc::new(MemoryLedger::default());
        let builder = Client::builder()
            .schemes([Arc::new(wallet.clone()) as _])
            .clock(Arc::new(Noon))
            .ledger(Arc::clone(&ledger) as _)
            .http(http());
        Self { wallet, ledger, client: change(builder).build().unwrap() }
    }

    /// How the n-th reservation stands; `None` if it was released or never made.
    pub fn reservation(&self, number: u64) -> Option<ReservationState> {
        self.ledger.state(Reservation(number))
    }
}

/// A plain HTTP client that heeds no proxy of the machine.
pub fn http() -> reqwest::ClientBuilder {
    reqwest::Client::builder().no_proxy().connect_timeout(Duration::from_secs(5))
}

/// What a seller was sent.
#[derive(Clone)]
pub struct Seen {
    pub method: Method,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Seen {
    /// The payment in the header of either version.
    pub fn payment(&self) -> Option<Value> {
        let value = self.headers.get("payment-signature").or_else(|| self.headers.get("x-payment"))?;
        Some(serde_json::from_slice(&base64_of::decoded(value.as_bytes())).unwrap())
    }
}

type Answer = dyn Fn(&Seen, &str) -> Option<Response> + Send + Sync;

/// A server on this machine that answers as it is told, and remembers what it was sent.
#[derive(Clone)]
pub struct Seller {
    pub base: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    answer: Arc<Answer>,
}

impl Seller {
    /// Starts. The answer is told what was sent and the seller's own address; `None` never answers.
    pub async fn start(answer: impl Fn(&Seen, &str) -> Option<Response> + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let seller = Self { base, seen: Arc::default(), answer: Arc::new(answer) };
        let router = axum::Router::new().fallback(handle).with_state(seller.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        seller
    }

    /// Asks a cent by version 2, and settles whatever comes.
    pub async fn honest() -> Self {
        Self::start(|seen, base| Some(if seen.payment().is_some() { paid(&settled()) } else { asks(&cent(base)) })).await
    }

    /// Asks a cent, and gives this answer to a payment.
    pub async fn answering(answer: impl Fn() -> Response + Send + Sync + 'static) -> Self {
        Self::start(move |seen, base| Some(if seen.payment().is_some() { answer() } else { asks(&cent(base)) })).await
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub fn forget(&self) {
        self.seen.lock().unwrap().clear();
    }

    pub fn payments(&self) -> Vec<Value> {
        self.seen().iter().filter_map(Seen::payment).collect()
    }
}

async fn handle(State(seller): State<Seller>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1_000_000).await.unwrap();
    let seen = Seen { method: parts.method, path: parts.uri.to_string(), headers: parts.headers, body };
    seller.seen.lock().unwrap().push(seen.clone());
    match (seller.answer)(&seen, &seller.base) {
        Some(response) => response,
        None => std::future::pending().await,
    }
}

pub fn offer(network: &str, asset: &str, amount: &str) -> Value {
    json!({
        "scheme": "exact", "network": network, "amount": amount, "asset": asset, "payTo": SELLER,
        "maxTimeoutSeconds": 300, "extra": {"name": "USD Coin", "version": "2"}
    })
}

/// Terms of version 2.
pub fn terms(base: &str, offers: &[Value]) -> Value {
    json!({
        "x402Version": 2, "error": "Payment required",
        "resource": {"url": format!("{base}/report"), "description": "", "mimeType": ""},
        "accepts": offers,
    })
}

/// A cent in USDC on Base.
pub fn cent(base: &str) -> Value {
    terms(base, &[offer(BASE, "0xUSDC", "10000")])
}

pub fn response(status: u16) -> axum::http::response::Builder {
    Response::builder().status(StatusCode::from_u16(status).unwrap())
}

/// A 402 with terms of version 2.
pub fn asks(terms: &Value) -> Response {
    response(402).header("PAYMENT-REQUIRED", encoded(terms)).body(Body::from("{}")).unwrap()
}

pub fn settled() -> Value {
    json!({"success": true, "transaction": "0xfeed", "network": BASE, "payer": PAYER, "amount": "10000"})
}

/// A 200 with that settlement.
pub fn paid(settlement: &Value) -> Response {
    with_settlement(200, settlement)
}

pub fn with_settlement(status: u16, settlement: &Value) -> Response {
    response(status).header("PAYMENT-RESPONSE", encoded(settlement)).body(Body::from("the report")).unwrap()
}

pub mod base64_of {
    //! Header values, written and read by core's own codec.

    use farthing_core::header;
    use serde_json::Value;

    pub fn encoded(json: &Value) -> String {
        header::encode(json).unwrap()
    }

    pub fn decoded(value: &[u8]) -> Vec<u8> {
        // The payment codec keeps the text's meaning but not its bytes, so base64 is undone by hand.
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut bits = 0_u32;
        let mut count = 0;
        let mut bytes = Vec::new();
        for letter in value.iter().filter(|letter| **letter != b'=') {
            let six = alphabet.iter().position(|known| known == letter).unwrap();
            bits = (bits << 6) | u32::try_from(six).unwrap();
            count += 6;
            if count >= 8 {
                count -= 8;
                bytes.push(u8::try_from((bits >> count) & 0xff).unwrap());
            }
        }
        bytes
    }
}
