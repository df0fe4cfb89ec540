//! A seller on the real stack, a wallet, and a buyer with a socket of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use farthing::core::erased::AnyClientScheme;
use farthing::core::header;
use farthing::core::wire::{Extensions, SettleResponse};
use farthing::evm::asset::AssetTable;
use farthing::evm::exact;
use farthing::evm::signature::WireSignature;
use farthing::evm::signer::{LocalSigner, Signer};
use farthing::evm::transfer::eip3009::{Authorization, domain_separator};
use farthing::evm::{Address, B256, U256};
use farthing::server::Server;
use farthing::system::{SystemClock, SystemEntropy};
use farthing_devnet::DevAccount;
use farthing_testkit::Stack;
use farthing_testkit::golden::{ASSET, CHAIN_ID, NETWORK, PAY_TO};
use futures_util::FutureExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long any answer may take: nothing may hang.
const PATIENCE: Duration = Duration::from_secs(30);
/// What the payer holds at first: a dollar, a hundred times the price.
pub const PURSE_ATOMIC: u64 = 1_000_000;
/// What a delivery says, and nothing else may.
pub const REPORT: &str = "14 ships in";

/// A way to make something bad of something good.
pub type Tamper = fn(&mut Value);

/// The seller, and everybody around it.
pub struct Market {
    pub stack: Stack,
    pub seller: String,
    pub payer: DevAccount,
    deliveries: Arc<AtomicUsize>,
    wallet: exact::Client,
    http: reqwest::Client,
}

/// What must not change while payments are refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worth {
    pub operator_transactions: u64,
    operator_wei: U256,
    pub payer_atomic: U256,
    pub seller_atomic: U256,
    pub deliveries: usize,
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Market {
    /// A market whose payer holds [`PURSE_ATOMIC`].
    pub async fn open() -> Self {
        let stack = Stack::start().await.unwrap();
        let facilitator = stack.facilitator_url().to_owned();
        Self::open_at(stack, &facilitator).await
    }

    /// The same with another way to the facilitator.
    pub async fn open_at(stack: Stack, facilitator: &str) -> Self {
        let payer = stack.devnet().accounts()[1];
        stack.devnet().give_usdc(payer.address, U256::from(PURSE_ATOMIC)).unwrap();
        let toll = farthing::Server::builder().facilitator(facilitator).unwrap().pay_to(NETWORK, PAY_TO).unwrap();
        let deliveries = Arc::default();
        let seller = stack.serve(shop(&toll.build().await.unwrap(), &deliveries)).await.unwrap();
        let http = reqwest::Client::builder().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none()).no_proxy();
        let table = Arc::new(AssetTable::known());
        let wallet = exact::Client::new(Arc::new(signer(&payer)), table, Arc::new(SystemClock), Arc::new(SystemEntropy));
        Self { stack, seller, payer, deliveries, wallet, http: http.build().unwrap() }
    }

    /// A payment for that path, as an honest client sends it.
    pub async fn pay(&self, path: &str) -> Value {
        let terms = self.request(self.http.get(self.at(path))).await.terms();
        let offer = serde_json::from_value(terms["accepts"][0].clone()).unwrap();
        let (payload, _) = AnyClientScheme::pay(&self.wallet, &offer, &Extensions::default()).await.unwrap();
        let payload: Value = serde_json::from_str(payload.raw()).unwrap();
        json!({"x402Version": 2, "resource": terms["resource"], "accepted": terms["accepts"][0], "payload": payload})
    }

    /// A payment for the form, whose terms only a POST gets.
    pub async fn pay_for_form(&self) -> Value {
        let terms = self.request(self.http.post(self.at("/form"))).await.terms();
        let mut payment = self.pay("/report").await;
        payment["resource"] = terms["resource"].clone();
        payment
    }

    /// Presents a payment for that path.
    pub async fn buy(&self, path: &str, payment: &Value) -> Answer {
        let name = if payment["x402Version"] == 1 { "x-payment" } else { "payment-signature" };
        self.request(self.http.get(self.at(path)).header(name, header::encode(payment).unwrap())).await
    }

    /// Sends a request with these headers to the seller, whatever they are.
    pub async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let builder = self.http.get(self.at(path));
        self.request(headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value))).await
    }

    /// Sends any request.
    pub async fn request(&self, builder: reqwest::RequestBuilder) -> Answer {
        let response = builder.send().await.unwrap();
        let text = |value: &reqwest::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = response.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        Answer { status: response.status().as_u16(), headers, body: response.text().await.unwrap() }
    }

    /// Writes bytes to the seller and reads what comes back until it closes the connection.
    pub async fn write(&self, bytes: &[u8]) -> Answer {
        let exchange = async {
            let mut stream = TcpStream::connect(self.seller.strip_prefix("http://").unwrap()).await.unwrap();
            let (mut answers, mut requests) = stream.split();
            let mut answer = Vec::new();
            // Whoever refuses a request early may close before all of it is written.
            let (_, read) = tokio::join!(requests.write_all(bytes), answers.read_to_end(&mut answer));
            assert!(read.is_ok() || !answer.is_empty(), "the connection broke without an answer");
            String::from_utf8_lossy(&answer).into_owned()
        };
        Answer::read(&tokio::time::timeout(PATIENCE, exchange).await.expect("an answer"))
    }

    /// Asks the facilitator itself. No content type is sent.
    pub async fn ask(&self, endpoint: &str, body: impl Into<reqwest::Body>) -> (u16, Value) {
        let url = format!("{}/{endpoint}", self.stack.facilitator_url());
        let answer = self.request(self.http.post(url).body(body)).await;
        (answer.status, answer.json())
    }

    /// What `/verify` and `/settle` say of a request: status and reason, which must be the same, and nothing may move.
    pub async fn refusal(&self, name: &str, request: &Value) -> (u16, String) {
        let before = self.worth().await;
        let (verify, verified) = self.ask("verify", request.to_string()).await;
        let (settle, settled) = self.ask("settle", request.to_string()).await;
        assert_eq!((&verified["isValid"], &settled["success"]), (&json!(false), &json!(false)), "{name}: {verified} {settled}");
        assert_eq!(verified["invalidReason"], settled["errorReason"], "{name}: {verified} {settled}");
        assert_eq!((verify, &settled["transaction"]), (settle, &json!("")), "{name}: {verified} {settled}");
        let message = verified["invalidMessage"].as_str().unwrap_or_default();
        assert!((1..600).contains(&message.len()), "{name}: {message:?}");
        assert_eq!(self.worth().await, before, "{name}: something moved");
        (verify, verified["invalidReason"].as_str().unwrap_or_default().to_owned())
    }

    /// Checks that the seller refuses a payment with this status and reason, and that nothing moves.
    pub async fn turns_away(&self, name: &str, payment: &Value, status: u16, reason: &str) {
        let before = self.worth().await;
        let answer = self.buy("/report", payment).await;
        assert_eq!((answer.status, answer.error().as_str()), (status, reason), "{name}: {}", answer.body);
        answer.assert_unpaid(name);
        assert_eq!(self.worth().await, before, "{name}: something moved");
    }

    /// Checks that a payment with a fault is refused everywhere, for the same reason.
    pub async fn check(&self, name: &str, tamper: impl FnOnce(&mut Value), reason: &str) {
        let honest = self.pay("/report").await;
        let mut payment = honest.clone();
        tamper(&mut payment);
        assert_ne!(payment, honest, "{name}: nothing was tampered with");
        let request = asking(&payment, &honest["accepted"]);
        assert_eq!(self.refusal(name, &request).await, (200, reason.to_owned()), "{name}");
        self.turns_away(name, &payment, 402, reason).await;
    }

    pub async fn worth(&self) -> Worth {
        let devnet = self.stack.devnet();
        let operator = devnet.accounts()[0].address;
        let count = json!({"jsonrpc": "2.0", "id": 1, "method": "eth_getTransactionCount", "params": [operator, "pending"]});
        let count = self.request(self.http.post(devnet.rpc_url()).json(&count)).await.json();
        Worth {
            operator_transactions: count["result"].as_str().unwrap()[2..]
                .chars()
                .fold(0, |sum, digit| sum * 16 + u64::from(digit.to_digit(16).unwrap())),
            operator_wei: devnet.balance(operator),
            payer_atomic: devnet.usdc_balance(self.payer.address),
            seller_atomic: devnet.usdc_balance(PAY_TO.parse().unwrap()),
            deliveries: self.deliveries.load(Ordering::SeqCst),
        }
    }

    /// Checks that so much has been sold since: each sale one price, carried by one transaction, alone or beside others.
    pub async fn assert_sold(&self, sales: u64, before: &Worth) {
        let after = self.worth().await;
        let price = U256::from(10_000 * sales);
        let sent = after.operator_transactions - before.operator_transactions;
        assert!((1..=sales).contains(&sent), "{sales} sales in {sent} transactions");
        assert_eq!(after.payer_atomic, before.payer_atomic - price);
        assert_eq!(after.seller_atomic, before.seller_atomic + price);
    }

    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.seller)
    }

    pub fn http(&self) -> &reqwest::Client {
        &self.http
    }
}

/// Two pages at one price, and a form.
fn shop(toll: &Server, deliveries: &Arc<AtomicUsize>) -> Router {
    let count = Arc::clone(deliveries);
    let page = move || {
        count.fetch_add(1, Ordering::SeqCst);
        std::future::ready(REPORT)
    };
    let count = Arc::clone(deliveries);
    let form = move |body: String| {
        count.fetch_add(1, Ordering::SeqCst);
        std::future::ready(format!("{REPORT}: {body}"))
    };
    Router::new()
        .route("/report", get(page.clone()))
        .route("/other", get(page))
        .route("/form", post(form))
        .route_layer(toll.price("$0.01").unwrap())
}

impl Answer {
    fn read(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
        let headers = lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self { status: status.expect("a status line"), headers: headers.collect(), body: body.to_owned() }
    }

    pub fn header(&self, name: &str) -> &str {
        let mut found = self.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let value = found.next().unwrap_or_default();
        assert_eq!(found.next(), None, "{name} comes twice");
        value
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{} {}", self.status, self.body))
    }

    pub fn error(&self) -> String {
        self.json()["error"].as_str().unwrap_or_default().to_owned()
    }

    /// The terms in the header of version 2.
    pub fn terms(&self) -> Value {
        let required = header::decode_required(self.header("payment-required").as_bytes()).unwrap();
        serde_json::to_value(&required).unwrap()
    }

    pub fn settlement(&self) -> SettleResponse {
        header::decode_settlement(self.header("payment-response").as_bytes()).unwrap()
    }

    /// Checks that nothing was given away, that the terms come with a 402, and that nobody keeps the answer.
    pub fn assert_unpaid(&self, name: &str) {
        assert!((400..500).contains(&self.status), "{name}: {}", self.status);
        assert!(!self.body.contains(REPORT), "{name}: delivered");
        assert_eq!(self.header("cache-control"), "no-store", "{name}");
        if self.status == 402 {
            assert_eq!(self.terms()["accepts"][0]["amount"], "10000", "{name}");
        }
    }

    /// Checks that this is the report, paid for.
    pub fn assert_delivered(&self, name: &str) {
        assert_eq!(self.status, 200, "{name}: {}", self.body);
        assert!(self.body.starts_with(REPORT), "{name}: {}", self.body);
        assert!(self.settlement().success, "{name}");
        assert_eq!(self.header("cache-control"), "private, no-store", "{name}");
    }
}

/// The body of `/verify` and `/settle`.
pub fn asking(payment: &Value, requirements: &Value) -> Value {
    json!({"x402Version": 2, "paymentPayload": payment, "paymentRequirements": requirements})
}

pub fn signer(account: &DevAccount) -> LocalSigner {
    LocalSigner::from_bytes(account.secret.into()).unwrap()
}

/// Signs 32 bytes, as the wire has signatures.
pub fn sign(account: &DevAccount, digest: B256) -> String {
    let signature = signer(account).sign_hash(digest).now_or_never().unwrap().unwrap();
    serde_json::to_value(WireSignature::from(signature)).unwrap().as_str().unwrap().to_owned()
}

/// The EIP-712 domain of the market's dollar.
pub fn domain() -> B256 {
    domain_separator("USDC", "2", CHAIN_ID, usdc())
}

pub fn usdc() -> Address {
    ASSET.parse().unwrap()
}

pub fn now() -> u64 {
    use farthing::core::time::Clock;
    SystemClock.now().0
}

/// Signs the authorization in a payment as it stands.
pub fn sign_again(payment: &mut Value, account: &DevAccount, domain: B256) {
    let authorization: Authorization = serde_json::from_value(payment["payload"]["authorization"].clone()).unwrap();
    payment["payload"]["signature"] = sign(account, authorization.digest(domain)).into();
}
